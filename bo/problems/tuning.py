"""`MODEL-DATA`: hyperparameters of scikit-learn models, cross-validated on its bundled data sets.

- `svm` (SVC, SVR): C, gamma, kernel, degree, scaling; epsilon for regression.
- `gbm` (GradientBoosting...): rate, trees, depth, leaf size, shares of rows and columns.
- `mlp` (MLP..., Adam): width, layers, alpha, learning rate, activation, batch size.

Classification minimises `error`, the share of held-out rows that are predicted wrongly;
regression minimises `rmse`, the root of the mean squared error over all held-out rows, in the
units of the target. Folds are shuffled once and stay the same, models start from a fixed seed, so
an evaluation is deterministic; with `noisy` both follow the seed of the evaluation. The best
possible value is not known. Fits are cut short (iterations, epochs) so that one evaluation takes
a second or two; a fit that has not converged by then is scored as it is.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from bo.contract import Problem
from bo.goals import Goal
from bo.space import Parameter, Parameters, Space, boolean, choice, integer, ordinal, real
from surrogates.errors import UsageError
from surrogates.options import option, options, unknown

_FIXED_SEED = 0
_LEAST_ROWS_PER_FOLD = 20


class Data(NamedTuple):
    """A bundled data set.

    Attributes:
        load: reads it.
        classes: whether it is a classification.
        iterations: the most iterations of a support vector machine.
        epochs: passes of a network over the rows.
    """

    load: Callable[..., Any]
    classes: bool
    iterations: int
    epochs: int


class Model(NamedTuple):
    """A model: its space and its estimator at a point."""

    space: Callable[[Data], dict[str, Parameter]]
    make: Callable[[Mapping[str, Any], Data, int, int], Any]


def _svm_space(data: Data) -> dict[str, Parameter]:
    # The sigmoid is no positive definite kernel: a regression with it may be off by millions.
    kernels = ("rbf", "poly", "sigmoid") if data.classes else ("rbf", "poly", "linear")
    space: dict[str, Parameter] = {
        "C": real(1e-2, 1e3, log=True),
        "gamma": real(1e-5, 1e1, log=True),
        "kernel": choice(*kernels),
        "degree": integer(2, 5),
        "scale": boolean(),
    }
    return space if data.classes else {**space, "epsilon": real(1e-3, 1.0, log=True)}


def _svm(point: Mapping[str, Any], data: Data, rows: int, seed: int) -> Any:
    given = {key: value for key, value in point.items() if key != "scale"}
    # Unscaled polynomials may otherwise take hours.
    given["max_iter"] = data.iterations
    model = SVC(**given, random_state=seed) if data.classes else SVR(**given)
    return make_pipeline(StandardScaler(), model) if point["scale"] else model


def _gbm_space(data: Data) -> dict[str, Parameter]:
    return {
        "learning_rate": real(1e-2, 1.0, log=True),
        "n_estimators": integer(10, 100, log=True),
        "max_depth": integer(1, 5),
        "subsample": real(0.4, 1.0),
        "min_samples_leaf": integer(1, 30, log=True),
        "max_features": real(0.1, 1.0),
    }


def _gbm(point: Mapping[str, Any], data: Data, rows: int, seed: int) -> Any:
    kind = GradientBoostingClassifier if data.classes else GradientBoostingRegressor
    return kind(**point, random_state=seed)


def _mlp_space(data: Data) -> dict[str, Parameter]:
    return {
        "width": integer(8, 96, log=True),
        "layers": integer(1, 2),
        "alpha": real(1e-6, 1e1, log=True),
        "learning_rate": real(1e-4, 1e-1, log=True),
        "activation": choice("relu", "tanh", "logistic"),
        "batch_size": ordinal(32, 64, 128),
    }


def _mlp(point: Mapping[str, Any], data: Data, rows: int, seed: int) -> Any:
    given: dict[str, Any] = {
        "hidden_layer_sizes": (point["width"],) * point["layers"],
        "activation": point["activation"],
        "alpha": point["alpha"],
        "learning_rate_init": point["learning_rate"],
        "batch_size": min(point["batch_size"], rows),
        "max_iter": data.epochs,
        "random_state": seed,
    }
    kind = MLPClassifier if data.classes else MLPRegressor
    return make_pipeline(StandardScaler(), kind(**given))


DATA: dict[str, Data] = {
    "digits": Data(load_digits, True, 2000, 15),
    "breast-cancer": Data(load_breast_cancer, True, 20_000, 30),
    "wine": Data(load_wine, True, 20_000, 80),
    "diabetes": Data(load_diabetes, False, 20_000, 50),
}
MODELS: dict[str, Model] = {
    "svm": Model(_svm_space, _svm),
    "gbm": Model(_gbm_space, _gbm),
    "mlp": Model(_mlp_space, _mlp),
}
# Ten classes of trees take too long for a test problem.
NAMES = [f"{m}-{d}" for m in MODELS for d in DATA if (m, d) != ("gbm", "digits")]


@options
class Options:
    """How a point is scored."""

    folds: int = option(default=3, help="folds of the cross-validation", low=2, high=10)
    rows: int = option(
        default=0, help="use only so many rows of the data, always the same; 0 for all", low=0
    )
    noisy: bool = option(
        default=False, help="folds and starts of models follow the seed of the evaluation"
    )


class CrossValidation:
    """The objective: error or RMSE over all held-out rows."""

    def __init__(
        self,
        model: str,
        data: str,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        *,
        folds: int,
        noisy: bool,
    ) -> None:
        self._model = model
        self._data = data
        self._x = x
        self._y = y
        self._folds = folds
        self._noisy = noisy

    def __call__(self, parameters: Parameters, *, seed: int) -> float:
        """Fit and score every fold; an exception of scikit-learn is left to the caller."""
        data = DATA[self._data]
        start = seed % 2**32 if self._noisy else _FIXED_SEED
        kind = StratifiedKFold if data.classes else KFold
        splits = kind(self._folds, shuffle=True, random_state=start)
        losses = np.empty(len(self._y))
        for train, test in splits.split(self._x, self._y):
            model = MODELS[self._model].make(parameters, data, len(train), start)
            if not data.classes:
                model = TransformedTargetRegressor(model, transformer=StandardScaler())
            # Diverging steps overflow on their way to a bad score, which is a result too.
            with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(self._x[train], self._y[train])
                told = model.predict(self._x[test])
            wrong = told - self._y[test]
            losses[test] = wrong != 0 if data.classes else wrong**2
        return float(losses.mean() if data.classes else np.sqrt(losses.mean()))


def _some_rows(y: Any, rows: int, *, by_class: bool) -> Any:
    """Positions of some rows, always the same; each class with its share."""
    order = np.random.default_rng(_FIXED_SEED).permutation(len(y))
    if by_class:  # deal out the classes evenly along the order
        rank = np.empty(len(y))
        for label in np.unique(y):
            own = order[y[order] == label]
            rank[own] = (np.arange(len(own)) + 0.5) / len(own)
        order = order[np.argsort(rank[order], kind="stable")]
    return order[:rows]


def problem(name: str, options: Options) -> Problem:
    """The problem of a name such as `svm-digits`. Raises `UsageError` for an unknown one."""
    if name not in NAMES:
        raise UsageError(unknown("tuning problem", name, NAMES))
    model, _, key = name.partition("-")
    data = DATA[key]
    x, y = data.load(return_X_y=True)
    if options.rows:
        least = options.folds * _LEAST_ROWS_PER_FOLD
        if not least <= options.rows <= len(y):
            raise UsageError(
                f"option rows of {name} expected {least} to {len(y)} with {options.folds} folds, "
                f"got {options.rows}; 0 takes all"
            )
        kept = _some_rows(y, options.rows, by_class=data.classes)
        x, y = x[kept], y[kept]
        if data.classes and np.unique(y, return_counts=True)[1].min() < options.folds:
            raise UsageError(
                f"option rows of {name} expected {options.folds} rows of each class or more, "
                f"got {options.rows} in all; use more rows, fewer folds, or 0 for all"
            )
    return Problem(
        name=name,
        space=Space(MODELS[model].space(data)),
        goal=Goal("error" if data.classes else "rmse", "minimize"),
        evaluate=CrossValidation(
            model,
            key,
            np.asarray(x, dtype=np.float64),
            np.asarray(y, dtype=np.float64),
            folds=options.folds,
            noisy=options.noisy,
        ),
    )
