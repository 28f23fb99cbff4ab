"""DQN: targets by hand, gradients against autograd, memory, continuation."""

import io
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from rl.agents import dqn
from rl.contract import Transition
from surrogates.errors import DataError
from surrogates.options import build

CPU = torch.device("cpu")
KIND: dict[str, Any] = {"device": CPU, "dtype": torch.float32}


def given(options, **values):
    return build(options, values, owner="the test")


def generator(seed):
    return torch.Generator(device="cpu").manual_seed(seed)


def make(seed=0, d=3, actions=2, **options):
    return dqn.agent(
        d=d,
        actions=actions,
        options=given(dqn.Options, **options),
        device=CPU,
        generator=generator(seed),
    )


def transitions(n, seed, d=3, actions=2):
    g = generator(seed)
    return Transition(
        observations=torch.randn(n, d, generator=g, **KIND),
        actions=torch.randint(actions, (n,), generator=g),
        rewards=torch.randn(n, generator=g, **KIND),
        next_observations=torch.randn(n, d, generator=g, **KIND),
        terminated=torch.rand(n, generator=g) < 0.3,
    )


def set_values(network, table):
    """Make Q(s, .) the row of `table` that a one-hot s picks."""
    w1, _, w2, _, w3, _ = network
    for part in network:
        part.zero_()
    size = len(table)
    w1[:size, :size] = torch.eye(size, **KIND)
    w2[:size, :size] = torch.eye(size, **KIND)
    w3[:, :size] = table.T


def test_double_target_by_hand():
    agent = make(discount=0.9, width=4)
    set_values(agent._network, torch.tensor([[1.0, 2.0], [5.0, 4.0], [0.0, 7.0]], **KIND))
    set_values(agent._slow, torch.tensor([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]], **KIND))
    s = torch.eye(3, **KIND)
    batch = Transition(
        observations=s[[0, 0, 0]],
        actions=torch.tensor([0, 1, 1]),
        rewards=torch.tensor([1.0, 2.0, 3.0], **KIND),
        next_observations=s[[1, 2, 1]],
        terminated=torch.tensor([False, False, True]),
    )
    agent._remember(batch)
    loss, _ = agent._loss(agent._memory[:3])
    # The network prefers action 0 in state 1 and 1 in state 2; the slow copy says what they are
    # worth: y = 1 + .9 * 30, 2 + .9 * 60, 3. Plain DQN would take 40 in state 1.
    targets = torch.tensor([28.0, 56.0, 3.0], **KIND)
    chosen = torch.tensor([1.0, 2.0, 2.0], **KIND)
    assert float(loss) == pytest.approx(float(F.huber_loss(chosen, targets)))


def test_gradient_is_autograds():
    agent = make(width=16, d=4, actions=3)
    agent._remember(transitions(32, seed=1, d=4, actions=3))
    rows = agent._memory[:32]
    _, gradient = agent._loss(rows)

    network = [part.clone().requires_grad_(True) for part in agent._network]
    s, after, (action, reward, terminated) = rows[:, :4], rows[:, 4:8], rows[:, 8:].T
    best = dqn._values(agent._network, after).argmax(1, keepdim=True)
    value = dqn._values(agent._slow, after).gather(1, best).squeeze(1)
    target = reward + 0.99 * (1 - terminated) * value
    w1, b1, w2, b2, w3, b3 = network
    q = F.linear(F.relu(F.linear(F.relu(F.linear(s, w1, b1)), w2, b2)), w3, b3)
    loss = F.huber_loss(q.gather(1, action.long().unsqueeze(1)).squeeze(1), target)
    expected = torch.cat([part.flatten() for part in torch.autograd.grad(loss, network)])
    torch.testing.assert_close(gradient, expected)


def test_steps_are_torchs_adam():
    agent = make(width=8, learning_rate=3e-3, learning_rate_end=3e-3)
    reference = agent._weights.clone().requires_grad_(True)
    adam = torch.optim.Adam([reference], lr=3e-3, eps=1e-4)
    agent._remember(transitions(64, seed=2))
    for start in (0, 16, 32, 48):
        rows = agent._memory[start : start + 16]
        reference.grad = agent._loss(rows)[1]
        adam.step()
        agent._descend(rows)
    torch.testing.assert_close(agent._weights, reference.detach())


def test_slow_copy_moves_as_told():
    agent = make(width=8, slow_rate=0.25, slow_every=2)
    agent._remember(transitions(32, seed=2))
    start = agent._slow_weights.clone()
    agent._descend(agent._memory[:32])
    assert torch.equal(agent._slow_weights, start)
    agent._descend(agent._memory[:32])
    torch.testing.assert_close(agent._slow_weights, start + 0.25 * (agent._weights - start))


def test_memory_overwrites_the_oldest():
    agent = make(width=4, replay=5, start=1000)
    batch = transitions(8, seed=3)
    agent.update(
        Transition(*(getattr(batch, name)[:4] for name in vars(batch))), generator=generator(0)
    )
    agent.update(
        Transition(*(getattr(batch, name)[4:] for name in vars(batch))), generator=generator(0)
    )
    assert torch.equal(agent._memory[:, :3], batch.observations[[5, 6, 7, 3, 4]])
    assert len(agent.state_dict()["memory"]) == 5


def test_exploration_falls_and_is_epsilon_greedy():
    agent = make(explore_start=0.8, explore_end=0.2, explore_steps=100, start=10_000)
    observations = torch.zeros(20_000, 3, **KIND)
    greedy = int(agent.greedy(observations)[0])
    for seen, epsilon in ((0, 0.8), (50, 0.5), (100, 0.2), (900, 0.2)):
        agent._seen = seen
        share = float((agent.act(observations, generator=generator(1)) != greedy).float().mean())
        assert share == pytest.approx(epsilon / 2, abs=0.012)


def test_gradient_steps_keep_their_ratio():
    agent = make(width=4, start=20, updates_per_step=0.25, batch=4)
    for i in range(30):
        metrics = agent.update(transitions(4, seed=i), generator=generator(i))
        assert ("loss" in metrics) == (agent._seen >= 24)
    assert agent._updates == int((120 - 20) * 0.25)


def test_state_round_trip_continues_bit_for_bit():
    first, second = make(0, width=8, start=8, replay=100), make(1, width=8, start=8, replay=100)
    for i in range(10):
        first.update(transitions(4, seed=i), generator=generator(i))
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    assert buffer.tell() < 12_000  # 40 of 100 rows: only what is filled is stored
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    for i in range(10, 40):
        metrics = [
            agent.update(transitions(4, seed=i), generator=generator(i))
            for agent in (first, second)
        ]
        assert metrics[0] == metrics[1]
    for name, value in first.state_dict().items():
        other = second.state_dict()[name]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
    with pytest.raises(DataError, match="expected a network of"):
        make(width=16).load_state_dict(first.state_dict())


def test_weights_are_a_copy_that_greedy_follows():
    agent = make(width=8, start=1)
    observations = transitions(200, seed=0).observations
    kept, before = agent.weights(), agent.greedy(observations)
    for i in range(20):
        agent.update(transitions(32, seed=i), generator=generator(i))
    assert not torch.equal(agent.greedy(observations), before)
    agent.load_weights(kept)
    assert torch.equal(agent.greedy(observations), before)
