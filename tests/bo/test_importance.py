"""Intervals of importance: they hold the truth, narrow with data, and repeat."""

import json
import math

import numpy as np
import pytest
import torch

import bo
from bo import importance
from bo.snapshot import NUMBERS, _belief, snapshot
from surrogates.errors import CapabilityError

CUBE = bo.Space({f"x{i}": bo.real(0.0, 1.0) for i in range(3)})


def wave(parameters):
    return math.sin(5 * parameters["x0"]) + 0.5 * math.cos(5 * parameters["x1"])


def payload(count, *, seed=0, space=CUBE):
    """The picture of the ask after so many points."""
    study = bo.Study(space, "minimize loss", method="gp-map", seed=seed)
    random = np.random.default_rng(seed)
    for _ in range(count):
        point = {name: float(random.random()) for name in space.free}
        study.add(point, wave(point))
    before = study.trials
    found = snapshot(study, before, study.ask())
    assert found is not None
    return found


def true_shares(centre):
    """Of the function itself along the slices, by its exact variance on a fine grid."""
    at = np.linspace(0, 1, 2001)
    spread = {"x0": np.var(np.sin(5 * at)), "x1": np.var(0.5 * np.cos(5 * at)), "x2": 0.0}
    assert set(centre) == set(spread)
    return {name: value / sum(spread.values()) for name, value in spread.items()}


def test_intervals_hold_the_truth_and_narrow_with_data():
    few, many = payload(8), payload(40)
    assert json.loads(json.dumps(many)) == many
    widths = []
    for told in (few, many):
        found = told["importance_intervals"]
        assert set(found) == set(told["importance"])
        assert all(0 <= low <= middle <= high <= 1 for low, middle, high in found.values())
        widths.append(np.mean([high - low for low, _, high in found.values()]))
    assert widths[1] < 0.5 * widths[0]
    for name, share in true_shares(many["incumbent"]).items():
        low, _, high = many["importance_intervals"][name]
        assert low - 0.03 <= share <= high + 0.03, name


def test_the_same_belief_gives_the_same_intervals_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = payload(10)["importance_intervals"]
    assert torch.equal(before, torch.get_rng_state())
    assert payload(10)["importance_intervals"] == first


def test_many_parameters_stay_within_the_numbers_of_a_picture():
    space = bo.Space({f"x{i}": bo.real(0.0, 1.0) for i in range(45)})
    found = payload(50, space=space)
    assert len(found["importance_intervals"]) == 40
    flat = json.dumps(found).count(",") + json.dumps(found).count(":")
    assert flat < 2 * NUMBERS


@pytest.mark.parametrize("error", [CapabilityError("no joint posterior"), NotImplementedError()])
def test_without_a_joint_posterior_there_are_none(monkeypatch, error):
    def refuse(*_, **__):
        raise error

    study = bo.Study(CUBE, "minimize loss", method="gp-map", seed=0, options={"initial": 2})
    for x in (0.1, 0.5, 0.8):
        point = {"x0": x, "x1": 1 - x, "x2": x * x}
        study.add(point, wave(point))
    belief = _belief(study, study.trials, 1)
    assert belief is not None
    lines = {name: np.random.default_rng(0).random((5, 3)) for name in CUBE.free}
    assert set(importance.intervals(belief, lines)) == set(lines)
    alone = {"x0": lines["x0"]}
    assert importance.intervals(belief, alone) == {}  # nothing to be compared with
    monkeypatch.setattr(type(belief.model), "posterior", refuse)
    assert importance.intervals(belief, lines) == {}
