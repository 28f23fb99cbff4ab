"""The search for the acquisition function's maximum over a mixed space or a pool. No paper.

In a pool every unseen row is scored. Elsewhere: score many random points and neighbours of the best
observed ones; start from the best two, and from random ones drawn with odds that grow with their
score (Boltzmann), so that the starts do not all lie in one basin; then alternate between L-BFGS-B
over the real columns, all starts at once (BoTorch's `gen_candidates_scipy`), and the best single
change of a discrete parameter, until no start improves. Whole numbers with very many values are
searched as reals and rounded. What comes back is decoded, scored as it will be evaluated, and never
a point seen before while there is another.

Parameters that are not active at a start stay at their default while it climbs; a change of a
parent switches them on and off.

Under constraints every start is allowed. The climb keeps within those that are linear in the
columns (`bo/acquisition/polytope.py`); a start then goes from where it was towards where the climb
ended, as far as the others allow. Only allowed points come back.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.generation.gen import gen_candidates_scipy
from linear_operator.utils.warnings import NumericalWarning
from numpy.typing import NDArray
from torch import Generator, Tensor

from bo.acquisition.fused import Closed
from bo.acquisition.polytope import Ascend, ascend, polytope
from bo.space import Array, Parameters, Space
from bo.strategies.random import random_points
from bo.strategies.sobol import sobol_columns
from bo.strategies.unseen import unseen_indices

RAW_SAMPLES = 512
STARTS = 8
BEST_STARTS = 2
GREED = 2.0
ROUNDS = 5
ENUMERABLE = 64
CHUNK = 2048
ITERATIONS = 100
EVALUATIONS = 60
BISECTIONS = 12
_NEIGHBOUR_STD = 0.05
_STEPS = (-16, -4, -1, 1, 4, 16)


def maximise(
    acquisition: AcquisitionFunction,
    space: Space,
    seen: Sequence[Parameters],
    incumbents: Array,
    *,
    generator: Generator,
    like: Tensor,
) -> Parameters | None:
    """The unseen point with the highest acquisition value that the search finds.

    Args:
        acquisition: scores (b, 1, d) tensors of columns.
        space: where to search.
        seen: points tried already or under evaluation.
        incumbents: (k, d) columns of the best observed points.
        generator: source of every random draw.
        like: a tensor whose dtype and device the columns take.

    Returns:
        The point; None where a pool has no unseen row left.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # jitter where points nearly coincide
        if space.pool is not None:
            left = unseen_indices(space, seen)
            if len(left) == 0:
                return None
            scores = _score(acquisition, space.pool.columns[left], like)
            return space.pool.rows[left[int(np.argmax(scores))]]
        points = _search(acquisition, space, incumbents, generator, like)
    known = {space.key(point) for point in seen}
    for point in points:
        if space.key(point) not in known:
            return point
    for point in random_points(space, 4096, generator=generator):
        if space.key(point) not in known:
            return point
    return points[0]  # a finite space, all of it seen: measure the best point once more


def _search(
    acquisition: AcquisitionFunction,
    space: Space,
    incumbents: Array,
    generator: Generator,
    like: Tensor,
) -> list[Parameters]:
    """Points in the order of their scores, the best first."""
    free = len(space.free)
    raw = sobol_columns(space, RAW_SAMPLES, generator=generator)
    near = _near(space, incumbents, RAW_SAMPLES // 8, generator)
    if space.constraints:  # a point that the user added may lie beyond an inequality by rounding
        near = near[_rounded(space, near).allowed]
        incumbents = incumbents[_rounded(space, incumbents).allowed]
    pool = np.concatenate([raw, near, incumbents])
    scores = _score(acquisition, pool, like)
    starts = pool[_spread(scores, len(raw), generator)]
    best = _score(acquisition, starts, like)
    moved = np.ones(len(starts), dtype=bool)
    enumerable = [n for n, p in space.free.items() if 0 < p.levels <= ENUMERABLE]
    for _ in range(ROUNDS if enumerable else 1):
        if len(enumerable) < free:
            climbed = _climb(acquisition, space, enumerable, starts[moved], like)
            value = _score(acquisition, climbed, like)
            better = value > best[moved]
            index = np.flatnonzero(moved)[better]
            starts[index], best[index] = climbed[better], value[better]
        if not enumerable:
            break
        starts, best, moved = _step(acquisition, space, starts, best, like)
        if not moved.any():
            break
    rounded = _rounded(space, np.concatenate([starts, pool[np.argsort(-scores)[:64]]]))
    allowed = rounded.columns[rounded.allowed]
    final = _score(acquisition, allowed, like)
    best_first = np.argsort(-final, kind="stable")
    return [rounded.points[i] for i in np.flatnonzero(rounded.allowed)[best_first].tolist()]


def _spread(scores: Array, raw: int, generator: Generator) -> NDArray[np.int64]:
    """Positions of the starts: the best, and a Boltzmann sample of the first `raw` scores."""
    best = np.argsort(-scores, kind="stable")[:BEST_STARTS]
    finite = np.maximum(scores[:raw], np.quantile(scores[:raw], 0.1))
    standard = (finite - finite.mean()) / (float(finite.std()) or 1.0)
    # The greatest of score + Gumbel noise are a sample without replacement.
    gumbel = -np.log(-np.log(_draw(1, raw, generator)[:, 0].clip(1e-12, 1 - 1e-12)))
    drawn = np.argsort(-(GREED * standard + gumbel), kind="stable")
    others = [index for index in drawn if index not in best][: STARTS - BEST_STARTS]
    return np.array([*best, *others])


def _climb(
    acquisition: AcquisitionFunction,
    space: Space,
    enumerable: list[str],
    starts: Array,
    like: Tensor,
) -> Array:
    """Climb from every start; columns of enumerable parameters stay as they are."""
    held = [c for name, cell in _cells(space) if name in enumerable for c in cell]
    if not space.conditional:
        return _climb_alike(acquisition, space, enumerable, held, starts, like)
    # Starts at which the same parameters are active climb together.
    cells = dict(_cells(space))
    indicators = list(range(space.d - len(space.conditional), space.d))
    climbed = starts.copy()
    for case in np.unique(starts[:, indicators], axis=0):
        rows = np.flatnonzero((starts[:, indicators] == case).all(axis=1))
        off = [n for n, on in zip(space.conditional, case, strict=True) if not on]
        fixed = sorted({*held, *indicators, *(c for name in off for c in cells[name])})
        names = [*enumerable, *off]
        if len(fixed) < space.d:
            climbed[rows] = _climb_alike(acquisition, space, names, fixed, starts[rows], like)
    return climbed


def _climb_alike(
    acquisition: AcquisitionFunction,
    space: Space,
    names: list[str],
    held: list[int],
    starts: Array,
    like: Tensor,
) -> Array:
    """Climb from starts that hold the same columns, those of the parameters `names`."""
    if not space.constraints:
        return _climb_freely(acquisition, held, starts, like)
    free = np.ones(space.d, dtype=np.bool_)
    free[held] = False
    within = polytope(space, space.decode_table(starts), names, free)
    if len(within.equal):
        function = _with_gradient(acquisition, like)
        climbed = ascend(function, starts, within, evaluations=EVALUATIONS)
    else:
        climbed = _climb_freely(acquisition, held, starts, like)
    return _pulled_back(space, starts, climbed)


def _climb_freely(
    acquisition: AcquisitionFunction, held: list[int], starts: Array, like: Tensor
) -> Array:
    """L-BFGS-B from every start."""
    if isinstance(acquisition, Closed):
        free = [column for column in range(starts.shape[1]) if column not in held]
        return acquisition.climb(starts, free, max_iterations=ITERATIONS)
    x = torch.as_tensor(starts, dtype=like.dtype, device=like.device).unsqueeze(1)
    # BoTorch insists on showing how each search ended; an iteration limit or a line search at its
    # end is no failure here, since the starts are compared by value afterwards.
    with warnings.catch_warnings(record=True):
        found, _ = gen_candidates_scipy(
            initial_conditions=x,
            acquisition_function=acquisition,
            lower_bounds=torch.zeros(x.shape[-1], dtype=like.dtype, device=like.device),
            upper_bounds=torch.ones(x.shape[-1], dtype=like.dtype, device=like.device),
            fixed_features={column: x[:, 0, column] for column in held} or None,
            # One by one where BoTorch cannot climb from all starts at once (another SciPy).
            options={"maxiter": ITERATIONS, "max_optimization_problem_aggregation_size": 1},
        )
    return found.detach().squeeze(1).cpu().double().numpy()


def _with_gradient(acquisition: AcquisitionFunction, like: Tensor) -> Ascend:
    def function(columns: Array) -> tuple[Array, Array]:
        x = torch.as_tensor(columns, dtype=like.dtype, device=like.device).unsqueeze(1)
        x = x.requires_grad_()
        values = acquisition(x)
        (gradient,) = torch.autograd.grad(values.sum(), x)
        told = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0).squeeze(1)
        return values.detach().cpu().double().numpy(), told.cpu().double().numpy()

    return function


def _pulled_back(space: Space, starts: Array, ends: Array) -> Array:
    """From every start towards its end, as far as is allowed (found by bisection)."""
    reached = ends.copy()
    low, high = np.zeros(len(starts)), np.ones(len(starts))
    share = high.copy()
    left = np.arange(len(starts))
    for _ in range(BISECTIONS):
        if not len(left):
            break
        reached[left] = starts[left] + share[left, None] * (ends[left] - starts[left])
        ok = _rounded(space, reached[left]).allowed
        if share[left].min() == 1.0:
            left = left[~ok]
            ok = ok[~ok]
        low[left[ok]], high[left[~ok]] = share[left[ok]], share[left[~ok]]
        share[left] = (low[left] + high[left]) / 2
    reached[left] = starts[left] + low[left, None] * (ends[left] - starts[left])
    return _rounded(space, reached).columns


class _Rounded(NamedTuple):
    """Columns as they will be evaluated: decoded, equalities solved, and encoded again."""

    points: list[Parameters]
    columns: Array
    allowed: NDArray[np.bool_]


def _rounded(space: Space, columns: Array) -> _Rounded:
    table = space.decode_table(columns)
    allowed = np.ones(table.n, dtype=np.bool_)
    if space.region is not None:
        table, allowed = space.region.settle(table)
    return _Rounded(space.rows(table), space.encode_table(table), allowed)


def _step(
    acquisition: AcquisitionFunction, space: Space, starts: Array, best: Array, like: Tensor
) -> tuple[Array, Array, np.ndarray]:
    """The best change of one discrete parameter, for every start."""
    neighbours: list[Array] = []
    origin: list[int] = []
    for index, start in enumerate(starts):
        for name, cell in _cells(space):
            for value in _levels_near(space, name, start[cell]):
                changed = start.copy()
                changed[cell] = value
                neighbours.append(changed)
                origin.append(index)
    moved = np.zeros(len(starts), dtype=bool)
    if not neighbours:
        return starts, best, moved
    columns = np.array(neighbours)
    if space.conditional or space.constraints:
        found = _rounded(space, columns)
        neighbours, origin = (
            list(found.columns[found.allowed]),
            np.array(origin)[found.allowed].tolist(),
        )
        columns = np.array(neighbours).reshape(-1, space.d)
    scores = _score(acquisition, columns, like)
    starts, best = starts.copy(), best.copy()
    for neighbour, index, score in zip(neighbours, origin, scores, strict=True):
        if score > best[index]:
            starts[index], best[index], moved[index] = neighbour, score, True
    return starts, best, moved


def _levels_near(space: Space, name: str, cell: Array) -> Array:
    """Other values of a discrete parameter, as columns: all of a choice, some steps of a range."""
    parameter = space.free[name]
    if not 0 < parameter.levels <= ENUMERABLE:
        return np.zeros((0, len(cell)))
    levels = space.levels(name)
    here = int(np.argmin(((levels - cell) ** 2).sum(axis=1)))
    if parameter.type in ("choice", "boolean") or parameter.levels <= 8:
        others = [index for index in range(len(levels)) if index != here]
    else:
        others = [here + s for s in _STEPS if 0 <= here + s < len(levels)]
    return levels[others]


def _cells(space: Space) -> list[tuple[str, list[int]]]:
    """Name and columns of every free parameter."""
    cells: list[tuple[str, list[int]]] = []
    start = 0
    for name, parameter in space.free.items():
        cells.append((name, list(range(start, start + parameter.width))))
        start += parameter.width
    return cells


def _near(space: Space, incumbents: Array, n: int, generator: Generator) -> Array:
    """n points near the incumbents: reals jittered, a discrete parameter redrawn now and then."""
    if len(incumbents) == 0:
        return np.zeros((0, space.d))
    base = incumbents[np.arange(n) % len(incumbents)]
    fresh = space.encode_table(space.from_uniforms_table(_draw(len(space.free), n, generator)))
    noise = torch.randn(n, space.d, generator=generator, dtype=torch.float64, device="cpu").numpy()
    redraw = _draw(len(space.free), n, generator) < max(1 / len(space.free), 0.1)
    points = np.clip(base + _NEIGHBOUR_STD * noise, 0.0, 1.0)
    for position, (name, cell) in enumerate(_cells(space)):
        if 0 < space.free[name].levels <= ENUMERABLE:
            points[:, cell] = np.where(redraw[:, [position]], fresh[:, cell], base[:, cell])
    if space.constraints:
        return _pulled_back(space, base, points)
    return _rounded(space, points).columns if space.conditional else points


def _draw(d: int, n: int, generator: Generator) -> Array:
    return torch.rand(n, d, generator=generator, dtype=torch.float64, device="cpu").numpy()


def _score(acquisition: AcquisitionFunction, columns: Array, like: Tensor) -> Array:
    x = torch.as_tensor(columns, dtype=like.dtype, device=like.device).unsqueeze(1)
    with torch.no_grad():
        scores = torch.cat([acquisition(chunk) for chunk in x.split(CHUNK)])
    return torch.nan_to_num(scores, nan=-torch.inf).cpu().double().numpy()
