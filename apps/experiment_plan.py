"""Whether an experiment can be run here: names, options, data and packages, before a run exists."""

import dataclasses
from collections.abc import Callable
from typing import Any

from apps import catalog, runner
from apps.catalog import check_names
from apps.experiment_file import Entry, Plan, parse_plan, read_plan
from bo.methods import make_problem, make_strategy
from bo.problems import collection
from surrogates.errors import NotInstalledError, UsageError, WaldError
from surrogates.registry import find

__all__ = ["Entry", "Plan", "check_plan", "parse_plan", "read_plan"]


def check_plan(plan: Plan) -> Plan:
    """The plan that can be run here, after everything that can be checked before a run exists.

    Raises:
        UsageError: an unknown name or option, missing data without `skip_missing`, nothing left.
        NotInstalledError: a missing package without `skip_missing`.
    """
    for problem in plan.problems:
        for method in plan.methods:
            check_names(plan.kind, problem.name, method.name)
    check = _bo_check(plan) if plan.kind == "bo" else _other_check(plan)
    skipped = {p.label: why for p in plan.problems if (why := _missing_data(plan, p)) is not None}
    for entry, test in (
        *((problem, lambda p=problem: check(p, None)) for problem in plan.problems),
        *((method, lambda m=method: check(None, m)) for method in plan.methods),
    ):
        if entry.label in skipped:
            continue
        try:
            test()
        except NotInstalledError as error:
            if not plan.skip_missing:
                raise
            skipped[entry.label] = str(error)
    problems = tuple(each for each in plan.problems if each.label not in skipped)
    methods = tuple(each for each in plan.methods if each.label not in skipped)
    left = dataclasses.replace(plan, problems=problems, methods=methods, skipped=skipped)
    for problem in problems:
        for method in methods:
            check(problem, method)
    if not problems or not methods:
        why = "; ".join(f"{label}: {told}" for label, told in skipped.items())
        raise UsageError(f"expected a problem and a method that are here, got none left: {why}")
    return left


_Check = Callable[[Entry | None, Entry | None], None]


def _bo_check(plan: Plan) -> _Check:
    """Makes a problem once, and each method on it. Without a problem: only loads the method."""
    made: dict[str, Any] = {}

    def check(problem: Entry | None, method: Entry | None) -> None:
        if problem is not None and problem.label not in made:
            made.clear()  # tables are large: one at a time
            with runner.within(plan.folder):
                made[problem.label] = make_problem(problem.name, problem.options)
        if method is not None and problem is not None:
            found = made[problem.label]
            make_strategy(method.name, found.space, found.goals, method.options, plan.seeds[0])
        elif method is not None:
            find(method.name, catalog.listed("bo", "method"), what="bo method").load()

    return check


def _other_check(plan: Plan) -> _Check:
    def check(problem: Entry | None, method: Entry | None) -> None:
        if problem is not None and method is not None:
            runner.prepare(plan.spec(problem, method, plan.seeds[0]))

    return check


def _missing_data(plan: Plan, problem: Entry) -> str | None:
    """Why a table of the collection is left out; None where it is here, or is not to be skipped."""
    table = collection.TABLES.get(problem.name.removeprefix("blackbox/"))
    if not plan.skip_missing or not problem.name.startswith("blackbox/") or table is None:
        return None
    try:
        file = collection.data_folder() / "blackbox" / table.file
    except WaldError as error:
        return str(error)
    return None if file.is_file() else f"expected a table at {file}, got no file"
