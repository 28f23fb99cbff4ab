"""`MODEL-DATA`: nine models of scikit-learn on five of its data sets, a systematic collection.

No paper. After bayesmark (Uber, 2019), whose collection served the black-box challenge of NeurIPS
2020: models, most ranges, and 5-fold cross-validation on 80 % of the rows are its; the other rows
are never used. `score` says what is minimised: `acc` (the goal `error`, 1 - accuracy) or `nll`
(mean negative log-likelihood) where there are classes, `mse` or `mae` in units of the target where
there are none; `auto` is the first of the two. Scores of folds are averaged.

Departs from bayesmark, for scikit-learn has moved on: features are standardised by the training
rows but for trees, targets of regressions too; what it searches on a logit scale is on a log scale
or is one minus the parameter; ranges of gamma and of the penalties of regressions are wider, for
standardised data; probabilities of the support vector machine come from a sigmoid on
cross-validated decisions; networks stop after 40 epochs; starts of models are fixed (`noisy`: they
follow the seed of the evaluation), so that an evaluation is deterministic. The best possible value
is not known. The models of `bo.problems.tuning` have larger spaces and other folds.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from bo.contract import Problem
from bo.goals import Goal
from bo.space import Parameter, Parameters, Space, boolean, integer, real
from surrogates.errors import UsageError
from surrogates.options import option, options, unknown

_FIXED_SEED = 0
_FOLDS = 5
_EPOCHS = 40
_ITERATIONS = 2000
_TREES = 10


class Data(NamedTuple):
    """A bundled data set: how it is read, and whether it is a classification."""

    load: Callable[..., Any]
    classes: bool


class Call(NamedTuple):
    """What an estimator is made for.

    Attributes:
        classes: whether it is a classification.
        rows: how many it is trained on.
        start: the seed of the model.
        chances: whether probabilities of classes are wanted.
    """

    classes: bool
    rows: int
    start: int
    chances: bool


class Model(NamedTuple):
    """A model: its space, with classes or without, and its estimator at a point."""

    space: Callable[[bool], dict[str, Parameter]]
    make: Callable[[Mapping[str, Any], Call], Any]
    scaled: bool = True


def _knn_space(classes: bool) -> dict[str, Parameter]:
    return {"n_neighbors": integer(1, 25), "p": integer(1, 4)}


def _knn(point: Mapping[str, Any], call: Call) -> Any:
    return (KNeighborsClassifier if call.classes else KNeighborsRegressor)(**point)


def _svm_space(classes: bool) -> dict[str, Parameter]:
    return {
        "C": real(1.0, 1e3, log=True),
        "gamma": real(1e-4, 1.0, log=True),
        "tol": real(1e-5, 1e-1, log=True),
    }


def _svm(point: Mapping[str, Any], call: Call) -> Any:
    if not call.classes:
        return SVR(**point)
    model = SVC(**point)
    if not call.chances:
        return model
    return CalibratedClassifierCV(model, ensemble=False)  # pyright: ignore[reportArgumentType]


def _tree_space(classes: bool) -> dict[str, Parameter]:
    return {
        "max_depth": integer(1, 15),
        "min_samples_split": real(0.01, 0.99, log=True),
        "min_samples_leaf": real(0.01, 0.49, log=True),
        "min_weight_fraction_leaf": real(0.01, 0.49, log=True),
        "max_features": real(0.01, 0.99, log=True),
        "min_impurity_decrease": real(1e-5, 0.5, log=True),
    }


def _tree(point: Mapping[str, Any], call: Call) -> Any:
    kind = DecisionTreeClassifier if call.classes else DecisionTreeRegressor
    return kind(**point, random_state=call.start)


def _forest(point: Mapping[str, Any], call: Call) -> Any:
    kind = RandomForestClassifier if call.classes else RandomForestRegressor
    return kind(**point, n_estimators=_TREES, random_state=call.start)


def _network_space(classes: bool) -> dict[str, Parameter]:
    return {
        "width": integer(50, 200),
        "alpha": real(1e-5, 1e1, log=True),
        "batch_size": integer(10, 250),
        "learning_rate_init": real(1e-5, 1e-1, log=True),
        "tol": real(1e-5, 1e-1, log=True),
        "validation_fraction": real(0.1, 0.9),
    }


def _adam_space(classes: bool) -> dict[str, Parameter]:
    return {
        **_network_space(classes),
        "one_minus_beta_1": real(0.01, 0.5, log=True),
        "one_minus_beta_2": real(1e-6, 0.1, log=True),
        "epsilon": real(1e-9, 1e-6, log=True),
    }


def _sgd_space(classes: bool) -> dict[str, Parameter]:
    return {
        **_network_space(classes),
        "one_minus_momentum": real(1e-3, 0.999, log=True),
        "power_t": real(0.1, 0.9),
    }


def _network(point: Mapping[str, Any], call: Call, **fixed: Any) -> Any:
    given = dict(point)
    share = given["validation_fraction"]
    trained = max(int(call.rows * (1 - share)) - 1, 1)
    given["hidden_layer_sizes"] = (given.pop("width"),)
    given["batch_size"] = min(given["batch_size"], trained)
    for name in ("beta_1", "beta_2", "momentum"):
        if f"one_minus_{name}" in given:
            given[name] = 1 - given.pop(f"one_minus_{name}")
    kind = MLPClassifier if call.classes else MLPRegressor
    return kind(**given, **fixed, early_stopping=True, max_iter=_EPOCHS, random_state=call.start)


def _adam(point: Mapping[str, Any], call: Call) -> Any:
    return _network(point, call, solver="adam")


def _sgd(point: Mapping[str, Any], call: Call) -> Any:
    activation = "relu" if call.classes else "tanh"
    return _network(point, call, solver="sgd", learning_rate="invscaling", activation=activation)


def _ada_space(classes: bool) -> dict[str, Parameter]:
    return {"n_estimators": integer(10, 100), "learning_rate": real(1e-4, 1e1, log=True)}


def _ada(point: Mapping[str, Any], call: Call) -> Any:
    kind = AdaBoostClassifier if call.classes else AdaBoostRegressor
    return kind(**point, random_state=call.start)


def _linear_space(classes: bool) -> dict[str, Parameter]:
    if classes:
        return {
            "C": real(1e-2, 1e2, log=True),
            "intercept_scaling": real(1e-2, 1e2, log=True),
        }
    return {
        "alpha": real(1e-3, 1e3, log=True),
        "tol": real(1e-5, 1e-1, log=True),
        "scale": boolean(),
    }


def _lasso_space(classes: bool) -> dict[str, Parameter]:
    if classes:
        return _linear_space(classes)
    return {
        **_linear_space(classes),
        "alpha": real(1e-4, 1.0, log=True),
        "max_iter": integer(10, 5000, log=True),
        "positive": boolean(),
    }


def _logistic(point: Mapping[str, Any], call: Call, l1_ratio: float) -> Any:
    model = LogisticRegression(
        **point,
        l1_ratio=l1_ratio,
        solver="liblinear",
        max_iter=_ITERATIONS,
        random_state=call.start,
    )
    return OneVsRestClassifier(model)


def _lasso(point: Mapping[str, Any], call: Call) -> Any:
    if call.classes:
        return _logistic(point, call, 1.0)
    given = {name: value for name, value in point.items() if name != "scale"}
    return _scaled(Lasso(**given), scale=point["scale"])


def _linear(point: Mapping[str, Any], call: Call) -> Any:
    if call.classes:
        return _logistic(point, call, 0.0)
    given = {name: value for name, value in point.items() if name != "scale"}
    return _scaled(Ridge(**given, solver="lsqr"), scale=point["scale"])


def _scaled(model: Any, *, scale: bool) -> Any:
    return make_pipeline(StandardScaler(), model) if scale else model


DATA: dict[str, Data] = {
    "breast-cancer": Data(load_breast_cancer, True),
    "digits": Data(load_digits, True),
    "iris": Data(load_iris, True),
    "wine": Data(load_wine, True),
    "diabetes": Data(load_diabetes, False),
}
MODELS: dict[str, Model] = {
    "knn": Model(_knn_space, _knn),
    "svm-rbf": Model(_svm_space, _svm),
    "dt": Model(_tree_space, _tree, scaled=False),
    "rf": Model(_tree_space, _forest, scaled=False),
    "mlp-adam": Model(_adam_space, _adam),
    "mlp-sgd": Model(_sgd_space, _sgd),
    "ada": Model(_ada_space, _ada, scaled=False),
    "lasso": Model(_lasso_space, _lasso),
    "linear": Model(_linear_space, _linear),
}
NAMES = [f"{model}-{data}" for model in MODELS for data in DATA]
SCORES = {True: ("acc", "nll"), False: ("mse", "mae")}
"""By whether there are classes; the first one is the default."""


@options
class Options:
    """How a point is scored."""

    score: str = option(
        default="auto",
        help="what is minimised: 1 - accuracy or nll with classes, mse or mae without",
        choices=("auto", "acc", "nll", "mse", "mae"),
    )
    noisy: bool = option(default=False, help="starts of models follow the seed of the evaluation")


class CrossValidation:
    """The objective: the mean score over the folds.

    Args:
        model: one of `MODELS`.
        classes: whether it is a classification.
        x: features of the rows.
        y: their targets.
        score: one of `SCORES`.
        noisy: whether models start from the seed of the evaluation.
    """

    def __init__(
        self,
        model: str,
        x: NDArray[np.float64],
        y: NDArray[Any],
        *,
        classes: bool,
        score: str,
        noisy: bool,
    ) -> None:
        self._model = model
        self._x = x
        self._y = y
        self._classes = classes
        self._score = score
        self._noisy = noisy

    def __call__(self, parameters: Parameters, *, seed: int) -> float:
        """Fit and score every fold; an exception of scikit-learn is left to the caller."""
        start = seed % 2**32 if self._noisy else _FIXED_SEED
        kind = StratifiedKFold if self._classes else KFold
        losses = [
            self._fold(parameters, train, test, start)
            for train, test in kind(_FOLDS).split(self._x, self._y)
        ]
        return float(np.mean(losses))

    def _fold(
        self, parameters: Parameters, train: NDArray[Any], test: NDArray[Any], start: int
    ) -> float:
        kind = MODELS[self._model]
        call = Call(self._classes, len(train), start, self._score == "nll")
        model: Any = kind.make(parameters, call)
        if self._classes or "scale" not in parameters:
            model = _scaled(model, scale=kind.scaled)
        if not self._classes:
            model = TransformedTargetRegressor(model, transformer=StandardScaler())
        # Fits that do not converge, or overflow on their way to a bad score, are results too.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", UserWarning)
            model.fit(self._x[train], self._y[train])
            if self._score == "nll":
                chances = model.predict_proba(self._x[test])
                return float(log_loss(self._y[test], chances, labels=model.classes_))
            told = model.predict(self._x[test])
        if self._score == "acc":
            return float(np.mean(told != self._y[test]))
        error = mean_squared_error if self._score == "mse" else mean_absolute_error
        return float(error(self._y[test], told))


def problem(name: str, options: Options) -> Problem:
    """The problem of a name such as `knn-digits`.

    Raises:
        UsageError: an unknown name, or a score that its data do not have.
    """
    if name not in NAMES:
        raise UsageError(unknown("tuning problem", name, NAMES))
    model = next(key for key in MODELS if name.removeprefix(f"{key}-") in DATA)
    data = DATA[name.removeprefix(f"{model}-")]
    scores = SCORES[data.classes]
    score = scores[0] if options.score == "auto" else options.score
    if score not in scores:
        raise UsageError(f"option score of {name} expected {' or '.join(scores)}, got {score!r}")
    x, y = data.load(return_X_y=True)
    x, _, y, _ = train_test_split(x, y, test_size=0.2, random_state=_FIXED_SEED)
    return Problem(
        name=name,
        space=Space(MODELS[model].space(data.classes)),
        goal=Goal("error" if score == "acc" else score, "minimize"),
        evaluate=CrossValidation(
            model,
            np.asarray(x, dtype=np.float64),
            np.asarray(y),
            classes=data.classes,
            score=score,
            noisy=options.noisy,
        ),
    )
