"""The loops: continuation, digests, pairing, learning, bad input."""

import io
import math

import pytest
import torch

from rl import loop
from rl.bandits import ts_beta
from rl.environments import bernoulli
from surrogates.errors import CapabilityError, UsageError
from surrogates.options import build

CPU = torch.device("cpu")
SMALL = {"width": 16, "start": 64, "batch": 16, "environments": 4, "evaluate_every": 200}


def given(options, **values):
    return build(options, values, owner="the test")


def bandit(problem, method, seed=0, budget=200, state=None, options=None, **problem_options):
    return loop.bandit_run(
        problem,
        method,
        problem_options=problem_options,
        options=options or {},
        seed=seed,
        budget=budget,
        device=CPU,
        state=state,
    )


def rl(problem, seed=0, budget=600, state=None, time_limit=60, **options):
    return loop.rl_run(
        problem,
        "dqn",
        problem_options={"time_limit": time_limit},
        options={**SMALL, **options},
        seed=seed,
        budget=budget,
        device=CPU,
        state=state,
    )


def last(records):
    return list(records)[-1]


def saved(record):
    buffer = io.BytesIO()
    torch.save(record.state(), buffer)
    return buffer.getvalue()


def restored(data):
    return torch.load(io.BytesIO(data), weights_only=True)


def plain(record):
    return record.step, record.metrics, record.digest


@pytest.mark.parametrize("method", ["random", "ts-beta", "ts-linear", "linucb"])
@pytest.mark.parametrize("problem", ["bernoulli", "digits"])
def test_bandit_goes_on_from_every_record(problem, method):
    whole = [(plain(record), saved(record)) for record in bandit(problem, method)]
    assert [step for (step, _, _), _ in whole] == [50, 100, 150, 200]
    for i, (_, data) in enumerate(whole):
        rest = [plain(record) for record in bandit(problem, method, state=restored(data))]
        assert rest == [record for record, _ in whole[i + 1 :]]


def test_bandit_can_be_prolonged_from_an_odd_budget():
    stopped = last(bandit("linear", "ts-linear", budget=77))
    assert stopped.step == 77
    rest = [plain(r) for r in bandit("linear", "ts-linear", state=restored(saved(stopped)))]
    assert rest == [plain(r) for r in bandit("linear", "ts-linear")][1:]


def test_record_state_is_a_snapshot():
    records = bandit("digits", "ts-linear")
    first = next(records)
    state = first.state()
    list(records)
    rest = [plain(r) for r in bandit("digits", "ts-linear", state=state)]
    assert rest == [plain(r) for r in bandit("digits", "ts-linear")][1:]


@pytest.mark.parametrize("problem", ["cartpole", "acrobot", "mountaincar"])
def test_training_goes_on_from_every_record(problem):
    whole = [(plain(record), saved(record)) for record in rl(problem)]
    assert len(whole) == 2
    for i, (_, data) in enumerate(whole):
        rest = [plain(record) for record in rl(problem, state=restored(data))]
        assert rest == [record for record, _ in whole[i + 1 :]]


def test_training_can_be_prolonged():
    stopped = last(rl("cartpole", budget=302))
    assert stopped.step == 304  # the first multiple of 4 environments that is not below 302
    prolonged = last(rl("cartpole", state=restored(saved(stopped))))
    assert plain(prolonged) == plain(last(rl("cartpole")))


@pytest.mark.parametrize(
    "run",
    [
        lambda seed: bandit("linear", "ts-linear", seed=seed),
        lambda seed: bandit("bernoulli", "ts-beta", seed=seed),
        lambda seed: rl("cartpole", seed=seed),
    ],
)
def test_digest_follows_the_seed(run):
    digests = [last(run(seed)).digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_policies_meet_the_same_luck():
    # Two runs under one seed that happen to play the same arms must see the same rewards: a policy
    # that draws much and one that draws nothing play one arm only.
    class Stubborn:
        def __init__(self, draws):
            self.draws = draws

        def act(self, contexts, *, generator):
            torch.rand(self.draws, generator=generator, device=CPU, dtype=torch.float64)
            return torch.zeros(len(contexts), dtype=torch.int64)

        def update(self, batch):
            return {}

        def summary(self):
            return {}

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            raise AssertionError

    runs = []
    for draws in (0, 7):
        problem = bernoulli.problem("bernoulli", given(bernoulli.Options), 1, CPU)
        records = loop.bandit(problem, Stubborn(draws), seed=3, budget=100, device=CPU)
        runs.append([plain(record) for record in records])
    assert runs[0] == runs[1]


def test_regret_and_reward_add_up():
    record = last(bandit("bernoulli", "random", budget=300, means="gap", best=1.0, gap=1.0))
    wins = record.metrics["reward"]
    assert record.metrics["regret"] == 300 - wins
    assert sum(record.metrics["pulls"]) == 300
    assert wins in record.metrics["pulls"]
    record = last(bandit("bernoulli", "ts-beta", budget=300))
    assert len(record.metrics["posterior_mean"]) == 10


def test_blocks_depend_on_the_step_alone():
    ends = [step for step in range(1, 6101) if loop._ends_block(step, None)]
    assert ends == [*range(50, 5001, 50), 5500, 6000]
    assert [step for step in range(1, 50) if loop._ends_block(step, 20)] == [20, 40]


@pytest.mark.parametrize(
    ("problem", "method", "fraction"),
    [
        ("bernoulli", "ts-beta", 0.5),
        ("gaussian", "ts-linear", 0.5),
        ("gaussian", "linucb", 0.5),
        ("linear", "ts-linear", 0.6),
        ("linear", "linucb", 0.6),
    ],
)
def test_learning_beats_chance_and_regret_flattens(problem, method, fraction):
    halves, chance = [0.0, 0.0], 0.0
    for seed in (11, 12):
        records = list(bandit(problem, method, seed=seed, budget=500))
        middle, regret = (record.metrics["regret"] for record in (records[4], records[-1]))
        halves = [halves[0] + middle, halves[1] + regret - middle]
        chance += last(bandit(problem, "random", seed=seed, budget=500)).metrics["regret"]
    assert sum(halves) < fraction * chance
    assert halves[1] < 0.8 * halves[0]


def test_digits_regret_is_at_most_a_third_of_chance():
    regret = last(bandit("digits", "ts-linear", seed=11, budget=1500)).metrics["regret"]
    assert regret < 0.9 * 1500 / 3


def test_shared_parameters_are_learnt_faster():
    regret = [
        last(bandit("linear", "ts-linear", budget=400, shared=shared)).metrics["regret"]
        for shared in (True, False)
    ]
    assert regret[0] < 0.4 * regret[1]


def test_the_kept_weights_are_scored_on_fresh_episodes():
    records = list(rl("cartpole", budget=600, seed=5))
    metrics = records[-1].metrics
    for name in ("score", "final_score"):
        returns = metrics[f"{name}_returns"]
        assert len(returns) == 20
        assert metrics[name] == pytest.approx(sum(returns) / 20)
        variance = sum((r - metrics[name]) ** 2 for r in returns) / 19
        assert metrics[f"{name}_standard_error"] == pytest.approx(math.sqrt(variance / 20))
    assert metrics["kept_step"] in (200, 400, 600)
    assert metrics["kept_evaluation"] >= metrics["evaluation"]


def test_a_run_without_evaluation_keeps_its_last_weights():
    metrics = last(rl("cartpole", budget=100)).metrics
    assert metrics["kept_step"] is None
    assert metrics["score_returns"] == metrics["final_score_returns"]


@pytest.mark.parametrize("budget", [0, -3, True])
def test_bad_budgets_are_refused(budget):
    with pytest.raises(UsageError, match="expected a budget of at least 1"):
        bandit("bernoulli", "random", budget=budget)
    with pytest.raises(UsageError, match="expected a budget of at least 1"):
        rl("cartpole", budget=budget)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bandit("bernouli", "random"), "did you mean 'bernoulli'"),
        (lambda: bandit("bernoulli", "ts-bta"), "did you mean 'ts-beta'"),
        (lambda: bandit("cartpole", "random"), "expected a known bandit problem"),
        (lambda: bandit("bernoulli", "dqn"), "expected a known bandit method"),
        (lambda: bandit("bernoulli", "random", amrs=3), "did you mean 'arms'"),
        (lambda: bandit("bernoulli", "ts-beta", options={"prior_win": 1}), "prior_wins"),
        (lambda: bandit("bernoulli", "random", arms=1), "expected 2 to 10000"),
        (lambda: rl("digits"), "expected a known rl problem"),
        (lambda: rl("cartpole", widht=3), "did you mean 'width'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_incompatible_pairs_name_what_to_use():
    with pytest.raises(CapabilityError, match="use ts-linear or linucb"):
        bandit("gaussian", "ts-beta")


def test_a_policy_without_known_optimum_has_no_regret():
    problem = bernoulli.problem("bernoulli", given(bernoulli.Options), 1, CPU)

    class Blind:
        arms, name = problem.arms, "blind"
        contexts = problem.contexts
        state_dict, load_state_dict = problem.state_dict, problem.load_state_dict

        def pull(self, contexts, arms, *, generator):
            outcome = problem.pull(contexts, arms, generator=generator)
            return type(outcome)(outcome.rewards)

    policy = ts_beta.policy(problem.arms, given(ts_beta.Options), CPU, torch.float64)
    record = last(loop.bandit(Blind(), policy, seed=0, budget=60, device=CPU))
    assert record.metrics["regret"] is None
    assert record.metrics["reward"] > 0
