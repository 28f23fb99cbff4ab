"""How pages put numbers, times and states into words: three significant digits, "12 s ago"."""

import math
import re
from typing import Any, Literal

NOTHING = "–"
_WORDS = re.compile(r"(?!www\.)[^\W_]+(?:[_ .-][^\W_]+)*")
BADGES: dict[str, Literal["green", "blue", "gray", "red", "orange"]] = {
    "running": "green",
    "queued": "blue",
    "finished": "gray",
    "stopped": "orange",
    "interrupted": "orange",
    "lost": "red",
    "failed": "red",
}
"""The states, each with the colour of its badge."""
EXPLAINED = {
    "queued": "waits for a free worker",
    "running": "a process works on it and shows signs of life",
    "finished": "reached its budget",
    "failed": "ended by an error",
    "stopped": "ended because somebody asked it to",
    "interrupted": "ended by a signal, such as Ctrl-C; can be resumed",
    "lost": "its process is gone without a last word; can be resumed",
}
BY_HAND = {
    "running": "somebody tries what was asked, and has not told all of it yet",
    "stopped": "all that was asked is told; more can be asked at any time",
}
"""The same two of a study by hand, which no process drives."""
ICONS = {
    "queued": ":material/hourglass_empty:",
    "running": ":material/play_arrow:",
    "finished": ":material/check:",
    "failed": ":material/error:",
    "stopped": ":material/stop:",
    "interrupted": ":material/pause:",
    "lost": ":material/link_off:",
}


def number(value: Any) -> str:
    """Three significant digits; a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return NOTHING if value is None else str(value)
    if not math.isfinite(value):
        return NOTHING
    if isinstance(value, int) and abs(value) < 10**15:
        return f"{value:,}"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-3 <= size < 1e6:
        rounded = round(value, 2 - math.floor(math.log10(size)))
        decimals = max(0, 2 - math.floor(math.log10(abs(rounded))))
        return f"{rounded:,.{decimals}f}"
    return f"{value:.2e}"


def exact(value: Any) -> str:
    """All digits, as the command line and the CSV file have them."""
    return NOTHING if value is None else repr(value) if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """A length of time with its unit."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def ago(moment: float | None, now: float) -> str:
    """How long ago a time of the store was, which may come from another clock."""
    if moment is None or not math.isfinite(moment):
        return NOTHING
    if moment - now > 2:
        return f"{duration(moment - now)} ahead"
    seconds = max(0.0, now - moment)
    return "just now" if seconds < 1 else f"{_whole(seconds)} ago"


def size(bytes_: float | None) -> str:
    """Bytes with their unit."""
    if bytes_ is None:
        return NOTHING
    for unit in ("bytes", "kB", "MB", "GB"):
        if bytes_ < 1000 or unit == "GB":
            return f"{bytes_:.0f} {unit}" if bytes_ >= 10 else f"{bytes_:.2g} {unit}"
        bytes_ /= 1000
    return NOTHING


def plain(text: Any, longest: int = 300) -> str:
    """Text of a user or of an error, as one line that markdown leaves alone."""
    line = " ".join(str(text).split())
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    for link in ("://", "www."):  # an invisible joiner keeps an address from becoming a link
        line = line.replace(link, f"{link[0]}\u2060{link[1:]}")
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+-.!|$~:^" else c for c in line)


def label(text: str) -> str:
    """As `plain`; a name of mere words as it is, since labels of choices stand in addresses too."""
    return text if _WORDS.fullmatch(text) else plain(text)


def _whole(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 10 else duration(seconds)
