"""Log marginal likelihoods of many covariance matrices, and their derivatives in each entry.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning": equations 2.30 and 5.9. The
mean is a constant ~ N(0, 1) that is integrated out: it adds 1 to every covariance.
"""

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

MEAN_VAR = 1.0
JITTERS = np.array([0.0, 1e-10, 1e-8, 1e-6, 1e-4])
"""Shares of the signal's variance that are added to variances, until a matrix is definite."""
LOG_2PI = math.log(2 * math.pi)


@dataclasses.dataclass(frozen=True)
class Conditioned:
    """The log marginal likelihood of some chains' covariances, and its derivatives.

    Attributes:
        value: (c,).
        failed: (c,) whether no jitter made the matrix definite.
        pull: (c, m) derivatives in the covariances of pairs.
        diagonal: (c, n) twice those in the variances.
        noisy: (c,) in the logarithm of a factor of the noise.
        signal: (c,) in that of a factor of the kernel.
    """

    value: Tensor
    failed: Tensor
    pull: Tensor
    diagonal: Tensor
    noisy: Tensor
    signal: Tensor


def conditioned(
    y: Tensor, upper: Tensor, k: Tensor, var: Tensor, noise: Tensor, scale: Tensor
) -> Conditioned:
    """For c chains at once.

    Args:
        y: (n,) outcomes.
        upper: (2, m) rows of the pairs.
        k: (c, m) covariances of pairs.
        var: (c, n or 1) variances.
        noise: (c, n) of the noise.
        scale: (c, 1) which jitters are shares of.
    """
    n = len(y)
    row, column = upper
    matrix = k.new_zeros(len(k), n, n)
    matrix[:, row, column] = k
    matrix = matrix + matrix.mT + MEAN_VAR
    matrix.diagonal(dim1=-2, dim2=-1).add_(var + noise)
    factor, failed = factorised(matrix, scale.squeeze(-1))
    eye = torch.eye(n, dtype=k.dtype, device=k.device)
    factor = torch.where(failed[:, None, None], eye, factor)
    alpha = torch.cholesky_solve(y.expand(len(k), n).unsqueeze(-1), factor).squeeze(-1)
    value = -0.5 * (alpha @ y + n * LOG_2PI) - factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    inverse = torch.cholesky_inverse(factor)
    diagonal = alpha.square() - inverse.diagonal(dim1=-2, dim2=-1)
    noisy = 0.5 * (noise * diagonal).sum(dim=1)
    constant = 0.5 * MEAN_VAR * (alpha.sum(dim=1).square() - inverse.sum(dim=(1, 2)))
    pull = alpha[:, row] * alpha[:, column] - inverse[:, row, column]
    # Of all of K it is 0.5 y'alpha - 0.5 n: what is not of noise or mean is of the signal.
    # Summed directly, great terms cancel where inputs nearly coincide.
    signal = 0.5 * (alpha @ y - n) - noisy - constant
    return Conditioned(value, failed, pull, diagonal, noisy, signal)


def factorised(matrix: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Lower Cholesky factors (..., n, n), and (...) which of them no jitter made definite.

    Args:
        matrix: (..., n, n); to the diagonal of those that fail, jitter is added.
        scale: (...) which jitters are shares of.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    added = torch.zeros_like(scale)
    for jitter in JITTERS[1:]:
        if not bool(failed.any()):
            break
        added = torch.where(failed.bool(), jitter * scale, added)  # the others keep theirs
        more = added.unsqueeze(-1).expand(matrix.shape[:-1])
        factor, failed = torch.linalg.cholesky_ex(matrix + torch.diag_embed(more))
    return factor, failed.bool()
