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
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import torch
from botorch.test_functions import synthetic
from botorch.test_functions.base import BaseTestProblem, ConstrainedBaseTestProblem
from botorch.test_functions.synthetic import SyntheticTestFunction

from bo.contract import Problem
from bo.goals import Goal, OutcomeConstraint
from bo.space import Parameter, Parameters, Space, boolean, real
from surrogates.errors import UsageError
from surrogates.options import options, unknown

MOST_DIMENSIONS = 1000

Kind = TypeVar("Kind", bound=BaseTestProblem)


@options
class Options:
    """The functions have no options."""


@dataclasses.dataclass(frozen=True)
class Function(Generic[Kind]):
    """A function, or a family of functions with free dimension.

    Attributes:
        make: the BoTorch function of a dimension (ignored where that is not free).
        allowed: the dimensions in words; "" where the dimension is not part of the name.
        fits: whether a dimension is allowed.
        optimiser: coordinates of full precision where BoTorch's optimum is rounded, by dimension.
        booleans: how many of d parameters are booleans, the first ones.
    """

    make: Callable[[int], Kind]
    allowed: str = ""
    fits: Callable[[int], bool] = lambda d: False
    optimiser: Callable[[int], Sequence[float] | None] = lambda d: None
    booleans: Callable[[int], int] = lambda d: 0


def free(kind: type[Kind], least: int = 1) -> Function[Kind]:
    """A family with a free dimension of at least `least`."""
    return Function(
        lambda d: kind(dim=d),  # pyright: ignore[reportCallIssue]
        f"{least} to {MOST_DIMENSIONS}",
        lambda d: least <= d <= MOST_DIMENSIONS,
    )


def fixed(kind: type[Kind], *optimiser: float) -> Function[Kind]:
    """One function."""
    return Function(lambda d: kind(), optimiser=lambda d: optimiser or None)


HARTMANN = {
    3: (0.1145888780, 0.5556488939, 0.8525469841),
    6: (0.2016895115, 0.1500106918, 0.4768739719, 0.2753324308, 0.3116516166, 0.6573005343),
}
# The function is a sum over coordinates: those of d dimensions are the first d.
_MICHALEWICZ = (
    *(2.2029055202, 1.5707963268, 1.2849915720, 1.9230584701, 1.7204697715),
    *(1.5707963268, 1.4544139703, 1.7560865210, 1.6557174166, 1.5707963268),
)

FUNCTIONS: dict[str, Function[SyntheticTestFunction]] = {
    "ackley": free(synthetic.Ackley),
    "ackleymixed": dataclasses.replace(free(synthetic.AckleyMixed, 4), booleans=lambda d: d - 3),
    "beale": fixed(synthetic.Beale),
    "branin": fixed(synthetic.Branin, math.pi, 2.275),
    "bukin": fixed(synthetic.Bukin),
    "cosine8": fixed(synthetic.Cosine8),
    "dixonprice": free(synthetic.DixonPrice, 2),
    "dropwave": fixed(synthetic.DropWave),
    "eggholder": fixed(synthetic.EggHolder, 512.0, 404.2318051138),
    "griewank": free(synthetic.Griewank),
    "hartmann": dataclasses.replace(
        free(synthetic.Hartmann),
        allowed="3, 4 or 6",
        fits=lambda d: d in (3, 4, 6),
        optimiser=HARTMANN.get,
    ),
    "holdertable": fixed(synthetic.HolderTable, 8.0550234757, 9.6645900192),
    "labs": dataclasses.replace(
        free(synthetic.Labs, 2),
        optimiser=lambda d: _optimisers(synthetic.Labs(dim=d)),
        booleans=lambda d: d,
    ),
    "levy": free(synthetic.Levy),
    "michalewicz": dataclasses.replace(
        free(synthetic.Michalewicz),
        optimiser=lambda d: _MICHALEWICZ[:d] if d in (2, 5, 10) else None,
    ),
    "powell": dataclasses.replace(
        free(synthetic.Powell, 4),
        allowed=f"multiples of 4 up to {MOST_DIMENSIONS}",
        fits=lambda d: d % 4 == 0 and 4 <= d <= MOST_DIMENSIONS,
    ),
    "rastrigin": free(synthetic.Rastrigin),
    "rosenbrock": free(synthetic.Rosenbrock, 2),
    "shekel": fixed(synthetic.Shekel, 4.0007468683, 3.9995094801, 4.0007468683, 3.9995094801),
    "sixhumpcamel": fixed(synthetic.SixHumpCamel, 0.0898420131, -0.7126564030),
    "styblinskitang": dataclasses.replace(
        free(synthetic.StyblinskiTang), optimiser=lambda d: (-2.9035340278,) * d
    ),
    "threehumpcamel": fixed(synthetic.ThreeHumpCamel),
    # With fewer than five way points every path found meets an obstacle: the optimum is not 0.
    "trajectoryplanning": dataclasses.replace(
        free(synthetic.TrajectoryPlanning, 10),
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

    def __init__(self, function: BaseTestProblem, names: Sequence[str]) -> None:
        self._function = function
        self._names = tuple(names)

    def __call__(self, parameters: Parameters, *, seed: int) -> float:
        """The value at x0, x1, ...; the seed is not used."""
        return value_at(self._function, [float(parameters[name]) for name in self._names])


class Outcomes:
    """The objective of several outcomes, without noise: goals, then slacks c1, c2, ...

    Args:
        function: BoTorch's function.
        names: the parameters in the order of its coordinates.
        goals: the names of its goals.
    """

    def __init__(
        self, function: BaseTestProblem, names: Sequence[str], goals: Sequence[str]
    ) -> None:
        self._function = function
        self._names = tuple(names)
        self._goals = tuple(goals)

    def __call__(self, parameters: Parameters, *, seed: int) -> dict[str, float]:
        """All outcomes at x0, x1, ...; the seed is not used."""
        point = [float(parameters[name]) for name in self._names]
        with torch.no_grad():
            X = torch.tensor([point], dtype=torch.float64, device="cpu")
            values = self._function.evaluate_true(X).reshape(-1).tolist()
            slacks: list[float] = []
            if isinstance(self._function, ConstrainedBaseTestProblem):
                slacks = self._function.evaluate_slack_true(X).reshape(-1).tolist()
        told = dict(zip(self._goals, values, strict=True))
        return told | {f"c{i + 1}": slack for i, slack in enumerate(slacks)}


def limits(function: BaseTestProblem) -> tuple[OutcomeConstraint, ...]:
    """c1 >= 0, c2 >= 0, ...: the constraints of a BoTorch function, whose slacks are so signed."""
    if not isinstance(function, ConstrainedBaseTestProblem):
        return ()
    return tuple(OutcomeConstraint(f"c{i + 1} >= 0") for i in range(function.num_constraints))


def value_at(function: BaseTestProblem, point: Sequence[float]) -> float:
    """The true value of a BoTorch function at one point."""
    with torch.no_grad():
        X = torch.tensor([list(point)], dtype=torch.float64, device="cpu")
        return float(function.evaluate_true(X))


def problem(name: str, options: Options) -> Problem:
    """The problem of a name such as `branin` or `ackley10`.

    Raises:
        UsageError: an unknown function, or a dimension that it does not have.
    """
    found, d = family(name, FUNCTIONS)
    function = found.make(d)
    parameters = parameters_of(function, booleans=found.booleans(d))
    maximised = not function.is_minimization_problem
    return Problem(
        name=name,
        space=Space(parameters),
        goal=Goal("value", "maximize" if maximised else "minimize"),
        evaluate=Evaluation(function, list(parameters)),
        optimum=_optimum(function, found.optimiser(d)),
    )


def parameters_of(function: BaseTestProblem, *, booleans: int = 0) -> dict[str, Parameter]:
    """x0, x1, ...: reals within the bounds of a BoTorch function, after `booleans` booleans."""
    bounds: list[list[float]] = torch.as_tensor(function.bounds).T.tolist()
    return {
        f"x{i}": boolean() if i < booleans else real(low, high)
        for i, (low, high) in enumerate(bounds)
    }


def family(name: str, functions: Mapping[str, Function[Kind]]) -> tuple[Function[Kind], int]:
    """The function of a name such as `branin` or `ackley10`, and its dimension (0: not free).

    Raises:
        UsageError: an unknown function, or a dimension that it does not have.
    """
    if name in functions and not functions[name].allowed:
        return functions[name], 0
    found = re.fullmatch(r"(.*?)([0-9]*)", name)
    key, digits = found.groups() if found else (name, "")
    if key not in functions or not functions[key].allowed:
        known = [key + ("<d>" if f.allowed else "") for key, f in functions.items()]
        raise UsageError(unknown("test function", name, known))
    fits = functions[key].fits
    if digits.startswith("0") or len(digits) > 6 or not fits(int(digits or 0)):
        example = next(d for d in (6, 8, 10, 30) if fits(d))
        raise UsageError(
            f"{key}<d> expected a dimension d of {functions[key].allowed}, "
            f"got {digits or 'none'}; write such as {key}{example}"
        )
    return functions[key], int(digits)


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
