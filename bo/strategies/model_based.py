"""The default strategy, around any surrogate: fit it, maximise an acquisition function.

Jones, Schonlau & Welch (1998), "Efficient Global Optimization of Expensive Black-Box Functions".
A Sobol design comes first; then, for every point: fit the surrogate to the complete trials
(starting from the previous fit), treat running trials as pending, and maximise the acquisition
function. Further points of a batch are chosen one by one, those before them pending.

Failed trials enter the fit with the worst value seen, so that the search leaves where they were,
and do not use up the initial design.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.models.model import Model
from torch import Generator, Tensor

from bo.acquisition.functions import NAMES, acquisition
from bo.acquisition.maximise import maximise
from bo.belief import Belief
from bo.contract import Goal, Trial
from bo.space import Parameters, Space
from bo.strategies.sobol import first_points
from surrogates.catalog import SURROGATES
from surrogates.options import option, options
from surrogates.registry import find, rows

INCUMBENTS = 5
_FEWEST_OUTCOMES = 2


@options
class Options:
    """Choices of the loop around the surrogate."""

    acquisition: str = option(default="logei", help="acquisition function", choices=NAMES)
    initial: int = option(
        default=0,
        help="points of the initial design; 0: 2 per parameter, from 4 to 16",
        low=0,
        high=1000,
    )
    device: str = option(default="cpu", help="where the model computes", choices=("cpu", "cuda"))


class ModelBased:
    """Bayesian optimisation with any surrogate of the catalog."""

    def __init__(
        self,
        surrogate: str,
        space: Space,
        goal: Goal,
        options: Options,
        seed: int,
        surrogate_options: Any = None,
    ) -> None:
        row = find(surrogate, rows(SURROGATES), what="surrogate")
        self.note: str | None = None
        self.fit = row.load()
        self.surrogate_options = surrogate_options or row.options()()
        self.space = space
        self.goal = goal
        self.options = options
        self.seed = seed
        self.initial = options.initial or min(max(2 * len(space.free), 4), 16)
        self.like = torch.zeros(0, dtype=torch.float64, device=options.device)
        self._latest: tuple[_Asked, Belief] | None = None

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """Choose n points (see `bo.contract.Strategy`); `state` warm-starts the fit."""
        points = self._design(trials, n)
        if len(points) == n or not self._can_fit(trials):
            return points, None
        belief = self._believe(trials, points, state, generator)
        best_first = torch.argsort(-belief.outcomes[:, 0], stable=True)[:INCUMBENTS]
        incumbents = belief.observed[best_first].cpu().numpy()
        function = belief.acquisition
        while True:
            seen = [t.parameters for t in trials] + points
            point = maximise(
                function, self.space, seen, incumbents, generator=generator, like=self.like
            )
            if point is None:
                break
            points.append(point)
            if len(points) == n:
                break
            function = self._acquisition(belief.model, belief.observed, trials, points, generator)
        return points, {"surrogate": belief.model.state, "diagnostics": belief.model.diagnostics}

    def belief(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> Belief | None:
        """The latest ask's where the arguments are its own, else from a fit like its own.

        See `bo.contract.Believer`.
        """
        points = self._design(trials, n)
        if len(points) == n or not self._can_fit(trials):
            return None
        asked = _Asked(list(trials), points, state, generator.get_state())
        if self._latest is not None and self._latest[0].same(asked):
            return self._latest[1]
        return self._believe(trials, points, state, generator)

    def _design(self, trials: Sequence[Trial], n: int) -> list[Parameters]:
        """The points of the initial design among the next n."""
        complete = sum(t.state == "complete" for t in trials)
        missing = self.initial - complete - sum(not t.done for t in trials)
        if missing <= 0 and self._can_fit(trials):
            return []
        count = min(n, missing) if self._can_fit(trials) else n
        return first_points(self.space, self.goal, self.seed, trials, count)

    def _can_fit(self, trials: Sequence[Trial]) -> bool:
        return sum(t.state == "complete" for t in trials) >= _FEWEST_OUTCOMES

    def _believe(
        self,
        trials: Sequence[Trial],
        points: list[Parameters],
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> Belief:
        """Fit, and make the acquisition function of the point after `points`. Kept as the latest.

        Keeping it changes no answer: it is given out only for the arguments it was made from.
        """
        asked = _Asked(list(trials), list(points), state, generator.get_state())
        X, Y = self._data(trials)
        model = self.fit(
            X,
            Y,
            inputs=self.space.inputs,
            options=self.surrogate_options,
            generator=generator,
            warm_start=None if state is None else state["surrogate"],
        )
        function = self._acquisition(model, X, trials, points, generator)
        belief = Belief(model, function, self.options.acquisition, X, Y, len(points))
        self._latest = (asked, belief)
        return belief

    def _acquisition(
        self,
        model: Model,
        X: Tensor,
        trials: Sequence[Trial],
        points: Sequence[Parameters],
        generator: Generator,
    ) -> AcquisitionFunction:
        """That of one more point, with running trials and the points before it pending."""
        waiting = [*(t.parameters for t in trials if not t.done), *points]
        return acquisition(
            self.options.acquisition,
            model,
            X,
            self._columns(waiting) if waiting else None,
            seed=int(torch.randint(2**31, (1,), generator=generator)),
        )

    def _data(self, trials: Sequence[Trial]) -> tuple[Tensor, Tensor]:
        """(n, d) columns and (n, 1) outcomes, higher is better."""
        name, sign = self.goal.name, self.goal.sign
        done = [t for t in trials if t.done]
        values = [sign * t.values[name] if t.state == "complete" else np.nan for t in done]
        outcomes = np.array(values)
        outcomes[np.isnan(outcomes)] = np.nanmin(outcomes)
        Y = torch.as_tensor(outcomes, dtype=self.like.dtype, device=self.like.device)
        return self._columns([t.parameters for t in done]), Y.unsqueeze(-1)

    def _columns(self, points: Sequence[Parameters]) -> Tensor:
        encoded = self.space.encode(points)
        return torch.as_tensor(encoded, dtype=self.like.dtype, device=self.like.device)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What a belief was made from."""

    trials: list[Trial]
    points: list[Parameters]
    state: Mapping[str, Any] | None
    draws: Tensor

    def same(self, other: "_Asked") -> bool:
        """Whether both give the same belief."""
        return (
            self.trials == other.trials
            and self.points == other.points
            and self.state == other.state
            and torch.equal(self.draws, other.draws)
        )
