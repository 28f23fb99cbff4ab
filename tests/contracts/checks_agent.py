"""What every RL agent promises (`rl/contract.py`): functions of a row and a device."""

import math
from collections.abc import Mapping

import torch

from rl.contract import Agent, Transition
from surrogates.registry import Row
from tests.contracts.common import (
    generator,
    kept,
    no_global_draws,
    normal,
    same,
    saved_and_loaded,
    uniform,
)
from tests.contracts.rows import options_of

D, ACTIONS = 4, 3


def agent(row: Row, device: torch.device, seed: int = 0) -> Agent:
    """The agent with the initial weights of a seed."""
    return row.load()(
        d=D,
        actions=ACTIONS,
        options=options_of(row),
        device=device,
        generator=generator("weights", seed, device=device),
    )


def observations(n: int, device: torch.device, *use: object) -> torch.Tensor:
    """(n, d) observations."""
    return normal(n, D, use=("observations", n, *use), device=device, dtype=torch.float32)


def transitions(n: int, device: torch.device, number: int) -> Transition:
    """n transitions; the first action pays."""
    actions = (uniform(n, use=("actions", number), device=device) * ACTIONS).long()
    return Transition(
        observations(n, device, number),
        actions,
        (actions == 0).float(),
        observations(n, device, number + 1),
        uniform(n, use=("ends", number), device=device) < 0.1,
    )


def taught(row: Row, device: torch.device) -> Agent:
    """The agent after steps enough to have learnt."""
    made = agent(row, device)
    learn(made, device, range(20))
    return made


def learn(made: Agent, device: torch.device, numbers: range) -> None:
    """One step of 8 environments per number."""
    for number in numbers:
        made.update(
            transitions(8, device, number), generator=generator("learn", number, device=device)
        )


def check_options_serve_the_training_loop(row: Row, device: torch.device) -> None:
    options = options_of(row)
    assert options.environments >= 1
    assert options.evaluate_every >= 1


def check_it_names_one_action_per_environment(row: Row, device: torch.device) -> None:
    for made in (agent(row, device), taught(row, device)):
        for n in (1, 5):
            seen = observations(n, device)
            explored = made.act(seen, generator=generator("explore", device=device))
            for actions in (explored, made.greedy(seen)):
                assert actions.shape == (n,)
                assert actions.dtype == torch.int64
                assert actions.device.type == device.type
                assert ((actions >= 0) & (actions < ACTIONS)).all()


def check_acting_never_changes_it(row: Row, device: torch.device) -> None:
    made = taught(row, device)
    before = kept(made.state_dict())
    seen = observations(5, device)
    first = made.act(seen, generator=generator("explore", device=device))
    greedy = made.greedy(seen)
    assert same(made.state_dict(), before)
    assert same(made.act(seen, generator=generator("explore", device=device)), first)
    assert same(made.greedy(seen), greedy)


def check_learning_changes_the_weights_and_returns_finite_metrics(
    row: Row, device: torch.device
) -> None:
    made = agent(row, device)
    before = kept(made.weights())
    metrics: Mapping[str, float] = {}
    for number in range(20):
        metrics = made.update(
            transitions(8, device, number), generator=generator("learn", number, device=device)
        )
    assert isinstance(metrics, Mapping)
    assert all(math.isfinite(value) for value in metrics.values())
    assert not same(made.weights(), before)


def check_same_seeds_give_the_same_agent_bit_for_bit(row: Row, device: torch.device) -> None:
    assert same(taught(row, device).state_dict(), taught(row, device).state_dict())


def check_another_seed_gives_other_weights(row: Row, device: torch.device) -> None:
    assert not same(agent(row, device, 1).weights(), agent(row, device, 2).weights())


def check_it_goes_on_from_a_checkpoint_bit_for_bit(row: Row, device: torch.device) -> None:
    one = taught(row, device)
    other = agent(row, device, seed=1)
    other.load_state_dict(saved_and_loaded(one.state_dict()))
    assert same(other.state_dict(), one.state_dict())
    for made in (one, other):
        learn(made, device, range(20, 25))
    assert same(other.state_dict(), one.state_dict())


def check_state_and_weights_are_copies(row: Row, device: torch.device) -> None:
    made = taught(row, device)
    given = (made.state_dict(), made.weights())
    before = kept(given)
    learn(made, device, range(20, 25))
    assert same(given, before), "learning must not reach what was given out"
    other = agent(row, device, seed=1)
    other.load_state_dict(given[0])
    other.load_weights(given[1])
    learn(other, device, range(20, 25))
    assert same(given, before), "learning must not reach what was taken in"


def check_weights_are_all_that_greedy_needs(row: Row, device: torch.device) -> None:
    one = taught(row, device)
    other = agent(row, device, seed=1)
    other.load_weights(saved_and_loaded(one.weights()))
    seen = observations(50, device)
    assert same(other.greedy(seen), one.greedy(seen))
    assert same(other.weights(), one.weights())


def check_nothing_is_drawn_from_global_generators(row: Row, device: torch.device) -> None:
    row.load()  # imports may draw
    with no_global_draws():
        made = taught(row, device)
        made.act(observations(5, device), generator=generator("explore", device=device))
