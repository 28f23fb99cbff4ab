"""What was asked of a run: enough to repeat it. JSON; imports nothing heavy."""

import dataclasses
import json
import math
import shlex
import tomllib
from collections.abc import Mapping
from typing import Any

from surrogates.errors import UsageError
from surrogates.options import unknown

KINDS = ("bo", "bandit", "rl")
DEFAULT_BUDGETS = {"bo": 50, "bandit": 5_000, "rl": 50_000}
BUDGET_UNITS = {"bo": "trials", "bandit": "rounds", "rl": "environment steps"}
DEVICES = ("auto", "cpu", "cuda")
LARGEST = {"budget": 10**9, "batch": 1000, "parallel": 256, "threads": 256, "replications": 1000}
_BO_ONLY = ("timeout", "retries", "stop_at", "stop_after", "stall")
_FREE = ("budget", "name", "snapshots", "folder", *_BO_ONLY)
"""Two parts of one run may differ in these."""
DEFAULT_STORE = "sqlite:///wald.db"


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """One run, as asked.

    Attributes:
        kind: `bo`, `bandit` or `rl`.
        problem: a catalog name, such as `branin` or `table:mine.toml`.
        method: a catalog name.
        seed: of everything random.
        budget: trials, rounds or environment steps.
        problem_options: options of the problem by name, as given.
        options: options of the method by name, as given.
        batch: points per ask (bo).
        parallel: evaluations at once (bo).
        device: `cpu` or `cuda`.
        threads: CPU threads of the numerical libraries.
        name: of the study, or None.
        folder: of a run of a user's own work, or a submitted one whose problem is a file: where
            paths start from, and where a user's command runs.
        snapshots: keep what the model believes at every so manieth ask (bo); 0 for none.
        timeout: seconds that one evaluation may take (bo), or None.
        stop_at: end once the best value is as good as this (bo), or None.
        stop_after: end once the run has taken so many seconds (bo), or None.
        stall: end once so many trials in a row brought no improvement (bo), or None.
        retries: how often a trial whose process died runs again (bo); None is once.
    """

    kind: str
    problem: str
    method: str
    seed: int
    budget: int
    problem_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    batch: int = 1
    parallel: int = 1
    device: str = "cpu"
    threads: int = 1
    name: str | None = None
    snapshots: int = 1
    folder: str | None = None
    timeout: float | None = None
    stop_at: float | None = None
    stop_after: float | None = None
    stall: int | None = None
    retries: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(unknown("kind of run", self.kind, KINDS))
        if self.device not in DEVICES:
            raise UsageError(unknown("device", self.device, DEVICES))
        for what in ("budget", "batch", "parallel", "threads"):
            value, most = getattr(self, what), LARGEST[what]
            if not 1 <= value <= most:
                raise UsageError(f"{what} expected 1 to {most}, got {value}")
        if not 0 <= self.snapshots <= LARGEST["budget"]:
            raise UsageError(f"snapshots expected every=0 or more, got every={self.snapshots}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed expected 0 to 2**63 - 1, got {self.seed}")
        if self.kind != "bo" and (self.batch > 1 or self.parallel > 1):
            raise UsageError(f"batch and parallel expected a bo run, got kind {self.kind}")
        if self.kind != "bo" and any(getattr(self, what) is not None for what in _BO_ONLY):
            given = next(what for what in _BO_ONLY if getattr(self, what) is not None)
            raise UsageError(f"{_flag(given)} expected a bo run, got kind {self.kind}")
        for what in ("timeout", "stop_after", "stall"):
            value = getattr(self, what)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{_flag(what)} expected more than 0, got {value}")
        if self.retries is not None and self.retries < 0:
            raise UsageError(f"--retries expected 0 or more, got {self.retries}")
        if self.stop_at is not None and not math.isfinite(self.stop_at):
            raise UsageError(f"--stop-at expected a finite value, got {self.stop_at}")
        if self.name is not None and not (self.name.strip() and len(self.name) <= 200):
            raise UsageError(f"a name expected 1 to 200 characters, got {self.name!r}")

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> "RunSpec":
        """Raises `UsageError` where the text is no spec."""
        try:
            return RunSpec(**json.loads(text))
        except (TypeError, json.JSONDecodeError) as error:
            raise UsageError(f"expected a run's spec as JSON, got {text!r:.80} ({error})") from None

    def difference(self, other: "RunSpec") -> str | None:
        """The first thing that matters to the outcome in which two specs differ, in words."""
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name not in _FREE and mine != theirs:
                return f"{field.name.replace('_', ' ')} is {theirs!r} there and {mine!r} here"
        return None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def replicate(spec: RunSpec, replications: int) -> list[RunSpec]:
    """The same with seeds S, S + 1, ...; where there are several, a name gets its seed added.

    Raises:
        UsageError: fewer than 1, or more than 1,000.
    """
    if not 1 <= replications <= LARGEST["replications"]:
        most = LARGEST["replications"]
        raise UsageError(f"replications expected 1 to {most}, got {replications}")
    if replications == 1:
        return [spec]
    seeds = range(spec.seed, spec.seed + replications)
    names = [None if spec.name is None else f"{spec.name}-{seed}" for seed in seeds]
    pairs = zip(seeds, names, strict=True)
    return [dataclasses.replace(spec, seed=seed, name=name) for seed, name in pairs]


def command(spec: RunSpec, verb: str = "run", *, store: str = DEFAULT_STORE) -> str:
    """The command line that asks for a spec, quoted for a shell."""
    words = ["wald", verb, spec.kind, "--problem", spec.problem, "--method", spec.method]
    words += ["--budget", str(spec.budget), "--seed", str(spec.seed)]
    for flag, options in (("--problem-option", spec.problem_options), ("--option", spec.options)):
        for name, value in options.items():
            words += [flag, f"{name}={value}"]
    for flag, value, default in (
        ("--batch", spec.batch, 1),
        ("--parallel", spec.parallel, 1),
        ("--threads", spec.threads, 1),
        ("--device", spec.device, "auto"),
        ("--name", spec.name, None),
        ("--snapshots", f"every={spec.snapshots}", "every=1"),
        *((_flag(what), getattr(spec, what), None) for what in _BO_ONLY),
        ("--store", store, DEFAULT_STORE),
    ):
        if value != default:
            words += [flag, str(value)]
    return shlex.join(words)


def parse_every(text: str) -> int:
    """k of `every=k`. Raises `UsageError`."""
    name, _, number = text.partition("=")
    if name.strip() != "every" or not number.strip().isdecimal():
        raise UsageError(f"snapshots expected every=k, such as every=5, got {text!r}")
    return int(number)


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """A mapping from `name=value` texts; a value keeps its text, the option's type is known later.

    Raises:
        UsageError: a text without "=".
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"an option expected name=value, got {pair!r}")
        parsed[name.strip()] = value.strip()
    return parsed


def read_toml(path: str) -> dict[str, Any]:
    """A TOML file. Raises `UsageError` where it is missing or malformed."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"expected a readable TOML file at {path}: {error}") from None
