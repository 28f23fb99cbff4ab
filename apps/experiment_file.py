"""What an experiment asks for: problems x methods x seeds, read from TOML and checked.

    problems = ["branin", { name = "ackley6", label = "ackley" }, "table:suzuki.toml"]
    methods = ["auto", { name = "gp-map", options = { acquisition = "ucb" } }]
    seeds = 20                     # or a list; first_seed = 100 starts the count there
    budgets = [25, 50, 100]        # each run goes to the largest; the table reads the smaller ones

Optional: `name` (default: that of the file), `kind` (bo), `initial`, `batch`, `parallel`,
`threads`, `out`, `skip_missing`. Files of problems are named as seen from the experiment's file.

Imports nothing heavy: pages read experiments too. Whether one can be run here,
`apps.experiment_plan` tells.
"""

import dataclasses
import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from apps import catalog
from apps.spec import KINDS, LARGEST, RunSpec, read_toml
from surrogates.errors import UsageError
from surrogates.options import unknown

_COUNTS = ("first_seed", "initial", "batch", "parallel", "threads")
_TEXTS = ("name", "kind", "out")
_NEEDED = ("problems", "methods", "seeds", "budgets")
_KEYS = (*_NEEDED, *_COUNTS, *_TEXTS, "skip_missing")
_ENTRY = ("name", "options", "label")
_LONGEST_NAME = 200


@dataclasses.dataclass(frozen=True)
class Entry:
    """A problem or a method: its catalog name, its options, and what tables call it."""

    name: str
    options: Mapping[str, Any]
    label: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """An experiment.

    Attributes:
        name: the first part of the names of its runs.
        kind: of all runs.
        problems: what to solve.
        methods: what is compared.
        seeds: one run each, per problem and method.
        budgets: rising; runs go to the last one.
        initial: points of the common initial design (bo); None for 2 per parameter, 4 to 16.
        batch: points per ask (bo).
        parallel: evaluations at once within a run (bo).
        threads: CPU threads of each run.
        folder: where paths of problems start from: that of the experiment's file.
        out: folder of the results, or None for `results/NAME`.
        skip_missing: leave out what has no data or package here, instead of refusing.
        skipped: what was left out, and why.
    """

    name: str
    kind: str
    problems: tuple[Entry, ...]
    methods: tuple[Entry, ...]
    seeds: tuple[int, ...]
    budgets: tuple[int, ...]
    initial: int | None = None
    batch: int = 1
    parallel: int = 1
    threads: int = 1
    folder: str | None = None
    out: str | None = None
    skip_missing: bool = False
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def spec(self, problem: Entry, method: Entry, seed: int) -> RunSpec:
        """The run of one cell and seed. No pictures of beliefs: they would take their time."""
        name = f"{self.name}/{problem.label}/{method.label}/{seed}"
        if len(name) > _LONGEST_NAME:
            raise UsageError(
                f"a run's name expected at most {_LONGEST_NAME} characters, got {name!r}; "
                "shorten name, or give the problem or method a label"
            )
        return RunSpec(
            kind=self.kind,
            problem=problem.name,
            method=method.name,
            seed=seed,
            budget=self.budgets[-1],
            problem_options=dict(problem.options),
            options=dict(method.options),
            batch=self.batch,
            parallel=self.parallel,
            threads=self.threads,
            name=name,
            folder=self.folder if ":" in problem.name else None,
            snapshots=0,
        )

    def cells(self) -> Iterator[tuple[Entry, Entry, int, RunSpec]]:
        """All runs, seed by seed: what is there after a part of the time compares all methods."""
        for seed in self.seeds:
            for problem in self.problems:
                for method in self.methods:
                    yield problem, method, seed, self.spec(problem, method, seed)


def read_plan(file: str) -> Plan:
    """The experiment in a TOML file.

    Raises:
        UsageError: no such file, an unknown key (the nearest is suggested), or a value of another
            type or out of bounds.
    """
    path = Path(file)
    return _plan(read_toml(file), path.name, path.stem, path.resolve().parent)


def parse_plan(source: str, name: str, folder: str) -> Plan:
    """The experiment in a text of TOML, as the store keeps it.

    Args:
        source: the text.
        name: of the experiment, where the text gives none.
        folder: where paths of problems start from.

    Raises:
        UsageError: as of `read_plan`.
    """
    try:
        told = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"expected TOML in the experiment {name}: {error}") from None
    return _plan(told, f"{name}.toml", name, Path(folder))


def slug(text: str) -> str:
    """A text as a file's name; texts that differ give names that differ."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    if plain == text:
        return plain
    return f"{plain[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _plan(told: Mapping[str, Any], file: str, default: str, folder: Path) -> Plan:
    """The experiment in a table; `default` is its name where the table gives none."""
    kind = told.get("kind", "bo")
    if isinstance(kind, str) and kind not in KINDS:
        raise UsageError(unknown(f"kind of {file}", kind, (*KINDS, "regression")))
    for key in told:
        if key not in _KEYS:
            raise UsageError(unknown(f"key of {file}", key, _KEYS))
    for key in _NEEDED:
        if key not in told:
            raise UsageError(f"{file} expected {key}, got none; add {key} = ...")
    counts = {key: read_count(told[key], key, low=_low(key)) for key in _COUNTS if key in told}
    texts = {key: read_text(told[key], key) for key in _TEXTS if key in told}
    kind = texts.get("kind", "bo")
    for key in ("initial", "batch", "parallel"):
        if kind != "bo" and key in told:
            raise UsageError(f"{key} expected a bo experiment, got kind {kind!r}; leave it out")
    skip = told.get("skip_missing", False)
    if not isinstance(skip, bool):
        raise UsageError(f"skip_missing expected true or false, got {skip!r}")
    plan = Plan(
        name=texts.get("name", default),
        kind=kind,
        problems=tuple(
            dataclasses.replace(entry, name=_located(kind, entry.name, folder))
            for entry in read_entries(told["problems"], "problems")
        ),
        methods=read_entries(told["methods"], "methods"),
        seeds=_seeds(told["seeds"], counts.get("first_seed")),
        budgets=_budgets(told["budgets"]),
        folder=str(folder),
        out=texts.get("out"),
        initial=counts.get("initial"),
        batch=counts.get("batch", 1),
        parallel=counts.get("parallel", 1),
        threads=counts.get("threads", 1),
        skip_missing=skip,
    )
    if plan.initial is not None and plan.initial > plan.budgets[-1]:
        raise UsageError(
            f"initial expected at most the largest budget, {plan.budgets[-1]}, got {plan.initial}"
        )
    for _ in plan.cells():  # the bounds of each spec, and the lengths of the names
        pass
    return plan


def read_entries(told: Any, key: str) -> tuple[Entry, ...]:
    """Names or tables of names, options and labels under a key. Raises `UsageError`."""
    if not isinstance(told, list) or not told:
        raise UsageError(f'{key} expected a list such as ["NAME", ...], got {told!r:.100}')
    entries = tuple(_entry(each, key) for each in told)
    labels = [entry.label for entry in entries]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(
                f"{key} expected distinct entries, got {label!r} {labels.count(label)} times; "
                "drop it, or give each a label"
            )
    return entries


def _entry(told: Any, key: str) -> Entry:
    if isinstance(told, str):
        told = {"name": told}
    if not isinstance(told, Mapping) or not isinstance(told.get("name"), str) or not told["name"]:
        raise UsageError(f"{key} expected names or tables with a name, got {told!r:.100}")
    for field in told:
        if field not in _ENTRY:
            raise UsageError(unknown(f"key of an entry of {key}", field, _ENTRY))
    options = told.get("options", {})
    if not isinstance(options, Mapping):
        raise UsageError(f"options of {told['name']} expected a table, got {options!r:.100}")
    flat = dict(_flat(options))
    words = [told["name"], *(f"{name}={value}" for name, value in flat.items())]
    label = read_text(told.get("label", " ".join(words)), "label")
    return Entry(told["name"], flat, label)


def _located(kind: str, name: str, folder: Path) -> str:
    """A problem in a file, by its whole path: so its runs can be resumed from anywhere."""
    family, _, path = name.partition(":")
    in_file = any(row.name == f"{family}:<file>" for row in catalog.listed(kind, "problem"))
    return f"{family}:{(folder / path).resolve()}" if in_file and path else name


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """By dotted name: TOML makes `{ surrogate = { depth = 3 } }` of `surrogate.depth = 3`."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _seeds(told: Any, first: int | None) -> tuple[int, ...]:
    if isinstance(told, list):
        if first is not None:
            raise UsageError("first_seed expected a count of seeds beside it, got a list")
        seeds = tuple(read_count(seed, "seeds", low=0, high=2**63 - 1) for seed in told)
        if not seeds or len(set(seeds)) < len(seeds):
            raise UsageError(f"seeds expected distinct numbers, at least one, got {told!r:.100}")
        return seeds
    count = read_count(told, "seeds", high=LARGEST["replications"])
    return tuple(range(first or 0, (first or 0) + count))


def _budgets(told: Any) -> tuple[int, ...]:
    listed = told if isinstance(told, list) else [told]
    budgets = {read_count(each, "budgets", high=LARGEST["budget"]) for each in listed}
    if not budgets:
        raise UsageError("budgets expected at least one number, got none")
    return tuple(sorted(budgets))


def _low(key: str) -> int:
    return 0 if key in ("first_seed", "initial") else 1


def read_count(value: Any, key: str, *, low: int = 1, high: int | None = None) -> int:
    """A whole number within bounds under a key. Raises `UsageError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UsageError(f"{key} expected a whole number of at least {low}, got {value!r:.100}")
    if high is not None and value > high:
        raise UsageError(f"{key} expected {low} to {high}, got {value}")
    return value


def read_text(value: Any, key: str) -> str:
    """A text of one line under a key. Raises `UsageError`."""
    if not isinstance(value, str) or not value.strip() or "\n" in value:
        raise UsageError(f"{key} expected a text of one line, got {value!r:.100}")
    return value.strip()
