"""Fully Bayesian Gaussian process: hyperparameters by Hamiltonian Monte Carlo, many chains.

Lalchand & Rasmussen (2020), "Approximate Inference for Fully Bayesian Gaussian Process Regression".
The engine is `surrogates/inference/hmc.py`; density and priors are `hyperposterior` and
`hyperpriors`, the model of the draws is `mixture`.

Departs from the paper: jittered trajectories of many chains in coordinates whitened by the Laplace
approximation, and jumps between them, instead of NUTS with a unit metric; chains, metric, step size
and proposal are carried from one fit to the next; it goes on until the diagnostics hold, or says
that they do not. Chains that go on from an earlier fit are old, and what they predict was as near
the truth at an R-hat of 1.04 as is wanted (`benchmarks/bo_step.py`); 1.02 takes twice the time.
"""

import dataclasses

from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.contract import State
from surrogates.gp import bayesian
from surrogates.gp.bayesian import Problem
from surrogates.gp.mixture import MixtureGP
from surrogates.inference import hmc, proposal as proposals
from surrogates.inference.chains import pooled_factor
from surrogates.inputs import Inputs
from surrogates.options import option, options
from surrogates.threads import one_thread


@options
class Options(bayesian.Options, hmc.Options):
    """The model, and how its hyperparameters are drawn."""

    chains: int = option(default=8, help="chains, all in one call", low=2, high=100_000)
    draws: int = option(
        default=48, help="per chain, before the first look at the diagnostics", low=4, high=10**6
    )
    jumps: int = option(
        default=2, help="points proposed to a chain before a trajectory", low=0, high=1000
    )
    rhat: float = option(
        default=1.02,
        help="goes on until the greatest is below; twice as far from 1 after an earlier fit",
        low=1.0,
    )
    ess: float = option(default=100.0, help="and the smallest effective size above", low=0.0)
    sd_error: float = option(
        default=0.15, help="and the relative error of every standard deviation below", low=0.0
    )
    rewarm: int = option(
        default=5, help="trajectories of the warm-up from an earlier fit", low=0, high=100_000
    )


@one_thread()
def fit(
    train_X: Float[Tensor, "n d"],
    train_Y: Float[Tensor, "n m"],
    train_Yvar: Float[Tensor, "n m"] | None = None,
    *,
    inputs: Inputs,
    options: Options,
    generator: Generator | None = None,
    warm_start: State | None = None,
) -> MixtureGP:
    """Draw the hyperparameters (see `surrogates.contract.Fit`); diagnostics are the engine's.

    `state` holds where the chains are, their metric, step size and proposal.
    """
    problem = Problem(train_X, train_Y, train_Yvar, inputs, options, generator)
    state, warm = problem.chains(options.chains, warm_start)
    own = options
    if warm:
        rhat = 1.0 + 2.0 * (options.rhat - 1.0)
        own = dataclasses.replace(options, warmup=options.rewarm, rhat=rhat)
    draws, state = hmc.run(problem.density, state, options=own, generator=problem.generator)
    drawn = draws.x.flatten(0, 1)  # metric and proposal of all draws, for the next fit
    metric, proposal = pooled_factor(drawn, state.factor), proposals.fit(drawn, problem.generator)
    state = dataclasses.replace(state, factor=metric, proposal=proposal)
    return problem.model(draws, {"chains": state.to_json()})
