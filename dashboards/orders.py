"""From the fields of the Start page to runs: everything is checked again, whatever a browser sent.

Names must be rows of the published catalog. A row with a file in its name, such as `table:<file>`,
is offered only under names that runs of this store already have, so no field is ever a path.
"""

import hashlib
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.catalog import check_options
from apps.curves import told
from apps.schema import RunRow
from apps.spec import DEVICES, KINDS, RunSpec
from apps.store import UsageError

MOST_SEEDS = 50
MOST_DIMENSIONS = 200
LARGEST_SEED = 2**53 - 1  # what a browser can hold exactly
LONGEST = 200
LONGEST_NAME = 190  # of the 200 of a run's name; -SEED may be added
HIDDEN_OPTIONS = ("device",)
"""Options that another field of the form stands for."""

_NUMBER = re.compile(r"<(?:d|seed)>")

Published = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class File:
    """A problem in a user's file, as a run of the store had it.

    Attributes:
        folder: where its path starts from; None: where the supervisor is.
        capabilities: what it asks of a method, as in the catalog.
    """

    folder: str | None
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offer:
    """What can be ordered here.

    Attributes:
        published: the catalog as the supervisor wrote it.
        files: per kind, the names with a file in them that runs of this store have.
    """

    published: Published
    files: Mapping[str, Mapping[str, File]]

    def rows(self, kind: str, role: str) -> list[Mapping[str, Any]]:
        """The catalog's rows of a kind and role, in its order."""
        return [r for r in self.published if r["kind"] == kind and r["role"] == role]

    def problem(self, kind: str, name: str) -> Mapping[str, Any]:
        """The row of a problem's concrete name. Raises `UsageError`."""
        for row in self.rows(kind, "problem"):
            if "<" not in row["name"]:
                if row["name"] == name:
                    return row
            elif _fits(row["name"], name, self.files.get(kind, {})):
                return self._listed(kind, row, name)
        raise UsageError(f"expected a problem of the catalog, got {_seen(name)}; choose one of it")

    def choices(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """What the Start page lists as problems of a kind: label and row."""
        found: dict[str, Mapping[str, Any]] = {}
        for row in self.rows(kind, "problem"):
            if "<file>" in row["name"]:
                names = [name for name in self.files.get(kind, {}) if _is_file(row["name"], name)]
                found |= {name: self._listed(kind, row, name) for name in names}
            else:
                found[_NUMBER.sub("", row["name"])] = row
        return found

    def folder(self, kind: str, name: str) -> str | None:
        """Where the path in a problem's name starts from."""
        file = self.files.get(kind, {}).get(name)
        return None if file is None else file.folder

    def _listed(self, kind: str, row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        file = self.files.get(kind, {}).get(name)
        return row if file is None else {**row, "capabilities": file.capabilities}

    def method(self, kind: str, name: str) -> Mapping[str, Any]:
        """The row of a method's name. Raises `UsageError`."""
        for row in self.rows(kind, "method"):
            if row["name"] == name and "<" not in name:
                return row
        raise UsageError(f"expected a method of the catalog, got {_seen(name)}; choose one of it")


def offer(published: Published, rows: Sequence[RunRow]) -> Offer:
    """What the catalog and the runs so far allow."""
    files: dict[str, dict[str, File]] = {}
    for row in rows:
        name = row.spec.problem
        for listed in published:
            if listed["kind"] == row.kind and _is_file(listed["name"], name):
                known = files.setdefault(row.kind, {})
                if name not in known or not known[name].capabilities:
                    known[name] = File(row.spec.folder, _wanted(row))
    return Offer(published, files)


def _wanted(row: RunRow) -> tuple[str, ...]:
    """What the problem of a run asks of a method, by the goals that the run had."""
    try:
        found = told(row.summary["metrics"]["goal"])
    except (LookupError, TypeError, UsageError):
        return ()  # it has not told anything that can be read
    return ("goals",) * (len(found.goals) > 1) + ("constraints",) * bool(found.constraints)


def suits(method: Mapping[str, Any], problem: Mapping[str, Any]) -> bool:
    """Whether a method takes what a problem asks for: several goals, limits on outcomes."""
    wanted, able = problem.get("capabilities", ()), method.get("capabilities", ())
    if "goals" in wanted:
        return "goals" in able
    return "constraints" not in wanted or "goals" in able or "constraints" in able


def choices_of(option: Mapping[str, Any], problem: Mapping[str, Any]) -> list[str]:
    """What an option of a method offers for a problem; empty where it has no list of choices."""
    several = "goals" in problem.get("capabilities", ())
    return list(
        option.get("several_goals" if several else "one_goal") or option.get("choices") or ()
    )


def wants_number(row: Mapping[str, Any]) -> bool:
    """Whether a problem's name holds a number that is still to be chosen."""
    return _NUMBER.search(row.get("name", "")) is not None


def numbered(row: Mapping[str, Any], number: int) -> str:
    """The concrete name with that number."""
    return _NUMBER.sub(str(number), row["name"])


def read(fields: Mapping[str, Any], offered: Offer) -> list[RunSpec]:
    """One spec per seed.

    Args:
        fields: kind, problem, method, budget, seed (the first), seeds (how many), device, threads,
            name, options, problem_options.
        offered: what can be ordered.

    Raises:
        UsageError: anything is missing, unknown, out of bounds or too long.
    """
    kind = _among(fields.get("kind"), KINDS, "kind of run")
    problem = _text(fields.get("problem"), "problem", LONGEST)
    method = _text(fields.get("method"), "method", LONGEST)
    problem_row = offered.problem(kind, problem)
    method_row = offered.method(kind, method)
    if not suits(method_row, problem_row):
        raise UsageError(
            f"expected a method for the goals of {problem}, got {method}; choose another one"
        )
    options = _options(method_row, fields.get("options"))
    for option in method_row.get("options", []):
        allowed = choices_of(option, problem_row)
        if allowed and options.get(option["name"], allowed[0]) not in allowed:
            raise UsageError(
                f"option {option['name']} expected {', '.join(allowed)} for {problem}, got "
                f"{options[option['name']]}"
            )
    budget = _whole(fields.get("budget"), "budget", 1, 10**9)
    first = _whole(fields.get("seed"), "first seed", 0, LARGEST_SEED - MOST_SEEDS)
    seeds = _whole(fields.get("seeds"), "number of seeds", 1, MOST_SEEDS)
    name = _name(fields.get("name"))
    return [
        RunSpec(
            kind=kind,
            problem=problem,
            method=method,
            seed=seed,
            budget=budget,
            problem_options=_options(problem_row, fields.get("problem_options")),
            options=options,
            device=_among(fields.get("device"), DEVICES, "device"),
            threads=_whole(fields.get("threads"), "threads", 1, 256),
            name=f"{name}-{seed}" if name and seeds > 1 else name,
            folder=offered.folder(kind, problem),
        )
        for seed in range(first, first + seeds)
    ]


def run_id(token: str, spec: RunSpec) -> str:
    """The id of a run of this form: the same form sent twice, by whomever, means the same run."""
    told = hashlib.sha256(f"{token}\n{spec.to_json()}".encode()).hexdigest()
    return f"{spec.kind}-{told[:8]}"


def new_token() -> str:
    """What tells one form from another; kept in the URL."""
    return secrets.token_hex(8)


def token(text: str | None) -> str | None:
    """A token as it stood in a URL, or None where it is none."""
    return text if text is not None and re.fullmatch(r"[0-9a-f]{16}", text) else None


def refuse_taken(specs: Sequence[RunSpec], ids: Sequence[str], rows: Sequence[RunRow]) -> None:
    """Raise `UsageError` where the name of an order belongs to another run."""
    owners = {row.name: row.run_id for row in rows}
    for spec, mine in zip(specs, ids, strict=True):
        if spec.name is not None and owners.get(spec.name, mine) != mine:
            raise UsageError(
                f"expected a name that is free, got {spec.name!r}, which {owners[spec.name]} has; "
                "choose another one"
            )


def _options(row: Mapping[str, Any], given: Any) -> dict[str, str]:
    """Only what differs from the defaults, as the texts of the command line."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or len(given) > 200:
        raise UsageError(f"options expected names with values, got {type(given).__name__}")
    names = [_text(name, "option's name", LONGEST) for name in given]
    texts = {name: _option_text(name, given[name]) for name in names}
    schema: list[dict[str, Any]] = [dict(option) for option in row.get("options", [])]
    parsed = check_options(schema, texts)
    defaults = {option["name"]: option["default"] for option in schema}
    return {name: texts[name] for name, value in parsed.items() if value != defaults[name]}


def _option_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        if not abs(value) < 2**63:  # not a number, infinite, or too large for any option
            raise UsageError(f"option {name} expected a number, got {_seen(value)}")
        return repr(value)
    return _text(value, f"option {name}", LONGEST)


def _text(value: Any, what: str, longest: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{what} expected a text, got {_seen(value)}")
    if len(value) > longest or not value.isprintable():
        raise UsageError(
            f"{what} expected at most {longest} printable characters, got {_seen(value)}"
        )
    return value


def _seen(value: Any) -> str:
    """A value in a message, whatever it is."""
    try:
        return f"{value!r:.80}"
    except ValueError:  # a whole number of thousands of digits
        return "a number out of all bounds"


def _name(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return _text(value, "name", LONGEST_NAME).strip()


def _whole(value: Any, what: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise UsageError(f"{what} expected a whole number, got {_seen(value)}")
    if not low <= value <= high:
        raise UsageError(f"{what} expected {low:,} to {high:,}, got {_seen(value)}")
    return int(value)


def _among(value: Any, known: Sequence[str], what: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{what} expected one of {', '.join(known)}, got {_seen(value)}")
    return value


def _fits(pattern: str, name: str, files: Collection[str]) -> bool:
    if "<file>" in pattern:
        return name in files and _is_file(pattern, name)
    head, _, tail = _NUMBER.sub("\0", pattern).partition("\0")
    number = name[len(head) : len(name) - len(tail)]
    if name != f"{head}{number}{tail}" or not re.fullmatch(r"[1-9][0-9]{0,3}", number, re.ASCII):
        return False
    return int(number) <= MOST_DIMENSIONS


def _is_file(pattern: str, name: str) -> bool:
    if "<file>" not in pattern:
        return False
    head, _, tail = pattern.partition("<file>")
    return name.startswith(head) and name.endswith(tail) and len(name) > len(head) + len(tail)
