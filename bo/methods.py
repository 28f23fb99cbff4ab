"""From names to strategies and problems, through the catalogs. No paper."""

from collections.abc import Mapping
from typing import Any

from bo import catalog
from bo.contract import Problem, Strategy
from bo.goals import Goal, Goals
from bo.problems import wrappers
from bo.space import Space
from surrogates.catalog import SURROGATES
from surrogates.errors import UsageError
from surrogates.options import build, schema, unknown
from surrogates.registry import Row, find, rows

MODEL_BASED = "bo.strategies.model_based:ModelBased"
AX_WITH = "bo.strategies.through_ax:with_surrogate"
WITH_SURROGATE = (MODEL_BASED, AX_WITH)
"""Factories of rows that hold a surrogate of the catalog: the method's name tells which."""


def method_rows() -> list[Row]:
    """All BO methods: strategies, and every surrogate under the default strategy."""
    with_surrogate = [
        (name, MODEL_BASED, "bo", f"pending pool goals {words}", help)
        for name, _, _, words, help in SURROGATES
    ]
    through_ax = [
        (f"ax:{name}", AX_WITH, "bo", "pending", f"Ax's generator with the model {name}")
        for name, *_ in SURROGATES
    ]
    return rows([*catalog.METHODS, *with_surrogate, *through_ax])


def surrogate_of(method: str) -> Row:
    """The surrogate of a method whose factory is one of `WITH_SURROGATE`."""
    return find(method.removeprefix("ax:"), rows(SURROGATES), what="surrogate")


def problem_rows() -> list[Row]:
    """All BO problems."""
    return rows(catalog.PROBLEMS)


def target_rows() -> list[Row]:
    """What `wald optimize` evaluates. No page offers these: a name of them is code to run."""
    return rows(catalog.TARGETS)


def make_problem(name: str, options: Mapping[str, Any]) -> Problem:
    """A problem by its catalog name, with what every problem takes around it (noise, ...).

    Raises:
        UsageError: an unknown problem or option (the nearest one is suggested).
    """
    row = find(name, [*problem_rows(), *target_rows()], what="bo problem")
    owner = f"problem {row.name}"
    if row in target_rows():
        return row.load()(name, build(row.options(), options, owner=owner))
    known = [option["name"] for option in problem_schema(row)]
    for given in options:
        if given not in known:
            raise UsageError(unknown(f"option of {owner}", given, known))
    own = {option["name"] for option in schema(row.options())}
    inner = {given: value for given, value in options.items() if given in own}
    outer = {given: value for given, value in options.items() if given not in own}
    made = row.load()(name, build(row.options(), inner, owner=owner))
    return wrappers.wrap(made, build(wrappers.Options, outer, owner=owner))


def problem_schema(row: Row) -> list[dict[str, Any]]:
    """The options of a problem of the catalog: its own, then those that every one takes."""
    own = schema(row.options())
    names = {option["name"] for option in own}
    return own + [option for option in schema(wrappers.Options) if option["name"] not in names]


def make_strategy(
    method: str, space: Space, goal: Goal | Goals, options: Mapping[str, Any], seed: int
) -> Strategy:
    """A strategy by its method name.

    Args:
        method: a row of the catalog, or a surrogate's name.
        space: where to search.
        goal: what to optimise.
        options: by name; those of the surrogate as `surrogate.NAME`.
        seed: the study's.

    Raises:
        UsageError: an unknown method or option (the nearest one is suggested), or goals that the
            method cannot take.
    """
    goals = Goals.of(goal)
    row = find(method, method_rows(), what="bo method")
    prefix = "surrogate."
    own = {name: value for name, value in options.items() if not name.startswith(prefix)}
    inner = {n.removeprefix(prefix): v for n, v in options.items() if n.startswith(prefix)}
    names = {option["name"] for option in schema(row.options())}
    if row.factory in WITH_SURROGATE:
        theirs = {option["name"] for option in schema(surrogate_of(method).options())}
        for name in own:
            if name in theirs - names:
                raise UsageError(
                    f"expected a known option of method {method}, got {name!r}; that of the "
                    f"surrogate is {prefix + name!r}"
                )
    made = build(row.options(), own, owner=f"method {method}")
    if row.factory in WITH_SURROGATE:
        surrogate = surrogate_of(method)
        inner_options = build(surrogate.options(), inner, owner=f"surrogate {surrogate.name}")
        return row.load()(method, space, fitting(row, goals), made, seed, inner_options)
    if inner:
        raise UsageError(
            f"method {method} expected no option of a surrogate, got {prefix}{next(iter(inner))}; "
            "name the surrogate as the method, such as gp-map"
        )
    return row.load()(space, fitting(row, goals), made, seed)


def fitting(row: Row, goals: Goals) -> Goal | Goals:
    """What the factory of a method is given: a `Goals` where its row says that it takes one.

    Raises:
        UsageError: several goals, or outcome constraints, that the method cannot take.
    """
    if "goals" in row.capabilities:
        return goals
    if goals.several:
        able = ", ".join(each.name for each in method_rows() if "goals" in each.capabilities)
        raise UsageError(
            f"method {row.name} expected one goal, got {len(goals.goals)} ({goals}); do: one of "
            f"{able}"
        )
    if "constraints" in row.capabilities:
        return goals
    if goals.constraints:
        able = ", ".join(
            each.name for each in method_rows() if {"goals", "constraints"} & set(each.capabilities)
        )
        raise UsageError(
            f"method {row.name} expected no outcome constraints, got {goals.constraints[0]}; do: "
            f"one of {able}"
        )
    return goals.only
