"""Mixtures over hyperparameters: their quantiles, and where an outcome lies among them."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm

from bo.mixtures import LEVELS, TWO_SD, Components, components, normal_score
from surrogates.gp import hmc, laplace, map
from surrogates.inputs import Inputs


def some(draws=16, n=7, seed=0):
    random = np.random.default_rng(seed)
    mean, std = random.normal(size=(draws, n)) * 3, random.uniform(0.1, 2.0, (draws, n))
    return Components(mean, std, (mean.mean(axis=0), (std**2).mean(axis=0) + mean.var(axis=0)))


@pytest.mark.parametrize("level", [*LEVELS, *TWO_SD])
def test_quantiles_are_those_of_the_mixture(level):
    told = some()
    found = told.quantile(level)
    for at in range(7):
        exact = brentq(
            lambda x, at=at: norm.cdf(x, told.mean[:, at], told.std[:, at]).mean() - level, -40, 40
        )
        assert found[at] == pytest.approx(exact, abs=2e-3)


def test_of_one_draw_they_are_those_of_a_normal():
    mean, std = np.array([[1.0, -2.0]]), np.array([[0.5, 0.0]])
    told = Components(mean, std, (mean[0], std[0] ** 2))
    assert told.quantile(0.975) == pytest.approx([1.0 + 0.5 * norm.ppf(0.975), -2.0])


@pytest.mark.parametrize("level", [0.01, 0.025, 0.2, 0.5, 0.81, 0.975, 0.995])
def test_the_score_of_an_outcome_of_a_normal_is_its_own(level):
    quantiles = 3.0 + 2.0 * norm.ppf(LEVELS)
    outcome = float(3.0 + 2.0 * norm.ppf(level))
    assert normal_score(outcome, quantiles) == pytest.approx(norm.ppf(level))


def test_a_prediction_without_doubt_knows_no_other_outcome():
    sure = np.full(len(LEVELS), 2.0)
    assert normal_score(2.0, sure) == 0.0
    assert normal_score(2.1, sure) == math.inf
    assert normal_score(1.9, sure) == -math.inf


def test_only_a_mixture_has_components():
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(6, 2, dtype=torch.float64, generator=generator)
    Y = X.sum(dim=1, keepdim=True)
    for module, draws in ((map, None), (laplace, 64), (hmc, 64)):
        model = module.fit(
            X, Y, inputs=Inputs.reals(2), options=module.Options(), generator=generator
        )
        told = components(model, X.unsqueeze(1))
        assert (told is None) == (draws is None)
        if told is not None:
            assert told.mean.shape == told.std.shape == (draws, 6)
            mean, var = told.moments
            # The moments go by the weights, the draws are repeated as often as they weigh.
            close = 1e-6 if module is hmc else 0.02
            assert mean == pytest.approx(told.mean.mean(axis=0), rel=close)
            parts = (told.std**2).mean(axis=0) + told.mean.var(axis=0)
            assert var == pytest.approx(parts, rel=close)
