"""The strategy `gp-trust-region`: how the region moves, and what is asked in it."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from bo.contract import Trial
from bo.goals import Goal
from bo.methods import make_strategy
from bo.space import Parameters, Space, boolean, choice, integer, ordinal, real
from bo.strategies.trust_region import LONGEST, SHORTEST, Options, Region, TrustRegion
from bo.study import Study
from surrogates.errors import UsageError

LOSS = Goal("value", "minimize")
PLANE = Space({"x": real(0.0, 1.0), "y": real(0.0, 1.0)})
TREE = Space(
    {
        "kind": choice("a", "b", "c"),
        "slope": real(0.0, 0.3, when={"kind": "a"}),
        "x": real(1e-3, 1e1, log=True),
        "k": integer(1, 20),
        "size": ordinal(1, 2, 4, 8),
        "flag": boolean(),
    },
    subject_to=["x + k <= 15"],
)
MIXTURE = Space({name: real(0.0, 1.0) for name in "abc"}, subject_to=["a + b + c == 1", "a <= 0.6"])


def strategy(space: Space = PLANE, **more: Any) -> TrustRegion:
    return TrustRegion(space, LOSS, Options(**more), 0)


def ask(
    made: TrustRegion,
    trials: Sequence[Trial],
    n: int = 1,
    state: Mapping[str, Any] | None = None,
) -> tuple[list[Parameters], Mapping[str, Any] | None]:
    generator = torch.Generator(device="cpu").manual_seed(len(trials))
    return made.ask(trials, n, state=state, generator=generator)


def chosen(values: Sequence[float | str], *, together: int = 1, start: int = 0) -> list[Trial]:
    """A design of four, then trials of the region with such values; a text is a state."""
    trials = [
        Trial(start + i, {"x": 0.2 * i, "y": 0.7 - 0.1 * i}, "complete", {"value": 9.0 + i})
        for i in range(4)
    ]
    for i, value in enumerate(values):
        number = start + 4 + i
        asked = start + 4 + i // together * together
        told = {"region": {"start": start, "restarts": 0, "asked": asked, "designed": 0}}
        point: Parameters = {"x": 0.4 + 0.001 * i, "y": 0.5 - 0.002 * i}
        made = (
            Trial(number, point, "complete", {"value": value})
            if isinstance(value, float)
            else (
                Trial(number, point, value)  # pyright: ignore[reportArgumentType]
            )
        )
        trials.append(dataclasses.replace(made, method_state=told, revision=number))
    return trials


def region(values: Sequence[float | str], **more: Any) -> Region:
    return strategy()._region(chosen(values, **more), None)


def test_three_improvements_double_the_side_and_two_failures_of_two_parameters_halve_it() -> None:
    assert region([8.0, 7.0]) == Region(0, 0.8, 2, 0, 0)
    assert region([8.0, 7.0, 6.0]) == Region(0, LONGEST, 0, 0, 0)
    assert region([8.0, 7.0, 6.0, 5.0, 4.0, 3.0]).length == LONGEST, "never above"
    assert region([8.0, 9.0]) == Region(0, 0.8, 0, 1, 0)
    assert region([9.5, 9.0]) == Region(0, 0.4, 0, 0, 0)
    assert region([9.5, 8.0, 9.5]) == Region(0, 0.8, 0, 1, 0), "an improvement begins anew"
    assert region([8.0, 7.0, 7.0, 6.0, 5.0]).length == 0.8, "no three in a row"


def test_failed_trials_are_failures_and_running_ones_are_waited_for() -> None:
    assert region(["failed", "failed"]).length == 0.4
    assert region(["failed", "running", "running"]).failures == 1
    batch = region([8.0, 9.9, 9.9, "running"], together=4)
    assert batch == Region(0, 0.8, 0, 0, 0), "a batch counts once it is finished"
    assert region([8.0, 9.9, 9.9, 9.9], together=4) == Region(0, 0.8, 1, 0, 0)


def test_trials_that_others_chose_move_no_side() -> None:
    others = [dataclasses.replace(t, method_state=None) for t in chosen([9.5] * 30)]
    assert strategy()._region(others, None).length == 0.8
    designed = [
        dataclasses.replace(t, method_state={"region": {"start": 0, "asked": 0, "designed": 99}})
        for t in chosen([9.5] * 30)
    ]
    assert strategy()._region(designed, None).length == 0.8


def test_a_region_that_is_too_small_gives_way_to_another_one() -> None:
    halvings = int(np.ceil(np.log2(0.8 / SHORTEST)))
    trials = chosen([9.5] * (2 * halvings))
    assert strategy()._region(trials[:-1], None).restarts == 0
    assert strategy()._region(trials, None) == Region(len(trials), 0.8, 0, 0, 1)
    points, state = ask(strategy(), trials, 2)
    assert state is not None
    assert state["region"] | {"length": 0.8} == {
        "start": len(trials),
        "length": 0.8,
        "successes": 0,
        "failures": 0,
        "restarts": 1,
        "asked": len(trials),
        "designed": 2,
    }
    later = [*trials, *(Trial(len(trials) + i, p, "running") for i, p in enumerate(points))]
    again = strategy()._region(later, json.loads(json.dumps(state)))
    assert again == Region(len(trials), 0.8, 0, 0, 1)
    assert strategy()._local(later, again) == later[-2:], "old trials are no data of the new region"


def test_points_lie_in_the_box_around_the_best_and_it_is_longer_where_nothing_changes() -> None:
    def along(x: float) -> dict[str, float]:
        return {"value": 20.0 * (x - 0.7) ** 2}

    # Four halvings: a side of 0.05.
    trials = [
        dataclasses.replace(trial, values=along(float(trial.parameters["x"])))
        for trial in chosen([9.5] * 8)
    ]
    more = [
        Trial(12 + i, {"x": float(x), "y": float(y)}, "complete", along(float(x)))
        for i, (x, y) in enumerate(np.random.default_rng(0).random((20, 2)))
    ]
    made = strategy()
    log = [*trials, *more]
    told = made._region(log, None)
    assert told.length == pytest.approx(0.05)
    generator = torch.Generator(device="cpu").manual_seed(1)
    belief = made.belief(log, 1, state=None, generator=generator)
    assert belief is not None
    box = made._box(belief, told)
    best = min(log, key=lambda t: t.values["value"])
    assert abs(box.centre[0] - float(best.parameters["x"])) < 0.05
    sides = box.high - box.low
    assert sides[1] > 2 * sides[0]
    points, _ = ask(made, log, 3)
    uniforms = PLANE.to_uniforms(points)
    assert ((uniforms >= box.low - 1e-9) & (uniforms <= box.high + 1e-9)).all()


@pytest.mark.parametrize("space", [TREE, MIXTURE], ids=["tree", "mixture"])
def test_points_are_allowed_and_new_in_any_space(space: Space) -> None:
    trials: list[Trial] = []
    state: Mapping[str, Any] | None = None
    made = strategy(space, initial=6)
    while len(trials) < 14:
        points, state = ask(made, trials, 2, state)
        json.dumps(state, allow_nan=False)
        for point in points:
            assert space.check(point) == point
            number = len(trials)
            value = float(space.encode([point])[0].sum())
            trials.append(
                Trial(
                    number,
                    point,
                    "failed" if number % 5 == 3 else "complete",
                    {} if number % 5 == 3 else {"value": value},
                    method_state=state,
                    revision=number,
                )
            )
    keys = [space.key(trial.parameters) for trial in trials]
    assert len(set(keys)) == len(keys)


def test_a_pool_gives_rows_near_the_best() -> None:
    grid: list[Parameters] = [{"x": i / 29, "y": j / 29} for i in range(30) for j in range(30)]
    space = Space(PLANE.parameters, candidates=grid)
    rows = np.random.default_rng(0).permutation(870)[:40]

    def bowl(point: Parameters) -> dict[str, float]:
        return {"value": (float(point["x"]) - 0.5) ** 2 + (float(point["y"]) - 0.4) ** 2}

    near = [Trial(i, grid[row], "complete", bowl(grid[row])) for i, row in enumerate(rows)]
    told = {"region": {"start": 0, "restarts": 0, "asked": 40, "designed": 0}}
    failing = [
        Trial(40 + i, grid[880 + i], "complete", bowl(grid[880 + i]), method_state=told, revision=i)
        for i in range(8)
    ]
    points, _ = ask(strategy(space), [*near, *failing], 4)
    gaps = np.array([[float(p["x"]) - 0.5, float(p["y"]) - 0.4] for p in points])
    assert len({space.key(point) for point in points}) == 4
    assert np.abs(gaps).max() < 0.2


def test_its_model_sees_what_is_near_the_best_and_what_is_good_and_all_that_runs() -> None:
    places = [(0.5, 5.0), (0.51, 7.0), (0.52, 8.0), (0.9, 6.0), (0.1, 4.0), (0.12, 9.0), (0.2, 9.5)]
    trials = [
        Trial(i, {"x": x, "y": 0.5}, "complete", {"value": value})
        for i, (x, value) in enumerate(places)
    ]
    trials += [Trial(7, {"x": 0.11, "y": 0.5}, "failed"), Trial(8, {"x": 0.8, "y": 0.5}, "running")]

    def seen(**more: Any) -> list[int]:
        return [t.number for t in strategy(**more)._local(trials, Region(0, 0.8, 0, 0, 0))]

    assert seen() == list(range(9))
    assert seen(nearest=1) == [4, 7, 8]  # two of two parameters: 0.1 itself and the failed one
    assert seen(best=1) == [0, 4, 8]
    assert seen(nearest=1, best=2) == [0, 1, 3, 4, 7, 8]
    assert seen(nearest=9, best=1) == list(range(9))


def test_a_study_goes_on_bit_for_bit_with_points_pending() -> None:
    def objective(point: Parameters) -> float:
        return (float(point["x"]) - 0.3) ** 2 + (float(point["y"]) - 0.6) ** 2

    def run(parts: Sequence[int]) -> list[Parameters]:
        name = f"parts-{len(parts)}"
        study = Study(PLANE, "minimize value", name=name, method="gp-trust-region", seed=4)
        for budget in parts:
            study.strategy = make_strategy("gp-trust-region", PLANE, LOSS, {}, study.seed)
            study.run(objective, budget=budget)
        return [trial.parameters for trial in study.trials]

    assert run([9]) == run([6, 9])


def test_its_options_are_checked() -> None:
    with pytest.raises(UsageError, match="option length expected 0.01 to 1.6, got 2"):
        make_strategy("gp-trust-region", PLANE, LOSS, {"length": "2"}, 0)


def test_it_finds_the_bottom_of_a_bowl_in_eight_dimensions() -> None:
    space = Space({f"x{i}": real(0.0, 1.0) for i in range(8)})

    def bowl(point: Parameters) -> float:
        return float(sum((float(value) - 0.4) ** 2 for value in point.values()))

    study = Study(space, "minimize value", method="gp-trust-region", seed=1)
    best = study.run(bowl, budget=45).best_value
    assert best is not None
    assert best < 1e-3
