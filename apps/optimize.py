"""A user's own work: from a target and a SPACE.toml to the problem of a run; ask, tell, fail."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from apps.store import Store
from bo.commands import Command
from bo.contract import Goal, Problem, Trial
from bo.known import Known, read_csv, read_study
from bo.problems.users import options_of
from bo.space import Space
from bo.study import Study
from bo.trial_log import is_missing, store_url
from surrogates.errors import UsageError
from surrogates.options import unknown

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def problem_of(target: str, space: str, goal: str | None) -> tuple[str, dict[str, str]]:
    """Name and options of the problem of `wald optimize`.

    Args:
        target: `package.module:function`, or a command line with `{name}` placeholders.
        space: path of SPACE.toml.
        goal: such as "minimize loss", or None.

    Raises:
        UsageError: a malformed target, space or goal.
    """
    if goal is not None:
        Goal.parse(goal)
    options = dict(options_of(Space.from_toml(space), goal))
    if _FUNCTION.fullmatch(target):
        return f"python:{target}", options
    Command.parse(target)
    return f"command:{target}", options


def known_results(source: str, problem: Problem, store: str) -> tuple[Known, str | None]:
    """What `--from` names: a CSV file, or a study of the same store.

    Raises:
        UsageError: neither, or it does not fit the problem.
    """
    if source.endswith(".csv") or os.path.isfile(source):
        return read_csv(source, problem.space, problem.goal)
    if is_missing(store_url(store)):
        raise UsageError(f"--from expected FILE.csv or a study, got {source!r}: no such file")
    return read_study(Study.resume(source, store=store), problem.space, problem.goal)


def ask(
    name: str,
    n: int,
    store: str,
    *,
    space: str | None = None,
    goal: str | None = None,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> list[dict[str, Any]]:
    """The next points of a study, which is made where a space is given and there is none.

    Raises:
        UsageError: no such study, or it has another space, goal, method or seed.
    """
    if space is None:
        given = {"--goal": goal, "--method": method, "--seed": seed, "--option": options or None}
        for flag, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{flag} expected --space SPACE.toml beside it, which makes a study; leave it "
                    "out for a study that exists"
                )
        study = _existing(name, store)
    else:
        study = Study(
            Space.from_toml(space),
            "minimize value" if goal is None else goal,
            name=name,
            store=store,
            method=method or "auto",
            options=options,
            seed=seed,
        )
    return [{"number": t.number, "parameters": dict(t.parameters)} for t in study.ask(n)]


def tell(name: str, number: int, pairs: Sequence[str], store: str) -> dict[str, Any]:
    """Record the outcome of a trial, given as NAME=VALUE texts.

    Raises:
        UsageError: no such study or trial, one that is finished, or no value for the goal.
    """
    values = _values(pairs)
    return _told(_existing(name, store).tell(number, values))


def fail(name: str, number: int, why: str, store: str) -> dict[str, Any]:
    """Record that a trial has no outcome. Raises `UsageError` as `tell`."""
    return _told(_existing(name, store).fail(number, " ".join(why.split()) or "failed"))


def _existing(name: str, store: str) -> Study:
    """A study by its name, or by the run that drives it."""
    opened = Store.open(store, create=False)
    studies = [study[0] for study in opened.studies()]
    if name not in studies:
        rows = [row for row in opened.runs() if name in (row.run_id, row.name)]
        if not rows or rows[0].study not in studies:
            raise UsageError(
                f"{unknown('study', name, studies)} (wald ask {name} --space SPACE.toml makes one)"
            )
        name = str(rows[0].study)
    return Study.resume(name, store=store)


def _values(pairs: Sequence[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            number = float(text)
        except ValueError:
            number = None
        if not equals or not name.strip() or number is None:
            raise UsageError(f"an outcome expected NAME=NUMBER, such as loss=0.31, got {pair!r}")
        values[name.strip()] = number
    return values


def _told(trial: Trial) -> dict[str, Any]:
    told: dict[str, Any] = {"number": trial.number, "state": trial.state}
    told["values"] = dict(trial.values)
    return told | ({"reason": trial.reason} if trial.reason else {})
