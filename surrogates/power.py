"""A monotone power transform of outcomes, for goals that are skewed or have heavy tails.

Yeo & Johnson (2000), "A New Family of Power Transformations to Improve Normality or Symmetry": with
z = (y - centre) / unit, g(z) = ((z + 1)^p - 1) / p for z >= 0 and -((1 - z)^(2 - p) - 1) / (2 - p)
below, logarithms where an exponent is 0. g(0) = 0, and p = 1 changes nothing. Centre and unit are
the median and the spread of the quartiles, so that a tail does not squeeze the rest together.

A model of g(y) with log evidence E is as good an explanation of y as one with evidence
E + sum log g'(y): that says whether a transform pays (Snelson, Rasmussen & Ghahramani 2003, "Warped
Gaussian Processes", equation 5).
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Array = NDArray[np.float64]

_POWERS = (-2.0, 4.0)
_QUARTILES_OF_A_NORMAL = 1.3489795


@dataclasses.dataclass(frozen=True)
class Power:
    """One transform.

    Attributes:
        power: p; 1 leaves outcomes as they are, but for centre and unit.
        centre: in the units of the outcomes.
        unit: likewise, above 0.
    """

    power: float
    centre: float
    unit: float

    @staticmethod
    def fit(y: Array, *, centre: float | None = None) -> "Power":
        """The transform under which outcomes look most like draws from one normal distribution.

        Args:
            y: (n,) outcomes, finite.
            centre: what goes to 0; None takes the median.
        """
        low, middle, high = np.quantile(y, [0.25, 0.5, 0.75])
        middle = middle if centre is None else centre
        unit = (high - low) / _QUARTILES_OF_A_NORMAL or float(np.std(y)) or 1.0
        unit = max(unit, np.abs(y - middle).max() * 1e-12)

        def loss(power: float) -> float:
            tried = Power(power, middle, unit)
            return 0.5 * len(y) * np.log(np.var(tried.forward(y)) + 1e-300) - tried.log_slopes(y)

        found = minimize_scalar(loss, bounds=_POWERS, method="bounded", options={"xatol": 1e-3})
        return Power(float(found.x), float(middle), float(unit))

    def forward(self, y: Array) -> Array:
        """g of outcomes."""
        z = (y - self.centre) / self.unit
        return np.where(
            z >= 0, _bend(np.maximum(z, 0), self.power), -_bend(np.maximum(-z, 0), 2 - self.power)
        )

    def backward(self, g: Array) -> Array:
        """Outcomes from their g; what no outcome leads to becomes infinite."""
        up = _unbend(np.maximum(g, 0), self.power)
        down = -_unbend(np.maximum(-g, 0), 2 - self.power)
        return self.centre + self.unit * np.where(g >= 0, up, down)

    def slopes(self, y: Array) -> Array:
        """dg/dy of outcomes."""
        z = (y - self.centre) / self.unit
        return np.exp((self.power - 1) * np.sign(z) * np.log1p(np.abs(z))) / self.unit

    def log_slopes(self, y: Array) -> float:
        """The sum of log g'(y), but for the constant n log(unit)."""
        z = (y - self.centre) / self.unit
        return float(np.sum((self.power - 1) * np.sign(z) * np.log1p(np.abs(z))))


def _bend(z: Array, power: float) -> Array:
    if power == 1.0:
        return z
    if abs(power) < 1e-6:
        return np.log1p(z)
    return np.expm1(power * np.log1p(z)) / power


def _unbend(g: Array, power: float) -> Array:
    if power == 1.0:
        return g
    if abs(power) < 1e-6:
        return np.expm1(g)
    with np.errstate(divide="ignore"):
        inner = np.maximum(power * g, -1.0)
        return np.expm1(np.log1p(inner) / power)
