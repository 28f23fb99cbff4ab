"""Evaluation of objectives in worker processes, one crash or time limit at a time.

    with Workers(slots=4, timeout=60) as workers:
        futures = [workers.submit(objective, point) for point in points]
        for future in wait(futures, timeout=1): ...

`Workers` differ from the standard library's pool in what happens when things go wrong: a process
that dies or outruns its limit costs its own evaluation only, and is replaced alone. They never
retry: the trial log does. One thread owns all processes, so that limits hold and the queue moves
on while the caller computes the next point.
"""

import atexit
import collections
import contextlib
import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from multiprocessing import connection
from types import MethodType
from typing import Any, TypeVar

from bo.executors import Executor, InProcess, Pending, wait
from bo.worker_messages import by_name, dumps, loaded_error, owned_names, settle, traceback_of
from bo.worker_process import Request, WorkerProcess, end, search_path
from surrogates.errors import UsageError, WaldError

LOADING_SECONDS = 120.0  # what the import of the objective's modules may take, timeout or more
POLL_SECONDS = 0.25  # where the system cannot tell us of a process's end (macOS)

__all__ = ["EvaluationTimeout", "Executor", "InProcess", "Pending", "WorkerDied", "Workers"]
__all__ += ["by_name", "traceback_of", "wait"]

T = TypeVar("T")


class WorkerDied(WaldError):
    """The process ended during an evaluation: a crash, `os._exit`, a kill, no memory left."""


class EvaluationTimeout(WaldError):
    """The evaluation outran its limit and was killed, with all processes that it started."""


class Workers:
    """Worker processes that live across evaluations.

    What is sent by reference from our own packages is ours in the worker too, and then `import bo`
    there is ours for good. To let a user's own `bo.py` come first, submit the user's callable, a
    function inside a function or `by_name(...)`, with plain data as arguments.

    Args:
        slots: how many evaluations at once; further ones are queued. Processes start as needed.
        timeout: seconds that one evaluation may take, once its callable is loaded; None: no limit.
        env: environment variables to set in the workers, such as OMP_NUM_THREADS.
        folder: the user's folder, first on the workers' path; by default that of the script that
            runs, or else the working folder.
    """

    def __init__(
        self,
        slots: int,
        *,
        timeout: int | float | None = None,
        env: Mapping[str, str] | None = None,
        folder: str | os.PathLike[str] | None = None,
    ):
        if slots < 1:
            raise UsageError(f"slots expected at least 1, got {slots!r}; say how many at once")
        if timeout is not None and not (timeout > 0 and math.isfinite(timeout)):
            raise UsageError(f"timeout expected seconds above 0, got {timeout!r}; None: no limit")
        self._slots = slots
        self._limit = math.inf if timeout is None else float(timeout)
        self._loading_limit = math.inf if timeout is None else max(self._limit, LOADING_SECONDS)
        self._path = search_path(folder)
        self._env = {**os.environ, **(env or {})}
        self._cwd = os.getcwd()
        self._pid = os.getpid()
        self._sent: tuple[Any, bytes, bytes] = (None, b"", b"")
        self._workers: list[WorkerProcess] = []  # touched by the thread alone
        self._lock = threading.Lock()  # over what follows
        self._queue: collections.deque[Request] = collections.deque()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._woken, self._wakes = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wakes, False)
        atexit.register(self.close)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Evaluate `fn(*args, **kwargs)` in a worker, as soon as one is free.

        A callable travels once per worker: submit the same object each time, not a new closure,
        and what it keeps lives on there.

        Returns:
            A future, which raises the objective's own exception, `WorkerDied` or
            `EvaluationTimeout`. `cancel()` works while it is queued.
        """
        key, data = self._pickled(fn)
        arguments = dumps("arguments", (args, kwargs))
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise UsageError("submit expected open workers, got closed ones; make new Workers")
            self._queue.append(Request(future, key, data, arguments, owned_names()))
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="workers", daemon=True)
                self._thread.start()
            self._wake()
        return future

    def close(self) -> None:
        """End all workers and what they started. Unfinished futures raise `CancelledError`."""
        with self._lock:
            if self._closed or os.getpid() != self._pid:  # a fork's copy at its exit
                return
            self._closed = True
            self._wake()
        atexit.unregister(self.close)
        if self._thread is None:
            self._close_pipe()
        elif self._thread is not threading.current_thread():  # a future's callback may close
            self._thread.join()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _pickled(self, fn: Callable[..., Any]) -> tuple[bytes, bytes]:
        last, key, data = self._sent
        # A bound method is a new object each time that it is looked up.
        if fn is not last and not (isinstance(fn, MethodType) and fn == last):
            data = dumps("a callable", fn)
            key = hashlib.sha256(data).digest()
            self._sent = (fn, key, data)
        return key, data

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is awake already
            os.write(self._wakes, b"\0")

    def _close_pipe(self) -> None:
        os.close(self._woken)
        os.close(self._wakes)

    # What follows runs in the thread.

    def _serve(self) -> None:
        trouble: BaseException = CancelledError("the workers were closed")
        try:
            while not self._closed:
                self._assign()
                self._listen()
                self._stop_overdue()
        except BaseException as error:
            trouble = error  # a fault of ours: nobody must wait for ever
            raise
        finally:
            with self._lock:
                self._closed = True
                self._close_pipe()
                waiting = list(self._queue)
                self._queue.clear()
            end(self._workers)
            for worker in self._workers:
                if worker.request is not None:
                    worker.finish().set_exception(trouble)
            for request in waiting:
                if request.future.running() or request.future.set_running_or_notify_cancel():
                    request.future.set_exception(trouble)

    def _assign(self) -> None:
        """Give queued requests to idle workers, or to new ones."""
        while True:
            idle = [worker for worker in self._workers if worker.request is None]
            if not idle and len(self._workers) >= self._slots:
                return
            with self._lock:
                if not self._queue:
                    return
                request = self._queue.popleft()
            future = request.future
            if not (future.running() or future.set_running_or_notify_cancel()):
                continue
            if not idle:
                try:
                    idle = [WorkerProcess(self._path, self._env, self._cwd)]
                except OSError as error:
                    reason = f"no worker process could be started: {error}; use fewer slots"
                    future.set_exception(WorkerDied(reason))
                    continue
                self._workers += idle
            idle[0].give(request, self._loading_limit)

    def _listen(self) -> None:
        """Wait for a message, an end, a submission or the next deadline."""
        until = min((worker.deadline for worker in self._workers), default=math.inf)
        patience = max(0.0, until - time.monotonic())
        if any(worker.pidfd is None for worker in self._workers):
            patience = min(patience, POLL_SECONDS)
        sources = [source for worker in self._workers for source in worker.sentinels]
        connection.wait([self._woken, *sources], None if patience == math.inf else patience)
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 65536)
        for worker in list(self._workers):
            messages, ended = worker.receive()
            for message in messages:
                self._take(worker, message)
            if ended:
                self._lose(worker)

    def _lose(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        reason = worker.bury()
        if worker.request is None:
            return
        if worker.used and not worker.started:  # it died idle, which costs no evaluation
            with self._lock:
                self._queue.appendleft(worker.request)
        else:
            worker.finish().set_exception(WorkerDied(f"the worker process died ({reason})"))

    def _take(self, worker: WorkerProcess, message: bytes) -> None:
        kind, payload = message[:1], message[1:]
        if kind == b"S":
            worker.start(self._limit)
        elif kind == b"R":
            settle(worker.finish(), payload)
        else:
            worker.finish().set_exception(loaded_error(payload))

    def _stop_overdue(self) -> None:
        now = time.monotonic()
        overdue = [worker for worker in self._workers if worker.deadline <= now]
        end(overdue)
        for worker in overdue:
            self._workers.remove(worker)
            what, limit = "evaluation", self._limit
            if not worker.started:
                what, limit = "loading of the objective", self._loading_limit
            what = f"the {what} was stopped after {limit:g} s; raise the timeout"
            worker.finish().set_exception(EvaluationTimeout(what))
