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

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.posteriors import GPyTorchPosterior
from botorch.sampling.base import MCSampler
from botorch.sampling.pathwise.posterior_samplers import DrawMatheronPaths
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultivariateNormal
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from jaxtyping import Float
from linear_operator import to_linear_operator
from torch import Generator, Tensor

from surrogates.errors import CapabilityError, DataError
from surrogates.gp import mixture_paths, one_process
from surrogates.gp.mixture_draws import MixtureDraws
from surrogates.gp.mixture_posterior import MixturePosterior, TransformedMixture, places_by_weight
from surrogates.gp.scaled import ScaledNormal, in_unit_of

_MOST_JOINT = 500_000_000
"""Of the covariances of one joint posterior: S q^2."""


class MixtureGP(MixtureDraws):
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

    _is_ensemble = True
    _is_fully_bayesian = True

    @property
    def num_outputs(self) -> int:
        """1."""
        return 1

    @property
    def num_mcmc_samples(self) -> int:
        """S, how many draws."""
        return len(self.draws)

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
            observation_noise: whether to add the noise; a tensor holds its variances, (..., q, 1)
                or, of each draw, (..., S, q, 1), in the user's units (those of transformed
                outcomes, where outcomes are transformed).
            posterior_transform: applied to the result.
            **kwargs: not read.

        Raises:
            DataError: another shape or dtype of X.
            CapabilityError: too many points for one joint distribution; a `posterior_transform` of
                transformed outcomes; a function of BoTorch asks that wants one Gaussian process.
        """
        one_process.refuse_functions_of_one()
        d = self.inputs.shape[-1]
        if X.ndim < 2 or X.shape[-1] != d or not X.shape[-2] or X.dtype != self.inputs.dtype:
            raise DataError(
                f"X expected shape (..., q, {d}) of {self.inputs.dtype}, got {tuple(X.shape)} of "
                f"{X.dtype}"
            )
        q = X.shape[-2]
        if len(self.draws) * q**2 > _MOST_JOINT:
            most = math.isqrt(_MOST_JOINT // len(self.draws))
            raise CapabilityError(
                f"expected at most {most} points in one joint posterior of {len(self.draws)} "
                f"draws, got {q}; give points that are looked at one by one as (points, 1, d)"
            )
        mean, covariance = self._joint(X)
        if isinstance(observation_noise, Tensor):
            more = self._of_each(observation_noise, X) / self.unit**2
            covariance = covariance + torch.diag_embed(more)
        elif observation_noise:
            eye = torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
            covariance = covariance + self.noise_var[:, None, None] * eye
        told = MixturePosterior(
            ScaledNormal(
                self.centre + self.unit * mean,
                to_linear_operator(self.unit**2 * covariance),
                self.unit,
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
        noise = None
        if observation_noise is not None:
            noise = self._of_each(observation_noise, X)
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
        return mixture_paths.of_one_draw(self, generator)

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

    def subset_output(self, idcs: list[int]) -> "MixtureGP":
        """Itself: there is one outcome."""
        return self

    def _of_each(self, noise: Tensor, X: Tensor) -> Tensor:
        """Variances (..., S or 1, q), of (..., q, 1) or (..., S, q, 1) at X."""
        more = noise.mean(dim=-1)
        own = more.ndim >= X.ndim and more.shape[-2] in (1, len(self.draws))
        return more if own else more.unsqueeze(-2)

    def _of(self, transform: PosteriorTransform, told: MixturePosterior) -> Any:
        """The transform of a mixture, a mixture again where BoTorch makes it one distribution."""
        made = transform(MixturePosterior(told.every))
        if type(made) is not GPyTorchPosterior or not isinstance(
            made.distribution, MultivariateNormal
        ):
            return transform(told)
        return MixturePosterior(in_unit_of(made.distribution, told.every), self.log_weights)


DrawMatheronPaths.register(MixtureGP)(mixture_paths.of_mixture)
