"""Figures of runs, by Altair: best so far, cumulative regret, returns; as PNG and SVG files.

Many runs of one method become a median line with a band from the lower to the upper quartile.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

# Okabe & Ito's palette, told apart by the colour-blind too; a method keeps its colour in a figure.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
POINTS = 500


def bands(
    curves: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]],
    *,
    title: str,
    x: str,
    y: str,
    log: bool = False,
) -> alt.LayerChart:
    """Median and quartiles over runs, one colour per method.

    Args:
        curves: per method, one (steps, values) pair per run.
        title: of the figure.
        x: label of the steps.
        y: label of the values, with the direction that is better.
        log: draw the values on a log scale.
    """
    frames = [_quartiles(method, runs) for method, runs in curves.items() if runs]
    data = pd.concat(frames)
    methods = [method for method, runs in curves.items() if runs]
    color = alt.Color("method:N", scale=alt.Scale(domain=methods, range=list(PALETTE)), title=None)
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    most = max(len(runs) for runs in curves.values())
    told = alt.Title(title, subtitle=f"median and quartiles of {most} runs" if most > 1 else "")
    base = alt.Chart(data, title=told).encode(x=alt.X("step:Q", title=x), color=color)
    band = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title=y, scale=scale), y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=alt.Y("median:Q", title=y, scale=scale))
    return cast(alt.LayerChart, alt.layer(band, line)).properties(width=640, height=360)


def run_figure(run: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart | None:
    """The figure of one run, or None while there is nothing to draw."""
    curve = run_curve(run, rows)
    if len(curve[0]) == 0:
        return None
    labels = {"bo": "trial", "bandit": "round", "rl": "environment step"}
    title = f"{run['method']} on {run['problem']}"
    return bands({run["method"]: [curve]}, title=title, x=labels[run["kind"]], y=y_label(run))


def y_label(run: Mapping[str, Any]) -> str:
    """What a run's curve shows, and which way is better."""
    if run["kind"] == "bandit":
        return "cumulative regret (lower is better)"
    if run["kind"] == "rl":
        return "greedy return (higher is better)"
    direction, _, name = str(run["metrics"]["goal"]).partition(" ")
    better = "lower" if direction == "minimize" else "higher"
    return f"best {name} so far ({better} is better)"


def run_curve(
    run: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[float], list[float]]:
    """Steps and values of a run: best so far, regret (else reward), or evaluation return."""
    if run["kind"] == "bo":
        direction, _, name = str(run["metrics"]["goal"]).partition(" ")
        steps: list[float] = []
        values: list[float] = []
        for row in rows:
            if row["state"] == "complete":
                value = row.get(f"value.{name}", row.get(name))
                former = values[-1] if values else value
                values.append(min(former, value) if direction == "minimize" else max(former, value))
                steps.append(row["number"] + 1)
        return steps, values
    names = ("regret", "reward") if run["kind"] == "bandit" else ("evaluation", "return")
    for name in names:
        shown = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        if shown:
            return [step for step, _ in shown], [value for _, value in shown]
    return [], []


def save(chart: alt.LayerChart, path: Path) -> list[str]:
    """Write `path.png` and `path.svg`; returns their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    png, vector = path.with_suffix(".png"), path.with_suffix(".svg")
    png.write_bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=2))
    vector.write_text(svg(chart), encoding="utf-8")
    return [str(png), str(vector)]


def svg(chart: alt.LayerChart) -> str:
    """The figure as an SVG element."""
    return vl_convert.vegalite_to_svg(chart.to_dict())


def _quartiles(
    method: str, runs: Sequence[tuple[Sequence[float], Sequence[float]]]
) -> pd.DataFrame:
    grid = np.unique(np.concatenate([np.asarray(steps, dtype=float) for steps, _ in runs]))
    if len(grid) > POINTS:
        grid = grid[np.linspace(0, len(grid) - 1, POINTS).astype(int)]
    grid = grid[grid >= max(steps[0] for steps, _ in runs)]
    held = []
    for steps, values in runs:  # a run keeps its last value until its next step
        position = np.searchsorted(np.asarray(steps, dtype=float), grid, side="right") - 1
        held.append(np.asarray(values, dtype=float)[position])
    low, median, high = np.quantile(np.array(held), [0.25, 0.5, 0.75], axis=0)
    return pd.DataFrame(
        {"method": method, "step": grid, "low": low, "median": median, "high": high}
    )
