"""`gp-mode` is at the mode of its density, and of the likelihood where the prior is flat."""

import math

import pytest
import torch

from surrogates import regression
from surrogates.gp import bayesian, hyperpriors, mode
from surrogates.gp.hyperposterior import Data, Hyperposterior
from surrogates.inference import laplace
from surrogates.inference.contract import normals
from surrogates.inputs import Inputs


def _data(seed: int, n: int = 25):
    generator = torch.Generator(device="cpu").manual_seed(seed)
    X = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    return X, torch.sin(5.0 * X[:, :1]) + X[:, 1:] ** 2 + 0.1 * noise


@pytest.mark.parametrize("prior", [*hyperpriors.NAMES, "flat"])
def test_nothing_near_is_likelier(prior):
    X, Y = _data(4)
    options = mode.Options(prior=prior, starts=8)
    model = mode.fit(X, Y, inputs=Inputs.reals(2), options=options)
    y = (Y[:, 0] - Y.mean()) / Y.std()
    density = Hyperposterior(
        Data(X, y, (0, 1), matern=True, least_noise_var=hyperpriors.least_noise_var(prior)),
        hyperpriors.named(prior, 2, noise=True),
    )
    at = torch.tensor([model.state["mode"]], dtype=torch.float64)
    value, gradient = density.value_and_grad(at)
    assert float(value) == pytest.approx(model.diagnostics["log_density"], rel=1e-9)
    assert float(gradient.abs().max()) < 1e-2
    generator = torch.Generator(device="cpu").manual_seed(0)
    around = at + 0.3 * normals((500, at.shape[1]), generator, at)
    assert float(density.value_and_grad(around)[0].max()) < float(value)


def test_a_flat_prior_gives_the_greatest_likelihood():
    X, Y = _data(7)
    likelihoods = {}
    for prior in ("flat", "moderate", "vague", "gamma"):
        found = mode.fit(X, Y, inputs=Inputs.reals(2), options=mode.Options(prior=prior, starts=8))
        y = (Y[:, 0] - Y.mean()) / Y.std()
        density = Hyperposterior(
            Data(X=X, y=y, groups=(0, 1), matern=True), hyperpriors.named("vague", 2, noise=True)
        )
        at = torch.tensor([found.state["mode"]], dtype=torch.float64)
        likelihoods[prior] = float(density.log_likelihood(at)[0])
    assert max(likelihoods, key=likelihoods.__getitem__) == "flat"


def test_it_predicts_as_one_draw():
    X, Y = _data(1)
    model = mode.fit(X, Y, inputs=Inputs.reals(2), options=mode.Options())
    assert model.batch_shape == torch.Size([1])
    posterior = model.posterior(X.unsqueeze(1))
    assert posterior.mixture_mean.shape == (25, 1, 1)
    assert float((posterior.mixture_mean[:, 0] - Y).abs().mean()) < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_function_that_remembers_repeated_rows_is_found(seed, data_folder):
    """On half of red wine, with 65 repeats among 799 rows, its evidence is e^166 times as much."""
    split = regression.load("wine_red", 0, split="half")
    problem = bayesian.Problem(
        split.train_X,
        split.train_Y,
        None,
        Inputs.reals(11),
        bayesian.Options(kernel="rbf"),
        torch.Generator(device="cpu").manual_seed(seed),
    )
    highest = laplace.modes(problem.density, problem.searches(count=3), laplace.Options())[0]
    assert math.exp(float(highest.mode[-1])) < 1e-4
    # The other one has a noise of half the variance.
    other = highest.mode.clone()
    other[:-2], other[-2], other[-1] = 0.0, 0.0, math.log(0.55)
    (smooth,) = laplace.modes(problem.density, other.unsqueeze(0), laplace.Options())
    assert highest.log_normaliser - smooth.log_normaliser > 100.0
