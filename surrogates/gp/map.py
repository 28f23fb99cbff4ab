"""Gaussian process with maximum-a-posteriori hyperparameters.

Model: y = m + f(x) + e, f ~ GP(0, k), e ~ N(0, noise_var), outcomes standardised inside. The
kernel has one length-scale per parameter: k(x, x') = signal_var g(r), r^2 = sum_j (x_j - x'_j)^2 /
l_j^2, with g the Matern-5/2 function or g(r) = exp(-r^2 / 2) (RBF). The one-hot columns of a choice
share theirs, so two different levels are equally far apart whatever they are (a Hamming kernel).

Priors: dimension-scaled, log l_j ~ N(sqrt(2) + log(p)/2, 3), p the number of parameters, and
log noise_var ~ N(-4, 1), from Hvarfner, Hellsten & Nardi (2024), "Vanilla Bayesian Optimization
Performs Great in High Dimensions". The mode is found by L-BFGS-B on the exact log posterior.

Departs from the paper, and so from BoTorch's `SingleTaskGP`, which it is otherwise: a signal
variance with log signal_var ~ N(0, 1), without which the intervals come out too narrow wherever a
few outcomes are far from the others, and Matern-5/2 by default; tied length-scales; starts from
the previous fit's mode, and no random restarts (a fit draws nothing).
"""

import math
import time
import warnings
from typing import Any, cast

import torch
from botorch.exceptions import OptimizationWarning
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.models.utils.gpytorch_modules import get_gaussian_likelihood_with_lognormal_prior
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from jaxtyping import Float
from linear_operator.utils.warnings import NumericalWarning
from torch import Generator, Tensor

from surrogates.contract import State, check_data
from surrogates.inputs import Inputs
from surrogates.options import option, options

_SHORTEST_LENGTHSCALE = 2.5e-2
_LEAST_SIGNAL_VAR = 1e-2
_TOLERANCE = 1e-7  # relative, of the log posterior per observation


@options
class Options:
    """Choices of the model."""

    kernel: str = option(
        default="matern52", help="covariance function", choices=("matern52", "rbf")
    )
    max_iterations: int = option(
        default=200, help="L-BFGS iterations of the fit", low=1, high=10_000
    )


class MapGP(SingleTaskGP):
    """The fitted model: BoTorch's exact GP with `diagnostics` and `state`."""

    diagnostics: dict[str, float]
    state: State


class TiedKernel(Kernel):
    """A stationary kernel with one length-scale per group of columns."""

    has_lengthscale = True

    def __init__(self, groups: Tensor, *, matern: bool) -> None:
        p = int(groups.max()) + 1
        prior = LogNormalPrior(loc=math.sqrt(2) + 0.5 * math.log(p), scale=math.sqrt(3))
        super().__init__(
            ard_num_dims=p,
            lengthscale_prior=prior,
            lengthscale_constraint=GreaterThan(
                _SHORTEST_LENGTHSCALE,
                transform=None,  # pyright: ignore[reportArgumentType]
                initial_value=prior.mode,
            ),
        )
        self.ard_num_dims = len(groups)  # GPyTorch compares it with the columns of an input
        self.matern = matern
        self.register_buffer("groups", groups)

    def forward(
        self,
        x1: Float[Tensor, "*b n d"],
        x2: Float[Tensor, "*#b m d"],
        diag: bool = False,
        last_dim_is_batch: bool = False,
        **params: Any,
    ) -> Tensor:
        """(..., n, m) covariances, or their (..., n) diagonal."""
        lengthscale = self.lengthscale[..., cast(Tensor, self.groups)]
        squared = self.covar_dist(
            x1 / lengthscale, x2 / lengthscale, square_dist=True, diag=diag, **params
        )
        if not self.matern:
            return squared.div(-2).exp()
        r = math.sqrt(5) * squared.clamp_min(1e-15).sqrt()
        return (1 + r + r.square() / 3) * torch.exp(-r)


def fit(
    train_X: Float[Tensor, "n d"],
    train_Y: Float[Tensor, "n m"],
    train_Yvar: Float[Tensor, "n m"] | None = None,
    *,
    inputs: Inputs,
    options: Options,
    generator: Generator | None = None,
    warm_start: State | None = None,
) -> MapGP:
    """Fit the model (see `surrogates.contract.Fit`).

    `state` holds the mode: `lengthscale` (p,), and `signal_var`, `noise_var` and `mean` in
    standardised units.
    """
    began = time.perf_counter()
    check_data(train_X, train_Y, train_Yvar, inputs=inputs, outputs=1)
    groups = torch.tensor(inputs.groups, dtype=torch.int64, device=train_X.device)
    model = MapGP(
        train_X,
        train_Y,
        train_Yvar,
        likelihood=None
        if train_Yvar is not None
        else get_gaussian_likelihood_with_lognormal_prior(),
        covar_module=_scaled(TiedKernel(groups, matern=options.kernel == "matern52")),
        outcome_transform=Standardize(m=1),
    ).to(train_X)
    if warm_start is not None:
        _load(model, warm_start)
    mll = ExactMarginalLogLikelihood(model.likelihood, model).to(train_X)
    with warnings.catch_warnings():
        # What these two say, an iteration limit or jitter on the diagonal, stands in diagnostics.
        warnings.simplefilter("ignore", OptimizationWarning)
        warnings.simplefilter("ignore", NumericalWarning)
        result = fit_gpytorch_mll_scipy(
            mll, options={"maxiter": options.max_iterations, "ftol": _TOLERANCE}
        )
    mll.eval()
    model.state = _mode(model)
    model.diagnostics = {
        "seconds": time.perf_counter() - began,
        "log_posterior": -float(result.fval) * train_X.shape[0],
        "iterations": float(result.step),
        "iteration_limit": float(options.max_iterations),
    }
    if train_Yvar is None:
        model.diagnostics["noise_var"] = float(model.state["noise_var"])
    return model


def _scaled(kernel: TiedKernel) -> ScaleKernel:
    return ScaleKernel(
        kernel,
        outputscale_prior=LogNormalPrior(loc=0.0, scale=1.0),
        outputscale_constraint=GreaterThan(
            _LEAST_SIGNAL_VAR,
            transform=None,  # pyright: ignore[reportArgumentType]
            initial_value=1.0,
        ),
    )


def _mode(model: MapGP) -> dict[str, Any]:
    scaled = cast(ScaleKernel, model.covar_module)
    found: dict[str, Any] = {
        "lengthscale": scaled.base_kernel.lengthscale.flatten().tolist(),
        "signal_var": scaled.outputscale.item(),
        "mean": cast(Tensor, model.mean_module.constant).item(),
    }
    noise = cast(Tensor, model.likelihood.noise)
    if noise.numel() == 1:
        found["noise_var"] = noise.item()
    return found


def _load(model: MapGP, state: State) -> None:
    """Start from an earlier mode where it fits this space."""
    scaled = cast(ScaleKernel, model.covar_module)
    kernel = scaled.base_kernel
    if len(state["lengthscale"]) != kernel.lengthscale.numel():
        return
    like: dict[str, Any] = {
        "dtype": model.train_targets.dtype,
        "device": model.train_targets.device,
    }
    kernel.lengthscale = torch.tensor(state["lengthscale"], **like)
    scaled.outputscale = torch.tensor(state["signal_var"], **like)
    model.mean_module.constant = torch.tensor(state["mean"], **like)
    if "noise_var" in state and cast(Tensor, model.likelihood.noise).numel() == 1:
        model.likelihood.noise = torch.tensor([state["noise_var"]], **like)
