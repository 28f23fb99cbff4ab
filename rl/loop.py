"""The two loops: bandits and RL training. Generators of records; they never print or write.

    for record in bandit_run("digits", "ts-linear", seed=0, budget=5000):
        record.step, record.metrics["regret"]

A run is cut into blocks, one `Record` each, whose ends depend on the step alone. `record.state()`
is all that is needed to go on, in this process or another one: a run that is given this state as
`state=` yields the very records that the first one would have yielded, digests included. Call it
before the next record is asked for, or not at all: it costs nothing then.

Seeds: each source of randomness has its own, derived from the run's seed and a name. So two bandit
policies under one seed meet the same contexts and the same noise, round by round.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from rl import catalog
from rl.contract import (
    Agent,
    AgentOptions,
    BanditBatch,
    BanditPolicy,
    BanditProblem,
    Environments,
    Record,
    StateDict,
    Transition,
)
from rl.evaluation import EPISODES, final_scores, mean, play
from surrogates.errors import UsageError
from surrogates.options import build
from surrogates.registry import Row, find, rows
from surrogates.seeds import derive_seed


def bandit(
    problem: BanditProblem,
    policy: BanditPolicy,
    *,
    seed: int,
    budget: int,
    device: torch.device,
    block: int | None = None,
    state: StateDict | None = None,
) -> Iterator[Record]:
    """Play a bandit problem, one round at a time.

    Metrics of a record: `reward` and `regret`, cumulative (regret in expected rewards; None where
    they are unknown), `pulls`, one count per arm, what the policy's `update` returned last and
    what its `summary` says.

    Args:
        problem: contexts and rewards.
        policy: chooses arms and learns.
        seed: of contexts, noise and the policy's draws; not of the problem's instance.
        budget: rounds, those before `state` included.
        device: where problem and policy live.
        block: rounds per record; by default 50 up to round 5,000 and 500 from there on.
        state: a record's state to go on from; `problem` and `policy` are brought to it.
    """
    _check_budget(budget)
    randomness = {
        name: _generator(derive_seed(seed, name), device)
        for name in ("contexts", "rewards", "policy")
    }
    step, reward, digest = 0, 0.0, _start(seed)
    regret: float | None = 0.0
    pulls = [0] * problem.arms.count
    if state is not None:
        step, reward, regret, digest = (state[k] for k in ("step", "reward", "regret", "digest"))
        pulls = list(state["pulls"])
        problem.load_state_dict(state["problem"])
        policy.load_state_dict(state["policy"])
        for name, generator in randomness.items():
            generator.set_state(state["randomness"][name].cpu())

    def snapshot() -> StateDict:
        return {
            "step": step,
            "reward": reward,
            "regret": regret,
            "digest": digest,
            "pulls": list(pulls),
            "problem": problem.state_dict(),
            "policy": policy.state_dict(),
            "randomness": {name: g.get_state() for name, g in randomness.items()},
        }

    learned: Mapping[str, Any] = {}
    while step < budget:
        contexts = problem.contexts(1, generator=randomness["contexts"])
        arms = policy.act(contexts, generator=randomness["policy"])
        outcome = problem.pull(contexts, arms, generator=randomness["rewards"])
        learned = policy.update(BanditBatch(contexts, arms, outcome.rewards))
        arm, got = int(arms), float(outcome.rewards)
        step += 1
        reward += got
        pulls[arm] += 1
        if regret is not None and outcome.expected is not None and outcome.best is not None:
            regret += float(outcome.best - outcome.expected)
        else:
            regret = None
        digest = _chain(digest, struct.pack("<qd", arm, got))
        if _ends_block(step, block) or step == budget:
            metrics = {"reward": reward, "regret": regret, "pulls": list(pulls)}
            metrics |= {**learned, **policy.summary()}
            yield Record(step, metrics, digest, snapshot)


def train(
    make_environments: Callable[[int, int], Environments],
    agent: Agent,
    *,
    environments: int,
    evaluate_every: int,
    seed: int,
    budget: int,
    device: torch.device,
    block: int = 500,
    state: StateDict | None = None,
) -> Iterator[Record]:
    """Train an agent; keep the weights that did best.

    Environment steps are counted over all copies, so all boundaries are reached to within one
    vectorised step: a block, an evaluation or the run ends at the first multiple of
    `environments` that is not below it.

    Every `evaluate_every` steps the greedy policy plays 20 episodes in environments of their own,
    whose first states depend on the seed and the evaluation's step alone. The best weights are
    kept; among equals the latest. At the end the kept and the last weights play 20 episodes that
    no evaluation has seen: `score` and `final_score`. The choice of the kept weights is thus not
    counted in their favour.

    Metrics of a record: `episodes` finished, `return` and `length` (means over the last 20 of
    them), `evaluation`,
    `kept_evaluation`, `kept_step` (None before the first evaluation) and what `update` returned
    last. The last record adds `score`, `score_returns`, `score_standard_error` and the same three
    of `final_score`.

    Args:
        make_environments: from a number of copies and a seed.
        agent: the learner, with its initial weights.
        environments: copies stepped together.
        evaluate_every: environment steps between evaluations.
        seed: of the environments and of the agent's exploration and minibatches.
        budget: environment steps, those before `state` included.
        device: where the agent lives.
        block: environment steps per record.
        state: a record's state to go on from; `agent` is brought to it.
    """
    _check_budget(budget)
    n = environments
    world = make_environments(n, derive_seed(seed, "environments"))
    generator = _generator(derive_seed(seed, "agent"), device)
    observations = world.reset()
    step, episodes, digest = 0, 0, _start(seed)
    returns, lengths = [0.0] * n, [0] * n  # of the episodes in progress
    recent: list[float] = []
    recent_lengths: list[float] = []
    evaluation: float | None = None
    kept: dict[str, Any] = {"weights": None, "evaluation": None, "step": None}
    if state is not None:
        step, episodes, digest = (state[k] for k in ("step", "episodes", "digest"))
        returns, lengths, recent = (list(state[k]) for k in ("returns", "lengths", "recent"))
        recent_lengths = list(state.get("recent_lengths", []))  # absent in older checkpoints
        evaluation, kept = state["evaluation"], dict(state["kept"])
        observations = state["observations"].to(device)
        world.load_state_dict(state["environments"])
        agent.load_state_dict(state["agent"])
        generator.set_state(state["randomness"].cpu())

    def snapshot() -> StateDict:
        return {
            "step": step,
            "episodes": episodes,
            "digest": digest,
            "returns": list(returns),
            "lengths": list(lengths),
            "recent": list(recent),
            "recent_lengths": list(recent_lengths),
            "evaluation": evaluation,
            "kept": dict(kept),
            "observations": observations.clone(),
            "environments": world.state_dict(),
            "agent": agent.state_dict(),
            "randomness": generator.get_state(),
        }

    while step < budget:
        actions = agent.act(observations, generator=generator)
        result = world.step(actions)
        learned = agent.update(
            Transition(
                observations,
                actions,
                result.rewards,
                result.final_observations,
                result.terminated,
            ),
            generator=generator,
        )
        observations = result.observations
        before, step = step, step + n
        ended = (result.terminated | result.truncated).tolist()
        for i, reward in enumerate(result.rewards.tolist()):
            returns[i] += reward
            lengths[i] += 1
            if ended[i]:
                digest = _chain(digest, struct.pack("<dq", returns[i], lengths[i]))
                recent = [*recent[1 - EPISODES :], returns[i]]
                recent_lengths = [*recent_lengths[1 - EPISODES :], float(lengths[i])]
                episodes += 1
                returns[i], lengths[i] = 0.0, 0
        if step // evaluate_every > before // evaluate_every:
            evaluation = mean(play(make_environments, agent, derive_seed(seed, f"at {step}")))
            if kept["evaluation"] is None or evaluation >= kept["evaluation"]:
                kept = {"weights": agent.weights(), "evaluation": evaluation, "step": step}
        if step >= budget or step // block > before // block:
            metrics = {
                "episodes": episodes,
                "return": mean(recent) if recent else None,
                "length": mean(recent_lengths) if recent_lengths else None,
                "evaluation": evaluation,
                "kept_evaluation": kept["evaluation"],
                "kept_step": kept["step"],
                **learned,
            }
            shown = digest
            if step >= budget:
                metrics |= final_scores(make_environments, agent, kept, derive_seed(seed, "score"))
                shown = _chain(digest, _bytes(agent.weights()))
            yield Record(step, metrics, shown, snapshot)


def bandit_run(
    problem_name: str,
    method_name: str,
    *,
    problem_options: Mapping[str, Any],
    options: Mapping[str, Any],
    seed: int,
    budget: int,
    device: torch.device,
    state: StateDict | None = None,
) -> Iterator[Record]:
    """`bandit` from catalog names; nothing is played before the first record is asked for.

    Raises:
        UsageError: an unknown name, option or value.
        CapabilityError: a policy that cannot play this problem.
    """
    _check_budget(budget)
    problem_row = _find(problem_name, catalog.PROBLEMS, "bandit", "bandit problem")
    method_row = _find(method_name, catalog.METHODS, "bandit", "bandit method")
    built_problem_options = build(problem_row.options(), problem_options, owner=problem_name)
    built_options = build(method_row.options(), options, owner=method_name)
    problem = problem_row.load()(
        problem_name, built_problem_options, derive_seed(seed, "instance"), device
    )
    policy = method_row.load()(problem.arms, built_options, device, torch.float64)
    return bandit(problem, policy, seed=seed, budget=budget, device=device, state=state)


def rl_run(
    problem_name: str,
    method_name: str,
    *,
    problem_options: Mapping[str, Any],
    options: Mapping[str, Any],
    seed: int,
    budget: int,
    device: torch.device,
    state: StateDict | None = None,
) -> Iterator[Record]:
    """`train` from catalog names; nothing is played before the first record is asked for.

    Raises:
        UsageError: an unknown name, option or value.
    """
    _check_budget(budget)
    problem_row = _find(problem_name, catalog.PROBLEMS, "rl", "rl problem")
    method_row = _find(method_name, catalog.METHODS, "rl", "rl method")
    built_problem_options = build(problem_row.options(), problem_options, owner=problem_name)
    built_options: AgentOptions = build(method_row.options(), options, owner=method_name)
    factory = problem_row.load()

    def make_environments(n: int, environment_seed: int) -> Environments:
        return factory(problem_name, built_problem_options, n, environment_seed, device)

    sample = make_environments(1, 0)
    agent = method_row.load()(
        d=sample.d,
        actions=sample.actions,
        options=built_options,
        device=device,
        generator=_generator(derive_seed(seed, "weights"), device),
    )
    return train(
        make_environments,
        agent,
        environments=built_options.environments,
        evaluate_every=built_options.evaluate_every,
        seed=seed,
        budget=budget,
        device=device,
        state=state,
    )


def _ends_block(step: int, block: int | None) -> bool:
    """Whether a record of a bandit is due: never by the budget, which may be raised later."""
    return step % (block or (50 if step <= 5000 else 500)) == 0


def _find(name: str, raw: Any, kind: str, what: str) -> Row:
    return find(name, [row for row in rows(raw) if row.kind == kind], what=what)


def _check_budget(budget: int) -> None:
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise UsageError(f"expected a budget of at least 1, got {budget!r}; give a whole number")


def _generator(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


def _start(seed: int) -> str:
    return hashlib.sha256(f"wald {seed}".encode()).hexdigest()


def _chain(digest: str, data: bytes) -> str:
    return hashlib.sha256(bytes.fromhex(digest) + data).hexdigest()


def _bytes(weights: StateDict) -> bytes:
    return b"".join(weights[name].cpu().numpy().tobytes() for name in sorted(weights))
