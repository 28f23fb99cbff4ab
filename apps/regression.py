"""`wald experiment` of `kind = "regression"`: sets x surrogates x splits, to scores and tests.

    kind = "regression"
    problems = ["boston", { name = "concrete", options = { split = "half" }, label = "halves" }]
    methods = [{ name = "gp-mode", options = { prior = "flat" }, label = "ML-II" }, "gp-hmc"]
    splits = 20                    # or a list of numbers

Optional: `name`, `out`, `device` (`cpu`), `threads` (of each fit). Options of a problem are `split`
(`gal` or `half`) and `most` (rows to train on at most), see `surrogates.regression`.

Every fit is a row of `runs.csv` in the folder of the results, written when it is done: the same
command again goes on with what is missing, and repeats what failed; it refuses to go on with other
options, on other data or on another device.
"""

import csv
import dataclasses
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from rich.console import Console

from apps.experiment_file import Entry, read_count, read_entries, read_text
from apps.progress import duration
from apps.regression_report import write
from apps.spec import DEVICES, LARGEST, read_toml
from surrogates.catalog import SURROGATES
from surrogates.errors import DataError, StoreError, UsageError
from surrogates.options import build, option, options, unknown
from surrogates.registry import find, rows

SCORES = ("rmse", "loglik", "coverage95", "calibration")
DIAGNOSTICS = ("converged", "rhat_max", "ess_min", "khat", "divergences")
COLUMNS = (
    *("problem", "method", "split", "made_with", "state", "error", "n", "d"),
    *SCORES,
    *("seconds", "cpu_seconds"),
    *DIAGNOSTICS,
)
_NEEDED = ("problems", "methods", "splits")
_KEYS = ("kind", *_NEEDED, "name", "out", "device", "threads")


@options
class Options:
    """Which rows of a set are learnt from."""

    split: str = option(default="gal", help="gal, or half of the rows", choices=("gal", "half"))
    most: int = option(default=0, help="rows to train on at most; 0: all", low=0, high=10**9)


@dataclasses.dataclass(frozen=True)
class Job:
    """One fit."""

    problem: Entry
    method: Entry
    split: int
    data: str
    device: str
    threads: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What it is called."""
        return self.problem.label, self.method.label, self.split

    @property
    def made_with(self) -> str:
        """What the outcome depends on: checksums of the options and of the data, and the device."""
        return f"{self._asked}-{self.data}-{self.device}"

    @property
    def _asked(self) -> str:
        told = [[e.name, dict(e.options)] for e in (self.problem, self.method)]
        return hashlib.sha256(json.dumps([told, self.split]).encode()).hexdigest()[:8]

    def made(self, row: Mapping[str, Any]) -> bool:
        """Whether it is what made the row; older ones hold the checksum of the options alone."""
        return row["made_with"] in (self.made_with, self._asked)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The experiment."""

    name: str
    problems: tuple[Entry, ...]
    methods: tuple[Entry, ...]
    splits: tuple[int, ...]
    data: Mapping[tuple[str, int], str]
    device: str
    threads: int
    out: str | None

    def jobs(self) -> list[Job]:
        """Split by split: what is there after a part of the time compares all methods."""
        return [
            Job(
                problem,
                method,
                split,
                self.data[problem.label, split],
                self.device,
                self.threads,
            )
            for split in self.splits
            for problem in self.problems
            for method in self.methods
        ]


def is_regression(file: str) -> bool:
    """Whether a file of an experiment is of this kind. Raises `UsageError`: not readable."""
    return read_toml(file).get("kind") == "regression"


def experiment(
    file: str, *, workers: int = 0, out: str | None = None, command: Sequence[str] = ()
) -> dict[str, Any]:
    """Make what is missing, then the tables.

    Args:
        file: the TOML file.
        workers: fits at once; 0 for as many as the CPU cores allow.
        out: folder of the results; None for what the file says, else `results/NAME`.
        command: the words that asked for it, for RESULTS.md.

    Returns:
        `experiment`, `kind`, `state` (`finished`; `failed` where a fit failed; `interrupted`),
        `runs`, `failed`, `table`, `tests`, `out`, `files`.

    Raises:
        WaldError: what is wrong with the file, the data or the folder.
    """
    if not 0 <= workers <= LARGEST["parallel"]:
        raise UsageError(f"expected --workers 0 to {LARGEST['parallel']}, got {workers}")
    plan = read_plan(file)
    folder = Path(out or plan.out or Path("results") / plan.name)
    log = folder / "runs.csv"
    known = _known(log)
    jobs = plan.jobs()
    for job in jobs:
        row = known.get(job.key)
        if row is not None and row["state"] == "finished" and not job.made(row):
            raise UsageError(
                f"{log} holds {' / '.join(map(str, job.key))} with other options, on other data or "
                f"on another device ({row['made_with']}, not {job.made_with}); name another folder "
                "with --out, or give the changed entry another label"
            )
    missing = [j for j in jobs if known.get(j.key, {"state": ""})["state"] != "finished"]
    workers = workers or max((os.cpu_count() or 1) // plan.threads, 1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        interrupted = _run(plan, missing, known, log, workers)
        rows_of = [known[job.key] for job in jobs if job.key in known]
        told = write(
            plan.name,
            [p.label for p in plan.problems],
            [m.label for m in plan.methods],
            rows_of,
            len(jobs),
            folder,
            command,
        )
    except OSError as error:
        raise StoreError(
            f"the results cannot be written to {folder}: {error.strerror}; free space or change "
            "its rights, then repeat the command: finished fits are kept"
        ) from None
    failed = [row for row in rows_of if row["state"] != "finished"]
    state = "interrupted" if interrupted else "failed" if failed else "finished"
    return told | {
        "experiment": plan.name,
        "kind": "regression",
        "state": state,
        "runs": len(jobs),
        "failed": len(failed),
        "errors": [
            {
                "run": " / ".join(map(str, (r["problem"], r["method"], r["split"]))),
                "error": r["error"],
            }
            for r in failed
        ],
        "out": str(folder),
    }


def read_plan(file: str) -> Plan:
    """The experiment in a file.

    Raises:
        UsageError: an unknown key, set, surrogate or option, or a value out of bounds.
    """
    import torch

    from surrogates import regression

    told = read_toml(file)
    for key in told:
        if key in ("seeds", "budgets"):
            raise UsageError(
                f"{Path(file).name} expected splits, got {key}, which kind regression does not have"
            )
        if key not in _KEYS:
            raise UsageError(unknown(f"key of {Path(file).name}", key, _KEYS))
    for key in _NEEDED:
        if key not in told:
            raise UsageError(f"{Path(file).name} expected {key}, got none; add {key} = ...")
    device = told.get("device", "cpu")
    if device not in DEVICES:
        raise UsageError(unknown("device", device, DEVICES))
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device expected cpu or auto where there is no GPU, got cuda")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    listed = told["splits"]
    if not isinstance(listed, list):
        listed = list(range(read_count(listed, "splits", high=1000)))
    splits = tuple(read_count(each, "splits", low=0, high=10**6) for each in listed)
    if not splits or len(set(splits)) < len(splits):
        raise UsageError(f"splits expected distinct numbers, at least one, got {listed!r:.100}")
    problems = read_entries(told["problems"], "problems")
    methods = read_entries(told["methods"], "methods")
    data: dict[tuple[str, int], str] = {}
    for problem in problems:
        own = build(Options, problem.options, owner=problem.name)
        for split in sorted(splits, reverse=True):  # the greatest is the likeliest to be missing
            held = regression.load(problem.name, split, split=own.split, most=own.most)
            data[problem.label, split] = held.checksum
    for method in methods:
        row = find(method.name, rows(SURROGATES), what="surrogate")
        build(row.options(), method.options, owner=method.name)
    return Plan(
        name=read_text(told.get("name", Path(file).stem), "name"),
        problems=problems,
        methods=methods,
        splits=splits,
        data=data,
        device=device,
        threads=read_count(told.get("threads", 1), "threads", high=256),
        out=None if "out" not in told else read_text(told["out"], "out"),
    )


def fit(job: Job) -> dict[str, Any]:
    """The row of a fit, in a process of its own."""
    import torch

    from surrogates import regression
    from surrogates.inputs import Inputs

    torch.set_num_threads(job.threads)
    problem, method, split = job.key
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {"problem": problem, "method": method, "split": split, "made_with": job.made_with}
    try:
        own = build(Options, job.problem.options, owner=job.problem.name)
        data = regression.load(job.problem.name, split, split=own.split, most=own.most)
        X, Y, test_X, test_Y = (
            each.to(job.device) for each in (data.train_X, data.train_Y, data.test_X, data.test_Y)
        )
        entry = find(job.method.name, rows(SURROGATES), what="surrogate")
        surrogate = entry.load()
        began, cpu_began = time.perf_counter(), time.process_time()
        model = surrogate(
            X,
            Y,
            inputs=Inputs.reals(X.shape[1]),
            options=build(entry.options(), job.method.options, owner=job.method.name),
            generator=torch.Generator(device="cpu").manual_seed(split),
        )
        found = regression.scores(model, test_X, test_Y)
        row |= dataclasses.asdict(found) | {
            "state": "finished",
            "n": len(X),
            "d": X.shape[1],
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu_began,
        }
        told: Mapping[str, float] = model.diagnostics
        row |= {name: told[name] for name in DIAGNOSTICS if name in told}
    except Exception as error:  # noqa: BLE001 - what a fit raises ends this fit only
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        row |= {"state": "failed", "error": why[:300]}
    return row


def _run(
    plan: Plan, missing: Sequence[Job], known: dict[Any, Any], log: Path, workers: int
) -> bool:
    """Whether somebody pressed Ctrl-C."""
    console = Console(stderr=True)
    console.print(
        f"{plan.name}: {len(missing)} of {len(plan.jobs())} fits to do, {workers} at once",
        highlight=False,
    )
    if not missing:
        return False
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(plan.threads)
    began = time.monotonic()
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    pending: dict[Future[dict[str, Any]], Job] = {pool.submit(fit, job): job for job in missing}
    try:
        for done, future in enumerate(as_completed(pending), start=1):
            job = pending[future]
            try:
                row = future.result()
            except BrokenProcessPool:
                raise DataError(
                    f"a process of {' / '.join(map(str, job.key))} was killed, perhaps for want of "
                    "memory; lower --workers or `most`, then repeat the command: finished fits are "
                    "kept"
                ) from None
            _append(log, row)
            known[job.key] = row
            eta = (time.monotonic() - began) / done * (len(missing) - done)
            console.print(
                f"{' / '.join(map(str, job.key))} {row['state']} {row['error']} "
                f"({done}/{len(missing)}, ETA {duration(eta)})",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    except KeyboardInterrupt:
        console.print("interrupted: every finished fit is kept; the same command goes on")
        for child in multiprocessing.active_children():
            child.terminate()
        return True
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return False


def _append(log: Path, row: Mapping[str, Any]) -> None:
    """One more row, on the disk when this returns."""
    new = not log.exists()
    with open(log, "a", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)
        out.flush()
        os.fsync(out.fileno())


def _known(log: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """The last row of each fit; a row that was cut off by a kill is dropped from the file."""
    if not log.exists():
        return {}
    text = log.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        log.write_text(whole, encoding="utf-8")
    lines = whole.splitlines()
    if lines and lines[0] != ",".join(COLUMNS):
        raise UsageError(
            f"{log} expected the columns {','.join(COLUMNS)}, got {lines[0]:.100}; name another "
            "folder with --out"
        )
    told: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in csv.DictReader(lines):
        told[row["problem"], row["method"], int(row["split"])] = {
            name: _number(value) if name in SCORES or name in DIAGNOSTICS else value
            for name, value in row.items()
        }
    return told


def _number(text: str) -> float | str:
    return float(text) if text else ""
