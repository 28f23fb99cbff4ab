"""A mixture of Student's t distributions fitted to draws: where else a chain could be.

Dempster, Laird & Rubin (1977), "Maximum Likelihood from Incomplete Data via the EM Algorithm", for
a mixture of normal distributions; Fraley & Raftery (2007), "Bayesian Regularization for Normal
Mixture Estimation and Model-Based Clustering": covariances have a prior, so that none collapses.

Departs from them: what is proposed has the tails of a t, and the prior is wide, so that a density
is covered where few of the draws are. A chain that jumps to where the proposal is much lower than
the density stays there for long.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from surrogates.inference.contract import normals, uniforms

_FREEDOM = 3
_MOST = 8  # components
_EACH = 8  # draws per component and dimension
_ROUNDS = 12
_SPREAD = 2.0  # prior variance of a component, in units of that of all: wide where draws are few


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Mixture of t distributions with 3 degrees of freedom.

    Attributes:
        log_weights: (components,), whose exponentials sum to 1.
        means: (components, dim).
        factors: (components, dim, dim) lower triangular, times their transposes the scales.
    """

    log_weights: Tensor
    means: Tensor
    factors: Tensor

    def log_density(self, x: Tensor) -> Tensor:
        """(n,) of (n, dim) points, normalised."""
        dim = x.shape[1]
        offset = (x - self.means.unsqueeze(1)).mT
        distance = torch.linalg.solve_triangular(self.factors, offset, upper=False).square().sum(1)
        volume = self.factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        constant = math.lgamma(0.5 * (_FREEDOM + dim)) - math.lgamma(0.5 * _FREEDOM)
        constant -= 0.5 * dim * math.log(_FREEDOM * math.pi)
        shape = -0.5 * (_FREEDOM + dim) * torch.log1p(distance / _FREEDOM)
        each = (self.log_weights - volume).unsqueeze(1) + shape
        return constant + torch.logsumexp(each, dim=0)

    def sample(self, count: int, generator: Generator) -> Tensor:
        """(count, dim) points."""
        like, dim = self.means, self.means.shape[1]
        edges = self.log_weights.exp().cumsum(dim=0)
        place = torch.searchsorted(edges, uniforms((count,), generator, like))
        place = place.clamp_max(len(edges) - 1)
        chi_square = normals((count, _FREEDOM), generator, like).square().sum(dim=1)
        z = normals((count, dim), generator, like) * (_FREEDOM / chi_square).sqrt().unsqueeze(1)
        return self.means[place] + (self.factors[place] @ z.unsqueeze(-1)).squeeze(-1)

    def beside(self, other: "Proposal", share: float) -> "Proposal":
        """A mixture of both, of which the other has a share."""
        mine, others = self.log_weights + math.log1p(-share), other.log_weights + math.log(share)
        return Proposal(
            torch.cat([mine, others]),
            torch.cat([self.means, other.means]),
            torch.cat([self.factors, other.factors]),
        )

    def to_json(self) -> dict[str, Any]:
        """Lists of numbers."""
        return {field.name: getattr(self, field.name).tolist() for field in _FIELDS}

    @staticmethod
    def from_json(told: Mapping[str, Any], like: Tensor) -> "Proposal":
        """With the dtype and device of `like`."""
        where: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        return Proposal(*(torch.tensor(told[field.name], **where) for field in _FIELDS))


_FIELDS = dataclasses.fields(Proposal)


def fit(x: Tensor, generator: Generator) -> Proposal | None:
    """Fit the mixture to draws.

    Args:
        x: (n, dim) draws.
        generator: of the draws at which components begin.

    Returns:
        The mixture, of at most eight components; None of fewer than eight draws per dimension, and
        of draws that have no spread.
    """
    n, dim = x.shape
    count = min(_MOST, n // (_EACH * dim))
    if count == 0:
        return None
    mean = x.mean(dim=0)
    root, failed = torch.linalg.cholesky_ex(torch.atleast_2d(torch.cov(x.T)))
    if bool(failed) or not bool(torch.isfinite(root).all()):
        return None
    z = torch.linalg.solve_triangular(root, (x - mean).T, upper=False).T
    eye = torch.eye(dim, dtype=x.dtype, device=x.device)
    means = z[uniforms((n,), generator, x).argsort()[:count]]
    factors = eye.expand(count, dim, dim)
    log_weights = torch.full((count,), -math.log(count), dtype=x.dtype, device=x.device)
    for _ in range(_ROUNDS):
        offset = z - means.unsqueeze(1)  # (components, n, dim)
        white = torch.linalg.solve_triangular(factors, offset.mT, upper=False)
        volume = factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        each = (log_weights - volume).unsqueeze(1) - 0.5 * white.square().sum(dim=1)
        share = torch.softmax(each, dim=0)
        total = share.sum(dim=1)
        log_weights = torch.log((total + 1.0) / (n + count))
        means = (share @ z) / total.clamp_min(1e-9).unsqueeze(1)
        offset = z - means.unsqueeze(1)
        scatter = (share.unsqueeze(-1) * offset).mT @ offset + dim * _SPREAD * eye
        factors = torch.linalg.cholesky(scatter / (total + dim)[:, None, None])
    return Proposal(log_weights, mean + means @ root.T, root @ factors)
