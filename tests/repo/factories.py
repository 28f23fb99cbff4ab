"""A watch on tensor factories: `surrogates` and `rl` must name the device and dtype of a tensor."""

import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

WATCHED = ("surrogates", "rl")

_ALWAYS = """
    arange bartlett_window blackman_window empty empty_permuted empty_strided eye full
    hamming_window hann_window kaiser_window linspace logspace ones rand randint randn randperm
    range scalar_tensor tensor tril_indices triu_indices zeros
"""
_FACTORIES = {getattr(torch, name): name for name in _ALWAYS.split()}
_UNLESS_FROM_ARRAYS = {getattr(torch, name): name for name in ("as_tensor", "asarray", "normal")}
_BETWEEN = ("torch.overrides", "torch.utils._device")


class ExplicitFactories(TorchFunctionMode):
    """While active, a factory that watched code calls without device and dtype fails the test."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Check the call if it is one of a factory; then let it through."""
        kwargs = kwargs or {}
        name = _FACTORIES.get(func)
        if name is None and func in _UNLESS_FROM_ARRAYS and not _has_array(args, kwargs):
            name = _UNLESS_FROM_ARRAYS[func]
        if name is not None and kwargs.get("out") is None:
            missing = [word for word in ("device", "dtype") if kwargs.get(word) is None]
            caller = _caller()
            if missing and _module(caller).partition(".")[0] in WATCHED:
                pytest.fail(
                    f"{caller.f_code.co_filename}:{caller.f_lineno}: torch.{name} names no "
                    f"{' and no '.join(missing)}; take both from a tensor that was given"
                )
        return func(*args, **kwargs)


def _has_array(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    return any(isinstance(value, torch.Tensor | np.ndarray) for value in (*args, *kwargs.values()))


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "")


def _caller() -> FrameType:
    """The frame that called the factory: two above, unless torch's own modes lie between."""
    frame = sys._getframe(2)
    while _module(frame) in _BETWEEN and frame.f_back is not None:
        frame = frame.f_back
    return frame
