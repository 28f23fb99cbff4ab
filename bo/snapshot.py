"""What a running optimisation believes, as a small picture for pages without torch. No paper.

`snapshot` draws, from the model and the acquisition function of an ask:

- *slices*: mean, standard deviation (of f, without noise) and acquisition along every parameter,
  the others as in the incumbent. Of more than 40 parameters, the 40 along which the mean varies
  most.
- *a map* of two parameters, the others as in the incumbent: the two most important, ordered ones
  before booleans and choices. `axes` asks for other two.
- *importance*: the variance of the mean along a parameter's slice, as a share of the sum over the
  slices. It speaks of the surroundings of the incumbent, not of the whole space, and a parameter
  that matters only together with another may look unimportant. Where the model has a joint
  posterior, with intervals (`bo/importance.py`).
- *next*: what the model says about the first point that it chose in this ask.

Of a mixture over draws of hyperparameters, slices also have the ends of its band (`low`, `high`:
the quantiles that are two standard deviations of a normal) and the means of a few draws
(`drawn`), and the picture holds the hyperparameters themselves (`bo/hyperparameters.py`).

Outcomes are in the goal's own units and direction: the model sees the sign times them, perhaps on a
power scale. With several goals the pictures are of the first one's model. The
acquisition is as it is, higher being more wanted. In a pool (`"pool": true`) the next point is the
best candidate, while slices and map also cross settings that are no candidate. A snapshot draws
nothing from the study's generator and writes nothing: a study goes on the same with or without.

Where parameters are conditional, the slices are those of the parameters that are active in the
incumbent; along one of them others may come and go. Constraints are not looked at.

All in all a picture has at most 2,500 numbers, that of a mixture at most 6,500 more, with 5
significant digits (more where they lie far from zero and close together); None stands for what is
not finite.
"""

import math
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from linear_operator.utils.warnings import NumericalWarning

from bo import metrics
from bo.belief import Belief
from bo.contract import Believer, Trial
from bo.goals import Goals
from bo.hyperparameters import hyperparameters
from bo.importance import intervals
from bo.mixtures import LEVELS, TWO_SD, Components, components
from bo.space import Array, Parameter, Parameters, Space, Value
from surrogates.errors import UsageError
from surrogates.gp.map import MapGP
from surrogates.options import unknown

if TYPE_CHECKING:
    from bo.study import Study

NUMBERS = 2500
DIGITS = 5
SLICES = 40
DRAWN = 6
"""Means of single draws that a slice shows, at most of so many slices as follow."""
DRAWN_SLICES = 8
FARTHEST = 10.0
_FULL_POINTS = 200  # with more parameters, points are shown without those that have no slice
_ALONE, _LONGEST, _COARSE = 201, 31, 5
_MANY, _SIDE, _SMALL_SIDE = 10, 20, 14
_CHUNK = 2048


class SnapshotBudget:
    """Whether a snapshot may be taken: every k-th trial, and at most a share of the asks' CPU time.

    Args:
        share: of the CPU seconds of asks, that snapshots may take.
        every: trials from one snapshot to the next, at least 1.
        last: number of the trial of the latest snapshot (after a resume), or None.

    Attributes:
        asks: CPU seconds of asks so far.
        snapshots: CPU seconds of snapshots so far.

    Raises:
        UsageError: a share or a step out of range.
    """

    def __init__(self, *, share: float = 0.1, every: int = 1, last: int | None = None) -> None:
        if every < 1:
            raise UsageError(f"snapshots expected every=1 or more, got {every}")
        if not share >= 0:
            raise UsageError(f"a share of the asks' time expected 0 or more, got {share}")
        self.share = share
        self.every = every
        self.last = last
        self.asks = 0.0
        self.snapshots = 0.0

    def asked(self, cpu_seconds: float) -> None:
        """Count an ask."""
        self.asks += cpu_seconds

    def wants(self, number: int) -> bool:
        """Whether the ask that made this trial should be drawn."""
        due = self.last is None or number >= self.last + self.every
        return due and self.snapshots <= self.share * self.asks

    def took(self, number: int, cpu_seconds: float) -> None:
        """Count a snapshot of the ask that made this trial."""
        self.last = number
        self.snapshots += cpu_seconds


def snapshot(
    study: "Study",
    before: Sequence[Trial],
    asked: Sequence[Trial],
    *,
    axes: tuple[str, str] | None = None,
) -> dict[str, Any] | None:
    """The picture of an ask: the payload of a `posterior` event.

    Args:
        study: its space, goal, seed and strategy.
        before: the log as the strategy saw it (`log_before` for a trial of long ago).
        asked: the trials that it made.
        axes: two free parameters for the map; None takes the most important ones.

    Returns:
        JSON-able; None for a strategy without a model, and while the initial design is drawn.

    Raises:
        UsageError: axes that are not two different free parameters.
    """
    began = time.process_time()
    if axes is not None:
        _check_axes(study.space, axes)
    belief = _belief(study, before, len(asked))
    best = _centre(before, study.goals)
    if belief is None or best is None or len(asked) <= belief.designed:
        return None
    space, goal = study.space, belief.goal
    look = _Look(belief, space, dict(best.parameters))
    here = [name for name in space.free if name in best.parameters]
    shown = here if len(here) <= SLICES else _most_varied(look, here)
    side = (_SIDE if len(shown) <= _MANY else _SMALL_SIDE) if len(here) > 1 else 0
    if axes is not None and not set(axes) <= set(here):
        (lost, *_) = [name for name in axes if name not in here]
        raise UsageError(
            f"a map expected parameters of the best point, got {lost}: not active in it"
        )
    free = space.free if len(space.free) <= _FULL_POINTS else {n: space.free[n] for n in shown}
    chosen = asked[belief.designed]
    grids = _grids(space, shown, side, len(free), (best.parameters, chosen.parameters))
    columns = [look.along({name: grids[name]}) for name in shown]
    points = np.concatenate([space.encode([chosen.parameters]), *columns])
    mixed = components(belief.model, _tensor(belief, points))
    seen = look.at(points, mixed)
    cuts = np.cumsum([1, *(len(grids[name]) for name in shown)])
    places = dict(zip(shown, _pairs(cuts), strict=True))
    slices = {name: seen.part(*place) for name, place in places.items()}
    importance = _shares({name: float(np.var(part.mean)) for name, part in slices.items()})
    sure = intervals(belief, dict(zip(shown, columns, strict=True)))
    spread = {} if mixed is None else _spread(belief, mixed, places, importance)
    following = seen.part(0, 1)
    scale = seen.mean
    return {
        "goal": goal.name,
        "direction": goal.direction,
        "acquisition": belief.name,
        "data": len(belief.observed),
        "pool": space.candidates is not None,
        "incumbent": _point(free, best.parameters),
        "incumbent_value": _numbers([best.values[goal.name]], like=scale)[0],
        "next": {
            "number": chosen.number,
            "parameters": _point(free, chosen.parameters),
            "mean": _numbers(following.mean, like=scale)[0],
            "std": _numbers(following.std)[0],
            **look.predicted(chosen.parameters),
            "acquisition": _numbers(following.acquisition, like=seen.acquisition)[0],
        },
        "slices": [
            {"parameter": name, "at": _values(space.free[name], grids[name])}
            | slices[name].told()
            | spread.get(name, {})
            for name in shown
        ],
        "map": _map(look, axes or _axes(space, importance), side, grids) if side else None,
        "importance": {name: float(f"{share:.4g}") for name, share in importance.items()},
        "importance_intervals": sure,
        "hyperparameters": hyperparameters(belief.model, list(space.free)),
        "cpu_seconds": round(time.process_time() - began, 5),
    }


def predictions(
    study: "Study", before: Sequence[Trial], asked: Sequence[Trial]
) -> dict[int, dict[str, Any]]:
    """What the model of an ask says about its points, before they are measured.

    Returns:
        By trial number `{"mean", "std"}`, in the goal's units, std with noise; of a mixture also
        its `quantiles`, at `bo.mixtures.LEVELS`. Points of the initial design left out (nothing
        predicted those), empty for a strategy without a model.
    """
    belief = _belief(study, before, len(asked))
    if belief is None or len(asked) <= belief.designed:
        return {}
    chosen = asked[belief.designed :]
    points = study.space.encode([t.parameters for t in chosen])
    mixed = components(belief.model, _tensor(belief, points), noise=True)
    mean, std = _moments(belief, points, noise=True, mixed=mixed)
    told = zip(chosen, mean.tolist(), std.tolist(), _quantiles(belief, points, mixed), strict=True)
    return {
        trial.number: {"mean": m, "std": s} | quantiles
        for trial, m, s, quantiles in told
        if math.isfinite(m) and math.isfinite(s)
    }


def _quantiles(
    belief: Belief, points: Array, told: Components | None
) -> list[dict[str, list[float]]]:
    """Of what a mixture predicts at each point, noise included; empty for other models."""
    if told is None:
        return [{} for _ in points]
    seen = np.stack([told.quantile(level) for level in LEVELS], axis=1)
    ordered = np.sort(belief.goal.sign * _unscaled(belief, seen), axis=1)
    return [{"quantiles": row} for row in ordered.tolist()]


def log_before(trials: Sequence[Trial], number: int) -> list[Trial]:
    """The log as the ask that made a trial saw it, for a snapshot of long ago.

    Exact where trials ran one by one. With several at once, what was running is told from the
    times of asks and tells; of a batch, the points before this one count as pending.
    """
    asked = trials[number].started or math.inf
    return [
        trial
        if not trial.done or trial.finished is None or trial.finished <= asked
        else Trial(
            trial.number,
            trial.parameters,
            "running",
            seed=trial.seed,
            method=trial.method,
            method_state=trial.method_state,
            ask_seconds=trial.ask_seconds,
            started=trial.started,
        )
        for trial in trials[:number]
    ]


class _Seen(NamedTuple):
    """Mean and std of f in the goal's units, and the acquisition, at some points."""

    mean: Array
    std: Array
    acquisition: Array

    def part(self, start: int, stop: int) -> "_Seen":
        return _Seen(*(values[start:stop] for values in self))

    def told(self) -> dict[str, list[float | None]]:
        return {name: _numbers(values) for name, values in self._asdict().items()}


class _Look:
    """The belief along lines and planes through one point."""

    def __init__(self, belief: Belief, space: Space, centre: Parameters) -> None:
        self.belief = belief
        self.space = space
        self.centre = space.encode([centre])[0]
        self.cells: dict[str, slice] = {}
        start = 0
        for name, parameter in space.free.items():
            self.cells[name] = slice(start, start + parameter.width)
            start += parameter.width

    def along(self, grids: dict[str, list[Value]]) -> Array:
        """Columns of all combinations of the values, the last one varying fastest."""
        cells = [_cell(self.space.free[name], values) for name, values in grids.items()]
        index = np.indices([len(cell) for cell in cells]).reshape(len(cells), -1)
        columns = np.tile(self.centre, (index.shape[1], 1))
        for name, cell, rows in zip(grids, cells, index, strict=True):
            columns[:, self.cells[name]] = cell[rows]
        space = self.space
        return space.encode(space.decode(columns)) if space.conditional else columns

    def at(self, columns: Array, mixed: Components | None = None) -> _Seen:
        x = _tensor(self.belief, columns)
        mean, std = _moments(self.belief, columns, mixed=mixed)
        with torch.no_grad(), _quiet():
            scores = torch.cat([self.belief.acquisition(chunk) for chunk in x.split(_CHUNK)])
        return _Seen(mean, std, scores.cpu().double().numpy())

    def predicted(self, point: Parameters) -> dict[str, Any]:
        """What the next outcome is to be, noise included."""
        columns = self.space.encode([point])
        mixed = components(self.belief.model, _tensor(self.belief, columns), noise=True)
        std = _moments(self.belief, columns, noise=True, mixed=mixed)[1]
        return {"predictive_std": _numbers(std)[0]} | _quantiles(self.belief, columns, mixed)[0]


def _belief(study: "Study", before: Sequence[Trial], n: int) -> Belief | None:
    if not isinstance(study.strategy, Believer) or n == 0:
        return None
    state, generator = study._ask_inputs(before)
    with _quiet():
        return study.strategy.belief(before, n, state=state, generator=generator)


def _centre(trials: Sequence[Trial], goals: Goals) -> Trial | None:
    """The incumbent; the best in the first goal of a front, or of all where none is feasible."""
    alone = Goals(goals.goals[:1])
    return metrics.incumbent(metrics.front(trials, goals) or trials, alone)


def _moments(
    belief: Belief, columns: Array, *, noise: bool = False, mixed: Components | None = None
) -> tuple[Array, Array]:
    """Mean and std in the goal's units; on a power scale the median and half a 68 % interval.

    The interval ends at most `FARTHEST` ranges of the outcomes beyond them: on some power scales a
    finite interval of the model is infinite in the goal's units.
    """
    mean, std = _marginals(belief, columns, noise, mixed)
    if belief.scale is not None:
        low, mean, high = (_unscaled(belief, mean + step * std) for step in (-1, 0, 1))
        std = (high - low) / 2
    return belief.goal.sign * mean, std


def _unscaled(belief: Belief, seen: Array) -> Array:
    """What a model sees, on the goal's own scale, its sign apart."""
    if belief.scale is None:
        return seen
    if belief.scale.power == 1.0:
        return belief.scale.backward(seen)
    known = belief.scale.backward(belief.outcomes[:, 0].double().cpu().numpy())
    reach = FARTHEST * (float(np.ptp(known)) or 1.0)
    return np.clip(belief.scale.backward(seen), known.min() - reach, known.max() + reach)


def _spread(
    belief: Belief, told: Components, cuts: dict[str, tuple[int, int]], importance: dict[str, float]
) -> dict[str, dict[str, Any]]:
    """By parameter what its slice, from one place to another, shows of a mixture."""
    sign = belief.goal.sign
    ends = [sign * _unscaled(belief, told.quantile(level)) for level in TWO_SD]
    low, high = np.minimum(*ends), np.maximum(*ends)
    few = np.unique(np.linspace(0, len(told.mean) - 1, DRAWN).round().astype(int))
    drawn = sign * _unscaled(belief, told.mean[few])
    most = sorted(cuts, key=lambda name: -importance[name])[:DRAWN_SLICES]
    found: dict[str, dict[str, Any]] = {}
    for name, (start, stop) in cuts.items():
        found[name] = {"low": _numbers(low[start:stop]), "high": _numbers(high[start:stop])}
        if name in most:
            found[name]["drawn"] = [_numbers(line[start:stop]) for line in drawn]
    return found


def _marginals(
    belief: Belief, columns: Array, noise: bool, mixed: Components | None
) -> tuple[Array, Array]:
    """As the model sees them, one point at a time: every surrogate can do that."""
    if isinstance(belief.model, MapGP):
        mean, var = belief.model.marginals(columns, noise=noise)
        return mean, np.sqrt(np.maximum(var, 0.0))
    x = _tensor(belief, columns)
    mixed = components(belief.model, x, noise=noise) if mixed is None else mixed
    if mixed is not None:
        mean, var = mixed.moments
        return mean, np.sqrt(var)
    means, variances = [], []
    with torch.no_grad(), _quiet():
        for chunk in x.split(_CHUNK):
            told = cast(Any, belief.model.posterior(chunk, observation_noise=noise))
            means.append(told.mean.reshape(-1))
            variances.append(told.variance.reshape(-1))
    mean = torch.cat(means).cpu().double().numpy()
    return mean, torch.cat(variances).clamp_min(0).sqrt().cpu().double().numpy()


def _tensor(belief: Belief, columns: Array) -> torch.Tensor:
    return torch.as_tensor(columns).to(belief.observed).unsqueeze(1)


def _quiet() -> Any:
    """As in the search for the next point: jitter where points nearly coincide is no news."""
    return warnings.catch_warnings(action="ignore", category=NumericalWarning)


def _cell(parameter: Parameter, values: list[Value]) -> Array:
    return parameter.encode(values)


def _grids(
    space: Space, shown: Sequence[str], side: int, points: int, keep: tuple[Any, Any]
) -> dict[str, list[Value]]:
    """Values of every slice: as many as the picture's numbers allow, shared out evenly."""
    others = 2 * points + 4 * len(shown) + 10 + 3 * side**2 + 2 * side
    left = (NUMBERS - others) // 4
    longest = _ALONE if len(shown) == 1 else _LONGEST
    grids: dict[str, list[Value]] = {}
    for position, name in enumerate(sorted(shown, key=lambda n: space.free[n].levels or math.inf)):
        count = min(longest, left // (len(shown) - position))
        grids[name] = _grid(
            space.free[name], count, [point[name] for point in keep if name in point]
        )
        left -= len(grids[name])
    return grids


def _grid(parameter: Parameter, count: int, keep: Sequence[Value]) -> list[Value]:
    """At most `count` values: all levels, else evenly spaced on the parameter's own scale.

    Of a choice with more levels, those to `keep` are among them.
    """
    count = max(count, 2)
    if parameter.type not in ("real", "integer"):
        levels = list(parameter.values)
        if len(levels) <= count:
            return levels
        even = np.linspace(0, len(levels) - 1, count).round().astype(int).tolist()
        if parameter.type == "ordinal":
            return [levels[i] for i in even]
        wanted = {*(levels.index(value) for value in keep)}
        spare = [i for i in even if i not in wanted][: max(count - len(wanted), 0)]
        return [levels[i] for i in sorted(wanted.union(spare))]
    if 0 < parameter.levels <= count:
        return list(range(int(parameter.low), int(parameter.high) + 1))
    return list(dict.fromkeys(parameter.from_uniform(u) for u in np.linspace(0, 1, count).tolist()))


def _most_varied(look: _Look, here: Sequence[str]) -> list[str]:
    """The parameters to draw of very many, in the space's order, from a coarse first look."""
    space = look.space
    grids = {n: _grid(p, _COARSE, p.values[:1]) for n, p in space.free.items() if n in here}
    columns = np.concatenate([look.along({name: grid}) for name, grid in grids.items()])
    mean = _moments(look.belief, columns)[0]
    cuts = np.cumsum([0, *(len(grid) for grid in grids.values())])
    spread = {n: float(np.var(mean[a:b])) for n, (a, b) in zip(grids, _pairs(cuts), strict=True)}
    most = set(sorted(spread, key=lambda name: -spread[name])[:SLICES])
    return [name for name in here if name in most]


def _shares(variances: dict[str, float]) -> dict[str, float]:
    whole = sum(variances.values())
    return {name: variance / whole if whole > 0 else 0.0 for name, variance in variances.items()}


def _axes(space: Space, importance: dict[str, float]) -> tuple[str, str]:
    def rank(name: str) -> tuple[bool, bool, float]:
        kind = space.free[name].type
        return kind == "choice", kind == "boolean", -importance[name]

    first, second = sorted(importance, key=rank)[:2]
    return first, second


def _check_axes(space: Space, axes: tuple[str, str]) -> None:
    for name in axes:
        if name not in space.free:
            raise UsageError(unknown("free parameter", name, space.free))
    if len(axes) != 2 or axes[0] == axes[1]:
        raise UsageError(f"a map expected two different parameters, got {', '.join(axes)}")


def _map(
    look: _Look, axes: tuple[str, str], side: int, grids: dict[str, list[Value]]
) -> dict[str, Any]:
    x, y = axes
    parameters = look.space.free
    centre = look.space.decode(look.centre[None])[0]
    grid = {name: _grid(parameters[name], side, [centre[name]]) for name in (y, x)}
    told = look.at(look.along(grid)).told()
    ends = {"x_at": _values(parameters[x], grid[x]), "y_at": _values(parameters[y], grid[y])}
    return {"x": x, "y": y} | ends | told


def _pairs(cuts: Any) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


def _point(parameters: dict[str, Parameter], point: Any) -> Parameters:
    return {n: _values(p, [point[n]])[0] for n, p in parameters.items() if n in point}


def _values(parameter: Parameter, values: list[Value]) -> list[Value]:
    """Reals rounded within their bounds; levels as they are."""
    if parameter.type != "real":
        return values
    ends = np.array([parameter.low, parameter.high])
    digits = _digits(ends)
    rounded = [float(f"{value:.{digits}g}") for value in values]
    return [min(max(value, parameter.low), parameter.high) for value in rounded]


def _numbers(values: Any, *, like: Array | None = None) -> list[float | None]:
    """Rounded; `like` are the numbers that these are to be compared with."""
    digits = _digits(np.asarray(values if like is None else like))
    return [float(f"{v:.{digits}g}") if math.isfinite(v) else None for v in map(float, values)]


def _digits(values: Array) -> int:
    """Significant digits that tell values apart which lie far from zero and close together."""
    finite = values[np.isfinite(values)]
    spread = float(np.ptp(finite)) if finite.size else 0.0
    if spread <= 0.0:
        return DIGITS
    offset = math.log10(float(np.abs(finite).max()) / spread)
    return DIGITS + min(max(round(offset), 0), 10)
