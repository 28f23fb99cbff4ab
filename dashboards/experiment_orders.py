"""From the experiment fields of the Start page to a file of TOML, checked whatever a browser sent.

Names are rows of the published catalog or problems in files that runs of this store have had;
everything else is a bounded number or the experiment's name, which is no path.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.experiment_file import Plan, parse_plan
from apps.spec import KINDS
from apps.store import UsageError
from dashboards.orders import LARGEST_SEED, LONGEST, Offer, _among, _seen, _text, _whole, suits

MOST_PROBLEMS = 30
MOST_METHODS = 20
MOST_SEEDS = 50
MOST_BUDGETS = 5
MOST_RUNS = 5_000
MOST_WORKERS = 64
LONGEST_NAME = 60
LARGEST_BUDGET = 10**7
FOLDER = "."

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)


@dataclass(frozen=True)
class Order:
    """An experiment that can be queued.

    Attributes:
        name: of the experiment.
        source: its file.
        workers: runs at once.
        plan: what the file asks for, as the command reads it.
    """

    name: str
    source: str
    workers: int
    plan: Plan

    @property
    def runs(self) -> int:
        """How many runs it has."""
        return len(self.plan.problems) * len(self.plan.methods) * len(self.plan.seeds)


def read(fields: Mapping[str, Any], offered: Offer) -> Order:
    """The order of a form.

    Args:
        fields: kind, name, problems, methods, seeds (how many), first_seed, budgets, threads,
            workers.
        offered: what can be ordered.

    Raises:
        UsageError: anything is missing, unknown, out of bounds or too much.
    """
    kind = _among(fields.get("kind"), KINDS, "kind of run")
    name = _name(fields.get("name"))
    problems = _names(fields.get("problems"), "problems", MOST_PROBLEMS)
    methods = _names(fields.get("methods"), "methods", MOST_METHODS)
    problem_rows = [offered.problem(kind, each) for each in problems]
    for each in methods:
        row = offered.method(kind, each)
        for problem, problem_row in zip(problems, problem_rows, strict=True):
            if not suits(row, problem_row):
                raise UsageError(
                    f"expected methods for the goals of {problem}, got {each}; leave one of them "
                    "out"
                )
    seeds = _whole(fields.get("seeds"), "number of seeds", 1, MOST_SEEDS)
    first = _whole(fields.get("first_seed"), "first seed", 0, LARGEST_SEED - MOST_SEEDS)
    budgets = _budgets(fields.get("budgets"))
    threads = _whole(fields.get("threads"), "threads", 1, 256)
    workers = _whole(fields.get("workers"), "runs at once", 1, MOST_WORKERS)
    count = len(problems) * len(methods) * seeds
    if count > MOST_RUNS:
        raise UsageError(
            f"expected at most {MOST_RUNS:,} runs, got {count:,}; choose fewer problems, methods "
            "or seeds, or write the file by hand for `wald experiment`"
        )
    entries = [_entry(each, offered.folder(kind, each)) for each in problems]
    lines = [f"name = {_quoted(name)}"]
    lines += [] if kind == "bo" else [f"kind = {_quoted(kind)}"]
    lines += [_listed("problems", entries), _listed("methods", [_quoted(m) for m in methods])]
    lines += [f"seeds = {seeds}"]
    lines += [f"first_seed = {first}"] if first else []
    lines += [f"budgets = [{', '.join(map(str, budgets))}]"]
    lines += [f"threads = {threads}"] if threads > 1 else []
    source = "\n".join(lines) + "\n"
    return Order(name, source, workers, parse_plan(source, name, FOLDER))


def budgets_of(text: str) -> list[int]:
    """Whole numbers of a text such as `10, 25`. Raises `UsageError`."""
    words = [word for word in re.split(r"[,\s]+", text[:LONGEST]) if word]
    if not all(re.fullmatch(r"[0-9]{1,8}", word, re.ASCII) for word in words):
        raise UsageError(f"budgets expected whole numbers such as 25, 50, got {_seen(text)}")
    return [int(word) for word in words]


def _entry(problem: str, folder: str | None) -> str:
    """A problem of the list; one in a file by its whole path and called as runs call it."""
    family, colon, path = problem.partition(":")
    if folder is None or not colon:
        return _quoted(problem)
    whole = f"{family}:{os.path.join(folder, path)}"
    return f"{{ name = {_quoted(whole)}, label = {_quoted(problem)} }}"


def _listed(key: str, items: Sequence[str]) -> str:
    line = f"{key} = [{', '.join(items)}]"
    if len(line) <= 80:
        return line
    return "\n".join([f"{key} = [", *(f"  {item}," for item in items), "]"])


def _quoted(text: str) -> str:
    """A basic string of TOML; what is not printable was refused before."""
    return json.dumps(text, ensure_ascii=False)


def _name(value: Any) -> str:
    text = _text(value, "name", LONGEST_NAME).strip()
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"name expected letters, digits, - and _, a letter or digit first, got {_seen(text)}"
        )
    return text


def _names(value: Any, what: str, most: int) -> list[str]:
    if not isinstance(value, (list, tuple)) or not value:
        raise UsageError(f"{what} expected one or more of the catalog, got {_seen(value)}")
    if len(value) > most:
        raise UsageError(f"{what} expected at most {most}, got {len(value)}")
    names = [_text(each, what, LONGEST) for each in value]
    if len(set(names)) < len(names):
        raise UsageError(f"{what} expected distinct names, got {_seen(names)}")
    return names


def _budgets(value: Any) -> list[int]:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MOST_BUDGETS:
        raise UsageError(f"budgets expected 1 to {MOST_BUDGETS} numbers, got {_seen(value)}")
    return sorted({_whole(each, "budgets", 1, LARGEST_BUDGET) for each in value})
