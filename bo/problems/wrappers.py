"""Options that every problem takes: noisy, shifted, failing, delayed, costed.

No paper. They compose, and the parts of a problem that they do not name stay as they are. All that
is random follows the seed of the evaluation, so that a repeated attempt gives the same outcome.

- `noise`: Gaussian noise on the goal. The value without it is told beside it as `GOAL_noiseless`.
  The optimum stays that of the problem without noise; the best of a run is that of the noisy
  values, its regret that of the same point's value without noise.
- `shift`: moves the optimum within the box, another way for each number. Every real axis is
  stretched smoothly (u -> k u / (1 + (k - 1) u) in the unit cube, so that its middle comes to lie
  between a quarter and three quarters) and perhaps mirrored; integers and ordinals are perhaps
  mirrored, the levels of choices and booleans swapped. Each of these is a bijection of the
  space, so the best value stays exactly what it is, whatever the function does outside its box. An
  optimum on a face of the box stays on a face.
- `fail`: a share of the evaluations fails, whatever the point.
- `fail_beyond`: where the goal is worse than this, the evaluation fails: a region that does not
  hold the optimum.
- `delay`: seconds of sleep before an evaluation.
- `cost`: an evaluation tells its cost as `evaluation_cost`, from 1 to this number,
  cost = ratio^(mean of the point in the unit cube).
"""

import dataclasses
import math
import time
from collections.abc import Mapping

import numpy as np

from bo.contract import Evaluate, Measured, Outcome, Problem
from bo.goals import Goal, Goals
from bo.space import Parameter, Parameters, Space, Value
from surrogates.errors import DataError, UsageError
from surrogates.options import option, options
from surrogates.seeds import derive_seed

COST = "evaluation_cost"


@options
class Options:
    """What is put around a problem; by default nothing."""

    noise: float = option(
        default=0.0, help="standard deviation of noise on the goal, in its units", low=0.0
    )
    shift: int = option(
        default=0,
        help="moves the optimum within the box, another way for each number; 0: no",
        low=0,
    )
    fail: float = option(default=0.0, help="share of the evaluations that fail", low=0.0, high=0.99)
    fail_beyond: str = option(
        default="", help="evaluations with a worse value than this fail; empty: none"
    )
    delay: float = option(
        default=0.0, help="seconds that an evaluation takes longer", low=0.0, high=3600.0
    )
    cost: float = option(
        default=1.0,
        help="tells the cost of an evaluation, from 1 to this number over the box; 1: no",
        low=1.0,
        high=1e6,
    )


def wrap(problem: Problem, options: Options) -> Problem:
    """A problem with what the options say around it; itself where they are the defaults.

    Raises:
        UsageError: a shift of a pool or of a space with conditions or constraints; a threshold that
            is no number, or that the optimum does not pass.
    """
    goals, evaluate = problem.goals, problem.evaluate
    told: list[str] = []
    if options.shift:
        evaluate = Shifted(evaluate, _shiftable(problem), options.shift)
        told.append(f"shifted ({options.shift})")
    if options.cost > 1:
        evaluate = Costed(evaluate, goals, problem.space, options.cost)
        told.append(f"costs up to {options.cost:g}")
    if options.fail or options.fail_beyond:
        beyond = _threshold(problem, options.fail_beyond)
        evaluate = Failing(evaluate, goals, options.fail, beyond)
        told += [f"{options.fail:.0%} of evaluations fail"] * (options.fail > 0)
        told += [] if beyond is None else [f"values beyond {beyond:g} fail"]
    if options.noise:
        evaluate = Noisy(evaluate, goals, options.noise)
        told.append(
            f"noise of standard deviation {options.noise:g}: the best value is a noisy one, the "
            "regret is without"
        )
    if options.delay:
        evaluate = Delayed(evaluate, options.delay)
        told.append(f"{options.delay:g} s longer")
    if not told:
        return problem
    note = "; ".join([*([problem.note] if problem.note else []), *told])
    return dataclasses.replace(problem, evaluate=evaluate, note=note)


class Noisy:
    """Gaussian noise on every goal.

    Args:
        evaluate: without noise.
        goals: the outcomes that get it.
        noise_std: its standard deviation.
    """

    def __init__(self, evaluate: Evaluate, goals: Goals | Goal, noise_std: float) -> None:
        self._evaluate = evaluate
        self._goals = Goals.of(goals)
        self._noise_std = noise_std

    def __call__(self, parameters: Parameters, *, seed: int) -> Mapping[str, Measured]:
        """All outcomes, the noiseless goals among them."""
        values = _outcomes(self._evaluate(parameters, seed=seed), self._goals)
        random = np.random.default_rng(derive_seed(seed, "noise"))
        for name in [goal.name for goal in self._goals.goals]:
            value = _mean(values[name])
            values[f"{name}_noiseless"] = value
            values[name] = value + self._noise_std * float(random.standard_normal())
        return values


class Shifted:
    """The same objective with its points moved about; see the top of this module.

    Args:
        evaluate: the objective.
        space: its space.
        number: which shift.
    """

    def __init__(self, evaluate: Evaluate, space: Space, number: int) -> None:
        self._evaluate = evaluate
        self._axes = {
            name: Axis.draw(parameter, derive_seed(number, "shift", name))
            for name, parameter in space.free.items()
        }

    def __call__(self, parameters: Parameters, *, seed: int) -> Outcome:
        """The outcome at the moved point."""
        moved = {
            name: self._axes[name].move(value) if name in self._axes else value
            for name, value in parameters.items()
        }
        return self._evaluate(moved, seed=seed)


@dataclasses.dataclass(frozen=True)
class Axis:
    """A bijection of the values of a parameter.

    Attributes:
        parameter: whose values.
        stretch: k of u -> k u / (1 + (k - 1) u), of reals only; 1 leaves them.
        mirrored: whether low and high change places first, of numbers only.
        order: where each level goes; of ordinals, choices and booleans only.
    """

    parameter: Parameter
    stretch: float = 1.0
    mirrored: bool = False
    order: tuple[int, ...] = ()

    @staticmethod
    def draw(parameter: Parameter, seed: int) -> "Axis":
        """One of the many, by a seed."""
        random = np.random.default_rng(seed)
        if parameter.type in ("choice", "boolean"):
            return Axis(parameter, order=tuple(random.permutation(parameter.levels).tolist()))
        mirrored = bool(random.random() < 0.5)
        if parameter.type == "ordinal":
            return Axis(parameter, order=tuple(range(parameter.levels)[:: -1 if mirrored else 1]))
        centre = random.uniform(0.25, 0.75)
        stretch = (1 - centre) / centre if parameter.type == "real" else 1.0
        return Axis(parameter, stretch, mirrored)

    def move(self, value: Value) -> Value:
        """The value that is evaluated instead."""
        parameter = self.parameter
        if self.order:
            return parameter.values[self.order[parameter.values.index(value)]]
        if parameter.type == "integer":
            return int(parameter.low + parameter.high - int(value)) if self.mirrored else value
        uniform = parameter.to_uniform(value)
        uniform = 1 - uniform if self.mirrored else uniform
        return parameter.from_uniform(self.stretch * uniform / (1 + (self.stretch - 1) * uniform))


class Failing:
    """Some evaluations raise.

    Args:
        evaluate: the objective.
        goals: with `beyond` there is one, which is looked at.
        share: of the evaluations, whatever the point.
        beyond: the worst value that does not fail, or None.
    """

    def __init__(
        self, evaluate: Evaluate, goals: Goals | Goal, share: float, beyond: float | None
    ) -> None:
        self._evaluate = evaluate
        self._goals = Goals.of(goals)
        self._share = share
        self._beyond = beyond

    def __call__(self, parameters: Parameters, *, seed: int) -> Outcome:
        """The outcome. Raises `DataError` where the evaluation fails."""
        if np.random.default_rng(derive_seed(seed, "fail")).random() < self._share:
            raise DataError(f"failed by chance, as fail={self._share:g} asks for")
        outcome = self._evaluate(parameters, seed=seed)
        if self._beyond is not None:
            goal = self._goals.only
            value = _mean(_outcomes(outcome, self._goals)[goal.name])
            if goal.sign * (value - self._beyond) < 0:
                raise DataError(f"failed beyond {self._beyond:g}, as fail_beyond asks for")
        return outcome


class Delayed:
    """An evaluation takes longer.

    Args:
        evaluate: the objective.
        seconds: how much longer.
    """

    def __init__(self, evaluate: Evaluate, seconds: float) -> None:
        self._evaluate = evaluate
        self._seconds = seconds

    def __call__(self, parameters: Parameters, *, seed: int) -> Outcome:
        """The outcome, later."""
        time.sleep(self._seconds)
        return self._evaluate(parameters, seed=seed)


class Costed:
    """The cost of an evaluation among the outcomes.

    Args:
        evaluate: the objective.
        goals: its goals.
        space: its space.
        ratio: cost of the dearest point; the cheapest costs 1.
    """

    def __init__(self, evaluate: Evaluate, goals: Goals | Goal, space: Space, ratio: float) -> None:
        self._evaluate = evaluate
        self._goals = Goals.of(goals)
        self._free = space.free
        self._ratio = ratio

    def __call__(self, parameters: Parameters, *, seed: int) -> Mapping[str, Measured]:
        """All outcomes and the cost."""
        values = _outcomes(self._evaluate(parameters, seed=seed), self._goals)
        given = [
            (self._free[name], value) for name, value in parameters.items() if name in self._free
        ]
        uniforms = [parameter.to_uniform(value) for parameter, value in given]
        return {**values, COST: self._ratio ** (sum(uniforms) / len(uniforms))}


def _outcomes(outcome: Outcome, goals: Goals) -> dict[str, Measured]:
    return dict(outcome) if isinstance(outcome, Mapping) else {goals.goals[0].name: outcome}


def _mean(value: Measured) -> float:
    return value[0] if isinstance(value, tuple) else value


def _shiftable(problem: Problem) -> Space:
    what = "a pool of candidates" if problem.space.candidates is not None else ""
    if problem.space.constraints:
        what = "constraints between parameters"
    elif any(parameter.when for parameter in problem.space.parameters.values()):
        what = "conditional parameters"
    if what:
        raise UsageError(
            f"option shift expected a space that can be moved about, got one with {what} in "
            f"{problem.name}; leave shift out"
        )
    return problem.space


def _threshold(problem: Problem, text: str) -> float | None:
    if not text:
        return None
    try:
        beyond = float(text)
    except ValueError:
        beyond = math.nan
    if not math.isfinite(beyond):
        raise UsageError(f"option fail_beyond expected a number, got {text!r:.100}")
    if problem.goals.several:
        raise UsageError(
            f"option fail_beyond expected a problem of one goal, got {problem.goals} in "
            f"{problem.name}; leave it out"
        )
    optimum = problem.optimum
    if optimum is not None and problem.goals.only.sign * (optimum - beyond) < 0:
        raise UsageError(
            f"option fail_beyond expected a value that {problem.name} can reach, got {beyond:g}: "
            f"the best one is {optimum:g}"
        )
    return beyond
