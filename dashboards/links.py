"""What a URL can say, read with care: anything may stand there."""

from collections.abc import Collection, Sequence

MOST_COMPARED = 60
LONGEST = 20_000


def runs(values: Sequence[str], known: Collection[str]) -> tuple[list[str], list[str]]:
    """Ids out of `runs=a,b,c` or `runs=a&runs=b`: those that exist, and those that do not.

    The name of a study by hand may have commas of its own.
    """
    parts = [part for text in values for part in _parts(text[:LONGEST], known)]
    asked = dict.fromkeys(part for part in parts if part)
    found = [name for name in asked if name in known]
    return found[:MOST_COMPARED], [name for name in asked if name not in known]


def _parts(text: str, known: Collection[str]) -> list[str]:
    return [text] if text in known else [part.strip() for part in text.split(",")]


def group_name(kind: str, problem: str) -> str:
    """A group of runs as the URL calls it."""
    return f"{kind} {problem}"


def group(text: str | None, known: Collection[tuple[str, str]]) -> tuple[str, str] | None:
    """Kind and problem out of `group=bo branin`, or None where no run is of it."""
    kind, _, problem = (text or "").partition(" ")
    return (kind, problem) if (kind, problem) in known else None


def last(text: str | None) -> int | None:
    """How many records `last 50` shows; None for all, and for anything else."""
    word, _, number = (text or "").partition(" ")
    if word != "last" or not number.isascii() or not number.isdecimal() or len(number) > 6:
        return None
    return int(number) or None


def step(text: str | None) -> int | None:
    """A trial's number, or None."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 9:
        return None
    return int(text)
