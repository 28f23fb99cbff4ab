"""Test functions with several goals, as in BoTorch (`botorch.test_functions.multi_objective`).

Formulas, bounds and reference points are BoTorch's, evaluated in float64. All goals f1, f2, ... are
minimised; c1, c2, ... are slacks, at least 0 where a constraint holds. The parameters are x0, x1,
... Names that end in a digit are followed by a hyphen before the dimension: `zdt1-6`.

Deb, Thiele, Laumanns & Zitzler (2005), "Scalable Test Problems for Evolutionary Multiobjective
Optimization" (DTLZ); Zitzler, Deb & Thiele (2000), "Comparison of Multiobjective Evolutionary
Algorithms" (ZDT); Deb & Gupta (2005), "Searching for Robust Pareto-Optimal Solutions in
Multi-objective Optimization" (DH); Tanabe & Ishibuchi (2020), "An Easy-to-use Real-world
Multi-objective Optimization Problem Suite" (vehicle, car, brake, beam); Liang & Lai (2021),
"Scalable Bayesian Optimization Accelerates Process Optimization of Penicillin Production"; Ma &
Wang (2019), "Evolutionary Constrained Multiobjective Optimization" (MW7); Daulton et al. (2022),
"Robust Multi-Objective Bayesian Optimization Under Input Noise" (GMM, ToyRobust); Belakaria et al.
(2019), "Max-value Entropy Search for Multi-Objective Bayesian Optimization" (BraninCurrin).

The optimum is the largest hypervolume as BoTorch tells it, but for these:

- `dtlz1-<d>`: r^m - (1/2)^m / m!, the volume above the simplex; BoTorch leaves out the m!.
- `dh4-<d>`: unknown. BoTorch's is beaten: near x0 = 1 a factor of f2 is negative.
- `c2dtlz2-<d>`: known for two goals only.
- `bnh`, `srn`: no reference point (BoTorch's lies before all points), so it is inferred.

Those of `branincurrin`, `constrainedbranincurrin`, `c2dtlz2-<d>`, `vehiclesafety`, `carsideimpact`
and `penicillin` are those of approximate fronts: a long run may exceed them by a little, and its
regret is then 0 (`constrainedbranincurrin` has 608.89 on a grid of 2,500 x 2,500, BoTorch 608.40).
"""

import math

import torch
from botorch.test_functions import multi_objective
from botorch.test_functions.base import MultiObjectiveTestProblem

from bo.contract import Problem
from bo.goals import Goal, Goals
from bo.problems.synthetic import Function, Outcomes, family, fixed, free, limits, parameters_of
from bo.space import Space
from surrogates.errors import UsageError
from surrogates.options import option, options

_MOST_GOALS = 10


@options
class Options:
    """How many goals, where a function leaves it open."""

    goals: int = option(
        default=0,
        help="number of goals, of dtlz and c2dtlz2 below d, of gmm up to 4; 0: two",
        low=0,
        high=_MOST_GOALS,
    )


FUNCTIONS: dict[str, Function[MultiObjectiveTestProblem]] = {
    "bnh": fixed(multi_objective.BNH),
    "branincurrin": fixed(multi_objective.BraninCurrin),
    "c2dtlz2-": free(multi_objective.C2DTLZ2, 3),
    "carsideimpact": fixed(multi_objective.CarSideImpact),
    "constr": fixed(multi_objective.CONSTR),
    "constrainedbranincurrin": fixed(multi_objective.ConstrainedBraninCurrin),
    "dh1-": free(multi_objective.DH1, 2),
    "dh2-": free(multi_objective.DH2, 2),
    "dh3-": free(multi_objective.DH3, 3),
    "dh4-": free(multi_objective.DH4, 3),
    "discbrake": fixed(multi_objective.DiscBrake),
    "dtlz1-": free(multi_objective.DTLZ1, 3),
    "dtlz2-": free(multi_objective.DTLZ2, 3),
    "dtlz3-": free(multi_objective.DTLZ3, 3),
    "dtlz4-": free(multi_objective.DTLZ4, 3),
    "dtlz5-": free(multi_objective.DTLZ5, 3),
    "dtlz7-": free(multi_objective.DTLZ7, 3),
    "gmm": fixed(multi_objective.GMM),
    "mw7-": free(multi_objective.MW7, 2),
    "osy": fixed(multi_objective.OSY),
    "penicillin": fixed(multi_objective.Penicillin),
    "srn": fixed(multi_objective.SRN),
    "toyrobust": fixed(multi_objective.ToyRobust),
    "vehiclesafety": fixed(multi_objective.VehicleSafety),
    "weldedbeam": fixed(multi_objective.WeldedBeam),
    "zdt1-": free(multi_objective.ZDT1, 2),
    "zdt2-": free(multi_objective.ZDT2, 2),
    "zdt3-": free(multi_objective.ZDT3, 2),
}
_NO_REFERENCE = (multi_objective.BNH, multi_objective.SRN)
_UNKNOWN = (multi_objective.DH4,)


def problem(name: str, options: Options) -> Problem:
    """The problem of a name such as `branincurrin` or `zdt1-6`.

    Raises:
        UsageError: an unknown function, or a dimension or a number of goals that it does not have.
    """
    found, d = family(name, FUNCTIONS)
    function = found.make(d)
    if options.goals:
        function = _with_goals(name, function, options.goals)
    function = function.double()  # constants of GMM are in float32
    parameters = parameters_of(function)
    goals = goals_of(function)
    return Problem(
        name=name,
        space=Space(parameters),
        goal=goals,
        evaluate=Outcomes(function, list(parameters), [goal.name for goal in goals.goals]),
        optimum=optimum_of(function),
    )


def goals_of(function: MultiObjectiveTestProblem) -> Goals:
    """Goals, constraints and reference point of a BoTorch function."""
    point: list[float] = torch.as_tensor(function.ref_point).tolist()
    return Goals(
        tuple(Goal(f"f{i + 1}", "minimize") for i in range(function.num_objectives)),
        limits(function),
        None if isinstance(function, _NO_REFERENCE) else tuple(point),
    )


def optimum_of(function: MultiObjectiveTestProblem) -> float | None:
    """The largest hypervolume, or None where it is unknown."""
    m = function.num_objectives
    if isinstance(function, multi_objective.DTLZ1):
        return function._ref_val**m - 0.5**m / math.factorial(m)
    if isinstance(function, _UNKNOWN) or (isinstance(function, multi_objective.C2DTLZ2) and m > 2):
        return None
    try:
        return float(function.max_hv)
    except NotImplementedError:
        return None


def _with_goals(
    name: str, function: MultiObjectiveTestProblem, m: int
) -> MultiObjectiveTestProblem:
    """The same function with m goals. Raises `UsageError` where it has no such version."""
    most = function.num_objectives
    least = most
    if isinstance(function, multi_objective.GMM):
        least, most = 2, 4
    elif isinstance(function, multi_objective.DTLZ):
        least, most = 2, function.dim - 1
    if not least <= m <= most:
        wanted = f"{least} to {most}" if least < most else str(most)
        raise UsageError(f"option goals expected {wanted} for {name}, got {m}; or leave it out")
    if isinstance(function, multi_objective.GMM):
        return multi_objective.GMM(num_objectives=m)
    if isinstance(function, multi_objective.DTLZ):
        return type(function)(dim=function.dim, num_objectives=m)
    return function
