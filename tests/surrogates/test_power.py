"""The power scale: exact there and back, monotone, and what it is chosen for."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.preprocessing import PowerTransformer

import bo
from surrogates.power import Power

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.floats(-2, 4), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_forward_is_monotone_and_its_slope_that_of_differences(values, power, centre, unit):
    scale = Power(power, centre, unit)
    y = np.sort(np.array(values))
    assert (np.diff(scale.forward(y)) >= 0).all()
    inner = centre + unit * np.linspace(-3, 3, 7)
    step = 1e-6 * unit
    rise = (scale.forward(inner + step) - scale.forward(inner - step)) / (2 * step)
    np.testing.assert_allclose(scale.slopes(inner), rise, rtol=1e-4)
    np.testing.assert_allclose(scale.backward(scale.forward(inner)), inner, rtol=1e-9, atol=1e-9)
    total = np.log(scale.slopes(inner) * unit).sum()
    assert scale.log_slopes(inner) == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_power_is_that_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    y = np.exp(random.normal(size=80)) * (1 if seed % 2 else -1)
    ours = Power.fit(y)
    z = (y - ours.centre) / ours.unit
    theirs = PowerTransformer(standardize=False).fit(z[:, None]).lambdas_[0]
    assert ours.power == pytest.approx(np.clip(theirs, -2, 4), abs=0.01)


@pytest.mark.parametrize("y", [np.ones(5), np.array([0.0, 1e300]), np.array([1.0, 1.0, 1.0, 2.0])])
def test_degenerate_outcomes_have_a_scale_too(y):
    scale = Power.fit(y)
    assert np.isfinite(scale.forward(y)).all()
    np.testing.assert_allclose(scale.backward(scale.forward(y)), y, atol=1e-12 * np.abs(y).max())


def test_a_constraint_keeps_its_sign():
    slack = np.array([-3.0, -0.1, 0.0, 0.2, 50.0])
    assert (np.sign(Power.fit(slack, centre=0.0).forward(slack)) == np.sign(slack)).all()


def test_gp_map_takes_a_heavy_tail_on_a_power_scale_and_a_plain_bowl_on_its_own():
    plane = {"x": bo.real(-1, 1), "y": bo.real(-1, 1)}

    def belief(f, **options):
        study = bo.Study(plane, method="gp-map", seed=7, options=options)
        for trial in study.ask(16):
            study.tell(trial, f(trial.parameters))
        state, generator = study._ask_inputs(study.trials)
        strategy: Any = study.strategy
        return strategy.belief(study.trials, 1, state=state, generator=generator)

    def tail(p):
        return float(np.exp(6 * (p["x"] ** 2 + p["y"])))

    assert belief(tail).scale is not None
    straight = belief(tail, transform="none").scale  # its outcomes spread over thousands
    assert straight is not None
    assert straight.power == 1.0
    assert belief(lambda p: np.sin(3 * p["x"]) + np.cos(4 * p["y"])).scale is None


def test_the_choice_of_a_scale_holds_until_there_are_a_quarter_more_outcomes():
    study = bo.Study({"x": bo.real(0, 1)}, method="gp-map", seed=3, options={"initial": 8})
    study.run(lambda p: float(np.exp(9 * p["x"])), 16, callback=lambda t: None)
    states = [t.method_state for t in study.trials if t.method_state]
    assert [state["scale"]["at"] for state in states] == [8, 8, 10, 10, 10, 13, 13, 13]
