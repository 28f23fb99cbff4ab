"""The strategy `gp-global-local`: whose turn it is, and what each tells the other."""

import numpy as np
import pytest

from bo.goals import Goal
from bo.methods import make_strategy
from bo.space import Parameters, Space, real
from bo.strategies.auto import Auto
from bo.strategies.global_local import GlobalLocal
from bo.strategies.model_based import INITIAL, ModelBased, Options
from bo.strategies.trust_region import TrustRegion, _chosen
from bo.study import Study
from surrogates.errors import UsageError

LOSS = Goal("value", "minimize")
SPACE = Space({f"x{i}": real(0.0, 1.0) for i in range(4)})


def loss(p: Parameters) -> float:
    return sum((float(value) - 0.3 - 0.1 * i) ** 2 for i, value in enumerate(p.values()))


def study(name: str, n: int, batch: int = 1) -> Study:
    made = Study(SPACE, "minimize value", name=name, method="gp-global-local", seed=2)
    while len(made.trials) < n:
        for trial in made.ask(batch):
            made.tell(trial, loss(trial.parameters))
    return made


def test_every_second_ask_is_the_region_s_and_it_counts_no_other_points() -> None:
    trials = study("turns", 20).trials
    kinds = [_chosen(trial) for trial in trials]
    assert kinds[INITIAL:] == [number % 2 == 1 for number in range(INITIAL, 20)]
    strategy = GlobalLocal(SPACE, LOSS, Options(), 0)
    state = trials[-1].method_state
    region = strategy.box._region(trials, state)
    own = [batch for batch in strategy.box._batches(trials, 0) if _chosen(batch[0])]
    assert len(own) == sum(kinds)
    assert region.start == 0
    assert region.restarts == 0


def test_points_of_one_ask_are_all_of_one_turn() -> None:
    trials = study("batches", 21, batch=3).trials
    kinds = [_chosen(trial) for trial in trials]
    for at in range(INITIAL, 21, 3):
        assert set(kinds[at : at + 3]) == {(at // 3) % 2 == 1}


def test_points_of_the_region_lie_nearer_to_the_best_than_those_of_the_whole() -> None:
    trials = study("near", 40).trials
    distances: dict[bool, list[float]] = {False: [], True: []}
    for number in range(8, 40):
        best = min(trials[:number], key=lambda trial: trial.values["value"])
        at, here = (SPACE.encode([t.parameters])[0] for t in (best, trials[number]))
        distances[_chosen(trials[number])].append(float(np.abs(at - here).max()))
    assert np.median(distances[True]) < np.median(distances[False])


def test_a_study_goes_on_in_another_process_as_in_one() -> None:
    whole = study("whole", 16)
    again = study("again", 9)
    again.strategy = make_strategy("gp-global-local", SPACE, LOSS, {}, again.seed)
    while len(again.trials) < 16:
        (trial,) = again.ask()
        again.tell(trial, loss(trial.parameters))
    assert [t.parameters for t in again.trials] == [t.parameters for t in whole.trials]


def test_belief_is_that_of_the_one_whose_turn_it_is() -> None:
    strategy = GlobalLocal(SPACE, LOSS, Options(), 0)
    trials = study("belief", 9).trials
    assert isinstance(strategy._turn(trials, 1), TrustRegion)
    assert isinstance(strategy._turn(trials[:8], 1), ModelBased)


def test_auto_takes_it_for_more_than_twenty_parameters_only() -> None:
    for count, name in ((20, "gp-map"), (21, "gp-global-local")):
        space = Space({f"x{i}": real(0.0, 1.0) for i in range(count)})
        made = make_strategy("auto", space, LOSS, {}, 0)
        assert isinstance(made, Auto)
        assert made.note is not None
        assert made.note.startswith(f"auto chose {name}: {count} parameters")
        assert isinstance(made.strategy, GlobalLocal) == (count == 21)


def test_it_has_the_options_of_the_model_of_the_whole() -> None:
    made = make_strategy("gp-global-local", SPACE, LOSS, {"acquisition": "ucb"}, 0)
    assert isinstance(made, GlobalLocal)
    assert made.whole.options.acquisition == "ucb"
    with pytest.raises(UsageError, match="length"):
        make_strategy("gp-global-local", SPACE, LOSS, {"length": "2"}, 0)
