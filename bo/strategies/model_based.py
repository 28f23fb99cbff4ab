"""The default strategy, around any surrogate: fit it, maximise an acquisition function.

Jones, Schonlau & Welch (1998), "Efficient Global Optimization of Expensive Black-Box Functions".
A Sobol design comes first; then, for every point: fit the surrogate to the complete trials
(starting from the previous fit), treat running trials as pending, and maximise the acquisition
function. Further points of a batch are chosen one by one, those before them pending.

Failed trials enter the fit with the worst value seen, so that the search leaves where they were,
and do not use up the initial design.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from bo.acquisition.functions import NAMES, acquisition
from bo.acquisition.maximise import maximise
from bo.contract import Goal, Trial
from bo.space import Parameters, Space
from bo.strategies.sobol import first_points
from surrogates.catalog import SURROGATES
from surrogates.options import option, options
from surrogates.registry import find, rows

INCUMBENTS = 5


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

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """Choose n points (see `bo.contract.Strategy`); `state` warm-starts the fit."""
        complete = [t for t in trials if t.state == "complete"]
        pending = [t.parameters for t in trials if not t.done]
        missing = self.initial - len(complete) - len(pending)
        points: list[Parameters] = []
        if missing > 0 or len(complete) < 2:
            count = n if len(complete) < 2 else min(n, missing)
            points = first_points(self.space, self.goal, self.seed, trials, count)
        if len(points) == n or (not points and len(complete) < 2):
            return points, None
        X, Y = self._data(trials)
        inputs = self.space.inputs
        model = self.fit(
            X,
            Y,
            inputs=inputs,
            options=self.surrogate_options,
            generator=generator,
            warm_start=None if state is None else state["surrogate"],
        )
        best_first = torch.argsort(-Y[:, 0], stable=True)[:INCUMBENTS]
        incumbents = X[best_first].cpu().numpy()
        while len(points) < n:
            waiting = [*pending, *points]
            function = acquisition(
                self.options.acquisition,
                model,
                X,
                self._columns(waiting) if waiting else None,
                seed=int(torch.randint(2**31, (1,), generator=generator)),
            )
            seen = [t.parameters for t in trials] + points
            point = maximise(
                function, self.space, seen, incumbents, generator=generator, like=self.like
            )
            if point is None:
                break
            points.append(point)
        return points, {"surrogate": model.state, "diagnostics": model.diagnostics}

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
