"""What the model believes along one parameter, and where it will look next.

Above: mean, band of two standard deviations, the trials, the best so far, the next point. Below,
on the same axis: how much each place is wanted (the acquisition).
"""

from collections.abc import Mapping
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from dashboards.cards import marks
from dashboards.cards.beliefs import belief_of, known_trials, light_of, nearness, wanted_ends
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import below, layer
from dashboards.data import RunData
from dashboards.theme import BELIEF, BEST, DATA, NEXT, WANTED
from dashboards.thin import thin
from dashboards.words import number

LOWER_HEIGHT = 100


def card(data: RunData, *, parameter: str | None = None) -> Card:
    """The belief along a parameter, through the best point so far.

    Args:
        data: of a bo run, with a posterior.
        parameter: a parameter with a slice; None takes the first.

    Raises:
        NotYet: no belief yet, or no slice along this parameter.
    """
    belief = belief_of(data)
    slices = {each["parameter"]: each for each in belief.get("slices") or []}
    if not slices:
        raise NotYet("This belief was kept without slices.")
    name = next(iter(slices)) if parameter is None else parameter
    if name not in slices:
        raise NotYet(f"There is no slice along {name}; choose one of: {', '.join(slices)}.")
    table = data.parameters.get(name, {})
    kind = marks.scale_of(table)
    curve = _curve(slices[name], kind)
    drawn = _drawn(slices[name], curve)
    dots = _dots(data, belief, name, kind)
    upcoming = _point(belief["next"]["parameters"].get(name), kind)
    best = _point((belief.get("incumbent") or {}).get(name), kind)
    title = marks.goal_title(data)
    x = _x(name, table, kind, [*curve["at"], *dots["at"]])
    ends, wide = _ends(curve, drawn, dots)
    upper = _upper(curve, drawn, dots, x, title, kind, ends, _end_names(slices[name]))
    if best is not None and belief.get("incumbent_value") is not None:
        upper.append(_diamond(x, best, belief["incumbent_value"]))
    if upcoming is not None:
        late = kind != "levels" and float((curve["at"] < upcoming).mean()) > 0.85
        upper += [_rule(x, upcoming, label="right" if late else "left")]
    wanted, cut = wanted_ends(belief, curve["acquisition"])
    lower = _lower(curve, x, kind, wanted)
    if upcoming is not None:
        lower.append(_rule(x, upcoming))
    chart = below(
        layer(*upper, height=marks.HEIGHT),
        layer(*lower, height=LOWER_HEIGHT),
    )
    several = len(slices) > 1 or len([t for t in data.parameters.values() if _free(t)]) > 1
    return Card(
        title=f"Belief along {name}: {marks.name_of(data)}",
        reading=_reading(belief, several, wide, cut, slices[name]),
        alt=_alt(belief, name, upcoming, len(dots)),
        data=_data(curve, drawn, dots, _end_names(slices[name])),
        chart=chart,
        light=light_of(belief),
    )


def _free(table: Mapping[str, Any]) -> bool:
    return table.get("type") != "fixed"


def _curve(found: Mapping[str, Any], kind: str) -> pd.DataFrame:
    at = [marks.level(v) for v in found["at"]] if kind == "levels" else found["at"]
    frame = pd.DataFrame({"at": at})
    for name in ("mean", "std", "acquisition"):
        frame[name] = marks.numbers(pd.Series(found[name], dtype=object))
    for name, step in (("low", -2), ("high", 2)):
        frame[name] = frame["mean"] + step * frame["std"]
        if found.get(name):
            frame[name] = marks.numbers(pd.Series(found[name], dtype=object))
    return frame


def _end_names(found: Mapping[str, Any]) -> tuple[str, str]:
    """Of the band: a mixture's is between quantiles of its own."""
    return ("band from", "band to") if found.get("low") else ("mean - 2 sd", "mean + 2 sd")


def _drawn(found: Mapping[str, Any], curve: pd.DataFrame) -> pd.DataFrame:
    """The mean of each of a few draws of hyperparameters, one below the other."""
    lines = [
        pd.DataFrame(
            {
                "at": curve["at"],
                "draw": draw + 1,
                "expected": marks.numbers(pd.Series(values, dtype=object)),
            }
        )
        for draw, values in enumerate(found.get("drawn") or [])
    ]
    return pd.concat(lines, ignore_index=True) if lines else pd.DataFrame()


def _dots(data: RunData, belief: Mapping[str, Any], name: str, kind: str) -> pd.DataFrame:
    trials = known_trials(data, belief)
    near = nearness(data, trials, belief.get("incumbent") or {}, {name})
    frame = trials[["trial", "value"]].assign(near=near)
    values = trials.get(f"p.{name}", pd.Series(np.nan, index=trials.index))
    frame["at"] = [marks.level(v) for v in values] if kind == "levels" else marks.numbers(values)
    frame = frame[frame["at"].notna() & values.notna()]
    return thin(frame, "trial", ["value", "near"])


def _point(value: Any, kind: str) -> Any:
    if value is None:
        return None
    return marks.level(value) if kind == "levels" else value


def _x(name: str, table: Mapping[str, Any], kind: str, shown: list[Any]) -> alt.X:
    title = marks.shorten(name, 60)
    if kind == "levels":
        order = marks.levels(table, shown)
        return alt.X("at:N", title=title, sort=order, scale=alt.Scale(domain=order)).axis(
            labelAngle=0 if len(order) <= 8 else -40
        )
    return alt.X(
        "at:Q",
        title=title,
        scale=alt.Scale(type="log" if kind == "log" else "linear", nice=False, zero=False),
    )


def _ends(
    curve: pd.DataFrame, drawn: pd.DataFrame, dots: pd.DataFrame
) -> tuple[list[float] | None, bool]:
    """What is shown of the band, and whether that is not all of it.

    Far from every trial it may be a thousand times as high as the means and the trials, which
    would lie flat beside it: it gets as much room as they have, above and below.
    """
    shown = pd.concat([curve["mean"], dots["value"]]).dropna()
    lines = drawn["expected"] if len(drawn) else curve["mean"]
    band = pd.concat([curve["low"], curve["high"], lines]).dropna()
    if not len(band) or shown.max() <= shown.min():
        return None, False
    room = shown.max() - shown.min()
    low, high = shown.min() - room, shown.max() + room
    wide = bool(band.min() < low or band.max() > high)
    inside = pd.concat([shown, band.clip(low, high)])
    return [float(inside.min()), float(inside.max())], wide


def _upper(
    curve: pd.DataFrame,
    drawn: pd.DataFrame,
    dots: pd.DataFrame,
    x: alt.X,
    title: str,
    kind: str,
    ends: list[float] | None,
    names: tuple[str, str],
) -> list[alt.Chart]:
    scale = alt.Scale(zero=False)
    if ends is not None:
        scale = alt.Scale(domain=ends, padding=6, clamp=True)
    y: dict[str, Any] = {"title": title, "scale": scale}
    told = [
        marks.tip("at", "setting", "nominal" if kind == "levels" else "quantitative"),
        marks.tip("mean", "expected"),
        marks.tip("low", names[0]),
        marks.tip("high", names[1]),
    ]
    base = alt.Chart(curve).encode(x=x.title(None), tooltip=told)
    if kind == "levels":
        band = base.mark_rule(color=BELIEF, strokeWidth=3, opacity=0.45)
        line = base.mark_point(color=BELIEF, shape="stroke", size=500, strokeWidth=3)
    else:
        band = base.mark_area(color=BELIEF, opacity=0.22)
        line = base.mark_line(color=BELIEF, strokeWidth=2.5)
    points = (
        alt.Chart(dots)
        .mark_circle(size=48, color=DATA, stroke=DATA, strokeWidth=1)
        .encode(
            x=x.title(None),
            y=alt.Y("value:Q", **y),
            opacity=alt.Opacity(
                "near:Q", scale=alt.Scale(domain=[0, 1], range=[0.15, 1]), legend=None
            ),
            tooltip=[
                marks.tip("trial", "trial"),
                marks.tip("at", "setting", "nominal" if kind == "levels" else "quantitative"),
                marks.tip("value", "value"),
            ],
        )
    )
    layers = [
        band.encode(y=alt.Y("low:Q", **y), y2=alt.Y2("high:Q")),
        line.encode(y=alt.Y("mean:Q", **y)),
    ]
    if kind != "levels":
        layers[0] = layers[0].add_params(marks.zoom("x"))
    if len(drawn):
        layers.insert(1, _lines(drawn, x, y, kind))
    return [*layers, points]


def _lines(drawn: pd.DataFrame, x: alt.X, y: Mapping[str, Any], kind: str) -> alt.Chart:
    """What each of a few draws of the hyperparameters would expect by itself."""
    base = alt.Chart(drawn).encode(
        x=x.title(None),
        y=alt.Y("expected:Q", **y),
        detail="draw:N",
        tooltip=[marks.tip("draw", "draw"), marks.tip("expected", "it expects")],
    )
    if kind == "levels":
        return base.mark_point(color=BELIEF, shape="stroke", size=160, strokeWidth=1, opacity=0.7)
    return base.mark_line(color=BELIEF, strokeWidth=1, opacity=0.65)


def _diamond(x: alt.X, at: Any, value: float) -> alt.Chart:
    return (
        alt.Chart(pd.DataFrame({"at": [at], "value": [value]}))
        .mark_point(
            shape="diamond", size=170, filled=True, color=BEST, stroke="white", strokeWidth=1.2
        )
        .encode(x=x.title(None), y=alt.Y("value:Q"), tooltip=[marks.tip("value", "best so far")])
    )


def _rule(x: alt.X, at: Any, *, label: Literal["left", "right"] | None = None) -> Any:
    """Where the next point is; a label on its right, or on its left near the right edge."""
    frame = pd.DataFrame({"at": [at], "text": ["next"]})
    base = alt.Chart(frame).encode(x=x.title(None) if label else x)
    rule = base.mark_rule(color=NEXT, strokeWidth=2, strokeDash=[5, 3])
    if not label:
        return rule
    dx = 5 if label == "left" else -5
    text = base.mark_text(color=NEXT, dx=dx, dy=8, align=label, fontSize=12, fontWeight="bold")
    return layer(rule, text.encode(text=alt.Text("text:N"), y=alt.YValue(0)))


def _lower(curve: pd.DataFrame, x: alt.X, kind: str, ends: list[float]) -> list[Any]:
    y = alt.Y(
        "acquisition:Q",
        title=["acquisition", "(higher: sooner)"],
        axis=alt.Axis(tickCount=3, titlePadding=24),
        scale=alt.Scale(domain=ends, nice=False, padding=6, clamp=True),
    )
    told = [
        marks.tip("at", "setting", "nominal" if kind == "levels" else "quantitative"),
        marks.tip("acquisition", "acquisition"),
    ]
    base = alt.Chart(curve).encode(x=x, y=y, tooltip=told)
    if kind == "levels":
        return [base.mark_point(color=WANTED, filled=True, size=90)]
    return [base.mark_line(color=WANTED, strokeWidth=2.5)]


def _reading(
    belief: Mapping[str, Any], several: bool, wide: bool, cut: bool, found: Mapping[str, Any]
) -> str:
    dots = "Dots: trials."
    if several:
        dots = (
            "The slice runs through the best point; dots are trials projected onto the axis,"
            " fainter the farther they are from the slice."
        )
    below = f"Below: how much each place is wanted ({belief.get('acquisition', 'acquisition')}"
    below += ", cut off at the bottom)." if cut else ")."
    band = "two standard deviations either way"
    lines = found.get("drawn") or []
    if found.get("low"):
        band = "the middle 95 %"
        if len(lines) != 1:  # one draw is the likeliest, not a draw
            band += " of the mixture of all draws of the hyperparameters"
    if wide:
        band += " (cut off where that is far more than all it knows)"
    if len(lines) > 1:
        band += (
            f". Thin lines: what {len(lines)} single draws expect; where they part, the doubt is"
            " about the hyperparameters"
        )
    return (
        f"Line and band: what the model expects, {band}. Diamond: the"
        f" best so far. Dashed: the next point. {dots} {below}"
    )


def _alt(belief: Mapping[str, Any], name: str, upcoming: Any, dots: int) -> str:
    text = f"Belief along {name} after {marks.counted(dots, 'trial')}"
    if belief.get("incumbent_value") is not None:
        text += f"; best so far {number(float(belief['incumbent_value']))}"
    following = belief["next"]
    if upcoming is not None and following.get("mean") is not None:
        told = number(float(following["mean"]))
        spread = "" if following.get("std") is None else f" ± {number(2 * following['std'])}"
        where = upcoming if isinstance(upcoming, str) else number(float(upcoming))
        text += f"; next at {where}, where {told}{spread} is expected"
    return f"{text}."


def _data(
    curve: pd.DataFrame, drawn: pd.DataFrame, dots: pd.DataFrame, names: tuple[str, str]
) -> pd.DataFrame:
    """Curve, single draws and trials in one table."""
    line = curve.rename(columns=dict(zip(("low", "high"), names, strict=True)))
    line.insert(0, "what", "belief")
    single = drawn.rename(columns={"expected": "mean"}).assign(what="single draw")
    trials = dots[["at", "trial", "value", "near"]].assign(what="trial")
    both = pd.concat([line, *[single] * (len(drawn) > 0), trials], ignore_index=True)
    return both.assign(at=both["at"].astype(str)) if both["at"].dtype == object else both
