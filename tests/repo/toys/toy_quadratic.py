"""A bowl: the squared distance from (0.3, ..., 0.3), least there and 0."""

from bo.contract import Problem
from bo.goals import Goal
from bo.space import Parameters, Space, real
from surrogates.options import option, options


@options
class Options:
    """Choices of the problem."""

    d: int = option(default=2, help="number of parameters", low=1, high=100)


def evaluate(parameters: Parameters, *, seed: int) -> float:
    """The outcome at a point; there is no noise, so the seed is not used."""
    return sum((float(value) - 0.3) ** 2 for value in parameters.values())


def problem(name: str, options: Options) -> Problem:
    """The factory of the catalog."""
    space = Space({f"x{i}": real(-1.0, 1.0) for i in range(options.d)})
    return Problem(name, space, Goal("value", "minimize"), evaluate, optimum=0.0)
