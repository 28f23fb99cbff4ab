"""`surrogate.warp=true`: numbers that are bent before the model sees them."""

import math

import numpy as np
import pytest
import torch

import bo
from bo.snapshot import snapshot
from surrogates.errors import UsageError
from surrogates.gp import map as map_gp
from surrogates.inputs import Inputs

SPACE = {"x": bo.real(0.0, 1.0), "k": bo.integer(1, 9), "kind": bo.choice("a", "b")}


def value(parameters):
    return math.sin(9 * parameters["x"] ** 5) + 0.1 * parameters["k"] * (parameters["kind"] == "a")


def study(name="s", store=None, seed=1):
    options = {"surrogate.warp": True, "initial": 6}
    return bo.Study(
        SPACE, "minimize value", method="gp-map", options=options, seed=seed, name=name, store=store
    )


def test_it_asks_validly_and_goes_on_bit_for_bit(tmp_path):
    whole, broken = study(), study("s", tmp_path / "wald.db")
    for _ in range(12):
        (trial,) = whole.ask()
        whole.tell(trial, value(trial.parameters))
    for number in range(12):
        again = study("s", tmp_path / "wald.db") if number == 9 else broken
        (trial,) = again.ask()
        again.tell(trial, value(trial.parameters))
    assert [t.parameters for t in broken.trials] == [t.parameters for t in whole.trials]
    state = whole.trials[-1].method_state
    assert state is not None
    assert len(state["surrogates"]["value"]["warp_a"]) == 2  # x and k, not the columns of kind


def test_its_pictures_are_drawn():
    run = study()
    for _ in range(8):
        (trial,) = run.ask()
        run.tell(trial, value(trial.parameters))
    before = list(run.trials)
    asked = run.ask()
    told = snapshot(run, before, asked)
    assert told is not None
    assert {each["parameter"] for each in told["slices"]} == set(SPACE)


def test_other_surrogates_refuse_it():
    options = {"surrogate.warp": True}
    with pytest.raises(UsageError, match="warp"):
        bo.Study(SPACE, "minimize value", method="saas", options=options, seed=0)


def test_a_goal_that_changes_at_one_end_is_better_predicted():
    closer = 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        x, grid = random.random((14, 1)), np.linspace(0, 1, 201)[:, None]
        errors = []
        for warp in (False, True):
            model = map_gp.fit(
                torch.tensor(x),
                torch.tensor(np.sin(9 * x**5)),
                inputs=Inputs.reals(1),
                options=map_gp.Options(warp=warp),
            )
            mean, _ = model.marginals(grid, noise=False)
            errors.append(np.abs(mean - np.sin(9 * grid[:, 0] ** 5)).mean())
        closer += errors[1] < errors[0]
    assert closer >= 8
