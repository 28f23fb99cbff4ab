"""A Gaussian process whose hyperparameters are many draws: BoTorch's model of their mixture.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning", equations 2.23-2.24, for
each draw; the prediction is the mixture over the draws, all of one weight (Lalchand & Rasmussen
2020, "Approximate Inference for Fully Bayesian Gaussian Process Regression").

The model is that of `surrogates/gp/hyperposterior.py`. It knows nothing of how the draws were made.
What BoTorch's own fully Bayesian models do not have is here: fantasies in any batch, so knowledge
gradient; memory that does not grow with the square of the observations at a point.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from botorch.sampling.base import MCSampler
from gpytorch.distributions import MultivariateNormal
from jaxtyping import Float
from linear_operator import to_linear_operator
from torch import Generator, Tensor

from surrogates.contract import State
from surrogates.errors import CapabilityError
from surrogates.gp import hyperposterior, spectra, warp
from surrogates.gp.sampled import Sampled
from surrogates.inference.contract import normals, uniforms
from surrogates.paths import CorrectedPath, GPPath

_JITTERS = (0.0, 1e-10, 1e-8, 1e-6, 1e-4)
_MOST_ELEMENTS = 4_000_000
"""Of a tensor of covariances that is made at once, where no gradient is wanted."""


class MixtureGP(Model):
    """The mixture over S draws.

    Args:
        data: what the draws explain; its `X` may have batches before it where these are fantasies.
        draws: (S, dim) points of the hyperposterior.
        centre: mean of the outcomes, in the user's units.
        unit: their standard deviation.
    """

    diagnostics: dict[str, float]
    state: State
    sampled: Sampled | None = None
    _is_ensemble = True
    _is_fully_bayesian = True

    def __init__(
        self, data: hyperposterior.Data, draws: Tensor, *, centre: float, unit: float
    ) -> None:
        super().__init__()
        self.diagnostics, self.state = {}, {}
        self.data, self.draws, self.centre, self.unit = data, draws, centre, unit
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
            self.noise_var = data.noise.median().expand(len(draws))
            noise = data.noise.expand(len(draws), n)
        self.noise = noise
        self.inputs = data.X.unsqueeze(-3)  # (..., 1, n, d)
        self.y = data.y.unsqueeze(-2)  # (..., 1, n)
        matrix = self._covariances(self.inputs, self.inputs) + torch.diag_embed(noise)
        self.factor = self._factorise(matrix)
        self.alpha = self._solve(self.y.expand(len(draws), n))

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
        """(S, n, d) observed columns, the same for each draw."""
        return (self.inputs.expand(*self.batch_shape, *self.inputs.shape[-2:]),)

    @property
    def train_targets(self) -> Tensor:
        """(S, n) standardised outcomes."""
        return self.y.expand(*self.batch_shape, self.y.shape[-1])

    def posterior(
        self,
        X: Float[Tensor, "*b q d"],
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
        **kwargs: Any,
    ) -> GaussianMixturePosterior:
        """The mixture at (..., q, d) points; means and variances have S before q in their shapes.

        Args:
            X: columns in the unit cube.
            output_indices: not read; there is one outcome.
            observation_noise: whether to add the noise; a tensor holds its variances, in the user's
                units.
            posterior_transform: applied to the result.
            **kwargs: not read.
        """
        mean, covariance = self._joint(X)
        if isinstance(observation_noise, Tensor):
            more = observation_noise.mean(dim=-1) / self.unit**2
            covariance = covariance + torch.diag_embed(more)
        elif observation_noise:
            eye = torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
            covariance = covariance + self.noise_var[:, None, None] * eye
        told = GaussianMixturePosterior(
            MultivariateNormal(
                self.centre + self.unit * mean, to_linear_operator(self.unit**2 * covariance)
            )  # whose root takes jitter where points are equal
        )
        return told if posterior_transform is None else posterior_transform(told)

    def fantasize(
        self, X: Tensor, sampler: MCSampler, observation_noise: Tensor | None = None, **kwargs: Any
    ) -> "MixtureGP":
        """A model for every outcome that is drawn of each draw's own expectation at (..., q, d).

        Its `batch_shape` is (fantasies, ..., S). It is no ensemble to BoTorch's functions: those
        that look ahead, such as knowledge gradient, average over the draws at their end.
        """
        told = self.posterior(
            X, observation_noise=True if observation_noise is None else observation_noise
        )
        outcomes = sampler(told)  # (fantasies, ..., S, q, 1)
        noise = None if observation_noise is None else observation_noise.mean(dim=-1)
        made = self._given(X, outcomes.squeeze(-1), noise)
        made._is_ensemble = False
        return made

    def condition_on_observations(
        self, X: Tensor, Y: Tensor, noise: Tensor | None = None, **kwargs: Any
    ) -> "MixtureGP":
        """The model with more observations, its hyperparameters as they are.

        Args:
            X: (..., q, d) columns.
            Y: (..., q, 1) outcomes, the same for each draw; or (..., S, q, 1), of each draw's own.
            noise: variances of their noise, of the shape of Y, in the user's units; None takes that
                of the model.
            **kwargs: not read.
        """
        own = Y.ndim == X.ndim + 1 and Y.shape[-3] == len(self.draws)
        outcomes = Y.squeeze(-1) if own else Y.squeeze(-1).unsqueeze(-2)
        outcomes = outcomes.expand(*outcomes.shape[:-2], len(self.draws), outcomes.shape[-1])
        return self._given(X, outcomes, None if noise is None else noise.squeeze(-1))

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
        at = min(int(uniform * len(self.draws)), len(self.draws) - 1)
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
        return lambda x: self.centre + self.unit * (mean + path(bent(x)))

    def thinned(self, count: int) -> "MixtureGP":
        """The mixture over fewer of the draws, spread evenly; for what costs too much with all."""
        if count >= len(self.draws):
            return self
        step = (len(self.draws) - 1) / max(count - 1, 1)
        places = [round(step * at) for at in range(count)]
        made = MixtureGP(self.data, self.draws[places], centre=self.centre, unit=self.unit)
        made.diagnostics, made.state = self.diagnostics, self.state
        return made

    def subset_output(self, idcs: list[int]) -> "MixtureGP":
        """Itself: there is one outcome."""
        return self

    def _joint(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised means (..., S, q) and covariances (..., S, q, q)."""
        size = math.prod(X.shape[:-1]) * self.factor.shape[-1] * len(self.draws)
        alone = X.ndim > 2 and len(X) > 1 and len(self.batch_shape) == 1
        if size > _MOST_ELEMENTS and alone and not X.requires_grad:
            parts = [self._joint(part) for part in X.chunk(math.ceil(size / _MOST_ELEMENTS))]
            return torch.cat([m for m, _ in parts]), torch.cat([c for _, c in parts])
        x = X.unsqueeze(-3)  # (..., 1, q, d)
        towards = self._covariances(x, self.inputs)  # (..., S, q, n)
        half = self._half(towards)
        mean = (towards @ self.alpha.unsqueeze(-1)).squeeze(-1)
        return mean, self._covariances(x, x) - half.mT @ half

    def _covariances(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., S, q, n) of the values f + m, at (..., 1, q, d) and (..., 1, n, d) columns."""
        data = self.data
        if data.kernel is not None:
            a, b = self._warped(a), self._warped(b)
            return data.kernel.between(self.draws, a, b) + hyperposterior.MEAN_VAR
        scale = self.lengthscale.unsqueeze(-2)
        k = _g(_distances(a / scale, b / scale), data.matern)
        return self.signal_var[:, None, None] * k + hyperposterior.MEAN_VAR

    def _warped(self, x: Tensor) -> Tensor:
        """(..., 1, q, d) columns as the kernel of each draw sees them."""
        data = self.data
        return warp.bent(x, data.warped, data.warps(self.draws)) if data.warped else x

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

    def _given(self, X: Tensor, outcomes: Tensor, noise: Tensor | None) -> "MixtureGP":
        """With (..., S, q) more outcomes at (..., q, d) columns."""
        x = X.unsqueeze(-3)
        half = self._half(self._covariances(x, self.inputs))
        rest = self._covariances(x, x) - half.mT @ half
        if noise is None:
            more = self.noise_var[:, None].expand(-1, X.shape[-2])
        else:
            more = noise / self.unit**2
        corner = self._factorise(rest + torch.diag_embed(more))
        batch = torch.broadcast_shapes(half.shape[:-2], self.factor.shape[:-2])
        n, q = half.shape[-2:]
        top = torch.cat([self.factor, self.factor.new_zeros(*self.factor.shape[:-1], q)], dim=-1)
        low = torch.cat([half.mT, corner], dim=-1).expand(*batch, q, n + q)
        made = object.__new__(type(self))
        Model.__init__(made)
        for name in ("data", "draws", "centre", "unit", "lengthscale", "signal_var", "noise_var"):
            setattr(made, name, getattr(self, name))
        made.factor = torch.cat([top.expand(*batch, n, n + q), low], dim=-2)
        made.inputs = torch.cat(
            [self.inputs.expand(*x.shape[:-2], *self.inputs.shape[-2:]), x], dim=-2
        )
        told = (outcomes - self.centre) / self.unit
        known = self.y.expand(*told.shape[:-1], self.y.shape[-1])
        made.y = torch.cat([known, told], dim=-1)
        more = more.expand(*more.shape[:-2], len(self.draws), more.shape[-1])
        made.noise = torch.cat(
            [self.noise.expand(*more.shape[:-1], self.noise.shape[-1]), more], -1
        )
        made.alpha = made._solve(made.y)
        made.diagnostics, made.state = self.diagnostics, self.state
        return made


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _g(r: Tensor, matern: bool) -> Tensor:
    """The kernel of distances r, of variance 1."""
    if not matern:
        return torch.exp(-0.5 * r.square())
    r = math.sqrt(5.0) * r
    return (1.0 + r + r.square() / 3.0) * torch.exp(-r)
