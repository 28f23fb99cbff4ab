"""SMAC, as a peer to measure ours against: a Gaussian process or a random forest.

Lindauer et al. (2022), "SMAC3: A Versatile Bayesian Optimization Package for Hyperparameter
Optimization"; the code is SMAC's (github.com/automl/SMAC3) with the defaults of its black-box
facade (a Gaussian process, for numbers) or of its hyperparameter facade (a random forest, for mixed
spaces). A Sobol design comes first, then expected improvement, now and then a random point.

SMAC's components are put together here as the facade does it, without its folder of files. Departs
from SMAC: its components are seeded anew at each ask, from the study's generator (the design from
the study's seed); the forest is trained anew for each point, as the Gaussian process is in SMAC,
where the facade trains it for every eighth.

Trials that exist already take the place of design points. Running ones are not looked at by SMAC's
model, which only does not repeat them. Failed ones are `CRASHED` in SMAC, at the worst loss so far.
Integers of more than 10,000 values are floats that are rounded.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

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
from surrogates.options import option, options

_FACADES = {"blackbox": "BlackBoxFacade", "hpo": "HyperparameterOptimizationFacade"}


@options
class Options:
    """Choices of the facade, with SMAC's defaults."""

    facade: str = option(
        default="blackbox",
        help="model: a Gaussian process (blackbox) or a random forest (hpo)",
        choices=tuple(_FACADES),
    )
    budget: int = option(
        default=100,
        help="evaluations it plans for (n_trials): its design takes a quarter at most",
        low=4,
        high=1_000_000,
    )
    challengers: int = option(
        default=1000, help="random points that start the search of a point", low=1, high=100_000
    )


class SMAC:
    """SMAC's configuration selector on a run history that is rebuilt from the log at each ask."""

    def __init__(self, space: Space, goal: Goal, options: Options, seed: int) -> None:
        self.note: str | None = pool_note(space, "smac")
        self.space, self.goal, self.options, self.seed = space, goal, options, seed
        self.smac = package("smac", method="smac")
        self.history = package("smac.runhistory", method="smac")
        self.configspace = package("ConfigSpace", method="smac")
        main = package("smac.main.exceptions", method="smac")
        self.exhausted = main.ConfigurationSpaceExhaustedException

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
        with quiet("smac", "ConfigSpace"), global_draws(self.seed):
            while len(points) < most(self.space, trials, n):
                proposal = self._propose(trials, points, seed_from(generator))
                points.append(settled(self.space, trials, points, proposal, generator))
        return points, None

    def _propose(
        self, trials: Sequence[Trial], points: Sequence[Parameters], seed: int
    ) -> Parameters:
        """The next configuration, with the log and the points before it in the run history."""
        configurations = self._configurations(seed)
        history = self.history.RunHistory()
        self._fill(history, configurations, trials, points)
        selector = self._selector(history, configurations, seed, len(trials) + len(points))
        try:
            found = next(iter(selector))
        except self.exhausted:  # every configuration was tried
            found = configurations.sample_configuration()
        return {
            name: _from_smac(p, found[f"p{i}"])
            for i, (name, p) in enumerate(self.space.free.items())
        }

    def _selector(self, history: Any, configurations: Any, seed: int, asked: int) -> Any:
        """The facade's components, wired as the facade does it."""
        facade = getattr(self.smac, _FACADES[self.options.facade])
        scenario = self.smac.Scenario(
            configurations, deterministic=True, n_trials=self.options.budget, seed=seed
        )
        design = self.smac.Scenario(
            self._configurations(self.seed % 2**31),
            deterministic=True,
            n_trials=self.options.budget,
            seed=self.seed % 2**31,
        )
        first = facade.get_initial_design(design).select_configurations()[asked:]
        first = [self._configuration(configurations, dict(found)) for found in first]
        model = facade.get_model(scenario)
        function = facade.get_acquisition_function(scenario)
        maximizer = facade.get_acquisition_maximizer(scenario, challengers=self.options.challengers)
        encoder = facade.get_runhistory_encoder(scenario)
        selector = facade.get_config_selector(scenario, retrain_after=1)
        selector._set_components(
            initial_design=SimpleNamespace(select_configurations=lambda: first),
            runhistory=history,
            runhistory_encoder=encoder,
            model=model,
            acquisition_function=function,
            acquisition_maximizer=maximizer,
            random_design=facade.get_random_design(scenario),
        )
        encoder.multi_objective_algorithm = None
        encoder.runhistory = history
        function.model = model
        maximizer.acquisition_function = function
        return selector

    def _fill(
        self,
        history: Any,
        configurations: Any,
        trials: Sequence[Trial],
        points: Sequence[Parameters],
    ) -> None:
        status = self.history.StatusType
        known = {"complete": status.SUCCESS, "failed": status.CRASHED}
        losses = [loss_of(trial, self.goal) for trial in trials if trial.state == "complete"]
        worst = max(losses, default=0.0)
        for trial in trials:
            loss = loss_of(trial, self.goal) if trial.state == "complete" else worst
            state = known.get(trial.state, status.RUNNING)
            point = self._to_smac(trial.parameters)
            history.add(self._configuration(configurations, point), loss, status=state, seed=0)
        for point in points:
            made = self._configuration(configurations, self._to_smac(point))
            history.add(made, worst, status=status.RUNNING, seed=0)

    def _configurations(self, seed: int) -> Any:
        made = self.configspace.ConfigurationSpace(seed=seed)
        made.add([self._hyperparameter(f"p{i}", p) for i, p in enumerate(self.space.free.values())])
        return made

    def _configuration(self, configurations: Any, values: Mapping[str, Any]) -> Any:
        """Within the bounds that ConfigSpace keeps, which it rounds to 13 digits."""
        bounded = {
            name: min(max(value, configurations[name].lower), configurations[name].upper)
            if isinstance(value, float)
            else value
            for name, value in values.items()
        }
        return self.configspace.Configuration(configurations, values=bounded)

    def _hyperparameter(self, name: str, parameter: Parameter) -> Any:
        kinds = self.configspace
        if parameter.type == "real":
            return kinds.Float(name, (parameter.low, parameter.high), log=parameter.log)
        if parameter.type == "integer":
            low, high = int(parameter.low), int(parameter.high)
            if wide(parameter):
                return kinds.Float(name, (low - 0.5, high + 0.5), log=parameter.log)
            return kinds.Integer(name, (low, high), log=parameter.log)
        if parameter.type == "ordinal":
            return kinds.Integer(name, (0, parameter.levels - 1))
        return kinds.Categorical(name, [str(index) for index in range(parameter.levels)])

    def _to_smac(self, point: Parameters) -> dict[str, Any]:
        values = whole(self.space, point)
        return {
            f"p{i}": _value(p, values[name]) for i, (name, p) in enumerate(self.space.free.items())
        }


def _value(parameter: Parameter, value: Value) -> float | int | str:
    if parameter.type in ("real", "integer"):
        assert isinstance(value, (int, float))
        return float(value) if parameter.type == "real" or wide(parameter) else value
    index = parameter.values.index(value)
    return index if parameter.type == "ordinal" else str(index)


def _from_smac(parameter: Parameter, value: Any) -> Value:
    if parameter.type == "real":
        return min(max(float(value), parameter.low), parameter.high)
    if parameter.type == "integer":
        return int(min(max(round(float(value)), parameter.low), parameter.high))
    return parameter.values[int(value)]
