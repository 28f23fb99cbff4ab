"""What an executor is, the one of the calling process, and waiting for any of several futures.

An executor is anything with `submit(fn, *args)` that returns something with `done()` and
`result()`: `InProcess`, `bo.workers.Workers`, those of `concurrent.futures`, Dask, or Ray behind a
few lines.
"""

import concurrent.futures
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Pending(Protocol):
    """What `submit` returns."""

    def done(self) -> bool:
        """Whether `result` would return (or raise) at once."""
        ...

    def result(self) -> Any:
        """The result, waited for; raises what the evaluation raised."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Anything that evaluates."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Pending:
        """Start (or queue) `fn(*args)`."""
        ...


P = TypeVar("P", bound=Pending)


class InProcess:
    """Evaluates at once, in the calling process.

    Ctrl-C propagates from `submit`; ordinary exceptions, `sys.exit` too, wait in the future.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Evaluate `fn(*args, **kwargs)`; the future is done when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the future carries it
            future.set_exception(error)
        return future


def wait(futures: Iterable[P], timeout: int | float | None = None) -> list[P]:
    """Wait until one of several futures is done.

    Args:
        futures: of any executor.
        timeout: seconds; None waits for ever.

    Returns:
        All that are done, in the order given; none if the time ran out.
    """
    waited = list(futures)
    standard = [future for future in waited if isinstance(future, Future)]
    if len(standard) == len(waited):
        concurrent.futures.wait(standard, timeout, concurrent.futures.FIRST_COMPLETED)
        return [future for future in waited if future.done()]
    limit = math.inf if timeout is None else time.monotonic() + timeout
    pause = 0.001
    while not (done := [future for future in waited if future.done()]):
        left = limit - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(pause, left))  # foreign futures offer nothing to wait on
        pause = min(2 * pause, 0.1)
    return done
