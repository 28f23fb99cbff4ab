"""The files of an experiment: table.csv, ranks.csv, tests.csv, runs.csv, RESULTS.md and figures."""

import csv
import datetime
import importlib.metadata
import os
import platform
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import altair as alt
import pandas as pd

from apps import catalog
from apps.curves import PALETTE, better, style
from apps.experiment_file import Entry, slug
from apps.experiment_results import Results
from apps.figures import bands, save
from apps.runner import versions
from apps.tables import number
from surrogates.errors import StoreError

_PEERS = ("optuna", "smac", "nevergrad", "cma", "HEBO", "numpy", "scipy")
_SMALLEST = 1e-12
"""A regret of 0 has no place on a log scale; it is drawn here."""


def write(
    results: Results, told: Mapping[str, Any], folder: Path, command: Sequence[str]
) -> list[str]:
    """Write all files; returns their names.

    Args:
        results: the runs.
        told: the object of `apps.experiment_results.tell`.
        folder: made where it is absent; files of an earlier call are replaced.
        command: the words that asked for it.

    Raises:
        StoreError: a file cannot be written; the runs are kept.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [
            _csv(folder / "table.csv", told["table"]),
            _csv(folder / "ranks.csv", told["ranks"]),
            _csv(folder / "tests.csv", told["tests"]),
            _csv(folder / "runs.csv", _runs(results)),
        ]
        figures = _figures(results, told, folder / "figures")
        page = folder / "RESULTS.md"
        page.write_text(_page(results, told, figures, command), encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"the results cannot be written to {folder}: {error.strerror}; "
            "free space or change its rights, then repeat the command: the runs are kept"
        ) from None
    return [*files, str(page), *(file for pair in figures.values() for file in pair)]


def _csv(file: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    with open(file, "w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]) if rows else ["nothing"])
        writer.writeheader()
        writer.writerows(rows)
    return str(file)


def _runs(results: Results) -> list[dict[str, Any]]:
    """Every value of every run, so that other statistics can be made of it."""
    return [
        {
            "problem": problem,
            "method": method,
            "seed": run.seed,
            "budget": budget,
            "value": value,
            "ask_cpu_seconds": ask,
            "measure": results.measures[problem].name,
            "state": run.state,
            "run": run.name,
        }
        for (problem, method), runs in results.outcomes.items()
        for run in runs
        for budget, value, ask in zip(results.plan.budgets, run.values, run.asks, strict=True)
    ]


# RESULTS.md


def _page(
    results: Results,
    told: Mapping[str, Any],
    figures: Mapping[str, Sequence[str]],
    command: Sequence[str],
) -> str:
    plan = results.plan
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    counted = {
        "command": f"`{shlex.join(command)}`",
        "date": today,
        "machine": _machine(),
        "versions": ", ".join(f"{name} {found}" for name, found in _versions().items()),
        "runs": f"{told['runs']}, {told['failed']} failed",
        "seeds": f"{len(plan.seeds)}, {plan.seeds[0]} to {plan.seeds[-1]}",
        "threads": f"{plan.threads}; batch {plan.batch}, parallel {plan.parallel}",
    }
    if plan.kind == "bo":
        points = "2 per parameter, 4 to 16" if plan.initial is None else str(plan.initial)
        counted["initial design"] = f"{points}; the same points for every method"
        if alike := _alike(results):
            counted["nothing to compare"] = f"all points are of the initial design: {alike}"
    lines = [f"# {plan.name}", "", *(f"- {name}: {text}" for name, text in counted.items()), ""]
    if told["incomplete"]:
        rows = [[each["run"], each["state"], each["error"]] for each in told["incomplete"]]
        lines += ["## Runs that did not finish", "", *_grid(("run", "state", "why"), rows)]
    if told["skipped"]:
        rows = [[each["name"], each["why"]] for each in told["skipped"]]
        lines += ["## Left out", "", *_grid(("name", "why"), rows)]
    lines += ["## Ranks", "", _RANKS, ""]
    lines += _picture(figures, "ranks", "mean ranks with their intervals")
    for budget in plan.budgets:
        lines += [f"Budget {budget}:", "", *_rank_rows(told, budget)]
    lines += ["## Problems", "", _PROBLEMS, ""]
    for problem in plan.problems:
        lines += [f"### {problem.label}", "", *_problem_rows(results, told, problem)]
        lines += _picture(figures, problem.label, f"{problem.label}: median and quartiles")
    return "\n".join(lines)


def _alike(results: Results) -> str:
    """Budgets at which no method has asked for a point of its own, with their problems."""
    asked: dict[tuple[int, str], bool] = {}
    for (problem, _), runs in results.outcomes.items():
        for run in runs:
            told = zip(results.plan.budgets, run.values, run.asks, strict=True)
            for budget, value, ask in told:
                key = budget, problem
                own = ask is not None or value is None
                asked[key] = asked.get(key, False) or own
    parts: list[str] = []
    for budget in results.plan.budgets:
        found = [
            problem for (at, problem), any_ask in asked.items() if at == budget and not any_ask
        ]
        parts += [f"{budget} evaluations of {', '.join(found)}"] if found else []
    return "; ".join(parts)


_RANKS = (
    "Mean rank over problems (1 is best; equal values share their rank; a run that failed shares "
    "the last), with the 95 % interval of a bootstrap over problems, then seeds. Best, close and "
    "worse count problems: best has the lowest median; close is not significantly worse than the "
    "best (Wilcoxon signed-rank over seeds, Holm within the problem, 5 %); worse is."
)
_PROBLEMS = (
    "Median and quartiles over seeds; CPU seconds of an ask beyond the initial design (median over "
    "seeds of the run's mean). Wins, ties, losses: seeds against the best method of the row's "
    "budget; p: Wilcoxon's signed-rank test against it, with Holm's correction."
)


def _rank_rows(told: Mapping[str, Any], budget: int) -> list[str]:
    tests = [row for row in told["tests"] if row["budget"] == budget]
    rows = [
        [
            row["method"],
            number(row["mean_rank"], 3),
            f"{row['low']:.2f} to {row['high']:.2f}",
            *_standing([test for test in tests if test["method"] == row["method"]]),
        ]
        for row in told["ranks"]
        if row["budget"] == budget
    ]
    return _grid(("method", "mean rank", "95 % interval", "best", "close", "worse"), rows)


def _standing(tests: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
    """On how many problems a method is the best (or equal to it at every seed), close, worse."""
    best = sum(test["wins"] == test["losses"] == 0 for test in tests)
    worse = sum(test["worse"] for test in tests)
    return best, len(tests) - best - worse, worse


def _problem_rows(results: Results, told: Mapping[str, Any], problem: Entry) -> list[str]:
    measure = results.measures[problem.label]
    tests = {
        (row["budget"], row["method"]): row
        for row in told["tests"]
        if row["problem"] == problem.label
    }
    rows: list[list[Any]] = []
    for row in told["table"]:
        if row["problem"] != problem.label:
            continue
        test = tests.get((row["budget"], row["method"]))
        told_test = ["-", "-"]
        if test is not None and test["best"] == row["method"]:
            told_test = ["best", ""]
        elif test is not None:
            score = f"{test['wins']}/{test['ties']}/{test['losses']}"
            told_test = [score, f"{test['p_holm']:.2g}{' *' if test['worse'] else ''}"]
        rows.append(
            [
                row["budget"],
                row["method"],
                row["seeds"],
                number(row["median"]),
                f"{number(row['q25'])} to {number(row['q75'])}",
                *told_test,
                number(row["ask_cpu_seconds"], 2),
            ]
        )
    heads = ("budget", "method", "seeds", measure.name, "quartiles", "wins/ties/losses", "p")
    return [
        f"{measure.name}: {better(measure.direction)}.",
        "",
        *_grid((*heads, "ask CPU s"), rows),
    ]


def _grid(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    told = [[str("-" if cell is None else cell).replace("|", "\\|") for cell in r] for r in rows]
    lines = [heads, ["---"] * len(heads), *told]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _picture(figures: Mapping[str, Sequence[str]], name: str, title: str) -> list[str]:
    return [f"![{title}](figures/{Path(figures[name][0]).name})", ""] if name in figures else []


def _versions() -> dict[str, str]:
    found = versions()
    for name in _PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _machine() -> str:
    cpu = platform.processor() or "unknown processor"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line[:10] == "model name"]
        cpu = names[0] if names else cpu
    except OSError:
        pass
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


# Figures


def _figures(results: Results, told: Mapping[str, Any], folder: Path) -> dict[str, tuple[str, ...]]:
    """PNG and SVG of each problem with something to draw, by its label, and of the ranks."""
    plan = results.plan
    units = {"bo": "trial", "bandit": "round", "rl": "environment step"}
    drawn: dict[str, tuple[str, ...]] = {}
    for problem in plan.problems:
        measure = results.measures[problem.label]
        log = measure.name == "regret"
        curves: dict[str, list[Any]] = {}
        for method in plan.methods:
            runs = [r.curve for r in results.outcomes[problem.label, method.label] if r.curve[0]]
            if runs:
                curves[method.label] = [
                    (steps, [max(v, _SMALLEST) for v in values] if log else values)
                    for steps, values in runs
                ]
        if curves:
            chart = bands(
                curves,
                title=problem.label,
                x=units[plan.kind],
                y=f"{measure.name} ({better(measure.direction)})",
                log=log,
                kind=_kind(results),
            )
            drawn[problem.label] = tuple(save(chart, folder / slug(f"problem-{problem.label}")))
    if told["ranks"]:
        drawn["ranks"] = tuple(save(_rank_chart(results, told), folder / "ranks"))
    return drawn


def _kind(results: Results) -> str | None:
    """The kind, where every method is one of the catalog and so has a colour of its own."""
    known = catalog.listed(results.plan.kind, "method")
    labels = [method.label for method in results.plan.methods]
    found = all(any(row.matches(label) for row in known) for label in labels)
    return results.plan.kind if found else None


def _rank_chart(results: Results, told: Mapping[str, Any]) -> alt.LayerChart:
    """Mean ranks and intervals, one panel's row per method, budgets side by side."""
    methods = [method.label for method in results.plan.methods]
    kind = _kind(results)
    colours = [
        PALETTE[place % len(PALETTE)] if kind is None else style(kind, method).colour
        for place, method in enumerate(methods)
    ]
    data = pd.DataFrame(told["ranks"])
    order = [row["method"] for row in told["ranks"] if row["budget"] == results.plan.budgets[-1]]
    budgets = [str(budget) for budget in results.plan.budgets]
    data["budget"] = data["budget"].astype(str)
    base = alt.Chart(data, title=f"{results.plan.name}: mean ranks, 95 % intervals").encode(
        y=alt.Y("method:N", sort=order, title=None),
        yOffset=alt.YOffset("budget:N", sort=budgets),
        color=alt.Color("method:N", scale=alt.Scale(domain=methods, range=colours), legend=None),
    )
    line = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title="mean rank (lower is better)", scale=alt.Scale(zero=False)),
        x2="high:Q",
    )
    point = base.mark_point(filled=True, size=60, opacity=1).encode(
        x="mean_rank:Q", shape=alt.Shape("budget:N", sort=budgets, title="budget")
    )
    layered = cast(alt.LayerChart, alt.layer(line, point))
    return layered.properties(width=560, height=alt.Step(14))
