"""Test functions with known optima, as in BoTorch (`botorch.test_functions.synthetic`).

Formulas, bounds and directions are BoTorch's, evaluated in float64: all are minimised but for
`cosine8` and `labs<d>`. The goal is `value`, the parameters are x0, x1, ...; the d bits of
`labs<d>` and the first d - 3 parameters of `ackleymixed<d>` are booleans.

BoTorch rounds several optima, some to the wrong side, which spoils a regret on a log scale; these
are evaluated at optimisers of full precision instead.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence

import torch
from botorch.test_functions import synthetic
from botorch.test_functions.synthetic import SyntheticTestFunction

from bo.contract import Goal, Problem
from bo.space import Parameter, Parameters, Space, boolean, real
from surrogates.errors import UsageError
from surrogates.options import options, unknown

MOST_DIMENSIONS = 1000


@options
class Options:
    """The functions have no options."""


@dataclasses.dataclass(frozen=True)
class Function:
    """A function, or a family of functions with free dimension.

    Attributes:
        make: the BoTorch function of a dimension (ignored where that is not free).
        allowed: the dimensions in words; "" where the dimension is not part of the name.
        fits: whether a dimension is allowed.
        optimiser: coordinates of full precision where BoTorch's optimum is rounded, by dimension.
        booleans: how many of d parameters are booleans, the first ones.
    """

    make: Callable[[int], SyntheticTestFunction]
    allowed: str = ""
    fits: Callable[[int], bool] = lambda d: False
    optimiser: Callable[[int], Sequence[float] | None] = lambda d: None
    booleans: Callable[[int], int] = lambda d: 0


def _free(kind: type[SyntheticTestFunction], least: int = 1) -> Function:
    return Function(
        lambda d: kind(dim=d),  # pyright: ignore[reportCallIssue]
        f"{least} to {MOST_DIMENSIONS}",
        lambda d: least <= d <= MOST_DIMENSIONS,
    )


def _fixed(kind: type[SyntheticTestFunction], *optimiser: float) -> Function:
    return Function(lambda d: kind(), optimiser=lambda d: optimiser or None)


_HARTMANN = {
    3: (0.1145888780, 0.5556488939, 0.8525469841),
    6: (0.2016895115, 0.1500106918, 0.4768739719, 0.2753324308, 0.3116516166, 0.6573005343),
}
# The function is a sum over coordinates: those of d dimensions are the first d.
_MICHALEWICZ = (
    *(2.2029055202, 1.5707963268, 1.2849915720, 1.9230584701, 1.7204697715),
    *(1.5707963268, 1.4544139703, 1.7560865210, 1.6557174166, 1.5707963268),
)

FUNCTIONS: dict[str, Function] = {
    "ackley": _free(synthetic.Ackley),
    "ackleymixed": dataclasses.replace(_free(synthetic.AckleyMixed, 4), booleans=lambda d: d - 3),
    "beale": _fixed(synthetic.Beale),
    "branin": _fixed(synthetic.Branin, math.pi, 2.275),
    "bukin": _fixed(synthetic.Bukin),
    "cosine8": _fixed(synthetic.Cosine8),
    "dixonprice": _free(synthetic.DixonPrice, 2),
    "dropwave": _fixed(synthetic.DropWave),
    "eggholder": _fixed(synthetic.EggHolder, 512.0, 404.2318051138),
    "griewank": _free(synthetic.Griewank),
    "hartmann": dataclasses.replace(
        _free(synthetic.Hartmann),
        allowed="3, 4 or 6",
        fits=lambda d: d in (3, 4, 6),
        optimiser=_HARTMANN.get,
    ),
    "holdertable": _fixed(synthetic.HolderTable, 8.0550234757, 9.6645900192),
    "labs": dataclasses.replace(
        _free(synthetic.Labs, 2),
        optimiser=lambda d: _optimisers(synthetic.Labs(dim=d)),
        booleans=lambda d: d,
    ),
    "levy": _free(synthetic.Levy),
    "michalewicz": dataclasses.replace(
        _free(synthetic.Michalewicz),
        optimiser=lambda d: _MICHALEWICZ[:d] if d in (2, 5, 10) else None,
    ),
    "powell": dataclasses.replace(
        _free(synthetic.Powell, 4),
        allowed=f"multiples of 4 up to {MOST_DIMENSIONS}",
        fits=lambda d: d % 4 == 0 and 4 <= d <= MOST_DIMENSIONS,
    ),
    "rastrigin": _free(synthetic.Rastrigin),
    "rosenbrock": _free(synthetic.Rosenbrock, 2),
    "shekel": _fixed(synthetic.Shekel, 4.0007468683, 3.9995094801, 4.0007468683, 3.9995094801),
    "sixhumpcamel": _fixed(synthetic.SixHumpCamel, 0.0898420131, -0.7126564030),
    "styblinskitang": dataclasses.replace(
        _free(synthetic.StyblinskiTang), optimiser=lambda d: (-2.9035340278,) * d
    ),
    "threehumpcamel": _fixed(synthetic.ThreeHumpCamel),
    # With fewer than five way points every path found meets an obstacle: the optimum is not 0.
    "trajectoryplanning": dataclasses.replace(
        _free(synthetic.TrajectoryPlanning, 10),
        allowed=f"even numbers from 10 to {MOST_DIMENSIONS}",
        fits=lambda d: d % 2 == 0 and 10 <= d <= MOST_DIMENSIONS,
    ),
}


class Evaluation:
    """The objective: the true value at a point, without noise.

    Args:
        function: BoTorch's function.
        names: the parameters in the order of its coordinates.
    """

    def __init__(self, function: SyntheticTestFunction, names: Sequence[str]) -> None:
        self._function = function
        self._names = tuple(names)

    def __call__(self, parameters: Parameters, *, seed: int) -> float:
        """The value at x0, x1, ...; the seed is not used."""
        return value_at(self._function, [float(parameters[name]) for name in self._names])


def value_at(function: SyntheticTestFunction, point: Sequence[float]) -> float:
    """The true value of a BoTorch function at one point."""
    with torch.no_grad():
        X = torch.tensor([list(point)], dtype=torch.float64, device="cpu")
        return float(function.evaluate_true(X))


def problem(name: str, options: Options) -> Problem:
    """The problem of a name such as `branin` or `ackley10`.

    Raises:
        UsageError: an unknown function, or a dimension that it does not have.
    """
    family, d = _parse(name)
    function = FUNCTIONS[family].make(d)
    booleans = FUNCTIONS[family].booleans(d)
    bounds: list[list[float]] = torch.as_tensor(function.bounds).T.tolist()
    parameters: dict[str, Parameter] = {
        f"x{i}": boolean() if i < booleans else real(low, high)
        for i, (low, high) in enumerate(bounds)
    }
    maximised = not function.is_minimization_problem
    return Problem(
        name=name,
        space=Space(parameters),
        goal=Goal("value", "maximize" if maximised else "minimize"),
        evaluate=Evaluation(function, list(parameters)),
        optimum=_optimum(function, FUNCTIONS[family].optimiser(d)),
    )


def _parse(name: str) -> tuple[str, int]:
    if name in FUNCTIONS and not FUNCTIONS[name].allowed:
        return name, 0
    found = re.fullmatch(r"([a-z]+)([0-9]*)", name)
    family, digits = found.groups() if found else (name, "")
    if family not in FUNCTIONS or not FUNCTIONS[family].allowed:
        known = [key + ("<d>" if f.allowed else "") for key, f in FUNCTIONS.items()]
        raise UsageError(unknown("test function", name, known))
    if digits.startswith("0") or len(digits) > 6 or not FUNCTIONS[family].fits(int(digits or 0)):
        raise UsageError(
            f"{family}<d> expected a dimension d of {FUNCTIONS[family].allowed}, "
            f"got {digits or 'none'}; write such as {family}{_example(family)}"
        )
    return family, int(digits)


def _example(family: str) -> int:
    return next(d for d in (6, 8, 10, 30) if FUNCTIONS[family].fits(d))


def _optimum(function: SyntheticTestFunction, optimiser: Sequence[float] | None) -> float | None:
    if optimiser is not None:
        return value_at(function, optimiser)
    try:
        return float(function.optimal_value)
    except NotImplementedError:
        return None


def _optimisers(function: SyntheticTestFunction) -> Sequence[float] | None:
    known = function._optimizers
    return None if known is None else known[0]
