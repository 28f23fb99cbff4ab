"""Gaussian steps from the best point so far: a (1 + 1) evolution strategy with a fixed step.

Rechenberg (1973), "Evolutionsstrategie". Departs from it: the step never adapts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator

from bo.contract import Trial
from bo.goals import Goal
from bo.metrics import incumbent
from bo.space import Parameters, Space
from bo.strategies.random import random_points
from bo.strategies.sobol import first_points
from bo.strategies.unseen import nearest_unseen
from surrogates.options import option, options


@options
class Options:
    """Choices of the strategy."""

    step_std: float = option(
        default=0.1, help="length of a step, in units of the range", low=1e-6, high=1.0
    )


class ToyStep:
    """Steps from the incumbent."""

    def __init__(self, space: Space, goal: Goal, options: Options, seed: int) -> None:
        self.note: str | None = None
        self.space, self.goal, self.options, self.seed = space, goal, options, seed

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """n points near the best one (see `bo.contract.Strategy`); there is no state to keep."""
        best = incumbent(trials, self.goal)
        if best is None:
            return first_points(self.space, self.goal, self.seed, trials, n), None
        space = self.space
        (centre,) = space.to_uniforms([best.parameters])
        kind: dict[str, Any] = {"generator": generator, "dtype": torch.float64, "device": "cpu"}
        noise = torch.randn(64 * n, len(space.free), **kind).numpy()
        steps = space.from_uniforms(np.clip(centre + self.options.step_std * noise, 0.0, 1.0))
        seen = [trial.parameters for trial in trials]
        if space.candidates is not None:
            return nearest_unseen(space, seen, space.encode(steps[:n])), None
        steps = [step for step, ok in zip(steps, space.allowed(steps), strict=True) if ok]
        steps += random_points(space, n, generator=generator)  # where too few steps are allowed
        known = {space.key(point) for point in seen}
        new = {space.key(point): point for point in steps if space.key(point) not in known}
        return [*new.values(), *steps][:n], None
