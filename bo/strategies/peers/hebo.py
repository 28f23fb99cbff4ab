"""HEBO, as a peer to measure ours against.

Cowen-Rivers et al. (2022), "HEBO: Pushing The Limits of Sample-Efficient Hyper-parameter
Optimisation"; the code is HEBO's (github.com/huawei-noah/HEBO) with its defaults. Warped inputs and
outcomes, a Gaussian process, and points from the Pareto front of three acquisition functions.
Departs from HEBO: it is seeded anew at each ask, from the study's generator (its Sobol design from
the study's seed).

HEBO 0.3.6 asks for a NumPy that nothing else here runs on, so that no extra installs it. It works
with the present one all the same: `pip install --no-deps HEBO disjoint-set`.

Trials that exist take the place of design points. Running trials are not known to HEBO, but never
asked again; failed ones are observed at the worst loss so far. Integers of more than 10,000 values
are reals that are rounded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Generator

from bo.contract import Trial
from bo.goals import Goal
from bo.space import Parameter, Parameters, Space, Value
from bo.strategies.peers._shared import (
    global_draws,
    loss_of,
    most,
    package,
    pool_note,
    quiet,
    seed_from,
    settled,
    whole,
    wide,
)
from surrogates.errors import NotInstalledError
from surrogates.options import option, options


@options
class Options:
    """Those of HEBO, with its defaults."""

    initial: int = option(
        default=0, help="points of the Sobol design; 0: one more than parameters", low=0, high=1000
    )


class HEBO:
    """HEBO on the observations of the log, made anew at each ask."""

    def __init__(self, space: Space, goal: Goal, options: Options, seed: int) -> None:
        self.note: str | None = pool_note(space, "hebo")
        self.space, self.goal, self.options, self.seed = space, goal, options, seed
        try:
            design = package("hebo.design_space.design_space", method="hebo")
            self.hebo = package("hebo.optimizers.hebo", method="hebo")
        except NotInstalledError as error:
            raise NotInstalledError(
                f"{str(error).partition(';')[0]}; do pip install --no-deps HEBO disjoint-set "
                "(its own requirements hold an older NumPy)"
            ) from None
        self.design = design.DesignSpace()

    def ask(
        self,
        trials: Sequence[Trial],
        n: int,
        *,
        state: Mapping[str, Any] | None,
        generator: Generator,
    ) -> tuple[list[Parameters], Mapping[str, Any] | None]:
        """The next n points (see `bo.contract.Strategy`); there is no state to keep."""
        points: list[Parameters] = []
        n = most(self.space, trials, n)
        if not n:
            return points, None
        with quiet("hebo"), global_draws(seed_from(generator)):
            for proposal in self._suggest(trials, n):
                points.append(settled(self.space, trials, points, proposal, generator))
        return points, None

    def _suggest(self, trials: Sequence[Trial], n: int) -> list[Parameters]:
        free = self.space.free
        self.design.parse([_row(f"p{i}", p) for i, p in enumerate(free.values())])
        made = self.hebo.HEBO(
            self.design,
            rand_sample=self.options.initial or None,
            scramble_seed=self.seed % 2**31,
        )
        made.sobol.fast_forward(len(trials))
        done = [trial for trial in trials if trial.done]
        if done:
            losses = [loss_of(t, self.goal) if t.state == "complete" else np.nan for t in done]
            worst = 0.0 if np.isnan(losses).all() else np.nanmax(losses)
            points = [whole(self.space, trial.parameters) for trial in done]
            columns = {
                f"p{i}": [_to_hebo(p, point[name]) for point in points]
                for i, (name, p) in enumerate(free.items())
            }
            made.observe(pd.DataFrame(columns), np.nan_to_num(losses, nan=worst)[:, None])
        found = made.suggest(n_suggestions=n)
        return [
            {
                name: _from_hebo(p, found.iloc[k][f"p{i}"])
                for i, (name, p) in enumerate(free.items())
            }
            for k in range(n)
        ]


def _row(name: str, parameter: Parameter) -> dict[str, Any]:
    low, high = parameter.low, parameter.high
    if parameter.type == "real" or wide(parameter):
        if wide(parameter):
            low, high = low - 0.5, high + 0.5
        kind = {"type": "pow", "base": 10} if parameter.log else {"type": "num"}
        return {"name": name, **kind, "lb": low, "ub": high}
    if parameter.type == "integer":
        kind = {"type": "pow_int", "base": 10} if parameter.log else {"type": "int"}
        return {"name": name, **kind, "lb": int(low), "ub": int(high)}
    if parameter.type == "ordinal":
        return {"name": name, "type": "int", "lb": 0, "ub": parameter.levels - 1}
    return {"name": name, "type": "cat", "categories": list(range(parameter.levels))}


def _to_hebo(parameter: Parameter, value: Value) -> Value:
    return value if parameter.type in ("real", "integer") else parameter.values.index(value)


def _from_hebo(parameter: Parameter, value: Any) -> Value:
    if parameter.type == "real":
        return min(max(float(value), parameter.low), parameter.high)
    if parameter.type == "integer":
        return int(min(max(round(float(value)), parameter.low), parameter.high))
    return parameter.values[int(value)]
