"""Outcomes in a small unit are predicted as in any other: no variance is rounded up to a number."""

from typing import Any

import pytest
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from torch import Generator, Tensor

from surrogates.gp import laplace, map, mode
from surrogates.inputs import Inputs

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
FITS = [(map, {}), (mode, {}), (laplace, {"draws": 64, "kept": 8})]


def data(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Points, outcomes about 1, and (4, 1, 2) points to predict at."""
    generator = Generator(device="cpu").manual_seed(0)
    X = torch.rand(20, 2, generator=generator, **F64)
    at = torch.rand(4, 1, 2, generator=generator, **F64)
    return X.to(dtype), (torch.sin(5 * X[:, :1]) + X[:, 1:]).to(dtype), at.to(dtype)


def fitted(module: Any, options: dict[str, Any], unit: float, dtype: torch.dtype) -> Any:
    X, Y, _ = data(dtype)
    generator = Generator(device="cpu").manual_seed(1)
    return module.fit(
        X,
        unit * Y,
        inputs=Inputs.reals(2),
        options=module.Options(**options),
        generator=generator,
    )


@pytest.mark.filterwarnings("ignore:The model inputs are of type torch.float32")
@pytest.mark.parametrize(("module", "options"), FITS, ids=["map", "mode", "laplace"])
@pytest.mark.parametrize(
    ("dtype", "unit"), [(torch.float64, 1e-6), (torch.float64, 1e-12), (torch.float32, 1e-4)]
)
def test_standard_deviations_go_with_the_unit(
    module: Any, options: dict[str, Any], dtype: torch.dtype, unit: float
) -> None:
    at = data(dtype)[2]
    told = fitted(module, options, unit, dtype).posterior(at)
    want = fitted(module, options, 1.0, dtype).posterior(at)
    rtol = 0.02 if dtype == torch.float32 else 1e-4
    assert torch.allclose(told.variance.sqrt() / unit, want.variance.sqrt(), rtol=rtol, atol=0.0)
    assert torch.allclose(told.distribution.stddev**2, told.variance[..., 0])
    if module is not map:
        sd, wanted = told.mixture_variance.sqrt() / unit, want.mixture_variance.sqrt()
        assert torch.allclose(sd, wanted, rtol=rtol, atol=0.0)


@pytest.mark.parametrize(("module", "options"), FITS, ids=["map", "mode", "laplace"])
def test_so_do_those_of_a_linear_transform_and_expected_improvement(
    module: Any, options: dict[str, Any]
) -> None:
    """BoTorch's own floor, 1e-12 of any unit, is far below these."""
    _, Y, _ = data()
    unit, twice = 3e-5, ScalarizedPosteriorTransform(torch.tensor([-2.0], **F64))
    at = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.97, 0.98]], **F64).unsqueeze(1)
    small, plain = (fitted(module, options, each, torch.float64) for each in (unit, 1.0))
    told = small.posterior(at, posterior_transform=twice).variance
    assert torch.allclose(told, 4.0 * small.posterior(at).variance, rtol=1e-9, atol=0.0)
    assert bool((told < 1e-10).any())
    low = float(Y.quantile(0.7))
    improvement = LogExpectedImprovement(small, best_f=unit * low)(at)
    wanted = LogExpectedImprovement(plain, best_f=low)(at)
    assert torch.allclose(improvement - torch.log(torch.tensor(unit, **F64)), wanted, atol=1e-3)
