"""Two strategies in turn: `gp-map` over the whole space, and a trust region around its best point.

No paper. Both see every trial. What the whole space's model finds moves the box, and what was found
in the box is data of the model; where one of them is lost, as a box in the wrong valley or a model
of thirty parameters that knows too little, half of the evaluations are still the other's.

Asks take turns by how many trials there are, whole batches together, from the first model on or
(`after`) once outcomes are many. The region grows and shrinks by its own points alone, as in
`trust_region`; its model sees all points, or (`nearest`, `best`) few that are near or good.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Generator

from bo.belief import Belief
from bo.contract import Trial
from bo.goals import Goal, Goals
from bo.space import Parameters, Space
from bo.strategies import model_based
from bo.strategies.model_based import INITIAL, ModelBased
from bo.strategies.trust_region import FIRST, FewPoints, Options as BoxOptions, TrustRegion
from surrogates.options import option, options

__all__ = ["GlobalLocal", "Options"]


@options
class Options(model_based.Options, FewPoints):
    """Those of the model of the whole, when the region begins, and what its model sees."""

    after: int = option(
        default=0,
        help="the region takes turns from so many outcomes per parameter on",
        low=0,
        high=1000,
    )


class GlobalLocal:
    """Every second ask is the trust region's."""

    def __init__(self, space: Space, goal: Goal, options: Options, seed: int) -> None:
        self.note: str | None = None
        self.whole = ModelBased("gp-map", space, Goals.of(goal), options, seed)
        self.after = options.after * len(space.free)
        box = BoxOptions(
            initial=options.initial or INITIAL,
            design=options.design,
            nearest=options.nearest,
            best=options.best,
        )
        self.box = TrustRegion(space, goal, box, seed)

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """Choose n points (see `bo.contract.Strategy`), all by the one whose turn it is."""
        turn = self._turn(trials, n)
        points, kept = turn.ask(trials, n, state=state, generator=generator)
        if turn is self.box:
            return points, kept
        # To the region these points are data: as if all of them were of an initial design.
        known = (state or {}).get("region", FIRST)
        region = {**known, "asked": len(trials), "designed": len(points)}
        return points, {**(kept or {}), "region": region}

    def belief(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> Belief | None:
        """That of the one whose turn it is (see `bo.contract.Believer`)."""
        return self._turn(trials, n).belief(trials, n, state=state, generator=generator)

    def _turn(self, trials: Sequence[Trial], n: int) -> ModelBased | TrustRegion:
        late = sum(trial.state == "complete" for trial in trials) >= self.after
        return self.box if late and len(trials) // n % 2 else self.whole
