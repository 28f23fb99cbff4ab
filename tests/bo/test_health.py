"""The traffic light: constructed cases whose light is known."""

import json
import math
import random

import pytest

from bo.health import at_least, health, sampler

GOOD = {"iterations": 20.0, "iteration_limit": 200.0, "noise_var": 0.01, "seconds": 0.1}


def drawn(n, *, scale=1.0, misses=None, seed=0):
    """Predictions of a model whose errors are `scale` times as large as it says."""
    if misses is not None:
        return [(0.0, 1.0, 3.0 if i < misses else 0.5 + 0.01 * i) for i in range(n)]
    draws = random.Random(seed)
    return [(5.0, 2.0, 5.0 + 2.0 * draws.gauss(0, scale)) for _ in range(n)]


def test_a_model_that_is_right_is_green_nearly_always():
    lights = [health(GOOD, drawn(30, seed=seed))["light"] for seed in range(300)]
    assert lights.count("green") >= 298


@pytest.mark.parametrize(("scale", "light"), [(2.5, "amber"), (5.0, "red"), (20.0, "red")])
def test_intervals_that_are_too_narrow_are_seen(scale, light):
    order = ["green", "amber", "red"]
    lights = [health(GOOD, drawn(30, scale=scale, seed=s))["light"] for s in range(100)]
    assert sum(order.index(found) >= order.index(light) for found in lights) >= 90


def test_coverage_is_judged_by_an_exact_test_that_allows_for_chosen_points():
    for n, green, amber, red in [(10, 4, 5, 7), (20, 6, 7, 11), (30, 7, 8, 14)]:
        for misses, light in [(green, "green"), (amber, "amber"), (red, "red")]:
            told = health(GOOD, drawn(n, misses=misses))
            assert told["light"] == light, (n, misses)
            assert told["numbers"]["coverage"] == pytest.approx((n - misses) / n, rel=1e-4)
    words = health(GOOD, drawn(30, misses=14))["words"][0]
    assert "16 of the latest 30 outcomes" in words
    assert "are normal" in words


def test_the_binomial_tail_is_exact():
    assert at_least(0, 10, 0.3) == pytest.approx(1.0)
    assert at_least(10, 10, 0.3) == pytest.approx(0.3**10)
    assert at_least(1, 10, 0.05) == pytest.approx(1 - 0.95**10)


def test_few_predictions_are_not_judged():
    told = health(GOOD, drawn(9, scale=50.0))
    assert told["light"] == "green"
    assert told["words"] == [
        "Too early to judge the predictions: 9 of at least 10 measured so far."
    ]
    assert health({}, [])["light"] == "green"


def test_one_surprise_is_no_habit_and_large_errors_are():
    calm = [(0.0, 1.0, 0.1 * i) for i in range(10)]
    assert health(GOOD, [*calm, (0.0, 1.0, 100.0)])["light"] == "green"
    told = health(GOOD, [*calm, (0.0, 1.0, 100.0), (0.0, 1.0, 20.0)])
    assert told["light"] == "amber"
    assert "times as large" in told["words"][0]


def test_only_the_latest_predictions_count():
    assert health(GOOD, [*drawn(50, scale=50.0), *drawn(30)])["light"] == "green"


def test_caution_is_told_and_is_no_fault():
    told = health(GOOD, drawn(30, scale=0.01))
    assert told["light"] == "green"
    assert any("more careful" in words for words in told["words"])


def test_equal_outcomes_are_nothing_to_learn_from():
    told = health(GOOD, [(3.0, 0.1, 3.0)] * 12)
    assert told["light"] == "amber"
    assert "all the same number" in told["words"][0]


@pytest.mark.parametrize(
    ("change", "light", "words"),
    [
        ({"iterations": 200.0}, "amber", "limit of 200 iterations"),
        ({"noise_var": 0.6}, "amber", "60% of the differences"),
        ({"noise_var": 0.95}, "red", "no effect"),
        ({"rhat_max": 1.04, "ess_min": 150.0, "divergences": 0.0}, "green", "expected"),
        ({"rhat_max": 1.1}, "amber", "R-hat 1.1"),
        ({"rhat_max": 1.6}, "red", "disagree"),
        ({"rhat_max": math.nan}, "red", "disagree"),
        ({"ess_min": 60.0}, "amber", "only 60 independent"),
        ({"ess_min": 5.0}, "red", "only 5 independent"),
        ({"ess_min": 500.0, "mcse_sd_max": 0.1}, "green", "expected"),
        ({"ess_min": 500.0, "mcse_sd_max": 0.31}, "amber", "known to 31% only"),
        ({"divergences": 3.0}, "amber", "3 times"),
        ({"khat": 0.6}, "green", "expected"),
        ({"khat": 0.9}, "amber", "k-hat 0.9"),
        ({"khat": math.inf}, "amber", "k-hat"),
    ],
)
def test_what_the_fit_says_about_itself(change, light, words):
    told = health(GOOD | change, drawn(30))
    assert told["light"] == light
    assert words in told["words"][0]


def test_the_worst_remark_comes_first():
    told = health(GOOD | {"divergences": 1.0, "rhat_max": 2.0}, drawn(30))
    assert told["light"] == "red"
    assert "R-hat" in told["words"][0]
    assert "divergences" in told["words"][1]
    assert len(told["words"]) == 3


def test_odd_numbers_do_no_harm():
    odd = [(math.nan, 1.0, 0.0), (0.0, math.inf, 0.0), (0.0, 0.0, 1.0), (-1e300, 1e-9, 1e300)]
    told = health({"model": "Sobol", "rhat_max": math.inf, "flag": True}, [*odd, *drawn(12)])
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["numbers"]["predictions"] == 14
    assert told["numbers"]["mean_z2"] is None
    assert "flag" not in told["numbers"]


@pytest.mark.parametrize(
    ("told", "light", "words"),
    [
        ({"rhat_max": 1.02, "ess_min": 320.0, "divergences": 0.0}, "green", "R-hat 1.020"),
        ({"rhat_max": 1.02, "ess_min": 320.0, "divergences": 0.0}, "green", "worth 320"),
        ({"rhat_max": 1.1, "ess_min": 320.0}, "amber", "disagree"),
        ({"rhat_max": 1.5, "ess_min": 15.0}, "red", "disagree"),
        ({"rhat_max": 1.0, "ess_min": 15.0}, "red", "only 15"),
        ({"rhat_max": 1.0, "ess_min": 200.0, "divergences": 3.0}, "amber", "divergences"),
        ({"khat": 0.3, "ess": 400.0}, "green", "k-hat 0.3"),
        ({"khat": 0.9, "ess": 400.0}, "amber", "k-hat 0.9"),
        (
            {"khat": 0.1, "ess": 150.0, "stages": 4.0, "drift": 1.0, "converged": 1.0},
            "green",
            "150",
        ),
        (
            {"khat": 0.1, "ess": 9.0, "stages": 4.0, "drift": 9.0, "converged": 0.0},
            "amber",
            "settle",
        ),
        ({}, "green", "Nothing is wrong"),
        ({"rhat_max": 1.02, "ess_min": 320.0, "ebfmi_min": 0.5}, "green", "R-hat 1.020"),
        ({"rhat_max": 1.02, "ess_min": 320.0, "ebfmi_min": 0.05}, "amber", "E-BFMI 0.05"),
    ],
)
def test_the_draws_of_hyperparameters_are_judged_alone(told, light, words):
    found = sampler(told)
    assert found["light"] == light
    assert words in found["words"][0]
    assert all(each.endswith(".") for each in found["words"])
    rest = health(GOOD | told, drawn(30))["light"]
    assert rest == light, "the light of the whole model is no better than that of its draws"
