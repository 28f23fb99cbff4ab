"""What the model believes over two parameters: what it expects, how sure it is, what it wants."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from apps.curves import better
from dashboards.cards import marks
from dashboards.cards.beliefs import (
    belief_of,
    known_trials,
    light_of,
    nearness,
    spread,
    wanted_ends,
)
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import beside, layer
from dashboards.data import RunData
from dashboards.theme import NEXT, SEQUENTIAL
from dashboards.thin import thin
from dashboards.words import number

SIZE = 250


def card(data: RunData) -> Card:
    """Mean, standard deviation and acquisition as maps, with the trials.

    Raises:
        NotYet: no belief yet, or a problem with one parameter.
    """
    goal, direction = marks.goal_of(data)
    belief = belief_of(data)
    found = belief.get("map")
    if not found:
        raise NotYet("A map needs two free parameters; the slice shows all there is.")
    axes = [_Axis(found[c], found[f"{c}_at"], data.parameters.get(found[c], {})) for c in "xy"]
    grid = _grid(found, axes)
    dots = _dots(data, belief, axes)
    specials = _specials(belief, axes)
    wanted, cut = wanted_ends(belief, grid["acquisition"])
    expected_ends, sure_ends, far = _known_ends(grid, dots)
    panels = [
        _panel(grid, dots, specials, axes, field, title, ends)
        for field, title, ends in (
            ("mean", f"Expected {marks.shorten(goal, 24)} ({better(direction)})", expected_ends),
            ("std", "Uncertainty (standard deviation)", sure_ends),
            ("acquisition", "Wanted (higher: sooner)", wanted),
        )
    ]
    through = " Other parameters are those of the best point." if _others(data, found) else ""
    following = belief["next"]
    expected = "" if following.get("mean") is None else f"; {number(following['mean'])} expected"
    either = "" if following.get("std") is None else f" ± {number(2 * following['std'])}"
    bottom = " The third map is cut off at its darkest." if cut else ""
    bottom += " Colours end where a map is far from all that is known." if far else ""
    told = grid[["x", "y", "mean", "std", "acquisition"]]
    return Card(
        title=f"Belief over {axes[0].name} and {axes[1].name}: {marks.name_of(data)}",
        reading="Bright is high on each map. Dots: trials, fainter the farther from this plane."
        f" Diamond: the best so far. Cross: the point it tries next.{through}{bottom}",
        alt=f"Belief over {axes[0].name} and {axes[1].name} after"
        f" {marks.counted(len(dots), 'trial')}{expected}{either} at the next point.",
        data=told.rename(columns={"x": f"{axes[0].name} (x)", "y": f"{axes[1].name} (y)"}),
        chart=beside(*panels),
        light=light_of(belief),
    )


class _Axis:
    """One side of the map: its cells, and the scale on which they are even."""

    def __init__(self, name: str, at: list[Any], table: Mapping[str, Any]) -> None:
        self.name = name
        self.kind = marks.scale_of(table)
        whole = {"tickMinStep": 1} if table.get("type") == "integer" else {}
        self.ticks: dict[str, Any] = {"grid": False, "tickCount": 5, **whole}
        self.at = [marks.level(v) for v in at] if self.kind == "levels" else at
        if self.kind != "levels":
            self.edges = _edges(np.asarray(at, dtype=float), log=self.kind == "log")

    def place(self, value: Any) -> Any:
        """A setting as it is drawn."""
        return marks.level(value) if self.kind == "levels" else value

    def encoded(self, channel: type[Any], field: str) -> Any:
        title = marks.shorten(self.name, 40)
        if self.kind == "levels":
            order = list(reversed(self.at)) if channel is alt.Y else self.at
            return channel(f"{field}:N", title=title, sort=order)
        ends = [float(self.edges[0]), float(self.edges[-1])]
        scale = alt.Scale(type="log" if self.kind == "log" else "linear", nice=False, domain=ends)
        return channel(
            f"{field}:Q",
            title=title,
            scale=scale,
            axis=alt.Axis(**self.ticks),
        )


def _edges(at: np.ndarray, *, log: bool) -> np.ndarray:
    """Borders of the cells around values in order; the outermost cells end at their values."""
    even = np.log(at) if log else at
    middles = (even[1:] + even[:-1]) / 2
    borders = np.concatenate([even[:1], middles, even[-1:]])
    return np.exp(borders) if log else borders


def _grid(found: Mapping[str, Any], axes: list[_Axis]) -> pd.DataFrame:
    """One row a cell; the first axis varies fastest."""
    x, y = axes
    columns = np.tile(np.arange(len(x.at)), len(y.at))
    rows = np.repeat(np.arange(len(y.at)), len(x.at))
    frame = pd.DataFrame({"x": [x.at[i] for i in columns], "y": [y.at[i] for i in rows]})
    for axis, index, name in ((x, columns, "x"), (y, rows, "y")):
        if axis.kind != "levels":
            low, high = axis.edges[index], axis.edges[index + 1]
            # Cells reach a little under their neighbours, so that no hairline shows between them.
            frame[f"{name}_low"], frame[f"{name}_high"] = low, high + 0.1 * (high - low)
    for name in ("mean", "std", "acquisition"):
        frame[name] = marks.numbers(pd.Series(found[name], dtype=object))
    return frame


def _dots(data: RunData, belief: Mapping[str, Any], axes: list[_Axis]) -> pd.DataFrame:
    trials = known_trials(data, belief)
    names = {axis.name for axis in axes}
    frame = trials[["trial", "value"]].assign(
        near=nearness(data, trials, belief.get("incumbent") or {}, names)
    )
    for axis, channel in zip(axes, "xy", strict=True):
        values = trials.get(f"p.{axis.name}", pd.Series(np.nan, index=trials.index))
        frame[channel] = [axis.place(value) for value in values]
    return thin(frame, "trial", ["value", "near"], 600)


def _specials(belief: Mapping[str, Any], axes: list[_Axis]) -> pd.DataFrame:
    """The best point so far and the next one."""
    rows: list[dict[str, Any]] = []
    places = (
        ("best so far", belief.get("incumbent"), belief.get("incumbent_value")),
        ("next", belief["next"]["parameters"], belief["next"].get("mean")),
    )
    for what, point, value in places:
        if point and all(axis.name in point for axis in axes):
            x, y = (axis.place(point[axis.name]) for axis in axes)
            rows.append({"what": what, "x": x, "y": y, "value": value})
    return pd.DataFrame(rows, columns=["what", "x", "y", "value"])


def _panel(
    grid: pd.DataFrame,
    dots: pd.DataFrame,
    specials: pd.DataFrame,
    axes: list[_Axis],
    field: str,
    title: str,
    ends: list[float],
) -> Any:
    x, y = axes
    kinds = ["nominal" if axis.kind == "levels" else "quantitative" for axis in axes]
    told = [
        marks.tip("x", "x", kinds[0]),
        marks.tip("y", "y", kinds[1]),
        marks.tip("mean", "expected"),
        marks.tip("std", "standard deviation"),
        marks.tip("acquisition", "acquisition"),
    ]
    scale = alt.Scale(range=list(SEQUENTIAL), domain=ends, clamp=True)
    colour = alt.Color(
        f"{field}:Q",
        scale=scale,
        legend=alt.Legend(
            title=None,
            orient="bottom",
            direction="horizontal",
            gradientLength=180,
            tickCount=4,
        ),
    )
    cells: dict[str, Any] = {"color": colour, "tooltip": told}
    for axis, channel, encoding in ((x, "x", alt.X), (y, "y", alt.Y)):
        if axis.kind == "levels":
            cells[channel] = axis.encoded(encoding, channel)
        else:
            cells[channel] = axis.encoded(encoding, f"{channel}_low")
            second = alt.X2 if channel == "x" else alt.Y2
            cells[f"{channel}2"] = second(f"{channel}_high")
    tiles = alt.Chart(grid).mark_rect(clip=True).encode(**cells)
    at = {"x": x.encoded(alt.X, "x"), "y": y.encoded(alt.Y, "y")}
    points = (
        alt.Chart(dots)
        .mark_circle(size=30, color="white", stroke="black", strokeWidth=1)
        .encode(
            **at,
            opacity=alt.Opacity(
                "near:Q", scale=alt.Scale(domain=[0, 1], range=[0.15, 1]), legend=None
            ),
            tooltip=[marks.tip("trial", "trial"), marks.tip("value", "value")],
        )
    )
    special = alt.Chart(specials).encode(
        **at, tooltip=[marks.tip("what", "what", "nominal"), marks.tip("value", "value")]
    )
    best = special.transform_filter("datum.what == 'best so far'").mark_point(
        shape="diamond", size=170, filled=True, color="white", stroke="black", strokeWidth=1.5
    )
    following = special.transform_filter("datum.what == 'next'").mark_point(
        shape="cross", size=190, filled=True, color=NEXT, stroke="white", strokeWidth=1.5, opacity=1
    )
    heading = {"text": title, "fontSize": 13, "fontWeight": "normal", "offset": 8}
    return layer(tiles, points, best, following, height=SIZE, title=heading)


def _known_ends(grid: pd.DataFrame, dots: pd.DataFrame) -> tuple[list[float], list[float], bool]:
    """Of what is expected and of its uncertainty; and whether these go beyond.

    Both end one range of the known values beyond them, or they would hide all that is known.
    """
    mean, std, known = (frame.dropna() for frame in (grid["mean"], grid["std"], dots["value"]))
    ends = [[float(v.min()), float(v.max())] if len(v) else [0.0, 1.0] for v in (mean, std)]
    if len(known) < 2 or not known.max() > known.min():
        return spread(*ends[0]), spread(*ends[1]), False
    low, high = float(known.min()), float(known.max())
    reach = high - low
    kept = [[max(ends[0][0], low - reach), min(ends[0][1], high + reach)], list(ends[1])]
    kept[1][1] = min(ends[1][1], reach)
    if kept[0][0] > kept[0][1] or kept[1][0] > kept[1][1]:  # all of a map is beyond
        return spread(*ends[0]), spread(*ends[1]), False
    return spread(*kept[0]), spread(*kept[1]), kept != ends


def _others(data: RunData, found: Mapping[str, Any]) -> bool:
    free = [name for name, table in data.parameters.items() if table.get("type") != "fixed"]
    return bool(set(free) - {found["x"], found["y"]})
