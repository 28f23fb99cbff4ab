"""A Gaussian process with sparse axis-aligned priors, its hyperparameters drawn by NUTS.

Eriksson & Jankowiak (2021), "High-Dimensional Bayesian Optimization with Sparse Axis-Aligned
Subspaces". The model is BoTorch's `SaasFullyBayesianSingleTaskGP`: Matern-5/2, and half-Cauchy
priors on the inverse squared length-scales, tau * rho_j, so that few parameters matter. Sampled by
the No-U-Turn sampler of NumPyro, Hoffman & Gelman (2014), one chain with a dense mass matrix.

The posterior is a mixture over the draws that are kept: BoTorch's acquisition functions average
over them. As BoTorch does it, with two departures: JAX computes in float64, which BoTorch leaves at
float32; and the draws before thinning are kept for the diagnostics, which BoTorch does not have.
Choices are modelled as numbers 0 and 1. Needs NumPyro and JAX, the extra `bench`; JAX compiles anew
for every number of observations, which takes seconds.
"""

import importlib
import time
import warnings
from typing import Any, NoReturn

import numpy as np
import torch
from botorch.exceptions.warnings import InputDataWarning
from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP
from botorch.models.transforms import Standardize
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.contract import State, check_data, least_spread
from surrogates.errors import CapabilityError, NotInstalledError
from surrogates.inputs import Inputs
from surrogates.options import option, options


@options
class Options:
    """How long the chain is."""

    num_samples: int = option(default=256, help="draws after the warm-up", low=4, high=100_000)
    warmup_steps: int = option(default=512, help="steps of the warm-up", low=4, high=100_000)
    thinning: int = option(default=16, help="keep one draw in so many", low=1, high=10_000)
    max_tree_depth: int = option(
        default=6, help="longest trajectory: 2 to this power, in steps", low=1, high=12
    )


class SaasGP(SaasFullyBayesianSingleTaskGP):
    """The fitted model: BoTorch's, with `diagnostics` and `state` (empty: chains start afresh)."""

    diagnostics: dict[str, float]
    state: State

    def condition_on_observations(self, X: Tensor, Y: Tensor, **kwargs: Any) -> NoReturn:
        """What is not offered says what is."""
        raise CapabilityError("expected a model with fantasies, got saas; use gp-map")


def fit(
    train_X: Float[Tensor, "n d"],
    train_Y: Float[Tensor, "n m"],
    train_Yvar: Float[Tensor, "n m"] | None = None,
    *,
    inputs: Inputs,
    options: Options,
    generator: Generator | None = None,
    warm_start: State | None = None,
) -> SaasGP:
    """Draw the hyperparameters (see `surrogates.contract.Fit`).

    Diagnostics: `rhat_max` and `ess_min` over all draws of the length-scales, the outputscale, the
    mean and the noise; `divergences`.

    Raises:
        NotInstalledError: no NumPyro or JAX.
    """
    began = time.perf_counter()
    check_data(train_X, train_Y, train_Yvar, inputs=inputs, outputs=1)
    jax = _load("jax")
    source = generator or Generator(device="cpu").manual_seed(0)
    seed = int(torch.randint(2**31, (1,), generator=source, dtype=torch.int64, device="cpu"))
    with jax.enable_x64(True), warnings.catch_warnings():
        # Outcomes that are all alike have no deviation to divide by: that is no news.
        warnings.simplefilter("ignore", InputDataWarning)
        standard = Standardize(m=1, min_stdv=least_spread(train_Y))
        model = SaasGP(train_X, train_Y, train_Yvar, outcome_transform=standard)
        draws, divergences = _sample(model, options, seed)
    model.load_mcmc_samples({name: each[:: options.thinning] for name, each in draws.items()})
    model.eval()
    model.state = {}
    model.diagnostics = {
        "seconds": time.perf_counter() - began,
        **_convergence(draws),
        "divergences": divergences,
        "draws": float(model.num_mcmc_samples),
    }
    return model


def _sample(model: SaasGP, options: Options, seed: int) -> tuple[dict[str, Tensor], float]:
    """All draws of a chain by name, hyperparameters as BoTorch names them; and divergences."""
    jax, infer = _load("jax"), _load("numpyro.infer")
    sampler = infer.NUTS(
        model.pyro_model.sample, dense_mass=True, max_tree_depth=options.max_tree_depth
    )
    chain = infer.MCMC(
        sampler,
        num_warmup=options.warmup_steps,
        num_samples=options.num_samples,
        progress_bar=False,
    )
    chain.run(jax.random.PRNGKey(seed), extra_fields=("diverging",))
    draws = model.pyro_model.postprocess_mcmc_samples(chain.get_samples())
    return draws, float(np.sum(chain.get_extra_fields()["diverging"]))


def _convergence(draws: dict[str, Tensor]) -> dict[str, float]:
    """Split R-hat and effective sample size of the worst hyperparameter; 1 where none moved."""
    told = _load("numpyro.diagnostics")
    columns = [each.reshape(len(each), -1).double().cpu().numpy() for each in draws.values()]
    chain = np.log(np.abs(np.concatenate(columns, axis=1)) + 1e-12)[None]
    with np.errstate(all="ignore"):
        rhat = np.asarray(told.split_gelman_rubin(chain))
        ess = np.asarray(told.effective_sample_size(chain))
    return {
        "rhat_max": float(np.nan_to_num(rhat, nan=1.0, posinf=1e6).max()),
        "ess_min": float(np.nan_to_num(ess, nan=1.0, posinf=1e6).min()),
    }


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("jax", "jaxlib", "numpyro"):
            raise
        raise NotInstalledError(
            "surrogate saas expected the packages numpyro and jax, got none; do pip install "
            '"wald[bench]"'
        ) from None
