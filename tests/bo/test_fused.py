"""Log expected improvement in closed form, against BoTorch's and against exact arithmetic."""

import numpy as np
import pytest
import torch
from botorch.acquisition import (
    LogExpectedImprovement,
    qLogExpectedImprovement,
)
from botorch.acquisition.analytic import LogConstrainedExpectedImprovement, _log_ei_helper
from botorch.models import ModelListGP
from botorch.sampling import SobolQMCNormalSampler

from bo.acquisition import fused
from bo.acquisition.fused import FusedLogEI, log_cdf, log_h
from surrogates.gp import map as map_gp
from surrogates.inputs import Inputs


@pytest.fixture(scope="module")
def model() -> map_gp.MapGP:
    X = torch.rand(25, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    Y = -((X - 0.4) ** 2).sum(dim=1, keepdim=True) * 50 + 3
    return map_gp.fit(X, Y, inputs=Inputs.reals(3), options=map_gp.Options())


@pytest.fixture
def points() -> torch.Tensor:
    return torch.rand(30, 1, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize("z", [-1000, -300, -50, -30.5, -29.5, -10, -1.5, -0.9, 0, 0.5, 3, 8])
def test_log_h_and_its_slope_for_any_z(z):
    at = torch.tensor([float(z)], dtype=torch.float64, requires_grad=True)
    told = _log_ei_helper(at)
    (slope,) = torch.autograd.grad(told, at)
    assert log_h(float(z)) == pytest.approx((told.item(), slope.item()), rel=1e-7, abs=1e-12)


def test_values_are_botorchs(model, points):
    best = model.posterior(model.train_inputs[0]).mean.max().detach()
    theirs = LogExpectedImprovement(model, best_f=best)(points).detach()
    ours = FusedLogEI(model, None, seed=0)(points)
    near = theirs > theirs.max() - 30  # where nothing is to be gained, both lose digits
    assert torch.allclose(ours[near], theirs[near], atol=1e-3)


def test_a_margin_is_added_to_the_best(model, points):
    best = model.posterior(model.train_inputs[0]).mean.max().detach() + 0.7
    theirs = LogExpectedImprovement(model, best_f=best)(points).detach()
    ours = FusedLogEI(model, None, seed=0, margin=0.7)(points)
    near = theirs > theirs.max() - 30
    assert torch.allclose(ours[near], theirs[near], atol=1e-3)


@pytest.fixture(scope="module")
def limits() -> list[map_gp.MapGP]:
    X = torch.rand(15, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    outcomes = (X[:, :1] - 0.5, torch.sin(6 * X[:, 1:2]) + 0.2)
    return [map_gp.fit(X, Y, inputs=Inputs.reals(3), options=map_gp.Options()) for Y in outcomes]


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("pending", [None, [[0.3, 0.6, 0.4], [0.9, 0.1, 0.2]]])
def test_the_gradient_is_that_of_the_values(model, limits, points, pending, limited):
    waiting = None if pending is None else torch.tensor(pending, dtype=torch.float64)
    function = FusedLogEI(model, waiting, limits=limits if limited else [], seed=0)
    x = points.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x).sum(), x)
    for row, told in zip(points[:8, 0].numpy(), gradient[:8, 0].numpy(), strict=True):
        for index, step in enumerate(1e-6 * np.eye(3)):
            above, below = function.values(np.stack([row + step, row - step]))
            assert told[index] == pytest.approx((above - below) / 2e-6, rel=1e-3, abs=1e-4)


def test_limits_weigh_improvement_as_botorchs_constrained_one(model, limits, points):
    function = FusedLogEI(model, None, limits=limits, seed=0)
    theirs = LogConstrainedExpectedImprovement(
        ModelListGP(model, *limits),
        best_f=float(function.best[0]) * model.outcome_transform.stdvs.item()
        + model.outcome_transform.means.item(),
        objective_index=0,
        constraints={1: (0.0, None), 2: (0.0, None)},
    )(points).detach()
    near = theirs > theirs.max() - 30
    assert torch.allclose(function(points)[near], theirs[near], atol=1e-3)


@pytest.mark.parametrize("z", [-1000, -300, -50, -30.5, -29.5, -10, -1.5, -0.9, 0, 0.5, 3, 8])
def test_log_cdf_and_its_slope_for_any_z(z):
    at = torch.tensor([float(z)], dtype=torch.float64, requires_grad=True)
    told = torch.special.log_ndtr(at)
    (slope,) = torch.autograd.grad(told, at)
    assert log_cdf(float(z)) == pytest.approx((told.item(), slope.item()), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("batched", [True, False])
def test_climbing_ends_no_lower_and_moves_the_free_columns_only(
    model, points, batched, monkeypatch
):
    if batched:
        assert fused._BATCHED is not None
    else:
        monkeypatch.setattr(fused, "_BATCHED", None)
    function = FusedLogEI(model, None, seed=0)
    starts = points[:6, 0].numpy()
    ends = function.climb(starts, [0, 2], max_iterations=100)
    assert (function.values(ends) >= function.values(starts) - 1e-9).all()
    assert function.values(ends).sum() > function.values(starts).sum() + 0.1
    assert (ends[:, 1] == starts[:, 1]).all()
    assert ((ends >= 0) & (ends <= 1)).all()


def test_pending_points_are_shunned(model):
    pending = torch.tensor([[0.4, 0.4, 0.4], [0.42, 0.4, 0.38]], dtype=torch.float64)
    free, held = FusedLogEI(model, None, seed=0), FusedLogEI(model, pending, seed=3)
    assert (held(pending.unsqueeze(1)) < free(pending.unsqueeze(1)) - 1).all()


@pytest.mark.filterwarnings("ignore::linear_operator.utils.warnings.NumericalWarning")  # jitter
@pytest.mark.parametrize("seed", range(4))
def test_a_batch_is_as_good_as_botorchs_of_samples(seed):
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(12, 2, generator=generator, dtype=torch.float64)
    Y = torch.sin(9 * X[:, :1]) * torch.cos(7 * X[:, 1:])
    model = map_gp.fit(X, Y, inputs=Inputs.reals(2), options=map_gp.Options())
    best = model.posterior(X).mean.max().detach()
    grid = torch.rand(300, 2, generator=generator, dtype=torch.float64)

    def batch(samples: bool) -> torch.Tensor:
        chosen = torch.zeros(0, 2, dtype=torch.float64)
        for _ in range(4):
            pending = chosen if len(chosen) else None
            sampler = SobolQMCNormalSampler(torch.Size([512]), seed=seed)
            function = (
                qLogExpectedImprovement(model, best, sampler=sampler, X_pending=pending)
                if samples
                else FusedLogEI(model, pending, seed=3)
            )
            with torch.no_grad():
                chosen = torch.cat([chosen, grid[function(grid.unsqueeze(1)).argmax()][None]])
        return chosen

    sampler = SobolQMCNormalSampler(torch.Size([4096]), seed=99)
    joint = qLogExpectedImprovement(model, best, sampler=sampler)
    ours, theirs = (joint(batch(s).unsqueeze(0)).exp().item() for s in (False, True))
    assert ours > 0.95 * theirs
