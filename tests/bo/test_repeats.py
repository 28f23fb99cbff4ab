"""One point measured more than once: the belief there lies between, and the noise is seen."""

from typing import Any

import pytest
import torch

from bo import Study, real

AT = 0.5
OPTIONS: dict[str, dict[str, Any]] = {
    "gp-map": {},
    "gp-smc": {"surrogate.particles": 64, "surrogate.kept": 16},
}


def belief(method: str, low: float, high: float) -> tuple[float, float, float, list[float]]:
    """Of a point told as `low`, `high`, `low`, `high`: mean, standard deviation of the function and
    of a measurement, and what was told, all as the model sees them."""
    study = Study(
        {"x": real(0.0, 1.0)}, "minimize loss", method=method, options=OPTIONS[method], seed=0
    )
    told = [(x, 8 * (x - 0.6) ** 2) for x in (0.0, 0.1, 0.25, 0.4, 0.65, 0.8, 0.9, 1.0)]
    for x, loss in [*told, (AT, low), (AT, high), (AT, low), (AT, high)]:
        study.enqueue({"x": x})
        (trial,) = study.ask()
        assert trial.parameters == {"x": x}
        study.tell(trial, loss)
    assert len(study.trials) == len(told) + 4
    (asked,) = study.ask()
    assert asked.method_state, "past the initial design"
    trials = study.trials[:-1]
    state, generator = study._ask_inputs(trials)
    strategy: Any = study.strategy
    found = strategy.belief(trials, 1, state=state, generator=generator)
    where = torch.tensor([[AT]], dtype=torch.float64, device="cpu")
    seen = found.outcomes[(found.observed == where).all(dim=1)].flatten().tolist()
    with torch.no_grad():
        function = found.model.posterior(where)
        measured = found.model.posterior(where, observation_noise=True)
        if found.model._is_fully_bayesian:
            moments = (
                function.mixture_mean,
                function.mixture_variance.sqrt(),
                measured.mixture_variance.sqrt(),
            )
        else:
            moments = function.mean, function.variance.sqrt(), measured.variance.sqrt()
    mean, std, noisy_std = map(float, moments)
    return mean, std, noisy_std, seen


@pytest.mark.parametrize("method", OPTIONS)
def test_a_point_told_with_different_values_is_believed_between_them(method: str) -> None:
    mean, std, noisy_std, seen = belief(method, -0.9, 1.1)
    assert len(seen) == 4
    assert min(seen) < mean < max(seen)
    gap = max(seen) - min(seen)
    assert abs(mean - sum(seen) / 4) < 0.3 * gap
    assert mean - 2 * noisy_std < min(seen)
    assert max(seen) < mean + 2 * noisy_std
    assert std < 0.7 * noisy_std, "what is uncertain is the measurement, more than the function"
    _, _, certain_std, _ = belief(method, 0.1, 0.1)
    assert noisy_std > 3 * certain_std, "the same value four times tells of no noise"
