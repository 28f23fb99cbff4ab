"""The default: for now always the strategy around `gp-map`. No paper.

`note` says what was chosen and why, in one line that every run with `auto` shows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Generator

from bo.belief import Belief
from bo.contract import Goal, Trial
from bo.space import Parameters, Space
from bo.strategies.model_based import ModelBased, Options

__all__ = ["Auto", "Options"]


class Auto:
    """`gp-map`, under the name that people get who name no method."""

    def __init__(self, space: Space, goal: Goal, options: Options, seed: int) -> None:
        self.note: str | None = "auto chose gp-map: the only model so far"
        self.strategy = ModelBased("gp-map", space, goal, options, seed)

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """As `gp-map` does (see `bo.contract.Strategy`)."""
        return self.strategy.ask(trials, n, state=state, generator=generator)

    def belief(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> Belief | None:
        """That of `gp-map` (see `bo.contract.Believer`)."""
        return self.strategy.belief(trials, n, state=state, generator=generator)
