"""The default where outcomes are noisy: who is asked, and what each is told."""

import dataclasses
import random

import pytest
from torch import Generator

import bo
from bo.goals import Goals
from bo.methods import make_strategy
from bo.strategies.auto import FEW, MOST, Auto

SPACE = bo.Space({"x": bo.real(0.0, 1.0), "y": bo.real(0.0, 1.0)})


def outcome(parameters, seed: int, noise: float) -> float:
    x, y = parameters["x"], parameters["y"]
    return (x - 0.3) ** 2 + (y - 0.6) ** 2 + noise * random.Random(seed).gauss(0.0, 1.0)


def study(noise: float, trials: int, seed: int = 0) -> bo.Study:
    made = bo.Study(SPACE, "minimize loss", method="auto", seed=seed)
    for number in range(trials):
        (trial,) = made.ask()
        made.tell(trial, outcome(trial.parameters, number, noise))
    return made


def auto() -> Auto:
    made = make_strategy("auto", SPACE, Goals.parse("minimize loss"), {}, 0)
    assert isinstance(made, Auto)
    return made


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hyperparameters_are_drawn_while_outcomes_are_few_or_noisy(seed: int) -> None:
    noisy = [trial.method_state for trial in study(0.2, 25, seed).trials]
    assert all(state["drawn"] for state in noisy if state is not None)
    assert noisy[-1] is not None
    assert "rhat_max" in noisy[-1]["diagnostics"] or "drift" in noisy[-1]["diagnostics"]
    quiet = [trial.method_state for trial in study(0.0, 25, seed).trials]
    assert all("drawn" in state for state in quiet[: FEW + 1] if state is not None)
    assert quiet[FEW] is not None
    assert quiet[-1] is not None
    assert "drawn" not in quiet[-1]


def test_turns_by_what_is_fitted_and_by_what_is_told() -> None:
    strategy, trials = auto(), study(0.0, 5).trials * 4
    assert strategy._turn(trials[:FEW], None) == (strategy.drawn, None)
    assert (strategy.note or "").endswith("; gp-smc asks: few outcomes")
    assert strategy._turn(trials[: FEW + 1], None) == (strategy.strategy, None)
    state = {"diagnostics": {"noise_var": 0.0199}, "surrogates": {"loss": {}}, "scale": {"at": 9}}
    assert strategy._turn(trials, state) == (strategy.strategy, state)
    assert (strategy.note or "").endswith("; gp-map asks: noise below 2%")
    loud = {**state, "diagnostics": {"noise_var": 0.02}}
    turn, before = strategy._turn(trials, loud)
    assert turn is strategy.drawn
    assert (strategy.note or "").endswith("; gp-smc asks: noise 2.0% of the variance")
    assert before is not None
    assert "surrogates" not in before
    assert before["scale"] == {"at": 9}
    kept = {**loud, "drawn": True}
    assert strategy._turn(trials, kept) == (strategy.drawn, kept)
    calm = {**state, "drawn": True}
    turn, before = strategy._turn(trials, calm)
    assert turn is strategy.strategy
    assert before is not None
    assert "surrogates" not in before
    many = [trials[0]] * (MOST + 1)
    assert strategy._turn(many, loud)[0] is strategy.strategy
    assert (strategy.note or "").endswith(f"; gp-map asks: more than {MOST} outcomes")
    told = [dataclasses.replace(trial, sems={"loss": 1.0}) for trial in trials]
    assert strategy._turn(told, state)[0] is strategy.drawn
    exact = [dataclasses.replace(trial, sems={"loss": 1e-9}) for trial in trials]
    assert strategy._turn(exact, loud)[0] is strategy.strategy


def test_belief_is_that_of_the_ask() -> None:
    trials = study(0.2, 25).trials
    state = trials[-1].method_state
    generators = [Generator(device="cpu").manual_seed(3) for _ in range(2)]
    asked = auto()
    asked.ask(trials, 1, state=state, generator=generators[0])
    belief = auto().belief(trials, 1, state=state, generator=generators[1])
    assert belief is not None
    assert type(belief.model).__name__ == "MixtureGP"


@pytest.mark.parametrize(
    "goals",
    [Goals.parse("minimize loss, minimize cost"), Goals.of("minimize loss", ["cost <= 1"])],
    ids=str,
)
def test_several_goals_and_constraints_keep_to_one_model(goals: Goals) -> None:
    kept = make_strategy("auto", SPACE, goals, {}, 0)
    assert isinstance(kept, Auto)
    assert kept.drawn is None
    assert auto().drawn is not None
    assert (auto().note or "").startswith("auto chose gp-map: 2 parameters")


@pytest.mark.parametrize("seed", [0, 1])
def test_hyperparameters_are_drawn_over_a_pool_too(seed: int) -> None:
    candidates = [{"x": i / 7, "y": j / 5} for i in range(8) for j in range(6)]
    pool = bo.Space(SPACE.parameters, candidates=candidates)
    made = bo.Study(pool, "minimize loss", method="auto", seed=seed)
    for number in range(FEW + 3):
        (trial,) = made.ask()
        made.tell(trial, outcome(trial.parameters, number, 0.0))
    few, more = made.trials[FEW].method_state, made.trials[-1].method_state
    assert few is not None
    assert "drawn" in few
    assert more is not None
    assert "drawn" not in more
    assert min(trial.values["loss"] for trial in made.trials) < 0.001  # one of 48: (2/7, 3/5)
