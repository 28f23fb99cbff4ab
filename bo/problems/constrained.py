"""Test functions with outcome constraints, as in BoTorch (`botorch.test_functions.synthetic`).

Formulas and bounds are BoTorch's, evaluated in float64. The goal is to minimise `value`; the
outcomes c1, c2, ... are BoTorch's slacks, at least 0 where a constraint holds, so that all problems
read `minimize value subject to c1 >= 0, ...`. The parameters are x0, x1, ...

Gramacy et al. (2016), "Modeling an Augmented Lagrangian for Blackbox Constrained Optimization";
Letham et al. (2019), "Constrained Bayesian Optimization with Noisy Experiments" (Hartmann);
Coello Coello & Mezura Montes (2002), "Constraint-handling in Genetic Algorithms Through the Use of
Dominance-based Tournament Selection" (vessel, beam); Hedar & Fukushima (2006), "Derivative-Free
Filter Simulated Annealing Method for Constrained Continuous Global Optimization" (string); Lemonge
et al. (2010), "Constrained Optimization Problems in Mechanical Engineering Design Using a
Real-Coded Steady-State Genetic Algorithm" (reducer); Keane (1994), "Experiences with Optimizers in
Structural Design" (bump).

The optimum is the value at the best feasible point that many local searches found, all from
BoTorch's formulas. It is not always the published one that BoTorch tells:

- `pressurevessel`: thicknesses are rounded in the goal but not in the constraints, so that one
  gains by half a step: 5633.95 instead of 6059.95.
- `weldedbeamso`: BoTorch's buckling load is 36 times that of the paper: 1.58708 instead of 1.72823.
- `constrainedhartmann3`, `constrainedhartmannsmooth3`: the optimum without the constraint is not
  feasible: -3.83852 instead of -3.86278. That of dimension 4 is unknown.
- `tensioncompressionstring`: 0.0126652 instead of 0.012681.
- `keanebump<d>`: known for two dimensions; of others only the best values found so far are.
"""

import dataclasses

from botorch.test_functions import synthetic
from botorch.test_functions.synthetic import SyntheticTestFunction

from bo.contract import Problem
from bo.goals import Goal, Goals
from bo.problems.synthetic import (
    HARTMANN,
    Function,
    Outcomes,
    family,
    fixed,
    free,
    limits,
    parameters_of,
    value_at,
)
from bo.space import Space
from surrogates.options import options


@options
class Options:
    """The functions have no options."""


_HARTMANN = {
    3: (0.0427308289888076, 0.5373853013202591, 0.8422535925582166),
    6: HARTMANN[6],
}
_KEANE = {2: (1.6008604372831343, 0.4684980542550268)}


def _hartmann(kind: type[SyntheticTestFunction]) -> Function[SyntheticTestFunction]:
    return dataclasses.replace(
        free(kind), allowed="3, 4 or 6", fits=lambda d: d in (3, 4, 6), optimiser=_HARTMANN.get
    )


FUNCTIONS: dict[str, Function[SyntheticTestFunction]] = {
    "constrainedgramacy": fixed(
        synthetic.ConstrainedGramacy, 0.19512268347279474, 0.40466536853813095
    ),
    "constrainedhartmann": _hartmann(synthetic.ConstrainedHartmann),
    "constrainedhartmannsmooth": _hartmann(synthetic.ConstrainedHartmannSmooth),
    "keanebump": dataclasses.replace(free(synthetic.KeaneBumpFunction, 2), optimiser=_KEANE.get),
    "pressurevessel": fixed(
        synthetic.PressureVessel, 0.78125, 0.40625, 40.47927461139856, 197.78934758997806
    ),
    "speedreducer": fixed(
        synthetic.SpeedReducer,
        *(3.5, 0.7, 17.0, 7.3, 7.8, 3.350214666099798, 5.286683229763203),
    ),
    "tensioncompressionstring": fixed(
        synthetic.TensionCompressionString,
        *(0.05168906184927437, 0.356717758239678, 11.288964670519745),
    ),
    "weldedbeamso": fixed(
        synthetic.WeldedBeamSO,
        *(0.1679999990000055, 4.067084804388736, 10.0, 0.16800000000000545),
    ),
}


def problem(name: str, options: Options) -> Problem:
    """The problem of a name such as `pressurevessel` or `keanebump10`.

    Raises:
        UsageError: an unknown function, or a dimension that it does not have.
    """
    found, d = family(name, FUNCTIONS)
    function = found.make(d)
    parameters = parameters_of(function)
    optimiser = found.optimiser(d)
    return Problem(
        name=name,
        space=Space(parameters),
        goal=Goals((Goal("value", "minimize"),), limits(function)),
        evaluate=Outcomes(function, list(parameters), ["value"]),
        optimum=None if optimiser is None else value_at(function, optimiser),
    )
