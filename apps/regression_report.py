"""The files of an experiment of regression: table.csv, tests.csv and RESULTS.md.

For every set, the median over splits of each score, and each method beside the first one of the
file, paired over the splits (Wilcoxon's signed-rank test, Holm's correction within the set).
"""

import datetime
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.experiment_report import _csv, _grid, _machine, _versions
from apps.statistics import SIGNIFICANT, holm, signed_rank
from apps.tables import number

_BETTER = {"rmse": -1.0, "loglik": 1.0}
"""Whether more of it is better."""
_MEANS = ("rmse", "loglik", "coverage95", "calibration")
_DIAGNOSTICS = ("rhat_max", "khat")


def write(
    name: str,
    problems: Sequence[str],
    methods: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    asked: int,
    folder: Path,
    command: Sequence[str],
) -> dict[str, Any]:
    """Write all files.

    Args:
        name: of the experiment.
        problems: labels of the sets.
        methods: labels; the others are compared with the first.
        rows: of `runs.csv`.
        asked: fits in all; the page says where some are missing.
        folder: where to.
        command: the words that asked for it.

    Returns:
        `table`, `tests` and `files`.

    Raises:
        OSError: a file cannot be written.
    """
    done = [row for row in rows if row["state"] == "finished"]
    table = [
        found
        for problem in problems
        for method in methods
        if (found := _row(problem, method, done)) is not None
    ]
    tests = [test for problem in problems for test in _tests(problem, methods, done)]
    page = folder / "RESULTS.md"
    files = [_csv(folder / "table.csv", table), _csv(folder / "tests.csv", tests)]
    text = _page(name, problems, methods, rows, asked, table, tests, command)
    page.write_text(text, encoding="utf-8")
    return {"table": table, "tests": tests, "files": [*files, str(page)]}


def _row(problem: str, method: str, done: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Means over splits and their standard errors, as the literature's tables have them."""
    mine = [row for row in done if row["problem"] == problem and row["method"] == method]
    if not mine:
        return None
    told: dict[str, Any] = {
        "problem": problem,
        "method": method,
        "splits": len(mine),
        "n": int(mine[0]["n"]),
    }
    for score in _MEANS:
        values = np.array([float(row[score]) for row in mine])
        told[score] = float(values.mean())
        if score in _BETTER:
            several = len(values) > 1
            error = float(values.std(ddof=1) / np.sqrt(len(values))) if several else None
            told[f"{score}_se"] = error
    told["seconds"] = float(np.median([float(row["seconds"]) for row in mine]))
    told["cpu_seconds"] = float(np.median([float(row["cpu_seconds"]) for row in mine]))
    for each in _DIAGNOSTICS:
        values = [float(row[each]) for row in mine if row[each] != ""]
        told[f"{each}_worst"] = max(values) if values else None
    known = [float(row["converged"]) for row in mine if row["converged"] != ""]
    told["converged"] = f"{int(sum(known))} of {len(known)}" if known else "-"
    return told


def _tests(
    problem: str, methods: Sequence[str], done: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each method against the first, on the splits that both have."""
    told: list[dict[str, Any]] = []
    for score, sign in _BETTER.items():
        values = {
            method: {
                int(row["split"]): sign * float(row[score])
                for row in done
                if row["problem"] == problem and row["method"] == method
            }
            for method in methods
        }
        first = values[methods[0]]
        mine: list[dict[str, Any]] = []
        for method in methods[1:]:
            shared = sorted(first.keys() & values[method].keys())
            gain = np.array([values[method][split] - first[split] for split in shared])
            if len(gain) == 0:
                continue
            mine.append(
                {
                    "problem": problem,
                    "score": score,
                    "method": method,
                    "against": methods[0],
                    "splits": len(gain),
                    "wins": int((gain > 0).sum()),
                    "losses": int((gain < 0).sum()),
                    "median_gain": float(np.median(gain)),
                    "p": signed_rank(gain),
                }
            )
        adjusted = holm([each["p"] for each in mine])
        told += [each | {"p_holm": p} for each, p in zip(mine, adjusted, strict=True)]
    return told


def _page(
    name: str,
    problems: Sequence[str],
    methods: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    asked: int,
    table: Sequence[Mapping[str, Any]],
    tests: Sequence[Mapping[str, Any]],
    command: Sequence[str],
) -> str:
    failed = [row for row in rows if row["state"] != "finished"]
    counted = {
        "command": f"`{shlex.join(command)}`",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": _machine(),
        "versions": ", ".join(f"{name} {found}" for name, found in _versions().items()),
        "fits": f"{len(rows)} of {asked}, {len(failed)} failed"
        + ("; UNFINISHED: the same command goes on" if len(rows) < asked else ""),
    }
    lines = [f"# {name}", "", *(f"- {what}: {text}" for what, text in counted.items()), ""]
    if failed:
        told = [[row["problem"], row["method"], row["split"], row["error"]] for row in failed]
        lines += ["## Fits that failed", "", *_grid(("set", "method", "split", "why"), told)]
    lines += [_WORDS.format(first=methods[0]), ""]
    for problem in problems:
        mine = [row for row in table if row["problem"] == problem]
        if not mine:
            continue
        n = " to ".join(sorted({str(row["n"]) for row in mine}))
        lines += [f"## {problem}", "", f"{n} rows to learn from.", ""]
        cells = [[*_cells(row), *_marks(row, tests)] for row in mine]
        lines += _grid(_HEADS, cells)
    return "\n".join(lines)


_WORDS = (
    "Means over the splits, with standard errors; RMSE in units of the outcome, log-likelihood per "
    "outcome, noise included. Coverage: share of outcomes within the central interval of 95 %. "
    "Calibration: mean distance between a predictive quantile's level and the share of outcomes "
    "below it. Seconds: median of fit and predictions, wall clock and CPU. Checks held: fits whose "
    "diagnostics all held; R-hat and k-hat are the worst. Wins and losses: splits against {first}; "
    "p: Wilcoxon's signed-rank test, Holm's correction within set and score; a star marks p < 5 %."
)
_HEADS = (
    *("method", "splits", "RMSE", "log-likelihood", "coverage", "calibration", "s", "CPU s"),
    *("checks held", "R-hat", "k-hat", "RMSE: won/lost, p", "log-likelihood: won/lost, p"),
)


def _cells(row: Mapping[str, Any]) -> list[Any]:
    return [
        row["method"],
        row["splits"],
        f"{number(row['rmse'])} ({number(row['rmse_se'], 2)})",
        f"{number(row['loglik'])} ({number(row['loglik_se'], 2)})",
        number(row["coverage95"]),
        number(row["calibration"], 2),
        number(row["seconds"], 2),
        number(row["cpu_seconds"], 2),
        row["converged"],
        *(number(row[f"{each}_worst"], 3) for each in _DIAGNOSTICS),
    ]


def _marks(row: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> list[str]:
    told: list[str] = []
    for score in _BETTER:
        found = [
            test
            for test in tests
            if (test["problem"], test["method"], test["score"])
            == (row["problem"], row["method"], score)
        ]
        for test in found:
            star = " *" if test["p_holm"] < SIGNIFICANT else ""
            told.append(f"{test['wins']}/{test['losses']}, {test['p_holm']:.2g}{star}")
        if not found:
            told.append("-")
    return told
