"""The surrogate `saas`: the chain itself is slow (JAX compiles), what surrounds it is quick."""

import importlib
import sys
from typing import Any

import pytest
import torch
from botorch.acquisition import LogExpectedImprovement

from bo.acquisition.functions import Models, acquisition
from surrogates.errors import CapabilityError, NotInstalledError
from surrogates.inputs import Inputs
from tests.contracts.common import generator, no_global_draws, normal, same, uniform

pytest.importorskip("numpyro")
from surrogates.gp import saas  # noqa: E402 - only where its packages are

CPU = torch.device("cpu")
SHORT = saas.Options(num_samples=16, warmup_steps=16, thinning=4, max_tree_depth=4)


def data(n: int = 10, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Only the first column matters."""
    X = uniform(n, d, use=("saas", n, d), device=CPU)
    return X, torch.sin(5.0 * X[:, :1]) + 40.0


def drawn(model: Any, options: saas.Options, seed: int) -> tuple[dict[str, torch.Tensor], float]:
    """Stands in for the chain: positive numbers from the seed."""
    s, d = options.num_samples, model.pyro_model.ard_num_dims
    numbers = normal(s, d + 3, use=("chain", seed), device=CPU)
    numbers = 0.2 * numbers.exp()
    return {
        "mean": numbers[:, 0],
        "noise": 1e-3 * numbers[:, 1],
        "outputscale": 5.0 * numbers[:, 2],
        "lengthscale": numbers[:, 3:],
    }, 2.0


def fitted(seed: int = 0, options: saas.Options = SHORT) -> Any:
    X, Y = data()
    return saas.fit(X, Y, inputs=Inputs.reals(3), options=options, generator=generator(seed))


def test_the_posterior_is_a_mixture_over_the_draws_that_are_kept(monkeypatch) -> None:
    monkeypatch.setattr(saas, "_sample", drawn)
    model = fitted()
    Xs = uniform(5, 2, 3, use="mixture", device=CPU)
    posterior = model.posterior(Xs)
    assert model.batch_shape == torch.Size([4]), "16 draws, one in four kept"
    assert posterior.mean.shape == (5, 4, 2, 1)
    assert posterior.mixture_mean.shape == (5, 2, 1)
    assert posterior.mean.dtype == torch.float64
    assert model.state == {}
    assert model.diagnostics["divergences"] == 2.0
    assert model.diagnostics["draws"] == 4.0
    assert model.diagnostics["ess_min"] > 1.0
    assert abs(model.diagnostics["rhat_max"] - 1.0) < 0.5
    with pytest.raises(CapabilityError, match="use gp-map"):
        model.condition_on_observations(Xs[0], Xs[0, :, :1])


def test_the_seed_alone_decides_and_nothing_global_is_drawn(monkeypatch) -> None:
    monkeypatch.setattr(saas, "_sample", drawn)
    fitted()  # imports may draw
    with no_global_draws():
        one, again, other = fitted(1), fitted(1), fitted(2)
    Xs = uniform(4, 1, 3, use="seeds", device=CPU)
    with torch.no_grad():
        means = [model.posterior(Xs).mean for model in (one, again, other)]
    assert same(means[0], means[1])
    assert not same(means[0], means[2])
    jax: Any = importlib.import_module("jax")
    assert jax.numpy.zeros(1).dtype == "float32", "JAX is left as it was"


@pytest.mark.parametrize("name", ["logei", "lognei", "ucb"])
@pytest.mark.parametrize("pending", [False, True])
def test_acquisition_functions_average_over_the_draws(monkeypatch, name: str, pending: bool):
    monkeypatch.setattr(saas, "_sample", drawn)
    model = fitted()
    X, _ = data()
    waiting = uniform(2, 3, use="waiting", device=CPU) if pending else None
    function = acquisition(name, Models([model]), X, waiting, seed=1)
    Xs = uniform(6, 1, 3, use="asked", device=CPU).requires_grad_()
    values = function(Xs)
    assert values.shape == (6,)
    (gradient,) = torch.autograd.grad(values.sum(), Xs)
    assert torch.isfinite(gradient).all()
    if name == "logei" and not pending:
        assert isinstance(function, LogExpectedImprovement)
        posterior = model.posterior(Xs.detach())
        std = posterior.variance.sqrt().squeeze(-1).squeeze(-1)
        gap = posterior.mean.squeeze(-1).squeeze(-1) - function.best_f
        normal_ = torch.distributions.Normal(0.0, 1.0)
        z = gap / std
        ei = gap * normal_.cdf(z) + std * normal_.log_prob(z).exp()
        assert torch.allclose(values, ei.mean(dim=1).log(), rtol=1e-6, atol=1e-6)


def test_without_its_packages_the_message_says_what_to_install(monkeypatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in ("jax", "numpyro")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("jax", "numpyro"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NotInstalledError, match=r'pip install "wald\[bench\]"'):
        fitted()


@pytest.mark.slow
def test_the_chain_finds_the_parameter_that_matters_and_is_repeatable() -> None:
    options = saas.Options(num_samples=64, warmup_steps=128, thinning=4)
    model, again = fitted(1, options), fitted(1, options)
    lengthscale = model.median_lengthscale
    assert (lengthscale[1:] > 3 * lengthscale[0]).all()
    assert model.diagnostics["rhat_max"] < 1.2
    X, Y = data()
    with torch.no_grad():
        mean = model.posterior(X.unsqueeze(1)).mixture_mean.squeeze(-1)
        assert (mean - Y).abs().max() < 0.1
        assert same(again.posterior(X.unsqueeze(1)).mixture_mean.squeeze(-1), mean)
    assert not same(fitted(2, options).median_lengthscale, lengthscale)
