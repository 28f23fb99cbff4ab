"""`wald experiment`: identical designs, kill and resume, failures that stay alone, refusals."""

import contextlib
import csv
import dataclasses
import json
import os
import signal
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import bo
from apps.experiment import _Interrupts, experiment
from apps.experiment_plan import read_plan
from apps.experiment_results import collect, tell
from apps.experiment_worker import design, enqueue_design
from apps.spec import RunSpec
from apps.store import Store
from apps.summary import find_object
from bo import metrics
from bo.contract import Trial
from bo.methods import make_problem
from surrogates.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
SMALL = """
problems = ["branin", "table:t.toml"]
methods = ["gp-map", "sobol", { name = "random", label = "chance" }]
seeds = 2
budgets = [6, 8]
"""
TABLE = 'table = "t.csv"\n[inputs.a]\n[inputs.b]\n[goals.y]\ndirection = "maximize"\n'


def write_small(folder: Path, text: str = SMALL, name: str = "small.toml") -> Path:
    """An experiment file with the table that it names."""
    rows = [f"{a},{b},{(a - 3) ** 2 - b}" for a in range(6) for b in range(5)]
    (folder / "t.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    (folder / "t.toml").write_text(TABLE)
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture
def here(wald, monkeypatch):
    """`wald experiment` in this process, which has loaded what is heavy by now."""
    monkeypatch.chdir(wald.folder)

    def run(*, workers: int = 2, store: str = "wald.db") -> dict:
        return experiment("small.toml", store, workers=workers)

    return run


def without_times(told: dict) -> dict:
    """What two calls must agree on."""
    rows = [{k: v for k, v in row.items() if k != "ask_cpu_seconds"} for row in told["table"]]
    return {"table": rows, **{key: told[key] for key in ("ranks", "tests", "runs", "failed")}}


def designs(wald) -> dict[tuple[str, str], list]:
    """The points that no method suggested, by problem and seed; asserted equal over methods."""
    store = Store.open(str(wald.folder / "wald.db"), create=False)
    found: dict[tuple[str, str], list] = {}
    for row in store.runs():
        _, problem, method, seed = row.name.split("/")
        _, trials = store.trials(str(row.study))
        first = [trial.parameters for trial in trials if trial.method is None]
        assert [trial.number for trial in trials if trial.method is None] == [*range(len(first))]
        assert first == found.setdefault((problem, seed), first), method
    return found


def test_an_experiment_from_start_to_end(wald, here):
    file = write_small(wald.folder)
    told = wald.json("experiment", file, "--workers", 2)
    assert told["experiment"] == "small"
    assert (told["state"], told["runs"], told["failed"]) == ("finished", 12, 0)
    assert len(told["table"]) == 2 * 3 * 2
    keys = {"problem", "method", "budget", "seeds", "median", "q25", "q75", "ask_cpu_seconds"}
    assert all(set(row) >= keys for row in told["table"])
    assert {row["method"] for row in told["ranks"]} == {"gp-map", "sobol", "chance"}
    for row in told["ranks"]:
        assert 1 <= row["low"] <= row["mean_rank"] <= row["high"] <= 3
    for budget in (6, 8):
        ranks = [row["mean_rank"] for row in told["ranks"] if row["budget"] == budget]
        assert sum(ranks) == pytest.approx(6)

    found = designs(wald)
    assert {key: len(points) for key, points in found.items()} == {
        (problem, seed): 4 for problem in ("branin", "table:t.toml") for seed in "01"
    }
    assert found["branin", "0"] != found["branin", "1"]

    store = Store.open(str(wald.folder / "wald.db"), create=False)
    row = store.runs_named("small/branin/gp-map/1")[0]
    shown = wald.json("show", "small/branin/gp-map/1")
    values = [e.payload["value"] for e in store.events(row.run_id, kind="observation")]
    assert shown["regret"] == min(values) - row.optimum
    with open(wald.folder / "results/small/runs.csv", newline="") as read:
        runs = list(csv.DictReader(read))
    (at_8,) = [r for r in runs if r["run"] == row.name and r["budget"] == "8"]
    (at_6,) = [r for r in runs if r["run"] == row.name and r["budget"] == "6"]
    assert float(at_8["value"]) == shown["regret"]
    assert float(at_6["value"]) == min(values[:6]) - row.optimum
    (cell,) = [
        r
        for r in told["table"]
        if (r["problem"], r["method"], r["budget"]) == ("branin", "gp-map", 8)
    ]
    both = [float(r["value"]) for r in runs if r["run"].startswith("small/branin/gp-map/")]
    assert cell["median"] == pytest.approx(np.median(both[1::2]))
    asks = [t.ask_seconds for t in store.trials(str(row.study))[1] if t.ask_seconds is not None]
    assert len(asks) == 4
    assert float(at_8["ask_cpu_seconds"]) == pytest.approx(np.mean(asks))

    page = (wald.folder / "results/small/RESULTS.md").read_text()
    assert f"`wald experiment {file} --workers 2 --json`" in page
    for file_name in told["files"]:
        assert (wald.folder / file_name).stat().st_size > 0
    names = {Path(name).name for name in told["files"]}
    assert {"table.csv", "ranks.csv", "tests.csv", "ranks.png", "ranks.svg"} <= names

    again = here()  # nothing is left to do
    assert without_times(again) == without_times(told)
    assert len(store.runs()) == 12

    write_small(wald.folder, SMALL.replace("[6, 8]", "[8, 9]"))
    more = here()
    same = [{**r, "ask_cpu_seconds": 0} for r in told["table"] if r["budget"] == 8]
    assert [{**r, "ask_cpu_seconds": 0} for r in more["table"] if r["budget"] == 8] == same
    assert len(store.runs()) == 12


def finished_trials(store: Path) -> int:
    """How many trials of a store are complete; 0 where there is none yet."""
    if not store.exists():
        return 0
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)
    try:
        count = "SELECT count(*) FROM trials WHERE state = 'complete'"
        return connection.execute(count).fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def wait_for_trials(wald, process, store: str, wanted: int) -> None:
    """Until so many trials are complete, while the process runs."""
    until = time.monotonic() + 200
    while finished_trials(wald.folder / store) < wanted:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_budgets_within_the_initial_design_are_told(wald, here):
    wald.folder.joinpath("few.toml").write_text(
        'methods = ["gp-map", "sobol"]\nseeds = 1\nbudgets = [4, 5]\n'
        'problems = ["branin", "ackley3"]\n'
    )
    wald.json("experiment", "few.toml", "--workers", 1)
    page = (wald.folder / "results/few/RESULTS.md").read_text()
    alike = "4 evaluations of branin, ackley3; 5 evaluations of ackley3"
    assert f"all points are of the initial design: {alike}" in page


@pytest.mark.slow
def test_killed_and_interrupted_it_goes_on_to_the_same_tables(wald, here):
    # A tenth of a second each, so that all is not done before a busy machine comes to the signal.
    slow = '{ name = "branin", options = { delay = 0.1 } }'
    write_small(wald.folder, SMALL.replace('"branin"', slow))
    whole = here(store="whole.db")

    process = wald.start("experiment", "small.toml", "--workers", 2)
    wait_for_trials(wald, process, "wald.db", 7)
    process.kill()
    process.communicate()
    reached = finished_trials(wald.folder / "wald.db")

    process = wald.start("experiment", "small.toml", "--workers", 2, "--json")
    wait_for_trials(wald, process, "wald.db", reached + 9)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    done = finished_trials(wald.folder / "wald.db")
    assert process.returncode == 130, (reached, done, err)
    assert json.loads(out)["state"] == "interrupted"
    assert "Traceback" not in err
    store = Store.open(str(wald.folder / "wald.db"), create=False)
    assert {row.state for row in store.runs()} <= {"finished", "interrupted"}

    ended = here()
    assert without_times(ended) == without_times(whole)
    rows = Store.open(str(wald.folder / "wald.db"), create=False).runs()
    assert len({row.name for row in rows}) == len(rows) == 12
    designs(wald)


def test_an_interrupt_that_was_swallowed_is_raised_again():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _Interrupts() as interrupts:
            interrupts.look()
            with contextlib.suppress(KeyboardInterrupt):  # as a bare `except` would
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                interrupts.look()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_worker_that_is_killed_is_replaced(wald):
    text = 'problems = ["branin"]\nmethods = ["gp-map"]\nseeds = 1\nbudgets = [14]\n'
    write_small(wald.folder, text)
    process = wald.start("experiment", "small.toml", "--workers", 1, "--json")
    wait_for_trials(wald, process, "wald.db", 6)
    store = Store.open(str(wald.folder / "wald.db"), create=False)
    os.kill(int(str(store.runs()[0].owner).rpartition(":")[2]), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert json.loads(out)["failed"] == 0
    (row,) = store.runs()
    assert [trial.number for trial in store.trials(str(row.study))[1]] == list(range(14))


def test_a_run_that_fails_is_told_and_the_rest_goes_on(wald, here):
    text = """
problems = ["branin", "hartmann4"]
methods = ["sobol", { name = "gp-map", label = "broken", options = { acquisition = "logei" } }]
seeds = 2
budgets = [3, 6]
"""
    write_small(wald.folder, text)
    wald.env["PYTHONPATH"] = str(wald.folder)
    (wald.folder / "sitecustomize.py").write_text(BREAK)
    ended = wald("experiment", "small.toml", "--workers", 2, "--json")
    assert ended.returncode == 1, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["state"], told["runs"], told["failed"]) == ("failed", 8, 2)
    assert {each["run"] for each in told["incomplete"]} == {
        "small/branin/broken/0",
        "small/branin/broken/1",
    }
    assert all("RuntimeError: no luck" in each["error"] for each in told["incomplete"])
    cells = {(r["problem"], r["method"], r["budget"]): r for r in told["table"]}
    assert cells["branin", "broken", 3]["seeds"] == 2  # it failed after the fourth trial
    assert cells["branin", "broken", 6]["seeds"] == 0
    assert cells["branin", "broken", 6]["median"] is None
    assert cells["hartmann4", "broken", 6]["seeds"] == 2
    worst = {r["method"]: r for r in told["tests"] if (r["problem"], r["budget"]) == ("branin", 6)}
    assert (worst["broken"]["best"], worst["broken"]["losses"]) == ("sobol", 2)
    page = (wald.folder / "results/small/RESULTS.md").read_text()
    assert "| small/branin/broken/0 | failed | RuntimeError: no luck |" in page

    (wald.folder / "sitecustomize.py").unlink()  # mended: the same command makes up for it
    told = here()
    assert told["failed"] == 0
    assert told["incomplete"] == []


BREAK = """
import importlib.abc, importlib.util, sys

class Break(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "bo.study":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            suggest = module.Study._suggest

            def broken(self, trials, n):
                if self.method == "gp-map" and len(self.space.free) == 2:
                    raise RuntimeError("no luck")
                return suggest(self, trials, n)

            module.Study._suggest = broken

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Break())
"""


@pytest.mark.parametrize(
    ("kind", "problem", "methods", "budgets"),
    [
        ("bandit", "bernoulli", '["ts-beta", "random"]', "[100, 300]"),
        ("rl", "cartpole", '["dqn"]', "[500, 1000]"),
    ],
)
def test_bandits_and_agents_are_compared_by_score(wald, here, kind, problem, methods, budgets):
    text = f'kind = "{kind}"\nproblems = ["{problem}"]\nmethods = {methods}\nseeds = [3, 5]\n'
    write_small(wald.folder, f"{text}budgets = {budgets}\n")
    told = here()
    last = told["table"][-1]
    assert (last["measure"], last["direction"], last["seeds"]) == ("score", "maximize", 2)
    name = f"small/{problem}/{last['method']}"
    store = Store.open("wald.db", create=False)
    scores = [find_object(store, f"{name}/{seed}")["score"] for seed in (3, 5)]
    assert last["median"] == pytest.approx(np.median(scores))
    if kind == "bandit":
        first = {r["method"]: r["median"] for r in told["table"] if r["budget"] == 100}
        assert first["random"] > {r["method"]: r["median"] for r in told["table"]}["random"]


def test_an_agent_that_went_on_is_read_as_one_that_went_straight_there(here, wald):
    """Its last record under the smaller budget has a score, the other's at that step has none."""
    agent = '{ name = "dqn", options = { evaluate_every = 500 } }'
    text = f'kind = "rl"\nproblems = ["cartpole"]\nmethods = [{agent}]\nseeds = 1\nbudgets = '
    write_small(wald.folder, f"{text}[600]\n")
    here()
    write_small(wald.folder, f"{text}[600, 1200]\n")
    told = here()
    assert without_times(told) == without_times(here(store="other.db"))
    assert [row["seeds"] for row in told["table"]] == [1, 1]


def test_a_store_knows_the_checkpoints_of_its_own_runs(here, wald):
    """Those of another store in the same folder, or of one that was deleted, are another run's."""
    text = 'kind = "bandit"\nproblems = ["bernoulli"]\nmethods = ["ts-beta"]\nseeds = 2\n'
    write_small(wald.folder, f"{text}budgets = [100, 300]\n")
    told = here()
    assert without_times(here(store="other.db")) == without_times(told)
    for file in wald.folder.glob("wald.db*"):
        file.unlink()
    assert without_times(here()) == without_times(told)
    write_small(wald.folder, f"{text}budgets = [100, 300, 350]\n")
    longer = here()  # its own it goes on from
    assert longer["table"][:2] == told["table"]
    assert longer["table"][2]["seeds"] == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"problems": '["brannin"]'}, "did you mean 'branin'"),
        ({"methods": '["gpmap"]'}, "did you mean 'gp-map'"),
        ({"methods": '[{ name = "gp-map", options = { acquisitoin = "ucb" } }]'}, "'acquisition'"),
        ({"methods": '[{ name = "gp-map", optoins = {} }]'}, "did you mean 'options'"),
        ({"methods": '["sobol", "sobol"]'}, "'sobol' 2 times"),
        ({"methods": "[]"}, "methods expected a list"),
        ({"methods": '"sobol"'}, "methods expected a list"),
        ({"seeds": "0"}, "seeds expected a whole number of at least 1"),
        ({"seeds": "[1, 1]"}, "distinct"),
        ({"seeds": "2.5"}, "seeds expected"),
        ({"seeds": "[1, 2]\nfirst_seed = 3"}, "first_seed expected a count"),
        ({"budgets": "[]"}, "budgets expected at least one"),
        ({"budgets": "[0]"}, "budgets expected"),
        ({"budgets": "[5]\nsedes = 3"}, "did you mean 'seeds'"),
        ({"budgets": "[5]\ninitial = 6"}, "at most the largest budget, 5"),
        ({"budgets": "[5]\nbatch = 0"}, "batch expected"),
        ({"budgets": "[5]\nthreads = 1000"}, "threads expected 1 to 256"),
        ({"budgets": '[5]\nkind = "bandid"'}, "did you mean 'bandit'"),
        ({"budgets": '[5]\nkind = "rl"'}, "rl problem"),
        ({"budgets": '[5]\nkind = "rl"\nbatch = 2'}, "batch expected a bo experiment"),
        ({"budgets": '[5]\nskip_missing = "yes"'}, "skip_missing expected true or false"),
        ({"problems": '["table:none.toml"]'}, "none.toml"),
        ({"problems": '["blackbox/agnp"]'}, "set WALD_DATA to"),
        ({"problems": '["blackbox/agnp"]', "seeds": "1\nskip_missing = true"}, "none left"),
        ({"budgets": "[5"}, "TOML"),
        ({"seeds": None}, "expected seeds, got none"),
    ],
)
def test_it_is_refused_and_nothing_is_created(wald, monkeypatch, change, told, capsys):
    from apps import cli

    monkeypatch.delenv("WALD_DATA", raising=False)
    values = {
        "problems": '["branin"]', "methods": '["sobol"]', "seeds": "1", "budgets": "[5]"
    } | change  # fmt: skip
    lines = [f"{key} = {value}" for key, value in values.items() if value is not None]
    write_small(wald.folder, "\n".join(lines) + "\n")
    refused(wald, monkeypatch, capsys, cli, told, "experiment", "small.toml")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("none.toml", "none.toml"),
        ("small.toml --engine rai", "known engine"),
        ("small.toml --workers -1", "--workers 0 to 256"),
        ("small.toml --out t.csv/results", "no folder that can be written"),
        ("small.toml --store foo://x", "store URL"),
    ],
)
def test_bad_arguments_are_refused(wald, monkeypatch, capsys, arguments, told):
    from apps import cli

    write_small(wald.folder)
    refused(wald, monkeypatch, capsys, cli, told, "experiment", *arguments.split())


def refused(wald, monkeypatch, capsys, cli, told, *arguments) -> None:
    """Exit 2, one line, no new file."""
    monkeypatch.chdir(wald.folder)
    monkeypatch.setattr("sys.argv", ["wald", *arguments])
    before = wald.files()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    err = capsys.readouterr().err
    assert ended.value.code == 2, err
    assert told in err
    assert err.count("\n") == 1
    assert wald.files() == before


def test_the_name_of_another_experiment_is_refused(wald, here):
    text = 'problems = ["branin"]\nmethods = ["sobol"]\nseeds = 1\nbudgets = [3]\n'
    write_small(wald.folder, text)
    assert here()["state"] == "finished"
    changed = text.replace('"branin"', '{ name = "hartmann6", label = "branin" }')
    write_small(wald.folder, changed)
    with pytest.raises(UsageError, match="exists and differs: problem is 'branin' there"):
        here()
    write_small(wald.folder, text.replace("[3]", "[5]\ninitial = 5"))
    told = here()
    assert told["state"] == "failed"
    (run,) = told["incomplete"]
    assert "began otherwise" in run["error"]


def test_what_is_missing_is_left_out_where_asked(wald, here, monkeypatch):
    monkeypatch.delenv("WALD_DATA", raising=False)
    text = """
problems = ["branin", "blackbox/agnp"]
methods = ["sobol"]
seeds = 1
budgets = [3]
skip_missing = true
"""
    write_small(wald.folder, text)
    told = here()
    assert [each["name"] for each in told["skipped"]] == ["blackbox/agnp"]
    assert {row["problem"] for row in told["table"]} == {"branin"}
    assert "blackbox/agnp" in (wald.folder / "results/small/RESULTS.md").read_text()


@pytest.mark.parametrize("name", ["quick", "peers"])
def test_the_experiments_that_come_with_wald_can_be_read(name):
    plan = read_plan(str(ROOT / "experiments" / f"{name}.toml"))
    assert plan.name == name
    cells = len(plan.problems) * len(plan.methods) * len(plan.seeds)
    assert len({spec.name for *_, spec in plan.cells()}) == cells


@pytest.mark.slow
def test_the_quick_experiment_ends(wald):
    told = wald.json("experiment", ROOT / "experiments/quick.toml", "--workers", 2)
    assert (told["state"], told["runs"], told["failed"]) == ("finished", 18, 0)


SPACE = bo.Space({"a": bo.real(0, 1), "b": bo.integer(1, 9), "c": bo.choice("x", "y", "z")})


def test_a_design_is_a_latin_hypercube():
    points = design(SPACE, 9, seed=1)
    assert points == design(SPACE, 9, seed=1)
    assert points != design(SPACE, 9, seed=2)
    assert sorted(int(9 * float(point["a"])) for point in points) == list(range(9))
    assert sorted(point["b"] for point in points) == list(range(1, 10))
    assert sorted(point["c"] for point in points) == [*"xxx", *"yyy", *"zzz"]


def test_the_size_of_a_design():
    sizes = [len(design(bo.Space({f"x{i}": bo.real(0, 1) for i in range(d)}), None, 0)) for d in
             (1, 3, 8, 20)]  # fmt: skip
    assert sizes == [4, 6, 16, 16]
    assert design(SPACE, 0, 0) == []
    few = design(bo.Space({"a": bo.boolean(), "b": bo.boolean()}), 16, 0)
    assert len(few) == len({str(point) for point in few}) == 4


def test_a_design_in_a_pool_takes_rows():
    rows = [{"a": a, "b": b} for a in range(5) for b in range(4)]
    space = bo.Space({"a": bo.integer(0, 4), "b": bo.integer(0, 3)}, candidates=rows)
    points = design(space, 8, seed=0)
    assert len({str(point) for point in points}) == 8
    assert all(point in rows for point in points)


def test_a_design_is_put_in_once_and_completed(tmp_path):
    spec = RunSpec("bo", "branin", "sobol", 3, 10)
    space = {"a": bo.real(0, 1), "b": bo.real(0, 1)}

    def study(name: str) -> bo.Study:
        return bo.Study(space, name=name, store=tmp_path / "s.db", method="sobol", seed=3)

    for _ in range(2):
        enqueue_design(study("whole"), 5, spec)
    whole = [trial.parameters for trial in study("whole").trials]
    assert len(whole) == 5
    for parameters in whole[:2]:  # as if it had been killed here
        study("part").enqueue(parameters)
    enqueue_design(study("part"), 5, spec)
    assert [trial.parameters for trial in study("part").trials] == whole
    with pytest.raises(UsageError, match="began otherwise"):
        enqueue_design(study("part"), 6, spec)
    late = study("late")
    late.ask()
    with pytest.raises(UsageError, match="began otherwise"):
        enqueue_design(late, 5, spec)


def _number(outcome: object) -> float:
    assert isinstance(outcome, float)
    return outcome


def test_a_run_that_is_to_go_on_has_no_value_beyond_its_budget(here, wald):
    """It finished with a smaller budget: what it had then is not what it will have."""
    text = 'problems = ["branin"]\nmethods = ["sobol"]\nseeds = 2\nbudgets = '
    write_small(wald.folder, f"{text}[3, 5]\n")
    first = here()
    write_small(wald.folder, f"{text}[3, 9]\n")
    store = Store.open("wald.db", create=False)
    why = {"small/branin/sobol/1": "its process ended by signal 9"}
    told = tell(collect(read_plan("small.toml"), store, why))
    assert told["table"][0] == first["table"][0]
    assert (told["table"][1]["seeds"], told["table"][1]["median"]) == (0, None)
    assert told["state"] == "failed"
    assert told["incomplete"] == [
        {"run": "small/branin/sobol/0", "state": "missing", "error": "so far it went to 5 of 9"},
        {"run": "small/branin/sobol/1", "state": "failed", "error": why["small/branin/sobol/1"]},
    ]


def test_noise_that_was_added_does_not_count(wald):
    (wald.folder / "noise.toml").write_text(
        'problems = [{ name = "branin", options = { noise = 90.0 }, label = "noisy" }]\n'
        'methods = ["sobol"]\nseeds = 1\nbudgets = [5, 12]\n'
    )
    table = wald.json("experiment", "noise.toml")["table"]
    store = Store.open(str(wald.folder / "wald.db"), create=False)
    _, trials = store.trials(str(store.runs()[0].study))
    branin = make_problem("branin", {})
    exact = [_number(branin.evaluate(trial.parameters, seed=0)) for trial in trials]
    assert exact != [trial.values["value"] for trial in trials]
    for row in table:
        regret = min(exact[: row["budget"]]) - float(branin.optimum or 0.0)
        assert row["median"] == pytest.approx(regret, rel=1e-9)


def test_hypervolumes_are_measured_from_one_point_and_without_the_noise(here, wald):
    """BNH has no reference point: that of one run's front would not be that of another's."""
    problem = '{ name = "bnh", options = { noise = 9.0 }, label = "bnh" }'
    write_small(
        wald.folder,
        f'problems = [{problem}]\nmethods = ["sobol", "random"]\nseeds = 2\nbudgets = [8, 14]\n',
    )
    table = here()["table"]
    store, exact = Store.open("wald.db", create=False), make_problem("bnh", {})
    found: dict[str, list[list[Trial]]] = {"sobol": [], "random": []}
    for run in store.runs():
        trials = store.trials(str(run.study))[1]
        trials = [metrics.without_noise(trial, exact.goals) for trial in trials]
        for trial in trials:
            told = exact.evaluate(trial.parameters, seed=0)
            assert isinstance(told, Mapping)
            assert {**trial.values, **told} == trial.values
        found[run.name.split("/")[2]].append(trials)
    everything = [trial for runs in found.values() for trials in runs for trial in trials]
    corner = metrics.reference(everything, exact.goals)
    goals = dataclasses.replace(exact.goals, reference=corner)
    for row in table:
        volumes = [metrics.hypervolume(run[: row["budget"]], goals) for run in found[row["method"]]]
        median = np.median([volume for volume in volumes if volume is not None])
        assert row["median"] == pytest.approx(median, rel=1e-9)
