"""`gp-mode` is at the mode of its density, and of the likelihood where the prior is flat."""

import pytest
import torch

from surrogates.gp import hyperpriors, mode
from surrogates.gp.hyperposterior import Data, Hyperposterior
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
        Data(X=X, y=y, groups=(0, 1), matern=True), hyperpriors.named(prior, 2, noise=True)
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
