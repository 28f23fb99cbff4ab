"""The record of drawn hyperparameters: what it holds, under whose names, and how large it is."""

import dataclasses
import json
import math
import random

import numpy as np
import pytest
import torch
from scipy.stats import norm

import bo
from bo.hyperparameters import (
    CHAINS,
    DRAWS,
    LENGTHSCALES,
    TRACE,
    TRACED,
    WEIGHTS,
    _labels,
    _prior,
    hyperparameters,
)
from bo.mixtures import LEVELS, components
from bo.snapshot import DRAWN, DRAWN_SLICES, predictions, snapshot
from surrogates.gp import hmc, hyperpriors, laplace, mode, smc
from surrogates.inference.diagnostics import ess_bulk, ess_tail, rhat
from surrogates.inputs import Inputs

ENGINES = {"hmc": hmc, "smc": smc, "laplace": laplace}
FITS = ENGINES | {"mode": mode}
QUICK = {"hmc": {"draws": 16, "most_draws": 16, "warmup": 10}, "smc": {"particles": 32}}


def fitted(name, d=2, n=8, **options):
    module = FITS[name]
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(n, d, dtype=torch.float64, generator=generator)
    Y = (X[:, :1] * 5).sin()
    own = module.Options(**QUICK.get(name, {}) | options)
    return module.fit(X, Y, inputs=Inputs.reals(d), options=own, generator=generator)


def names_of(told):
    return [(each["what"], each["parameter"]) for each in told["draws"]]


@pytest.mark.parametrize("engine", ENGINES)
def test_it_holds_the_draws_under_the_names_of_the_user(engine):
    model = fitted(engine)
    told = hyperparameters(model, ["rate", "depth"])
    assert told is not None
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert names_of(told) == [
        ("lengthscale", "rate"),
        ("lengthscale", "depth"),
        ("signal_var", None),
        ("noise_var", None),
    ]
    all_of_them = model.sampled.draws.x.flatten(0, 1).exp()
    for j, each in enumerate(told["draws"]):
        assert len(each["values"]) == min(DRAWS, len(all_of_them))
        nearest = [float((all_of_them[:, j] / value - 1).abs().min()) for value in each["values"]]
        assert max(nearest) < 1e-3
    assert told["of"] == 4
    assert told["light"] in ("green", "amber", "red")
    assert told["words"]


def test_chains_have_traces_and_what_each_quantity_is_worth():
    model = fitted("hmc", d=3)
    told = hyperparameters(model, ["a", "b", "c"])
    assert told is not None
    drawn = model.sampled.draws
    assert told["chains"] == len(drawn.x) == 8
    assert told["weights"] is None
    found = rhat(drawn.x)
    assert [e["rhat"] for e in told["draws"]] == pytest.approx(found.tolist(), rel=1e-3)
    worth = torch.minimum(ess_bulk(drawn.x), ess_tail(drawn.x))
    assert [e["ess"] for e in told["draws"]] == pytest.approx(worth.tolist(), rel=1e-3)
    assert len(told["traces"]) == TRACED
    first, *others = told["traces"]
    assert first["what"] == "log_density"
    assert first["values"][-1] == pytest.approx(drawn.log_density[-1].tolist(), rel=1e-3)
    worst = [each["rhat"] for each in others]
    assert worst == sorted((e["rhat"] for e in told["draws"]), reverse=True)[: TRACED - 1]
    for each in told["traces"]:
        assert len(each["values"]) == CHAINS
        assert {len(chain) for chain in each["values"]} == {16}


def test_weighted_draws_tell_how_unequal_they_are_and_have_no_chains():
    model = fitted("laplace")
    told = hyperparameters(model, ["a", "b"])
    assert told is not None
    assert told["traces"] == []
    assert all(each["rhat"] is None for each in told["draws"])
    first = np.array(told["draws"][0]["values"])
    weights = model.sampled.draws.log_weights.flatten().exp()
    mean = float(weights @ model.sampled.draws.x[0, :, 0] / weights.sum())
    assert np.log(first).mean() == pytest.approx(mean, abs=0.15)
    shares = model.sampled.draws.log_weights.flatten().exp().sort(descending=True).values
    assert len(told["weights"]) == WEIGHTS
    assert told["weights"][0] == 0.0
    assert told["weights"][-1] == 1.0
    half = told["weights"][WEIGHTS // 2]
    assert half == pytest.approx(float(shares[: len(shares) // 2].sum()), abs=1e-3)


def test_it_stays_small_however_many_parameters_draws_and_chains():
    model = fitted("hmc", d=25, n=10, chains=20, draws=120, most_draws=120, kept=1000)
    told = hyperparameters(model, [f"x{i}" for i in range(25)])
    assert told is not None
    assert told["of"] == 27
    scales = [each for each in told["draws"] if each["what"] == "lengthscale"]
    assert len(scales) == LENGTHSCALES
    even = np.linspace(0, 20 * 120 - 1, DRAWS).round().astype(int)
    medians = np.median(model.sampled.draws.x.flatten(0, 1).numpy()[even, :25], axis=0)
    shortest = set(medians.argsort()[:LENGTHSCALES].tolist())
    assert {int(each["parameter"][1:]) for each in scales} == shortest
    assert all(len(each["values"]) <= DRAWS for each in told["draws"])
    assert told["every"] == 3
    for each in told["traces"]:
        assert len(each["values"]) == CHAINS
        assert all(len(chain) <= TRACE for chain in each["values"])
    assert len(json.dumps(told)) < 30_000


def test_coordinates_without_a_name_have_a_number():
    told = _labels(("lengthscale.0", "lengthscale.2", "signal_var"), ["a", "b"], 4)
    assert [(each["what"], each["parameter"]) for each in told] == [
        ("lengthscale", "a"),
        ("lengthscale", "condition 1"),
        ("signal_var", None),
        ("hyperparameter 4", None),
    ]


def test_the_prior_is_its_density_per_decade():
    prior = hyperpriors.named("moderate", 2, noise=True)
    told = _prior(prior, 4)
    centres = [math.log(0.4) + 0.5 * math.log(2)] * 2 + [0.0, -4.0]
    for each, centre in zip(told, centres, strict=True):
        at = np.linspace(each["from"], each["to"], len(each["density"]))
        exact = norm.pdf(at * math.log(10), centre, 1.0) * math.log(10)
        assert each["density"] == pytest.approx(exact, abs=0.05)  # 4 of its standard errors


@pytest.mark.parametrize("prior", hyperpriors.NAMES)
def test_every_prior_has_a_density_that_sums_to_one(prior):
    for each in _prior(hyperpriors.named(prior, 3, noise=True), 5):
        at = np.linspace(each["from"], each["to"], len(each["density"]))
        assert np.trapezoid(each["density"], at) == pytest.approx(1.0, abs=0.05)


def bowl(p):
    return (p["x"] - 0.3) ** 2 + 0.1 * p["y"] + {"a": 0.0, "b": 0.2, "c": 0.5}[p["kind"]]


SPACE = {"x": bo.real(0, 1), "kind": bo.choice("a", "b", "c"), "y": bo.real(1, 10, log=True)}


def study_of(method, goal="minimize value", n=8, **options):
    study = bo.Study(SPACE, goal, method=method, seed=1, options={"initial": 2} | options)
    random_ = random.Random(0)
    for _ in range(n):
        point = {"x": random_.random(), "kind": random_.choice("abc"), "y": random_.uniform(1, 10)}
        study.add(point, bowl(point))
    return study


def pictured(study):
    before = study.trials
    asked = study.ask()
    asked = asked if isinstance(asked, list) else [asked]
    told = snapshot(study, before, asked)
    assert told is not None
    state, generator = study._ask_inputs(before)
    belief = study.strategy.belief(before, 1, state=state, generator=generator)
    return told, belief, predictions(study, before, asked)


@pytest.mark.parametrize("goal", ["minimize value", "maximize value"])
def test_a_snapshot_shows_how_far_the_draws_part(goal):
    told, belief, predicted = pictured(study_of("gp-laplace", goal))
    assert names_of(told["hyperparameters"])[:3] == [
        ("lengthscale", "x"),
        ("lengthscale", "kind"),
        ("lengthscale", "y"),
    ]
    (along,) = [each for each in told["slices"] if each["parameter"] == "x"]
    space = bo.Space(SPACE)
    points = space.encode([told["incumbent"] | {"x": x} for x in along["at"]])
    bare = dataclasses.replace(belief, scale=None)
    parts = components(bare.model, torch.as_tensor(points).unsqueeze(1))
    assert parts is not None
    assert len(along["drawn"]) == DRAWN
    spread = np.ptp(np.array(along["drawn"]), axis=0)
    assert (np.array(along["low"]) <= np.array(along["high"])).all()
    assert spread.max() > 0
    if belief.scale is None:
        low, high = sorted([parts.quantile(0.02275), parts.quantile(0.97725)], key=np.sum)
        ends = (low, high) if goal.startswith("max") else (-high, -low)
        assert along["low"] == pytest.approx(ends[0], rel=1e-2, abs=1e-2)
        assert along["high"] == pytest.approx(ends[1], rel=1e-2, abs=1e-2)
        first = belief.goal.sign * parts.mean[0]
        assert along["drawn"][0] == pytest.approx(first, rel=1e-2, abs=1e-3)
    (each,) = predicted.values()
    assert len(each["quantiles"]) == len(LEVELS)
    assert each["quantiles"] == sorted(each["quantiles"])
    assert each["quantiles"][0] < each["mean"] < each["quantiles"][-1]
    assert told["next"]["quantiles"] == pytest.approx(each["quantiles"])


def test_a_single_value_of_each_is_no_draw_to_trust():
    assert hyperparameters(fitted("mode"), ["rate", "depth"]) is None


def test_a_point_estimate_has_none_of_it():
    told, _, predicted = pictured(study_of("gp-map"))
    assert told["hyperparameters"] is None
    assert all("low" not in each and "drawn" not in each for each in told["slices"])
    assert all("quantiles" not in each for each in predicted.values())
    assert "quantiles" not in told["next"]


def test_only_the_most_important_slices_have_the_lines_of_single_draws():
    names = [f"x{i}" for i in range(12)]
    study = bo.Study(
        {name: bo.real(0, 1) for name in names},
        "minimize value",
        method="gp-laplace",
        seed=1,
        options={"initial": 2},
    )
    random_ = random.Random(0)
    for _ in range(10):
        point = {name: random_.random() for name in names}
        study.add(point, sum(value * i for i, value in enumerate(point.values())))
    before = study.trials
    told = snapshot(study, before, study.ask(1))
    assert told is not None
    lined = {each["parameter"] for each in told["slices"] if "drawn" in each}
    most = sorted(told["importance"], key=lambda name: -told["importance"][name])[:DRAWN_SLICES]
    assert lined == set(most)
    assert all("low" in each for each in told["slices"])


def test_looking_changes_nothing():
    seen, unseen = study_of("gp-smc"), study_of("gp-smc")
    before = seen.trials
    snapshot(seen, before, seen.ask(1))
    unseen.ask(1)
    assert seen.trials[-1].parameters == unseen.trials[-1].parameters
