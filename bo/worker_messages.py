"""What travels between a worker process and its parent: callables, results, exceptions."""

import contextlib
import functools
import importlib
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import cloudpickle

from surrogates.errors import UsageError

HOME = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
PACKAGES = ("surrogates", "bo", "rl", "apps", "dashboards")


class RemoteTraceback(Exception):
    """The cause of an exception that came from a worker; its text is the traceback there."""


def traceback_of(error: BaseException) -> str:
    """The formatted traceback, of the process where the exception was raised."""
    if isinstance(error.__cause__, RemoteTraceback):
        return str(error.__cause__)
    return "".join(traceback.format_exception(error))


class ByName:
    """What `by_name` returns."""

    def __init__(self, module: str, name: str):
        self._module = module
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Import, and call."""
        resolve, target = self.__reduce__()
        return resolve(*target)(*args, **kwargs)

    def __reduce__(self) -> Any:
        """As a lambda, since that travels by value: the worker need not import this module."""
        # Loading does the import, so that its seconds do not count as the evaluation's.
        return (
            lambda module, name: functools.reduce(
                getattr, name.split("."), importlib.import_module(module)
            ),
            (self._module, self._name),
        )


def by_name(target: str) -> Callable[..., Any]:
    """A callable that is `package.module:function` of where it is called.

    In a worker the user's folder comes first then, even where this process knows another module
    by the same name.
    """
    module, _, name = target.partition(":")
    if not (module and name):
        raise UsageError(f"a target expected package.module:function, got {target!r}")
    return ByName(module, name)


def owned_names() -> tuple[str, ...]:
    """Those of our packages' names that mean ours in this process, not a user's module."""
    return tuple(
        name
        for name in PACKAGES
        for path in getattr(sys.modules.get(name), "__path__", ())
        if os.path.realpath(path) == os.path.join(HOME, name)
    )


def dumps(what: str, value: Any) -> bytes:
    """Pickle what a worker needs; `what` names it in the error."""
    try:
        return cloudpickle.dumps(value)
    except Exception as error:
        raise UsageError(
            f"a worker process expected {what} that can be pickled, got: {error}; "
            "create what cannot (files, locks, connections) inside the objective"
        ) from error


def settle(future: "Future[Any]", payload: bytes) -> None:
    """Put a result into its future."""
    try:
        result = pickle.loads(payload)
    except Exception as error:  # noqa: BLE001 - unpickling runs the user's code
        future.set_exception(
            TypeError(
                f"expected a result that this process can read, got: {error}; "
                "return a number or a mapping of numbers"
            )
        )
    else:
        future.set_result(result)


def loaded_error(payload: bytes) -> Exception:
    """The objective's own exception, or a RuntimeError with its text; the traceback as cause."""
    pickled, text, trace = pickle.loads(payload)
    error: Any = None
    if pickled is not None:
        with contextlib.suppress(Exception):  # its class may be unknown here, or need arguments
            error = pickle.loads(pickled)
    if not isinstance(error, Exception):
        error = RuntimeError(text)
    error.__cause__ = RemoteTraceback(f"\n{trace}")
    return error
