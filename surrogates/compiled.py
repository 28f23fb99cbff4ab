"""What numba compiles: loops over arrays. Compiled once per machine and kept on disk."""

import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

_P = ParamSpec("_P")
_R = TypeVar("_R")


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile at the first call, once per machine.

    The compiled code is kept in `__pycache__`, or in the user's cache where that cannot be written.
    The function is compiled as it was written: whatever checks its types in tests is taken off.
    """
    return cast(Callable[_P, _R], njit(cache=True)(inspect.unwrap(function)))
