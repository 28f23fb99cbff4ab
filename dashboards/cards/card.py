"""The frame around every picture: title, how to read it, the picture, its data, its downloads."""

import copy
import io
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from dashboards.cards.picture import Frames, Part, Picture, Spec, name_of, spec_of, whole
from dashboards.theme import PRINT
from dashboards.words import plain

MOST_KEPT = 48
_kept: dict[tuple[Any, ...], tuple["Card", "Panels"]] = {}
_MAKING = threading.RLock()
_RENDERING = threading.Lock()  # one picture at a time, so that memory stays bounded
MOST_NODES = 300  # marks of a card that a browser keeps one by one; with more it paints them
LIGHTS: dict[str, tuple[Any, str]] = {
    "green": ("green", ":material/check_circle:"),
    "amber": ("orange", ":material/warning:"),
    "red": ("red", ":material/dangerous:"),
}
ZOOM_HELP = "Drag to move, Shift and wheel to zoom, double-click for the whole."


@dataclass(frozen=True)
class Card:
    """A picture that can be drawn.

    Attributes:
        title: of a download; the run's name included.
        reading: one line on how to read it.
        alt: what it shows, with numbers, for those who cannot see it.
        data: what is drawn, one row a mark.
        chart: the picture, without a title of its own; several side by side as `beside`; None
            where the data itself, as a table, is what is shown.
        light: of a model whose draws may mislead: `green`, `amber` or `red`, and why.
    """

    title: str
    reading: str
    alt: str
    data: pd.DataFrame
    chart: Part | None
    light: tuple[str, str] | None = None


class NotYet(Exception):
    """One sentence: which condition of a picture is not met."""


Panels = list[tuple[Spec, Frames]]


Version = tuple[Any, ...] | None
"""What a picture is made from, in short: equal for equal pictures. None: it is made anew."""


def made(make: Callable[[], Card], key: str, version: Version) -> tuple[Card, Panels]:
    """A card with its panels; what has been made from the same version before is not made again.

    All readers share what is kept. Not `st.cache_resource`, which remembers every version for ever.
    """
    if version is None:
        return _make(make)
    with _MAKING:  # one at a time: of two readers, the second finds what the first has made
        found = _kept.pop((key, *version), None) or _make(make)
        _kept[(key, *version)] = found  # the latest at the end
        while len(_kept) > MOST_KEPT:
            del _kept[next(iter(_kept))]
    return found


def _make(make: Callable[[], Card]) -> tuple[Card, Panels]:
    card = make()
    return card, [] if card.chart is None else panels(card.chart)


def draw(make: Callable[[], Card], *, key: str, title: str, version: Version = None) -> None:
    """Draw a card in its frame; whatever `make` raises stays in there.

    Args:
        make: the card; called at most once.
        key: of the widgets, unique on the page.
        title: above the picture; needed before there is a card.
        version: what it is made from.
    """
    with st.container(border=True, key=f"card-{key}"):
        heading = st.empty()
        heading.markdown(f"**{plain(title)}**")
        try:
            card, shown = made(make, key, version)
            if any(_zooms(spec) for spec, _ in shown):
                heading.markdown(f"**{plain(title)}**", help=ZOOM_HELP)
            if card.light is not None:
                lit(*card.light, what="draws", small=True)
            st.caption(plain(card.reading, 1000))
            _show(card, shown, key)
            _row(card, key)
        except NotYet as missing:
            st.caption(f":material/hourglass_empty: {plain(missing, 1000)}")
        except Exception as error:  # noqa: BLE001 - one broken picture leaves the page whole
            told = plain(f"{type(error).__name__}: {error}", 500)
            st.error(f"This picture cannot be drawn. {told}", icon=":material/error:")


def lit(light: str, words: str, *, what: str, small: bool = False) -> None:
    """A light in words: what is judged, how, and why; small under the title of a picture."""
    colour, icon = LIGHTS.get(light, ("gray", ":material/help:"))
    if small:
        badge = f":{colour}-badge[{icon} {plain(what)} {plain(light)}]"
        st.markdown(f"{badge} :small[{plain(words, 1000)}]")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(f"{what} {light}", color=colour, icon=icon)
        st.markdown(plain(words, 1000), width="stretch")


def panels(chart: Part) -> Panels:
    """What is drawn side by side, each as wide as the page gives it: specification and data."""
    several = isinstance(chart, Picture) and chart.how == "concat"
    # As wide as the page allows, axes included; heights are those of the plot, without them.
    fit: Spec = {"autosize": {"type": "fit-x", "contains": "padding"}, "padding": {"bottom": 4}}
    found = [spec_of(part) for part in (chart.parts if several else [chart])]
    return [(spec | fit, frames) for spec, frames in found]


def _zooms(spec: Spec) -> bool:
    """Whether any view of a specification can be zoomed by hand."""
    views = [view for how in ("layer", "vconcat", "concat") for view in spec.get(how, [])]
    named = any(each.get("name") == "zoom" for each in spec.get("params", []))
    return named or any(map(_zooms, views))


def printable(card: Card) -> dict[str, Any]:
    """The specification of a downloaded picture: on white, with its title and how to read it."""
    assert card.chart is not None
    spec = _still(whole(card.chart))
    light = "" if card.light is None else f" Draws {card.light[0]}: {card.light[1]}"
    spec["title"] = {"text": card.title, "subtitle": _lines(card.reading + light, 115)}
    spec["config"] = PRINT | {"customFormatTypes": True}
    _set_width(spec, 640)
    return spec


def _still(spec: Spec) -> Spec:
    """The same without what a hand can do to it."""
    kept = {name: value for name, value in spec.items() if name != "params"}
    for how in ("layer", "vconcat", "concat"):
        if how in kept:
            kept[how] = [_still(view) for view in kept[how]]
    return kept


def _show(card: Card, shown: Panels, key: str) -> None:
    if not shown:
        st.dataframe(card.data, hide_index=True, key=f"{key}-table", alt=card.alt)
        return
    painted = sum(len(frame) for _, frames in shown for frame in frames) > MOST_NODES
    if len(shown) == 1:
        _draw(shown[0], card.alt, f"{key}-chart", painted=painted)
        return
    with st.grid(min(3, len(shown)), min_column_width=190):
        for position, panel in enumerate(shown):
            name = f"{card.alt} (part {position + 1} of {len(shown)})"
            _draw(panel, name, f"{key}-chart-{position}", painted=painted)


def _draw(panel: tuple[Spec, Frames], name: str, key: str, *, painted: bool) -> None:
    spec, frames = copy.deepcopy(panel[0]), panel[1]  # Streamlit takes what it is given apart
    named = {name_of(i): frame.reset_index(drop=True) for i, frame in enumerate(frames)}
    if painted:
        spec["usermeta"] = {"embedOptions": {"renderer": "canvas"}}
        spec["config"] = {"aria": False}  # no words for a mark that is no element; `alt` has them
    st.vega_lite_chart(spec | {"datasets": named}, width="stretch", key=key, alt=name)


def _row(card: Card, key: str) -> None:
    name = re.sub(r"[^A-Za-z0-9]+", "-", card.title).strip("-").lower()[:80] or "picture"
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        opened = card.chart is not None and st.toggle("Data", key=f"{key}-data")
        st.space("stretch")
        made: list[tuple[str, Callable[[], bytes], str]] = [("CSV", lambda: _csv(card), "text/csv")]
        if card.chart is not None:
            made.append(("PNG", lambda: _png(card), "image/png"))
            made.append(("SVG", lambda: _svg(card), "image/svg+xml"))
        for label, content, mime in made:
            st.download_button(
                label,
                content,
                f"{name}.{label.lower()}",
                mime,
                key=f"{key}-{label}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
                help=f"Download as {label}",
            )
    if opened:
        st.dataframe(card.data, hide_index=True, key=f"{key}-frame", alt=f"Data of {card.title}")


def _csv(card: Card) -> bytes:
    out = io.StringIO()
    card.data.to_csv(out, index=False)
    return out.getvalue().encode()


def _png(card: Card) -> bytes:
    import vl_convert  # a JavaScript engine, 70 MB: loaded by the first download of a picture

    with _RENDERING:
        return vl_convert.vegalite_to_png(printable(card), scale=2)


def _svg(card: Card) -> bytes:
    import vl_convert

    with _RENDERING:
        return vl_convert.vegalite_to_svg(printable(card)).encode()


def _set_width(spec: dict[str, Any], width: int) -> None:
    """A width for every view without one; panels side by side share it."""
    for part in spec.get("vconcat", []):
        _set_width(part, width)
    beside = spec.get("concat", [])
    for part in beside:
        _set_width(part, 260)
    if "mark" in spec or "layer" in spec:
        spec.setdefault("width", width)


def _lines(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
