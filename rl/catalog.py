"""Bandit and RL methods and problems, one row each. Imports nothing.

A row is (name, "module:factory", kind, capabilities, help); kind is `bandit` or `rl`. Capabilities
of bandit policies: `disjoint` (a parameter vector per arm), `shared` (one for all arms),
`context` (uses the context), `binary-only` (rewards must be 0 or 1).
"""

METHODS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "random",
        "rl.bandits.random:policy",
        "bandit",
        "disjoint shared",
        "an arm drawn uniformly: the baseline",
    ),
    (
        "ts-beta",
        "rl.bandits.ts_beta:policy",
        "bandit",
        "disjoint binary-only",
        "Thompson sampling for 0/1 rewards with Beta posteriors",
    ),
    (
        "ts-linear",
        "rl.bandits.ts_linear:policy",
        "bandit",
        "disjoint shared context",
        "Thompson sampling with Bayesian linear regression",
    ),
    (
        "linucb",
        "rl.bandits.linucb:policy",
        "bandit",
        "disjoint shared context",
        "upper confidence bounds of ridge regression",
    ),
    (
        "dqn",
        "rl.agents.dqn:agent",
        "rl",
        "",
        "double DQN with replay and a slow target network",
    ),
)

PROBLEMS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "bernoulli",
        "rl.environments.bernoulli:problem",
        "bandit",
        "binary",
        "arms that pay 0 or 1, no context",
    ),
    (
        "gaussian",
        "rl.environments.gaussian:problem",
        "bandit",
        "",
        "arms with normal rewards, no context",
    ),
    (
        "linear",
        "rl.environments.linear:problem",
        "bandit",
        "context",
        "rewards linear in normal contexts, one parameter per arm or shared",
    ),
    (
        "digits",
        "rl.environments.digits:problem",
        "bandit",
        "binary context",
        "handwritten digits: 1 for the right label of 10",
    ),
    (
        "csv:<file>",
        "rl.environments.csv_file:problem",
        "bandit",
        "binary context",
        "any CSV with a label column: 1 for the right label",
    ),
    (
        "cartpole",
        "rl.environments.cartpole:environments",
        "rl",
        "",
        "CartPole-v1: balance a pole, 500 is perfect",
    ),
    (
        "acrobot",
        "rl.environments.classic:environments",
        "rl",
        "",
        "Acrobot-v1: swing up a double pendulum, -80 is good",
    ),
    (
        "mountaincar",
        "rl.environments.classic:environments",
        "rl",
        "",
        "MountainCar-v0: rock out of a valley, -110 solves it, hard to explore",
    ),
)
