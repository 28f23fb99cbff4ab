"""The supervisor: queued runs start, stop when asked, outlive it, and are never driven twice."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from apps import supervisor as supervisor_module
from apps.spec import RunSpec
from apps.store import Store, TakenOver, current_state
from apps.supervisor import Supervisor

QUICK = RunSpec("bandit", "bernoulli", "ts-beta", 3, 400)
LONG = RunSpec("bandit", "bernoulli", "ts-beta", 3, 5_000_000)
PATIENCE = 90.0

STUBBORN = """
    import signal, sys, time
    from apps.store import Store
    if sys.argv[3] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    store = Store.open(sys.argv[1], create=True)
    assert store.take_queued(sys.argv[2])
    while True:
        store.beat(sys.argv[2])
        time.sleep(0.1)
"""


@pytest.fixture
def store(tmp_path):
    opened = Store.open(str(tmp_path / "s.db"), create=True)
    assert opened.become_supervisor("http://127.0.0.1:1", workers=2) is None
    yield opened
    opened.engine.dispose()


@pytest.fixture
def supervise(store):
    """Makes supervisors; what they started is gone in the end."""
    made: list[Supervisor] = []

    def make(workers=1):
        made.append(Supervisor(store, workers=workers))
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.close()
        for child in supervisor.children.values():
            child.kill()
            child.wait()


def until(supervisor, condition):
    """Tick until something holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it took too long"
        supervisor.tick()
        time.sleep(0.05)


def state(store, run_id):
    return current_state(store.run(run_id))


def digest(store, run_id):
    return store.run(run_id).summary["digest"]


def states(store, run_id):
    return [e.payload["state"] for e in store.events(run_id, kind="state")]


def test_queued_runs_are_run_a_few_at_a_time_the_oldest_first(store, supervise):
    for name in "abc":
        assert store.submit(name, QUICK)
    supervisor = supervise(2)
    most = 0

    def all_done():
        nonlocal most
        most = max(most, len(supervisor.children))
        return all(state(store, name) == "finished" for name in "abc")

    until(supervisor, all_done)
    assert most == 2
    started = [store.events(name, kind="state")[1].time for name in "abc"]
    assert started[2] > max(started[:2])
    assert digest(store, "a") == digest(store, "c")
    assert store.run("a").versions["wald"]
    supervisor.close()
    assert store.supervisor() is None


def test_a_submission_sent_twice_makes_one_run(store):
    assert store.submit("a", QUICK)
    assert not store.submit("a", LONG)
    assert store.run("a").spec == QUICK
    assert len(store.events("a")) == 1


def test_a_spec_that_cannot_run_fails_with_the_reason(store, supervise):
    store.submit("a", RunSpec("bandit", "bernoulli", "ts-beta", 3, 10, {"arms": "many"}))
    supervisor = supervise(1)
    until(supervisor, lambda: state(store, "a") == "failed")
    assert "option arms expected integer, got 'many'" in (store.run("a").error or "")


def test_a_worker_that_cannot_start_fails_its_run_instead_of_trying_for_ever(
    store, monkeypatch, supervise
):
    real = supervisor_module.python

    def broken(module, *arguments, **given):
        return real("apps.no_such_module", *arguments, **given)

    monkeypatch.setattr(supervisor_module, "python", broken)
    store.submit("a", QUICK)
    supervisor = supervise(1)
    until(supervisor, lambda: state(store, "a") == "failed")
    assert "no_such_module" in (store.run("a").error or "")


def test_a_worker_yields_to_the_page(store, supervise):
    store.submit("a", LONG)
    supervisor = supervise(1)
    until(supervisor, lambda: store.last_step("a", "metric") >= 1)
    (child,) = supervisor.children.values()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == min(own + supervisor_module.NICENESS, 19)
    store.request("a", "stop")
    until(supervisor, lambda: state(store, "a") == "stopped")


def test_stop_ends_a_run_after_its_step_and_resume_goes_on(store, supervise):
    store.submit("a", LONG)
    supervisor = supervise(1)
    until(supervisor, lambda: store.last_step("a", "metric") >= 100)
    store.request("a", "stop")
    until(supervisor, lambda: state(store, "a") == "stopped")
    reached = store.last_step("a", "metric")
    assert not store.open_requests("stop") or supervisor.tick() is None
    store.request("a", "resume")
    until(supervisor, lambda: store.last_step("a", "metric") >= reached + 100)
    store.request("a", "stop")
    until(supervisor, lambda: state(store, "a") == "stopped")
    steps = [event.step for event in store.events("a", kind="metric")]
    assert steps == sorted(set(steps))
    assert states(store, "a")[:5] == ["queued", "running", "stopped", "queued", "running"]


def test_a_queued_run_is_stopped_without_a_supervisor(store):
    store.submit("a", QUICK)
    store.request("a", "stop")
    assert state(store, "a") == "stopped"
    assert store.open_requests("stop") == {}


@pytest.mark.parametrize("deaf", [False, True])
def test_a_run_that_does_not_stop_is_terminated_then_killed(
    store, tmp_path, monkeypatch, deaf, supervise
):
    monkeypatch.setattr(supervisor_module, "TERM_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(supervisor_module, "KILL_AFTER_SECONDS", 1.5)
    store.submit("a", QUICK)
    script = textwrap.dedent(STUBBORN)
    words = [sys.executable, "-c", script, store.url, "a", "deaf" if deaf else "hears"]
    process = subprocess.Popen(words)
    end = time.monotonic() + PATIENCE
    while state(store, "a") != "running":
        assert time.monotonic() < end
        time.sleep(0.05)
    store.request("a", "stop")
    supervisor = supervise(1)
    until(supervisor, lambda: process.poll() is not None)
    assert process.returncode == -(signal.SIGKILL if deaf else signal.SIGTERM)
    until(supervisor, lambda: state(store, "a") == "stopped")
    assert store.open_requests("stop") == {}


def test_another_supervisor_takes_over_and_counts_the_workers_that_run(store, supervise):
    store.submit("a", LONG)
    first = supervise(1)
    until(first, lambda: state(store, "a") == "running")
    owner = store.run("a").owner
    store.submit("b", QUICK)
    second = supervise(1)  # knows nothing of the first one's children
    for _ in range(10):
        second.tick()
        time.sleep(0.05)
    assert not second.children
    assert state(store, "b") == "queued"
    assert store.run("a").owner == owner
    os.kill(int((owner or "").rpartition(":")[2]), signal.SIGKILL)
    first.children["a"].wait()
    assert state(store, "a") == "lost"
    until(second, lambda: state(store, "b") == "finished")
    store.request("a", "resume")
    until(second, lambda: state(store, "a") == "running")


def test_a_living_supervisor_is_not_replaced_and_a_replaced_one_ends(tmp_path, store, supervise):
    found = store.become_supervisor("http://127.0.0.1:2", workers=1)
    assert found is not None
    assert found["url"] == "http://127.0.0.1:1"
    supervisor = supervise(1)
    supervisor.tick()
    store.leave_supervisor()
    supervisor.last_beat = 0.0
    with pytest.raises(TakenOver):
        supervisor.tick()


def test_only_the_process_that_drives_a_run_writes_to_it(store):
    store.create_run("a", QUICK, {})
    with store._writing() as connection:
        connection.exec_driver_sql("UPDATE runs SET owner = 'elsewhere:1', heartbeat = heartbeat")
    with pytest.raises(TakenOver, match="another process"):
        store.beat("a")
    with pytest.raises(TakenOver):
        store.record("a", [], columns={"state": "finished"}, driving=True)
    assert store.run("a").state == "running"


def test_a_run_whose_store_is_deleted_ends(store, supervise, tmp_path):
    store.submit("a", LONG)
    supervisor = supervise()
    until(supervisor, lambda: store.last_step("a", "metric") >= 100)
    child = supervisor.children["a"]
    for file in tmp_path.glob("s.db*"):
        file.unlink()
    assert child.wait(timeout=PATIENCE) == 1


def test_a_map_of_other_axes_is_drawn_on_request(store, supervise):
    runner = supervise()
    store.submit("h", RunSpec("bo", "hartmann6", "gp-map", 1, 16, snapshots=0))
    until(runner, lambda: state(store, "h") == "finished")
    asked = {"step": 15, "axes": ["x5", "x1"]}
    store.request("h", "snapshot", asked)
    store.request("h", "snapshot", {"step": 15, "axes": ["x5", "nothing"]})
    assert [payload for _, payload in store.asked("h", "snapshot")][0] == asked
    until(runner, lambda: not store.asked("h", "snapshot"))
    [drawn] = store.events_at("h", "posterior", 15)
    assert (drawn.payload["map"]["x"], drawn.payload["map"]["y"]) == ("x5", "x1")
    told = [e.payload for e in store.events("h", kind="log")]
    assert any("nothing" in each.get("not_drawn", "") for each in told)
    assert state(store, "h") == "finished"


def test_a_drawing_that_dies_is_not_tried_for_ever(store, supervise, monkeypatch):
    runner = supervise()
    store.submit("a", QUICK)
    until(runner, lambda: state(store, "a") == "finished")
    dead = [sys.executable, "-c", "raise SystemExit(9)"]
    monkeypatch.setattr(supervisor_module, "python", lambda *_, **__: subprocess.Popen(dead))
    store.request("a", "snapshot", {"step": 1, "axes": ["x", "y"]})
    until(runner, lambda: not store.asked("a", "snapshot"))
    told = [e.payload for e in store.events("a", kind="log")]
    assert "ended with 9" in told[-1]["not_drawn"]
    assert (told[-1]["step"], told[-1]["axes"]) == (1, ["x", "y"])


def test_a_resume_does_not_answer_what_is_asked_of_pictures(store):
    store.submit("a", QUICK)
    store.request("a", "snapshot", {"step": 1, "axes": ["x", "y"]})
    store.request("a", "stop")
    store.request("a", "resume")
    assert len(store.asked("a", "snapshot")) == 1
    assert store.asked("a", "stop") == []
