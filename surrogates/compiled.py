"""What numba compiles: loops over arrays. Compiled once per machine and kept on disk.

The first use on a machine takes seconds longer. This is told once per process, as an INFO of the
logger `surrogates.compiled`; `apps/progress.py` shows it. Loops over elements compile soonest: an
assignment of one array to part of another brings the text of its error with it, for 1.5 s more.
"""

import inspect
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from numba import njit
from numba.core import event

_P = ParamSpec("_P")
_R = TypeVar("_R")
_logger = logging.getLogger(__name__)
_ours: set[Any] = set()


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile at the first call, once per machine.

    The compiled code is kept in `__pycache__`, or in the user's cache where that cannot be written.
    The function is compiled as it was written: whatever checks its types in tests is taken off.
    """
    made = njit(cache=True)(inspect.unwrap(function))
    _ours.add(made)
    return cast(Callable[_P, _R], made)


class _Teller(event.Listener):
    """Of what numba compiles and does not find on disk."""

    told = False

    def on_start(self, event: Any) -> None:
        """Say so once, of our own functions."""
        if not self.told and event.data["dispatcher"] in _ours:
            self.told = True
            _logger.info("compiling for this machine; only its first run takes this long")

    def on_end(self, event: Any) -> None:
        """Nothing more to say."""


event.register("numba:compile", _Teller())
