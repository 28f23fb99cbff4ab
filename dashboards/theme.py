"""Colours with fixed roles, readable on light and dark pages and by the colour-blind.

Methods have their own colours, from `apps.curves.style`. The palettes here are also those of
`.streamlit/config.toml`, which sets the rest of the theme; a test keeps the two alike.
"""

from typing import Any

from apps.curves import PALETTE

CATEGORICAL = PALETTE

# Viridis. Low is dark and high is bright in both themes: a value keeps its colour.
SEQUENTIAL = (
    "#440154",
    "#482878",
    "#3E4A89",
    "#31688E",
    "#26828E",
    "#1F9E89",
    "#35B779",
    "#6DCD59",
    "#B4DE2C",
    "#FDE725",
)

# The middle of it, for dots and lines, which must be seen on white and on black.
SEQUENTIAL_MARKS = ("#41609E", "#2F7F8E", "#24A884", "#5FBF5A", "#A5C72C")

BELIEF = "#1F83C4"  # what a model expects
NEXT = "#D55E00"  # what will be tried next
BEST = "#009E73"  # the best so far
WANTED = "#CC79A7"  # acquisition
FAILED = "#D55E00"
DATA = "#808A96"  # measurements, rules and other neutral marks: seen on white and on black

# The look of a downloaded picture, which has no page around it.
PRINT: dict[str, Any] = {
    "background": "white",
    "font": "sans-serif",
    "title": {
        "anchor": "start",
        "fontSize": 16,
        "subtitleFontSize": 12,
        "subtitleColor": "#4B5563",
        "subtitlePadding": 4,
        "offset": 12,
    },
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": "#E5E7EB",
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "titlePadding": 8,
        "labelOverlap": True,
    },
    "legend": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"},
    "range": {"category": list(CATEGORICAL), "ramp": list(SEQUENTIAL), "heatmap": list(SEQUENTIAL)},
    "view": {"stroke": None},
}
