"""Charts put together: one over the other, one below the other, or side by side.

Altair does this too, but copies every part several times on the way, which took most of the time of
a refresh; here the parts are put together as specifications. A part is an Altair chart of one view,
or again a picture.
"""

import json
import threading
from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
import pandas as pd
from altair.utils import schemapi

_ALTAIR = threading.Lock()  # how Altair hands over data is one setting for all threads
schemapi.disable_debug_mode()  # every part is checked in the tests, not at every refresh

Spec = dict[str, Any]
Frames = list[pd.DataFrame]


class Picture:
    """Some charts as one.

    Args:
        how: `layer`, `vconcat` (below each other) or `concat` (side by side).
        parts: charts or pictures.
        properties: of the whole, by their names in Vega-Lite, such as `height`.
    """

    def __init__(
        self,
        how: Literal["layer", "vconcat", "concat"],
        parts: "Sequence[Part]",
        **properties: Any,
    ) -> None:
        self.how = how
        self.parts = list(parts)
        self.properties = properties


Part = alt.Chart | Picture


def layer(*parts: Part, **properties: Any) -> Picture:
    """Charts one over the other, the first at the bottom."""
    return Picture("layer", parts, **properties)


def below(*parts: Part) -> Picture:
    """Charts one below the other, along one x axis."""
    return Picture("vconcat", parts, spacing=4, resolve={"scale": {"x": "shared"}})


def beside(*parts: Part) -> Picture:
    """Charts side by side, each with its own colours."""
    return Picture("concat", parts, columns=3, resolve={"scale": {"color": "independent"}})


def whole(part: Part) -> Spec:
    """A whole specification of Vega-Lite, its data as named datasets of rows."""
    found, frames = spec_of(part)
    # As JSON has it: what is no finite number is null.
    rows = {
        name_of(index): json.loads(frame.to_json(orient="records", double_precision=15))
        for index, frame in enumerate(frames)
    }
    return {"$schema": alt.SCHEMA_URL, **found, "datasets": rows}


def spec_of(part: Part) -> tuple[Spec, Frames]:
    """A specification that names its data, and the data; frames that are shared come once."""
    frames: Frames = []

    def aside(data: Any) -> dict[str, str]:
        known = [frame is data for frame in frames]
        if not any(known):
            frames.append(data)
            known.append(True)
        return {"name": name_of(known.index(True))}

    with _ALTAIR:
        alt.data_transformers.register("aside", aside)
        with alt.data_transformers.enable("aside"), alt.theme.enable("none"):
            return _spec(part), frames


def name_of(index: int) -> str:
    """The name of a dataset by its place among the frames."""
    return f"data-{index}"


def _spec(part: Part) -> Spec:
    if isinstance(part, Picture):
        return {part.how: [_spec(each) for each in part.parts], **part.properties}
    found: Spec = part.to_dict(validate=False)
    for name in ("$schema", "config", "datasets"):
        found.pop(name, None)
    return found
