"""Trials whose process died: they come back while retries are left, and are failed after that."""

import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import bo
from bo import loop, trial_log
from bo.loop import _reclaimed
from surrogates.errors import UsageError

SPACE = {"x": bo.real(0, 1)}
RUN = """
    import os, sys, time, bo
    folder, = sys.argv[1:]
    def f(p, trial):
        open(os.path.join(folder, f"{trial.number}-{trial.attempt}"), "w").close()
        time.sleep(600 * (trial.number in (2, 3)))
        return p["x"]
    study = bo.Study(
        {"x": bo.real(0, 1)}, name="s", store=os.path.join(folder, "s.db"), method="sobol", seed=0
    )
    study.run(f, 6, parallel=2, callback=lambda t: None)
"""


def quiet(_trial):
    pass


def marking(folder: Path, dies: int | None = None) -> Callable[..., float]:
    """An objective that leaves a file for each attempt; one trial may kill its process."""
    marks = str(folder)

    def objective(p, trial):
        import os

        with open(os.path.join(marks, f"{trial.number}-{trial.attempt}"), "w"):
            if trial.number == dies:
                os._exit(3)
        return p["x"]

    return objective


def killed_in_flight(folder: Path, attempt: int) -> Path:
    """A run that was killed without notice while trials 2 and 3 were in flight for the nth time."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUN), str(folder)], stderr=subprocess.PIPE, text=True
    )
    marks = [folder / f"{number}-{attempt}" for number in (2, 3)]
    until = time.monotonic() + 60
    while not all(mark.exists() for mark in marks):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return folder


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> Path:
    """The folder of a run that was killed once; to be copied."""
    return killed_in_flight(tmp_path_factory.mktemp("once"), attempt=1)


@pytest.fixture(scope="module")
def twice(once, tmp_path_factory) -> Path:
    """The same, killed again when it was resumed."""
    folder = tmp_path_factory.mktemp("twice") / "s"
    return killed_in_flight(shutil.copytree(once, folder), attempt=2)


def resumed(folder: Path) -> bo.Study:
    return bo.Study.resume("s", store=folder / "s.db")


def test_both_trials_of_a_killed_run_come_back_under_their_own_numbers(once, tmp_path):
    study = resumed(shutil.copytree(once, tmp_path / "s"))
    before = study.trials
    assert [t.state for t in before] == ["complete"] * 2 + ["running"] * 2
    study.run(marking(tmp_path / "s"), 6, parallel=2, callback=quiet)
    after = study.trials
    assert [t.state for t in after] == ["complete"] * 6
    assert [t.attempt for t in after] == [1, 1, 2, 2, 1, 1]
    assert [(t.parameters, t.seed) for t in after[:4]] == [(t.parameters, t.seed) for t in before]


def test_trials_of_a_run_that_is_killed_again_are_failed_and_no_longer_pending(twice, tmp_path):
    folder = shutil.copytree(twice, tmp_path / "s")
    study = resumed(folder)
    study.run(marking(folder), 6, parallel=2, callback=quiet)
    assert [t.state for t in study.trials] == ["complete"] * 2 + ["failed"] * 2 + ["complete"] * 2
    assert {t.reason for t in study.trials[2:4]} == {"its process died 2 times, and retries is 1"}
    assert not list(folder.glob("?-3"))


def test_with_no_retries_a_killed_run_leaves_failed_trials(once, tmp_path):
    folder = shutil.copytree(once, tmp_path / "s")
    study = resumed(folder)
    study.run(marking(folder), 6, retries=0, callback=quiet)
    assert [t.state for t in study.trials] == ["complete"] * 2 + ["failed"] * 2 + ["complete"] * 2
    assert {t.reason for t in study.trials[2:4]} == {"its process died once, and retries is 0"}
    assert not list(folder.glob("?-2"))


def test_with_more_retries_a_run_may_be_killed_more_often(twice, tmp_path):
    folder = shutil.copytree(twice, tmp_path / "s")
    study = resumed(folder)
    study.run(marking(folder), 6, retries=2, callback=quiet)
    assert [(t.state, t.attempt) for t in study.trials[2:4]] == [("complete", 3)] * 2


def test_with_no_retries_a_worker_that_dies_fails_its_trial_at_once(tmp_path):
    study = bo.Study(SPACE, method="sobol", seed=0)
    study.run(marking(tmp_path, dies=1), 6, parallel=4, retries=0, callback=quiet)
    states = [t.state for t in study.trials]
    assert states == ["complete", "failed", *["complete"] * 4]
    assert [t.attempt for t in study.trials] == [1] * 6
    assert (study.trials[1].reason or "").startswith("WorkerDied: the worker process died")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n}-1" for n in range(6)]


def test_deaths_of_the_run_and_of_workers_count_alike(once, tmp_path):
    folder = shutil.copytree(once, tmp_path / "s")
    study = resumed(folder)
    study.run(marking(folder, dies=2), 6, parallel=2, callback=quiet)
    assert [t.state for t in study.trials] == ["complete"] * 2 + ["failed"] + ["complete"] * 3
    assert [t.attempt for t in study.trials] == [1, 1, 2, 2, 1, 1]
    assert "WorkerDied" in (study.trials[2].reason or "")


def test_interrupts_use_up_no_retries(tmp_path):
    study = bo.Study(SPACE, name="s", store=tmp_path / "s.db", method="sobol", seed=0)
    calls = iter(range(100))

    def objective(p):
        if next(calls) in (2, 3, 4):
            raise KeyboardInterrupt
        return p["x"]

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            study.run(objective, 4, retries=0, callback=quiet)
    assert [t.state for t in study.trials] == ["complete"] * 2 + ["running"]
    study.run(objective, 4, retries=0, callback=quiet)
    assert [(t.state, t.attempt) for t in study.trials] == [("complete", 1)] * 4


def test_what_was_given_up_is_told_to_the_callback():
    study = bo.Study(SPACE, method="sobol", seed=0)
    study._ask(2, owner=f"{trial_log._HOST}:{2**22 + 1}")  # no such process
    told = []
    study.run(lambda p: p["x"], 4, retries=0, callback=told.append)
    assert [(t.number, t.state) for t in told] == [
        (0, "failed"),
        (1, "failed"),
        (2, "complete"),
        (3, "complete"),
    ]


def test_a_late_tell_of_a_trial_that_was_given_up_is_recorded(tmp_path, monkeypatch):
    store = tmp_path / "s.db"
    study = bo.Study(SPACE, name="s", store=store, method="sobol", seed=0)
    (lost,) = study._ask(1, owner="nowhere:1")
    watching = bo.Study.resume("s", store=store)
    moment = time.time()
    for hours, left in ((1, 1), (2, 1), (3, 0)):  # each time its process seems dead
        later = moment + 3600 * hours
        monkeypatch.setattr(trial_log.time, "time", lambda later=later: later)
        again, given_up = _reclaimed(watching, 2)
        assert (len(again), len(given_up)) == (left, 1 - left)
    given_up = watching.trials[lost.number]
    assert (given_up.state, given_up.reason) == (
        "failed",
        "its process died 3 times, and retries is 2",
    )
    told = study.tell(lost, 1.5)
    assert (told.state, told.values, told.reason) == ("complete", {"value": 1.5}, None)
    assert watching.trials[lost.number] == told
    with pytest.raises(UsageError, match="which is complete"):
        study.tell(lost, 2.0)


def test_trials_that_wait_for_a_free_slot_are_known_to_be_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "HEARTBEAT_SECONDS", 0.02)
    study = bo.Study(SPACE, name="s", store=tmp_path / "s.db", method="sobol", seed=0)

    def heartbeats():
        with study.log.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT heartbeat FROM trials ORDER BY number")
            return [beat for (beat,) in rows]

    def objective(p):
        if len(study.trials) == 3 and study.trials[0].state == "running":
            before, until = heartbeats(), time.monotonic() + 20
            while not all(now > then for now, then in zip(heartbeats(), before, strict=True)):
                assert time.monotonic() < until
                time.sleep(0.01)
        return p["x"]

    study.run(objective, 3, batch=3, callback=quiet)
    assert [t.state for t in study.trials] == ["complete"] * 3


@pytest.mark.parametrize("retries", [-1, 0.5, True, None])
def test_retries_is_a_count(retries):
    with pytest.raises(UsageError, match="retries expected a whole number of at least 0"):
        bo.Study(SPACE, method="sobol", seed=0).run(lambda p: p["x"], 2, retries=retries)
