"""Figures of runs, by Altair: best so far, cumulative regret, returns; as PNG and SVG files.

Many runs of one method become a median line with a band from the lower to the upper quartile.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import altair as alt
import pandas as pd

from apps.curves import PALETTE, Curve, Style, quartiles, run_curve, style, y_label

__all__ = ["bands", "run_curve", "run_figure", "save", "svg", "y_label"]

_COLOURS = 128


def bands(
    curves: Mapping[str, Sequence[Curve]],
    *,
    title: str,
    x: str,
    y: str,
    log: bool = False,
    kind: str | None = None,
) -> alt.LayerChart:
    """Median and quartiles over runs, one colour per method.

    Args:
        curves: per method, one (steps, values) pair per run.
        title: of the figure.
        x: label of the steps.
        y: label of the values, with the direction that is better.
        log: draw the values on a log scale.
        kind: of the runs: a method then has its colour of every figure; otherwise colours are
            handed out in order.
    """
    methods = [method for method, runs in curves.items() if runs]
    held = kind in (None, "bo")
    data = pd.concat([quartiles(method, curves[method], held=held) for method in methods])
    styles = [
        Style(PALETTE[place % len(PALETTE)], (1, 0)) if kind is None else style(kind, method)
        for place, method in enumerate(methods)
    ]
    colours = alt.Scale(domain=methods, range=[each.colour for each in styles])
    dashes = alt.Scale(domain=methods, range=[list(each.dash) for each in styles])
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    most = max(len(runs) for runs in curves.values())
    told = alt.Title(title, subtitle=f"median and quartiles of {most} runs" if most > 1 else "")
    base = alt.Chart(data, title=told).encode(
        x=alt.X("step:Q", title=x), color=alt.Color("method:N", scale=colours, title=None)
    )
    band = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title=y, scale=scale), y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("median:Q", title=y, scale=scale),
        strokeDash=alt.StrokeDash("method:N", scale=dashes, title=None),
    )
    return cast(alt.LayerChart, alt.layer(band, line)).properties(width=640, height=360)


def run_figure(run: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart | None:
    """The figure of one run, or None while there is nothing to draw."""
    curve = run_curve(run, rows)
    if len(curve[0]) == 0:
        return None
    labels = {"bo": "trial", "bandit": "round", "rl": "environment step"}
    title = f"{run['method']} on {run['problem']}"
    return bands(
        {run["method"]: [curve]},
        title=title,
        x=labels[run["kind"]],
        y=y_label(run),
        kind=run["kind"],
    )


def save(chart: alt.LayerChart, path: Path) -> list[str]:
    """Write `path.png` and `path.svg`; returns their names."""
    import vl_convert  # loads a browser's engine
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    png, vector = path.with_suffix(".png"), path.with_suffix(".svg")
    drawn = Image.open(io.BytesIO(vl_convert.vegalite_to_png(chart.to_dict(), scale=2)))
    drawn.convert("RGB").quantize(_COLOURS).save(png, optimize=True)  # a tenth of the size
    vector.write_text(svg(chart), encoding="utf-8")
    return [str(png), str(vector)]


def svg(chart: alt.LayerChart) -> str:
    """The figure as an SVG element."""
    import vl_convert

    return vl_convert.vegalite_to_svg(chart.to_dict())
