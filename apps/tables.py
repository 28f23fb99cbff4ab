"""Objects and rows as text for the terminal, on standard output."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_STYLES = {"running": "cyan", "finished": "green", "failed": "red", "lost": "red"}
_MOST_OF_A_FRONT = 8


def number(value: Any, digits: int = 4) -> str:
    """A number with some significant digits; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def show_run(run: Mapping[str, Any]) -> None:
    """One run."""
    table = Table.grid(padding=(0, 2))
    for name in ("run_id", "name", "kind", "problem", "method", "seed"):
        table.add_row(name, escape("-" if run[name] is None else str(run[name])))
    table.add_row("state", _state(run["state"]))
    table.add_row("steps", f"{number(run['steps'])} of {number(run['budget'])}")
    table.add_row("score", f"{number(run['score'], 6)} (higher is better)")
    table.add_row("regret", number(run["regret"]))
    front = run["best"] if isinstance(run["best"], list) else [run["best"]] if run["best"] else []
    for place, best in enumerate(front[:_MOST_OF_A_FRONT]):
        told = f"trial {best['number']}: {_pairs(best['values'])}"
        table.add_row("" if place else "best", escape(told))
        table.add_row("", escape(_pairs(best["parameters"])))
    if len(front) > _MOST_OF_A_FRONT:
        table.add_row("", f"and {len(front) - _MOST_OF_A_FRONT} more of the front: wald export")
    if run["kind"] == "bo":
        counts = run["trials"]
        limits = str(run["metrics"].get("goal", "")).partition(" subject to ")[2]
        if limits and counts["complete"] and not front:
            table.add_row("best", escape(f"none: no trial keeps {limits}"))
        told = (
            f"{counts['complete']} complete, {counts['failed']} failed, {counts['pending']} pending"
        )
        table.add_row("trials", told)
        for reason, count in run.get("failures", {}).items():
            table.add_row("failed", escape(f"{count} of {counts['failed']}: {reason}"))
        others = counts["failed"] - sum(run.get("failures", {}).values())
        if others:
            table.add_row("failed", f"{others} of {counts['failed']}: other reasons (wald export)")
    table.add_row("seconds", f"{number(run['seconds'])} ({number(run['cpu_seconds'])} of CPU)")
    table.add_row("digest", str(run["digest"] or "-")[:16])
    numbers = dict(run["diagnostics"])
    note = numbers.pop("note", None)
    for group, told in (("metrics", run["metrics"]), ("diagnostics", numbers)):
        if told:
            table.add_row(group, escape(_pairs(told)))
    if note:
        table.add_row("note", escape(note))
    if run.get("error"):
        table.add_row("error", escape(run["error"]))
    _console().print(table)


def show_list(listed: Mapping[str, Any]) -> None:
    """Many runs."""
    rows = [
        {
            "run": run["run_id"],
            "name": _short(run["name"]) if run["name"] != run["run_id"] else "",
            "problem": _short(run["problem"] or "-"),
            "method": run["method"],
            "seed": str(run["seed"]),
            "state": run["state"],
            "steps": number(run["steps"]),
            "score": number(run["score"]),
            "regret": number(run["regret"]),
            "CPU s": number(run["cpu_seconds"], 3),
        }
        for run in listed["rows"]
    ]
    _draw(rows, drop=("seed", "CPU s", "regret", "steps", "name"))


def show_comparison(compared: Mapping[str, Any], title: str | None = None) -> None:
    """One row per problem and method."""
    rows = [
        {
            "problem": row["problem"] or "-",
            "method": row["method"],
            "runs": str(row["runs"]),
            "steps": number(row["steps"]),
            "mean score": number(row["mean"]),
            "95 % interval": _range(row["low"], row["high"]),
            "median": number(row["median"]),
            "quartiles": _range(row["q25"], row["q75"]),
            "median regret": number(row["regret"]),
            "CPU s": number(row["cpu_seconds"], 3),
        }
        for row in compared["rows"]
    ]
    _draw(rows, drop=("quartiles", "CPU s", "median", "steps", "median regret"), title=title)


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


def show_recipe(told: Mapping[str, Any]) -> None:
    """Its page, what was done, and what came out."""
    console = _console()
    console.print(Markdown(told["page"]))
    if "experiment" in told:
        show_experiment(told["experiment"])
        return
    for command in told["commands"]:
        console.print(command, soft_wrap=True, markup=False, highlight=False)
    show_run(told["study"])


def show_experiment(told: Mapping[str, Any]) -> None:
    """Medians per problem, ranks per budget, what did not finish, and where the files are."""
    if told.get("kind") == "regression":
        _show_regression(told)
        return
    rows = [
        {
            "problem": _short(row["problem"]),
            "budget": number(row["budget"]),
            "method": row["method"],
            "seeds": number(row["seeds"]),
            "of": row["measure"],
            "median": number(row["median"]),
            "quartiles": _range(row["q25"], row["q75"]),
            "ask CPU s": number(row["ask_cpu_seconds"], 2),
        }
        for row in told["table"]
    ]
    _draw(rows, drop=("ask CPU s", "of", "quartiles", "seeds"), title=told["experiment"])
    ranked = [
        {
            "budget": number(row["budget"]),
            "method": row["method"],
            "mean rank": number(row["mean_rank"], 3),
            "95 % interval": _range(row["low"], row["high"]),
        }
        for row in told["ranks"]
    ]
    _draw(ranked, drop=("95 % interval",), title="ranks")
    console = _console()
    for run in told["incomplete"]:
        why = f": {run['error']}" if run["error"] else ""
        console.print(escape(f"{run['run']} {run['state']}{why}"), soft_wrap=True)
    done = told["runs"] - len(told["incomplete"])
    console.print(
        f"{done} of {told['runs']} runs finished, {told['failed']} failed", soft_wrap=True
    )
    if told["files"]:
        console.print(escape(f"results: {told['out']}/RESULTS.md"), soft_wrap=True)


def _show_regression(told: Mapping[str, Any]) -> None:
    """Scores per set and method, what failed, and where the files are."""
    rows = [
        {
            "set": row["problem"],
            "method": row["method"],
            "splits": number(row["splits"]),
            "RMSE": number(row["rmse"]),
            "log-likelihood": number(row["loglik"]),
            "coverage": number(row["coverage95"], 3),
            "s": number(row["seconds"], 2),
        }
        for row in told["table"]
    ]
    _draw(rows, drop=("s", "coverage"), title=told["experiment"])
    console = _console()
    for failure in told["errors"]:
        console.print(escape(f"{failure['run']} failed: {failure['error']}"), soft_wrap=True)
    done = sum(row["splits"] for row in told["table"])
    console.print(
        f"{done} of {told['runs']} fits finished, {told['failed']} failed", soft_wrap=True
    )
    console.print(escape(f"results: {told['out']}/RESULTS.md"), soft_wrap=True)


def show_submitted(submitted: Mapping[str, Any]) -> None:
    """What was queued, and what runs it."""
    rows = submitted.get("rows", [submitted])
    console = _console()
    for row in rows:
        console.print(f"{row['run_id']} {row['state']}", soft_wrap=True)
    console.print("`wald up` runs what is queued, and shows it", soft_wrap=True)


def show_asked(asked: Mapping[str, Any]) -> None:
    """Points to evaluate, one line each."""
    for row in asked["rows"]:
        told = _exact(row["parameters"])
        _console().print(f"{row['number']}: {escape(told)}", soft_wrap=True)


def show_told(told: Mapping[str, Any]) -> None:
    """How a trial ended."""
    words = [f"trial {told['number']} {told['state']}"]
    words += [_exact(told["values"])] if told["values"] else []
    words += [told["reason"]] if told.get("reason") else []
    _console().print(escape(": ".join(words)), soft_wrap=True)


def show_up(told: Mapping[str, Any]) -> None:
    """Where the page is."""
    console = _console()
    if told["new"]:
        console.print(f"wald is up: {told['url']}", soft_wrap=True)
        console.print(
            f"store {told['store']}, {told['workers']} runs at once; Ctrl-C ends the page, not the "
            "runs",
            soft_wrap=True,
        )
    else:
        console.print(f"wald is up already: {told['url']} (store {told['store']})", soft_wrap=True)


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


def _draw(
    rows: Sequence[Mapping[str, str]], *, drop: Sequence[str], title: str | None = None
) -> None:
    """A table whose cells stay whole; where the terminal is narrow, columns of `drop` give way."""
    console = _console()
    columns = list(rows[0]) if rows else ["nothing yet"]
    for name in drop:
        wide = sum(
            max(len(name), *(len(row[name]) for row in rows)) + 2 for name in columns if rows
        )
        if wide > console.width:
            columns.remove(name)
    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1))
    for name in columns:
        table.add_column(name, no_wrap=True)
    for row in rows:
        cells = [Text(row[name], style=_STYLES.get(row[name], "")) for name in columns]
        table.add_row(*cells)
    console.print(table)


def _short(text: str, longest: int = 40) -> str:
    """A name that leaves room for the other columns."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{number(low)} to {number(high)}"


def _state(state: str) -> str:
    style = _STYLES.get(state, "yellow")
    return f"[{style}]{state}[/]"


def _exact(values: Mapping[str, Any]) -> str:
    """To be typed elsewhere, so nothing is rounded."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())
