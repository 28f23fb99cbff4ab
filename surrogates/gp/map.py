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
few outcomes are far from the others, and Matern-5/2 by default; tied length-scales; a noise that
may fall to 1e-6 of the variance, since many objectives have none; starts from the previous fit's
mode and from the priors', the better one kept (a fit draws nothing).

With `warp`, every column with more than two values is bent first by a monotone function of its
own, learnt with the rest (see `surrogates/gp/warp.py`): log a and log b ~ N(0.75, 0.75), a and b
with mode 1, which is no warp.

On the CPU the mode is found by `surrogates/gp/exact.py`, in double precision, and `predictor` holds
the same posterior in closed form, for whoever wants many gradients of it; elsewhere by GPyTorch.
"""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.exceptions import OptimizationWarning
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.models.transforms.input import Warp
from botorch.optim.fit import fit_gpytorch_mll_scipy
from botorch.posteriors import GPyTorchPosterior
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import Kernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from jaxtyping import Float
from linear_operator.utils.warnings import NumericalWarning
from torch import Generator, Tensor

from surrogates.contract import State, check_data, least_spread
from surrogates.gp import exact, warp
from surrogates.gp.scaled import ScaledNormal, in_unit_of
from surrogates.inputs import Inputs
from surrogates.options import option, options
from surrogates.paths import GPPath
from surrogates.threads import one_thread

Array = exact.Array

_TOLERANCE = 1e-8  # relative, of the log posterior per observation
_COLD_AT_MOST = 200  # with more observations an earlier mode is start enough


@options
class Options:
    """Choices of the model."""

    kernel: str = option(
        default="matern52", help="covariance function", choices=("matern52", "rbf")
    )
    max_iterations: int = option(
        default=200, help="L-BFGS iterations of the fit", low=1, high=10_000
    )
    warp: bool = option(default=False, help="learn a warp of each parameter that is no choice")


class MapGP(SingleTaskGP):
    """The fitted model: BoTorch's exact GP with `diagnostics` and `state`.

    `predictor` is its posterior in standardised units; None where it is not on the CPU, and of a
    model that was given more observations or other hyperparameters since.
    """

    diagnostics: dict[str, float]
    state: State
    predictor: exact.Predictor | None = None

    @property
    def warp(self) -> Warp | None:
        """What bends the columns before the kernel sees them; None where nothing does."""
        module = self._modules.get("input_transform")
        return module if isinstance(module, Warp) else None

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
    ) -> Any:
        """BoTorch's, with a least variance that goes with the unit of the outcomes."""
        told = cast(Any, super().posterior(X, output_indices, observation_noise)).distribution
        unit = cast(Standardize, self.outcome_transform).stdvs.flatten()
        own = ScaledNormal(told.mean, told.lazy_covariance_matrix, unit)
        if posterior_transform is None:
            return GPyTorchPosterior(own)
        made = posterior_transform(GPyTorchPosterior(own), X=self.transform_inputs(X))
        after = getattr(made, "distribution", None)
        if type(made) is not GPyTorchPosterior or type(after) is not MultivariateNormal:
            return made
        return GPyTorchPosterior(in_unit_of(after, own))

    def condition_on_observations(self, X: Tensor, Y: Tensor, **kwargs: Any) -> Any:
        """BoTorch's; `predictor` knows nothing of the new observations."""
        made = super().condition_on_observations(X, Y, **kwargs)
        cast(MapGP, made).predictor = None
        return made

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        strict: bool = True,
        keep_transforms: bool = True,
        assign: bool = False,
    ) -> None:
        """BoTorch's; `predictor` knows nothing of what was loaded."""
        super().load_state_dict(state_dict, strict, keep_transforms, assign)
        self.predictor, self.state = None, _mode(self)

    def draw_path(self, generator: Generator) -> Callable[[Tensor], Tensor]:
        """A function drawn from the posterior of f (see `surrogates.contract`, `paths`)."""
        scaled = cast(ScaleKernel, self.covar_module)
        kernel = cast(TiedKernel, scaled.base_kernel)
        transform = cast(Standardize, self.outcome_transform)
        X, y = cast(Any, self.train_inputs)[0], self.train_targets
        mean = cast(Tensor, self.mean_module.constant).detach()
        with torch.no_grad():
            path = GPPath(
                X,
                y - mean,
                lambda a, b: cast(Any, scaled(a, b)).to_dense(),
                lengthscale=kernel.lengthscale.flatten()[cast(Tensor, kernel.groups)],
                signal_var=scaled.outputscale,
                noise_var=cast(Tensor, self.likelihood.noise).expand(len(y)),
                matern=kernel.matern,
                generator=generator,
            )
        centre, unit = transform.means.flatten(), transform.stdvs.flatten()
        return lambda x: centre + unit * (mean + path(self.transform_inputs(x)))

    def marginals(self, x: Array, *, noise: bool) -> tuple[Array, Array]:
        """Means and variances (m,) at (m, d) columns, as of `posterior`, with or without noise.

        In closed form where there is a `predictor`; known variances of noise count by their median.
        """
        if self.predictor is None:
            X = torch.as_tensor(x).to(self.train_targets).unsqueeze(1)
            with torch.no_grad():
                told = self.posterior(X, observation_noise=noise)
            return told.mean.flatten().cpu().numpy(), told.variance.flatten().cpu().numpy()
        mean, var = self.predictor.moments(x)
        if noise:
            var = var + float(np.median(self.predictor.noise))
        transform = cast(Standardize, self.outcome_transform)
        centre, unit = float(transform.means), float(transform.stdvs)
        return centre + unit * mean[:, 0], unit**2 * var


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
                exact.SHORTEST_LENGTHSCALE,
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


@one_thread()
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
    standardised units; with a warp `warp_a` and `warp_b` of the warped columns.
    """
    began = time.perf_counter()
    check_data(train_X, train_Y, train_Yvar, inputs=inputs, outputs=1)
    groups = torch.tensor(inputs.groups, dtype=torch.int64, device=train_X.device)
    model = MapGP(
        train_X,
        train_Y,
        train_Yvar,
        likelihood=None if train_Yvar is not None else _noisy(),
        covar_module=_scaled(TiedKernel(groups, matern=options.kernel == "matern52")),
        outcome_transform=Standardize(m=1, min_stdv=least_spread(train_Y)),
        input_transform=_warp(inputs, train_X) if options.warp else None,
    ).to(train_X)
    if warm_start is not None and len(warm_start["lengthscale"]) != len(set(inputs.groups)):
        warm_start = None  # of another space
    find = _find_here if train_X.device.type == "cpu" else _find_elsewhere
    found = find(model, inputs, options, warm_start)
    model.eval()
    model.state = _mode(model)
    model.diagnostics = {
        "seconds": time.perf_counter() - began,
        **found,
        "iteration_limit": float(options.max_iterations),
    }
    if train_Yvar is None:
        model.diagnostics["noise_var"] = float(model.state["noise_var"])
    return model


def _find_here(
    model: MapGP, inputs: Inputs, options: Options, warm_start: State | None
) -> dict[str, float]:
    """Give the model the mode, found on the CPU in closed form, and its `predictor`."""
    noise = cast(Tensor, model.likelihood.noise).detach().double()
    data = exact.Data(
        X=model.train_inputs[0].double().numpy(),
        y=model.train_targets.double().numpy(),
        groups=np.array(inputs.groups),
        matern=options.kernel == "matern52",
        noise=noise.numpy() if _known_noise(model) else None,
        warped=inputs.numeric if options.warp else (),
    )
    starts = [exact.default_start(data)]
    if warm_start is not None:
        values = [*warm_start["lengthscale"], warm_start["signal_var"]]
        if data.noise is None:
            values.append(warm_start.get("noise_var", math.exp(-5)))
        if data.warped:
            none = [1.0] * len(data.warped)
            values += [*warm_start.get("warp_a", none), *warm_start.get("warp_b", none)]
        starts.append(np.log(values))
        if len(data.y) > _COLD_AT_MOST:
            del starts[0]
    mode = exact.find_mode(
        data, starts, max_iterations=options.max_iterations, tolerance=_TOLERANCE
    )
    p, w, theta = data.p, len(data.warped), np.exp(mode.theta).tolist()
    found: dict[str, Any] = {"lengthscale": theta[:p], "signal_var": theta[p], "mean": mode.mean}
    if data.noise is None:
        found["noise_var"] = theta[p + 1]
    if w:
        found |= {"warp_a": theta[-2 * w : -w], "warp_b": theta[-w:]}
    _load(model, found)
    model.predictor = exact.Predictor(mode.theta, mode.mean, data)
    return {"log_posterior": mode.log_posterior, "iterations": float(mode.iterations)}


def _find_elsewhere(
    model: MapGP, inputs: Inputs, options: Options, warm_start: State | None
) -> dict[str, float]:
    """Give the model the mode, found by GPyTorch where its tensors lie."""
    if warm_start is not None:
        _load(model, warm_start)
    mll = ExactMarginalLogLikelihood(model.likelihood, model).to(model.train_targets)
    with warnings.catch_warnings():
        # What these two say, an iteration limit or jitter on the diagonal, stands in diagnostics.
        warnings.simplefilter("ignore", OptimizationWarning)
        warnings.simplefilter("ignore", NumericalWarning)
        result = fit_gpytorch_mll_scipy(
            mll, options={"maxiter": options.max_iterations, "ftol": _TOLERANCE}
        )
    mll.eval()
    n = model.train_targets.shape[-1]
    return {"log_posterior": -float(result.fval) * n, "iterations": float(result.step)}


def _warp(inputs: Inputs, like: Tensor) -> Warp | None:
    columns = inputs.numeric
    if not columns:
        return None
    prior = LogNormalPrior(loc=warp.PRIOR_VAR, scale=math.sqrt(warp.PRIOR_VAR))
    return Warp(
        d=inputs.d,
        indices=list(columns),
        eps=warp.EPS,
        concentration1_prior=prior,
        concentration0_prior=prior,
        bounds=torch.stack([torch.zeros_like(like[0]), torch.ones_like(like[0])]),
    )


def _noisy() -> GaussianLikelihood:
    prior = LogNormalPrior(loc=-4.0, scale=1.0)
    return GaussianLikelihood(
        noise_prior=prior,
        noise_constraint=GreaterThan(
            exact.LEAST_NOISE_VAR,
            transform=None,  # pyright: ignore[reportArgumentType]
            initial_value=prior.mode,
        ),
    )


def _scaled(kernel: TiedKernel) -> ScaleKernel:
    return ScaleKernel(
        kernel,
        outputscale_prior=LogNormalPrior(loc=0.0, scale=1.0),
        outputscale_constraint=GreaterThan(
            exact.LEAST_SIGNAL_VAR,
            transform=None,  # pyright: ignore[reportArgumentType]
            initial_value=1.0,
        ),
    )


def _known_noise(model: MapGP) -> bool:
    return isinstance(model.likelihood, FixedNoiseGaussianLikelihood)


def _mode(model: MapGP) -> dict[str, Any]:
    scaled = cast(ScaleKernel, model.covar_module)
    found: dict[str, Any] = {
        "lengthscale": scaled.base_kernel.lengthscale.flatten().tolist(),
        "signal_var": scaled.outputscale.item(),
        "mean": cast(Tensor, model.mean_module.constant).item(),
    }
    if not _known_noise(model):
        found["noise_var"] = cast(Tensor, model.likelihood.noise).item()
    if (bend := model.warp) is not None:
        found["warp_a"] = cast(Tensor, bend.concentration1).tolist()
        found["warp_b"] = cast(Tensor, bend.concentration0).tolist()
    return found


def _load(model: MapGP, state: State) -> None:
    """Set the hyperparameters."""
    scaled = cast(ScaleKernel, model.covar_module)
    kernel = scaled.base_kernel
    like: dict[str, Any] = {
        "dtype": model.train_targets.dtype,
        "device": model.train_targets.device,
    }
    kernel.lengthscale = torch.tensor(state["lengthscale"], **like)
    scaled.outputscale = torch.tensor(state["signal_var"], **like)
    model.mean_module.constant = torch.tensor(state["mean"], **like)
    if "noise_var" in state and not _known_noise(model):
        model.likelihood.noise = torch.tensor([state["noise_var"]], **like)
    if (bend := model.warp) is not None and "warp_a" in state:
        for name, key in (("concentration1", "warp_a"), ("concentration0", "warp_b")):
            cast(Any, bend).initialize(**{name: torch.tensor(state[key], **like)})
