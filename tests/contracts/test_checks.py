"""The checks of surrogates notice the mistakes that they are there for."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from surrogates.registry import Row
from tests.contracts import checks_surrogate

SOURCE = Path(__file__).resolve().parents[1] / "repo" / "toys" / "toy_linear.py"
MISTAKES = {
    "draws from the global state": (
        '"generator": source, ',
        "",
        checks_surrogate.check_nothing_is_drawn_from_global_generators,
    ),
    "intervals half as wide": (
        "self.Y_std**2 * cov",
        "self.Y_std**2 / 4 * cov",
        checks_surrogate.check_intervals_cover_draws_of_a_gaussian_process,
    ),
    "prediction moves the weights": (
        "half.mT @ half +",
        "self.weights.mul_(1.001).mean() * 0 + half.mT @ half +",
        checks_surrogate.check_prediction_never_changes_the_model,
    ),
    "standardised units given back": (
        "self.Y_mean + self.Y_std *",
        "",
        checks_surrogate.check_outcomes_may_have_any_units,
    ),
    "points independent of each other": (
        "half.mT @ half +",
        "torch.diag_embed(half.square().sum(-2)) +",
        checks_surrogate.check_equal_points_have_equal_draws,
    ),
    "gradients cut off": (
        "X / lengthscale",
        "X.detach() / lengthscale",
        checks_surrogate.check_gradients_are_those_of_the_predictions,
    ),
    "a tensor in the state": (
        '"noise_var": noise_var}',
        '"noise_var": noise_var + 0 * train_Y.sum()}',
        checks_surrogate.check_state_is_json_and_starts_the_next_fit,
    ),
    "training mode": (
        "model.eval()",
        "model.train()",
        checks_surrogate.check_fit_returns_a_botorch_model_in_evaluation_mode,
    ),
    "data not looked at": (
        "check_data(train_X",
        "0 and check_data(train_X",
        checks_surrogate.check_bad_data_is_refused_with_a_message,
    ),
    "noise without end at the data": (
        "phi.T @ phi / noise_var",
        "0 * phi.T @ phi",
        checks_surrogate.check_certain_at_the_data_uncertain_away_from_it,
    ),
}


def row_of(code: str, monkeypatch: pytest.MonkeyPatch) -> Row:
    """A row whose module is this code."""
    module = ModuleType("code_under_check")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, module.__name__, "exec"), vars(module))
    words = frozenset({"joint", "gradients"})
    return Row("mine", f"{module.__name__}:fit", "surrogate", words, "Under check")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_noticed(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong, check = MISTAKES[mistake]
    code = SOURCE.read_text(encoding="utf-8")
    assert code.count(right) == 1
    cpu = torch.device("cpu")
    check(row_of(code, monkeypatch), cpu)
    failures: Any = (AssertionError, TypeError, RuntimeError, pytest.fail.Exception)
    with pytest.raises(failures):
        check(row_of(code.replace(right, wrong), monkeypatch), cpu)
