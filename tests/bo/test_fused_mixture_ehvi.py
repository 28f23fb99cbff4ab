"""Expected hypervolume improvement over draws of hyperparameters, against what it is."""

from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
from botorch.models import ModelListGP
from botorch.utils.multi_objective.box_decompositions import NondominatedPartitioning
from scipy.stats import norm
from torch import Generator

from bo.acquisition.functions import Models, acquisition
from bo.acquisition.fused import Array
from bo.acquisition.fused_mixture_ehvi import FusedMixtureLogEHVI
from surrogates.gp import hyperpriors
from surrogates.gp.hyperposterior import Data
from surrogates.gp.mixture import MixtureGP
from surrogates.gp.of_draw import of_draw

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
DRAWS = 4
REFERENCE = [-1.0, -1.0]


def made(seed: int, *, weighted: bool = False, centre: float = 0.5) -> MixtureGP:
    X = torch.rand((10, 3), generator=Generator(device="cpu").manual_seed(0), **F64)
    generator = Generator(device="cpu").manual_seed(seed)
    y = torch.randn(10, generator=generator, **F64)
    prior = hyperpriors.named("dimension-scaled", 3, noise=True)
    draws = prior.sample(DRAWS, generator, X) - 1.0
    weights = torch.tensor([0.5, 0.25, 0.25, 0.0], **F64).log() if weighted else None
    data = Data(X, y, (0, 1, 2), True)
    return MixtureGP(data, draws, centre=centre, unit=1.5, log_weights=weights)


def points(m: int) -> Array:
    return np.random.default_rng(5).uniform(size=(m, 3))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("limited", [False, True])
def test_values_are_the_log_of_the_average_over_draws(limited: bool, weighted: bool) -> None:
    goals = [made(1, weighted=weighted), made(2, weighted=weighted)]
    limits = [made(3)] if limited else []
    function = FusedMixtureLogEHVI(goals, REFERENCE, None, limits=limits, seed=0)
    X = torch.as_tensor(points(40)).unsqueeze(1)
    known, corner = goals[0].data.X, torch.tensor(REFERENCE, **F64)
    total = np.zeros(40)
    for place in range(DRAWS):
        joined = ModelListGP(*(of_draw(goal.equal, place) for goal in goals))
        means, chance = joined.posterior(known).mean, np.ones(40)
        for limit in limits:
            alone = of_draw(limit, place)
            means = means[alone.posterior(known).mean[:, 0] >= 0]
            told = alone.posterior(X)
            chance = norm.cdf((told.mean / told.variance.sqrt()).numpy().flatten())
        cut = NondominatedPartitioning(ref_point=corner, Y=means)
        gain = ExpectedHypervolumeImprovement(joined, REFERENCE, cut)(X)
        total += gain.numpy() * chance / DRAWS
    near = total > 1e-3 * total.max()
    assert near.sum() > 10
    assert np.allclose(function.values(points(40))[near], np.log(total[near]), atol=1e-3)


@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize("limited", [False, True])
def test_gradients_are_those_of_the_values(limited: bool, pending: bool) -> None:
    waiting = torch.as_tensor(points(2) * 0.5) if pending else None
    limits = [made(3)] if limited else []
    function = FusedMixtureLogEHVI([made(1), made(2)], REFERENCE, waiting, limits=limits, seed=3)
    for x in points(6):
        value, gradient = function.value_and_gradient(x)
        assert value == pytest.approx(function.values(x[None])[0], rel=1e-8, abs=1e-8)
        change = [function.values(np.stack([x + s, x - s])) for s in 1e-6 * np.eye(3)]
        slope = np.array([(above - below) / 2e-6 for above, below in change])
        assert np.allclose(gradient, slope, rtol=1e-3, atol=1e-4)


def test_it_is_what_ehvi_of_mixtures_means_on_the_cpu() -> None:
    goals = [made(1), made(2)]
    known = goals[0].data.X
    function = acquisition("ehvi", Models(goals), known, None, reference=REFERENCE, seed=0)
    assert isinstance(function, FusedMixtureLogEHVI)
    unlike = [made(1), made(2).thinned(3)]
    fewer = acquisition("ehvi", Models(unlike), known, None, reference=REFERENCE, seed=0)
    assert isinstance(fewer, FusedMixtureLogEHVI)
    assert [len(goal.alpha) for goal in fewer.goals] == [3, 3]
