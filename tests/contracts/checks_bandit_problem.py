"""What every bandit problem promises (`rl/contract.py`): of a row, a name and a device."""

import torch

from rl.contract import BanditProblem, Outcome
from surrogates.registry import Row
from tests.contracts.common import (
    generator,
    kept,
    no_global_draws,
    same,
    saved_and_loaded,
    uniform,
)
from tests.contracts.rows import options_of


def problem(row: Row, name: str, device: torch.device, seed: int = 0) -> BanditProblem:
    """The problem's instance of a seed."""
    return row.load()(name, options_of(row), seed, device)


def played(made: BanditProblem, b: int, device: torch.device) -> torch.Tensor:
    """b arms, (b,)."""
    return (uniform(b, use=("played", b), device=device) * made.arms.count).long()


def one_round(made: BanditProblem, b: int, device: torch.device, use: object = 0) -> Outcome:
    """Contexts, then what the arms pay in them."""
    seen = made.contexts(b, generator=generator("contexts", use, device=device))
    return made.pull(
        seen, played(made, b, device), generator=generator("rewards", use, device=device)
    )


def check_it_says_what_it_is(row: Row, name: str, device: torch.device) -> None:
    made = problem(row, name, device)
    assert made.name == name
    assert made.arms.count >= 2
    assert made.arms.d >= 1
    assert made.arms.binary == ("binary" in row.capabilities)


def check_contexts_have_a_row_per_arm(row: Row, name: str, device: torch.device) -> None:
    made = problem(row, name, device)
    for b in (1, 5):
        seen = made.contexts(b, generator=generator("shapes", device=device))
        assert seen.shape == (b, made.arms.count, made.arms.d)
        assert seen.is_floating_point()
        assert seen.device.type == device.type
        assert torch.isfinite(seen).all()
        if not made.arms.shared:
            assert same(seen.contiguous(), seen[:, :1].expand_as(seen).contiguous())


def check_contexts_vary_where_that_is_declared(row: Row, name: str, device: torch.device) -> None:
    seen = problem(row, name, device).contexts(50, generator=generator("many", device=device))
    distinct = len(torch.unique(seen[:, 0], dim=0))
    assert (distinct > 1) == ("context" in row.capabilities)


def check_rewards_have_one_per_environment(row: Row, name: str, device: torch.device) -> None:
    made = problem(row, name, device)
    for b in (1, 5):
        outcome = one_round(made, b, device)
        for values in (outcome.rewards, outcome.expected, outcome.best):
            if values is not None:
                assert values.shape == (b,)
                assert values.device.type == device.type
                assert torch.isfinite(values).all()
        if made.arms.binary:
            assert ((outcome.rewards == 0) | (outcome.rewards == 1)).all()


def check_no_arm_is_better_than_the_best(row: Row, name: str, device: torch.device) -> None:
    outcome = one_round(problem(row, name, device), 200, device)
    assert (outcome.expected is None) == (outcome.best is None)
    if outcome.expected is not None and outcome.best is not None:
        assert (outcome.expected <= outcome.best + 1e-12).all()


def check_rewards_are_as_expected_on_average(row: Row, name: str, device: torch.device) -> None:
    outcome = one_round(problem(row, name, device), 2000, device)
    if outcome.expected is None:
        return
    error = outcome.rewards - outcome.expected
    # Six standard errors: by chance once in 5e8 seeds. Without noise the error is 0.
    assert abs(float(error.mean())) <= 6 * float(error.std()) / 2000**0.5


def check_same_seeds_give_the_same_rounds(row: Row, name: str, device: torch.device) -> None:
    one, other = problem(row, name, device), problem(row, name, device)
    for use in range(3):
        found = [one_round(made, 5, device, use) for made in (one, other)]
        assert same(found[0].rewards, found[1].rewards)
        assert same(found[0].expected, found[1].expected)


def check_playing_needs_no_more_than_its_generators(
    row: Row, name: str, device: torch.device
) -> None:
    made = problem(row, name, device)
    one_round(made, 5, device, "first")
    one_round(made, 1, device, "second")
    fresh = problem(row, name, device)
    fresh.load_state_dict(made.state_dict())
    assert same(one_round(made, 5, device).rewards, one_round(fresh, 5, device).rewards)


def check_it_goes_on_between_contexts_and_rewards(
    row: Row, name: str, device: torch.device
) -> None:
    one = problem(row, name, device)
    one_round(one, 5, device)
    seen = one.contexts(5, generator=generator("between", device=device))
    state = one.state_dict()
    before = kept(state)
    other = problem(row, name, device)
    other.load_state_dict(saved_and_loaded(state))
    arms = played(one, 5, device)
    found = [
        made.pull(seen, arms, generator=generator("after", device=device)).rewards
        for made in (one, other)
    ]
    assert same(*found)
    one.contexts(5, generator=generator("later", device=device))
    assert same(state, before), "playing must not reach a state that was given out"


def check_pulling_never_changes_the_contexts(row: Row, name: str, device: torch.device) -> None:
    made = problem(row, name, device)
    seen = made.contexts(5, generator=generator("kept", device=device))
    before = seen.clone()
    made.pull(seen, played(made, 5, device), generator=generator("kept", device=device))
    assert same(seen.contiguous(), before.contiguous())


def check_nothing_is_drawn_from_global_generators(
    row: Row, name: str, device: torch.device
) -> None:
    row.load()  # imports may draw
    with no_global_draws():
        one_round(problem(row, name, device), 5, device)
