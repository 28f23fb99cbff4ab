"""Kernels that are sums of products of elementary ones; and how their hyperparameters are laid out.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning", chapter 4. With r^2 = sum_j
(x_j - x'_j)^2 / l_j^2, one length-scale per group of columns:

- `rbf`: exp(-r^2 / 2); `matern12`, `matern32`, `matern52`: equation 4.17.
- `rq`, rational quadratic: (1 + r^2 / (2 alpha))^-alpha.
- `periodic`: exp(-2 sum_j sin^2(pi (x_j - x'_j) / period_j) / l_j^2), a period for each group of
  numbers. Columns of two values have none: they count by (x_j - x'_j)^2 / (2 l_j^2), as in `rbf`.
- `linear`: 12 / d sum_j (x_j - 1/2) (x'_j - 1/2), without parameters; its variance is 1 on average
  over the unit cube.

Each term of the sum is a product times one signal variance: a second one could not be told from
it. `co2` and `airline` are those of Lalchand & Rasmussen (2020), "Approximate Inference for Fully
Bayesian Gaussian Process Regression".

Logarithms of the hyperparameters follow each other term by term: for each elementary kernel its
length-scales, then its alpha or its periods; then the signal variance. So `matern52` and `rbf`
alone have the order of `surrogates/gp/hyperposterior.py`, where they are faster. The derivatives by
hand are in `surrogates/gp/pairs.py`.
"""

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor

from surrogates.errors import UsageError
from surrogates.inputs import Inputs

PLAIN = ("matern52", "rbf")
"""Those that `hyperposterior` knows by itself."""
SHORT = {"co2": "rbf + rbf*periodic + rq + rbf", "airline": "rbf*periodic + rbf"}
SCALED = ("matern12", "matern32", "matern52", "rbf", "rq")
ELEMENTARY = (*SCALED, "periodic", "linear")
HELP = (
    f"covariance function: {', '.join(ELEMENTARY)}; sums of products of them, such as "
    f'"{SHORT["co2"]}"; {" or ".join(SHORT)}'
)
_LEAST_SQUARE = 1e-36  # under a root, whose slope at 0 is infinite

Kind = Literal["lengthscale", "alpha", "period", "signal_var"]


@dataclasses.dataclass(frozen=True)
class Slot:
    """Where some hyperparameters stand among all.

    Attributes:
        kind: what they are.
        first: place of the first.
        count: how many.
    """

    kind: Kind
    first: int
    count: int

    def of(self, x: Tensor) -> Tensor:
        """(..., count) of (..., dim)."""
        return x[..., self.first : self.first + self.count]


@dataclasses.dataclass(frozen=True)
class Factor:
    """An elementary kernel of a product; `linear` has no slots."""

    name: str
    lengthscale: Slot | None = None
    more: Slot | None = None


@dataclasses.dataclass(frozen=True)
class Term:
    """A product of elementary kernels times a signal variance."""

    factors: tuple[Factor, ...]
    signal_var: Slot

    @property
    def linears(self) -> int:
        """How many of the factors are linear."""
        return sum(factor.name == "linear" for factor in self.factors)

    @property
    def others(self) -> tuple[Factor, ...]:
        """The factors that are positive: those but `linear`."""
        return tuple(factor for factor in self.factors if factor.name != "linear")


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A sum of terms over certain columns.

    Attributes:
        text: as `parsed` writes it.
        terms: of the sum.
        groups: (d,) which length-scale of each factor a column has: 0 to p - 1.
        cycles: (d,) which period, or -1 where a column has none.
        dim: number of hyperparameters.
    """

    text: str
    terms: tuple[Term, ...]
    groups: tuple[int, ...]
    cycles: tuple[int, ...]
    dim: int

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All of them, in order."""
        told: list[Slot] = []
        for term in self.terms:
            for factor in term.factors:
                told += [slot for slot in (factor.lengthscale, factor.more) if slot is not None]
            told.append(term.signal_var)
        return tuple(told)

    @property
    def p(self) -> int:
        """Number of groups."""
        return max(self.groups) + 1

    @property
    def periods(self) -> tuple[Slot, ...]:
        """Those of periods."""
        return tuple(slot for slot in self.slots if slot.kind == "period")

    def size(self, warped: int) -> int:
        """Tensors of the size of all covariances that are held at once, roughly."""
        factors = sum(len(term.factors) + 1 for term in self.terms)
        return factors + (len(self.groups) if self.periods or warped else 0)

    def signal_var(self, x: Tensor) -> Tensor:
        """(..., dim) logarithms to the sums (...) of the signal variances."""
        return torch.cat([term.signal_var.of(x) for term in self.terms], dim=-1).exp().sum(dim=-1)

    def between(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Covariances (..., S, q, n) that torch can differentiate.

        Args:
            x: (S, dim) logarithms of hyperparameters.
            a: (..., S or 1, q, d) columns.
            b: (..., S or 1, n, d) columns.
        """
        groups = list(self.groups)
        total: Tensor | None = None
        for term in self.terms:
            log = term.signal_var.of(x).unsqueeze(-1)  # (S, 1, 1)
            for factor in term.others:
                assert factor.lengthscale is not None
                scale = factor.lengthscale.of(x).exp()[:, groups].unsqueeze(-2)  # (S, 1, d)
                if factor.name == "periodic":
                    log = log + self._cyclic(factor, x, scale, a, b)
                else:
                    r = torch.cdist(a / scale, b / scale, compute_mode=_EXACT)
                    alpha = None if factor.more is None else factor.more.of(x).exp().unsqueeze(-1)
                    log = log + log_of(factor.name, r.square(), alpha)
            k = log.exp()
            if term.linears:
                k = k * (linear(self, a, b) ** term.linears)
            total = k if total is None else total + k
        assert total is not None
        return total

    def _cyclic(self, factor: Factor, x: Tensor, scale: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Logarithm of a periodic kernel, column by column."""
        total: Tensor | None = None
        for j, cycle in enumerate(self.cycles):
            difference = a[..., :, None, j] - b[..., None, :, j]
            if cycle < 0:
                squared = difference.square() / 4.0
            else:
                assert factor.more is not None
                period = factor.more.of(x).exp()[:, cycle, None, None]
                squared = torch.sin(math.pi * difference / period).square()
            part = -2.0 * squared / scale[..., j, None].square()
            total = part if total is None else total + part
        assert total is not None
        return total


def parsed(text: str) -> tuple[tuple[str, ...], ...]:
    """Names of the factors of each term of an expression, or of a short name.

    Raises:
        UsageError: an unknown word, or brackets.
    """
    words = SHORT.get(text.strip(), text)
    if "(" in words or ")" in words:
        raise UsageError(
            f"kernel expected a sum of products, got brackets in {text!r}; write a*(b + c) as "
            "a*b + a*c"
        )
    terms = tuple(tuple(word.strip() for word in term.split("*")) for term in words.split("+"))
    for word in (word for term in terms for word in term):
        if word not in ELEMENTARY:
            raise UsageError(
                f"kernel expected sums (+) and products (*) of {', '.join(ELEMENTARY)}, or one of "
                f"{', '.join(SHORT)}, got {word!r} in {text!r}"
            )
    return terms


def check(text: str) -> None:
    """Raises `UsageError` where `parsed` does."""
    parsed(text)


def kernel(text: str, inputs: Inputs) -> Kernel:
    """The kernel of an expression over certain columns."""
    groups, told = inputs.groups, parsed(text)
    numbers = set(inputs.numeric)
    cyclic = list(dict.fromkeys(groups[j] for j in range(inputs.d) if j in numbers))
    cycles = tuple(cyclic.index(groups[j]) if j in numbers else -1 for j in range(inputs.d))
    p, at = max(groups) + 1, 0

    def slot(kind: Kind, count: int) -> Slot | None:
        nonlocal at
        made = Slot(kind, at, count)
        at += count
        return made if count else None

    terms: list[Term] = []
    for names in told:
        factors: list[Factor] = []
        for name in names:
            if name == "linear":
                factors.append(Factor(name))
                continue
            lengthscale = slot("lengthscale", p)
            more = slot("alpha", 1) if name == "rq" else None
            if name == "periodic":
                more = slot("period", len(cyclic))
            factors.append(Factor(name, lengthscale, more))
        signal_var = slot("signal_var", 1)
        assert signal_var is not None
        terms.append(Term(tuple(factors), signal_var))
    return Kernel(" + ".join("*".join(term) for term in told), tuple(terms), groups, cycles, at)


def log_of(name: str, squared: Tensor, alpha: Tensor | None) -> Tensor:
    """Logarithm of one of `SCALED` at squared distances r^2."""
    if name == "rbf":
        return -0.5 * squared
    if alpha is not None:
        return -alpha * torch.log1p(squared / (2.0 * alpha))
    if name == "matern12":
        return -squared.clamp_min(_LEAST_SQUARE).sqrt()
    if name == "matern32":
        r = (3.0 * squared).clamp_min(_LEAST_SQUARE).sqrt()
        return torch.log1p(r) - r
    r = (5.0 * squared).clamp_min(_LEAST_SQUARE).sqrt()
    return torch.log1p(r + r.square() / 3.0) - r


def slope_of(name: str, squared: Tensor, alpha: Tensor | None) -> Tensor:
    """Derivative of `log_of` in the squared distance; 0 where that is 0 and it is infinite."""
    if name == "rbf":
        return torch.full_like(squared, -0.5)
    if alpha is not None:
        return -0.5 / (1.0 + squared / (2.0 * alpha))
    if name == "matern12":
        return torch.where(squared > 0.0, -0.5 * squared.clamp_min(_LEAST_SQUARE).rsqrt(), 0.0)
    if name == "matern32":
        return -1.5 / (1.0 + (3.0 * squared).sqrt())
    r = (5.0 * squared).sqrt()
    return -5.0 / 6.0 * (1.0 + r) / (1.0 + r + r.square() / 3.0)


def linear(kernel: Kernel, a: Tensor, b: Tensor) -> Tensor:
    """(..., q, d) and (..., n, d) columns to the (..., q, n) covariances of `linear`."""
    return 12.0 / len(kernel.groups) * (a - 0.5) @ (b - 0.5).mT


_EXACT = "donot_use_mm_for_euclid_dist"
