"""Snapshots: what the model believes, as the model itself tells it; and what they may cost."""

import dataclasses
import json
import math
import random
from typing import Any

import numpy as np
import pytest
import torch

import bo
from bo import metrics
from bo.contract import Trial
from bo.snapshot import (
    FARTHEST,
    NUMBERS,
    SnapshotBudget,
    _moments,
    log_before,
    predictions,
    snapshot,
)
from surrogates.catalog import SURROGATES
from surrogates.errors import UsageError
from surrogates.power import Power

PLANE = {"x": bo.real(-5, 10), "y": bo.real(0.01, 100, log=True)}
MIXED = {
    "lr": bo.real(1e-5, 1e-1, log=True),
    "layers": bo.integer(1, 9),
    "width": bo.ordinal(16, 32, 64, 128),
    "act": bo.choice("relu", "tanh", "gelu"),
    "bias": bo.boolean(),
    "epochs": bo.fixed(3),
}
MANY_LEVELS = {
    "n": bo.integer(1, 1000),
    "big": bo.integer(1, 2**40, log=True),
    "name": bo.choice(*(f"v{i}" for i in range(60))),
    "x": bo.real(0, 1),
}


def valley(p):
    return (p["x"] - 2) ** 2 + 5 * (math.log10(p["y"]) - 0.5) ** 2 + p["x"] * math.log10(p["y"])


def loss(p):
    act = {"relu": 0.0, "tanh": 1.0, "gelu": 0.5}[p["act"]]
    return (math.log10(p["lr"]) + 3) ** 2 + (p["layers"] - 4) ** 2 / 4 + act + p["bias"]


def spheres(d):
    return {f"x{i}": bo.real(0, 1) for i in range(d)}


def sphere(p):
    return sum(v * v / (i + 1) for i, v in enumerate(v for v in p.values() if type(v) is float))


def quiet(_trial):
    pass


def known(space, f, n, *, goal="minimize value", method="gp-map", **options):
    """A study that knows n outcomes at random points, and its next ask has a model."""
    if method not in ("random", "sobol"):
        options = {"initial": 2} | options
    study = bo.Study(space, goal, method=method, seed=1, options=options)
    draws = random.Random(0)
    candidates = study.space.candidates
    for i in range(n):
        uniforms = np.array([[draws.random() for _ in study.space.free]])
        point = study.space.from_uniforms(uniforms)[0] if candidates is None else candidates[i]
        study.add(point, f(point))
    return study


def drawn(study, n=1):
    """The picture of the next ask."""
    before = study.trials
    payload = snapshot(study, before, study.ask(n))
    assert payload is not None
    return payload


def best_of(study):
    assert study.best is not None
    return study.best


def model_of(study):
    """The model of the latest ask, taken from the study's own log, not from the snapshot."""
    trials = study.trials[:-1]
    state, generator = study._ask_inputs(trials)
    return study.strategy.belief(trials, 1, state=state, generator=generator)


def posterior(belief, space, points):
    """Mean and std, oriented; on a power scale the median and half a 68 % interval."""
    with torch.no_grad():
        told = belief.model.posterior(torch.as_tensor(space.encode(points)).unsqueeze(1))
    mean, std = told.mean.flatten().numpy(), told.variance.flatten().sqrt().numpy()
    if belief.scale is None:
        return mean, std
    low, middle, high = (belief.scale.backward(mean + step * std) for step in (-1, 0, 1))
    return middle, (high - low) / 2


@pytest.mark.parametrize("power", [-2.0, 0.0, 4.0])
def test_a_power_scale_without_an_end_is_drawn_with_one(power):
    """Where the scale is bounded, no outcome at all leads to a mean and two standard deviations."""
    study = known(PLANE, valley, 12)
    drawn(study)
    belief = model_of(study)
    assert belief is not None
    outcomes = np.array([trial.values["value"] for trial in study.trials if trial.done])
    scale = Power(power, float(np.median(outcomes)), float(np.ptp(outcomes)) / 50)
    told = torch.as_tensor(scale.forward(outcomes)).unsqueeze(1)
    bent = dataclasses.replace(belief, scale=scale, outcomes=told)
    columns = study.space.encode([trial.parameters for trial in study.trials])
    mean, std = _moments(bent, columns)
    reach = FARTHEST * np.ptp(outcomes)
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()
    assert (std >= 0).all()
    assert (std <= reach + np.ptp(outcomes)).all()


def without_time(payload):
    assert payload is not None
    return {key: value for key, value in payload.items() if key != "cpu_seconds"}


def numbers(value):
    """How many numbers (and levels) a payload holds; names of parameters are none."""
    if isinstance(value, dict):
        return sum(numbers(v) for k, v in value.items() if k not in ("goal", "x", "y", "parameter"))
    return sum(map(numbers, value)) if isinstance(value, list) else 1


@pytest.mark.parametrize("goal", ["minimize value", "maximize value"])
def test_slices_map_and_next_are_the_models_posterior(goal):
    study = known(PLANE, valley, 12, goal=goal)
    payload = drawn(study)
    belief, sign = model_of(study), study.goal.sign
    scale = np.ptp([valley(t.parameters) for t in study.trials if t.done])
    centre = payload["incumbent"]
    for part in payload["slices"]:
        points = [{**centre, part["parameter"]: value} for value in part["at"]]
        mean, std = posterior(belief, study.space, points)
        np.testing.assert_allclose(part["mean"], sign * mean, atol=1e-3 * scale)
        np.testing.assert_allclose(part["std"], std, atol=1e-3 * scale)
    map_ = payload["map"]
    assert {map_["x"], map_["y"]} == {"x", "y"}
    width = len(map_["x_at"])
    for ix, iy in [(0, 0), (3, 1), (width - 1, 7), (5, len(map_["y_at"]) - 1)]:
        point = {map_["x"]: map_["x_at"][ix], map_["y"]: map_["y_at"][iy]}
        mean, std = posterior(belief, study.space, [point])
        assert map_["mean"][iy * width + ix] == pytest.approx(sign * mean[0], abs=1e-3 * scale)
        assert map_["std"][iy * width + ix] == pytest.approx(std[0], abs=1e-3 * scale)
    asked = study.trials[-1].parameters
    mean, std = posterior(belief, study.space, [asked])
    assert payload["next"]["mean"] == pytest.approx(sign * mean[0], abs=1e-3 * scale)
    assert payload["next"]["std"] == pytest.approx(std[0], rel=1e-4)
    assert payload["next"]["predictive_std"] > payload["next"]["std"]
    assert payload["incumbent_value"] == pytest.approx(best_of(study).values["value"], rel=1e-4)
    assert payload["data"] == 12
    with torch.no_grad():
        score = belief.acquisition(torch.as_tensor(study.space.encode([asked])).unsqueeze(1))
    assert payload["next"]["acquisition"] == pytest.approx(score.item(), rel=1e-4)


def test_a_maximised_goal_is_a_minimised_one_mirrored():
    low = drawn(known(PLANE, valley, 12))
    high = drawn(known(PLANE, lambda p: -valley(p), 12, goal="maximize value"))
    for a, b in zip(low["slices"], high["slices"], strict=True):
        assert a["mean"] == [-value for value in b["mean"]]
        assert (a["at"], a["std"], a["acquisition"]) == (b["at"], b["std"], b["acquisition"])
    assert low["map"]["mean"] == [-value for value in high["map"]["mean"]]
    assert low["incumbent_value"] == -high["incumbent_value"]
    assert low["next"]["mean"] == -high["next"]["mean"]
    best = min(value for part in low["slices"] for value in part["mean"])
    assert best == pytest.approx(low["incumbent_value"], abs=3)  # a loss is shown as a loss


@pytest.mark.parametrize("acquisition", ["logei", "ucb", "lognei"])
def test_the_next_point_is_wanted_more_than_anything_in_the_picture(acquisition):
    study = known(PLANE, valley, 14, acquisition=acquisition)
    payload = drawn(study)
    assert payload["acquisition"] == acquisition
    shown = [v for part in [*payload["slices"], payload["map"]] for v in part["acquisition"]]
    assert payload["next"]["acquisition"] >= max(shown) - 0.02 * np.ptp(shown)
    assert max(shown) - min(shown) > 0.1


@pytest.mark.parametrize("batch", [1, 3])
def test_a_belief_rebuilt_after_a_resume_gives_the_same_picture(tmp_path, batch):
    study = bo.Study(PLANE, name="s", store=tmp_path / "s.db", seed=3, options={"initial": 3})
    seen = {}

    def look(before, new, _state):
        seen[new[0].number] = (snapshot(study, before, new), predictions(study, before, new))

    study.after_ask = look
    study.run(valley, 8, batch=batch, callback=quiet)
    assert seen[0] == (None, {})
    again = bo.Study.resume("s", store=tmp_path / "s.db")
    for number in [n for n, (payload, _) in seen.items() if payload is not None]:
        before = log_before(again.trials, number)
        asked = again.trials[number : number + batch]
        told = snapshot(again, before, asked)
        assert without_time(told) == without_time(seen[number][0])
        assert predictions(again, before, asked) == seen[number][1]


def test_a_cached_belief_is_given_out_for_its_own_ask_only():
    study = known(PLANE, valley, 10)
    before = study.trials
    first = snapshot(study, before, study.ask())
    belief = model_of(study)
    assert model_of(study) is belief
    study.tell(10, 1000.0)
    asked = study.ask()
    other = snapshot(study, study.trials[:-1], asked)
    assert other is not None
    assert other["data"] == 11
    assert without_time(snapshot(study, before, [study.trials[10]])) == without_time(first)
    shorter = snapshot(study, before[:8], [study.trials[10]])
    assert shorter is not None
    assert shorter["data"] == 8


def test_the_digest_is_the_same_with_and_without_snapshots():
    def digest(*, pictures):
        study = bo.Study(MIXED, seed=5, options={"initial": 3})
        if pictures:
            study.after_ask = lambda before, new, _: (
                snapshot(study, before, new, axes=("act", "lr")),
                predictions(study, before, new),
            )
        study.run(loss, 7, batch=2, callback=quiet)
        return metrics.digest(study.trials)

    assert digest(pictures=True) == digest(pictures=False)


@pytest.mark.parametrize(
    ("space", "f"),
    [
        pytest.param(spheres(1), sphere, id="1"),
        pytest.param(PLANE, valley, id="2"),
        pytest.param(spheres(6), sphere, id="6"),
        pytest.param(spheres(40), sphere, id="40"),
        pytest.param(spheres(250), sphere, id="250"),
        pytest.param(MIXED, loss, id="mixed"),
        pytest.param(MANY_LEVELS, lambda p: p["n"] / 500 + p["x"], id="levels"),
    ],
)
def test_every_space_gives_a_small_json_picture(space, f):
    study = known(space, f, 8)
    before = study.trials
    next_ = Trial(len(before), dict(before[0].parameters), "running")  # need not be the best
    payload = snapshot(study, before, [next_])
    assert payload is not None
    json.dumps(payload, allow_nan=False)
    assert 100 < numbers(payload) <= NUMBERS
    assert len(payload["slices"]) == min(len(study.space.free), 40)
    assert sum(payload["importance"].values()) == pytest.approx(1.0, abs=0.01)
    for part in payload["slices"]:
        assert len(part["at"]) == len(set(part["at"])) >= 2
        assert {len(part[k]) for k in ("mean", "std", "acquisition")} == {len(part["at"])}
        assert min(part["std"]) > 0
        for value in part["at"]:
            study.space.free[part["parameter"]].check(value, "x")
    map_ = payload["map"]
    if len(study.space.free) == 1:
        assert map_ is None
        assert len(payload["slices"][0]["at"]) > 100
    else:
        assert len(map_["mean"]) == len(map_["x_at"]) * len(map_["y_at"])


def test_discrete_parameters_show_their_levels():
    payload = drawn(known(MIXED, loss, 10))
    at = {part["parameter"]: part["at"] for part in payload["slices"]}
    assert at["act"] == ["relu", "tanh", "gelu"]
    assert at["bias"] == [False, True]
    assert at["layers"] == list(range(1, 10))
    assert at["width"] == [16, 32, 64, 128]
    assert np.allclose(np.diff(np.log(at["lr"])), np.log(1e4) / (len(at["lr"]) - 1), atol=1e-3)
    assert (at["lr"][0], at["lr"][-1]) == (1e-5, 1e-1)
    assert "epochs" not in at
    assert {payload["map"]["x"], payload["map"]["y"]} <= {"lr", "layers", "width"}
    study = known(MANY_LEVELS, lambda p: p["n"] / 500 + p["x"], 10)
    payload = drawn(study)
    at = {part["parameter"]: part["at"] for part in payload["slices"]}
    assert len(at["n"]) <= 41
    assert (at["n"][0], at["n"][-1], at["big"][-1]) == (1, 1000, 2**40)
    assert len(at["name"]) <= 41
    assert best_of(study).parameters["name"] in at["name"]
    assert study.trials[-1].parameters["name"] in at["name"]


def test_a_pool_says_so_and_its_next_point_is_a_candidate():
    rows = [{"x": float(x), "y": y} for x in range(-5, 11) for y in (0.1, 1.0, 10.0)]
    study = known(bo.Space(PLANE, candidates=rows), valley, 10)
    payload = drawn(study)
    assert payload["pool"] is True
    assert payload["next"]["parameters"] in rows
    assert numbers(payload) <= NUMBERS
    assert drawn(known(PLANE, valley, 5))["pool"] is False


def test_a_pool_that_runs_out_gives_what_is_left():
    space = bo.Space(PLANE, candidates=[{"x": float(x), "y": 1.0} for x in range(3)])
    assert len(bo.Study(space, method="gp-map", seed=0).ask(5)) == 3
    study = known(space, valley, 2)
    assert drawn(study, 5)["next"]["number"] == 2
    assert study.ask() == []
    assert snapshot(study, study.trials, []) is None


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_a_method_without_a_model_believes_nothing(method):
    study = known(PLANE, valley, 10, method=method)
    before = study.trials
    asked = study.ask()
    assert snapshot(study, before, asked) is None
    assert predictions(study, before, asked) == {}


def test_nothing_is_drawn_during_the_initial_design_and_then_the_first_model_point():
    study = known(PLANE, valley, 2, initial=4)
    before = study.trials
    asked = study.ask(4)
    payload = snapshot(study, before, asked)
    assert payload is not None
    assert payload["next"]["number"] == 4  # 2 and 3 belong to the design
    assert set(predictions(study, before, asked)) == {4, 5}
    study = known(PLANE, valley, 2, initial=4)
    before = study.trials
    assert snapshot(study, before, study.ask()) is None


def test_importance_finds_the_only_parameter_that_matters():
    study = known(spheres(5), lambda p: math.sin(5 * p["x3"]), 25)
    payload = drawn(study)
    assert payload["importance"]["x3"] > 0.95
    assert "x3" in (payload["map"]["x"], payload["map"]["y"])


def test_other_axes_on_request():
    study = known(MIXED, loss, 10)
    before = study.trials
    asked = study.ask()
    payload = snapshot(study, before, asked, axes=("act", "layers"))
    assert payload is not None
    map_ = payload["map"]
    assert (map_["x"], map_["y"], map_["x_at"]) == ("act", "layers", ["relu", "tanh", "gelu"])
    mean, _ = posterior(
        model_of(study), study.space, [{**payload["incumbent"], "epochs": 3, "act": "gelu"}]
    )
    row = map_["y_at"].index(payload["incumbent"]["layers"])
    assert map_["mean"][row * 3 + 2] == pytest.approx(-mean[0], rel=1e-3, abs=1e-3)
    for axes, told in [
        (("lr", "layer"), "layers"),
        (("lr", "lr"), "two different parameters"),
        (("lr", "epochs"), "free parameter"),
    ]:
        with pytest.raises(UsageError, match=told):
            snapshot(study, before, asked, axes=axes)


def test_outcomes_far_from_zero_and_bounds_close_together_stay_apart():
    space = {"x": bo.real(1e6, 1e6 + 1), "y": bo.real(0, 1)}
    study = known(space, lambda p: 1e7 + math.sin(6 * (p["x"] - 1e6)) + p["y"], 15)
    payload = drawn(study)
    part = payload["slices"][0]
    assert len(set(part["at"])) == len(part["at"])
    assert len(set(part["mean"])) > len(part["mean"]) / 2


def test_batches_show_the_acquisition_of_their_first_point():
    single, batch = known(PLANE, valley, 12), known(PLANE, valley, 12)
    alone, first = drawn(single), drawn(batch, 3)
    assert without_time(alone) == without_time(first)
    pending = drawn(batch)  # now three are under way: another acquisition function, the same data
    assert pending["data"] == 12
    assert pending["slices"][0]["acquisition"] != alone["slices"][0]["acquisition"]
    shown = [v for part in [*pending["slices"], pending["map"]] for v in part["acquisition"]]
    assert pending["next"]["acquisition"] >= max(shown) - 0.05 * np.ptp(shown)


def test_predictions_are_of_the_outcome_noise_included():
    study = known(
        PLANE, lambda p: valley(p) + random.Random(str(p)).gauss(0, 20), 20, transform="none"
    )
    before = study.trials
    asked = study.ask(2)
    told = predictions(study, before, asked)
    payload = snapshot(study, before, asked)
    assert payload is not None
    following = payload["next"]
    assert list(told) == [20, 21]
    assert told[20]["mean"] == pytest.approx(following["mean"], rel=1e-3, abs=1e-3)
    assert told[20]["std"] == pytest.approx(following["predictive_std"], rel=1e-4)
    strategy: Any = study.strategy
    state, generator = study._ask_inputs(before)
    model = strategy.belief(before, 2, state=state, generator=generator).model
    noise_var = model.likelihood.noise.item() * model.outcome_transform.stdvs.item() ** 2
    assert noise_var > 0
    assert told[20]["std"] ** 2 == pytest.approx(following["std"] ** 2 + noise_var, rel=1e-3)


def test_the_log_before_a_trial_of_a_run_with_several_at_once():
    study = bo.Study(PLANE, method="sobol", seed=0)
    seen = {}
    study.after_ask = lambda before, new, _: seen.update({new[0].number: before})
    a, b = study.ask(), study.ask()
    study.tell(b[0], 1.0)
    study.ask()
    study.tell(a[0], 2.0)
    told = log_before(study.trials, 2)
    assert [t.state for t in seen[2]] == [t.state for t in told] == ["running", "complete"]
    assert [t.values for t in seen[2]] == [t.values for t in told]


@pytest.mark.parametrize(
    "surrogate",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "saas" else ())
        for name, *_ in SURROGATES
    ],
)
def test_every_surrogate_can_be_drawn(surrogate):
    if surrogate == "saas":
        pytest.importorskip("numpyro")
    payload = drawn(known(MIXED, loss, 6, method=surrogate))
    json.dumps(payload, allow_nan=False)
    assert all(v is not None for part in payload["slices"] for v in part["mean"] + part["std"])


def test_after_an_ask_the_lease_is_free_and_the_hook_sees_what_the_method_saw(tmp_path):
    study = bo.Study(PLANE, name="s", store=tmp_path / "s.db", method="gp-map", seed=0)
    other = bo.Study.resume("s", store=tmp_path / "s.db")
    calls = []

    def hook(before, new, state):
        calls.append(([t.number for t in before], [t.number for t in new], state))
        if len(calls) == 1:
            other.ask()  # waits for ever where the lease is held

    study.after_ask = hook
    study.enqueue({"x": 1.0, "y": 1.0})
    assert [t.number for t in study.ask(3)] == [0, 1, 2]
    assert calls == [([0], [1, 2], None)]
    for number in range(4):
        study.tell(number, float(number))
    study.ask()
    assert calls[1][:2] == ([0, 1, 2, 3], [4])
    assert set(calls[1][2]) == {"surrogates", "diagnostics"}
    study.enqueue({"x": 1.0, "y": 2.0})
    study.ask()
    assert len(calls) == 2  # the method was not asked


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_the_hook_raises_is_raised_and_loses_no_trial(tmp_path, error):
    study = bo.Study(PLANE, name="s", store=tmp_path / "s.db", method="sobol", seed=0)

    def hook(before, _new, _state):
        if len(before) == 2:
            raise error("no picture")

    study.after_ask = hook
    with pytest.raises(error, match="no picture"):
        study.run(valley, 5, callback=quiet)
    assert [t.state for t in study.trials] == ["complete", "complete", "running"]
    study.after_ask = None
    study.run(valley, 5, callback=quiet)
    whole = bo.Study(PLANE, method="sobol", seed=0)
    whole.run(valley, 5, callback=quiet)
    assert metrics.digest(study.trials) == metrics.digest(whole.trials)


def test_the_budget_skips_what_costs_too_much_or_comes_too_soon():
    budget = SnapshotBudget(share=0.1, every=1)
    assert budget.wants(0)  # nothing spent so far
    budget.asked(1.0)
    budget.took(0, 0.2)
    assert not budget.wants(1)  # 0.2 of 1.0
    budget.asked(1.0)
    assert budget.wants(2)  # 0.2 of 2.0
    budget.took(2, 0.1)
    assert not budget.wants(3)
    often = SnapshotBudget(every=5, last=7)
    assert [n for n in range(8, 14) if often.wants(n)] == [12, 13]
    with pytest.raises(UsageError, match="every=1"):
        SnapshotBudget(every=0)
    for share in (-0.1, math.nan):
        with pytest.raises(UsageError, match="0 or more"):
            SnapshotBudget(share=share)
