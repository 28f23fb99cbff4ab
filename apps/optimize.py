"""A user's own work: from a target and a SPACE.toml to the problem of a run; ask, tell, fail."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from apps.store import Store
from bo.commands import Command
from bo.constraints import words
from bo.contract import Measured, Trial
from bo.database import is_missing, store_url
from bo.goals import Goal, Goals
from bo.known import Known, read_csv, read_study
from bo.problems.users import options_of
from bo.space import Space
from bo.study import Study
from surrogates.errors import UsageError
from surrogates.options import unknown

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def problem_of(
    target: str, space: str, goal: str | None, subject_to: Sequence[str] = ()
) -> tuple[str, dict[str, str]]:
    """Name and options of the problem of `wald optimize`.

    Args:
        target: `package.module:function`, or a command line with `{name}` placeholders.
        space: path of SPACE.toml.
        goal: such as "minimize loss", or None.
        subject_to: constraints, between parameters or on outcomes.

    Raises:
        UsageError: a malformed target, space, goal or constraint.
    """
    made, goals = _constrained(Space.from_toml(space), goal, subject_to)
    options = dict(options_of(made, None if goals is None else str(goals)))
    if _FUNCTION.fullmatch(target):
        return f"python:{target}", options
    Command.parse(target)
    return f"command:{target}", options


def _constrained(
    space: Space, goal: str | None, subject_to: Sequence[str]
) -> tuple[Space, Goals | None]:
    """Each constraint where it belongs: to the space, or to what is told of a point."""
    of_space: list[str] = []
    of_outcomes: list[str] = []
    for text in subject_to:
        names = words(text)
        known = [name for name in names if name in space.parameters]
        if known and len(known) < len(names):
            other = next(name for name in names if name not in known)
            raise UsageError(
                f"--subject-to expected parameters or outcomes, got both in {text!r}: {known[0]} "
                f"is a parameter, {other} is none; let the program print what is to be limited"
            )
        (of_space if known else of_outcomes).append(text)
    if of_space:
        held = [constraint.text for constraint in space.constraints]
        space = Space(space.parameters, candidates=space.candidates, subject_to=[*held, *of_space])
    if goal is None and of_outcomes:
        raise UsageError(
            f"--subject-to {of_outcomes[0]!r} expected --goal beside it, got none; name the "
            'outcome to optimise, as in --goal "minimize loss"'
        )
    return space, None if goal is None else Goals.of(goal, of_outcomes)


def known_results(
    source: str,
    space: Space,
    goals: Goals | Goal,
    store: str,
    *,
    into: str | None,
    skip_invalid: bool = False,
) -> Known:
    """What `--from` names: a CSV file, or another study of the same store.

    How many there are, and what was left out, is said on standard error.

    Args:
        source: of the known results.
        space: where they lie.
        goals: what was measured.
        store: URL or path.
        into: the name of the study that takes them in, or None.
        skip_invalid: leave out what cannot be taken in.

    Raises:
        UsageError: neither, or it is the study itself, or it does not fit space and goals.
    """
    if source.endswith(".csv") or os.path.isfile(source):
        known, note = read_csv(source, space, goals, skip_invalid=skip_invalid)
    elif is_missing(store_url(store)):
        raise UsageError(f"--from expected FILE.csv or a study, got {source!r}: no such file")
    elif source == into:
        raise UsageError(
            f"--from expected another study, got {source!r} itself, which has its own trials; "
            "leave --from out to go on with it"
        )
    else:
        study = Study.resume(source, store=store)
        known, note = read_study(study, space, goals, skip_invalid=skip_invalid)
    told = [f"{len(known)} known results, which no budget counts", *([note] if note else [])]
    sys.stderr.write(f"{'; '.join(told)}\n")
    return known


def check_skip(known_from: str | None, skip_invalid: bool) -> None:
    """Raises `UsageError` where there is nothing to leave out of."""
    if skip_invalid and known_from is None:
        raise UsageError("--skip-invalid expected --from beside it, got none; leave it out")


def ask(
    name: str,
    n: int,
    store: str,
    *,
    space: str | None = None,
    goal: str | None = None,
    subject_to: Sequence[str] = (),
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
    known_from: str | None = None,
    skip_invalid: bool = False,
) -> list[dict[str, Any]]:
    """The next points of a study, which is made where a space is given and there is none.

    Raises:
        UsageError: no such study, it has another space, goal, method or seed, or known results
            that do not fit it.
    """
    check_skip(known_from, skip_invalid)
    known: Known | None = None
    if space is None:
        given = {
            "--goal": goal,
            "--subject-to": subject_to or None,
            "--method": method,
            "--seed": seed,
            "--option": options or None,
        }
        for flag, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{flag} expected --space SPACE.toml beside it, which makes a study; leave it "
                    "out for a study that exists"
                )
        study = _existing(name, store)
        if known_from is not None:
            known = known_results(
                known_from,
                study.space,
                study.goals,
                store,
                into=name,
                skip_invalid=skip_invalid,
            )
    else:
        made, told = _constrained(Space.from_toml(space), goal, subject_to)
        goals = told or Goals.of("minimize value")
        if known_from is not None:  # first: where it does not fit, no study is made
            known = known_results(
                known_from, made, goals, store, into=name, skip_invalid=skip_invalid
            )
        study = Study(
            made,
            goals,
            name=name,
            store=store,
            method=method or "auto",
            options=options,
            seed=seed,
        )
    if known is not None:
        study.warm_start(known)
    return [{"number": t.number, "parameters": dict(t.parameters)} for t in study.ask(n)]


def tell(name: str, number: int, pairs: Sequence[str], store: str) -> dict[str, Any]:
    """Record the outcome of a trial, given as NAME=VALUE or NAME=VALUE+-SEM texts.

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


def to_optuna(name: str, storage: str | None, store: str) -> str:
    """The name of a new Optuna study with all trials of a study, or of the run that drives it.

    Args:
        name: of the study or run.
        storage: URL of Optuna's.
        store: path or URL of ours.

    Raises:
        UsageError: no such study, no storage, or a study of that name there.
        NotInstalledError: no Optuna.
    """
    if storage is None:
        raise UsageError("expected --out URL of Optuna's storage, such as sqlite:///optuna.db")
    return str(_existing(name, store).to_optuna(storage).study_name)


def _values(pairs: Sequence[str]) -> dict[str, Measured]:
    values: dict[str, Measured] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            mean, *sem = map(float, text.replace("\u00b1", "+-").split("+-"))
        except ValueError:
            mean, sem, equals = 0.0, [], ""
        if not equals or not name.strip() or len(sem) > 1:
            raise UsageError(
                f"an outcome expected NAME=NUMBER, such as loss=0.31 or loss=0.31+-0.02, "
                f"got {pair!r}"
            )
        if name.strip() in values:
            raise UsageError(f"expected each outcome once, got {name.strip()} twice")
        values[name.strip()] = (mean, sem[0]) if sem else mean
    return values


def _told(trial: Trial) -> dict[str, Any]:
    told: dict[str, Any] = {"number": trial.number, "state": trial.state}
    told["values"] = dict(trial.values)
    return told | ({"reason": trial.reason} if trial.reason else {})
