"""Fully Bayesian Gaussian process: hyperparameters by the Laplace approximation.

MacKay (2003), "Information Theory, Inference, and Learning Algorithms", chapter 27. The engine is
`surrogates/inference/laplace.py`: a Student t around the mode of the logarithms of the
hyperparameters, its draws weighted by importance and resampled; `khat` tells whether that can be
trusted. Density and priors are `hyperposterior` and `hyperpriors`, the model of the draws is
`mixture`.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.contract import State
from surrogates.gp import bayesian
from surrogates.gp.bayesian import Problem
from surrogates.gp.mixture import MixtureGP
from surrogates.inference import laplace
from surrogates.inputs import Inputs
from surrogates.options import options
from surrogates.threads import one_thread


@options
class Options(bayesian.Options, laplace.Options):
    """The model, and how its hyperparameters are drawn."""


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

    `state` holds the mode.
    """
    problem = Problem(train_X, train_Y, train_Yvar, inputs, options, generator)
    starts = problem.searches(warm_start)
    draws = laplace.run(problem.density, starts, options=options, generator=problem.generator)
    best = draws.x[0, int(torch.argmax(draws.log_density[0]))]
    return problem.model(draws, {"mode": best.tolist()})
