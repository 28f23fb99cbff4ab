"""What the peers share: their package, a seed, losses, and points that are fit to be tried.

No paper. A peer works in memory: each ask rebuilds its study from the trial log, so that a study
goes on bit for bit in another process, and nothing of a peer's own storage is used.

A peer sees every parameter of a conditional space, those that are not active at their default, and
nothing of constraints: a proposal outside gives way to the nearest of some points inside.
"""

import contextlib
import importlib
import logging
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator

from bo.contract import Trial
from bo.goals import Goal
from bo.space import Parameter, Parameters, Space
from bo.strategies.ax import _unseen
from bo.strategies.unseen import nearest_unseen, unseen_indices
from surrogates.errors import NotInstalledError

LARGEST = 1e100  # its square is still finite
_MOST_LEVELS = 10_000


def package(name: str, *, method: str) -> Any:
    """A module of a peer, imported when it is needed and not before.

    Args:
        name: of the module.
        method: for the message.

    Raises:
        NotInstalledError: the peer is not installed.
    """
    try:
        with quiet(name.partition(".")[0]), global_draws(0):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        raise NotInstalledError(
            f"method {method} expected the package {missing}, got none; "
            'do pip install "wald[peers]"'
        ) from None


@contextlib.contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Keep warnings, and what these loggers say, from the user: they are about the peer's code."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def global_draws(seed: int) -> Iterator[None]:
    """Seed the global generators, for peers that draw from them, and put them back afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def seed_from(generator: Generator) -> int:
    """A seed below 2**31 for everything that a peer draws in one ask."""
    return int(torch.randint(2**31, (1,), generator=generator, dtype=torch.int64, device="cpu"))


def value_of(trial: Trial, goal: Goal) -> float:
    """The outcome of a complete trial, small enough to be squared."""
    return min(max(trial.values[goal.name], -LARGEST), LARGEST)


def loss_of(trial: Trial, goal: Goal) -> float:
    """The same, lower is better."""
    return -goal.sign * value_of(trial, goal)


def wide(parameter: Parameter) -> bool:
    """Whether an integer has so many values that a peer gets a float: some list every value."""
    return parameter.type == "integer" and parameter.levels > _MOST_LEVELS


def whole(space: Space, point: Mapping[str, Any]) -> Parameters:
    """A point with a value for every free parameter: the default of one that is not active."""
    if not space.conditional:
        return {name: point[name] for name in space.free}
    (uniforms,) = space.to_uniforms([point])
    return {
        name: point[name] if name in point else p.from_uniform(float(uniform))
        for (name, p), uniform in zip(space.free.items(), uniforms, strict=True)
    }


def active(space: Space, values: Mapping[str, Any]) -> Parameters:
    """The inverse: the point without what is not active, on the grid of the space."""
    uniforms = [p.to_uniform(p.check(values[name], name)) for name, p in space.free.items()]
    return space.from_uniforms(np.array([uniforms]))[0]


def most(space: Space, trials: Sequence[Trial], n: int) -> int:
    """How many of n points there can be: in a pool, no more than it has unseen rows."""
    if space.candidates is None:
        return n
    return min(n, len(unseen_indices(space, [trial.parameters for trial in trials])))


def settled(
    space: Space,
    trials: Sequence[Trial],
    points: Sequence[Parameters],
    proposal: Parameters,
    generator: Generator,
) -> Parameters:
    """The point to try instead of a proposal; most often the proposal itself.

    In a pool the nearest unseen row. Else a point that is under evaluation, or that the constraints
    of the space do not allow, gives way to a new one near it. A finished one stays: whether to
    repeat itself is the peer's own choice.

    Args:
        space: where to search.
        trials: the log.
        points: those chosen before in the same ask.
        proposal: what the peer proposes.
        generator: source of random draws.
    """
    point = active(space, proposal)
    seen = [*(trial.parameters for trial in trials), *points]
    if space.candidates is not None:
        return nearest_unseen(space, seen, space.encode([point]))[0]
    pending = [*(trial.parameters for trial in trials if not trial.done), *points]
    known = space.key(point) in {space.key(other) for other in pending}
    if known or not space.allowed([point])[0]:
        return _unseen(space, seen, point, generator)[0]
    return point


def pool_note(space: Space, method: str) -> str | None:
    """What is told of a peer in a pool, of which no peer knows."""
    if space.candidates is None:
        return None
    return f"{method} proposes any point of the box; the nearest unseen candidate is tried"
