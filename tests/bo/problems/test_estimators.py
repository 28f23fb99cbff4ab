"""The systematic collection: scores against scikit-learn's own cross-validation, determinism."""

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from bo.contract import Problem
from bo.problems.estimators import DATA, MODELS, NAMES, SCORES, Options, problem
from surrogates.errors import UsageError
from surrogates.options import build

CHEAP = [
    n for n in NAMES if n.endswith(("-wine", "-diabetes")) and not n.startswith(("mlp", "ada"))
]


def made_of(name: str, **given: Any) -> Problem:
    return problem(name, build(Options, given, owner=name))


def point_of(made: Problem, seed: int = 1) -> dict[str, Any]:
    return made.space.from_uniforms(np.random.default_rng(seed).random((1, len(made.space.free))))[
        0
    ]


def evaluate(name: str, point: dict[str, Any] | None = None, seed: int = 0, **given: Any) -> float:
    made = made_of(name, **given)
    found = made.evaluate(made.space.check(point or point_of(made)), seed=seed)
    assert isinstance(found, float)
    return found


def wine() -> tuple[Any, Any]:
    x, y = load_wine(return_X_y=True)
    x, _, y, _ = train_test_split(x, y, test_size=0.2, random_state=0)
    return x, y


def test_nine_models_five_data_sets() -> None:
    assert (len(MODELS), len(DATA), len(NAMES)) == (9, 5, 45)


@pytest.mark.parametrize("score", ["acc", "nll"])
def test_agrees_with_scikit_learn(score: str) -> None:
    x, y = wine()
    named = {"acc": "accuracy", "nll": "neg_log_loss"}[score]
    near = make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=7, p=1))
    found = evaluate("knn-wine", {"n_neighbors": 7, "p": 1}, score=score)
    expected = cross_val_score(near, x, y, cv=5, scoring=named).mean()
    assert found == pytest.approx(1 - expected if score == "acc" else -expected, rel=1e-12)

    given: dict[str, Any] = {
        "max_depth": 3,
        "min_samples_split": 0.1,
        "min_samples_leaf": 0.02,
        "min_weight_fraction_leaf": 0.02,
        "max_features": 0.5,
        "min_impurity_decrease": 0.01,
    }
    tree = DecisionTreeClassifier(**given, random_state=0)
    found = evaluate("dt-wine", given, score=score)
    expected = cross_val_score(tree, x, y, cv=5, scoring=named).mean()
    assert found == pytest.approx(1 - expected if score == "acc" else -expected, rel=1e-12)


def test_units_of_a_regression_are_those_of_the_target() -> None:
    # All but no penalty, so that the fit is least squares; a constant has 6000 or so.
    point: dict[str, Any] = {"alpha": 1e-3, "tol": 1e-5, "scale": True}
    mse, mae = (evaluate("linear-diabetes", point, score=score) for score in ("mse", "mae"))
    y = load_diabetes(return_X_y=True)[1]
    assert 2500 < mse < 3300 < float(np.var(y))
    assert 40 < mae < np.sqrt(mse)


@pytest.mark.parametrize("name", CHEAP)
def test_every_score(name: str) -> None:
    classes = not name.endswith("diabetes")
    first, second = SCORES[classes]
    goals = {score: made_of(name, score=score).goal for score in (first, second)}
    assert [str(g) for g in goals.values()] == [
        f"minimize {'error' if score == 'acc' else score}" for score in goals
    ]
    found = [evaluate(name, score=score) for score in (first, second)]
    assert evaluate(name) == found[0]
    assert all(np.isfinite(found))
    assert found[0] != found[1]
    assert made_of(name).optimum is None


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n.startswith(("mlp", "ada")) and n.endswith(("wine", "diabetes"))]
)
def test_the_slower_ones(name: str) -> None:
    assert np.isfinite(evaluate(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_corners_and_random_points(name: str) -> None:
    for score in SCORES[DATA[name.rpartition("-")[2]].classes if "breast" not in name else True]:
        made = made_of(name, score=score)
        corners = made.space.from_uniforms(np.array([[0.0], [1.0]]).repeat(len(made.space.free), 1))
        for point in [*corners, *(point_of(made, seed) for seed in range(6))]:
            assert np.isfinite(float(made.evaluate(point, seed=0)))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["rf-wine", "dt-wine"])
def test_the_seed_matters_only_where_noisy(name: str) -> None:
    point = point_of(made_of(name), seed=2)
    assert evaluate(name, point, seed=0) == evaluate(name, point, seed=1)
    noisy = {evaluate(name, point, seed=seed, noisy=True) for seed in (1, 2, 3, 2**63)}
    assert len(noisy) > 1
    assert evaluate(name, point, seed=3, noisy=True) in noisy


@pytest.mark.parametrize(
    "name",
    [
        n if n in ("lasso-diabetes", "linear-diabetes") else pytest.param(n, marks=pytest.mark.slow)
        for n in CHEAP
    ],
)
def test_every_parameter_matters(name: str) -> None:
    made = made_of(name, score=SCORES[not name.endswith("diabetes")][1])
    middle = np.full(len(made.space.free), 0.3)
    for column, parameter in enumerate(made.space.free):
        values: set[float] = set()
        for base in (0.3, 0.05, 0.9):
            for uniform in (0.0, 0.5, 1.0):
                row = np.where(np.arange(len(middle)) == column, uniform, base)
                values.add(float(made.evaluate(made.space.from_uniforms(row[None])[0], seed=0)))  # pyright: ignore[reportArgumentType]
        assert len(values) > 3, f"{parameter} of {name} changes nothing"


def test_travels_to_a_worker() -> None:
    made = made_of("svm-rbf-wine", score="nll")
    again = pickle.loads(pickle.dumps(made))
    assert again.evaluate(point_of(made), seed=0) == made.evaluate(point_of(made), seed=1)


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("knn-win", {}, "did you mean 'knn-wine'"),
        ("knn-wine", {"score": "mae"}, "score of knn-wine expected acc or nll, got 'mae'"),
        ("knn-diabetes", {"score": "acc"}, "score of knn-diabetes expected mse or mae"),
        ("knn-wine", {"score": "f1"}, "value of option score"),
    ],
)
def test_bad_names_and_options(name: str, given: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        made_of(name, **given)
