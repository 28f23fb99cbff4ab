"""A Gaussian process whose hyperparameters are many draws: BoTorch's model of their mixture.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning", equations 2.23-2.24, for
each draw; the prediction is the mixture over the draws (Lalchand & Rasmussen 2020, "Approximate
Inference for Fully Bayesian Gaussian Process Regression"), which may have weights.

The model is that of `surrogates/gp/hyperposterior.py`. It knows nothing of how the draws were made.
What BoTorch's own fully Bayesian models do not have is here: fantasies in any batch, so knowledge
gradient; optima of each draw to condition on, so joint entropy search; weights; outcome transforms
of any kind; memory that does not grow with the square of the observations at a point. Functions of
BoTorch that want one set of hyperparameters are refused (`surrogates/gp/one_process.py`); they are
averaged by `bo/acquisition/over_draws.py`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.models.transforms.outcome import OutcomeTransform
from botorch.posteriors import GPyTorchPosterior
from botorch.sampling.base import MCSampler
from botorch.sampling.pathwise.posterior_samplers import DrawMatheronPaths
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultivariateNormal
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from jaxtyping import Float
from linear_operator import to_linear_operator
from torch import Generator, Tensor

from surrogates.contract import State
from surrogates.errors import CapabilityError
from surrogates.gp import hyperposterior, mixture_paths, one_process, spectra, warp
from surrogates.gp.mixture_posterior import MixturePosterior, TransformedMixture, places_by_weight
from surrogates.gp.sampled import Sampled
from surrogates.inference.contract import normals, uniforms
from surrogates.paths import CorrectedPath, GPPath

_JITTERS = (0.0, 1e-10, 1e-8, 1e-6, 1e-4)
_MOST_ELEMENTS = 1_000_000
"""Of a tensor of covariances that is made at once, where no gradient is wanted."""
_MOST_JOINT = 500_000_000
"""Of the covariances of one joint posterior: S q^2."""
_FITTED = ("draws", "log_weights", "lengthscale", "signal_var", "noise_var")
_HELD = (*_FITTED, "noise", "inputs", "y", "factor", "alpha")
"""In `state_dict`."""


class MixtureGP(Model):
    """The mixture over S draws.

    Draws with weights: predictions of the mixture take them as they are; what has the draws in its
    shape shows each as often as its weight says (see `surrogates/gp/mixture_posterior.py`), so that
    BoTorch's functions, which average over the draws as if they counted the same, are right too.

    Args:
        data: what the draws explain; its `X` may have batches before it where these are fantasies.
        draws: (S, dim) points of the hyperposterior.
        centre: mean of the outcomes, in the user's units.
        unit: their standard deviation.
        log_weights: (S,) of the draws, up to a constant; None where all count the same.
        outcome_transform: BoTorch's, fitted already, each outcome by itself and monotone; `data`,
            `centre` and `unit` are of transformed outcomes.
    """

    diagnostics: dict[str, float]
    state: State
    sampled: Sampled | None = None
    draws: Tensor
    lengthscale: Tensor
    signal_var: Tensor
    noise_var: Tensor
    noise: Tensor
    inputs: Tensor
    y: Tensor
    factor: Tensor
    alpha: Tensor
    log_weights: Tensor | None
    _is_ensemble = True
    _is_fully_bayesian = True

    def __init__(
        self,
        data: hyperposterior.Data,
        draws: Tensor,
        *,
        centre: float,
        unit: float,
        log_weights: Float[Tensor, " S"] | None = None,
        outcome_transform: OutcomeTransform | None = None,
    ) -> None:
        super().__init__()
        self._begin(outcome_transform)
        self.data, self.draws, self.centre, self.unit = data, draws, centre, unit
        if log_weights is not None:
            self.log_weights = log_weights - torch.logsumexp(log_weights, 0)
        p, n = data.p, len(data.y)
        told = draws.exp()
        if data.kernel is None:
            self.lengthscale = told[:, list(data.groups)]  # (S, d)
            self.signal_var = told[:, p]
        else:
            self.lengthscale = told[:, :0]  # it has several, or none
            self.signal_var = data.kernel.signal_var(draws)
        if data.noise is None:
            self.noise_var = hyperposterior.LEAST_NOISE_VAR + told[:, data.noise_at]
            noise = self.noise_var[:, None].expand(-1, n)
        else:
            self.noise_var = data.noise.median().repeat(len(draws))
            noise = data.noise.expand(len(draws), n)
        self.noise = noise.contiguous()
        self.inputs = data.X.unsqueeze(-3)  # (..., 1, n, d)
        self.y = data.y.unsqueeze(-2)  # (..., 1, n)
        matrix = self._covariances(self.inputs, self.inputs) + torch.diag_embed(noise)
        self.factor = self._factorise(matrix)
        self.alpha = self._solve(self.y.expand(len(draws), n))

    def _begin(self, transform: OutcomeTransform | None) -> None:
        for name in _HELD:
            self.register_buffer(name, None)
        self.diagnostics, self.state = {}, {}
        self._equal: list[MixtureGP] = []  # made when it is asked for
        self.transform = None if transform is None else transform.eval()
        if self.transform is not None and not self.transform._is_linear:
            self.outcome_transform = self.transform  # where BoTorch looks for it

    @property
    def num_outputs(self) -> int:
        """1."""
        return 1

    @property
    def num_mcmc_samples(self) -> int:
        """S, how many draws."""
        return len(self.draws)

    @property
    def batch_shape(self) -> torch.Size:
        """(S,); of fantasies (fantasies, ..., S)."""
        return self.alpha.shape[:-1]

    @property
    def train_inputs(self) -> tuple[Tensor]:
        """(S, n, d) observed columns, the same for each draw.

        Raises:
            CapabilityError: a function of BoTorch asks that wants one Gaussian process.
        """
        one_process.refuse_functions_of_one()
        return (self.inputs.expand(*self.batch_shape, *self.inputs.shape[-2:]),)

    @property
    def train_targets(self) -> Tensor:
        """(S, n) outcomes in the user's units, before any outcome transform is undone."""
        return self.centre + self.unit * self.y.expand(*self.batch_shape, self.y.shape[-1])

    @property
    def likelihood(self) -> GaussianLikelihood | FixedNoiseGaussianLikelihood:
        """The noise of what was observed, (S,) of it or (S, n), as cross-validation asks for it."""
        noise = self.unit**2 * self.equal.noise
        if self.data.noise is not None or bool((noise != noise[..., :1]).any()):
            return FixedNoiseGaussianLikelihood(noise=noise)
        made = GaussianLikelihood(
            batch_shape=noise.shape[:-1],
            noise_constraint=GreaterThan(0.0, transform=cast(Any, None)),
        ).to(noise)
        made.noise = noise[..., :1]
        return made

    def forward(self, X: Float[Tensor, "*b n d"]) -> MultivariateNormal:
        """What is believed of f at (S, n, d) columns before there are outcomes."""
        covariance = self.unit**2 * self.equal.between(X, X)
        mean = torch.full(covariance.shape[:-1], self.centre, dtype=X.dtype, device=X.device)
        return MultivariateNormal(mean, to_linear_operator(covariance))

    @property
    def weights(self) -> Float[Tensor, " S"]:
        """Of the draws; they sum to 1."""
        if self.log_weights is None:
            return torch.full_like(self.draws[:, 0], 1.0 / len(self.draws))
        return self.log_weights.exp()

    @property
    def equal(self) -> "MixtureGP":
        """The mixture as BoTorch's functions see it: S draws that count the same."""
        if self.log_weights is None:
            return self
        if not self._equal:
            places = places_by_weight(self.log_weights, len(self.draws))
            self._equal.append(self.with_draws(places.tolist()))
        return self._equal[0]

    def posterior(
        self,
        X: Float[Tensor, "*b q d"],
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
        **kwargs: Any,
    ) -> Any:
        """The mixture at (..., q, d) points; means and variances have S before q in their shapes.

        A `MixturePosterior`; a `TransformedMixture` where outcomes are transformed.

        Args:
            X: columns in the unit cube.
            output_indices: not read; there is one outcome.
            observation_noise: whether to add the noise; a tensor holds its variances, in the user's
                units (those of transformed outcomes, where outcomes are transformed).
            posterior_transform: applied to the result.
            **kwargs: not read.

        Raises:
            CapabilityError: too many points for one joint distribution; a `posterior_transform` of
                transformed outcomes; a function of BoTorch asks that wants one Gaussian process.
        """
        one_process.refuse_functions_of_one()
        q = X.shape[-2]
        if len(self.draws) * q**2 > _MOST_JOINT:
            most = math.isqrt(_MOST_JOINT // len(self.draws))
            raise CapabilityError(
                f"expected at most {most} points in one joint posterior of {len(self.draws)} "
                f"draws, got {q}; give points that are looked at one by one as (points, 1, d)"
            )
        mean, covariance = self._joint(X)
        if isinstance(observation_noise, Tensor):
            more = observation_noise.mean(dim=-1) / self.unit**2
            covariance = covariance + torch.diag_embed(more)
        elif observation_noise:
            eye = torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
            covariance = covariance + self.noise_var[:, None, None] * eye
        told = MixturePosterior(
            MultivariateNormal(
                self.centre + self.unit * mean, to_linear_operator(self.unit**2 * covariance)
            ),  # whose root takes jitter where points are equal
            self.log_weights,
        )
        if self.transform is not None:
            if posterior_transform is not None:
                raise CapabilityError(
                    "expected no posterior transform of outcomes that are transformed already, "
                    f"got {type(posterior_transform).__name__}; use a Monte Carlo objective"
                )
            return TransformedMixture(told, self._untransformed)
        return told if posterior_transform is None else self._of(posterior_transform, told)

    def fantasize(
        self, X: Tensor, sampler: MCSampler, observation_noise: Tensor | None = None, **kwargs: Any
    ) -> "MixtureGP":
        """A model for every outcome that is drawn of each draw's own expectation at (..., q, d).

        Its `batch_shape` is (fantasies, ..., S). It is no ensemble to BoTorch's functions: those
        that look ahead, such as knowledge gradient, average over the draws at their end.
        """
        if self.log_weights is not None:
            return self.equal.fantasize(X, sampler, observation_noise, **kwargs)
        told = self.posterior(
            X, observation_noise=True if observation_noise is None else observation_noise
        )
        outcomes = self._transformed(sampler(told))  # (fantasies, ..., S, q, 1)
        noise = None if observation_noise is None else observation_noise.mean(dim=-1).unsqueeze(-2)
        made = self._given(X.unsqueeze(-3), outcomes.squeeze(-1), noise)
        made._is_ensemble = False
        return made

    def condition_on_observations(
        self, X: Tensor, Y: Tensor, noise: Tensor | None = None, **kwargs: Any
    ) -> "MixtureGP":
        """The model with more observations, its hyperparameters and weights as they are.

        Args:
            X: (q, d) or (k, 1, q, d) columns, the same for each draw; or (S, q, d) or (k, S, q, d),
                of each draw's own, as its optima are in joint entropy search.
            Y: outcomes: X's shape but for the last dimension, which is 1; or (..., S, q, 1), of
                each draw's own.
            noise: variances of their noise, of the shape of Y, in the user's units; None takes that
                of the model.
            **kwargs: not read.

        Raises:
            CapabilityError: columns of another shape.
        """
        S = len(self.draws)
        if X.ndim == 2:
            x, own = X.unsqueeze(-3), Y.ndim > 2 and Y.shape[-3] == S
            told = Y if own else Y.unsqueeze(-3)
            noise = noise if own or noise is None else noise.unsqueeze(-3)
        else:
            x, told, own = X, Y, X.shape[-3] == S or Y.shape[-3] == S
        if X.ndim > 2 and X.shape[-3] not in (1, S):
            raise CapabilityError(
                f"expected columns (q, d), (k, 1, q, d) or, of each of {S} draws, (k, {S}, q, d), "
                f"got {tuple(X.shape)}; optima of each draw come from "
                "botorch.acquisition.utils.get_optimal_samples"
            )
        if own and self.log_weights is not None:
            return self.equal.condition_on_observations(X, Y, noise, **kwargs)
        if self.transform is not None:
            told, noise = self.transform(told, noise)
        outcomes = told.squeeze(-1).expand(*told.shape[:-3], S, told.shape[-2])
        return self._given(x, outcomes, None if noise is None else noise.squeeze(-1))

    def draw_path(self, generator: Generator) -> Callable[[Tensor], Tensor]:
        """A function drawn from the posterior of f: of a draw, its mean, and a path given both.

        Raises:
            CapabilityError: of fantasies, which are many models.
        """
        if self.inputs.ndim > 3 or self.y.ndim > 2:
            raise CapabilityError(
                f"expected one model to draw a path of, got a batch {tuple(self.batch_shape)}; "
                "draw from the model that they are fantasies of"
            )
        uniform = uniforms((1,), generator, self.draws)
        last = len(self.draws) - 1
        if self.log_weights is None:
            at = min(int(uniform * len(self.draws)), last)
        else:
            at = min(int(torch.searchsorted(self.log_weights.exp().cumsum(0), uniform)), last)
        lengthscale, signal_var = self.lengthscale[at], self.signal_var[at]
        y, noise = self.y[min(at, len(self.y) - 1)], self.noise[at]
        data, draw = self.data, self.draws[at : at + 1]
        own = data.kernel

        def bent(x: Tensor) -> Tensor:
            return warp.bent(x, data.warped, data.warps(draw))[0] if data.warped else x

        def kernel(a: Tensor, b: Tensor) -> Tensor:
            if own is not None:
                return own.between(draw, a, b)[0]
            return signal_var * _g(_distances(a / lengthscale, b / lengthscale), data.matern)

        X = bent(self.inputs[0])
        factor = self._factorise(kernel(X, X) + torch.diag(noise))
        ones = torch.ones_like(y)
        solved = torch.cholesky_solve(torch.stack([y, ones], dim=1), factor)
        precision = 1.0 / hyperposterior.MEAN_VAR + solved[:, 1].sum()
        normal = normals((1,), generator, y)[0]
        mean = solved[:, 0].sum() / precision + normal / precision.sqrt()
        told: dict[str, Any] = {
            "signal_var": signal_var,
            "noise_var": noise,
            "generator": generator,
        }
        if own is not None:
            prior = spectra.drawn(own, draw[0], generator)
            path: Callable[[Tensor], Tensor] = CorrectedPath(X, y - mean, kernel, prior, **told)
        else:
            told |= {"lengthscale": lengthscale, "matern": data.matern}
            path = GPPath(X, y - mean, kernel, **told)
        return lambda x: self.seen((mean + path(bent(x))).unsqueeze(-1)).squeeze(-1)

    def thinned(self, count: int) -> "MixtureGP":
        """The mixture over fewer of the draws, which count the same; for what costs too much."""
        if self.log_weights is not None:
            return self.with_draws(places_by_weight(self.log_weights, count).tolist())
        if count >= len(self.draws):
            return self
        step = (len(self.draws) - 1) / max(count - 1, 1)
        return self.with_draws([round(step * at) for at in range(count)])

    def with_draws(self, places: list[int]) -> "MixtureGP":
        """The mixture over the draws in these places, which count the same."""
        made = MixtureGP(
            self.data,
            self.draws[places],
            centre=self.centre,
            unit=self.unit,
            outcome_transform=self.transform,
        )
        n = len(self.data.y)
        if self.y.shape[-1] > n:  # observed after the fit
            at = places if self.y.shape[-2] > 1 else [0]
            outcomes = self.centre + self.unit * self.y[..., at, n:]
            outcomes = outcomes.expand(*outcomes.shape[:-2], len(places), outcomes.shape[-1])
            noise = self.unit**2 * self.noise[..., places, n:]
            inputs = self.inputs if self.inputs.shape[-3] == 1 else self.inputs[..., places, :, :]
            made = made._given(inputs[..., n:, :], outcomes, noise)
            made._is_ensemble = self._is_ensemble
        made.diagnostics, made.state = self.diagnostics, self.state
        return made

    def get_extra_state(self) -> dict[str, Any]:
        """What the draws explain, for `state_dict`."""
        return {
            "data": dataclasses.asdict(self.data),
            "centre": self.centre,
            "unit": self.unit,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """From `get_extra_state`."""
        self.data = hyperposterior.Data(**state["data"])
        self.centre, self.unit = state["centre"], state["unit"]
        self._equal = []

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """Prior covariances (..., S, q, n) in standardised units, as `_covariances`."""
        return self._covariances(a, b)

    def warped(self, x: Tensor) -> Tensor:
        """(..., 1, q, d) columns as the kernel of each draw sees them."""
        data = self.data
        return warp.bent(x, data.warped, data.warps(self.draws)) if data.warped else x

    def solve(self, y: Tensor) -> Tensor:
        """K^-1 y of (..., S, n) standardised outcomes."""
        return self._solve(y)

    def seen(self, standardised: Tensor) -> Tensor:
        """(..., 1) outcomes in the user's units."""
        told = self.centre + self.unit * standardised
        return told if self.transform is None else self._untransformed(told)

    def subset_output(self, idcs: list[int]) -> "MixtureGP":
        """Itself: there is one outcome."""
        return self

    def _transformed(self, outcomes: Tensor) -> Tensor:
        return outcomes if self.transform is None else self.transform(outcomes)[0]

    def _untransformed(self, outcomes: Tensor) -> Tensor:
        assert self.transform is not None
        return self.transform.untransform(outcomes)[0]

    def _of(self, transform: PosteriorTransform, told: MixturePosterior) -> Any:
        """The transform of a mixture, a mixture again where BoTorch makes it one distribution."""
        made = transform(MixturePosterior(told.every))
        if type(made) is not GPyTorchPosterior or not isinstance(
            made.distribution, MultivariateNormal
        ):
            return transform(told)
        return MixturePosterior(made.distribution, self.log_weights)

    def _joint(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised means (..., S, q) and covariances (..., S, q, q)."""
        size = math.prod(X.shape[:-1]) * self.factor.shape[-1] * len(self.draws)
        alone = X.ndim > 2 and len(X) > 1 and len(self.batch_shape) == 1
        if size > _MOST_ELEMENTS and alone and not X.requires_grad:
            shape = (*X.shape[:-2], len(self.draws), X.shape[-2])
            mean, covariance = X.new_empty(shape), X.new_empty(*shape, X.shape[-2])
            for rows in torch.arange(len(X), dtype=torch.int64, device="cpu").chunk(
                math.ceil(size / _MOST_ELEMENTS)
            ):
                part = slice(int(rows[0]), int(rows[-1]) + 1)
                mean[part], covariance[part] = self._joint(X[part])
            return mean, covariance
        x = X.unsqueeze(-3)  # (..., 1, q, d)
        towards = self._covariances(x, self.inputs)  # (..., S, q, n)
        half = self._half(towards)
        mean = (towards @ self.alpha.unsqueeze(-1)).squeeze(-1)
        return mean, self._covariances(x, x) - half.mT @ half

    def _covariances(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., S, q, n) of the values f + m, at (..., 1, q, d) and (..., 1, n, d) columns."""
        data = self.data
        if data.kernel is not None:
            a, b = self.warped(a), self.warped(b)
            return data.kernel.between(self.draws, a, b) + hyperposterior.MEAN_VAR
        scale = self.lengthscale.unsqueeze(-2)
        k = _g(_distances(a / scale, b / scale), data.matern)
        return self.signal_var[:, None, None] * k + hyperposterior.MEAN_VAR

    def _half(self, towards: Tensor) -> Tensor:
        """L^-1 of (..., S, q, n) covariances: (..., S, n, q)."""
        if self.factor.ndim > 3:
            return torch.linalg.solve_triangular(self.factor, towards.mT, upper=False)
        # One solve a draw for all points together.
        *batch, s, q, n = towards.shape
        together = towards.reshape(-1, s, q, n).permute(1, 3, 0, 2).reshape(s, n, -1)
        solved = torch.linalg.solve_triangular(self.factor, together, upper=False)
        return solved.reshape(s, n, -1, q).permute(2, 0, 1, 3).reshape(*batch, s, n, q)

    def _solve(self, y: Tensor) -> Tensor:
        """K^-1 y of (..., S, n) outcomes."""
        half = torch.linalg.solve_triangular(self.factor, y.unsqueeze(-1), upper=False)
        return torch.linalg.solve_triangular(self.factor.mT, half, upper=True).squeeze(-1)

    def _factorise(self, matrix: Tensor) -> Tensor:
        """Lower Cholesky factors, with jitter where it takes that."""
        scale = matrix.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
        eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        for jitter in _JITTERS:
            factor, failed = torch.linalg.cholesky_ex(
                matrix + jitter * scale[..., None, None] * eye
            )
            if not bool(failed.any()):
                return factor
        raise np.linalg.LinAlgError("expected positive definite covariance matrices")

    def _given(self, x: Tensor, outcomes: Tensor, noise: Tensor | None) -> "MixtureGP":
        """With (..., S, q) more outcomes at (..., 1 or S, q, d) columns."""
        half = self._half(self._covariances(x, self.inputs))
        rest = self._covariances(x, x) - half.mT @ half
        n, q = half.shape[-2:]
        more = self.noise_var[:, None].expand(-1, q) if noise is None else noise / self.unit**2
        corner = self._factorise(rest + torch.diag_embed(more))
        batch = torch.broadcast_shapes(half.shape[:-2], self.factor.shape[:-2], corner.shape[:-2])
        top = torch.cat([self.factor, self.factor.new_zeros(*self.factor.shape[:-1], q)], dim=-1)
        low = torch.cat([half.mT.expand(*batch, q, n), corner.expand(*batch, q, q)], dim=-1)
        made = object.__new__(type(self))
        Model.__init__(made)
        made._begin(self.transform)
        for name in (*_FITTED, "data", "centre", "unit", "diagnostics", "state"):
            setattr(made, name, getattr(self, name))
        made.factor = torch.cat([top.expand(*batch, n, n + q), low], dim=-2)
        made.inputs = _joined(self.inputs, x, dim=-2)
        made.y = _joined(self.y, (outcomes - self.centre) / self.unit, dim=-1)
        made.noise = _joined(self.noise, more, dim=-1)
        made.alpha = made._solve(made.y)
        return made


def _joined(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Concatenated along a dimension from the end, all before it broadcast."""
    batch = torch.broadcast_shapes(first.shape[:dim], second.shape[:dim])
    parts = [each.expand(*batch, *each.shape[dim:]) for each in (first, second)]
    return torch.cat(parts, dim=dim)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _g(r: Tensor, matern: bool) -> Tensor:
    """The kernel of distances r, of variance 1."""
    if not matern:
        return torch.exp(-0.5 * r.square())
    r = math.sqrt(5.0) * r
    return (1.0 + r + r.square() / 3.0) * torch.exp(-r)


DrawMatheronPaths.register(MixtureGP)(mixture_paths.of_mixture)
