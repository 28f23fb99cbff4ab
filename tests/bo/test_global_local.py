"""The strategy `gp-global-local`: whose turn it is, and what each tells the other."""

import numpy as np
import pytest
from torch import Generator

from bo.goals import Goal
from bo.methods import make_strategy
from bo.space import Parameters, Space, real
from bo.strategies.auto import LATE, SOME, Auto
from bo.strategies.global_local import GlobalLocal, Options
from bo.strategies.model_based import INITIAL, ModelBased
from bo.strategies.trust_region import TrustRegion, _chosen
from bo.study import Study
from surrogates.errors import UsageError

LOSS = Goal("value", "minimize")
SPACE = Space({f"x{i}": real(0.0, 1.0) for i in range(4)})


def loss(p: Parameters) -> float:
    return sum((float(value) - 0.3 - 0.1 * i) ** 2 for i, value in enumerate(p.values()))


def study(name: str, n: int, batch: int = 1, **options: int) -> Study:
    made = Study(
        SPACE, "minimize value", name=name, method="gp-global-local", options=options, seed=2
    )
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


def test_the_region_waits_for_so_many_outcomes_per_parameter() -> None:
    kinds = [_chosen(trial) for trial in study("late", 20, after=3).trials]
    assert kinds == [number >= 12 and number % 2 == 1 for number in range(20)]


def test_the_region_s_model_sees_few_points_where_told() -> None:
    strategy = GlobalLocal(SPACE, LOSS, Options(nearest=1, best=1), 0)
    trials = study("few", 20).trials
    region = strategy.box._region(trials, trials[-1].method_state)
    assert 4 <= len(strategy.box._local(trials, region)) <= 8
    assert len(GlobalLocal(SPACE, LOSS, Options(), 0).box._local(trials, region)) == 20


@pytest.mark.parametrize(
    ("count", "name"),
    [(7, "gp-map"), (8, "gp-global-local"), (20, "gp-global-local"), (21, "gp-global-local")],
)
def test_auto_takes_it_for_many_parameters_and_late_up_to_twenty(count: int, name: str) -> None:
    space = Space({f"x{i}": real(0.0, 1.0) for i in range(count)})
    made = make_strategy("auto", space, LOSS, {}, 0)
    assert isinstance(made, Auto)
    assert made.note is not None
    assert made.note.startswith(f"auto chose {name}: {count} parameters")
    assert isinstance(made.strategy, GlobalLocal) == (count >= SOME)
    assert (made.drawn is None) == (count == 21)
    if isinstance(made.strategy, GlobalLocal):
        assert made.strategy.after == (0 if count == 21 else LATE["after"] * count)


def test_auto_goes_on_with_its_region_after_asks_by_drawn_hyperparameters() -> None:
    space = Space({f"x{i}": real(0.0, 1.0) for i in range(SOME)})
    made = Study(space, "minimize value", method="auto", seed=0)
    late = LATE["after"] * SOME
    while len(made.trials) < late + 4:
        (trial,) = made.ask()
        made.tell(trial, loss(trial.parameters))
    assert [_chosen(trial) for trial in made.trials[late:]] == [False, True, False, True]
    strategy = made.strategy
    assert isinstance(strategy, Auto)
    state = dict(made.trials[-1].method_state or {})
    state["region"] = {**state["region"], "start": 5, "restarts": 1}
    state["diagnostics"] = {"noise_var": 0.5}
    generator = Generator(device="cpu").manual_seed(0)
    _, kept = strategy.ask(made.trials, 1, state=state, generator=generator)
    assert kept is not None
    assert kept["drawn"]
    assert kept["region"]["start"] == 5
    assert kept["region"]["restarts"] == 1


def test_it_has_the_options_of_the_model_of_the_whole() -> None:
    made = make_strategy("gp-global-local", SPACE, LOSS, {"acquisition": "ucb"}, 0)
    assert isinstance(made, GlobalLocal)
    assert made.whole.options.acquisition == "ucb"
    with pytest.raises(UsageError, match="length"):
        make_strategy("gp-global-local", SPACE, LOSS, {"length": "2"}, 0)
