"""Fully Bayesian Gaussian process: hyperparameters by variational inference, full-rank.

Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), "Automatic Differentiation Variational
Inference", full-rank; Lalchand & Rasmussen (2020), "Approximate Inference for Fully Bayesian
Gaussian Process Regression".
The engine is `surrogates/inference/vi_fullrank.py`, of the logarithms of the hyperparameters;
density and priors are `hyperposterior` and `hyperpriors`, the model of the draws is `mixture`.

Variational draws are too narrow where the family does not fit: `khat` tells, and `weighted` gives
them importance weights.
"""

from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.contract import State
from surrogates.gp import bayesian
from surrogates.gp.bayesian import Problem
from surrogates.gp.mixture import MixtureGP
from surrogates.inference import vi_fullrank
from surrogates.inputs import Inputs
from surrogates.options import option, options
from surrogates.threads import one_thread


@options
class Options(bayesian.Options, vi_fullrank.Options):
    """The model, and how its hyperparameters are drawn."""

    weighted: bool = option(default=False, help="whether draws carry importance weights")


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
    draws, _ = vi_fullrank.run(
        problem.density, starts, options=options, generator=problem.generator
    )
    best = draws.x[0, int(draws.log_density[0].argmax())]
    return problem.model(draws, {"mode": best.tolist()})
