"""What all benchmarks share: claims and their bounds, the report, timing, the command line.

A benchmark is a module of this package with a function `run(*, quick) -> Report`. Its name on the
command line is the module's, with "-" for "_"; the first line of its docstring is its help. One
whose `run` takes `only`, too, can measure a part, so that parts run beside each other: `--only
PART` for each, then `--parts FILE ...` with what they printed makes one report of them.

Exit codes: 0 every claim holds, 1 one falls short, 2 bad usage, 3 the peer is not installed.
"""

import argparse
import contextlib
import dataclasses
import difflib
import importlib
import importlib.metadata
import inspect
import json
import os
import pkgutil
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from surrogates.errors import NotInstalledError, UsageError

NOT_BENCHMARKS = ("browsing", "harness", "nuts_peers")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class Claim:
    """One figure, the peer's beside it, and what it must reach.

    Attributes:
        name: what was measured, in words.
        ours: our figure.
        peer: the peer's figure for the same, or None where it has none.
        bound: what ours must keep, or None for a figure that is only reported.
        unit: of all three.
        sense: "at most", "at least" or "exactly" the bound; it also says which figure is better.
    """

    name: str
    ours: float
    peer: float | None
    bound: float | None
    unit: str
    sense: Literal["at most", "at least", "exactly"] = "at most"

    @property
    def ratio(self) -> float | None:
        """How many times better ours is; None where that has no meaning."""
        if self.peer is None or self.sense == "exactly":
            return None
        less, more = self.ours, self.peer
        if self.sense == "at least":
            less, more = more, less
        return more / less if less else None

    @property
    def passes(self) -> bool:
        """Whether ours keeps the bound."""
        if self.bound is None:
            return True
        if self.sense == "exactly":
            return self.ours == self.bound
        # so written that NaN falls short
        return self.ours <= self.bound if self.sense == "at most" else self.ours >= self.bound

    def to_dict(self) -> dict[str, Any]:
        """As the JSON holds it."""
        return {
            "name": self.name,
            "ours": _number(self.ours),
            "peer": _number(self.peer),
            "ratio": _number(self.ratio),
            "bound": _number(self.bound),
            "unit": self.unit,
            "pass": self.passes,
        }


@dataclasses.dataclass(frozen=True)
class Peer:
    """What we compare with. `settings`: how it was run, and how we were, where that differs."""

    name: str
    version: str
    settings: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Report:
    """What a benchmark found. `samples` holds what was measured, per repeat or seed."""

    name: str
    peer: Peer
    claims: Sequence[Claim]
    samples: Sequence[Mapping[str, Any]]
    threads: int = 1

    @property
    def passes(self) -> bool:
        """Whether every claim holds."""
        return all(claim.passes for claim in self.claims)

    def to_dict(self) -> dict[str, Any]:
        """As the JSON holds it."""
        return {
            "name": self.name,
            "machine": machine(),
            "threads": self.threads,
            "peer": dataclasses.asdict(self.peer),
            "claims": [claim.to_dict() for claim in self.claims],
            "samples": list(self.samples),
        }

    def table(self) -> str:
        """For a terminal."""
        heads = ("claim", "ours", self.peer.name, "ratio", "bound", "unit", "")
        rows = [
            (
                claim.name,
                _short(claim.ours),
                _short(claim.peer),
                _short(claim.ratio),
                "" if claim.bound is None else f"{claim.sense} {claim.bound:g}",
                claim.unit,
                "" if claim.bound is None else "holds" if claim.passes else "FALLS SHORT",
            )
            for claim in self.claims
        ]
        widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
        lines = ["  ".join(map(_pad, row, widths, range(len(row)))) for row in (heads, *rows)]
        about = [
            f"{self.name}: {self.peer.name} {self.peer.version} beside it, threads: {self.threads}",
            *(f"  {key}: {value}" for key, value in {**machine(), **self.peer.settings}.items()),
            "ratio above 1: ours is better",
        ]
        return "\n".join([*about, "", *(line.rstrip() for line in lines)])


def _number(value: float | None) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return None if value is None or value - value != 0 else float(f"{value:.6g}")


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _pad(text: str, width: int, column: int) -> str:
    return text.rjust(width) if 1 <= column <= 3 else text.ljust(width)


def machine() -> dict[str, Any]:
    """What a figure depends on; `load` is how many processes wanted a core in the last minute."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def version_of(distribution: str, *, extra: str) -> str:
    """The version of a peer. Raises `NotInstalledError`, which becomes exit code 3."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise NotInstalledError(
            f'expected {distribution} to compare with, got none; pip install "wald[{extra}]"'
        ) from None


def milliseconds(call: Callable[[], Any]) -> float:
    """How long a call takes on the wall clock."""
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


def say(text: str) -> None:
    """Progress, on standard error: standard output is for the result."""
    print(text, file=sys.stderr, flush=True)


def names() -> list[str]:
    """All benchmarks."""
    import benchmarks

    modules = [found.name for found in pkgutil.iter_modules(benchmarks.__path__)]
    return sorted(
        name.replace("_", "-")
        for name in modules
        if not name.startswith("_") and name not in NOT_BENCHMARKS
    )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """For numerical libraries that are loaded from here on, in child processes too."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def main(arguments: Sequence[str], known: Mapping[str, Callable[..., Report]] | None = None) -> int:
    """Run one benchmark and print what it found; returns the exit code.

    Args:
        arguments: of the command line, without the program's name.
        known: the benchmarks by name; None for those of this package.
    """
    available = names() if known is None else sorted(known)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure a claim beside a peer. Exit 1: it falls short; 3: the peer is absent.",
        epilog=f"benchmarks: {', '.join(available)}",
    )
    parser.add_argument("name", metavar="NAME", help="which benchmark")
    parser.add_argument(
        "--quick", action="store_true", help="fewer repeats; where one takes minutes, fewer sizes"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--only", metavar="PART", help="measure one part, where it has parts")
    parser.add_argument(
        "--parts", nargs="+", metavar="FILE", help="measure nothing; join what `--only` printed"
    )
    try:
        asked = parser.parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    asked.name = asked.name.replace("_", "-")
    if asked.name not in available:
        say(_unknown(asked.name, available))
        return 2
    if asked.parts:
        joined = _joined(asked.name, [Path(name) for name in asked.parts])
        print(json.dumps(joined))
        return 0 if all(claim["pass"] for claim in joined["claims"]) else 1
    with _one_thread():
        run = known[asked.name] if known is not None else _load(asked.name)
        if asked.only is not None and "only" not in inspect.signature(run).parameters:
            say(f"expected no --only, got {asked.only!r}; {asked.name} has no parts")
            return 2
        only = {} if asked.only is None else {"only": asked.only}
        try:
            report = run(quick=asked.quick, **only)
        except NotInstalledError as error:
            say(str(error))
            return 3
        except UsageError as error:
            say(str(error))
            return 2
    print(json.dumps(report.to_dict()) if asked.json else report.table())
    return 0 if report.passes else 1


def _load(name: str) -> Callable[..., Report]:
    return importlib.import_module(f"benchmarks.{name.replace('-', '_')}").run


def _joined(name: str, files: Sequence[Path]) -> dict[str, Any]:
    """One report of several, in the order of the files; the machine is that of the first."""
    told = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for file, each in zip(files, told, strict=True):
        if each["name"] != name:
            raise SystemExit(f"{file}: expected a report of {name}, got one of {each['name']}")
    rows = {key: [row for each in told for row in each[key]] for key in ("claims", "samples")}
    return {**told[0], **rows}


def _unknown(name: str, available: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, available, n=1, cutoff=0.5)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"expected a benchmark, got {name!r}; {meant}choose from: {', '.join(available)}"
