"""The bridge to Ax: the only module that imports it. (Ax, github.com/facebook/Ax, MIT licence.)

`suggest` rebuilds an Ax experiment in memory from the trial log and asks Ax's own default for the
next points: `Client`, method `fast`, which is a BoTorch Gaussian process with log noisy expected
improvement; or the same with a surrogate of the catalog in its place (`ax_model`). Why anew at each
ask: Ax's storage loses the seed and keeps running trials for ever, whereas a rebuild takes 0.1 to
0.2 ms a trial and goes on bit for bit in a new process.

What Ax sees is plainer than the space, so that no name, range or value can upset it: parameters are
called p0, p1, ...; reals are their uniform number in [0, 1] (Ax's own log and unit-cube
transforms, done before it); ordinals and booleans are integers, choices are labels "0", "1", ...;
integers and ordinals of more than 1000 levels are relaxed to uniforms, since Ax lists every
level. The outcome is `y`, higher is better. Failed trials are abandoned ones in Ax: it then treats
them as pending and looks elsewhere, where `FAILED` ones would be suggested again and again.
"""

import contextlib
import dataclasses
import logging
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bo.contract import Trial
from bo.goals import Goal, Goals
from bo.metrics import told
from bo.space import Parameter, Parameters, Space, Value
from bo.strategies.through_ax import KEPT
from surrogates.catalog import SURROGATES
from surrogates.errors import CapabilityError
from surrogates.options import build, schema
from surrogates.registry import find, rows

_LIBRARIES = "ax|botorch|gpytorch|linear_operator|pandas|scipy|sklearn|torch"
_TALKS_AT_IMPORT = "ax.storage.sqa_store.with_db_settings_base"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the warnings and log lines of Ax and of the libraries under it from the user.

    They are about Ax's own code (deprecated calls) or numerical retries that BoTorch makes itself.
    The global generator of `random` is put back as well, from which the import of Ax draws; those
    of NumPy and torch are not touched by it, and all three are restored by Ax around an ask.
    """
    drawn = random.getstate()
    names = [name for name in logging.Logger.manager.loggerDict if name.startswith("ax.")]
    loggers = [logging.getLogger(name) for name in ("ax", _TALKS_AT_IMPORT, *names)]
    speaking = [logger for logger in loggers if not logger.disabled]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=rf"({_LIBRARIES})(\.|$)")
        for logger in speaking:
            logger.disabled = True
        try:
            yield
        finally:
            random.setstate(drawn)
            for logger in speaking:
                logger.disabled = False


with _quiet():
    from ax.api.client import Client
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
    from ax.api.utils.generation_strategy_dispatch import choose_generation_strategy
    from ax.api.utils.structs import GenerationStrategyDispatchStruct
    from ax.core.arm import Arm
    from ax.core.data import Data, DataRow
    from ax.core.trial import Trial as AxTrial
    from ax.generators.torch.botorch_modular.utils import ModelConfig, fit_botorch_model
    from ax.storage.botorch_modular_registry import register_model

    from bo.ax_surrogate import CatalogModel, model_class

_MOST_LEVELS = 1000
_LARGEST = 1e100  # its square is still finite
_OUTCOME = "y"


def suggest(
    space: Space,
    goal: Goal,
    trials: Sequence[Trial],
    n: int,
    *,
    pending: Sequence[Parameters] = (),
    seed: int,
    deduplicate: bool = True,
    model: ModelConfig | None = None,
) -> tuple[list[Parameters], str]:
    """The next points of Ax's default strategy, always from its model.

    Args:
        space: what can be varied; a pool is not looked at.
        goal: the outcome and its direction.
        trials: the log; at least one trial is complete.
        n: how many points.
        pending: points that are about to be evaluated besides those of the log.
        seed: of all random draws in Ax, which restores the global generators.
        deduplicate: whether Ax tries again, at most 5 times, where it proposes a known point.
        model: stands in for Ax's own; from `ax_model`.

    Returns:
        The points, of which some may break constraints, and the name of Ax's generator that made
        the last.

    Raises:
        CapabilityError: a choice among more values than Ax takes.
    """
    with _quiet():
        client = experiment(space, seed)
        strategy = choose_generation_strategy(
            GenerationStrategyDispatchStruct(
                method="fast" if model is None else "custom",
                initialization_budget=0,
                initialization_random_seed=seed,
                initialize_with_center=False,
            ),
            model_config=None if model is None else _told(model, space),
        )
        for node in strategy.nodes_by_name.values():
            node.should_deduplicate = deduplicate
        client.set_generation_strategy(strategy)
        replay(client, space, goal, trials, pending)
        found = client.get_next_trials(n)
        last = client._experiment.trials[max(found)].generator_runs[0]
    points = [
        {name: _from_ax(p, point[f"p{i}"]) for i, (name, p) in enumerate(space.free.items())}
        for point in found.values()
    ]
    return space.decode(space.encode([space.typed(p) for p in points])), str(last._generator_key)


def _told(model: ModelConfig, space: Space) -> ModelConfig:
    """The model, told which columns are the one-hot columns of a choice."""
    choices: list[tuple[int, int]] = []
    start = 0
    for parameter in space.free.values():
        width = parameter.levels if _labelled(parameter) else 1
        if width > 1:
            choices.append((start, width))
        start += width
    return dataclasses.replace(model, model_options={**model.model_options, "choices": choices})


def _inequalities(space: Space) -> list[str]:
    """The linear inequalities of reals without a log scale, in the parameters that Ax sees.

    Not those with whole numbers too: an ask of Ax then takes ten times as long.
    """
    short = {name: f"p{i}" for i, name in enumerate(space.free)}
    found: list[str] = []
    for row in (row for constraint in space.constraints for row in constraint.linear):
        own = {name: space.free[name] for name in row.coefficients}
        if row.equality or any(p.log or p.type != "real" for p in own.values()):
            continue
        low = sum(row.coefficients[name] * p.low for name, p in own.items())
        width = {name: row.coefficients[name] * (p.high - p.low) for name, p in own.items()}
        terms = " + ".join(f"{width[name]!r} * {short[name]}" for name in own)
        found.append(f"{terms} <= {row.bound - low!r}")
    return found


def experiment(space: Space, seed: int) -> Client:
    """A client whose experiment has the space, and no trial.

    Raises:
        CapabilityError: a choice among more values than Ax takes.
    """
    client = Client(random_seed=seed)
    client.configure_experiment(
        [_config(f"p{i}", name, p) for i, (name, p) in enumerate(space.free.items())],
        parameter_constraints=_inequalities(space),
    )
    client.configure_optimization(_OUTCOME)
    return client


def replay(
    client: Client, space: Space, goal: Goal, trials: Sequence[Trial], pending: Sequence[Parameters]
) -> None:
    """Fill the experiment at once (`attach_trial` and `complete_trial` take 100 times as long)."""
    experiment = client._experiment
    rows: list[DataRow] = []
    marked: list[tuple[AxTrial, Trial]] = []
    for trial in trials:
        made = _start(client, space, trial.parameters)
        if trial.done:
            marked.append((made, trial))
        if trial.state == "complete":
            value = goal.sign * min(max(trial.values[goal.name], -_LARGEST), _LARGEST)
            arm = made.arms[0].name
            rows.append(DataRow(made.index, arm, _OUTCOME, _OUTCOME, value, float("nan")))
    experiment.attach_data(Data(data_rows=rows))
    for made, trial in marked:
        if trial.state == "complete":
            made.mark_completed()
        else:
            made.mark_abandoned()
    for point in pending:
        _start(client, space, point)


def _start(client: Client, space: Space, point: Parameters) -> AxTrial:
    arm = Arm({f"p{i}": _to_ax(p, point[name]) for i, (name, p) in enumerate(space.free.items())})
    made = client._experiment.new_trial().add_arm(arm)
    made.mark_running(no_runner_required=True)
    return made


def _config(
    short: str, name: str, parameter: Parameter
) -> RangeParameterConfig | ChoiceParameterConfig:
    levels = parameter.levels
    if _relaxed(parameter):
        return RangeParameterConfig(short, (0.0, 1.0), "float")
    if parameter.type == "integer":
        scaling = "log" if parameter.log else "linear"
        return RangeParameterConfig(short, (parameter.low, parameter.high), "int", scaling=scaling)
    if not _labelled(parameter):
        return RangeParameterConfig(short, (0, levels - 1), "int")
    if levels > _MOST_LEVELS:
        raise CapabilityError(
            f"method ax expected at most {_MOST_LEVELS} values of choice {name}, got {levels}; "
            "use an integer or ordinal parameter, or the method gp-map"
        )
    labels = [str(index) for index in range(levels)]
    return ChoiceParameterConfig(short, labels, "str", is_ordered=False)


def _relaxed(parameter: Parameter) -> bool:
    many = parameter.type in ("integer", "ordinal") and parameter.levels > _MOST_LEVELS
    return parameter.type == "real" or many


def _labelled(parameter: Parameter) -> bool:
    return parameter.type == "choice" and parameter.levels > 2


def _to_ax(parameter: Parameter, value: Value) -> Value:
    if _relaxed(parameter):
        return parameter.to_uniform(value)
    if parameter.type == "integer":
        return value
    index = parameter.values.index(value)
    return str(index) if _labelled(parameter) else index


def _from_ax(parameter: Parameter, value: Value) -> Value:
    if _relaxed(parameter):
        return parameter.from_uniform(min(max(float(value), 0.0), 1.0))
    if parameter.type == "integer":
        return int(value)
    return parameter.values[int(value)]


def ax_model(surrogate: str, options: Mapping[str, Any] | None = None) -> ModelConfig:
    """A surrogate of the catalog as a model for a user's own Ax `Client`.

    Give it to Ax's `choose_generation_strategy(..., model_config=...)`, method "custom". Ax is told
    of the class of the model: a client that holds one is saved and loaded again after this call,
    in another process too.

    Args:
        surrogate: a name of the catalog.
        options: of the surrogate, by name. A mixture keeps 16 draws unless told otherwise, as many
            as Ax's own fully Bayesian model: Ax's generator takes eight times as long with 64.

    Raises:
        UsageError: an unknown surrogate or option (the nearest one is suggested).
    """
    made = model_class(surrogate)
    register_model(made)
    row = find(surrogate, rows(SURROGATES), what="surrogate")
    kind = row.options()
    few = {"kept": KEPT} if "kept" in (each["name"] for each in schema(kind)) else {}
    held = build(kind, {**few, **(options or {})}, owner=f"surrogate {surrogate}")
    return ModelConfig(
        botorch_model_class=made,
        model_options={"options": dataclasses.asdict(held)},
        name=surrogate,
    )


@fit_botorch_model.register(CatalogModel)
def _fit(
    model: CatalogModel, mll_class: Any = None, mll_options: Mapping[str, Any] | None = None
) -> None:
    """How Ax fits it; a likelihood of Ax's is not looked at."""
    model.learn()


def filled_client(space: Space, goals: Goals, trials: Sequence[Trial]) -> Client:
    """A user's own Ax `Client` that holds a study: its names, its trials, its goals.

    Running trials stay running there. Enqueued ones are left out: nobody has asked for them.

    Raises:
        CapabilityError: Ax cannot say the space or the goals.
    """
    if space.pool is not None:
        raise CapabilityError(
            f"an Ax client expected a space without candidates, got {len(space.pool.rows)}: Ax "
            "would propose points that are none of them"
        )
    for name, parameter in space.parameters.items():
        if not name.isidentifier() or parameter.when:
            raise CapabilityError(
                f"an Ax client expected parameters with plain names and no condition, got {name!r}"
            )
    with _quiet():
        client = Client()
        limits = _own_constraints(space)
        try:
            client.configure_experiment(
                [_own_config(n, p) for n, p in space.parameters.items()],
                parameter_constraints=limits,
            )
        except Exception as error:
            raise CapabilityError(
                "Ax expected inequalities between parameters that are neither on a log scale nor "
                f"ordinal, got constraints {', '.join(limits) or 'none'} ({error})"
            ) from error
        objective = ", ".join(f"{'-' * (goal.sign < 0)}{goal.name}" for goal in goals.goals)
        limits = [limit.text for limit in goals.constraints]
        for goal, worst in zip(goals.goals, goals.reference or (), strict=False):
            limits.append(f"{goal.name} {'>=' if goal.sign > 0 else '<='} {worst!r}")
        try:
            client.configure_optimization(objective, limits or None)
        except Exception as error:
            raise CapabilityError(
                f"Ax expected goals with plain names and linear constraints, got {goals} ({error})"
            ) from error
        for trial in (each for each in trials if each.state != "waiting"):
            point = {n: _own_value(p, trial.parameters[n]) for n, p in space.parameters.items()}
            index = client.attach_trial(point)
            if trial.state == "complete":
                client.complete_trial(index, raw_data=told(trial))
            elif trial.state == "failed":
                client.mark_trial_failed(index, failed_reason=trial.reason)
    return client


def _own_constraints(space: Space) -> list[str]:
    """The constraints between parameters as Ax writes them."""
    found: list[str] = []
    for constraint in space.constraints:
        if not constraint.linear:
            raise CapabilityError(
                f"an Ax client expected linear constraints, got {constraint.text!r}"
            )
        for row in constraint.linear:
            whole = all(space.parameters[n].type != "real" for n in row.coefficients)
            if row.strict and whole:
                raise CapabilityError(
                    f"an Ax client expected <= or >= between whole numbers, got {constraint.text!r}"
                )
            terms = " + ".join(f"{weight!r} * {name}" for name, weight in row.coefficients.items())
            found.append(f"{terms} {'==' if row.equality else '<='} {row.bound!r}")
    return found


def _own_config(name: str, parameter: Parameter) -> RangeParameterConfig | ChoiceParameterConfig:
    if parameter.type in ("real", "integer"):
        kind = "float" if parameter.type == "real" else "int"
        scaling = "log" if parameter.log else "linear"
        return RangeParameterConfig(name, (parameter.low, parameter.high), kind, scaling=scaling)
    values: list[Any] = [_own_value(parameter, value) for value in parameter.values]
    kinds = {type(value) for value in values}
    if len(kinds) > 1:
        raise CapabilityError(f"an Ax choice expected values of one type, got those of {name}")
    kind = {bool: "bool", int: "int", float: "float", str: "str"}[kinds.pop()]
    ordered = parameter.type == "ordinal" or None
    return ChoiceParameterConfig(name, values, kind, is_ordered=ordered)  # pyright: ignore[reportArgumentType]


def _own_value(parameter: Parameter, value: Value) -> Value:
    """Ax keeps whole numbers and others apart: among both, all are others."""
    mixed = {type(each) for each in parameter.values} == {int, float}
    return float(value) if mixed else value
