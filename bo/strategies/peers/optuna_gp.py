"""Optuna's Gaussian process sampler, as a peer to measure ours against. No paper of its own.

The code is Optuna's `GPSampler` (github.com/optuna/optuna) with its defaults: a Matern-5/2 kernel
with one lengthscale per parameter, log expected improvement (Ament et al. 2023), over several
points where trials are running, and a local search from ten starts. Departs from Optuna: its
sampler is seeded anew at each ask, from the study's generator.

Optuna starts each fit from the kernel of the fit before. Here that kernel is the state that an ask
leaves, so that the fit is the same in another process. Optuna's own ways are kept: random start-up
trials, of which those that exist count; failed trials left out.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Generator

from bo.contract import Trial
from bo.goals import Goal
from bo.space import Parameters, Space
from bo.strategies.peers._optuna import suggest
from bo.strategies.peers._shared import package, pool_note, quiet, seed_from
from surrogates.options import option, options

_KERNEL = ("inverse_squared_lengthscales", "kernel_scale", "noise_var")


@options
class Options:
    """Those of `GPSampler`, with its defaults."""

    startup: int = option(
        default=10, help="random trials before the model (n_startup_trials)", low=1, high=1000
    )
    deterministic: bool = option(
        default=False, help="whether outcomes have no noise (deterministic_objective)"
    )


class OptunaGP:
    """`GPSampler` on a study that is rebuilt from the log at each ask."""

    def __init__(self, space: Space, goal: Goal, options: Options, seed: int) -> None:
        self.note: str | None = pool_note(space, "optuna-gp")
        self.space, self.goal, self.options = space, goal, options
        self.optuna = package("optuna", method="optuna-gp")

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """The next n points (see `bo.contract.Strategy`); the state is the fitted kernel."""
        with quiet("optuna"):
            sampler = self.optuna.samplers.GPSampler(
                seed=seed_from(generator),
                n_startup_trials=self.options.startup,
                deterministic_objective=self.options.deterministic,
            )
        if state is not None:
            sampler._gprs_cache_list = [_kernel(state["kernel"])]
        points = suggest(self.optuna, sampler, self.space, self.goal, trials, n, generator)
        if sampler._gprs_cache_list is None:
            return points, None
        (fitted,) = sampler._gprs_cache_list
        return points, {"kernel": {name: getattr(fitted, name).tolist() for name in _KERNEL}}


def _kernel(state: Mapping[str, Any]) -> SimpleNamespace:
    """What Optuna reads of the fit before."""
    tensors = {
        name: torch.tensor(state[name], dtype=torch.float64, device="cpu") for name in _KERNEL
    }
    return SimpleNamespace(**tensors)
