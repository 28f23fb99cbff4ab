"""One worker process as its parent sees it: start, send, receive, end. `bo/workers.py` has many."""

import contextlib
import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from bo.worker_messages import HOME, PACKAGES
from surrogates.errors import UsageError

MAIN = os.path.join(HOME, "bo", "worker_main.py")
GRACE_SECONDS = 0.2  # between SIGTERM and SIGKILL


@dataclasses.dataclass
class Request:
    """One evaluation, pickled.

    Attributes:
        future: what the caller holds.
        key: of the callable; a worker keeps the last one that it loaded.
        fn: the callable.
        arguments: positional and keyword ones.
        owned: names that mean our packages in the calling process.
    """

    future: "Future[Any]"
    key: bytes
    fn: bytes
    arguments: bytes
    owned: tuple[str, ...]


class WorkerProcess:
    """A process in a session, hence a process group, of its own.

    Ctrl-C in a terminal does not reach it, and a signal to the group reaches all that the
    objective started. Its stdin is empty; its stdout goes to stderr, so that a caller's own stdout
    stays clean.

    Args:
        path: the search path, the user's folder first.
        env: the whole environment.
        cwd: the working folder.
    """

    def __init__(self, path: Sequence[str], env: Mapping[str, str], cwd: str):
        self.pipe, theirs = Pipe()
        try:
            self._process = subprocess.Popen(
                # -P: the folder of the file, full of our modules, is not put on the path
                [sys.executable, "-P", MAIN, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=env,
                cwd=cwd,
            )
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()
        # The end of the pipe is not enough: a process that the objective forked may hold it open.
        self.pidfd = _pidfd(self._process.pid)
        self.request: Request | None = None
        self.started = False  # the evaluation of the request, not its loading
        self.used = False  # for any evaluation so far
        self.deadline = float("inf")
        self._key = b""
        self._send(pickle.dumps((list(path), HOME, PACKAGES)))

    def give(self, request: Request, limit: float) -> None:
        """Send a request to an idle worker, which has so long to load it."""
        self.request = request
        self.started = False
        self.deadline = time.monotonic() + limit
        fn = None if request.key == self._key else request.fn
        self._send(pickle.dumps((request.key, fn, request.arguments, request.owned)))

    def start(self, limit: float) -> None:
        """All is loaded there: the evaluation starts."""
        assert self.request is not None
        self.started = self.used = True
        self._key = self.request.key
        self.deadline = time.monotonic() + limit

    def finish(self) -> "Future[Any]":
        """Idle again; returns the future of the request."""
        assert self.request is not None
        if not self.started:  # loading failed, halfway perhaps: which callable is there?
            self._key = b""
        future, self.request, self.deadline = self.request.future, None, float("inf")
        return future

    @property
    def sentinels(self) -> list[Any]:
        """What becomes readable when there is a message or the process has ended."""
        return [self.pipe] if self.pidfd is None else [self.pipe, self.pidfd]

    @property
    def ended(self) -> bool:
        """Whether the process itself has."""
        return self._process.poll() is not None

    def receive(self) -> tuple[list[bytes], bool]:
        """All messages that wait, and whether the process has ended."""
        messages = []
        # Asked first: what the process sent before its end is then all in the pipe.
        ended = self.ended
        try:
            while self.pipe.poll():
                messages.append(self.pipe.recv_bytes())
        except (EOFError, OSError):
            ended = True
        return messages, ended

    def bury(self) -> str:
        """Clean up after a process that has ended, and say how it did."""
        # The pipe closes a moment before the process ends.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self.release()
        code = self._process.returncode
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"killed by signal {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"

    def signal(self, number: int) -> bool:
        """Signal the whole group (0: only ask); whether there was anyone left in it."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):  # the latter: macOS, when all are zombies
            return False
        return True

    def join(self, seconds: float) -> None:
        """Wait for the process, and then for the rest of its group, at most so long."""
        limit = time.monotonic() + seconds
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, seconds))
        while time.monotonic() < limit and self.signal(0):
            time.sleep(0.01)  # they are not our children, so nothing can be waited on

    def release(self) -> None:
        """Kill what is left of the group, leave no zombie, close our ends."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        self.pipe.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    def _send(self, message: bytes) -> None:
        # A process that has just died is noticed, and told of, where its messages are read.
        with contextlib.suppress(OSError):
            self.pipe.send_bytes(message)


def end(workers: Iterable[WorkerProcess]) -> None:
    """End processes and all that they started: SIGTERM, a short grace in common, SIGKILL."""
    ending = list(workers)
    for worker in ending:
        worker.signal(signal.SIGTERM)
    limit = time.monotonic() + GRACE_SECONDS
    for worker in ending:
        worker.join(limit - time.monotonic())
    for worker in ending:
        worker.release()


def search_path(folder: str | os.PathLike[str] | None) -> list[str]:
    """The user's folder, this process's path, our own folder last.

    Ours keeps its place where it is a site-packages folder: there it shadows nobody's own files,
    and its order among the installation folders matters.
    """
    first = _user_folder() if folder is None else os.path.abspath(folder)
    if not os.path.isdir(first):
        raise UsageError(f"folder expected an existing folder, got {first!r}; give the objective's")
    path = [first, *(os.path.abspath(entry) for entry in sys.path)]
    if os.path.basename(HOME) not in ("site-packages", "dist-packages"):
        path = [p for p in path if os.path.realpath(p) != HOME]
        # In a checkout of ours that is the working folder, the two are one, and stay in front.
        path.insert(0 if os.path.realpath(first) == HOME else len(path), HOME)
    return list(dict.fromkeys(path))


def _user_folder() -> str:
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    # A script run by path; not a command such as `wald`, nor `python -m`, nor a notebook.
    if file and file.endswith(".py") and getattr(main, "__spec__", None) is None:
        return str(Path(file).resolve().parent)
    return os.getcwd()


def _pidfd(pid: int) -> int | None:
    """Something to wait on for the end of a process, where the system offers it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # an old kernel, a sandbox
            return os.pidfd_open(pid)
    return None
