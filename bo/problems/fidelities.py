"""Multi-fidelity test functions, as in BoTorch (`botorch.test_functions.multi_fidelity`).

Formulas, bounds and reference points are BoTorch's, evaluated in float64. All goals are minimised:
`value`, or f1 and f2. The parameters are x0, x1, ...; the last one (of `augmentedrosenbrock<d>` the
last two) is the fidelity: for now a parameter like any other, or held at its full value
(`fidelity=full`). A numbered fidelity is a choice: between its numbers BoTorch's functions are 0.

Chen et al. (2024), "A Latent Variable Approach for Non-hierarchical Multi-fidelity Adaptive
Sampling" (borehole, wing); Irshad, Karsch & Doepp (2021), "Expected Hypervolume Improvement for
Simultaneous Multi-objective and Multi-fidelity Optimization" (MOMF); Wu et al. (2019), "Practical
Multi-fidelity Bayesian Optimization for Hyperparameter Tuning" (the augmented ones).

The optimum is that at full fidelity, evaluated at optimisers of full precision. Where a lower
fidelity goes beyond it (`borehole`, `wingweight`), it is told only at full fidelity: a best value
that comes from a cheap approximation has no regret. The hypervolumes that BoTorch tells for the
MOMF functions are left out: at full fidelity that of `momfpark` is beaten (0.0890 against 0.0855)
and that of `momfbranincurrin` is out of reach (0.503 on a grid of 2,500 x 2,500 against 0.524).
"""

import math
from typing import NamedTuple

from botorch.test_functions import multi_fidelity, multi_objective_multi_fidelity as several
from botorch.test_functions.base import BaseTestProblem, MultiObjectiveTestProblem

from bo.contract import Evaluate, Problem
from bo.goals import Goal, Goals
from bo.problems.several_goals import goals_of
from bo.problems.synthetic import (
    HARTMANN,
    MOST_DIMENSIONS,
    Evaluation,
    Function,
    Outcomes,
    family,
    fixed,
    parameters_of,
    value_at,
)
from bo.space import Parameter, Space, choice, fixed as held_at
from surrogates.options import option, options


@options
class Options:
    """What becomes of the fidelity."""

    fidelity: str = option(
        default="varies",
        help="varies: a parameter like any other; full: held at its full value",
        choices=("varies", "full"),
    )


class Fidelity(NamedTuple):
    """What the fidelity of a function is.

    Attributes:
        full: its full value.
        least: the value of the lowest one.
        levels: how many there are, numbered from 0; 0: any between the two.
        parameters: how many of the last parameters are fidelities.
        exceeded: whether lower fidelities go beyond the optimum at full fidelity.
    """

    full: float = 1.0
    least: float = 0.0
    levels: int = 0
    parameters: int = 1
    exceeded: bool = False


FUNCTIONS: dict[str, Function[BaseTestProblem]] = {
    "augmentedbranin": fixed(multi_fidelity.AugmentedBranin, math.pi, 2.275, 1.0),
    "augmentedhartmann": fixed(multi_fidelity.AugmentedHartmann, *HARTMANN[6], 1.0),
    # With three parameters, BoTorch's sum has no terms.
    "augmentedrosenbrock": Function(
        lambda d: multi_fidelity.AugmentedRosenbrock(dim=d),
        f"4 to {MOST_DIMENSIONS}",
        lambda d: 4 <= d <= MOST_DIMENSIONS,
        lambda d: (1.0,) * d,
    ),
    "borehole": fixed(
        multi_fidelity.BoreholeMultiFidelity,
        *(0.05, 10000.0, 100.0, 10.0, 990.0, 820.0, 2000.0, 6000.0, 0.0),
    ),
    "momfbranincurrin": fixed(several.MOMFBraninCurrin),
    "momfpark": fixed(several.MOMFPark),
    "wingweight": fixed(
        multi_fidelity.WingWeightMultiFidelity,
        *(150.0, 220.0, 6.0, 0.0, 16.0, 0.5, 0.18, 2.5, 1700.0, 0.025, 0.0),
    ),
}
_FIDELITIES = {
    "augmentedrosenbrock": Fidelity(parameters=2),
    "borehole": Fidelity(full=0, least=4, levels=5, exceeded=True),
    "wingweight": Fidelity(full=0, least=3, levels=4, exceeded=True),
}


def problem(name: str, options: Options) -> Problem:
    """The problem of a name such as `augmentedbranin` or `augmentedrosenbrock4`.

    Raises:
        UsageError: an unknown function, or a dimension that it does not have.
    """
    found, d = family(name, FUNCTIONS)
    function = found.make(d)
    fidelity = _FIDELITIES.get(name.rstrip("0123456789"), Fidelity())
    parameters = parameters_of(function)
    names = list(parameters)
    last = names[-fidelity.parameters :]
    is_full = options.fidelity == "full"
    for each in last:
        parameters[each] = _parameter(parameters[each], fidelity, is_full=is_full)
    if isinstance(function, MultiObjectiveTestProblem):
        goal: Goal | Goals = goals_of(function)
        told = [each.name for each in goal.goals]
        evaluate: Evaluate = Outcomes(function, names, told)
    else:
        goal = Goal("value", "minimize")
        evaluate = Evaluation(function, names)
    optimiser = found.optimiser(d)
    if fidelity.exceeded and not is_full:
        optimiser = None
    return Problem(
        name=name,
        space=Space(parameters),
        goal=goal,
        evaluate=evaluate,
        optimum=None if optimiser is None else value_at(function, optimiser),
        note=_note(last, fidelity, is_full=is_full),
    )


def _parameter(given: Parameter, fidelity: Fidelity, *, is_full: bool) -> Parameter:
    if fidelity.levels:
        return held_at(int(fidelity.full)) if is_full else choice(*range(fidelity.levels))
    return held_at(fidelity.full) if is_full else given


def _note(names: list[str], fidelity: Fidelity, *, is_full: bool) -> str:
    which = f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} the fidelity"
    if is_full:
        return f"{which}, held at {fidelity.full:g} (full)"
    ends = f"{fidelity.full:g} is full, {fidelity.least:g} the lowest"
    return f"{which} ({ends}), for now a parameter like any other; fidelity=full holds it"
