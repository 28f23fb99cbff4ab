"""Optuna's Gaussian process sampler, as a peer to measure ours against. No paper of its own.

The code is Optuna's `GPSampler` (github.com/optuna/optuna) with its defaults: a Matern-5/2 kernel
with one lengthscale per parameter, log expected improvement (Ament et al. 2023), over several
points where trials are running, of several goals that of their hypervolume, with the probability
that constraints hold, and a local search from ten starts. Departs from Optuna: its
sampler is seeded anew at each ask, from the study's generator.

Optuna starts each fit from the kernel of the fit before. Here those kernels are the state that an
ask leaves, so that the fit is the same in another process. Optuna's own ways are kept: random
start-up trials, of which those that exist count; failed trials left out.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Generator

from bo.contract import Trial
from bo.goals import Goals
from bo.space import Parameters, Space
from bo.strategies.peers._optuna import suggest
from bo.strategies.peers._shared import package, pool_note, quiet, seed_from
from surrogates.options import option, options

_CACHES = ("_gprs_cache_list", "_constraints_gprs_cache_list")
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

    def __init__(self, space: Space, goals: Goals, options: Options, seed: int) -> None:
        self.note: str | None = pool_note(space, "optuna-gp")
        self.space, self.goals, self.options = space, goals, options
        self.optuna = package("optuna", method="optuna-gp")

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """The next n points (see `bo.contract.Strategy`); the state is the fitted kernels."""
        with quiet("optuna"):
            sampler = self.optuna.samplers.GPSampler(
                seed=seed_from(generator),
                n_startup_trials=self.options.startup,
                deterministic_objective=self.options.deterministic,
            )
        held = state or {}
        for cache in (name for name in _CACHES if name in held):
            setattr(sampler, cache, [_kernel(kernel) for kernel in held[cache]])
        points = suggest(self.optuna, sampler, self.space, self.goals, trials, n, generator)
        fitted = {cache: getattr(sampler, cache) for cache in _CACHES}
        told = {
            cache: [{name: getattr(each, name).tolist() for name in _KERNEL} for each in kernels]
            for cache, kernels in fitted.items()
            if kernels is not None
        }
        return points, told or None


def _kernel(state: Mapping[str, Any]) -> SimpleNamespace:
    """What Optuna reads of the fit before."""
    tensors = {
        name: torch.tensor(state[name], dtype=torch.float64, device="cpu") for name in _KERNEL
    }
    return SimpleNamespace(**tensors)
