"""Functions drawn from the prior of a kernel that is a sum of products, by random features.

Rahimi & Recht (2007), "Random Features for Large-Scale Kernel Machines": cosines whose frequencies
are draws of the kernel's spectral density. Rasmussen & Williams (2006), section 4.2.1: that of
Matern kernels is Student's t with 1, 3 or 5 degrees of freedom, that of `rbf` normal; `rq` is a
mixture of `rbf` over precisions ~ Gamma(alpha, alpha). Of a product it is that of a sum of
frequencies. `periodic` has the frequencies 2 pi k / period with the probabilities exp(-1 / l^2)
I_k(1 / l^2), those of a difference of two Poisson numbers with means 1 / (2 l^2) (Skellam 1946). A
linear factor multiplies every cosine by a random linear function. No approximation but the number
of features.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor

from surrogates.gp.kernels import Factor, Kernel
from surrogates.paths import FEATURES

_DEGREES = {"matern12": 1, "matern32": 3, "matern52": 5}


def drawn(
    kernel: Kernel, x: Tensor, generator: Generator, *, features: int = FEATURES
) -> Callable[[Tensor], Tensor]:
    """A function of (b, d) columns, with values (b,).

    Args:
        kernel: of which.
        x: (dim,) logarithms of its hyperparameters.
        generator: of the draw.
        features: of each term.
    """
    seed = torch.randint(
        2**62, (1,), generator=generator, dtype=torch.int64, device=generator.device
    )
    random = np.random.default_rng(int(seed))
    d = len(kernel.groups)

    def here(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Tensor:
        return torch.as_tensor(values).to(x)

    terms: list[tuple[Tensor, Tensor, Tensor, list[Tensor]]] = []
    for term in kernel.terms:
        frequencies = np.zeros((features, d))
        for factor in term.others:
            frequencies += _frequencies(kernel, factor, x, random, features)
        phases = 2.0 * math.pi * random.random(features)
        variance = float(term.signal_var.of(x).exp())
        weights = math.sqrt(2.0 * variance / features) * random.standard_normal(features)
        lines = [here(random.standard_normal((features, d))) for _ in range(term.linears)]
        terms.append((here(frequencies), here(phases), here(weights), lines))

    def function(X: Tensor) -> Tensor:
        total = torch.zeros_like(X[:, 0])
        for frequencies, phases, weights, lines in terms:
            told = torch.cos(X @ frequencies.T + phases)
            for line in lines:
                told = told * (math.sqrt(12.0 / d) * (X - 0.5) @ line.T)
            total = total + told @ weights
        return total

    return function


def _frequencies(
    kernel: Kernel, factor: Factor, x: Tensor, random: np.random.Generator, features: int
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """(features, d) draws of a factor's spectral density."""
    assert factor.lengthscale is not None
    scale = factor.lengthscale.of(x).exp().double().cpu().numpy()[list(kernel.groups)]
    normal = random.standard_normal((features, len(scale))) / scale
    if factor.name in _DEGREES:
        degrees = _DEGREES[factor.name]
        return normal * np.sqrt(degrees / random.chisquare(degrees, (features, 1)))
    if factor.name == "rq":
        assert factor.more is not None
        alpha = float(factor.more.of(x).exp())
        return normal * np.sqrt(random.gamma(alpha, 1.0 / alpha, (features, 1)))
    if factor.name == "periodic":
        for j, cycle in enumerate(kernel.cycles):
            if cycle >= 0 and factor.more is not None:
                period = float(factor.more.of(x).exp()[cycle])
                mean = min(0.5 / scale[j] ** 2, 1e15)
                turns = random.poisson(mean, features) - random.poisson(mean, features)
                normal[:, j] = 2.0 * math.pi * turns / period
    return normal
