"""Small tools of the checks: seeds, bitwise equality, a guard on the global random states."""

import contextlib
import copy
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from surrogates.seeds import derive_seed

SEED = 20
"""The root of all seeds of the contracts; every check derives its own from it and its name."""


def generator(*use: object, device: torch.device | str = "cpu") -> Generator:
    """A generator for one use: the same words, the same draws."""
    return Generator(device=device).manual_seed(derive_seed(SEED, *use))


def uniform(
    *shape: int, use: object, device: torch.device, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Uniform numbers in [0, 1), the same on every device."""
    drawn = torch.rand(*shape, generator=generator(use), dtype=torch.float64, device="cpu")
    return drawn.to(device=device, dtype=dtype)


def normal(
    *shape: int, use: object, device: torch.device, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Standard normal numbers, the same on every device."""
    drawn = torch.randn(*shape, generator=generator(use), dtype=torch.float64, device="cpu")
    return drawn.to(device=device, dtype=dtype)


def same(one: Any, other: Any) -> bool:
    """Whether two nested states are equal bit for bit, types included."""
    if isinstance(one, Tensor):
        return (
            isinstance(other, Tensor)
            and one.shape == other.shape
            and one.dtype == other.dtype
            and torch.equal(one, other)
        )
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping)
            and list(one) == list(other)
            and all(same(one[k], other[k]) for k in one)
        )
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))


def kept(state: Any) -> Any:
    """A copy that nothing else can change."""
    return copy.deepcopy(state)


def saved_and_loaded(state: Any) -> Any:
    """A state through a checkpoint: `torch.save`, then `torch.load(weights_only=True)`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@contextlib.contextmanager
def no_global_draws() -> Iterator[None]:
    """Fail if the global random state of torch or NumPy is drawn from or seeded."""
    before = _global_states()
    yield
    after = _global_states()
    for name, state in before.items():
        assert same(state, after[name]), (
            f"expected the global random state of {name} to be left alone, got another one; "
            "draw from the generator that was passed in"
        )


def _global_states() -> dict[str, Any]:
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002 - to see that nobody uses it
    assert isinstance(legacy, dict)
    states = {
        "torch": torch.get_rng_state(),
        "numpy": [legacy["state"]["key"].tolist(), legacy["state"]["pos"]],
    }  # Python's own is drawn from by beartype, which is on in tests
    if torch.cuda.is_available():
        states["torch.cuda"] = torch.cuda.get_rng_state()
    return states
