"""Dask and Ray as executors: `study.run(f, executor=Dask(client), parallel=8)`. No paper.

Each hands out standard futures that behave as those of `bo/workers.py`: a worker that dies raises
`WorkerDied`, whatever the objective raises keeps its type. Neither engine retries: the trial log
does, under the trial's own number. (What `Client.get_executor()` of Dask and the pools of the
standard library return works without any of this, but a crash there fails or repeats trials
unseen.)
"""

import contextlib
import importlib
import os
import re
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from bo.worker_messages import RemoteTraceback
from bo.workers import WorkerDied
from surrogates.errors import NotInstalledError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Dask:
    """Evaluates on a Dask cluster.

    Sets the cluster's `allowed-failures` to 0, for all of its tasks: Dask would run the task of a
    dead worker three more times. A crash ends all trials that Dask has given to that process, so
    have one thread for each (`threads_per_worker=1`), and more of them than trials at once.

    Args:
        client: of the cluster, a `distributed.Client`.
        options: of `Client.submit`, such as `resources={"GPU": 1}`.
    """

    def __init__(self, client: Any, **options: Any) -> None:
        distributed = _module("distributed", "dask")
        self._died: type[Exception] = distributed.KilledWorker
        self._client = client
        self._options = {"pure": False, "retries": 0, **options}
        client.run_on_scheduler(_allow_no_failures)

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """Start `fn(*args)` on the cluster."""
        future: Future[Any] = Future()
        theirs = self._client.submit(fn, *args, **self._options)
        theirs.add_done_callback(lambda done: _settle(future, done.result, self._translated))
        return future

    def _translated(self, error: BaseException) -> BaseException:
        if isinstance(error, self._died):
            return WorkerDied("the worker process died (told by Dask)")
        return error


class Ray:
    """Evaluates on a Ray cluster, or on one that is started here.

    Args:
        address: of a cluster; None for the one that this process is connected to, or a new one.
        options: of the remote function, such as `num_gpus=1`, `memory=2**30`.
    """

    def __init__(self, address: str | None = None, **options: Any) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = _module("ray", "ray")
        self._errors = importlib.import_module("ray.exceptions")
        self._options = {"max_retries": 0, **options}
        self._sent: tuple[Any, Any] = (None, None)
        if not self._ray.is_initialized():
            self._ray.init(address=address, include_dashboard=False, log_to_driver=False)

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """Start `fn(*args)` on the cluster; a callable travels once."""
        if fn is not self._sent[0]:
            remote = self._ray.remote(lambda *given: fn(*given)).options(**self._options)
            self._sent = (fn, remote)
        future: Future[Any] = Future()
        theirs = self._sent[1].remote(*args).future()
        theirs.add_done_callback(lambda done: _settle(future, done.result, self._translated))
        return future

    def _translated(self, error: BaseException) -> BaseException:
        if isinstance(error, self._errors.RayTaskError):
            theirs: Any = error
            cause: BaseException = theirs.cause
            cause.__cause__ = RemoteTraceback(f"\n{_COLOUR.sub('', str(error))}")
            return cause
        died = (
            self._errors.WorkerCrashedError,
            self._errors.NodeDiedError,
            self._errors.OutOfMemoryError,
        )
        if isinstance(error, died):
            return WorkerDied(f"the worker process died (told by Ray: {type(error).__name__})")
        return error


def _allow_no_failures(dask_scheduler: Any) -> None:
    dask_scheduler.allowed_failures = 0


def _settle(
    future: "Future[Any]",
    result: Callable[[], Any],
    translated: Callable[[BaseException], BaseException],
) -> None:
    try:
        found = result()
    except BaseException as error:  # noqa: BLE001 - the future carries it
        told = error
        with contextlib.suppress(Exception):  # whatever it is like: nobody must wait for ever
            told = translated(error)
        future.set_exception(told)
    else:
        future.set_result(found)


def _module(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise NotInstalledError(
            f"expected {name}, got none; do: pip install 'wald[{extra}]'"
        ) from None
