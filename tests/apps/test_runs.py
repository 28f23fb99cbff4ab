"""Runs as a user sees them: finish, fail, stop, interrupt, kill, resume, list, compare, export."""

import csv
import io
import json
import os
import random
import signal
import sqlite3
import statistics
import time

import pytest

from apps import runner
from apps.spec import RunSpec
from apps.store import Store

KEYS = {
    "run_id",
    "name",
    "kind",
    "problem",
    "method",
    "seed",
    "state",
    "steps",
    "seconds",
    "cpu_seconds",
    "score",
    "best",
    "regret",
    "trials",
    "digest",
    "metrics",
    "diagnostics",
    "versions",
}
RUNS = {
    "bo": "run bo --problem branin --method gp-map --budget 14 --seed 3",
    "bandit": "run bandit --problem digits --method ts-linear --budget 6000 --seed 3",
    "rl": "run rl --problem cartpole --method dqn --budget 5000 --seed 3",
}
FULLY_BAYESIAN = {
    name: f"run bo --problem branin --method {name} --budget 14 --seed 3"
    for name in (
        "gp-hmc",
        "gp-nuts",
        "gp-smc",
        "gp-laplace",
        "gp-vi-meanfield",
        "gp-vi-fullrank",
        "gp-vi-flow",
        "gp-vi-bures",
    )
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_prints_the_object_and_repeats_itself(wald, kind):
    first = wald.json(*RUNS[kind].split())
    again = wald.json(*RUNS[kind].split(), "--store", "other.db")
    assert set(first) >= KEYS
    assert first["state"] == "finished"
    assert first["digest"] == again["digest"]
    assert first["run_id"] != again["run_id"]
    other = wald.json(*RUNS[kind].replace("--seed 3", "--seed 4").split())
    assert other["digest"] != first["digest"]
    rows = wald.json("list")["rows"]
    assert [row["run_id"] for row in rows] == [other["run_id"], first["run_id"]]
    shown = wald.json("show", first["run_id"])
    assert shown == first
    assert wald.json("resume", first["run_id"]) == first


@pytest.mark.parametrize("kind", RUNS)
def test_kill_and_resume_end_with_the_unbroken_runs_digest(wald, kind):
    whole = wald.json(*RUNS[kind].split(), "--store", "whole.db")
    kill_and_resume(wald, kind, whole, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_twenty_kills(wald, kind):
    whole = wald.json(*RUNS[kind].split(), "--store", "whole.db")
    for repetition in range(20):
        kill_and_resume(wald, kind, whole, kills=1, store=f"s{repetition}.db")


@pytest.mark.slow
@pytest.mark.parametrize("method", FULLY_BAYESIAN)
def test_kill_and_resume_of_draws_that_are_carried(wald, method):
    whole = wald.json(*FULLY_BAYESIAN[method].split(), "--store", "whole.db")
    kill_and_resume(wald, method, whole, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("method", FULLY_BAYESIAN)
def test_fully_bayesian_methods_find_the_valley_of_branin(wald, method):
    asked = f"run bo --problem branin --method {method} --budget 20 --seed"
    runs = [wald.json(*asked.split(), seed) for seed in range(3)]
    assert statistics.median(run["regret"] for run in runs) < 0.5


def kill_and_resume(wald, kind, whole, *, kills, store="wald.db"):
    process = wald.start(*(RUNS | FULLY_BAYESIAN)[kind].split(), "--store", store)
    for _ in range(kills):
        wait_for_run(wald, process, store)
        time.sleep(random.uniform(0, 1.2 * whole["seconds"]))
        process.kill()
        process.communicate()
        run_id, _, numbers = look(wald, store)
        assert numbers == list(range(len(numbers)))
        process = wald.start("resume", run_id, "--store", store, "--json")
    out, err = process.communicate(timeout=300)
    ended = json.loads(out)
    assert process.returncode == 0, err
    assert ended["state"] == "finished"
    assert ended["digest"] == whole["digest"]
    assert ended["steps"] == whole["steps"]
    assert ended["score"] == whole["score"]
    with sqlite3.connect(wald.folder / store) as connection:
        found = connection.execute("SELECT seq FROM events ORDER BY seq").fetchall()
        steps = connection.execute(
            "SELECT step FROM events WHERE kind IN ('observation', 'metric') ORDER BY seq"
        ).fetchall()
    connection.close()
    assert [seq for (seq,) in found] == list(range(1, len(found) + 1))
    assert len(set(steps)) == len(steps)
    assert steps == sorted(steps)


def wait_for_run(wald, process, store):
    """Until the run exists, and this process drives it."""
    for _ in range(1200):
        if process.poll() is not None or look(wald, store)[1] == "running":
            return
        time.sleep(0.05)
    raise AssertionError(process.communicate())


def look(wald, store):
    """Id and state of the only run, and the numbers of its trials."""
    if not (wald.folder / store).exists():
        return None, None, []
    connection = sqlite3.connect(f"file:{wald.folder / store}?mode=ro", uri=True, timeout=10)
    try:
        row = connection.execute("SELECT run_id, state FROM runs").fetchone()
        numbers = [n for (n,) in connection.execute("SELECT number FROM trials ORDER BY number")]
    except sqlite3.OperationalError:
        return None, None, []
    finally:
        connection.close()
    return (*(row or (None, None)), numbers)


def records(wald, store):
    """How many trials or records the runs of a store have."""
    with sqlite3.connect(wald.folder / store, timeout=10) as connection:
        query = "SELECT count(*) FROM events WHERE kind IN ('observation', 'metric')"
        (count,) = connection.execute(query).fetchone()
    connection.close()
    return count


@pytest.mark.parametrize("kind", RUNS)
def test_ctrl_c_saves_and_exits_130_and_resume_goes_on(wald, kind):
    whole = wald.json(*RUNS[kind].split(), "--store", "whole.db")
    process = wald.start(*RUNS[kind].split())
    wait_for_run(wald, process, "wald.db")
    while not records(wald, "wald.db") and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    run_id, state, _ = look(wald, "wald.db")
    assert state == "interrupted"
    assert f"go on: wald resume {run_id}" in err
    assert "Traceback" not in err
    assert wald.json("resume", run_id)["digest"] == whole["digest"]


FIRST_USE = "compiling for this machine; only its first run takes this long"


@pytest.mark.slow
def test_the_first_use_on_a_machine_is_told_once_and_an_interrupt_then_is_one(wald, tmp_path):
    asked = RUNS["bo"].replace("14", "8").split()
    wald.env["NUMBA_CACHE_DIR"] = str(tmp_path / "compiled")
    process = wald.start(*asked)
    told = []
    while FIRST_USE not in "".join(told):
        line = process.stderr.readline()
        assert line, told
        told.append(line)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    run_id, state, _ = look(wald, "wald.db")
    assert state == "interrupted"
    again = wald("resume", run_id)
    assert again.returncode == 0
    assert again.stderr.count(FIRST_USE) == 1
    assert FIRST_USE not in wald(*asked).stderr


def test_what_a_library_makes_of_an_interrupt_does_not_fail_the_run(tmp_path, monkeypatch):
    def broken(_run, _problem):
        raise RuntimeError("no compiled object yet")

    def interrupted(run, problem):
        os.kill(os.getpid(), signal.SIGINT)
        broken(run, problem)

    store = Store.open(f"sqlite:///{tmp_path / 'wald.db'}", create=True)
    spec = RunSpec("bandit", "bernoulli", "random", budget=10, seed=0)
    for drive, state in ((interrupted, "interrupted"), (broken, "failed")):
        monkeypatch.setattr(runner, "_drive_records", drive)
        run_id = runner.start(spec, store, problem=None)
        assert runner.execute(run_id, store, problem=None)["state"] == state


def test_a_lost_run_is_told_as_lost_and_listed(wald):
    process = wald.start(*RUNS["bandit"].replace("6000", "600000").split())
    wait_for_run(wald, process, "wald.db")
    run_id, _, _ = look(wald, "wald.db")
    refused = wald("resume", run_id)
    assert refused.returncode == 2
    assert "is running" in refused.stderr
    process.kill()
    process.communicate()
    assert wald.json("show", run_id)["state"] == "lost"


def test_a_stop_request_ends_the_run_after_its_step(wald):
    process = wald.start(*RUNS["bandit"].replace("6000", "600000").split())
    wait_for_run(wald, process, "wald.db")
    run_id, _, _ = look(wald, "wald.db")
    assert wald("stop", run_id).returncode == 0
    process.communicate(timeout=60)
    assert process.returncode == 0
    shown = wald.json("show", run_id)
    assert shown["state"] == "stopped"
    assert 0 < shown["steps"] < 600_000


def test_the_same_name_goes_on_and_budget_is_the_total(wald):
    command = [
        "run",
        "bo",
        "--problem",
        "branin",
        "--method",
        "sobol",
        "--seed",
        "1",
        "--name",
        "mine",
    ]
    first = wald.json(*command, "--budget", "5")
    longer = wald.json(*command, "--budget", "8")
    whole = wald.json(
        *["run", "bo", "--problem", "branin", "--method", "sobol", "--seed", "1", "--budget", "8"]
    )
    assert (first["run_id"], first["steps"]) == (longer["run_id"], 5)
    assert longer["steps"] == 8
    assert longer["digest"] == whole["digest"]
    other = wald("run", "bo", "--problem", "hartmann6", "--name", "mine", "--budget", "3")
    assert other.returncode == 2
    assert "differs" in other.stderr


def test_a_named_run_that_goes_on_keeps_its_seed(wald):
    command = ["run", "bo", "--problem", "branin", "--method", "sobol", "--name", "mine"]
    first = wald.json(*command, "--budget", "3")
    assert wald.json(*command, "--budget", "5")["seed"] == first["seed"]
    other = wald(*command, "--budget", "5", "--seed", str(first["seed"] + 1))
    assert other.returncode == 2
    assert "has seed" in other.stderr


def test_auto_is_the_default_and_says_so(wald):
    run = wald.json(*["run", "bo", "--problem", "branin", "--budget", "3", "--seed", "0"])
    assert run["method"] == "auto"
    assert "auto chose gp-map" in run["diagnostics"]["note"]


def test_an_objective_that_fails_leaves_a_finished_run(wald):
    rows = "\n".join(f"{i},{i * i if i % 3 else ''}" for i in range(12))
    (wald.folder / "t.csv").write_text(f"a,y\n{rows}\n")
    (wald.folder / "t.toml").write_text(
        'table = "t.csv"\n[inputs.a]\n[goals.y]\ndirection = "minimize"\n'
    )
    run = wald.json(
        *[
            "run",
            "bo",
            "--problem",
            "table:t.toml",
            "--method",
            "random",
            "--budget",
            "30",
            "--seed",
            "0",
        ]
    )
    assert run["state"] == "finished"
    assert run["trials"] == {"total": 12, "complete": 8, "failed": 4, "pending": 0}
    assert run["best"]["values"]["y"] == 1
    assert run["regret"] == 0


def test_compare_note_and_export(wald):
    ids = [
        wald.json(*f"run bo --problem branin --method {m} --budget 6 --seed {s}".split())["run_id"]
        for m in ("random", "sobol")
        for s in (0, 1)
    ]
    rows = wald.json("compare", *ids)["rows"]
    assert {row["method"]: row["runs"] for row in rows} == {"random": 2, "sobol": 2}
    for row in rows:
        assert row["low"] < row["mean"] < row["high"]
    assert wald("note", ids[0], "looks odd, ask Ada").returncode == 0
    table = list(csv.DictReader(io.StringIO(wald("export", ids[0]).stdout)))
    assert [row["number"] for row in table] == list("012345")
    shown = wald.json("show", ids[0])
    best = min(float(row["value"]) for row in table)
    assert best == shown["best"]["values"]["value"]
    whole = json.loads(wald("export", ids[0], "--format", "json").stdout)
    assert whole["notes"] == ["looks odd, ask Ada"]
    assert whole["run"]["digest"] == shown["digest"]
    assert wald("export", ids[0], "--format", "html", "--out", "page.html").returncode == 0
    page = (wald.folder / "page.html").read_text()
    assert "<svg" in page
    assert "looks odd, ask Ada" in page
    assert "<script" not in page


def test_a_study_made_by_hand_is_listed(wald):
    import bo

    study = bo.Study(
        {"x": bo.real(0, 1)}, name="lab", store=wald.folder / "wald.db", method="sobol"
    )
    study.tell(study.ask()[0], 1.5)
    rows = wald.json("list")["rows"]
    assert [(row["name"], row["steps"], row["state"]) for row in rows] == [("lab", 1, "stopped")]
    assert wald.json("show", "lab")["best"]["values"] == {"value": 1.5}
    assert len(wald("export", "lab").stdout.splitlines()) == 2
    refused = wald("resume", "lab")
    assert refused.returncode == 2
    assert "go on with wald ask and wald tell" in refused.stderr


def test_reading_commands_never_create_a_store(wald):
    assert wald.json("list") == {"rows": []}
    wald("show", "x")
    wald("doctor")
    assert wald.files() == set()


def test_catalog_and_doctor(wald):
    names = {(row["kind"], row["name"]) for row in wald.json("catalog")["rows"]}
    assert {("bo", "auto"), ("bo", "gp-map"), ("bandit", "linucb"), ("rl", "dqn")} <= names
    (row,) = wald.json("catalog", "dqn")["rows"]
    assert all({"name", "default", "low", "high", "help"} <= set(o) for o in row["options"])
    doctor = {row["name"]: row for row in wald.json("doctor")["rows"]}
    assert doctor["import names"]["status"] == "ok"
    assert doctor["store"]["status"] == "absent"


def test_help_is_quick_and_loads_nothing_heavy(wald):
    ended = wald("--help")
    assert ended.returncode == 0
    assert "Run one method on one problem" in ended.stdout
    assert wald().stdout == ended.stdout


def test_a_run_keeps_what_it_believed_at_each_ask(wald):
    run = wald.json("run", "bo", "--problem", "branin", "--budget", 9, "--seed", 2)
    bare = wald.json(
        "run", "bo", "--problem", "branin", "--budget", 9, "--seed", 2, "--snapshots", "every=0"
    )
    assert bare["digest"] == run["digest"]
    store = Store.open(str(wald.folder / "wald.db"), create=False)
    asked = store.steps_of(run["run_id"], "posterior")
    assert asked  # not each: pictures may take a tenth of the time of the asks
    last = asked[-1]
    assert store.steps_of(bare["run_id"], "posterior") == []
    assert store.steps_of(run["run_id"], "diagnostic") == list(range(asked[0], 9))
    order = [(e.kind, e.step) for e in store.events(run["run_id"])]
    assert order.index(("posterior", last)) < order.index(("observation", last))
    [told] = store.events_at(run["run_id"], "posterior", last)
    [seen] = store.events_at(run["run_id"], "observation", last)
    assert told.payload["data"] == last
    assert seen.payload["predicted"]["mean"] == pytest.approx(
        told.payload["next"]["mean"], rel=1e-3
    )
    store.engine.dispose()


def test_what_a_run_believed_is_drawn_again_with_other_axes(wald):
    run = wald.json("run", "bo", "--problem", "hartmann6", "--budget", 16, "--seed", 5)["run_id"]
    told = wald.json("snapshot", run, "--axes", "x5", "x2", "--step", 14)
    assert told == {"run_id": run, "step": 14, "axes": ["x5", "x2"]}
    assert wald.json("snapshot", run)["step"] == 15
    store = Store.open(str(wald.folder / "wald.db"), create=False)
    drawn = store.events_at(run, "posterior", 14)
    assert (drawn[-1].payload["map"]["x"], drawn[-1].payload["map"]["y"]) == ("x5", "x2")
    kept = store.events_at(run, "posterior", 15)
    assert kept[-1].payload["slices"]
    for picture in (drawn, kept):  # where the run itself drew that ask, it is the same belief
        if len(picture) > 1:
            assert picture[0].payload["slices"] == picture[-1].payload["slices"]
    before = store.run(run).summary["digest"]
    store.engine.dispose()
    for words, why in (
        (("--axes", "x5", "x9"), "x9"),
        (("--axes", "x5", "x5"), "two different parameters"),
        (("--step", 16), "one of 16 trials"),
        (("--step", 0), "initial design"),
    ):
        refused = wald("snapshot", run, *words)
        assert refused.returncode == 2
        assert why in refused.stderr
    assert wald.json("show", run)["digest"] == before


def test_a_pool_that_is_used_up_says_so(wald):
    rows = "\n".join(f"{x},{(x - 3) ** 2}" for x in range(8))
    (wald.folder / "t.csv").write_text(f"x,y\n{rows}\n")
    (wald.folder / "t.toml").write_text(
        'table = "t.csv"\n[inputs.x]\n[goals.y]\ndirection = "minimize"\n'
    )
    words = ("--problem", "table:t.toml", "--method", "random", "--budget", 20, "--seed", 1)
    run = wald.json("run", "bo", *words)
    assert run["state"] == "finished"
    assert "all 8 candidates are tried: the budget of 20" in run["diagnostics"]["note"]


def test_replications_are_runs_of_their_own(wald):
    rows = wald.json(
        "run", "bo", "--problem", "branin", "--method", "sobol", "--budget", 3, "--seed", 4,
        "--replications", 2, "--name", "twice",
    )["rows"]  # fmt: skip
    assert [(row["name"], row["seed"]) for row in rows] == [("twice-4", 4), ("twice-5", 5)]
    queued = wald.json(
        "submit", "bo", "--problem", "branin", "--method", "sobol", "--budget", 3, "--seed", 4
    )
    assert queued["state"] == "queued"
    resumed = wald.json("resume", queued["run_id"])  # without a supervisor it starts at once
    assert resumed["digest"] == rows[0]["digest"]
    assert (
        wald.json(
            "stop",
            wald.json("submit", "bo", "--problem", "branin", "--method", "sobol", "--budget", 3)[
                "run_id"
            ],
        )["state"]
        == "stopped"
    )


def test_regret_is_without_noise_and_doubts_are_told_in_a_note(wald):
    words = (
        "run bo --problem branin --problem-option noise=20 --budget 9 --seed 1 --method gp-hmc "
        "--option surrogate.most_draws=4 --option surrogate.draws=4 --option surrogate.warmup=0"
    )
    told = wald.json(*words.split())
    exact = told["best"]["values"]["value_noiseless"]
    assert told["regret"] == exact - told["metrics"]["optimum"]
    assert "hyperparameters were in doubt at" in told["diagnostics"]["note"]
    assert "noise of standard deviation 20" in told["diagnostics"]["note"]
