"""How a strategy with a model begins, and what it makes of evaluations that fail."""

import dataclasses

import numpy as np
import pytest
import torch

import bo
from bo.contract import Believer, Trial
from bo.methods import make_strategy
from bo.strategies.sobol import DESIGNS, first_points
from surrogates.errors import UsageError

SPACE = bo.Space({"x": bo.real(0, 1), "y": bo.real(0, 1)})
GOAL = bo.Goal("loss", "minimize")


def begun(design, n, *, seed=3, space=SPACE, size=8, given=0):
    trials = [Trial(at, {}, "complete") for at in range(given)]
    return first_points(space, GOAL, seed, trials, n, design=design, size=size)


def test_every_slice_of_a_latin_hypercube_holds_one_point():
    for first in (0, 8):  # and so does the next one
        points = begun("latin", 8, given=first)
        for name in ("x", "y"):
            assert sorted(int(8 * point[name]) for point in points) == list(range(8))


def test_random_points_are_not_so_even():
    held = [len({int(8 * p["x"]) for p in begun("random", 8, seed=seed)}) for seed in range(20)]
    assert 4 < np.mean(held) < 6.5  # of 8; 5.3 are expected


@pytest.mark.parametrize("design", DESIGNS)
def test_a_design_goes_on_where_the_log_ends(design):
    assert begun(design, 12)[5:] == begun(design, 7, given=5)
    assert begun(design, 12) != begun(design, 12, seed=4)


@pytest.mark.parametrize("design", DESIGNS)
def test_a_design_stays_within_what_is_allowed(design):
    bounded = bo.Space(SPACE.parameters, subject_to=["x + y <= 0.5"])
    points = begun(design, 10, space=bounded)
    assert bounded.allowed(points).all()
    pool = [{"x": x, "y": y} for x in (0.0, 0.5, 1.0) for y in (0.0, 1.0)]
    assert len(begun(design, 10, space=bo.Space(SPACE.parameters, candidates=pool))) == len(pool)


@pytest.mark.parametrize("method", ["gp-map", "gp-trust-region", "gp-global-local"])
def test_a_method_begins_by_the_design_that_is_asked_for(method):
    options = {"design": "latin", "initial": 4}
    study = bo.Study(SPACE, "minimize loss", method=method, options=options, seed=1)
    for _ in range(4):
        (trial,) = study.ask()
        study.tell(trial, trial.number)
    expected = begun("latin", 4, seed=study.seed, size=4)
    assert [trial.parameters for trial in study.trials] == expected


def _log():
    values = {0: 3.0, 1: None, 2: 1.0, 3: 5.0, 4: None}
    points = begun("sobol", len(values))
    return [
        Trial(at, point, "failed")
        if value is None
        else Trial(at, point, "complete", {"loss": value}, {"loss": 0.1 * value})
        for (at, value), point in zip(values.items(), points, strict=True)
    ]


def test_failed_evaluations_take_the_worst_value_where_asked():
    made = make_strategy("gp-map", SPACE, GOAL, {"failures": "worst"}, 0)
    assert isinstance(made, Believer)
    belief = made.belief(_log(), 1, state=None, generator=torch.Generator())
    assert belief is not None
    assert belief.outcomes[:, 0].tolist() == [-3.0, -5.0, -1.0, -5.0, -5.0]
    assert not belief.models.limits
    modelled = make_strategy("gp-map", SPACE, GOAL, {}, 0)
    assert isinstance(modelled, Believer)
    belief = modelled.belief(_log(), 1, state=None, generator=torch.Generator())
    assert belief is not None
    assert belief.outcomes[:, 0].tolist() == [-3.0, -1.0, -5.0]
    assert len(belief.models.limits) == 1


def test_they_use_up_no_initial_design_either_way():
    for failures in ("model", "worst"):
        options = {"failures": failures, "initial": 4}
        made = make_strategy("gp-map", SPACE, GOAL, options, 0)
        points, _ = made.ask(_log(), 1, state=None, generator=torch.Generator())
        assert points == first_points(SPACE, GOAL, 0, _log(), 1)
        more = [*_log(), dataclasses.replace(_log()[0], number=5)]
        points, state = made.ask(more, 1, state=None, generator=torch.Generator())
        assert state is not None
        assert points != first_points(SPACE, GOAL, 0, more, 1)


def test_the_worst_value_has_no_meaning_for_an_outcome_constraint():
    with pytest.raises(UsageError, match="failures worst expected no outcome constraints"):
        bo.Study(SPACE, "minimize loss", subject_to=["heat <= 1"], options={"failures": "worst"})
