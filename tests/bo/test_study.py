"""Studies: ask, tell, fail, run, resume; in memory, in a file, in many processes."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any, cast

import pytest

import bo
from bo import metrics, trial_log
from bo.database import open_database
from bo.trial_log import Log
from surrogates.errors import StoreError, UsageError

SPACE = {"x": bo.real(-5, 10), "y": bo.real(0, 15)}
MIXED = {
    "lr": bo.real(1e-5, 1e-1, log=True),
    "layers": bo.integer(1, 5),
    "act": bo.choice("relu", "tanh", "gelu"),
    "bias": bo.boolean(),
    "epochs": bo.fixed(3),
}


def bowl(p):
    return (p["x"] - 2) ** 2 + (p["y"] - 3) ** 2


def quiet(_trial):
    pass


def run_python(code, *arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **kwargs,
    )


def test_ten_lines_in_a_notebook():
    result = bo.minimize(lambda p: bowl(p), SPACE, budget=20, seed=1)
    assert result.best_value is not None
    assert result.best_value < 0.5
    assert result.best_parameters is not None
    assert set(result.best_parameters) == {"x", "y"}
    assert list(result.trials["state"]) == ["complete"] * 20


def test_maximise_is_minimise_mirrored():
    low = bo.minimize(bowl, SPACE, budget=10, seed=3, method="gp-map", callback=quiet)
    high = bo.maximize(
        lambda p: -bowl(p), SPACE, budget=10, seed=3, method="gp-map", callback=quiet
    )
    assert [t.parameters for t in low.study.trials] == [t.parameters for t in high.study.trials]
    assert high.best_value == -(low.best_value or math.nan)


def test_mixed_space_improves_on_random():
    def loss(p):
        return (math.log10(p["lr"]) + 3) ** 2 + (p["layers"] - 3) ** 2 + (p["act"] != "gelu") * 2

    found = bo.minimize(loss, MIXED, 24, seed=0, callback=quiet).best_value
    chance = [
        bo.minimize(loss, MIXED, 24, seed=s, method="random", callback=quiet).best_value or 0.0
        for s in range(20)
    ]
    assert found is not None
    assert found < sorted(chance)[5]


@pytest.mark.parametrize("method", ["random", "sobol", "gp-map"])
def test_same_seed_same_digest_and_other_seed_another(method):
    digests = [
        metrics.digest(
            bo.minimize(bowl, SPACE, 8, seed=seed, method=method, callback=quiet).study.trials
        )
        for seed in (5, 5, 6)
    ]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


SAAS = {
    "surrogate.num_samples": 64,
    "surrogate.warmup_steps": 64,
    "surrogate.thinning": 8,
    "surrogate.max_tree_depth": 5,
}


@pytest.mark.parametrize(
    ("method", "options", "package"),
    [
        ("random", {}, "bo"),
        ("sobol", {}, "bo"),
        ("gp-map", {}, "bo"),
        pytest.param("auto", {}, "bo", marks=pytest.mark.slow),
        ("cma", {"population": 4}, "cma"),
        pytest.param("gp-trust-region", {}, "bo", marks=pytest.mark.slow),
        pytest.param("gp-global-local", {}, "bo", marks=pytest.mark.slow),
        pytest.param("saas", SAAS, "numpyro", marks=pytest.mark.slow),
    ],
)
def test_going_on_in_a_new_process_equals_an_unbroken_run(tmp_path, method, options, package):
    pytest.importorskip(package)
    whole = bo.minimize(bowl, SPACE, 9, seed=7, method=method, options=options, callback=quiet)
    code = """
        import sys, os, json, signal, bo, torch
        torch.set_num_threads(1)
        method, options, store, budget = sys.argv[1:]
        def f(p):
            return (p["x"] - 2) ** 2 + (p["y"] - 3) ** 2
        space = {"x": bo.real(-5, 10), "y": bo.real(0, 15)}
        study = bo.Study(
            space, name="s", store=store, method=method, options=json.loads(options), seed=7
        )
        study.run(f, int(budget), callback=lambda t: None)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    for budget in (6, 9):
        ended = run_python(code, method, json.dumps(options), tmp_path / "s.db", budget)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert len(bo.Study.resume("s", store=tmp_path / "s.db").trials) == budget
    broken = bo.Study.resume("s", store=tmp_path / "s.db").trials
    assert [t.parameters for t in broken] == [t.parameters for t in whole.study.trials]
    assert metrics.digest(broken) == metrics.digest(whole.study.trials)


def test_ask_and_tell_by_hand_survive_the_process(tmp_path):
    store = tmp_path / "runs.db"
    study = bo.Study(SPACE, "minimize loss", name="mlp", store=store, method="sobol", seed=0)
    asked = study.ask(3)
    study.tell(asked[0], {"loss": 0.31, "latency": 12.0})
    study.fail(asked[1], "out of memory")
    again = bo.Study.resume("mlp", store=f"sqlite:///{store}")
    told = again.tell(2, 0.5)
    assert (told.state, told.values) == ("complete", {"loss": 0.5})
    assert [t.state for t in again.trials] == ["complete", "failed", "complete"]
    assert again.trials[1].reason == "out of memory"
    assert again.trials[0].values == {"loss": 0.31, "latency": 12.0}
    assert again.best is not None
    assert again.best.number == 0


def test_a_pending_hand_asked_trial_is_never_taken_over(tmp_path):
    store = tmp_path / "s.db"
    run_python(
        """
        import sys, bo
        study = bo.Study({"x": bo.real(0, 1)}, name="s", store=sys.argv[1], method="sobol", seed=0)
        study.ask(2)
        """,
        store,
    )
    study = bo.Study.resume("s", store=store)
    study.run(lambda p: p["x"], 5, callback=quiet)
    assert [t.state for t in study.trials] == ["running"] * 2 + ["complete"] * 3


def test_budget_counts_what_was_there():
    study = bo.Study(SPACE, method="sobol", seed=0)
    study.add({"x": 2.0, "y": 3.0}, 0.0)
    study.run(bowl, 5, callback=quiet)
    study.run(bowl, 8, callback=quiet)
    assert len(study.trials) == 8
    assert study.best is not None
    assert study.best.number == 0


def test_enqueued_points_come_first():
    study = bo.Study(SPACE, method="sobol", seed=0)
    study.enqueue({"x": 1.0, "y": 1.0})
    seen = []
    study.run(lambda p: seen.append(p) or bowl(p), 3, callback=quiet)
    assert seen[0] == {"x": 1.0, "y": 1.0}
    assert len(study.trials) == 3


def _raise(_p):
    raise ValueError("no such kernel\nsecond line")


def _exit(_p):
    sys.exit(3)


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (_raise, "ValueError: no such kernel second line"),
        (_exit, "SystemExit: 3"),
        (lambda _p: "0.5", "expected a number for 'value', got '0.5'"),
        (lambda _p: None, "expected a number for 'value', got None"),
        (lambda _p: math.nan, "value is not finite: nan"),
        (lambda _p: math.inf, "value is not finite: inf"),
        (lambda _p: -math.inf, "value is not finite: -inf"),
        (lambda _p: 10**400, "value is not finite: inf"),
        (lambda _p: {"loss": 1.0}, "expected a value for 'value', got one for loss"),
        (lambda _p: [1.0, 2.0], "expected a number for 'value', got \\[1.0, 2.0\\]"),
    ],
)
def test_an_objective_that_misbehaves_makes_failed_trials_and_the_study_goes_on(objective, reason):
    study = bo.Study(SPACE, method="gp-map", seed=0)
    calls = iter(range(100))
    result = study.run(
        lambda p: objective(p) if next(calls) in (1, 6, 7) else bowl(p), 9, callback=quiet
    )
    states = [t.state for t in study.trials]
    assert [i for i, state in enumerate(states) if state == "failed"] == [1, 6, 7]
    assert study.trials[1].reason is not None
    assert re.search(reason, study.trials[1].reason)
    assert result.best_value is not None
    assert math.isfinite(result.best_value)


def test_what_an_objective_tells_beside_its_goals_is_kept_where_it_is_a_number():
    def told(p):
        return {"loss": bowl(p), "size": 3, "from": "cache", "curve": [1.0, 0.5], "best": None}

    study = bo.Study(SPACE, "minimize loss", method="sobol", seed=0)
    study.run(told, 2, callback=quiet)
    assert [trial.state for trial in study.trials] == ["complete"] * 2
    assert [set(trial.values) for trial in study.trials] == [{"loss", "size"}] * 2
    by_hand: Any = {"loss": 1.0, "from": "cache"}
    with pytest.raises(UsageError, match="expected a number for 'from', got 'cache'"):
        study.tell(study.ask()[0], by_hand)


@pytest.mark.parametrize(
    ("method", "direction"),
    [
        ("gp-map", "minimize"),
        *(
            pytest.param(method, direction, marks=pytest.mark.slow)
            for method, direction in (
                ("gp-map", "maximize"),
                ("auto", "minimize"),
                ("auto", "maximize"),
                ("gp-trust-region", "minimize"),
                ("gp-trust-region", "maximize"),
            )
        ),
    ],
)
def test_infinite_and_missing_values_fail_and_no_later_ask_minds(method, direction):
    awkward = {2: math.inf, 5: math.nan, 20: math.nan, 30: -math.inf}
    sign = 1 if direction == "minimize" else -1
    study = bo.Study(SPACE, f"{direction} loss", method=method, seed=0)
    study.run(lambda p, trial: awkward.get(trial.number, sign * bowl(p)), 34, callback=quiet)
    trials = study.trials
    assert [t.number for t in trials if t.state == "failed"] == list(awkward)
    assert [t.reason for t in trials if t.state == "failed"] == [
        f"loss is not finite: {value}" for value in awkward.values()
    ]
    assert not any(trials[number].values for number in awkward)
    told = [sign * t.values["loss"] for t in trials if t.state == "complete"]
    assert len(told) == 30
    best = study.best
    assert best is not None
    assert sign * best.values["loss"] == min(told)
    assert min(told[20:]) < min(told[:4])  # the model still leads somewhere


def test_a_failed_point_is_not_proposed_again():
    study = bo.Study(SPACE, method="gp-map", seed=0)
    study.run(lambda p: math.nan if p["x"] > 5 else bowl(p), 14, callback=quiet)
    points = [(t.parameters["x"], t.parameters["y"]) for t in study.trials]
    assert len(set(points)) == 14


def test_everything_fails_and_nothing_breaks():
    study = bo.Study(SPACE, method="gp-map", seed=0)
    result = study.run(_raise, 12, callback=quiet)
    assert result.best_value is None
    assert result.best_parameters is None
    assert [t.state for t in study.trials] == ["failed"] * 12


def test_huge_and_constant_values_are_data():
    for value in (1e30, 7.0):
        study = bo.Study(SPACE, method="gp-map", seed=0)
        study.run(lambda p, v=value: v if p["x"] > 0 else 7.0, 10, callback=quiet)
        assert [t.state for t in study.trials] == ["complete"] * 10


def test_the_objective_may_take_the_trial():
    numbers = []
    study = bo.Study(SPACE, method="sobol", seed=0)
    study.run(
        lambda p, trial: numbers.append((trial.number, trial.seed)) or bowl(p), 3, callback=quiet
    )
    assert [n for n, _ in numbers] == [0, 1, 2]
    assert [s for _, s in numbers] == [t.seed for t in study.trials]
    assert len({s for _, s in numbers}) == 3


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda s: s.tell(7, 1.0), "got number 7; it has 1"),
        (lambda s: s.tell(0, {}), "expected a value for 'value', got one for nothing"),
        (lambda s: s.tell(0, {"other": 1.0}), "expected a value for 'value'"),
        (lambda s: s.ask(0), "at least 1"),
        (lambda s: s.add({"x": 99, "y": 0}, 1.0), "parameter x expected"),
        (lambda s: s.run(bowl, 0), "at least 1"),
    ],
)
def test_misuse_is_refused_and_changes_nothing(call, told):
    study = bo.Study(SPACE, method="sobol", seed=0)
    study.ask()
    with pytest.raises(UsageError, match=told):
        call(study)
    assert [t.state for t in study.trials] == ["running"]


def test_a_trial_is_told_once():
    study = bo.Study(SPACE, method="sobol", seed=0)
    trial = study.ask()[0]
    study.tell(trial, 1.0)
    with pytest.raises(UsageError, match="trial 0, which is complete"):
        study.tell(trial, 2.0)
    assert study.trials[0].values == {"value": 1.0}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"method": "gpmap"}, "did you mean 'gp-map'"),
        ({"options": {"acquisitoin": "ucb"}}, "did you mean 'acquisition'"),
        ({"options": {"surrogate.kernal": "rbf"}, "method": "gp-map"}, "did you mean 'kernel'"),
        ({"options": {"initial": -1}}, "option initial expected"),
        ({"goal": "loss"}, "minimize NAME"),
        ({"seed": -1}, "seed expected"),
        ({"name": ""}, "name of 1 to 200"),
    ],
)
def test_a_study_with_bad_arguments_is_refused(tmp_path, arguments, told):
    with pytest.raises(UsageError, match=told):
        bo.Study(SPACE, store=tmp_path / "s.db", **arguments)
    assert not (tmp_path / "s.db").exists()


def test_the_same_name_with_another_space_or_goal_is_refused(tmp_path):
    store = tmp_path / "s.db"
    bo.Study(SPACE, "minimize loss", name="a", store=store, seed=0)
    with pytest.raises(UsageError, match="parameter y"):
        bo.Study({"x": bo.real(-5, 10)}, "minimize loss", name="a", store=store)
    with pytest.raises(UsageError, match="the goal is 'minimize loss' there"):
        bo.Study(SPACE, "maximize loss", name="a", store=store)
    with pytest.raises(UsageError, match="has seed 0, got 1"):
        bo.Study(SPACE, "minimize loss", name="a", store=store, seed=1)
    assert bo.Study(SPACE, "minimize loss", name="a", store=store).seed == 0
    with pytest.raises(UsageError, match="did you mean 'a1'|choose from"):
        bo.Study.resume("b", store=store)
    with pytest.raises(StoreError, match="no such file"):
        bo.Study.resume("a", store=tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_pool_is_used_up_without_repeats():
    rows = [{"x": float(i)} for i in range(7)]
    for method in ("random", "sobol", "gp-map"):
        space = bo.Space({"x": bo.real(0, 10)}, candidates=rows)
        study = bo.Study(space, method=method, seed=0)
        study.run(lambda p: (p["x"] - 4) ** 2, 20, callback=quiet)
        assert sorted(t.parameters["x"] for t in study.trials) == [r["x"] for r in rows]


def test_a_small_finite_space_is_searched_whole_before_anything_repeats():
    space = {"a": bo.choice(*"abc"), "b": bo.boolean()}
    study = bo.Study(space, method="gp-map", seed=0)
    study.run(lambda p: "abc".index(p["a"]) + p["b"], 14, callback=quiet)
    first = {(t.parameters["a"], t.parameters["b"]) for t in study.trials[:10]}
    assert len(first) == 6  # the design of 4 may repeat itself, the model may not
    assert study.best is not None
    assert study.best.parameters == {"a": "a", "b": False}


def test_pending_points_are_conditioned_on():
    study = bo.Study(SPACE, method="gp-map", seed=0)
    study.run(bowl, 8, callback=quiet)
    asked = study.ask(4)
    assert len({json.dumps(t.parameters) for t in asked}) == 4
    fresh = bo.Study(SPACE, method="gp-map", seed=0)
    fresh.run(bowl, 8, callback=quiet)
    for trial in fresh.ask(4):
        fresh.tell(trial, bowl(trial.parameters))
    assert study.ask()[0].parameters != fresh.ask()[0].parameters


def test_parallel_evaluations_in_worker_processes(tmp_path):
    study = bo.Study(SPACE, method="sobol", seed=0, store=tmp_path / "s.db", name="s")
    study.run(lambda p: __import__("os").getpid() * 0 + bowl(p), 8, parallel=2, callback=quiet)
    assert [t.state for t in study.trials] == ["complete"] * 8


def test_a_worker_that_dies_runs_once_more_and_is_then_failed(tmp_path):
    marks = str(tmp_path)

    def objective(p, trial):
        import os
        from pathlib import Path

        mark = Path(marks) / f"{trial.number}-{trial.attempt}"
        mark.touch()
        if trial.number == 1 or (trial.number == 2 and trial.attempt == 1):
            os._exit(3)
        return p["x"]

    study = bo.Study(SPACE, method="sobol", seed=0)
    study.run(objective, 5, parallel=2, callback=quiet)
    assert [t.state for t in study.trials] == [
        "complete",
        "failed",
        "complete",
        "complete",
        "complete",
    ]
    assert [t.attempt for t in study.trials] == [1, 2, 2, 1, 1]
    assert "WorkerDied" in (study.trials[1].reason or "")


def test_a_time_limit_is_real():
    study = bo.Study(SPACE, method="sobol", seed=0)
    began = time.monotonic()
    study.run(
        lambda p, t: time.sleep(60) if t.number == 1 else p["x"], 3, timeout=1, callback=quiet
    )
    assert time.monotonic() - began < 30
    assert [t.state for t in study.trials] == ["complete", "failed", "complete"]
    assert "EvaluationTimeout" in (study.trials[1].reason or "")


def test_an_interrupted_trial_runs_again_under_its_own_number():
    study = bo.Study(SPACE, method="gp-map", seed=0)
    calls = iter(range(100))

    def objective(p):
        if next(calls) == 6:
            raise KeyboardInterrupt
        return bowl(p)

    with pytest.raises(KeyboardInterrupt):
        study.run(objective, 10, callback=quiet)
    study.run(bowl, 10, callback=quiet)
    whole = bo.minimize(bowl, SPACE, 10, method="gp-map", seed=0, callback=quiet)
    assert metrics.digest(study.trials) == metrics.digest(whole.study.trials)
    assert study.trials[6].attempt == 1  # interrupted, not dead


def test_any_executor_with_submit_done_and_result_serves():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        study = bo.Study(SPACE, method="sobol", seed=0)
        study.run(bowl, 6, executor=pool, parallel=2, callback=quiet)
    assert [t.state for t in study.trials] == ["complete"] * 6


def test_four_processes_take_a_thousand_distinct_numbers(tmp_path):
    code = """
        import sys, bo
        study = bo.Study({"x": bo.real(0, 1), "y": bo.real(0, 1)}, name="s", store=sys.argv[1],
                         method="sobol", seed=1)
        study.run(lambda p: p["x"] * p["y"], 1000, callback=lambda t: None)
    """
    assert_all_exit_well(code, tmp_path / "s.db")
    trials = bo.Study.resume("s", store=tmp_path / "s.db").trials
    assert [t.number for t in trials] == list(range(1000))
    assert {t.state for t in trials} == {"complete"}
    assert len({json.dumps(t.parameters) for t in trials}) == 1000


def test_four_processes_with_a_model_never_ask_the_same_point(tmp_path):
    code = """
        import sys, bo, torch
        torch.set_num_threads(1)
        study = bo.Study({"x": bo.real(-5, 10), "y": bo.real(0, 15)}, name="s", store=sys.argv[1],
                         method="gp-map", seed=1)
        study.run(lambda p: (p["x"] - 2) ** 2 + (p["y"] - 3) ** 2, 40, callback=lambda t: None)
    """
    assert_all_exit_well(code, tmp_path / "s.db")
    trials = bo.Study.resume("s", store=tmp_path / "s.db").trials
    assert [t.number for t in trials] == list(range(40))
    assert len({json.dumps(t.parameters) for t in trials}) == 40


def assert_all_exit_well(code, store, count=4):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(store)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for process in processes:
        _, told = process.communicate(timeout=300)
        assert process.returncode == 0, told


def test_a_dead_holder_of_the_lease_is_passed_over(tmp_path):
    store = tmp_path / "s.db"
    code = """
        import sys, os, signal, bo
        study = bo.Study({"x": bo.real(0, 1)}, name="s", store=sys.argv[1], method="sobol", seed=0)
        with study.log.asking():
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run_python(code, store).returncode == -signal.SIGKILL
    began = time.monotonic()
    study = bo.Study.resume("s", store=store)
    assert study.ask()[0].number == 0
    assert time.monotonic() - began < 5


def test_a_living_holder_of_the_lease_is_waited_for(tmp_path):
    study = bo.Study(SPACE, name="s", store=tmp_path / "s.db", method="sobol", seed=0)
    other = bo.Study.resume("s", store=tmp_path / "s.db")
    with study.log.asking():
        from bo.trial_log import Lease

        assert not Lease(other.log, "x").take()
    assert Lease(other.log, "x").take()


def test_a_slow_trial_whose_process_lives_is_never_taken_over(tmp_path, monkeypatch):
    store = tmp_path / "s.db"
    study = bo.Study(SPACE, name="s", store=store, method="sobol", seed=0)
    (slow,) = study._ask(1, owner=trial_log.owner())
    watching = Log.load(f"sqlite:///{store}", "s")
    assert len(watching.trials()) == 1
    later = time.time() + 3600  # silent for an hour, then a heartbeat
    monkeypatch.setattr(trial_log.time, "time", lambda: later)
    study.log.beat([slow.number])
    assert watching.reclaim() == []
    monkeypatch.setattr(trial_log.time, "time", lambda: later + 3600)
    assert [t.attempt for t in watching.reclaim()] == [2]
    told = study.tell(slow, 1.0)  # a late tell is recorded all the same
    assert (told.state, told.attempt) == ("complete", 2)


def test_what_failed_otherwise_stays_failed(tmp_path):
    study = bo.Study(SPACE, name="s", store=tmp_path / "s.db", method="sobol", seed=0)
    (trial,) = study.ask()
    study.fail(trial, "it broke")
    with pytest.raises(UsageError, match="which is failed"):
        study.tell(trial, 1.0)


def test_what_a_failed_transaction_read_is_forgotten(tmp_path):
    study = bo.Study(SPACE, name="s", store=tmp_path / "s.db", method="sobol", seed=0)

    def insert_and_fail():
        with study.log._writing() as connection:
            study.log._insert(connection, [{"parameters": json.dumps({"x": 0.0, "y": 0.0})}])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        insert_and_fail()
    assert study.trials == []
    other = bo.Study.resume("s", store=tmp_path / "s.db")
    other.tell(other.ask()[0], 1.0)
    assert [t.state for t in study.trials] == ["complete"]


@pytest.mark.parametrize("content", [b"not a database at all, but some text\n" * 40, b"\0" * 4096])
def test_a_damaged_store_is_refused_and_left_as_it_is(tmp_path, content):
    file = tmp_path / "s.db"
    file.write_bytes(content)
    with pytest.raises(StoreError, match="damaged|not a database|wald's tables"):
        open_database(f"sqlite:///{file}", create=False)
    if content.strip(b"\0"):
        with pytest.raises(StoreError, match="damaged"):
            bo.Study(SPACE, store=file)
        assert file.read_bytes() == content


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    import sqlite3

    store = tmp_path / "s.db"
    bo.Study(SPACE, name="s", store=store, seed=0)
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE wald_version SET version = 99")
    with pytest.raises(StoreError, match="got 99: it was written by a newer wald"):
        bo.Study.resume("s", store=store)


def test_a_full_disk_loses_nothing_that_was_recorded(tmp_path):
    study = bo.Study(SPACE, name="s", store=tmp_path / "s.db", method="random", seed=0)
    study.run(bowl, 5, callback=quiet)
    with study.log.engine.connect() as connection:  # the pool hands this connection on
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match="disk is full"):
        study.run(bowl, 500, callback=quiet)
    trials = Log.load(f"sqlite:///{tmp_path / 's.db'}", "s").trials()
    assert len(trials) >= 5
    assert [t.number for t in trials] == list(range(len(trials)))
    assert os.path.getsize(tmp_path / "s.db") > 0


def test_a_method_that_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="bo method expected a name, got 3"):
        bo.Study({"x": bo.real(0.0, 1.0)}, "minimize loss", method=cast(Any, 3))
