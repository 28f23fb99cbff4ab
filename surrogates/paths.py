"""Functions drawn from the posterior of a Gaussian process, cheap at any number of points.

Wilson et al. (2020), "Efficiently Sampling Functions from Gaussian Process Posteriors", equation
10 (Matheron's rule): a draw from the prior, made of random Fourier features (Rahimi & Recht 2007),
is corrected by what the exact kernel says of its errors at the observed points. Spectral densities:
normal for RBF, Student's t with 5 degrees of freedom for Matern-5/2 (Rasmussen & Williams 2006,
section 4.2).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.gp.mixture_draws import factor_of

FEATURES = 1024
_MATERN_DEGREES = 5
_JITTER = 1e-8


class GPPath(torch.nn.Module):
    """A function drawn from the posterior of f, a GP of mean 0.

    Args:
        X: (n, d) observed points; the draw has their dtype and device.
        y: (n,) their outcomes.
        kernel: (a, d), (b, d) to (a, b) covariances; stationary.
        lengthscale: (d,) of the kernel.
        signal_var: of the kernel.
        noise_var: (n,) of the outcomes.
        matern: whether the kernel is Matern-5/2; else RBF.
        generator: of the draw.
        features: of the draw from the prior.
    """

    def __init__(
        self,
        X: Float[Tensor, "n d"],
        y: Float[Tensor, " n"],
        kernel: Callable[[Tensor, Tensor], Tensor],
        *,
        lengthscale: Float[Tensor, " d"],
        signal_var: Float[Tensor, ""],
        noise_var: Float[Tensor, " n"],
        matern: bool,
        generator: Generator,
        features: int = FEATURES,
    ) -> None:
        super().__init__()

        def normals(*shape: int) -> Tensor:
            # In double precision where the generator is: a seed means the same on every device.
            drawn = torch.randn(
                shape, generator=generator, dtype=torch.float64, device=generator.device
            )
            return drawn.to(X)

        n, d = X.shape
        self.X, self.kernel = X, kernel
        self.frequencies = normals(features, d) / lengthscale
        if matern:
            squares = normals(features, _MATERN_DEGREES).square().sum(dim=1, keepdim=True)
            self.frequencies = self.frequencies * (_MATERN_DEGREES / squares).sqrt()
        turns = torch.rand(
            features, generator=generator, dtype=torch.float64, device=generator.device
        )
        self.phases = (2 * math.pi * turns).to(X)
        self.weights = (2 * signal_var / features).sqrt() * normals(features)
        missed = y - self._prior(X) - noise_var.sqrt() * normals(n)
        self.correction = _correction(missed, kernel(X, X), noise_var, signal_var)

    def _prior(self, X: Tensor) -> Tensor:
        return torch.cos(X @ self.frequencies.T + self.phases) @ self.weights

    def forward(self, X: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Values at (b, d) columns, differentiable in them."""
        return self._prior(X) + (self.kernel(X, self.X) @ self.correction)[:, 0]


class CorrectedPath(torch.nn.Module):
    """As `GPPath`, from any draw of the prior.

    Args:
        X: (n, d) observed points.
        y: (n,) their outcomes.
        kernel: (a, d), (b, d) to (a, b) covariances.
        prior: a function drawn from the prior, from (b, d) to (b,).
        signal_var: of the kernel.
        noise_var: (n,) of the outcomes.
        generator: of the noise.
    """

    def __init__(
        self,
        X: Float[Tensor, "n d"],
        y: Float[Tensor, " n"],
        kernel: Callable[[Tensor, Tensor], Tensor],
        prior: Callable[[Tensor], Tensor],
        *,
        signal_var: Float[Tensor, ""],
        noise_var: Float[Tensor, " n"],
        generator: Generator,
    ) -> None:
        super().__init__()
        self.X, self.kernel, self.prior = X, kernel, prior
        normal = torch.randn(
            len(y), generator=generator, dtype=torch.float64, device=generator.device
        )
        missed = y - prior(X) - noise_var.sqrt() * normal.to(X)
        self.correction = _correction(missed, kernel(X, X), noise_var, signal_var)

    def forward(self, X: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Values at (b, d) columns, differentiable in them."""
        return self.prior(X) + (self.kernel(X, self.X) @ self.correction)[:, 0]


def _correction(missed: Tensor, k: Tensor, noise_var: Tensor, signal_var: Tensor) -> Tensor:
    """(n, 1) weights of the kernel at the observed points, of what a draw of the prior missed."""
    factor = factor_of(k + torch.diag(noise_var + _JITTER * signal_var))
    return torch.cholesky_solve(missed[:, None], factor)
