"""Expected hypervolume improvement in closed form, against BoTorch's and against differences."""

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
from botorch.models import ModelListGP
from botorch.utils.multi_objective.box_decompositions import NondominatedPartitioning

from bo.acquisition.fused_ehvi import FusedLogEHVI
from surrogates.gp import map as map_gp
from surrogates.inputs import Inputs


def fitted(of, seed=4):
    X = torch.rand(20, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return map_gp.fit(X, of(X), inputs=Inputs.reals(3), options=map_gp.Options())


@pytest.fixture(scope="module")
def models():
    return [
        fitted(lambda X: -((X - 0.2) ** 2).sum(dim=1, keepdim=True) * 9 + 2),
        fitted(lambda X: -((X - 0.8) ** 2).sum(dim=1, keepdim=True)),
        fitted(lambda X: torch.sin(5 * X[:, :1]) + X[:, 1:2]),
    ]


@pytest.fixture
def points():
    return torch.rand(30, 1, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize("m", [2, 3])
def test_values_are_botorchs(models, points, m):
    held = models[:m]
    reference = [-9.0, -2.0, -2.0][:m]
    means = torch.cat([model.posterior(model.train_inputs[0]).mean for model in held], dim=-1)
    corner = torch.tensor(reference, dtype=torch.float64)
    cut = NondominatedPartitioning(ref_point=corner, Y=means.detach())
    joined = ModelListGP(*held)
    theirs = ExpectedHypervolumeImprovement(joined, reference, cut)(points).detach().log()
    ours = FusedLogEHVI(held, reference, None, seed=0)(points)
    near = theirs > theirs.max() - 8  # where little is to be gained, theirs loses digits
    assert near.sum() >= 5
    assert torch.allclose(ours[near], theirs[near], atol=1e-3)


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("pending", [None, [[0.3, 0.6, 0.4], [0.9, 0.1, 0.2]]])
def test_the_gradient_is_that_of_the_values(models, points, pending, limited):
    waiting = None if pending is None else torch.tensor(pending, dtype=torch.float64)
    limits = models[2:] if limited else []
    function = FusedLogEHVI(models[:2], [-9.0, -2.0], waiting, limits=limits, seed=0)
    x = points.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x).sum(), x)
    for row, told in zip(points[:8, 0].numpy(), gradient[:8, 0].numpy(), strict=True):
        for index, step in enumerate(1e-6 * np.eye(3)):
            above, below = function.values(np.stack([row + step, row - step]))
            assert told[index] == pytest.approx((above - below) / 2e-6, rel=1e-3, abs=1e-4)


def test_where_no_known_point_satisfies_a_limit_there_is_no_front(models, points):
    limit = fitted(lambda X: X[:, :1] + 0.1 * torch.sin(40 * X[:, 1:2]) - 1.2)
    told = FusedLogEHVI(models[:2], [-9.0, -2.0], None, limits=[limit], seed=0)(points)
    expected = torch.zeros(len(points), dtype=torch.float64)
    for model, corner in zip(models[:2], [-9.0, -2.0], strict=True):
        of_goal = model.posterior(points)
        normal = torch.distributions.Normal(0.0, 1.0)
        std = of_goal.variance.sqrt().flatten()
        z = (of_goal.mean.flatten() - corner) / std
        expected += (std * (normal.log_prob(z).exp() + z * normal.cdf(z))).log()
    of_limit = limit.posterior(points)
    z = (of_limit.mean / of_limit.variance.sqrt()).flatten()
    expected += torch.special.log_ndtr(z)
    assert torch.allclose(told, expected.detach(), rtol=1e-3, atol=1e-3)
