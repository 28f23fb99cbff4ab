"""A monotone bend of columns: x becomes 1 - (1 - x^a)^b, the distribution function of Kumaraswamy.

Snoek, Swersky, Zemel & Adams (2014), "Input Warping for Bayesian Optimization of Non-Stationary
Functions", take that of the beta distribution, which has no closed form; Kumaraswamy's (1980) is
near it and has. The parameters are log a of every warped column, then log b of every one.

For one set of parameters in NumPy; for many in torch (`bent`, `bent_slopes`).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

PRIOR_VAR = 0.75
"""Of log a and log b; as large as their means, so that the modes of a and b are 1, no warp."""
GREATEST = 20.0
"""Of a and b; 1 over it is the least."""
EPS = 1e-7


def forward(x: Array, columns: tuple[int, ...], logs: Array) -> Array:
    """(m, d) points in the unit cube, with some columns bent."""
    if not columns:
        return x
    a, b = _exponents(logs)
    bent = x.copy()
    bent[:, columns] = 1.0 - (1.0 - _inside(x, columns) ** a) ** b
    return bent


def slopes(x: Array, columns: tuple[int, ...], logs: Array) -> tuple[Array, Array]:
    """Derivatives of the bent columns in log a and in log b, both (m, w)."""
    a, b = _exponents(logs)
    x = _inside(x, columns)
    power = x**a
    rest = 1.0 - power
    return a * b * rest ** (b - 1.0) * power * np.log(x), -b * rest**b * np.log(rest)


def gradient(x: Array, columns: tuple[int, ...], logs: Array) -> Array:
    """Derivative (d,) of each column as bent in the column, at one point (d,)."""
    slope = np.ones_like(x)
    a, b = _exponents(logs)
    x = _inside(x[None], columns)[0]
    power = x ** (a - 1.0)
    slope[list(columns)] = (1.0 - 2.0 * EPS) * a * b * power * (1.0 - power * x) ** (b - 1.0)
    return slope


def _exponents(logs: Array) -> tuple[Array, Array]:
    a, b = np.exp(logs).reshape(2, -1)
    return a, b


def _inside(x: Array, columns: tuple[int, ...]) -> Array:
    """The columns off the ends of the unit interval, where slopes may be infinite."""
    return np.clip(x[:, columns], 0.0, 1.0) * (1.0 - 2.0 * EPS) + EPS


def bent(x: Tensor, columns: tuple[int, ...], logs: Tensor) -> Tensor:
    """(..., S or 1, m, d) points bent as (S, 2 w) parameters say, (..., S, m, d)."""
    power, b = _powers(x, columns, logs)
    told = -torch.expm1(b * torch.log(-torch.expm1(power)))
    at = {column: place for place, column in enumerate(columns)}
    parts = [
        told[..., at[j]] if j in at else x[..., j].expand(told.shape[:-1])
        for j in range(x.shape[-1])
    ]
    return torch.stack(parts, dim=-1)


def bent_slopes(x: Tensor, columns: tuple[int, ...], logs: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of the bent columns in log a and in log b, both (S, m, w), at (m, d) points."""
    power, b = _powers(x, columns, logs)
    log_rest = torch.log(-torch.expm1(power))
    to_a = b * torch.exp((b - 1.0) * log_rest + power) * power
    return to_a, -b * torch.exp(b * log_rest) * log_rest


def _powers(x: Tensor, columns: tuple[int, ...], logs: Tensor) -> tuple[Tensor, Tensor]:
    """a log(x), which is below 0, and b; by columns."""
    a, b = logs.exp().unsqueeze(-2).chunk(2, dim=-1)  # (S, 1, w)
    inside = x[..., list(columns)].clamp(0.0, 1.0) * (1.0 - 2.0 * EPS) + EPS
    return a * torch.log(inside), b
