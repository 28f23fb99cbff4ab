"""All that can be named on the command line: the joined catalogs. Imports no method and no problem.

Options stand beside the methods, so reading them imports the method's module; `options=False`
lists names without.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bo.acquisition.names import ONE_GOAL, SEVERAL_GOALS
from bo.methods import (
    WITH_SURROGATE,
    method_rows,
    problem_rows,
    problem_schema,
    surrogate_of,
    target_rows,
)
from rl import catalog as rl_catalog
from surrogates.catalog import SURROGATES
from surrogates.errors import UsageError
from surrogates.options import check, schema, unknown
from surrogates.registry import Row, find, rows

ROLES = ("method", "problem", "surrogate")
_FITTING = {"acquisition": {"one_goal": ONE_GOAL, "several_goals": SEVERAL_GOALS}}


def listed(kind: str, role: str) -> list[Row]:
    """The rows of one kind (`bo`, `bandit`, `rl`, `surrogate`) and role (`method`, `problem`)."""
    if kind == "surrogate":
        return rows(SURROGATES)
    if kind == "bo":
        return method_rows() if role == "method" else problem_rows()
    raw = rl_catalog.METHODS if role == "method" else rl_catalog.PROBLEMS
    return [row for row in rows(raw) if row.kind == kind]


def everything() -> list[tuple[str, Row]]:
    """Role and row of all there is."""
    found = [("surrogate", row) for row in listed("surrogate", "method")]
    for kind in ("bo", "bandit", "rl"):
        for role in ("method", "problem"):
            found += [(role, row) for row in listed(kind, role)]
    return found


def check_names(kind: str, problem: str, method: str | None) -> str:
    """The method to use, its default filled in.

    Raises:
        UsageError: an unknown name (the nearest one is suggested), or none where one is needed.
    """
    targets = target_rows() if kind == "bo" else []
    find(problem, [*listed(kind, "problem"), *targets], what=f"{kind} problem")
    methods = listed(kind, "method")
    if method is None:
        if kind == "bo":
            return "auto"
        names = ", ".join(row.name for row in methods)
        raise UsageError(f"a {kind} run expected --method, got none; choose from: {names}")
    find(method, methods, what=f"{kind} method")
    return method


def describe(role: str, row: Row, *, options: bool) -> dict[str, Any]:
    """One row as `wald catalog` prints it."""
    described: dict[str, Any] = {
        "name": row.name,
        "kind": row.kind,
        "role": role,
        "capabilities": sorted(row.capabilities),
        "help": row.help,
    }
    if options:
        of_bo_problem = role == "problem" and row.kind == "bo"
        described["options"] = problem_schema(row) if of_bo_problem else option_schema(row)
    return described


def option_schema(row: Row) -> list[Mapping[str, Any]]:
    """Names, types, defaults and bounds of a row's options; those of a surrogate are prefixed.

    Where the choices depend on the problem, `one_goal` and `several_goals` tell which there are.
    """
    described: list[Mapping[str, Any]] = list(schema(row.options()))
    if row.factory in WITH_SURROGATE:
        for option in schema(surrogate_of(row.name).options()):
            described.append(option | {"name": f"surrogate.{option['name']}"})
    return [{**option, **_FITTING.get(option["name"], {})} for option in described]


def check_options(
    described: Sequence[Mapping[str, Any]], given: Mapping[str, Any], *, owner: str = "method"
) -> dict[str, Any]:
    """Options as given, parsed, against their description (as published in the store).

    Args:
        described: rows of `option_schema`.
        given: texts or values by name.
        owner: whose options these are, for the message.

    Raises:
        UsageError: an unknown name (the nearest one is suggested), or a value out of bounds.
    """
    by_name = {row["name"]: row for row in described}
    for name in given:
        if name not in by_name:
            raise UsageError(unknown(f"option of {owner}", str(name), by_name))
    return {name: check(value, by_name[name]) for name, value in given.items()}


def search(what: str | None) -> list[dict[str, Any]]:
    """The rows for `wald catalog [KIND|ROLE|NAME]`: with options where one name is asked for.

    Raises:
        UsageError: neither a kind, a role nor a name.
    """
    every = everything()
    if what is None:
        return [describe(role, row, options=False) for role, row in every]
    among = [(role, row) for role, row in every if what in (row.kind, role)]
    if among:
        return [describe(role, row, options=False) for role, row in among]
    named = [(role, row) for role, row in every if row.name == what]
    named = named or [(role, row) for role, row in every if row.matches(what)]
    if not named:
        names = [*dict.fromkeys(row.name for _, row in every), "bo", "bandit", "rl", *ROLES]
        raise UsageError(unknown("catalog name or kind", what, names))
    return [describe(role, row, options=True) for role, row in named]
