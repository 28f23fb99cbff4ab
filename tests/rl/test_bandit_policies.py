"""Bandit policies against closed forms."""

import io
import math
from typing import Any

import pytest
import torch

from rl.bandits import linucb, random, ts_beta, ts_linear
from rl.bandits.ridge import Ridge
from rl.contract import Arms, BanditBatch
from surrogates.errors import CapabilityError, DataError
from surrogates.options import build

CPU = torch.device("cpu")
KIND: dict[str, Any] = {"device": CPU, "dtype": torch.float64}
POLICIES: dict[str, Any] = {
    "random": (random.policy, random.Options),
    "ts-beta": (ts_beta.policy, ts_beta.Options),
    "ts-linear": (ts_linear.policy, ts_linear.Options),
    "linucb": (linucb.policy, linucb.Options),
}


def given(options, **values):
    return build(options, values, owner="the test")


def generator(seed):
    return torch.Generator(device="cpu").manual_seed(seed)


def rounds(arms, n, seed):
    g = generator(seed)
    count = arms.count if arms.shared else 1
    contexts = torch.randn(n, count, arms.d, generator=g, **KIND).expand(-1, arms.count, -1)
    played = torch.randint(arms.count, (n,), generator=g, device=CPU, dtype=torch.int64)
    rewards = torch.randn(n, generator=g, **KIND) + 0.3 * contexts[:, 0].sum(1)
    return BanditBatch(contexts, played, rewards)


def design(arms, batch, which):
    """Rows with intercept, and rewards, that one regression has seen."""
    x = batch.contexts[torch.arange(len(batch.arms)), batch.arms]
    x = torch.cat([x, torch.ones(len(x), 1, **KIND)], dim=1)
    mask = torch.ones_like(batch.arms, dtype=torch.bool) if arms.shared else batch.arms == which
    return x[mask], batch.rewards[mask]


def roundtrip(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_beta_counts_wins_and_losses():
    options = given(ts_beta.Options, prior_wins=2.0, prior_losses=3.0)
    policy = ts_beta.policy(Arms(3, 1, binary=True), options, CPU, torch.float64)
    arms = torch.tensor([0, 0, 0, 2, 2, 0])
    rewards = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0], **KIND)
    policy.update(BanditBatch(torch.ones(6, 3, 1, **KIND), arms, rewards))
    expected = torch.tensor([[5.0, 4.0], [2.0, 3.0], [2.0, 5.0]], **KIND)
    assert torch.equal(policy.state_dict()["counts"], expected)
    summary = policy.summary()
    a, b = expected.unbind(1)
    beta = torch.distributions.Beta(a, b)
    assert summary["posterior_mean"] == pytest.approx(beta.mean.tolist())
    assert summary["posterior_std"] == pytest.approx(beta.stddev.tolist())
    draws = (
        torch.distributions.Beta(a, b)
        .sample((200_000,))
        .quantile(torch.tensor([0.025, 0.975], **KIND), dim=0)
    )
    assert summary["posterior_low"] == pytest.approx(draws[0].tolist(), abs=0.01)
    assert summary["posterior_high"] == pytest.approx(draws[1].tolist(), abs=0.01)


def test_beta_plays_arms_with_their_probability_of_being_best():
    policy = ts_beta.policy(Arms(2, 1, binary=True), given(ts_beta.Options), CPU, torch.float64)
    contexts = torch.ones(4, 2, 1, **KIND)
    rewards = torch.tensor([1.0, 1.0, 0.0, 1.0], **KIND)
    policy.update(BanditBatch(contexts, torch.tensor([0, 0, 1, 1]), rewards))
    arms = policy.act(torch.ones(20_000, 2, 1, **KIND), generator=generator(0))
    # theta_0 ~ Beta(3, 1), theta_1 ~ Beta(2, 2): P(0 wins) = E[theta_0^2 (3 - 2 theta_0)]
    best = 3 * (3 / 5) - 2 * (3 / 6)
    assert float((arms == 0).double().mean()) == pytest.approx(best, abs=0.012)


def test_beta_refuses_real_rewards():
    with pytest.raises(CapabilityError, match="use ts-linear"):
        ts_beta.policy(Arms(3, 1), given(ts_beta.Options), CPU, torch.float64)
    policy = ts_beta.policy(Arms(3, 1, binary=True), given(ts_beta.Options), CPU, torch.float64)
    half = BanditBatch(torch.ones(1, 3, 1, **KIND), torch.tensor([0]), torch.tensor([0.5], **KIND))
    with pytest.raises(DataError, match="expected rewards of 0 or 1"):
        policy.update(half)


@pytest.mark.parametrize("shared", [False, True])
def test_ridge_is_the_exact_solution_past_a_refactorisation(shared):
    arms = Arms(2, 3, shared=shared)
    ridge = Ridge(arms, prior_precision=0.7, intercept=True, device=CPU, dtype=torch.float64)
    batch = rounds(arms, 4500 if shared else 9000, seed=1)
    ridge.update(batch.contexts, batch.arms, batch.rewards)
    for which in range(1 if shared else 2):
        X, y = design(arms, batch, which)
        B = 0.7 * torch.eye(4, **KIND) + X.T @ X
        torch.testing.assert_close(ridge.precision[which], B)
        torch.testing.assert_close(ridge.mean[which], torch.linalg.solve(B, X.T @ y))
        root = ridge.root[which]
        torch.testing.assert_close(root @ root.T, torch.linalg.inv(B), rtol=1e-10, atol=1e-15)


def test_ridge_root_stays_exact_between_refactorisations():
    # Nearly collinear rows of large norm: where a downdated inverse loses positive definiteness.
    arms = Arms(1, 6)
    ridge = Ridge(arms, prior_precision=1e-6, intercept=False, device=CPU, dtype=torch.float64)
    g = generator(3)
    x = 1e3 * (torch.ones(4000, 1, 6, **KIND) + 1e-3 * torch.randn(4000, 1, 6, generator=g, **KIND))
    ridge.update(x, torch.zeros(4000, dtype=torch.int64), torch.ones(4000, **KIND))
    inverse = ridge.root[0] @ ridge.root[0].T
    assert float(torch.linalg.eigvalsh(inverse).min()) > 0
    error = ridge.precision[0] @ inverse - torch.eye(6, **KIND)
    assert float(error.abs().max()) < 1e-4


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("noise_std", [0.5, 0.0])
def test_linear_draws_have_the_posterior_moments(shared, noise_std):
    arms = Arms(3, 2, shared=shared)
    options = given(ts_linear.Options, noise_std=noise_std, prior_precision=0.5)
    policy = ts_linear.policy(arms, options, CPU, torch.float64)
    batch = rounds(arms, 40, seed=2)
    policy.update(batch)
    query = rounds(arms, 1, seed=5).contexts
    draws = policy.draw(query.expand(60_000, -1, -1), generator=generator(7))

    mean, cov = torch.zeros(3, **KIND), torch.zeros(3, 3, **KIND)
    for which in range(1 if shared else 3):
        X, y = design(arms, batch, which)
        B = 0.5 * torch.eye(3, **KIND) + X.T @ X
        theta = torch.linalg.solve(B, X.T @ y)
        # E[noise_var] = b/(a - 1) with the textbook b = b0 + (y'y - theta' B theta)/2.
        scale = options.prior_scale + 0.5 * (y @ y - theta @ B @ theta)
        shape = options.prior_shape + len(y) / 2
        var = noise_std**2 if noise_std else scale / (shape - 1)
        q = torch.cat([query[0], torch.ones(3, 1, **KIND)], dim=1)
        rows = slice(None) if shared else slice(which, which + 1)
        mean[rows] = q[rows] @ theta
        cov[rows, rows] = var * q[rows] @ torch.linalg.inv(B) @ q[rows].T
    scale = cov.diagonal().sqrt()
    assert float(((draws.mean(0) - mean) / scale).abs().max()) < 0.02
    # Errors of the covariance in units of the standard deviations.
    error = (torch.cov(draws.T) - cov) / (scale.unsqueeze(0) * scale.unsqueeze(1))
    assert float(error.abs().max()) < 0.05


@pytest.mark.parametrize("shared", [False, True])
def test_linucb_bounds_are_the_formula(shared):
    arms = Arms(3, 2, shared=shared)
    options = given(linucb.Options, width=1.7, prior_precision=0.9)
    policy = linucb.policy(arms, options, CPU, torch.float64)
    batch = rounds(arms, 30, seed=4)
    policy.update(batch)
    query = rounds(arms, 5, seed=6).contexts
    bounds = policy.bounds(query)
    for i in range(5):
        for k in range(3):
            X, y = design(arms, batch, k)
            B = 0.9 * torch.eye(3, **KIND) + X.T @ X
            x = torch.cat([query[i, k], torch.ones(1, **KIND)])
            mean = float(x @ torch.linalg.solve(B, X.T @ y))
            var = float(x @ torch.linalg.solve(B, x))
            assert float(bounds[i, k]) == pytest.approx(mean + 1.7 * math.sqrt(var), rel=1e-9)
    assert torch.equal(policy.act(query, generator=generator(0)), bounds.argmax(1))


@pytest.mark.parametrize("name", POLICIES)
def test_state_round_trip_continues_bit_for_bit(name):
    factory, options = POLICIES[name]
    arms = Arms(4, 3, binary=name == "ts-beta")
    first, second = (factory(arms, given(options), CPU, torch.float64) for _ in range(2))
    batch = rounds(arms, 50, seed=8)
    if arms.binary:
        batch = BanditBatch(batch.contexts, batch.arms, (batch.rewards > 0).double())
    first.update(batch)
    second.load_state_dict(roundtrip(first.state_dict()))
    for policy in (first, second):
        policy.update(batch)
    query = rounds(arms, 200, seed=9).contexts
    actions = [policy.act(query, generator=generator(1)) for policy in (first, second)]
    assert torch.equal(*actions)
    assert first.summary() == second.summary()


def test_acting_changes_nothing():
    arms = Arms(4, 3)
    policy = ts_linear.policy(arms, given(ts_linear.Options), CPU, torch.float64)
    policy.update(rounds(arms, 20, seed=0))
    query = rounds(arms, 10, seed=1).contexts
    first = policy.draw(query, generator=generator(2))
    policy.act(query, generator=generator(3))
    assert torch.equal(policy.draw(query, generator=generator(2)), first)


def test_random_is_uniform():
    policy = random.policy(Arms(5, 1), given(random.Options), CPU, torch.float64)
    arms = policy.act(torch.ones(50_000, 5, 1, **KIND), generator=generator(0))
    counts = torch.bincount(arms, minlength=5).double() / 50_000
    assert float((counts - 0.2).abs().max()) < 0.01
