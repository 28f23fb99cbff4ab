"""A run written out: CSV (one row per trial or step), JSON, or a page with its figure."""

import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from apps.events import Event
from apps.store import Store
from apps.summary import find_object
from bo import metrics
from surrogates.errors import UsageError
from surrogates.options import unknown

_NO_PARAMETERS = ("candidates", "constraints")  # of what SPACE.toml names
FORMATS = ("csv", "json", "html")


def export(store: Store, name: str, format: str) -> str:
    """The text of a run in one of `FORMATS`. Raises `UsageError` for an unknown run or format."""
    if format not in FORMATS:
        raise UsageError(unknown("format", format, FORMATS))
    run = find_object(store, name)
    rows = steps(store, run)
    if format == "csv":
        return _csv(rows)
    notes = [
        e.payload["note"] for e in store.events(run["run_id"], kind="log") if "note" in e.payload
    ]
    if format == "json":
        return json.dumps({"run": run, "notes": notes, "rows": rows}, indent=1) + "\n"
    return _page(run, _drawn(store, run) if run["kind"] == "bo" else rows, notes)


def steps(store: Store, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One flat mapping per trial (bo) or recorded step (bandit, rl), in order."""
    if run["kind"] == "bo":
        name = _study_of(store, run)
        goals, trials = store.trials(name)
        study = store.study(name)
        if goals is None or study is None:
            return []
        parameters = [each for each in study["space"] if each not in _NO_PARAMETERS]
        return metrics.trial_rows(trials, parameters, goals.outcomes)
    return [flat(event) for event in store.events(run["run_id"], kind="metric")]


def _study_of(store: Store, run: Mapping[str, Any]) -> str:
    row = next((r for r in store.runs() if r.run_id == run["run_id"]), None)
    return run["name"] if row is None else row.study or run["name"]


def _drawn(store: Store, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the figure of a run is drawn from, whatever its parameters and outcomes are named."""
    _, trials = store.trials(_study_of(store, run))
    return [
        {"number": t.number, "state": t.state} | {f"value.{n}": v for n, v in t.values.items()}
        for t in trials
    ]


def flat(event: Event) -> dict[str, Any]:
    """Step and metrics; a list becomes one column per element."""
    row: dict[str, Any] = {"step": event.step}
    for name, value in event.payload.items():
        if isinstance(value, list):
            row |= {f"{name}.{index}": item for index, item in enumerate(value)}
        else:
            row[name] = value
    return row


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _page(run: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    from apps.figures import run_figure, svg

    facts = {
        name: run[name]
        for name in ("problem", "method", "seed", "state", "steps", "score", "regret", "digest")
    }
    cells = "".join(
        f"<tr><th>{k}</th><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items()
    )
    written = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    title = html.escape(f"{run['run_id']}: {run['method']} on {run['problem']}")
    figure = run_figure(run, rows)
    drawn = "<p>Nothing to draw yet.</p>" if figure is None else svg(figure)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:16px sans-serif;max-width:60rem;margin:2rem auto}"
        "th{text-align:left;padding-right:1rem}svg{max-width:100%}</style>"
        f"<h1>{title}</h1><table>{cells}</table>{written}{drawn}</html>\n"
    )
