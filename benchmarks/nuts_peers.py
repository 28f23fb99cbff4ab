"""NUTS of BoTorch and of NumPyro over hyperparameters of a Gaussian process, one chain at a time.

The settings are those of BoTorch's `fit_fully_bayesian_model_nuts`: a dense mass matrix, depth 6,
512 steps of warm-up and 256 draws, by NumPyro. In float64. JAX has one thread and dispatches
asynchronously: results are waited for. A first chain compiles; those after it use the same code.

Models, each a way to write the posterior that `surrogates.gp.hyperposterior` has:
- `numpyro`: the same density, mean and global shrinkage integrated out;
- `botorch`: its `SaasPyroModel` as it is, or its `MaternPyroModel` with the signal variance and the
  noise of the prior `dsp` (as shipped that has no signal variance and other noise, so another
  posterior); mean, and global shrinkage, are drawn too.
"""

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import version_of
from surrogates.gp.hyperpriors import Prior, terms

WARMUP, DRAWS, DEPTH = 512, 256, 6
SETTINGS = {
    "chain": f"dense mass matrix, depth {DEPTH}, {WARMUP} + {DRAWS}, float64, one thread",
    "compilation": "excluded: the chain compiled is repeated at the same shape",
}
SAME = ("NumPyro", "BoTorch")
_LEAST_NOISE_VAR = 1e-4
_FLAGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


@dataclass(frozen=True)
class Chain:
    """Draws of the logarithms (length-scales, signal variance, noise variance) and their price."""

    draws: Tensor
    seconds: float


def versions() -> dict[str, str]:
    """Of the peer. Raises `NotInstalledError` where one is absent."""
    return {name: version_of(name, extra="bench") for name in ("numpyro", "jax", "botorch")}


def start() -> None:
    """Load JAX, with one thread and in float64. Before anything else does."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    importlib.import_module("jax").config.update("jax_enable_x64", True)


class Nuts:
    """Chains of one model.

    Args:
        model: of NumPyro.
        told: (draws, dim) length-scales, signal variance and noise variance of its samples.
        draws: after the warm-up.
    """

    def __init__(
        self,
        model: Callable[[], None],
        told: Callable[[dict[str, Any]], Any],
        draws: int = DRAWS,
    ) -> None:
        infer = importlib.import_module("numpyro.infer")
        kernel = infer.NUTS(model, dense_mass=True, max_tree_depth=DEPTH)
        self.chain = infer.MCMC(kernel, num_warmup=WARMUP, num_samples=draws, progress_bar=False)
        self.told = told
        self.jax = importlib.import_module("jax")

    def run(self, seed: int) -> Chain:
        """One chain. The first compiles."""
        began = time.process_time()
        self.chain.run(self.jax.random.PRNGKey(seed))
        samples = self.jax.block_until_ready(self.chain.get_samples())
        seconds = time.process_time() - began
        draws = np.log(np.asarray(self.told(samples)))
        return Chain(torch.tensor(draws, dtype=torch.float64, device="cpu"), seconds)


def numpyro_model(X: Tensor, y: Tensor, prior: Prior) -> Callable[[], None]:
    """The density of the logarithms `x`, mean and global shrinkage integrated out."""
    jnp = importlib.import_module("jax.numpy")
    special = importlib.import_module("jax.scipy.special")
    numpyro = importlib.import_module("numpyro")
    dist = importlib.import_module("numpyro.distributions")
    fully = importlib.import_module("botorch.models.fully_bayesian")
    told = terms(prior)
    assert told is not None, "a prior by name has terms"
    centre, precision, shape, rate, constant = (jnp.asarray(row) for row in told[0].T)
    shared = jnp.asarray(told[1])
    points, outcomes = jnp.asarray(X.numpy()), jnp.asarray(y.numpy())
    n, p = X.shape

    def model() -> None:
        x = numpyro.sample("x", dist.ImproperUniform(dist.constraints.real_vector, (), (p + 2,)))
        log_prior = constant - 0.5 * precision * (x - centre) ** 2 + shape * x - rate * jnp.exp(x)
        numpyro.factor("prior", log_prior.sum())
        if shared.size:
            v = -2.0 * x[:p, None] - shared[0]
            local = jnp.logaddexp(v, -v).sum(axis=0)
            numpyro.factor("shrinkage", special.logsumexp(shared[1] - local))
        k = jnp.exp(x[p]) * fully.matern52_kernel(X=points, lengthscale=jnp.exp(x[:p]))
        noise = _LEAST_NOISE_VAR + jnp.exp(x[p + 1])
        covariance = k + 1.0 + noise * jnp.eye(n)
        normal = dist.MultivariateNormal(jnp.zeros(n), covariance_matrix=covariance)
        numpyro.sample("y", normal, obs=outcomes)

    return model


def numpyro(X: Tensor, y: Tensor, prior: Prior, draws: int = DRAWS) -> Nuts:
    """Chains of `numpyro_model`."""
    return Nuts(numpyro_model(X, y, prior), lambda told: np.exp(np.asarray(told["x"])), draws)


def log_density(model: Callable[[], None], x: Tensor) -> Tensor:
    """(points,) of `numpyro_model` at (points, dim), up to a constant."""
    util = importlib.import_module("numpyro.infer.util")
    jnp = importlib.import_module("jax.numpy")
    told = [-float(util.potential_energy(model, (), {}, {"x": jnp.asarray(r)})) for r in x.numpy()]
    return torch.tensor(told, dtype=torch.float64, device="cpu")


def botorch(X: Tensor, y: Tensor, prior: str) -> Nuts:
    """Chains of BoTorch's models for the prior `dsp` or `saas`."""
    fully = importlib.import_module("botorch.models.fully_bayesian")
    sample = importlib.import_module("numpyro").sample
    dist = importlib.import_module("numpyro.distributions")
    if prior == "saas":
        model = fully.SaasPyroModel()
    else:

        def noise(_: Any) -> Any:
            return _LEAST_NOISE_VAR + sample("noise", dist.LogNormal(-4.0, 1.0))

        scaled = type(
            "Scaled",
            (fully.MaternPyroModel,),
            {
                "_outputscale_prior_concentration": 2.0,
                "_outputscale_prior_rate": 0.15,
                "sample_noise": noise,
            },
        )
        model = scaled()
    model.set_inputs(X, y[:, None])

    def told(samples: dict[str, Any]) -> Any:
        kept = ("lengthscale", "outputscale", "noise")
        parts = [np.asarray(samples[name]) for name in kept if name in samples]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    return Nuts(model.sample, told)
