"""What all environments promise (`rl/contract.py`): functions of a row, a name and a device."""

import torch
from torch import Tensor

from rl.contract import Environments, Steps
from surrogates.registry import Row
from tests.contracts.common import kept, no_global_draws, same, saved_and_loaded, uniform
from tests.contracts.rows import options_of

STEPS = 40
"""Long enough for episodes to end at the reduced time limit."""


def environments(
    row: Row, name: str, device: torch.device, n: int = 5, seed: int = 0
) -> Environments:
    """n copies."""
    return row.load()(name, options_of(row), n, seed, device)


def random_actions(made: Environments, device: torch.device, number: int) -> Tensor:
    """(n,) actions."""
    return (uniform(made.n, use=("actions", number), device=device) * made.actions).long()


def walk(made: Environments, device: torch.device, numbers: range) -> list[Steps]:
    """Random steps."""
    return [made.step(random_actions(made, device, number)) for number in numbers]


def parts(steps: Steps) -> list[Tensor]:
    """The tensors of a step."""
    return [
        steps.observations,
        steps.rewards,
        steps.terminated,
        steps.truncated,
        steps.final_observations,
    ]


def check_shapes_and_types_are_those_of_the_contract(
    row: Row, name: str, device: torch.device
) -> None:
    for n in (1, 5):
        made = environments(row, name, device, n)
        assert made.n == n
        assert made.d >= 1
        assert made.actions >= 2
        assert made.reset().shape == (n, made.d)
        for steps in walk(made, device, range(3)):
            assert steps.observations.shape == steps.final_observations.shape == (n, made.d)
            assert steps.rewards.shape == steps.terminated.shape == steps.truncated.shape == (n,)
            assert steps.terminated.dtype == steps.truncated.dtype == torch.bool
            for values in parts(steps):
                assert values.device.type == device.type
                assert torch.isfinite(values).all()
            assert steps.observations.dtype == steps.rewards.dtype == torch.float32


def check_ended_episodes_begin_anew_at_once(row: Row, name: str, device: torch.device) -> None:
    made = environments(row, name, device)
    made.reset()
    ends = 0
    for steps in walk(made, device, range(STEPS)):
        ended = steps.terminated | steps.truncated
        assert not (steps.terminated & steps.truncated).any()
        same_row = (steps.observations == steps.final_observations).all(dim=1)
        assert (same_row == ~ended).all()
        ends += int(ended.sum())
    assert ends > 0


def check_same_seed_gives_the_same_episodes(row: Row, name: str, device: torch.device) -> None:
    one, other = environments(row, name, device), environments(row, name, device)
    assert same(one.reset(), other.reset())
    for mine, theirs in zip(
        walk(one, device, range(STEPS)), walk(other, device, range(STEPS)), strict=True
    ):
        assert same(parts(mine), parts(theirs))


def check_copies_and_seeds_have_episodes_of_their_own(
    row: Row, name: str, device: torch.device
) -> None:
    first = environments(row, name, device).reset()
    assert len(torch.unique(first, dim=0)) == 5
    assert not same(environments(row, name, device, seed=1).reset(), first)


def check_it_goes_on_in_mid_episode_bit_for_bit(row: Row, name: str, device: torch.device) -> None:
    one = environments(row, name, device)
    one.reset()
    walk(one, device, range(STEPS // 2))
    state = one.state_dict()
    before = kept(state)
    other = environments(row, name, device, seed=1)
    other.reset()
    other.load_state_dict(saved_and_loaded(state))
    for number in range(STEPS // 2, 2 * STEPS):
        found = [parts(made.step(random_actions(made, device, number))) for made in (one, other)]
        assert same(*found)
    assert same(state, before), "stepping must not reach a state that was given out"


def check_steps_are_not_rewritten_later(row: Row, name: str, device: torch.device) -> None:
    made = environments(row, name, device)
    first = made.reset()
    copied = first.clone()
    (steps,) = walk(made, device, range(1))
    before = kept(parts(steps))
    walk(made, device, range(1, 4))
    assert same(first, copied)
    assert same(parts(steps), before)


def check_nothing_is_drawn_from_global_generators(
    row: Row, name: str, device: torch.device
) -> None:
    row.load()  # imports may draw
    with no_global_draws():
        made = environments(row, name, device)
        made.reset()
        walk(made, device, range(5))
