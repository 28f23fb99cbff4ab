"""Worker processes: what they keep, what they lose, and what they leave behind.

Objectives are functions inside functions, as a notebook's are: they travel by value.
"""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

import bo
from bo.goals import Goal
from bo.workers import (
    EvaluationTimeout,
    InProcess,
    WorkerDied,
    Workers,
    by_name,
    traceback_of,
    wait,
)
from surrogates.errors import UsageError

HOME = Path(__file__).resolve().parents[2]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc").exists()


def gone(pids: list[int], seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def pid_in(file: Path) -> int:
    """A process id that a worker writes, once it is there."""
    limit = time.monotonic() + 10
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return int(file.read_text())


def starter(file: Path) -> Callable[[], None]:
    """An objective that starts a process of its own, which ignores SIGTERM, and sleeps."""
    code = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "open(sys.argv[1], 'w').write(f'{os.getpid()}\\n'); time.sleep(60)"
    )
    name = str(file)

    def objective() -> None:
        import subprocess
        import sys
        import time

        child = subprocess.Popen([sys.executable, "-c", code, name])
        time.sleep(60)
        child.wait()

    return objective


def exiting() -> Callable[[int], int]:
    def objective(x: int) -> int:
        import os
        import time

        time.sleep(0.3)
        if x == 1:
            os._exit(3)
        return x

    return objective


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(2) as made:
        yield made


@pytest.fixture
def user(tmp_path: Path) -> Callable[..., Path]:
    """Make the user's folder, from file names and texts."""

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path

    return make


def test_in_process_keeps_results_and_exceptions() -> None:
    executor = InProcess()
    assert executor.submit(lambda x: x + 1, 2).result() == 3
    failed = executor.submit(lambda: 1 / 0)
    assert failed.done()
    with pytest.raises(ZeroDivisionError) as caught:
        failed.result()
    assert "in <lambda>" in traceback_of(caught.value)


def test_in_process_lets_an_interrupt_through() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InProcess().submit(interrupted)


def test_lambdas_and_closures_travel_with_arguments(workers: Workers) -> None:
    offset = 10
    assert (
        workers.submit(lambda p, *, seed: p["x"] + seed + offset, {"x": 1}, seed=2).result() == 13
    )


def test_one_crash_of_four_in_flight_loses_one() -> None:
    objective = exiting()
    with Workers(4) as workers:
        futures = [workers.submit(objective, x) for x in range(4)]
        with pytest.raises(WorkerDied, match=r"the worker process died \(exit code 3\)"):
            futures[1].result(10)
        assert [futures[x].result(10) for x in (0, 2, 3)] == [0, 2, 3]
        assert workers.submit(objective, 4).result(10) == 4


def test_a_kill_is_told_by_its_signal(workers: Workers) -> None:
    pid = workers.submit(lambda: __import__("os").getpid()).result(10)
    future = workers.submit(lambda: __import__("time").sleep(60))
    while not future.running():
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="killed by signal SIGKILL"):
        future.result(10)


def test_an_idle_workers_death_costs_nothing(workers: Workers) -> None:
    pid = workers.submit(lambda: __import__("os").getpid()).result(10)
    os.kill(pid, signal.SIGKILL)
    assert gone([pid], 2)
    assert workers.submit(lambda: __import__("os").getpid()).result(10) != pid


def test_what_a_dead_worker_started_ends_with_it(workers: Workers, tmp_path: Path) -> None:
    future = workers.submit(starter(tmp_path / "pid"))
    child = pid_in(tmp_path / "pid")
    worker = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        future.result(10)
    assert gone([child], 2)


def test_a_forked_child_that_holds_the_pipe_does_not_hide_a_death(workers: Workers) -> None:
    def objective() -> None:
        import os
        import time

        if os.fork() == 0:
            time.sleep(30)
        os._exit(4)

    start = time.monotonic()
    with pytest.raises(WorkerDied, match="exit code 4"):
        workers.submit(objective).result(20)
    assert time.monotonic() - start < 5


def test_the_time_limit_ends_a_process_and_what_it_started(tmp_path: Path) -> None:
    with Workers(2, timeout=1) as workers:
        workers.submit(lambda: None).result(10)
        start = time.monotonic()
        future = workers.submit(starter(tmp_path / "pid"))
        quick = workers.submit(lambda: 5)
        with pytest.raises(EvaluationTimeout, match="after 1 s"):
            future.result(10)
        assert time.monotonic() - start < 2.5
        assert gone([pid_in(tmp_path / "pid")], 1)
        assert quick.result(10) == 5
        assert workers.submit(lambda: 6).result(10) == 6


def test_the_time_limit_holds_while_nobody_asks(tmp_path: Path) -> None:
    file = str(tmp_path / "late")

    def objective() -> None:
        import pathlib
        import time

        time.sleep(0.8)
        pathlib.Path(file).touch()

    with Workers(1, timeout=0.3) as workers:
        future = workers.submit(objective)
        time.sleep(1.4)
        assert future.done()
        assert not Path(file).exists()


def test_loading_does_not_count_as_evaluating(user: Callable[..., Path]) -> None:
    folder = user({"slow.py": "import time\ntime.sleep(1)\ndef f(): return 7\n"})
    with Workers(1, timeout=0.5, folder=folder) as workers:
        assert workers.submit(by_name("slow:f")).result(10) == 7


def test_a_name_that_cannot_be_imported_is_the_evaluations_failure(workers: Workers) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        workers.submit(by_name("no_such_module:f")).result(10)
    assert workers.submit(by_name("os.path:join"), "a", "b").result(10) == os.path.join("a", "b")
    assert by_name("os.path:join")("a", "b") == os.path.join("a", "b")


def test_a_callable_that_does_not_load_leaves_the_one_before() -> None:
    class Unloadable:
        def __reduce__(self) -> Any:
            return (int, ("x",))

    def objective(x: object) -> object:
        return x

    with Workers(1) as workers:
        for wrong in (by_name("no_such_module:f"), objective):
            assert workers.submit(objective, 1).result(10) == 1
            with pytest.raises((ModuleNotFoundError, ValueError)):
                workers.submit(wrong, Unloadable()).result(10)
        assert workers.submit(objective, 1).result(10) == 1


def test_the_objectives_own_exception_comes_back(workers: Workers) -> None:
    class OutOfReagent(ValueError):
        pass

    def objective(x: int) -> int:
        if x:
            raise OutOfReagent("bottle 3", x)
        return __import__("os").getpid()

    pid = workers.submit(objective, 0).result(10)
    with pytest.raises(OutOfReagent, match="bottle 3") as caught:
        workers.submit(objective, 1).result(10)
    assert caught.value.args == ("bottle 3", 1)
    trace = traceback_of(caught.value)
    assert "in objective" in trace
    assert "worker_main" not in trace
    assert workers.submit(objective, 0).result(10) == pid


def test_an_exception_that_cannot_travel_keeps_its_text(workers: Workers) -> None:
    class Locked(Exception):
        def __init__(self) -> None:
            super().__init__("is locked")
            self.lock = __import__("threading").Lock()

    class Demanding(Exception):
        def __init__(self, a: int, b: int):
            super().__init__(f"{a} before {b}")

    def fail(error: Callable[[], Exception]) -> None:
        raise error()

    with pytest.raises(RuntimeError, match="is locked") as caught:
        workers.submit(fail, Locked).result(10)
    assert "Locked" in traceback_of(caught.value)
    with pytest.raises(RuntimeError, match="1 before 2"):
        workers.submit(fail, lambda: Demanding(1, 2)).result(10)


def test_exit_in_an_objective_fails_that_evaluation_only(workers: Workers) -> None:
    with pytest.raises(RuntimeError, match="SystemExit: 2"):
        workers.submit(lambda: sys.exit(2)).result(10)


def test_what_cannot_be_pickled_is_refused_with_what_to_do(workers: Workers) -> None:
    with pytest.raises(TypeError, match="expected a result .* 'generator' .* return a number"):
        workers.submit(lambda: (x for x in range(3))).result(10)
    lock = threading.Lock()
    with pytest.raises(UsageError, match="expected a callable .* inside the objective"):
        workers.submit(lambda: lock)
    with pytest.raises(UsageError, match="expected arguments"):
        workers.submit(print, lock)


def test_state_lives_on_in_a_worker() -> None:
    calls: list[int] = []

    def objective(x: int) -> tuple[int, int]:
        calls.append(x)
        return __import__("os").getpid(), len(calls)

    with Workers(1) as workers:
        results = [workers.submit(objective, x).result(10) for x in range(3)]
    assert [count for _, count in results] == [1, 2, 3]
    assert len({pid for pid, _ in results}) == 1


def test_a_callable_is_pickled_once() -> None:
    pickled: list[int] = []

    class Objective:
        def __reduce__(self) -> Any:
            pickled.append(1)
            return (int, ())

        def __call__(self, x: int) -> int:
            return x

    objective = Objective()
    with Workers(1) as workers:
        for _ in range(3):
            with pytest.raises(TypeError):
                workers.submit(objective, 1).result(10)
    assert len(pickled) == 1


def test_more_submissions_than_slots_are_queued(workers: Workers) -> None:
    def objective(x: int) -> tuple[int, int]:
        return x, __import__("os").getpid()

    results = [future.result(20) for future in [workers.submit(objective, x) for x in range(60)]]
    assert [x for x, _ in results] == list(range(60))
    assert len({pid for _, pid in results}) <= 2


def test_large_arguments_and_results_pass(workers: Workers) -> None:
    data = bytes(8_000_000)
    futures = [workers.submit(lambda d: d + b"x", data) for _ in range(2)]
    assert all(len(future.result(20)) == 8_000_001 for future in futures)


def test_wait_returns_what_is_done(workers: Workers) -> None:
    def objective(seconds: float) -> float:
        __import__("time").sleep(seconds)
        return seconds

    futures = [workers.submit(objective, seconds) for seconds in (30, 0.2)]
    assert wait(futures, 0.05) == []
    assert wait(futures, 10) == [futures[1]]
    assert wait([], 1) == []


def test_wait_takes_futures_of_any_make() -> None:
    class Late:
        def __init__(self) -> None:
            self.at = time.monotonic() + 0.1

        def done(self) -> bool:
            return time.monotonic() > self.at

        def result(self) -> int:
            return 1

    late = Late()
    assert wait([late], 0.01) == []
    assert wait([late]) == [late]


def test_environment_stdin_and_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    def objective() -> tuple[str | None, str]:
        import os
        import sys

        os.write(1, b"for the user\n")
        sys.stdout.write("and more\n")
        return os.environ.get("OMP_NUM_THREADS"), sys.stdin.read()

    with Workers(1, env={"OMP_NUM_THREADS": "3"}) as workers:
        assert workers.submit(objective).result(10) == ("3", "")
    out, err = capfd.readouterr()
    assert out == ""
    assert "for the user" in err
    assert "and more" in err


TRAIN = """
    import bo, rl.deep
    def objective(x):
        import surrogates.errors  # ours, since there is none here
        return bo.name, rl.deep.name, surrogates.errors.__file__, x
"""


@pytest.mark.parametrize("package", [True, False], ids=["with __init__", "without __init__"])
def test_a_users_own_modules_come_first(user: Callable[..., Path], package: bool) -> None:
    files = {"bo.py": "name = 'mine'", "rl/deep.py": "name = 'mine'", "train.py": TRAIN}
    folder = user(files | ({"rl/__init__.py": ""} if package else {}))
    with Workers(1, folder=folder) as workers:
        result = workers.submit(by_name("train:objective"), 1).result(10)
    assert result == ("mine", "mine", str(HOME / "surrogates" / "errors.py"), 1)


@pytest.mark.parametrize("rl", ["rl.py", "rl/name.py"])
def test_what_is_sent_from_our_packages_is_ours(user: Callable[..., Path], rl: str) -> None:
    text = "name = 'mine'"
    folder = user({"bo/name.py": text, "surrogates.py": text, rl: text})

    def objective(goal: Goal) -> tuple[str, str | None]:
        import rl

        return goal.name, rl.__file__

    with Workers(1, folder=folder) as workers:
        assert workers.submit(by_name("bo.name:name.upper")).result(10) == "MINE"
        assert workers.submit(Goal.parse, "minimize loss").result(10) == Goal("loss", "minimize")
        name, file = workers.submit(objective, Goal("loss", "minimize")).result(10)
    assert name == "loss"
    assert file != str(HOME / "rl" / "__init__.py")


def test_ours_is_found_where_the_user_has_none(user: Callable[..., Path]) -> None:
    folder = user(
        {"train.py": "import bo\ndef objective(): return bo.__file__\n", "bo/data.csv": "1,2\n"}
    )
    with Workers(1, folder=folder) as workers:
        assert workers.submit(by_name("train:objective")).result(10) == str(
            HOME / "bo" / "__init__.py"
        )
        path = workers.submit(lambda: __import__("sys").path).result(10)
    assert path[0] == str(folder)
    assert path[-1] == str(HOME)
    assert str(HOME / "bo") not in path


PARENT = """
    import os, sys, time
    sys.path.append(sys.argv[1])
    from bo.workers import Workers, wait

    workers = Workers(2)
    def busy(file):
        open(file, "w").write(f"{os.getpid()}\\n")
        time.sleep(60)

    idle = workers.submit(os.getpid).result()
    workers.submit(busy, "busy")
    while not os.path.exists("busy"):
        time.sleep(0.01)
    idle = workers.submit(os.getpid).result()
    print(idle, flush=True)
    time.sleep(60 if sys.argv[2] == "wait" else 0)
"""


@pytest.mark.parametrize("ending", ["wait", "exit"])
def test_workers_end_with_their_parent(user: Callable[..., Path], ending: str) -> None:
    folder = user({"parent.py": PARENT})
    with subprocess.Popen(
        [sys.executable, "-W", "error", "parent.py", str(HOME), ending],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        pids = [int(parent.stdout.readline()), pid_in(folder / "busy")]
        if ending == "wait":
            assert all(alive(pid) for pid in pids)
            parent.kill()
        assert parent.wait(10) == (-signal.SIGKILL if ending == "wait" else 0)
        assert gone(pids, 2)
        assert parent.stderr.read() == ""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count descriptors")
def test_close_leaves_nothing_behind(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before, threads = descriptors(), threading.active_count()
    workers = Workers(2)
    pid = workers.submit(lambda: __import__("os").getpid()).result(10)
    with pytest.raises(WorkerDied):
        workers.submit(lambda: __import__("os")._exit(0)).result(10)
    running = workers.submit(starter(tmp_path / "pid"))
    others = [workers.submit(lambda: __import__("time").sleep(60)) for _ in range(3)]
    child = pid_in(tmp_path / "pid")
    start = time.monotonic()
    workers.close()
    assert time.monotonic() - start < 1
    assert gone([pid, child], 1)
    for future in [running, *others]:
        with pytest.raises(CancelledError):
            future.result(0)
    assert descriptors() == before
    assert threading.active_count() <= threads  # one of another test may have ended
    workers.close()
    Workers(1).close()
    assert descriptors() == before
    with pytest.raises(UsageError, match="closed"):
        workers.submit(print)


def test_a_queued_future_can_be_cancelled() -> None:
    with Workers(1) as workers:
        first = workers.submit(lambda: __import__("time").sleep(0.3))
        second = workers.submit(print)
        assert second.cancel()
        first.result(10)
        assert workers.submit(lambda: 1).result(10) == 1


@pytest.mark.parametrize(
    "options", [{"slots": 0}, {"slots": 1, "timeout": 0}, {"slots": 1, "folder": "/no/such/folder"}]
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected .* got"):
        Workers(**options)


@pytest.mark.parametrize("target", ["train", "train:", ":f"])
def test_a_malformed_target_is_refused(target: str) -> None:
    with pytest.raises(UsageError, match="package.module:function"):
        by_name(target)


def test_the_worker_file_imports_nothing_of_ours() -> None:
    code = "import sys, bo.workers; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True)
    assert out.stdout == "False\n"
    with Workers(1) as workers:
        loaded = workers.submit(lambda: list(__import__("sys").modules)).result(10)
    assert not {"bo", "rl", "apps", "surrogates", "torch", "numpy"} & set(loaded)


def test_a_trial_ends_when_its_evaluation_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when the ask ends that was made meanwhile."""
    study = bo.Study({"x": bo.real(0, 1)}, "minimize v", method="sobol", seed=0)
    ask, asked = study.strategy.ask, itertools.count()

    def slow(*args: Any, **named: Any) -> Any:
        if next(asked) == 2:
            time.sleep(2)
        return ask(*args, **named)

    monkeypatch.setattr(study.strategy, "ask", slow)
    with Workers(2) as workers:
        workers.submit(lambda: None).result(20)
        study.run(lambda p: {"v": p["x"]}, 4, parallel=2, executor=workers)
    took = [t.finished - t.started for t in study.trials if t.finished and t.started]
    assert len(took) == 4
    assert max(took) < 1.5
