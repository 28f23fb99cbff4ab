"""What every bandit policy promises (`rl/contract.py`): functions of a row and a device."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from rl.contract import Arms, BanditBatch, BanditPolicy
from surrogates.errors import CapabilityError
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

K, D = 4, 3


def arms_of(row: Row) -> list[Arms]:
    """The sorts of problem that the row says it can play."""
    binary = "binary-only" in row.capabilities
    return [
        Arms(count=K, d=D, shared=word == "shared", binary=binary)
        for word in ("disjoint", "shared")
        if word in row.capabilities
    ]


def policy(row: Row, arms: Arms, device: torch.device) -> BanditPolicy:
    """The policy before its first round."""
    return row.load()(arms, options_of(row), device, torch.float64)


def contexts(arms: Arms, b: int, device: torch.device, *use: object) -> Tensor:
    """(b, K, d) contexts; all arms see the same one unless they share parameters."""
    if arms.shared:
        return normal(b, arms.count, arms.d, use=("contexts", b, *use), device=device)
    found = normal(b, 1, arms.d, use=("contexts", b, *use), device=device)
    return found.expand(-1, arms.count, -1)


def rounds(arms: Arms, b: int, device: torch.device, *use: object) -> BanditBatch:
    """b rounds; the first arm pays most, and more in contexts that begin with a large number."""
    played = (uniform(b, use=("arms", b, *use), device=device) * arms.count).long()
    seen = contexts(arms, b, device, *use)
    means = (0.8 - 0.2 * played).clamp(0, 1)
    luck = uniform(b, use=("rewards", b, *use), device=device)
    rewards = (luck < means).double() if arms.binary else means + 0.1 * luck
    return BanditBatch(seen, played, rewards)


def taught(row: Row, arms: Arms, device: torch.device) -> BanditPolicy:
    """The policy after some rounds."""
    made = policy(row, arms, device)
    for number in range(3):
        made.update(rounds(arms, 5, device, number))
    return made


def check_it_plays_what_it_declares(row: Row, device: torch.device) -> None:
    assert arms_of(row), "expected disjoint, shared or both among the capabilities"
    if "binary-only" in row.capabilities:
        with pytest.raises(CapabilityError):
            policy(row, Arms(count=K, d=D, binary=False), device)


def check_it_names_one_arm_per_environment(row: Row, device: torch.device) -> None:
    for arms in arms_of(row):
        for made in (policy(row, arms, device), taught(row, arms, device)):
            for b in (1, 5):
                played = made.act(contexts(arms, b, device), generator=_draws(device))
                assert played.shape == (b,)
                assert played.dtype == torch.int64
                assert played.device.type == device.type
                assert ((played >= 0) & (played < K)).all()


def check_acting_never_changes_it(row: Row, device: torch.device) -> None:
    for arms in arms_of(row):
        made = taught(row, arms, device)
        before = kept(made.state_dict())
        seen = contexts(arms, 5, device)
        copied = seen.clone()
        first = made.act(seen, generator=_draws(device))
        made.act(contexts(arms, 1, device), generator=_draws(device))
        made.summary()
        assert same(made.state_dict(), before)
        assert same(seen, copied)
        assert same(made.act(seen, generator=_draws(device)), first)


def check_learning_returns_finite_metrics(row: Row, device: torch.device) -> None:
    for arms in arms_of(row):
        made = policy(row, arms, device)
        for b in (1, 5):
            batch = rounds(arms, b, device)
            before = kept((batch.contexts, batch.arms, batch.rewards))
            metrics = made.update(batch)
            assert isinstance(metrics, Mapping)
            assert all(math.isfinite(value) for value in metrics.values())
            assert same((batch.contexts, batch.arms, batch.rewards), before)


def check_summary_is_json_with_one_number_per_arm(row: Row, device: torch.device) -> None:
    for arms in arms_of(row):
        summary = taught(row, arms, device).summary()
        json.dumps(summary, allow_nan=False)
        assert all(len(v) == K for v in summary.values() if isinstance(v, list))


def check_same_rounds_give_the_same_policy_bit_for_bit(row: Row, device: torch.device) -> None:
    for arms in arms_of(row):
        one, other = taught(row, arms, device), taught(row, arms, device)
        assert same(one.state_dict(), other.state_dict())
        seen = contexts(arms, 5, device)
        assert same(
            one.act(seen, generator=_draws(device)), other.act(seen, generator=_draws(device))
        )


def check_it_goes_on_from_a_checkpoint_bit_for_bit(row: Row, device: torch.device) -> None:
    for arms in arms_of(row):
        one = taught(row, arms, device)
        saved = saved_and_loaded(one.state_dict())
        other = policy(row, arms, device)
        other.load_state_dict(saved)
        assert same(other.state_dict(), one.state_dict())
        for number in range(3, 6):
            seen = contexts(arms, 5, device, number)
            acts: list[Any] = [made.act(seen, generator=_draws(device)) for made in (one, other)]
            assert same(*acts)
            for made in (one, other):
                made.update(rounds(arms, 5, device, number))
        assert same(other.state_dict(), one.state_dict())


def check_state_is_a_copy(row: Row, device: torch.device) -> None:
    for arms in arms_of(row):
        made = taught(row, arms, device)
        state = made.state_dict()
        before = kept(state)
        made.update(rounds(arms, 5, device, "later"))
        assert same(state, before), "learning must not reach a state that was given out"
        other = policy(row, arms, device)
        other.load_state_dict(state)
        other.update(rounds(arms, 5, device, "later"))
        assert same(state, before), "learning must not reach a state that was taken in"


def check_context_is_used_where_it_is_declared(row: Row, device: torch.device) -> None:
    arms = Arms(count=2, d=1, binary="binary-only" in row.capabilities)
    if "disjoint" not in row.capabilities:
        pytest.skip(f"{row.name} does not declare disjoint")
    made = policy(row, arms, device)
    # Arm 1 pays where the context is +1, arm 0 where it is -1, without noise, 200 rounds.
    played = torch.arange(200, device=device, dtype=torch.int64) % 2
    sign = 1.0 - 2.0 * (torch.arange(200, device=device, dtype=torch.float64) // 2 % 2)
    right = (sign > 0).long() == played
    made.update(BanditBatch(sign.view(-1, 1, 1).expand(-1, 2, -1), played, right.double()))
    seen = torch.tensor([1.0, -1.0], device=device, dtype=torch.float64).repeat(50)
    chosen = made.act(seen.view(-1, 1, 1).expand(-1, 2, -1), generator=_draws(device))
    hits = float(((seen > 0).long() == chosen).double().mean())
    if "context" in row.capabilities:
        assert hits > 0.9  # a coin would get here with probability 1e-17
    else:
        flipped = made.act(-seen.view(-1, 1, 1).expand(-1, 2, -1), generator=_draws(device))
        assert same(chosen, flipped), "without `context` the arms must not depend on it"


def check_nothing_is_drawn_from_global_generators(row: Row, device: torch.device) -> None:
    for arms in arms_of(row):
        with no_global_draws():
            taught(row, arms, device).act(contexts(arms, 5, device), generator=_draws(device))


def _draws(device: torch.device) -> torch.Generator:
    return generator("acts", device=device)
