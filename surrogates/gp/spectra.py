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
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from surrogates.gp.kernels import Factor, Kernel
from surrogates.paths import FEATURES

Array = NDArray[np.float64]

_DEGREES = {"matern12": 1, "matern32": 3, "matern52": 5}


class Function:
    """Functions drawn from a prior: (..., N, d) columns to (..., N) values.

    Args:
        terms: of each term of the kernel frequencies (*shape, d, features), phases (*shape, 1,
            features), weights (*shape, features, 1), and of each linear factor (*shape, d,
            features); columns go with them by the rules of broadcasting.
    """

    def __init__(self, terms: Sequence[tuple[Tensor, Tensor, Tensor, list[Tensor]]]) -> None:
        self.terms = terms

    def __call__(self, X: Tensor) -> Tensor:
        """Values, differentiable in the columns."""
        total: Tensor | None = None
        for frequencies, phases, weights, lines in self.terms:
            told = torch.cos(X @ frequencies + phases)
            for line in lines:
                told = told * (math.sqrt(12.0 / X.shape[-1]) * (X - 0.5) @ line)
            part = (told @ weights).squeeze(-1)
            total = part if total is None else total + part
        assert total is not None
        return total


def drawn(kernel: Kernel, x: Tensor, generator: Generator, *, features: int = FEATURES) -> Function:
    """Functions of the prior, one for each set of hyperparameters.

    Args:
        kernel: of which.
        x: (*shape, dim) logarithms of its hyperparameters.
        generator: of the draw.
        features: of each term.
    """
    seed = torch.randint(
        2**62, (1,), generator=generator, dtype=torch.int64, device=generator.device
    )
    random = np.random.default_rng(int(seed))
    shape, logs = x.shape[:-1], x.reshape(-1, x.shape[-1])

    def here(values: list[Array]) -> Tensor:
        told = torch.as_tensor(np.stack(values)).to(x)
        return told.reshape(*shape, *told.shape[1:])

    terms: list[tuple[Tensor, Tensor, Tensor, list[Tensor]]] = []
    for term in kernel.terms:
        frequencies: list[Array] = []
        for row in logs:
            total = np.zeros((features, len(kernel.groups)))
            for factor in term.others:
                total += _frequencies(kernel, factor, row, random, features)
            frequencies.append(total.T)
        count = len(logs)
        phases = [2.0 * math.pi * random.random((1, features)) for _ in range(count)]
        weights = [random.standard_normal((features, 1)) for _ in range(count)]
        lines = [
            here([random.standard_normal((len(kernel.groups), features)) for _ in range(count)])
            for _ in range(term.linears)
        ]
        scale = (2.0 * term.signal_var.of(x).exp() / features).sqrt().unsqueeze(-1)
        terms.append((here(frequencies), here(phases), scale * here(weights), lines))
    return Function(terms)


def _frequencies(
    kernel: Kernel, factor: Factor, x: Tensor, random: np.random.Generator, features: int
) -> Array:
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
