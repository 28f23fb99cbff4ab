"""Tuning of scikit-learn models: one cheap evaluation each, determinism, options."""

import pickle
from typing import Any

import pytest

from bo.contract import Problem
from bo.problems.tuning import NAMES, Options, problem
from bo.space import Parameters
from surrogates.errors import UsageError
from surrogates.options import build

CHEAP: dict[str, Parameters] = {
    "svm": {"C": 10.0, "gamma": 0.01, "kernel": "rbf", "degree": 2, "scale": True},
    "gbm": {
        "learning_rate": 0.2,
        "n_estimators": 10,
        "max_depth": 2,
        "subsample": 0.9,
        "min_samples_leaf": 2,
        "max_features": 0.5,
    },
    "mlp": {
        "width": 16,
        "layers": 1,
        "alpha": 1e-3,
        "learning_rate": 0.01,
        "activation": "relu",
        "batch_size": 128,
    },
}
# A constant prediction gives about 0.9, 0.37, 0.6 and 77.
GOOD = {"digits": 0.2, "breast-cancer": 0.12, "wine": 0.2, "diabetes": 75.0}


def made_of(name: str, **given: Any) -> Problem:
    return problem(name, build(Options, given, owner=name))


def evaluate(name: str, point: dict[str, Any] | None = None, seed: int = 0, **given: Any) -> float:
    made = made_of(name, **given)
    cheap = dict(CHEAP[name.partition("-")[0]])
    if name == "svm-diabetes":
        cheap["epsilon"] = 0.1
    value = made.evaluate(made.space.check({**cheap, **(point or {})}), seed=seed)
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize("name", NAMES)
def test_cheap_point(name: str) -> None:
    made = made_of(name)
    assert made.optimum is None
    assert made.goals.only.name == ("rmse" if name.endswith("diabetes") else "error")
    assert made.goals.only.direction == "minimize"
    assert 0 < evaluate(name) < GOOD[name.partition("-")[2]]


@pytest.mark.parametrize("name", ["svm-diabetes", "gbm-diabetes", "mlp-diabetes"])
def test_the_seed_matters_only_where_noisy(name: str) -> None:
    quiet = evaluate(name, seed=0)
    assert evaluate(name, seed=1) == quiet
    noisy = {evaluate(name, seed=seed, noisy=True) for seed in (1, 2, 2**63)}
    assert len(noisy) > 1


def test_same_seed_same_noise() -> None:
    assert evaluate("gbm-wine", seed=5, noisy=True) == evaluate("gbm-wine", seed=5, noisy=True)


def test_unconverged_fits_are_silent() -> None:
    evaluate("mlp-digits", {"learning_rate": 1e-4}, rows=200)
    evaluate("svm-diabetes", {"kernel": "poly", "C": 1e3, "gamma": 10.0, "scale": False}, rows=100)


def test_diverging_network_is_silent() -> None:
    evaluate("mlp-diabetes", {"learning_rate": 0.1, "alpha": 1e-6})


def test_rows_and_folds_change_the_score() -> None:
    settings: list[dict[str, Any]] = [{}, {"folds": 5}, {"rows": 100}]
    values = {evaluate("svm-diabetes", **given) for given in settings}
    assert len(values) == 3


def test_travels_to_a_worker() -> None:
    made = made_of("svm-wine")
    point = made.space.check(CHEAP["svm"])
    again = pickle.loads(pickle.dumps(made))
    assert again.evaluate(point, seed=0) == made.evaluate(point, seed=0)


@pytest.mark.parametrize("rows", [10, 5000])
def test_bad_rows(rows: int) -> None:
    with pytest.raises(UsageError, match="60 to 178"):
        made_of("svm-wine", rows=rows)


@pytest.mark.parametrize(
    ("given", "says"), [({"folds": 1}, "2 to 10"), ({"rows": -1}, "at least 0")]
)
def test_bad_options(given: dict[str, int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        made_of("svm-wine", **given)


def test_unknown_name() -> None:
    with pytest.raises(UsageError, match="svm-digits"):
        made_of("svm-digit")
