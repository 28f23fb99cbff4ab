"""The frame around every picture: title, how to read it, the picture, its data, its downloads."""

import io
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
from altair import TopLevelMixin
from altair.utils import schemapi

from dashboards.theme import PRINT
from dashboards.words import plain

_RENDERING = threading.Lock()  # one picture at a time, so that memory stays bounded
_ALTAIR = threading.Lock()  # how Altair hands over data is one setting for all threads
schemapi.disable_debug_mode()  # checking every part takes half of a refresh; tests do it
ZOOM_HELP = "Drag to move, Shift and wheel to zoom, double-click for the whole."


@dataclass(frozen=True)
class Card:
    """A picture that can be drawn.

    Attributes:
        title: of a download; the run's name included.
        reading: one line on how to read it.
        alt: what it shows, with numbers, for those who cannot see it.
        data: what is drawn, one row a mark.
        chart: the picture, without a title of its own; several side by side as `alt.concat`; None
            where the data itself, as a table, is what is shown.
    """

    title: str
    reading: str
    alt: str
    data: pd.DataFrame
    chart: TopLevelMixin | None


class NotYet(Exception):
    """One sentence: which condition of a picture is not met."""


def draw(make: Callable[[], Card], *, key: str, title: str) -> None:
    """Draw a card in its frame; whatever `make` raises stays in there.

    Args:
        make: the card; called once.
        key: of the widgets, unique on the page.
        title: above the picture; needed before there is a card.
    """
    with st.container(border=True, key=f"card-{key}"):
        heading = st.empty()
        heading.markdown(f"**{plain(title)}**")
        try:
            card = make()
            if _zooms(card.chart):
                heading.markdown(f"**{plain(title)}**", help=ZOOM_HELP)
            st.caption(plain(card.reading, 1000))
            _show(card, key)
            _row(card, key)
        except NotYet as missing:
            st.caption(f":material/hourglass_empty: {plain(missing, 1000)}")
        except Exception as error:  # noqa: BLE001 - one broken picture leaves the page whole
            told = plain(f"{type(error).__name__}: {error}", 500)
            st.error(f"This picture cannot be drawn. {told}", icon=":material/error:")


def panels(chart: TopLevelMixin) -> list[Any]:
    """The charts that are drawn side by side; each as wide as the page gives it."""
    parts: list[Any] = chart.concat if isinstance(chart, alt.ConcatChart) else [chart]
    shown: list[Any] = []
    for part in parts:
        panel = part.copy(deep=False)
        if isinstance(chart, alt.ConcatChart) and panel.data is alt.Undefined:
            panel.data = chart.data  # what all panels share, Altair moves to the whole
        # As wide as the page allows, axes included; heights are those of the plot, without them.
        fit = alt.AutoSizeParams(type="fit-x", contains="padding")
        shown.append(panel.properties(autosize=fit, padding={"bottom": 4}))
    return shown


def _zooms(chart: TopLevelMixin | None) -> bool:
    params: Any = getattr(chart, "params", alt.Undefined)
    return params is not alt.Undefined and any(str(each.name) == "zoom" for each in params)


def printable(card: Card) -> dict[str, Any]:
    """The specification of a downloaded picture: on white, with its title and how to read it."""
    assert card.chart is not None
    wide = alt.Title(card.title, subtitle=_lines(card.reading, 115))
    spec: dict[str, Any] = card.chart.properties(title=wide).to_dict()  # pyright: ignore
    spec["config"] = PRINT | {"customFormatTypes": True}
    _set_width(spec, 640)
    return spec


def _show(card: Card, key: str) -> None:
    if card.chart is None:
        st.dataframe(card.data, hide_index=True, key=f"{key}-table", alt=card.alt)
        return
    shown = panels(card.chart)
    if len(shown) == 1:
        st.vega_lite_chart(_spec(shown[0]), width="stretch", key=f"{key}-chart", alt=card.alt)
        return
    with st.grid(min(3, len(shown)), min_column_width=190):
        for position, panel in enumerate(shown):
            name = f"{card.alt} (part {position + 1} of {len(shown)})"
            st.vega_lite_chart(
                _spec(panel), width="stretch", key=f"{key}-chart-{position}", alt=name
            )


def _spec(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The specification of a chart, its data beside it as frames.

    As `st.altair_chart` makes it, but without checking it against the schema at every refresh.
    """
    frames: list[Any] = []

    def aside(data: Any) -> dict[str, str]:
        known = [frame is data for frame in frames]  # layers that share a frame send it once
        if not any(known):
            frames.append(data)
            known.append(True)
        return {"name": f"data-{known.index(True)}"}

    with _ALTAIR:
        alt.data_transformers.register("aside", aside)
        with alt.data_transformers.enable("aside"), alt.theme.enable("none"):
            spec: dict[str, Any] = chart.to_dict(validate=False)  # pyright: ignore
    named = {f"data-{index}": frame for index, frame in enumerate(frames)}
    return spec | {"datasets": {**spec.get("datasets", {}), **named}}


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
