"""The default strategy, around any surrogate: fit it, maximise an acquisition function.

Jones, Schonlau & Welch (1998), "Efficient Global Optimization of Expensive Black-Box Functions".
A Sobol design comes first; then, for every point: fit the surrogate to the complete trials
(starting from the previous fit), treat running trials as pending, and maximise the acquisition
function. Further points of a batch are chosen one by one, those before them pending.

Each goal has a model of its own, and so has each outcome constraint: of its slack, at least 0 where
it holds. Once a trial failed there is one more, fitted to 1 where an evaluation succeeded and to -1
where it failed (least-squares classification, Rasmussen & Williams 2006, section 6.5), so that the
search leaves where evaluations fail (or they take the worst value so far, `failures=worst`); failed
trials do not use up the initial design. An outcome a thousand times as far as all others counts as
a failure (`bo/outliers.py`).

A single goal is modelled on the power scale of `surrogates/power.py` where the evidence of a
Gaussian process says that it pays.
"""

import dataclasses
import functools
import gc
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.models.model import Model
from torch import Generator, Tensor

from bo import metrics
from bo.acquisition.functions import Models, acquisition
from bo.acquisition.maximise import maximise
from bo.acquisition.names import NAMES, ONE_GOAL, SEVERAL_GOALS
from bo.belief import Belief
from bo.contract import Trial
from bo.goals import Goals
from bo.outliers import as_failed
from bo.space import Array, Parameters, Space
from bo.strategies.sobol import DESIGNS, first_points
from surrogates.catalog import SURROGATES
from surrogates.contract import State
from surrogates.errors import UsageError
from surrogates.options import option, options
from surrogates.power import Power
from surrogates.registry import find, rows
from surrogates.threads import one_thread

INITIAL = 3
"""More of them, 1 or 2 per parameter, found less in the first 15 evaluations and no more in 50."""
INCUMBENTS = 5
STALLED = 10
SHOWS = 0.01  # of the spread of the outcomes
_UNITS = 1e-3, 1e3  # spreads within need no other units; what BoTorch takes for nothing is 1e-6
FAR = 0.1
_FEWEST_OUTCOMES = 2
_FEWEST_FOR_A_SCALE = 6
_MOST_UNCOLLECTED = 50_000_000  # bytes
_HUGE = 1e100  # the squares of outcomes must be finite
_SUCCESS = "success of an evaluation"


@options
class Options:
    """Choices of the loop around the surrogate."""

    acquisition: str = option(default="logei", help="acquisition function", choices=NAMES)
    beta: float = option(
        default=4.0,
        help="of ucb: mean + sqrt(beta) std; 0: grows with the outcomes, as in its paper",
        low=0.0,
        high=1e6,
    )
    initial: int = option(
        default=0,
        help="points of the initial design; 0: 3, as few as a model can do with",
        low=0,
        high=1000,
    )
    design: str = option(
        default="sobol", help="how the initial design fills the space", choices=DESIGNS
    )
    failures: str = option(
        default="model",
        help="model: learn where evaluations fail; worst: give those the worst value so far",
        choices=("model", "worst"),
    )
    transform: str = option(
        default="auto",
        help="auto: a power scale for the goal where it pays; none: its own scale",
        choices=("auto", "none"),
    )
    stalled: str = option(
        default="explore",
        help="explore: while nothing improves, every second ask wants more than a little (logei)",
        choices=("explore", "refine"),
    )
    device: str = option(default="cpu", help="where the model computes", choices=("cpu", "cuda"))


class ModelBased:
    """Bayesian optimisation with any surrogate of the catalog."""

    def __init__(
        self,
        surrogate: str,
        space: Space,
        goals: Goals,
        options: Options,
        seed: int,
        surrogate_options: Any = None,
    ) -> None:
        wanted = SEVERAL_GOALS if goals.several else ONE_GOAL
        if options.acquisition not in wanted:
            raise UsageError(
                f"option acquisition expected {', '.join(wanted)} for {goals}, got "
                f"{options.acquisition}"
            )
        if options.failures == "worst" and goals.constraints:
            raise UsageError(
                f"option failures worst expected no outcome constraints, got {goals.constraints[0]}"
                ": a failed evaluation has no outcome to be worst; do: failures=model"
            )
        row = find(surrogate, rows(SURROGATES), what="surrogate")
        if options.acquisition == "ts" and "paths" not in row.capabilities:
            able = ", ".join(r.name for r in rows(SURROGATES) if "paths" in r.capabilities)
            raise UsageError(f"option acquisition ts expected surrogate {able}, got {surrogate}")
        self.note: str | None = None
        self.fit = row.load()
        self.surrogate_options = surrogate_options or row.options()()
        self.space = space
        self.goals = goals
        self.surrogate = surrogate
        self.options = options
        self.seed = seed
        self.initial = options.initial or INITIAL
        self.like = torch.zeros(0, dtype=torch.float64, device=options.device)
        self._latest: tuple[_Asked, Belief] | None = None
        self._uncollected = 0

    @one_thread()
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
        incumbents = self._incumbents(trials)
        trials = self._imputed(trials)
        belief = self._believe(trials, points, state, generator)
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
            function = self._acquisition(
                belief.models, belief.observed, belief.outcomes, trials, points, generator
            )
        return points, self._state(belief)

    @one_thread()
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
        trials = self._imputed(trials)
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
        return first_points(
            self.space,
            self.goals,
            self.seed,
            trials,
            count,
            design=self.options.design,
            size=self.initial,
        )

    def _imputed(self, trials: Sequence[Trial]) -> Sequence[Trial]:
        """Outliers as failed trials; where asked, these with the worst value of each goal."""
        trials = as_failed(trials, self.goals)
        if self.options.failures == "model":
            return trials
        complete = [t for t in trials if t.state == "complete"]
        told: dict[str, dict[str, float]] = {"values": {}, "sems": {}}
        for goal in self.goals.goals:
            name, sign = goal.name, goal.sign
            worst = min(complete, key=lambda t: sign * t.values[name])
            told["values"][name] = worst.values[name]
            if name in worst.sems:
                told["sems"][name] = worst.sems[name]
        return [
            dataclasses.replace(t, state="complete", **told) if t.state == "failed" else t
            for t in trials
        ]

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
        complete = [t for t in trials if t.state == "complete"]
        failed = [t for t in trials if t.state == "failed"]
        X = self._columns([t.parameters for t in complete])
        before: Mapping[str, Any] = {} if state is None else state.get("surrogates", {})
        goals: list[Model] = []
        outcomes: list[Array] = []
        scale: Power | None = None
        chosen_at = 0
        for goal in self.goals.goals:
            y = np.array([goal.sign * t.values[goal.name] for t in complete])
            y = np.clip(y, -_HUGE, _HUGE)
            var = _squares([t.sems.get(goal.name) for t in complete])
            if self.goals.several:
                model, y = self._fit(X, y, var, None, generator, before.get(goal.name))
            else:
                chosen = {} if state is None else state.get("scale", {})
                model, y, scale, chosen_at = self._scaled(
                    X, y, var, generator, before.get(goal.name), chosen
                )
            goals.append(model)
            outcomes.append(y)
        limits: list[Model] = []
        for limit in self.goals.constraints:
            y = np.array([limit.slack(t.values) for t in complete])
            var = _squares([limit.slack_sem(t.values, t.sems) for t in complete])
            y, var = _defined(y, var)
            curve = Power.fit(y, centre=0.0)
            limits.append(self._fit(X, y, var, curve, generator, before.get(limit.text))[0])
        if failed:
            succeeded = np.array([1.0] * len(complete) + [-1.0] * len(failed))
            all_X = self._columns([t.parameters for t in [*complete, *failed]])
            old = before.get(_SUCCESS)
            limits.append(self._fit(all_X, succeeded, None, None, generator, old)[0])
        models = Models(goals, limits)
        told = torch.as_tensor(np.stack(outcomes, axis=1)).to(self.like)
        function = self._acquisition(models, X, told, trials, points, generator)
        belief = Belief(
            models=models,
            acquisition=function,
            name="ehvi" if self.goals.several else self.options.acquisition,
            observed=X,
            outcomes=told,
            designed=len(points),
            goal=self.goals.goals[0],
            scale=scale,
            chosen_at=chosen_at,
        )
        self._latest = (asked, belief)
        return belief

    def _fit(
        self,
        X: Tensor,
        y: Array,
        var: Array | None,
        scale: Power | None,
        generator: Generator,
        warm_start: State | None,
    ) -> tuple[Any, Array]:
        """The surrogate of one outcome, and the outcomes as it sees them."""
        y, var = _on_scale(scale, y, var)
        # Models of GPyTorch hold themselves: only the collector frees them, and it counts objects,
        # not bytes. Each has some matrices of all outcomes.
        self._uncollected += 3 * 8 * len(y) ** 2
        if self._uncollected > _MOST_UNCOLLECTED:
            gc.collect()
            self._uncollected = 0
        model = self.fit(
            X,
            self._column(y),
            None if var is None else self._column(var),
            inputs=self.space.inputs,
            options=self.surrogate_options,
            generator=generator,
            warm_start=warm_start,
        )
        return model, y

    def _scaled(
        self,
        X: Tensor,
        y: Array,
        var: Array | None,
        generator: Generator,
        warm_start: State | None,
        chosen: Mapping[str, Any],
    ) -> tuple[Any, Array, Power | None, int]:
        """As `_fit`, on the power scale where that explains the outcomes better than their own.

        And at how many outcomes that was chosen: it holds until there are a quarter more.
        """
        n = len(y)
        plain = _straight(y)
        if self.options.transform == "none" or n < _FEWEST_FOR_A_SCALE:
            return *self._fit(X, y, var, plain, generator, warm_start), plain, 0
        power = Power.fit(y)
        if chosen and chosen["at"] <= n < 1.25 * chosen["at"]:
            scale = power if chosen["power"] else plain
            return *self._fit(X, y, var, scale, generator, warm_start), scale, chosen["at"]
        scales = [plain, power]
        own = self.surrogate == "gp-map"
        judge = self if own else self._judge
        tried = [
            judge._fit(X, y, var, scale, generator, warm_start if own else None) for scale in scales
        ]
        evidence = [
            _evidence(model.diagnostics["log_posterior"], y, told, scale)
            for (model, told), scale in zip(tried, scales, strict=True)
        ]
        # A power is one parameter more: its price is that of Schwarz's criterion.
        best = int(evidence[1] - 0.5 * math.log(n) > evidence[0])
        found = tried[best] if own else self._fit(X, y, var, scales[best], generator, warm_start)
        return *found, scales[best], n

    @functools.cached_property
    def _judge(self) -> "ModelBased":
        """Tells the evidence where the surrogate has none."""
        return ModelBased("gp-map", self.space, self.goals, self.options, self.seed)

    def _state(self, belief: Belief) -> Mapping[str, Any]:
        """What the next ask starts from, and how this one went."""
        names = [goal.name for goal in self.goals.goals]
        names += [limit.text for limit in self.goals.constraints]
        held: list[Any] = [*belief.models.goals, *belief.models.limits]
        names += [_SUCCESS] * (len(held) - len(names))
        diagnostics = dict(held[0].diagnostics)
        diagnostics["seconds"] = sum(model.diagnostics["seconds"] for model in held)
        bent = belief.scale is not None and belief.scale.power != 1.0
        if belief.scale is not None and bent:
            diagnostics["power"] = belief.scale.power
        states = {name: model.state for name, model in zip(names, held, strict=True)}
        told: dict[str, Any] = {"surrogates": states, "diagnostics": diagnostics}
        if belief.chosen_at:
            told["scale"] = {"at": belief.chosen_at, "power": bent}
        return told

    def _acquisition(
        self,
        models: Models,
        X: Tensor,
        outcomes: Tensor,
        trials: Sequence[Trial],
        points: Sequence[Parameters],
        generator: Generator,
    ) -> AcquisitionFunction:
        """That of one more point, with running trials and the points before it pending."""
        waiting = [*(t.parameters for t in trials if not t.done), *points]
        name = self.options.acquisition
        return acquisition(
            "ehvi" if self.goals.several and name == "logei" else name,
            models,
            X,
            self._columns(waiting) if waiting else None,
            reference=self._reference(trials),
            beta=self.options.beta or growing_beta(len(X), len(self.space.free)),
            seed=int(torch.randint(2**31, (1,), generator=generator)),
            margin=self._margin(trials, outcomes[:, 0].numpy(force=True), points),
        )

    def _margin(
        self, trials: Sequence[Trial], outcomes: Array, points: Sequence[Parameters]
    ) -> float:
        """How much better than the best a point must be to count, in the model's outcomes.

        Expected improvement refines what it knows for as long as that promises anything, however
        little. Once nothing has shown in the last `STALLED` outcomes, every second turn is for
        larger improvements alone, which lie elsewhere. After Jones (2001), "A Taxonomy of Global
        Optimization Methods Based on Response Surfaces", who searches for several targets at once.
        Departs from the paper: two targets that take turns, and expected improvement instead of its
        probability.
        """
        turn = len(trials) + len(points)
        if self.goals.several or self.options.stalled == "refine" or turn % 2:
            return 0.0
        complete = [trial for trial in trials if trial.state == "complete"]
        counts = np.array([self.goals.feasible(trial.values) for trial in complete])
        if not counts[:-STALLED].any():
            return 0.0
        best = np.where(counts, outcomes, -np.inf)
        spread = float(np.std(outcomes))
        return FAR * spread if best.max() - best[:-STALLED].max() < SHOWS * spread else 0.0

    def _reference(self, trials: Sequence[Trial]) -> list[float] | None:
        """The reference point of several goals, oriented; inferred where it is not given."""
        if not self.goals.several:
            return None
        anywhere = dataclasses.replace(self.goals, constraints=())  # feasible or not
        told = metrics.reference(trials, self.goals) or metrics.reference(trials, anywhere)
        assert told is not None
        return [goal.sign * value for goal, value in zip(self.goals.goals, told, strict=True)]

    def _incumbents(self, trials: Sequence[Trial]) -> Array:
        """(k, d) columns of good points, near which to look."""
        complete = [t for t in trials if t.state == "complete"]
        if self.goals.several:
            best = metrics.front(trials, self.goals)[-INCUMBENTS:] or complete[:INCUMBENTS]
        else:
            goal = self.goals.only
            order = sorted(
                complete,
                key=lambda t: (not self.goals.feasible(t.values), -goal.sign * t.values[goal.name]),
            )
            best = order[:INCUMBENTS]
        return self.space.encode([t.parameters for t in best])

    def _column(self, values: Array) -> Tensor:
        return torch.as_tensor(values, dtype=self.like.dtype, device=self.like.device).unsqueeze(-1)

    def _columns(self, points: Sequence[Parameters]) -> Tensor:
        encoded = self.space.encode(points)
        return torch.as_tensor(encoded, dtype=self.like.dtype, device=self.like.device)


def _straight(y: Array) -> Power | None:
    """A scale for outcomes whose own units are far too large for them, or too small."""
    spread = float(np.std(y))
    if _UNITS[0] <= spread <= _UNITS[1] or spread <= 1e-12 * float(np.abs(y).max()):
        return None
    return Power(1.0, float(np.median(y)), spread)


def _on_scale(scale: Power | None, y: Array, var: Array | None) -> tuple[Array, Array | None]:
    """Outcomes and their variances (to first order) on a scale."""
    if scale is None:
        return y, var
    return scale.forward(y), None if var is None else var * np.square(scale.slopes(y))


def _evidence(log_posterior: float, y: Array, told: Array, scale: Power | None) -> float:
    """Log evidence for the outcomes y of a model of `told`, which is y on a scale."""
    unit = float(np.std(told, ddof=1))
    slopes = 0.0
    if scale is not None:
        unit *= scale.unit
        slopes = scale.log_slopes(y)
    return log_posterior + slopes - len(y) * math.log(max(unit, 1e-300))


def growing_beta(t: int, d: int) -> float:
    """2 log(d t^2 pi^2 / (6 delta)) with delta = 0.01 (Srinivas et al. 2010, theorem 1)."""
    return 2.0 * math.log(d * t**2 * math.pi**2 / 0.06)


def _squares(sems: Sequence[float | None]) -> Array | None:
    """Variances, where every standard error is known."""
    known = [sem for sem in sems if sem is not None]
    return np.square(known) if len(known) == len(sems) else None


def _defined(y: Array, var: Array | None) -> tuple[Array, Array | None]:
    """Slacks, those that are undefined or infinite replaced by the worst or the best."""
    finite = y[np.isfinite(y)]
    low, high = (finite.min(), finite.max()) if len(finite) else (-1.0, 1.0)
    worst = min(low, -1e-9 * (np.abs(finite).max(initial=0.0) or 1.0))
    y = np.where(np.isnan(y) | (y == -np.inf), worst, np.where(y == np.inf, high, y))
    return y, None if var is None else np.nan_to_num(var, nan=0.0, posinf=0.0)


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
