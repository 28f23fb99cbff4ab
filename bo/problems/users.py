"""A user's own work as a problem: a command line, or a function of a module. No paper.

    wald optimize "python train.py --lr {lr}" --space space.toml --goal "minimize loss"
    wald optimize train:loss --space space.toml

The space is in the options as it was read, so a later edit of the file changes no run. The working
folder is the user's: the command runs there, the module is found there first.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from bo.commands import Command, CommandObjective
from bo.contract import Problem
from bo.goals import Goals
from bo.space import Parameters, Space
from bo.worker_main import holds_python
from bo.worker_messages import HOME, PACKAGES, by_name
from bo.workers import Workers
from surrogates.errors import UsageError
from surrogates.options import option, options

_UNNAMED = Goals.parse("minimize value")


@options
class Options:
    """What `wald optimize` was told beside the target."""

    space: str = option(default="", help="the space, as JSON")
    goal: str = option(default="", help='such as "minimize loss"; none: a number is minimised')


def command(name: str, options: Options) -> Problem:
    """The problem of `command:LINE`.

    Raises:
        UsageError: a placeholder is no parameter, there is no such program, or no space.
    """
    space, goals = _read(options)
    parsed = Command.parse(name.removeprefix("command:"))
    unused = [each for each in parsed.check(space.parameters) if each in space.free]
    parsed.find_program(os.getcwd())
    objective = CommandObjective(parsed, os.getcwd(), goals.outcomes if options.goal else ())
    notes = [f"the command uses no {', '.join(unused)}"] if unused else []
    return _problem(name, space, goals, options, objective, notes, isolated=True)


def function(name: str, options: Options) -> Problem:
    """The problem of `python:package.module:function`.

    Raises:
        UsageError: there is no such function, or no space.
    """
    space, goals = _read(options)
    target = name.removeprefix("python:")
    call = by_name(target)
    folder = os.getcwd()
    isolated = _shadows(folder)
    wants_trial = _in_a_worker(call, target) if isolated else _here(folder, target)
    objective = _objective(call, wants_trial=wants_trial, named=bool(options.goal))
    return _problem(name, space, goals, options, objective, [], isolated=isolated)


def _read(options: Options) -> tuple[Space, Goals]:
    if not options.space:
        raise UsageError("a user's own work expected a space, got none; use wald optimize --space")
    try:
        tables = json.loads(options.space)
    except ValueError as error:
        raise UsageError(f"a space expected JSON, got {options.space!r:.80} ({error})") from None
    return Space.from_dict(tables), Goals.parse(options.goal) if options.goal else _UNNAMED


def _problem(
    name: str,
    space: Space,
    goals: Goals,
    options: Options,
    objective: Callable[[Parameters, Any], Any],
    notes: list[str],
    *,
    isolated: bool,
) -> Problem:
    if not options.goal:
        notes = [*notes, "no goal was named: the number is minimised"]

    def evaluate(parameters: Parameters, *, seed: int) -> Any:
        return objective(parameters, SimpleNamespace(number=0, attempt=1, seed=seed))

    return Problem(
        name=name,
        space=space,
        goal=goals,
        evaluate=evaluate,
        note="; ".join(notes) or None,
        objective=objective,
        isolated=isolated,
    )


def _objective(
    call: Callable[..., Any], *, wants_trial: bool, named: bool
) -> Callable[[Parameters, Any], Any]:
    """A function in a function travels by value: a worker then imports nothing of ours."""

    def objective(parameters: Parameters, trial: Any) -> Any:
        outcome = call(parameters, trial) if wants_trial else call(parameters)
        if isinstance(outcome, dict) and not named:
            raise TypeError(
                f"the function returns {sorted(map(str, outcome))}: say which is the goal, as in "
                '--goal "minimize loss"'
            )
        return outcome

    return objective


def _looker() -> Callable[[Any], bool | str]:
    def look(found: Any) -> bool | str:
        import inspect

        if not callable(found):
            return type(found).__name__
        try:
            parameters = inspect.signature(found).parameters.values()
        except (TypeError, ValueError):
            return False
        needed = [
            each
            for each in parameters
            if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
            and each.default is each.empty
        ]
        return len(needed) >= 2

    return look


def _here(folder: str, target: str) -> bool:
    """Import the target in this process; whether it takes the trial too."""
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    return _looked(target, lambda: _looker()(_resolved(target)))


def _in_a_worker(call: Callable[..., Any], target: str) -> bool:
    """As `_here`, in a process where the user's names come before ours."""
    with Workers(1) as workers:
        return _looked(target, lambda: workers.submit(_looker(), call).result())


def _looked(target: str, look: Callable[[], bool | str]) -> bool:
    try:
        found = look()
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UsageError(f"expected a function {target}, got {told:.300}") from error
    if isinstance(found, str):
        raise UsageError(f"expected a function {target}, got a value of type {found}")
    return found


def _resolved(target: str) -> Any:
    module, _, name = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _shadows(folder: str) -> bool:
    """Whether a user's folder holds modules that are named like our packages."""
    if os.path.realpath(folder) == HOME:
        return False
    held = (os.path.join(folder, name) for name in PACKAGES)
    return any(os.path.isfile(f"{path}.py") or _is_package(path) for path in held)


def _is_package(path: str) -> bool:
    return os.path.isdir(path) and holds_python(path)


def options_of(space: Space, goal: str | None) -> Mapping[str, str]:
    """The options by name, as a run's spec keeps them."""
    return {"space": json.dumps(space.to_dict())} | ({"goal": goal} if goal else {})
