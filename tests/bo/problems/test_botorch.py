"""BoTorch's constrained, several-goal and multi-fidelity functions: the same values and optima."""

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from botorch.test_functions import (
    multi_fidelity,
    multi_objective,
    multi_objective_multi_fidelity as momf,
    synthetic as theirs,
)
from botorch.test_functions.base import (
    BaseTestProblem,
    ConstrainedBaseTestProblem,
    MultiObjectiveTestProblem,
)
from moocore import hypervolume as volume_of

from bo import metrics
from bo.contract import Problem, Trial
from bo.goals import Goals
from bo.methods import make_problem
from bo.problems import constrained, fidelities
from surrogates.errors import UsageError

CONSTRAINED: dict[str, BaseTestProblem] = {
    "constrainedgramacy": theirs.ConstrainedGramacy(),
    "constrainedhartmann3": theirs.ConstrainedHartmann(3),
    "constrainedhartmann4": theirs.ConstrainedHartmann(4),
    "constrainedhartmann6": theirs.ConstrainedHartmann(6),
    "constrainedhartmannsmooth3": theirs.ConstrainedHartmannSmooth(3),
    "constrainedhartmannsmooth6": theirs.ConstrainedHartmannSmooth(6),
    "keanebump2": theirs.KeaneBumpFunction(2),
    "keanebump10": theirs.KeaneBumpFunction(10),
    "pressurevessel": theirs.PressureVessel(),
    "speedreducer": theirs.SpeedReducer(),
    "tensioncompressionstring": theirs.TensionCompressionString(),
    "weldedbeamso": theirs.WeldedBeamSO(),
}
SEVERAL: dict[str, BaseTestProblem] = {
    "bnh": multi_objective.BNH(),
    "branincurrin": multi_objective.BraninCurrin(),
    "c2dtlz2-5": multi_objective.C2DTLZ2(5),
    "carsideimpact": multi_objective.CarSideImpact(),
    "constr": multi_objective.CONSTR(),
    "constrainedbranincurrin": multi_objective.ConstrainedBraninCurrin(),
    "dh1-2": multi_objective.DH1(2),
    "dh2-3": multi_objective.DH2(3),
    "dh3-4": multi_objective.DH3(4),
    "dh4-3": multi_objective.DH4(3),
    "discbrake": multi_objective.DiscBrake(),
    "dtlz1-4": multi_objective.DTLZ1(4),
    "dtlz2-12": multi_objective.DTLZ2(12),
    "dtlz3-4": multi_objective.DTLZ3(4),
    "dtlz4-4": multi_objective.DTLZ4(4),
    "dtlz5-4": multi_objective.DTLZ5(4),
    "dtlz7-4": multi_objective.DTLZ7(4),
    "gmm": multi_objective.GMM(),
    "mw7-6": multi_objective.MW7(6),
    "osy": multi_objective.OSY(),
    "penicillin": multi_objective.Penicillin(),
    "srn": multi_objective.SRN(),
    "toyrobust": multi_objective.ToyRobust(),
    "vehiclesafety": multi_objective.VehicleSafety(),
    "weldedbeam": multi_objective.WeldedBeam(),
    "zdt1-6": multi_objective.ZDT1(6),
    "zdt2-6": multi_objective.ZDT2(6),
    "zdt3-6": multi_objective.ZDT3(6),
}
FIDELITIES: dict[str, BaseTestProblem] = {
    "augmentedbranin": multi_fidelity.AugmentedBranin(),
    "augmentedhartmann": multi_fidelity.AugmentedHartmann(),
    "augmentedrosenbrock5": multi_fidelity.AugmentedRosenbrock(5),
    "borehole": multi_fidelity.BoreholeMultiFidelity(),
    "momfbranincurrin": momf.MOMFBraninCurrin(),
    "momfpark": momf.MOMFPark(),
    "wingweight": multi_fidelity.WingWeightMultiFidelity(),
}
ALL = CONSTRAINED | SEVERAL | FIDELITIES


def some(made: Problem, n: int) -> list[dict[str, Any]]:
    """Random points."""
    return made.space.from_uniforms(np.random.default_rng(4).random((n, len(made.space.free))))


def values(made: Problem, point: dict[str, Any]) -> dict[str, float]:
    found = made.evaluate(point, seed=0)
    return found if isinstance(found, dict) else {"value": found}  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("name", ALL)
def test_values_and_slacks_are_botorchs(name: str) -> None:
    made, function = make_problem(name, {}), ALL[name]
    points = some(made, 4 if name == "penicillin" else 40)
    X = torch.tensor([[float(x) for x in p.values()] for p in points], dtype=torch.float64)
    Y = function.evaluate_true(X).reshape(len(points), -1)
    ours = [values(made, point) for point in points]
    names = [goal.name for goal in made.goals.goals]
    rel = 1e-5 if name == "gmm" else 1e-12  # BoTorch's own GMM is in float32
    for told, row in zip(ours, Y.tolist(), strict=True):
        assert [told[n] for n in names] == pytest.approx(row, rel=rel, abs=1e-12)
    if not isinstance(function, ConstrainedBaseTestProblem):
        assert not made.goals.constraints
        return
    slacks = function.evaluate_slack_true(X)
    for told, row in zip(ours, slacks.tolist(), strict=True):
        found = [told[f"c{i + 1}"] for i in range(len(row))]
        assert found == pytest.approx(row, rel=1e-12, abs=1e-12)
    feasible = [made.goals.feasible(told) for told in ours]
    assert feasible == function.is_feasible(X, noise=False).tolist()


def test_feasible_and_infeasible_points_are_among_those_compared() -> None:
    """So that the comparison above tells the sign of a slack."""
    both: set[str] = set()
    for name, function in ALL.items():
        made = make_problem(name, {})
        if isinstance(function, ConstrainedBaseTestProblem):
            told = {made.goals.feasible(values(made, point)) for point in some(made, 40)}
            both |= {name} if len(told) == 2 else set()
    assert both >= {"constrainedgramacy", "constrainedhartmann3", "mw7-6", "discbrake", "osy"}


@pytest.mark.parametrize("name", CONSTRAINED)
def test_the_optimum_is_reached_by_a_feasible_point(name: str) -> None:
    made = make_problem(name, {})
    if name in ("constrainedhartmann4", "keanebump10"):
        assert made.optimum is None
        return
    family = name.rstrip("0123456789")
    optimiser = constrained.FUNCTIONS[family].optimiser(len(made.space.free))
    assert optimiser is not None
    point = made.space.check(dict(zip(made.space.free, optimiser, strict=True)))
    told = values(made, point)
    assert made.goals.feasible(told)
    assert told["value"] == made.optimum
    # No better point is near: neither a step inwards, nor one along the constraints.
    random = np.random.default_rng(1)
    for _ in range(300):
        step = random.standard_normal(len(optimiser)) * 10.0 ** random.uniform(-7, -2)
        near = {
            key: float(np.clip(x * (1 + s), p.low, p.high))
            for (key, p), x, s in zip(made.space.free.items(), optimiser, step, strict=True)
        }
        other = values(made, near)
        if made.goals.feasible(other):
            assert other["value"] >= told["value"] - 1e-8 * abs(told["value"])


@pytest.mark.parametrize(
    ("name", "optimum"),
    [
        ("constrainedgramacy", 0.5998),
        ("constrainedhartmann6", -3.32237),
        ("keanebump2", -0.365),
        ("speedreducer", 2996.3482),
    ],
)
def test_published_optima(name: str, optimum: float) -> None:
    assert make_problem(name, {}).optimum == pytest.approx(optimum, rel=1e-4)


@pytest.mark.parametrize("name", ["pressurevessel", "weldedbeamso", "tensioncompressionstring"])
def test_published_optima_that_botorchs_formulas_beat(name: str) -> None:
    optimum = make_problem(name, {}).optimum
    assert optimum is not None
    function: Any = CONSTRAINED[name]
    assert optimum < function.optimal_value


@pytest.mark.parametrize("name", SEVERAL)
def test_reference_point_and_largest_hypervolume_are_botorchs(name: str) -> None:
    made, function = make_problem(name, {}), SEVERAL[name]
    assert isinstance(function, MultiObjectiveTestProblem)
    if name in ("bnh", "srn"):
        assert made.goals.reference is None
    else:
        assert made.goals.reference == tuple(torch.as_tensor(function.ref_point).tolist())
    assert {goal.direction for goal in made.goals.goals} == {"minimize"}
    if name == "dtlz1-4":
        assert made.optimum == 400.0**2 - 1 / 8
    elif name == "dh4-3":
        assert made.optimum is None
    else:
        assert made.optimum == getattr(function, "_max_hv", None)


@pytest.mark.parametrize(
    ("name", "rest", "within"),
    [("dtlz1-4", 0.5, 1e-3), ("dtlz2-4", 0.5, 3e-3), ("zdt1-6", 0.0, 3e-3)],
)
def test_a_dense_front_nearly_has_the_largest_hypervolume(
    name: str, rest: float, within: float
) -> None:
    made = make_problem(name, {})
    points = [
        {key: float(first) if key == "x0" else rest for key in made.space.parameters}
        for first in np.linspace(0, 1, 400)
    ]
    front = [[told["f1"], told["f2"]] for told in (values(made, point) for point in points)]
    assert made.goals.reference is not None
    volume = float(volume_of(np.array(front), ref=made.goals.reference))
    assert made.optimum is not None
    assert made.optimum - within <= volume <= made.optimum + 1e-9
    if name == "dtlz1-4":
        assert volume > multi_objective.DTLZ1(4).max_hv


def test_bnh_and_srn_have_an_inferred_reference_point() -> None:
    made = make_problem("bnh", {})
    trials = [Trial(i, p, "complete", values(made, p)) for i, p in enumerate(some(made, 30))]
    volume = metrics.hypervolume(trials, made.goals)
    assert volume is not None
    assert volume > 0


@pytest.mark.parametrize(
    ("name", "m"), [("dtlz2-6", 3), ("dtlz1-6", 5), ("gmm", 4), ("c2dtlz2-6", 3)]
)
def test_number_of_goals(name: str, m: int) -> None:
    made = make_problem(name, {"goals": m})
    told = values(made, some(made, 1)[0])
    assert [goal.name for goal in made.goals.goals] == [f"f{i + 1}" for i in range(m)]
    assert set(made.goals.outcomes) <= set(told)
    assert made.goals.reference is not None
    assert len(made.goals.reference) == m
    if name == "dtlz2-6":
        assert made.optimum == pytest.approx(1.1**3 - math.pi / 6)
    if name.startswith("c2") or name == "gmm":
        assert made.optimum is None


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("dtlz2-4", {"goals": 4}, "2 to 3"),
        ("gmm", {"goals": 5}, "2 to 4"),
        ("zdt1-6", {"goals": 3}, "expected 2 for zdt1-6"),
        ("dtlz2-2", {}, "3 to 1000.*dtlz2-6"),
        ("zdt1-", {}, "zdt1-<d>"),
        ("zdt16", {}, "zdt1-<d>"),
        ("constrainedhartmann5", {}, "3, 4 or 6"),
        ("augmentedrosenbrock3", {}, "4 to 1000"),
        ("borehole", {"fidelity": "half"}, "varies"),
    ],
)
def test_bad_names_and_options(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_problem(name, options)


@pytest.mark.parametrize("name", FIDELITIES)
def test_full_fidelity_can_be_held(name: str) -> None:
    free, held = make_problem(name, {}), make_problem(name, {"fidelity": "full"})
    last = [n for n in free.space.free if n not in held.space.free]
    assert last == list(free.space.parameters)[-2 if "rosenbrock" in name else -1 :]
    for made in (free, held):
        assert made.note is not None
        assert " and ".join(last) in made.note
    full = dict.fromkeys(last, 0 if name in ("borehole", "wingweight") else 1.0)
    for point in some(held, 5):
        assert {n: point[n] for n in last} == full
        assert values(held, point) == values(free, point)
    known = fidelities.FUNCTIONS[name.rstrip("0123456789")].optimiser(5)
    if known is None:
        assert held.optimum is None
        return
    assert held.optimum is not None
    best = dict(zip(held.space.parameters, known, strict=True))
    assert values(held, held.space.check(best))["value"] == held.optimum
    function: Any = FIDELITIES[name]
    assert held.optimum == pytest.approx(function.optimal_value, rel=2e-3)
    assert min(values(held, p)["value"] for p in some(held, 50)) >= held.optimum
    exceeded = name in ("borehole", "wingweight")
    assert free.optimum == (None if exceeded else held.optimum)
    if exceeded:  # a cheap approximation goes below the truth
        cheap = {"borehole": 2, "wingweight": 1}[name]
        assert values(free, free.space.check({**best, last[0]: cheap}))["value"] < held.optimum


def test_numbered_fidelities_are_choices() -> None:
    assert make_problem("borehole", {}).space.parameters["x8"].values == (0, 1, 2, 3, 4)
    assert make_problem("wingweight", {}).space.parameters["x10"].type == "choice"


def test_they_travel_to_a_worker() -> None:
    for name in ("weldedbeam", "pressurevessel", "momfpark"):
        made = make_problem(name, {})
        point = some(made, 1)[0]
        assert values(pickle.loads(pickle.dumps(made)), point) == values(made, point)


def test_the_text_of_the_goals() -> None:
    made = make_problem("constrainedbranincurrin", {})
    text = "minimize f1, minimize f2 subject to c1 >= 0 reference f1 = 80.0, f2 = 12.0"
    assert str(made.goals) == text
    assert Goals.parse(text) == made.goals
