"""The units of a goal are the user's: a search goes the same way whatever they are."""

from typing import Any

import numpy as np
import pytest
import torch

import bo
from bo.snapshot import predictions
from surrogates.contract import least_spread

SQUARE = {"x": bo.real(0, 1), "y": bo.real(0, 1)}
SCALES = [1.0, 1e-9, 1e-16, 1e12]


def bowl(p: Any) -> float:
    return (p["x"] - 0.3) ** 2 + (p["y"] - 0.7) ** 2


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("auto", {}),
        ("gp-map", {}),
        ("gp-map", {"transform": "none"}),
        ("gp-map", {"acquisition": "ucb"}),
        ("gp-map", {"acquisition": "lognei"}),
        ("gp-map", {"acquisition": "ts"}),
        ("gp-trust-region", {}),
        ("gp-global-local", {}),
        ("gp-hmc", {}),
        ("gp-smc", {}),
        ("gp-laplace", {"surrogate.kernel": "rq"}),
        ("gp-vi-bures", {}),
    ],
)
def test_a_goal_in_any_units(method: str, options: dict[str, Any]) -> None:
    for scale in SCALES:
        study = bo.Study(SQUARE, "minimize v", method=method, options=options, seed=3)
        study.run(lambda p, scale=scale: scale * bowl(p), budget=14)
        found = min(bowl(trial.parameters) for trial in study.trials[3:])
        assert found < 2e-3, scale
        assert found < min(bowl(trial.parameters) for trial in study.trials[:3])


@pytest.mark.parametrize("method", ["gp-map", "gp-smc"])
def test_goals_of_different_units(method: str) -> None:
    def front(scale: float) -> list[tuple[float, float]]:
        study = bo.Study(SQUARE, "minimize v, minimize w", method=method, seed=0)
        study.run(
            lambda p: {"v": bowl(p), "w": scale * ((p["x"] - 0.6) ** 2 + (p["y"] - 0.2) ** 2)},
            budget=14,
        )
        return [(trial.values["v"], trial.values["w"] / scale) for trial in study.front()]

    assert len(front(1e-13)) > 5
    assert np.allclose(front(1e-13), front(1.0), rtol=0.1, atol=1e-2)


def test_an_offset_that_is_large_beside_what_varies() -> None:
    study = bo.Study(SQUARE, "minimize v", method="gp-map", seed=0)
    study.run(lambda p: 1e-6 + 1e-12 * bowl(p), budget=14)
    assert min(bowl(trial.parameters) for trial in study.trials) < 2e-3


def test_told_errors_are_in_the_units_of_the_goal() -> None:
    study = bo.Study(SQUARE, "minimize v", method="gp-map", seed=0)
    study.run(lambda p: {"v": (1e-12 * bowl(p), 1e-14)}, budget=14)
    assert min(bowl(trial.parameters) for trial in study.trials) < 5e-3


def test_what_is_expected_is_told_in_the_units_of_the_goal() -> None:
    def expected(scale: float) -> dict[str, Any]:
        study = bo.Study(SQUARE, "minimize v", method="gp-map", seed=0)
        study.run(lambda p: scale * bowl(p), budget=8)
        before = study.trials
        (told,) = predictions(study, before, study.ask(1)).values()
        return told

    one = expected(1.0)
    for scale in (1e-10, 1e10):
        told = expected(scale)
        assert told["mean"] / scale == pytest.approx(one["mean"], rel=1e-2, abs=1e-4)
        assert told["std"] / scale == pytest.approx(one["std"], rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outcomes_that_are_all_alike_have_no_spread(dtype: torch.dtype) -> None:
    for value in (0.0, 1e-30, 1.0, 1e15):
        same = torch.full((5, 1), value, dtype=dtype, device="cpu")
        assert float(same.std()) < least_spread(same)
    some = torch.tensor([[1e-16], [3e-16]], dtype=dtype, device="cpu")
    assert float(some.std()) > least_spread(some)
