"""The functions of "Greed is Good" that BoTorch lacks, most of them on a log scale.

De Ath, Everson, Rahat & Fieldsend (2021), "Greed is Good: Exploration and Exploitation Trade-offs
in Bayesian Optimisation", ACM Transactions on Evolutionary Learning and Optimization. All are
minimised; the goal is `value`, the parameters are x0, x1, ... Domains, constants and what is added
before a logarithm are those of the authors' code (github.com/georgedeath/egreedy):

- `braninforrester`: Branin + 5 x0 on Branin's domain, so that one minimum is left. Forrester,
  Sobester & Keane (2008), "Engineering Design via Surrogate Modelling".
- `cosines`: sum_i (u_i^2 - 0.3 cos(3 pi u_i)) - 1, u = 1.6 x - 0.5, on [0, 5]^2. Gonzalez,
  Osborne & Lawrence (2016), "GLASSES".
- `goldsteinprice`: on [-2, 2]^2. Goldstein & Price (1971), "On Descent from Local Minima".
- `wangfreitas`: a well of depth 2 and width 0.1 at 0.1, and one of depth 4 and width 0.01 at 0.9,
  on [0, 1]. Wang & de Freitas (2014), arXiv:1406.7758.
- `loggoldsteinprice`: log f.
- `loggsobol<d>`: sum_i log((|4 x_i - 2| + 1) / 2) on [-5, 5]^d. Gonzalez, Dai, Hennig & Lawrence
  (2016), "Batch Bayesian Optimization via Local Penalization".
- `loghartmann6`: -log(-f).
- `logrosenbrock<d>`: log(f + 0.5) on [-5, 10]^d.
- `logsixhumpcamel`: log(f + 1.0317), which leaves 7.2e-5 at the optimum.
- `logstyblinskitang<d>`: log(f + 40 d) on [-5, 5]^d; d = 10 in the paper, and so for the two above.

The other functions of the paper are `branin`, `sixhumpcamel`, `hartmann6`, `rosenbrock10` and
`styblinskitang10`. Its robot that pushes (push4, push8) is a simulation, no formula, and left out.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bo.contract import Problem
from bo.goals import Goal
from bo.space import Parameters, Space, real
from surrogates.errors import UsageError
from surrogates.options import options, unknown

MOST_DIMENSIONS = 1000

Point = Sequence[float]


@options
class Options:
    """The functions have no options."""


class Function(NamedTuple):
    """A function, or a family of functions with free dimension.

    Attributes:
        value: at a point.
        bounds: low and high of every coordinate; of all alike where the dimension is free.
        optimiser: a point with the least value, to full precision; likewise.
        least: the smallest dimension; 0 where the dimension is not free.
    """

    value: Callable[[Point], float]
    bounds: tuple[tuple[float, float], ...]
    optimiser: tuple[float, ...]
    least: int = 0


def _branin_forrester(x: Point) -> float:
    bend = x[1] - 5.1 / (4 * math.pi**2) * x[0] ** 2 + 5 / math.pi * x[0] - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x[0]) + 10 + 5 * x[0]


def _cosines(x: Point) -> float:
    u = [1.6 * coordinate - 0.5 for coordinate in x]
    return sum(v**2 - 0.3 * math.cos(3 * math.pi * v) for v in u) - 1


def _goldstein_price(x: Point) -> float:
    a, b = x
    one = 19 - 14 * a + 3 * a**2 - 14 * b + 6 * a * b + 3 * b**2
    two = 18 - 32 * a + 12 * a**2 + 48 * b - 36 * a * b + 27 * b**2
    return (1 + (a + b + 1) ** 2 * one) * (30 + (2 * a - 3 * b) ** 2 * two)


def _wang_freitas(x: Point) -> float:
    wide = 2 * math.exp(-0.5 * ((x[0] - 0.1) / 0.1) ** 2)
    return -wide - 4 * math.exp(-0.5 * ((x[0] - 0.9) / 0.01) ** 2)


def _log_goldstein_price(x: Point) -> float:
    return math.log(_goldstein_price(x))


def _log_gsobol(x: Point) -> float:
    return sum(math.log((abs(4 * coordinate - 2) + 1) / 2) for coordinate in x)


# Of Hartmann's four wells in six dimensions: depth, steepness, place.
_WELLS = (
    (1.0, (10, 3, 17, 3.5, 1.7, 8), (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886)),
    (1.2, (0.05, 10, 17, 0.1, 8, 14), (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991)),
    (3.0, (3, 3.5, 1.7, 10, 17, 8), (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650)),
    (3.2, (17, 8, 0.05, 10, 0.1, 14), (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381)),
)


def _log_hartmann(x: Point) -> float:
    depth = 0.0
    for deep, steep, place in _WELLS:
        away = sum(s * (a - p) ** 2 for s, a, p in zip(steep, x, place, strict=True))
        depth += deep * math.exp(-away)
    return -math.log(depth)


def _log_rosenbrock(x: Point) -> float:
    value = sum(
        100 * (after - before**2) ** 2 + (before - 1) ** 2
        for before, after in zip(x[:-1], x[1:], strict=True)
    )
    return math.log(value + 0.5)


def _log_six_hump_camel(x: Point) -> float:
    a, b = x
    value = (4 - 2.1 * a**2 + a**4 / 3) * a**2 + a * b + (-4 + 4 * b**2) * b**2
    return math.log(value + 1.0316 + 1e-4)


def _log_styblinski_tang(x: Point) -> float:
    value = sum(coordinate**4 - 16 * coordinate**2 + 5 * coordinate for coordinate in x) / 2
    return math.log(value + 40 * len(x))


FUNCTIONS: dict[str, Function] = {
    "braninforrester": Function(
        _branin_forrester, ((-5, 10), (0, 15)), (-3.6892852746, 13.6299877534)
    ),
    "cosines": Function(_cosines, ((0, 5), (0, 5)), (0.3125, 0.3125)),
    "goldsteinprice": Function(_goldstein_price, ((-2, 2), (-2, 2)), (0, -1)),
    "wangfreitas": Function(_wang_freitas, ((0, 1),), (0.9,)),
    "loggoldsteinprice": Function(_log_goldstein_price, ((-2, 2), (-2, 2)), (0, -1)),
    "loggsobol": Function(_log_gsobol, ((-5, 5),), (0.5,), least=1),
    "loghartmann6": Function(
        _log_hartmann,
        ((0, 1),) * 6,
        (0.2016895115, 0.1500106918, 0.4768739719, 0.2753324308, 0.3116516166, 0.6573005343),
    ),
    "logrosenbrock": Function(_log_rosenbrock, ((-5, 10),), (1,), least=2),
    "logsixhumpcamel": Function(
        _log_six_hump_camel, ((-3, 3), (-2, 2)), (0.0898420131, -0.7126564030)
    ),
    "logstyblinskitang": Function(_log_styblinski_tang, ((-5, 5),), (-2.9035340278,), least=1),
}


class Evaluation:
    """The objective: the value at a point, without noise.

    Args:
        family: one of `FUNCTIONS`.
    """

    def __init__(self, family: str) -> None:
        self._family = family

    def __call__(self, parameters: Parameters, *, seed: int) -> float:
        """The value at x0, x1, ...; the seed is not used."""
        point = [float(parameters[f"x{i}"]) for i in range(len(parameters))]
        return float(FUNCTIONS[self._family].value(point))


def problem(name: str, options: Options) -> Problem:
    """The problem of a name such as `cosines` or `logrosenbrock10`.

    Raises:
        UsageError: an unknown function, or a dimension that it does not have.
    """
    family, d = _parse(name)
    function = FUNCTIONS[family]
    times = d if function.least else 1
    bounds = function.bounds * times
    return Problem(
        name=name,
        space=Space({f"x{i}": real(low, high) for i, (low, high) in enumerate(bounds)}),
        goal=Goal("value", "minimize"),
        evaluate=Evaluation(family),
        optimum=float(function.value([float(x) for x in function.optimiser * times])),
    )


def _parse(name: str) -> tuple[str, int]:
    if name in FUNCTIONS and not FUNCTIONS[name].least:
        return name, 0
    found = re.fullmatch(r"([a-z]+)([0-9]*)", name)
    family, digits = found.groups() if found else (name, "")
    if family not in FUNCTIONS or not FUNCTIONS[family].least:
        known = [key + ("<d>" if f.least else "") for key, f in FUNCTIONS.items()]
        raise UsageError(unknown("test function", name, known))
    least = FUNCTIONS[family].least
    fits = not digits.startswith("0") and len(digits) <= 6
    if not fits or not least <= int(digits or 0) <= MOST_DIMENSIONS:
        raise UsageError(
            f"{family}<d> expected a dimension d of {least} to {MOST_DIMENSIONS}, "
            f"got {digits or 'none'}; write such as {family}10"
        )
    return family, int(digits)
