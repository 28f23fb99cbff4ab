"""`coco/bbob-f<k>-d<d>-i<i>` and `coco/bbob-mixint-...`: the suites of the COCO platform.

Hansen, Auger, Ros, Mersmann, Tusar & Brockhoff (2021), "COCO: a platform for comparing continuous
optimizers in a black-box setting", through its package `coco-experiment`; Tusar, Brockhoff & Hansen
(2019) for the mixed-integer suite, whose first four fifths of the parameters are integers of 2, 4,
8 and 16 values. k is the function (1 to 24), d the dimension, i the instance: another shift and
rotation of the same function.

The package does not tell the best value, so no regret is shown. It does tell whether a value is
within 1e-8 of it, which stands beside the goal as `final_target_hit` (1 or 0). The noisy suite is
left out: its noise follows the number of evaluations so far, not a seed.
"""

import importlib
import re
from typing import Any

from bo.contract import Problem
from bo.goals import Goal
from bo.space import Parameter, Parameters, Space, integer, real
from surrogates.errors import NotInstalledError, UsageError
from surrogates.options import options

DIMENSIONS = {"bbob": (2, 3, 5, 10, 20, 40), "bbob-mixint": (5, 10, 20, 40, 80, 160)}
FUNCTIONS = 24
MOST_INSTANCES = 1000


@options
class Options:
    """The functions have no options."""


class Evaluation:
    """The objective: a function of a suite, made anew for each point, since it counts them.

    Args:
        suite: its name.
        function: number from 1.
        dimension: of its domain.
        instance: number from 1.
    """

    def __init__(self, suite: str, function: int, dimension: int, instance: int) -> None:
        self._named = (suite, function, dimension, instance)

    def __call__(self, parameters: Parameters, *, seed: int) -> dict[str, float]:
        """The value at x0, x1, ...; the seed is not used."""
        made, _suite = _load(*self._named)
        point = [float(parameters[f"x{i}"]) for i in range(len(parameters))]
        value = float(made(point))
        return {"value": value, "final_target_hit": float(made.final_target_hit)}


def problem(name: str, options: Options) -> Problem:
    """The problem of a name such as `coco/bbob-f8-d5-i1`.

    Raises:
        UsageError: a number that the suite does not have.
        NotInstalledError: without the package coco-experiment.
    """
    suite, function, dimension, instance = _parse(name)
    made, _suite = _load(suite, function, dimension, instance)
    bounds = zip(made.lower_bounds.tolist(), made.upper_bounds.tolist(), strict=True)
    parameters: dict[str, Parameter] = {
        f"x{i}": integer(int(low), int(high))
        if i < made.number_of_integer_variables
        else real(low, high)
        for i, (low, high) in enumerate(bounds)
    }
    return Problem(
        name=name,
        space=Space(parameters),
        goal=Goal("value", "minimize"),
        evaluate=Evaluation(suite, function, dimension, instance),
    )


def _parse(name: str) -> tuple[str, int, int, int]:
    found = re.fullmatch(r"coco/([a-z-]+)-f([0-9]{1,6})-d([0-9]{1,6})-i([0-9]{1,6})", name)
    suite = found.group(1) if found else ""
    if found is None or suite not in DIMENSIONS:
        raise UsageError(
            f"expected coco/SUITE-f<k>-d<d>-i<i> with SUITE one of {', '.join(DIMENSIONS)}, "
            f"got {name!r}; write such as coco/bbob-f8-d5-i1"
        )
    function, dimension, instance = (int(number) for number in found.groups()[1:])
    if not 1 <= function <= FUNCTIONS:
        raise UsageError(f"{name} expected a function of 1 to {FUNCTIONS}, got {function}")
    if dimension not in DIMENSIONS[suite]:
        known = ", ".join(map(str, DIMENSIONS[suite]))
        raise UsageError(f"{name} expected a dimension of {known}, got {dimension}")
    if not 1 <= instance <= MOST_INSTANCES:
        raise UsageError(f"{name} expected an instance of 1 to {MOST_INSTANCES}, got {instance}")
    return suite, function, dimension, instance


def _load(suite: str, function: int, dimension: int, instance: int) -> tuple[Any, Any]:
    """A function, and the suite that must outlive it."""
    try:
        cocoex = importlib.import_module("cocoex")
    except ModuleNotFoundError as error:
        if error.name != "cocoex":
            raise
        raise NotInstalledError(
            f"coco/{suite} expected the package coco-experiment, got none; "
            'do pip install "wald[coco]"'
        ) from None
    only = f"dimensions:{dimension} function_indices:{function}"
    loaded = cocoex.Suite(suite, f"instances:{instance}", only)
    return loaded.get_problem_by_function_dimension_instance(function, dimension, instance), loaded
