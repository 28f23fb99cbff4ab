"""`ax:<surrogate>`: Ax's own default strategy around any surrogate of the catalog. No paper.

Ax's generator, acquisition function and search stay; see `bo/strategies/ax.py`.
"""

import dataclasses
from typing import Any

from bo.goals import Goal
from bo.space import Space
from bo.strategies import ax
from bo.strategies.ax import AxDefault
from surrogates.options import option, options

PREFIX = "ax:"
KEPT = 16
"""Draws that Ax keeps of its own fully Bayesian model."""


@options
class Options(ax.Options):
    """How it begins, and what Ax's generator sees."""

    kept: int = option(
        default=KEPT,
        help="most draws of a mixture that Ax's generator sees: its time grows with them",
        low=1,
        high=100_000,
    )


def with_surrogate(
    method: str,
    space: Space,
    goal: Goal,
    options: Options,
    seed: int,
    surrogate_options: Any = None,
) -> AxDefault:
    """The strategy.

    Args:
        method: "ax:" and the name of a surrogate.
        space: where to search.
        goal: what to optimise.
        options: how it begins, and what Ax sees.
        seed: the study's.
        surrogate_options: the surrogate's own; None takes its defaults.
    """
    held = {} if surrogate_options is None else dataclasses.asdict(surrogate_options)
    if "kept" in held:
        held["kept"] = min(held["kept"], options.kept)
    model = ax.bridge().ax_model(method.removeprefix(PREFIX), held)
    return AxDefault(space, goal, options, seed, model)
