"""What engines say to things that are not theirs."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from surrogates.errors import DataError
from surrogates.inference import (
    chees,
    hmc,
    laplace,
    nuts,
    smc,
    vi_bures,
    vi_flow,
    vi_fullrank,
    vi_meanfield,
)
from surrogates.inference.contract import Differentiated

START = torch.zeros(4, 2, dtype=torch.float64, device="cpu")
NORMAL = Differentiated(lambda x: -0.5 * x.square().sum(dim=1))
SAMPLERS: list[Any] = [hmc, nuts, chees]
FITTED: list[Any] = [vi_meanfield, vi_fullrank, vi_flow, vi_bures]


class Returning:
    """A density of one's own that returns something."""

    def __init__(self, told: Any) -> None:
        self.told = told

    def value_and_grad(self, x: Tensor) -> Any:
        """As it was told."""
        return self.told


def random() -> torch.Generator:
    return torch.Generator(device="cpu").manual_seed(0)


def constant(value: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x[:, 0] * 0.0 + value


@pytest.mark.parametrize(
    ("density", "words"),
    [
        (lambda x: -x.square().sum(dim=1), "value_and_grad, got function .* Differentiated"),
        (Differentiated(lambda x: 1.0), "log_density expected to return a tensor .*, got float"),  # pyright: ignore[reportArgumentType]
        (Differentiated(lambda x: x.detach()[:, 0]), "without a gradient"),
        (Returning(START[:, 0]), "two tensors, values and gradients, got torch.Tensor"),
        (Returning((START[:, 0].numpy(), START.numpy())), "two tensors"),
        (Returning((START[:, 0].float(), START.float())), "float64, got torch.float32"),
        (Differentiated(constant(math.nan)), "got log densities of nan; start elsewhere"),
        (Differentiated(constant(math.inf)), "got log densities of inf"),
    ],
)
def test_densities(density: Any, words: str) -> None:
    for engine in SAMPLERS:
        with pytest.raises(DataError, match=words):
            engine.init(density, START)
    with pytest.raises(DataError, match=words):
        smc.init(density, START)
    counted = not isinstance(density, Returning)  # the types of what counts are checked in tests
    for engine in [laplace, *(FITTED if counted else [])]:
        with pytest.raises(DataError, match=words):
            engine.run(density, START, options=engine.Options(), generator=random())


def test_whole_numbers_are_no_start() -> None:
    with pytest.raises(DataError, match="floating point numbers, got torch.int64"):
        hmc.init(NORMAL, torch.zeros(4, 2, dtype=torch.int64, device="cpu"))


@pytest.mark.parametrize("engine", [*SAMPLERS, laplace, *FITTED])
def test_generator_options_and_state(engine: Any) -> None:
    state = engine.init(NORMAL, START) if engine in SAMPLERS else START
    with pytest.raises(DataError, match=r"expected a torch\.Generator, got int 3"):
        engine.run(NORMAL, state, options=engine.Options(), generator=3)
    other = smc if engine is not smc else hmc
    with pytest.raises(DataError, match=f"options expected {engine.__name__}.Options, got"):
        engine.run(NORMAL, state, options=other.Options(), generator=random())
    with pytest.raises(DataError, match=r"expected a state of .* \(from init"):
        engine.run(NORMAL, "draws", options=engine.Options(), generator=random())


@pytest.mark.parametrize("engine", [*SAMPLERS, smc])
@pytest.mark.parametrize("told", [{"a": 1}, '{"x": [[0.0, 0.0]]}'])
def test_states_that_are_none(engine: Any, told: Any) -> None:
    with pytest.raises(DataError, match=r"to_json\(\) returned, got .* without (x|traj)"):
        engine.State.from_json(told, NORMAL, START)


@pytest.mark.parametrize("engine", FITTED)
def test_fits_that_are_none(engine: Any) -> None:
    with pytest.raises(DataError, match=r"without mean"):
        engine.State.from_json({"a": 1}, START)
