"""Thompson sampling: draws that search, in batches, beside limits and failures."""

import math

import pytest
import torch

import bo
from bo.acquisition.functions import Models, acquisition
from bo.problems.synthetic import Options as ProblemOptions, problem as synthetic
from surrogates.errors import UsageError
from surrogates.gp import map as gp_map
from surrogates.inputs import Inputs


def test_a_score_is_the_drawn_function_where_drawn_limits_hold_and_below_all_elsewhere():
    generator = torch.Generator().manual_seed(3)
    X = torch.rand(15, 1, generator=generator, dtype=torch.float64, device="cpu")
    goal = gp_map.fit(X, torch.sin(6 * X), inputs=Inputs.reals(1), options=gp_map.Options())
    limit = gp_map.fit(X, X - 0.5, inputs=Inputs.reals(1), options=gp_map.Options())
    where = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        free = acquisition("ts", Models([goal]), X, None, seed=8)(where)
        held = acquisition("ts", Models([goal], [limit]), X, None, seed=8)(where)
    inside = where.flatten() > 0.52
    outside = where.flatten() < 0.48
    # Their units are sums over arrays of another shape, which may round differently.
    assert torch.allclose(free[inside], held[inside], rtol=1e-12, atol=1e-12)
    assert held[outside].max() < free.min()
    assert (held[outside].diff() > 0).all()  # less and less wrong towards where it holds


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_batches_of_draws_find_the_optimum_of_branin(seed):
    problem = synthetic("branin", ProblemOptions())
    study = bo.Study(
        problem.space,
        problem.goal,
        method="gp-map",
        options={"acquisition": "ts", "initial": 6},
        seed=seed,
    )
    for _ in range(9):
        batch = study.ask(4)
        assert len({tuple(trial.parameters.values()) for trial in batch}) == 4
        for trial in batch:
            study.tell(trial, problem.evaluate(trial.parameters, seed=0))
    assert problem.optimum is not None
    best = min(trial.values[study.goal.name] for trial in study.trials)
    assert best - problem.optimum < 0.1


def test_it_keeps_to_constraints_and_away_from_failures():
    space = bo.Space(
        {"x": bo.real(0, 1), "y": bo.real(0, 1), "kind": bo.choice("a", "b")},
        subject_to=["x + y <= 1"],
    )
    study = bo.Study(
        space,
        "maximize value",
        subject_to=["cost <= 0.9"],
        method="gp-map",
        options={"acquisition": "ts"},
        seed=5,
    )
    for _ in range(10):
        for trial in study.ask(3):
            x, y = float(trial.parameters["x"]), float(trial.parameters["y"])
            assert x + y <= 1 + 1e-9
            if trial.parameters["kind"] == "b":
                study.fail(trial, "b does not work")
            else:
                study.tell(trial, {"value": x + 0.5 * y, "cost": x})
    late = study.trials[-9:]
    assert sum(trial.state == "failed" for trial in late) <= 3
    best = study.best
    assert best is not None
    assert best.values["cost"] <= 0.9
    assert math.isclose(best.values["value"], 0.95, abs_tol=0.05)


def test_it_is_refused_where_no_function_can_be_drawn():
    space = {"x": bo.real(0, 1)}
    with pytest.raises(UsageError, match="ts expected surrogate gp-map, .*, got saas"):
        bo.Study(space, "minimize y", method="saas", options={"acquisition": "ts"}).ask()
    with pytest.raises(UsageError, match="expected logei, ehvi for minimize y, minimize z, got ts"):
        bo.Study(space, "minimize y, minimize z", options={"acquisition": "ts"}).ask()
