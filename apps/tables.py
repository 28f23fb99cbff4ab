"""Objects and rows as text for the terminal, on standard output."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_STYLES = {"running": "cyan", "finished": "green", "failed": "red", "lost": "red"}


def number(value: Any, digits: int = 4) -> str:
    """A number with some significant digits; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def show_run(run: Mapping[str, Any]) -> None:
    """One run."""
    table = Table.grid(padding=(0, 2))
    for name in ("run_id", "name", "kind", "problem", "method", "seed"):
        table.add_row(name, escape(str(run[name])))
    table.add_row("state", _state(run["state"]))
    table.add_row("steps", f"{number(run['steps'])} of {number(run['budget'])}")
    table.add_row("score", f"{number(run['score'], 6)} (higher is better)")
    table.add_row("regret", number(run["regret"]))
    if run["best"]:
        table.add_row("best", f"trial {run['best']['number']}: {_pairs(run['best']['values'])}")
        table.add_row("", escape(_pairs(run["best"]["parameters"])))
    if run["kind"] == "bo":
        counts = run["trials"]
        told = (
            f"{counts['complete']} complete, {counts['failed']} failed, {counts['pending']} pending"
        )
        table.add_row("trials", told)
    table.add_row("seconds", f"{number(run['seconds'])} ({number(run['cpu_seconds'])} of CPU)")
    table.add_row("digest", str(run["digest"] or "-")[:16])
    for group in ("metrics", "diagnostics"):
        if run[group]:
            table.add_row(group, escape(_pairs(run[group])))
    if run.get("error"):
        table.add_row("error", escape(run["error"]))
    _console().print(table)


def show_list(listed: Mapping[str, Any]) -> None:
    """Many runs."""
    table = _table(
        "run",
        "name",
        "kind",
        "problem",
        "method",
        "seed",
        "state",
        "steps",
        "score",
        "regret",
        "CPU s",
    )
    for run in listed["rows"]:
        table.add_row(
            run["run_id"],
            escape(run["name"] if run["name"] != run["run_id"] else ""),
            run["kind"],
            escape(str(run["problem"] or "")),
            run["method"],
            str(run["seed"]),
            _state(run["state"]),
            number(run["steps"]),
            number(run["score"]),
            number(run["regret"]),
            number(run["cpu_seconds"], 3),
        )
    _console().print(table)


def show_comparison(compared: Mapping[str, Any], title: str | None = None) -> None:
    """One row per problem and method."""
    table = _table(
        "problem",
        "method",
        "runs",
        "steps",
        "mean score",
        "95 % interval",
        "median",
        "quartiles",
        "median regret",
        "CPU s",
        title=title,
    )
    for row in compared["rows"]:
        table.add_row(
            escape(str(row["problem"])),
            row["method"],
            str(row["runs"]),
            number(row["steps"]),
            number(row["mean"]),
            f"{number(row['low'])} to {number(row['high'])}" if row["low"] is not None else "-",
            number(row["median"]),
            f"{number(row['q25'])} to {number(row['q75'])}",
            number(row["regret"]),
            number(row["cpu_seconds"], 3),
        )
    _console().print(table)


def show_catalog(listed: Mapping[str, Any]) -> None:
    """Names; with the options where there are some."""
    table = _table("kind", "role", "name", "what it is")
    for row in listed["rows"]:
        table.add_row(row["kind"], row["role"], escape(row["name"]), escape(row["help"]))
    _console().print(table)
    for row in listed["rows"]:
        if row.get("options"):
            show_options(row["name"], row["options"])


def show_options(name: str, options: Sequence[Mapping[str, Any]]) -> None:
    """The options of one method or problem."""
    table = _table("option", "type", "default", "bounds", "what it is", title=f"options of {name}")
    for option in options:
        bounds = f"{number(option['low'])} to {number(option['high'])}"
        if option["choices"]:
            bounds = ", ".join(option["choices"])
        elif option["low"] is None and option["high"] is None:
            bounds = ""
        table.add_row(
            option["name"], option["type"], str(option["default"]), bounds, option["help"]
        )
    _console().print(table)


def show_doctor(examined: Mapping[str, Any]) -> None:
    """One line a finding."""
    styles = {"ok": "green", "absent": "yellow", "wrong": "red"}
    for row in examined["rows"]:
        fix = f"  -> {row['fix']}" if row["fix"] else ""
        status = f"[{styles[row['status']]}]{row['status']:7}[/]"
        _console().print(
            f"{status} {row['name']}: {escape(str(row['value']))}{escape(fix)}", highlight=False
        )


def show_tour(toured: Mapping[str, Any]) -> None:
    """What `wald demo` ends with."""
    for title, rows in toured["tables"].items():
        show_comparison({"rows": rows}, title=title)
    console = _console()
    for figure in toured["figures"]:
        console.print(f"figure: {figure}", soft_wrap=True)
    console.print(f"{toured['runs']} runs are in {toured['store']}: wald list", soft_wrap=True)


def show_line(told: Mapping[str, Any]) -> None:
    """A small mapping on one line."""
    _console().print(escape(_pairs(told)), soft_wrap=True)


def _console() -> Console:
    """Standard output; wide where it is no terminal, so that a file or a pipe gets whole lines."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _state(state: str) -> str:
    style = _STYLES.get(state, "yellow")
    return f"[{style}]{state}[/]"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())
