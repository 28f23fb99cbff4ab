"""Experiments that the supervisor runs: started, stopped, killed, gone on with, told meanwhile."""

import os
import signal
import time

import pytest

from apps import experiment as experiment_module, experiment_driver, experiment_process
from apps.experiment import experiment
from apps.experiment_driver import Driver
from apps.experiment_worker import work
from apps.spec import RunSpec
from apps.store import Store, TakenOver, current_state
from apps.supervisor import Supervisor
from surrogates.errors import UsageError

SMALL = """
name = "small"
problems = ["branin"]
methods = ["sobol", "random"]
seeds = 2
budgets = [3, 5]
"""
ENDLESS = """
name = "endless"
kind = "bandit"
problems = ["bernoulli"]
methods = ["ts-beta", "random"]
seeds = 1
budgets = [500000000]
"""
PATIENCE = 120.0


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened = Store.open(str(tmp_path / "s.db"), create=True)
    assert opened.become_supervisor("http://127.0.0.1:1", workers=2) is None
    yield opened
    opened.engine.dispose()


@pytest.fixture
def supervise(store):
    """Makes supervisors; what they started is gone in the end."""
    made: list[Supervisor] = []

    def make(workers=2):
        made.append(Supervisor(store, workers=workers))
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.close()
        for child in (*supervisor.children.values(), *supervisor.experimenting.values()):
            child.terminate()
            child.wait()


def until(supervisor, condition):
    """Tick until something holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it took too long"
        supervisor.tick()
        time.sleep(0.05)


def state(store, name):
    return current_state(store.experiment(name))


def without_times(told):
    rows = [{k: v for k, v in row.items() if k != "ask_cpu_seconds"} for row in told["table"]]
    return {"table": rows, **{key: told[key] for key in ("ranks", "tests", "runs", "failed")}}


class Here:
    """Drives the runs in this process, in place of a pool of others."""

    def __init__(self, store, logs, *, workers, threads, initial):
        self.store = Store.open(store, create=True)
        self.initial = initial

    def run(self, specs, on_end, look):
        for spec in specs:
            look()
            on_end(spec, work(self.store, spec, self.initial))
        self.store.engine.dispose()


def driven(store, name):
    row = store.take_experiment(name)
    assert row is not None
    return experiment_process._drive(store, row)


def test_a_queued_experiment_stops_goes_on_and_ends(store, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment_module, "Pool", Here)
    monkeypatch.setattr(experiment_driver, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(experiment_driver, "SHARE", 1e9)
    store.submit_experiment("small", SMALL, str(tmp_path), workers=1)
    ended = Here.run

    def stopped(self, specs, on_end, look):
        done: list[str] = []

        def after(spec, told):
            on_end(spec, told)
            done.append(spec.name)
            found = store.experiment_results("small")  # told as it goes
            assert found is not None
            assert sum(row["seeds"] for row in found["table"] if row["budget"] == 5) == len(done)
            if len(done) == 3:
                raise KeyboardInterrupt

        ended(self, specs, after, look)

    monkeypatch.setattr(Here, "run", stopped)
    assert driven(store, "small") == "interrupted"
    assert state(store, "small") == "interrupted"
    assert len(store.runs()) == 3
    monkeypatch.setattr(Here, "run", ended)
    store.ask_experiment("small", "resume")
    assert driven(store, "small") == "finished"
    assert len(store.experiment_runs("small")) == len(store.runs()) == 4
    assert store.take_experiment("small") is None
    found = store.experiment_results("small")
    assert found is not None
    assert found["state"] == "finished"
    assert (tmp_path / "results" / "small" / "RESULTS.md").is_file()


@pytest.mark.slow
def test_a_queued_experiment_ends_with_what_the_command_tells(store, supervise, tmp_path):
    assert store.submit_experiment("small", SMALL, str(tmp_path), workers=2)
    assert not store.submit_experiment("small", SMALL, str(tmp_path), workers=2)
    supervisor = supervise()
    until(supervisor, lambda: state(store, "small") == "finished")
    found = store.experiment_results("small")
    assert found is not None
    row = store.experiment("small")
    assert row.told is not None
    assert row.error is None
    assert {name: each[1] for name, each in store.experiment_runs("small").items()} == {
        f"small/branin/{method}/{seed}": "finished"
        for method in ("sobol", "random")
        for seed in (0, 1)
    }
    curves = found["curves"]["branin"]
    assert [curve["method"] for curve in curves] == ["sobol", "random"]
    assert [curve["runs"] for curve in curves] == [2, 2]
    assert [row["median"] for row in found["table"] if row["budget"] == 5] == [
        curve["median"][-1] for curve in curves
    ]
    assert (tmp_path / "results" / "small" / "RESULTS.md").is_file()

    (tmp_path / "small.toml").write_text(SMALL)
    told = experiment("small.toml", store.url, workers=1)
    assert without_times(found) == without_times(told)
    after = store.experiment("small")
    assert (after.state, after.queued) == ("finished", None)


@pytest.mark.slow
def test_stopped_it_saves_its_runs_and_goes_on_when_asked(store, supervise, tmp_path):
    store.submit_experiment("endless", ENDLESS, str(tmp_path), workers=1)
    supervisor = supervise()
    until(supervisor, lambda: store.runs_in(("running",)))
    store.ask_experiment("endless", "resume")  # it runs: nothing changes
    assert state(store, "endless") == "running"
    store.ask_experiment("endless", "stop")
    until(supervisor, lambda: state(store, "endless") == "stopped")
    until(supervisor, lambda: not supervisor.experimenting)
    assert {row.state for row in store.runs()} == {"interrupted"}
    steps = store.last_step(store.runs()[0].run_id, "metric")
    store.ask_experiment("endless", "resume")
    assert state(store, "endless") == "queued"
    until(supervisor, lambda: store.runs_in(("running",)))
    run = store.runs_in(("running",))[0]
    until(supervisor, lambda: store.last_step(run.run_id, "metric") > steps)
    assert len(store.runs()) == 1


@pytest.mark.slow
def test_its_process_outlives_the_supervisor_and_killed_it_is_lost(store, supervise, tmp_path):
    store.submit_experiment("endless", ENDLESS, str(tmp_path), workers=2)
    first = supervise()
    until(first, lambda: len(store.runs_in(("running",))) == 2)
    other = supervise()  # as after `kill -9` of the first: it knows of no child
    store.submit("later", RunSpec("bandit", "bernoulli", "ts-beta", 3, 400))
    for _ in range(10):
        other.tick()
    assert not other.experimenting  # adopted: it runs, and counts as two workers
    assert not other.children
    assert store.run("later").state == "queued"

    owner = store.experiment("endless").owner
    assert owner is not None
    os.kill(int(owner.rpartition(":")[2]), signal.SIGKILL)
    first.experimenting["endless"].wait()
    assert state(store, "endless") == "lost"
    until(other, lambda: store.run("later").state == "finished")  # its place is free
    end = time.monotonic() + PATIENCE  # its runs save their state and end
    while any(current_state(row) == "running" for row in store.runs()):
        assert time.monotonic() < end
        time.sleep(0.1)
    store.ask_experiment("endless", "resume")
    until(other, lambda: store.runs_in(("running",)))
    assert len(store.experiment_runs("endless")) == 2


def test_what_is_too_large_waits_for_its_turn(store, supervise, tmp_path, monkeypatch):
    started: list[str] = []
    supervisor = supervise(workers=3)

    class Alive:
        returncode = None

        def poll(self):
            return None

        def terminate(self): ...

        def wait(self): ...

    def spawn(module, name, key):
        started.append(name)
        return Alive()

    monkeypatch.setattr(supervisor, "_spawn", spawn)
    spec = RunSpec("bandit", "bernoulli", "ts-beta", 3, 400)
    store.submit("a", spec)
    store.submit_experiment("wide", SMALL, str(tmp_path), workers=9)
    store.submit("b", spec)
    supervisor.tick()
    assert started == ["a"]  # `wide` wants all three, and b does not overtake it
    del supervisor.children["a"]
    store.end_run("a", "finished", None)
    supervisor.tick()
    assert started == ["a", "wide"]
    store.submit("part", RunSpec("bo", "branin", "sobol", 0, 5, name="wide/branin/sobol/0"))
    supervisor.workers = 9
    supervisor.tick()
    assert started == ["a", "wide"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("seeds =", "expected TOML"),
        (SMALL.replace("sobol", "sobool"), "did you mean"),
        (SMALL.replace("seeds = 2", "seeds = 0"), "seeds expected"),
    ],
)
def test_what_cannot_be_run_fails_with_a_sentence(store, tmp_path, source, told):
    store.submit_experiment("small", source, str(tmp_path), workers=1)
    with pytest.raises(UsageError):
        driven(store, "small")
    assert state(store, "small") == "failed"
    assert told in (store.experiment("small").error or "")
    assert store.runs() == []


def test_one_process_drives_an_experiment(store, tmp_path):
    assert store.begin_experiment("mine", SMALL, str(tmp_path), workers=1)
    assert not store.begin_experiment("mine", SMALL, str(tmp_path), workers=1)
    assert store.take_experiment("mine") is None
    with pytest.raises(UsageError, match="mine"):
        store.experiment("nine")
    with pytest.raises(TakenOver):
        store.change_experiment("other")
    with Driver(store, "mine", mine=False) as guest:
        guest.write({"table": []})
        guest.end("finished")
    assert store.experiment_results("mine") is None
    assert state(store, "mine") == "running"


def test_a_driver_tells_how_it_ended(store, tmp_path):
    def drive(error: BaseException | None, *, stop: bool = False) -> tuple[str, str | None]:
        assert store.begin_experiment("mine", SMALL, str(tmp_path), workers=1)
        try:
            with Driver(store, "mine", mine=True) as driver:
                if stop:
                    driver.stop.set()
                    driver.look()
                if error is not None:
                    raise error
                driver.end("finished")
        except (KeyboardInterrupt, ValueError, UsageError):
            pass
        row = store.experiment("mine")
        return row.state, row.error

    assert drive(None) == ("finished", None)
    assert drive(KeyboardInterrupt()) == ("interrupted", None)
    assert drive(None, stop=True) == ("stopped", None)
    assert drive(ValueError("odd")) == ("failed", "ValueError: odd")
    assert drive(UsageError("expected x, got y")) == ("failed", "expected x, got y")


def test_results_so_far_are_written_rarely_enough(store, tmp_path):
    assert store.begin_experiment("mine", SMALL, str(tmp_path), workers=1)
    read: list[int] = []

    def so_far():
        read.append(1)
        time.sleep(0.2)
        return {"table": []}

    driver = Driver(store, "mine", mine=True)
    driver.found(so_far)
    assert read == []  # it has just begun
    driver.due = 0.0
    driver.found(so_far)
    driver.found(so_far)
    assert read == [1]
    assert driver.due - time.monotonic() > 2.0
    assert store.experiment_results("mine") == {"table": []}
