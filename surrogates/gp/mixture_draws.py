"""S Gaussian processes that explain the same data, one for each draw of the hyperparameters.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning", equations 2.23-2.24, of all
draws in one batch, in standardised units. Where observations are added, the Cholesky factors grow
by a block. What the mixture predicts, and what BoTorch asks of it: `surrogates/gp/mixture.py`.
"""

import dataclasses
import math
from typing import Any, TypeVar

import numpy as np
import torch
from botorch.models.model import Model
from botorch.models.transforms.outcome import OutcomeTransform
from jaxtyping import Float
from torch import Tensor

from surrogates.contract import State
from surrogates.gp import hyperposterior, warp
from surrogates.gp.conditioned import MEAN_VAR, factorised
from surrogates.gp.sampled import Sampled

Own = TypeVar("Own", bound="MixtureDraws")
_MOST_ELEMENTS = 1_000_000
"""Of a tensor of covariances that is made at once, where no gradient is wanted."""
_FITTED = ("draws", "log_weights", "lengthscale", "signal_var", "noise_var")
_HELD = (*_FITTED, "noise", "inputs", "y", "factor", "alpha")
"""In `state_dict`."""


class MixtureDraws(Model):
    """What a mixture over S draws is computed from; arguments as of `MixtureGP`."""

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
            self.noise_var = data.least_noise_var + told[:, data.noise_at]
            noise = self.noise_var[:, None].expand(-1, n)
        else:
            self.noise_var = data.noise.median().repeat(len(draws))
            noise = data.noise.expand(len(draws), n)
        self.noise = noise.contiguous()
        self.inputs = data.X.unsqueeze(-3)  # (..., 1, n, d)
        self.y = data.y.unsqueeze(-2)  # (..., 1, n)
        matrix = self.between(self.inputs, self.inputs) + torch.diag_embed(noise)
        self.factor = factor_of(matrix)
        self.alpha = self.solve(self.y.expand(len(draws), n))

    def _begin(self, transform: OutcomeTransform | None) -> None:
        for name in _HELD:
            self.register_buffer(name, None)
        self.diagnostics, self.state = {}, {}
        self._equal: list[Any] = []  # made when it is asked for
        self.transform = None if transform is None else transform.eval()
        if self.transform is not None and not self.transform._is_linear:
            self.outcome_transform = self.transform  # where BoTorch looks for it

    @property
    def batch_shape(self) -> torch.Size:
        """(S,); of fantasies (fantasies, ..., S)."""
        return self.alpha.shape[:-1]

    def get_extra_state(self) -> dict[str, Any]:
        """What the draws explain, for `state_dict`."""
        fields = dataclasses.fields(self.data)
        return {
            "data": {each.name: getattr(self.data, each.name) for each in fields},
            "centre": self.centre,
            "unit": self.unit,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """From `get_extra_state`."""
        self.data = hyperposterior.Data(**state["data"])
        self.centre, self.unit = state["centre"], state["unit"]
        self._equal = []

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """Prior covariances (..., S, q, n) of the values f + m, in standardised units.

        Args:
            a: (..., 1, q, d) columns.
            b: (..., 1, n, d) columns.
        """
        data = self.data
        if data.kernel is not None:
            a, b = self.warped(a), self.warped(b)
            return data.kernel.between(self.draws, a, b) + MEAN_VAR
        scale = self.lengthscale.unsqueeze(-2)
        k = correlation(a / scale, b / scale, data.matern)
        return self.signal_var[:, None, None] * k + MEAN_VAR

    def solve(self, y: Tensor) -> Tensor:
        """K^-1 y of (..., S, n) standardised outcomes."""
        half = torch.linalg.solve_triangular(self.factor, y.unsqueeze(-1), upper=False)
        return torch.linalg.solve_triangular(self.factor.mT, half, upper=True).squeeze(-1)

    def warped(self, x: Tensor) -> Tensor:
        """(..., 1, q, d) columns as the kernel of each draw sees them."""
        data = self.data
        return warp.bent(x, data.warped, data.warps(self.draws)) if data.warped else x

    def seen(self, standardised: Tensor) -> Tensor:
        """(..., 1) outcomes in the user's units."""
        told = self.centre + self.unit * standardised
        return told if self.transform is None else self._untransformed(told)

    def _transformed(self, outcomes: Tensor) -> Tensor:
        return outcomes if self.transform is None else self.transform(outcomes)[0]

    def _untransformed(self, outcomes: Tensor) -> Tensor:
        assert self.transform is not None
        return self.transform.untransform(outcomes)[0]

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
        towards = self.between(x, self.inputs)  # (..., S, q, n)
        half = self._half(towards)
        mean = (towards @ self.alpha.unsqueeze(-1)).squeeze(-1)
        return mean, self.between(x, x) - half.mT @ half

    def _half(self, towards: Tensor) -> Tensor:
        """L^-1 of (..., S, q, n) covariances: (..., S, n, q)."""
        if self.factor.ndim > 3:
            return torch.linalg.solve_triangular(self.factor, towards.mT, upper=False)
        # One solve a draw for all points together.
        *batch, s, q, n = towards.shape
        together = towards.reshape(-1, s, q, n).permute(1, 3, 0, 2).reshape(s, n, -1)
        solved = torch.linalg.solve_triangular(self.factor, together, upper=False)
        return solved.reshape(s, n, -1, q).permute(2, 0, 1, 3).reshape(*batch, s, n, q)

    def _given(self: Own, x: Tensor, outcomes: Tensor, noise: Tensor | None) -> Own:
        """With (..., S, q) more outcomes at (..., 1 or S, q, d) columns."""
        half = self._half(self.between(x, self.inputs))
        rest = self.between(x, x) - half.mT @ half
        n, q = half.shape[-2:]
        more = self.noise_var[:, None].expand(-1, q) if noise is None else noise / self.unit**2
        rest = rest + torch.diag_embed(more)
        prior = (self.signal_var + MEAN_VAR).expand(rest.shape[:-2])  # what is rounded is these
        corner = factor_of(rest, prior)
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
        made.alpha = made.solve(made.y)
        return made


def _joined(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Concatenated along a dimension from the end, all before it broadcast."""
    batch = torch.broadcast_shapes(first.shape[:dim], second.shape[:dim])
    parts = [each.expand(*batch, *each.shape[dim:]) for each in (first, second)]
    return torch.cat(parts, dim=dim)


def correlation(a: Tensor, b: Tensor, matern: bool) -> Tensor:
    """(..., q, n) of a kernel of variance 1, at (..., q, d) and (..., n, d) columns of scale 1."""
    r = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    if not matern:
        return torch.exp(-0.5 * r.square())
    r = math.sqrt(5.0) * r
    return (1.0 + r + r.square() / 3.0) * torch.exp(-r)


def factor_of(matrix: Tensor, scale: Tensor | None = None) -> Tensor:
    """Lower Cholesky factors of (..., n, n), with jitter where it takes that.

    Args:
        matrix: covariances.
        scale: (...) which jitters are shares of; None takes the mean variance of each matrix.

    Raises:
        numpy.linalg.LinAlgError: no jitter makes a matrix positive definite.
    """
    if scale is None:
        scale = matrix.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    factor, failed = factorised(matrix, scale)
    if bool(failed.any()):
        raise np.linalg.LinAlgError("expected positive definite covariance matrices")
    return factor
