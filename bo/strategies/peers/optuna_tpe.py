"""Optuna's tree-structured Parzen estimator, as a peer to measure ours against.

Bergstra, Bardenet, Bengio & Kegl (2011), "Algorithms for Hyper-Parameter Optimization"; the code is
Optuna's `TPESampler` (github.com/optuna/optuna) with its defaults. Two mixtures of kernels are laid
over the good and the other trials; of some draws from the first the one with the best ratio is
tried. Departs from Optuna: its sampler is seeded anew at each ask, from the study's generator.

Optuna's own ways are kept: random start-up trials, of which those that exist count; running trials
among the bad ones (constant liar); failed trials left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Generator

from bo.contract import Trial
from bo.goals import Goals
from bo.space import Parameters, Space
from bo.strategies.peers._optuna import suggest
from bo.strategies.peers._shared import package, pool_note, quiet, seed_from
from surrogates.options import option, options


@options
class Options:
    """Those of `TPESampler`, with its defaults."""

    startup: int = option(
        default=10, help="random trials before the model (n_startup_trials)", low=1, high=1000
    )
    candidates: int = option(
        default=24, help="draws of which the best is tried (n_ei_candidates)", low=1, high=10_000
    )
    multivariate: bool = option(
        default=True, help="one mixture over all parameters; with several goals Optuna has one each"
    )
    constant_liar: bool = option(default=True, help="count running trials as bad ones")


class OptunaTPE:
    """`TPESampler` on a study that is rebuilt from the log at each ask."""

    def __init__(self, space: Space, goals: Goals, options: Options, seed: int) -> None:
        self.note: str | None = pool_note(space, "optuna-tpe")
        self.space, self.goals, self.options = space, goals, options
        self.optuna = package("optuna", method="optuna-tpe")

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """The next n points (see `bo.contract.Strategy`); there is no state to keep."""
        with quiet("optuna"):
            sampler = self.optuna.samplers.TPESampler(
                seed=seed_from(generator),
                n_startup_trials=self.options.startup,
                n_ei_candidates=self.options.candidates,
                multivariate=None if self.options.multivariate else False,  # None: by the goals
                constant_liar=self.options.constant_liar,
            )
        return suggest(self.optuna, sampler, self.space, self.goals, trials, n, generator), None
