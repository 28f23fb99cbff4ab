"""The default: chooses a method by what is to be optimised. No paper.

`note` says what was chosen and why, in one line that every run with `auto` shows. The choice looks
at space and goals alone, so that it is the same at every ask of a study.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Generator

from bo.belief import Belief
from bo.contract import Believer, Strategy, Trial
from bo.goals import Goals
from bo.space import Parameters, Space
from bo.strategies.global_local import GlobalLocal
from bo.strategies.model_based import ModelBased, Options

__all__ = ["Auto", "Options"]

MANY = 20
"""With more parameters than this a model of the whole space may know too little of it."""


class Auto:
    """`gp-map` or `gp-global-local`, under the name that people get who name no method."""

    def __init__(self, space: Space, goals: Goals, options: Options, seed: int) -> None:
        name, why = _choice(space, goals)
        self.note: str | None = f"auto chose {name}: {why}"
        self.strategy: Strategy
        if name == "gp-global-local":
            self.strategy = GlobalLocal(space, goals.only, options, seed)
        else:
            self.strategy = ModelBased("gp-map", space, goals, options, seed)

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """As the chosen method does (see `bo.contract.Strategy`)."""
        return self.strategy.ask(trials, n, state=state, generator=generator)

    def belief(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> Belief | None:
        """That of the chosen method (see `bo.contract.Believer`)."""
        if not isinstance(self.strategy, Believer):
            return None
        return self.strategy.belief(trials, n, state=state, generator=generator)


def _choice(space: Space, goals: Goals) -> tuple[str, str]:
    """A method, and why."""
    count = len(space.free)
    told = f"{count} parameter" + "s" * (count != 1)
    if goals.several:
        return "gp-map", f"{told}, {len(goals.goals)} goals to trade off"
    if goals.constraints:
        return "gp-map", f"{told}, and outcome constraints to learn"
    if space.pool is not None:
        return "gp-map", f"a pool of {len(space.pool.rows)} candidates, all scored at each ask"
    if count > MANY:
        why = "every second point near the best, in case the model of the whole is lost"
        return "gp-global-local", f"{told}, more than {MANY}: {why}"
    return "gp-map", f"{told}, at most {MANY}: one model of the whole space"
