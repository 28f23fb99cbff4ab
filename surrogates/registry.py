"""Reading the catalogs: rows of plain strings to named things that load when they are needed.

A catalog is a tuple of rows `(name, "module:factory", kind, capabilities, help)`. A name may hold
one placeholder: `ackley<d>` matches `ackley10`, `table:<file>` matches `table:mine.toml`. The
module of the factory also holds the `Options` of the row.
"""

import importlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from surrogates.errors import UsageError
from surrogates.options import unknown

_PLACEHOLDERS = {
    "<d>": r"[1-9][0-9]*",
    "<k>": r"[1-9][0-9]*",
    "<i>": r"[1-9][0-9]*",
    "<file>": r".+",
    "<seed>": r"[0-9]+",
    "<target>": r"(?s:.+)",  # a command may have several lines
}


class Row(NamedTuple):
    """One catalog row.

    Attributes:
        name: what users type; may hold one placeholder.
        factory: `module:attribute`, imported only when the row is used.
        kind: `surrogate`, `bo`, `bandit` or `rl`.
        capabilities: words that contract tests check.
        help: one line.
    """

    name: str
    factory: str
    kind: str
    capabilities: frozenset[str]
    help: str

    def matches(self, name: str) -> bool:
        """Whether a typed name means this row."""
        pattern = re.escape(self.name)
        for placeholder, expression in _PLACEHOLDERS.items():
            pattern = pattern.replace(re.escape(placeholder), expression)
        return re.fullmatch(pattern, name) is not None

    def load(self) -> Any:
        """Import the module and return the factory."""
        module, _, attribute = self.factory.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def options(self) -> type[Any]:
        """The `Options` class that stands beside the factory."""
        module, _, _ = self.factory.partition(":")
        return importlib.import_module(module).Options


def rows(raw: Iterable[Sequence[str]]) -> list[Row]:
    """The rows of a catalog. Raises `ValueError` where two rows share a name."""
    found = [Row(n, f, k, frozenset(c.split()), h) for n, f, k, c, h in raw]
    names = [(row.kind, row.name) for row in found]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"expected distinct catalog names, got {sorted(doubled)} more than once")
    return found


def find(name: str, among: Sequence[Row], *, what: str) -> Row:
    """The row that a typed name means.

    Args:
        name: what the user typed.
        among: the rows to look in.
        what: for the message: "bo method", "bandit problem", ...

    Raises:
        UsageError: no text, or no row matches; the nearest name is suggested.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{what} expected a name, got {name!r}")
    exact = [row for row in among if row.name == name and "<" not in row.name]
    matching = exact or [row for row in among if row.matches(name)]
    if not matching:
        raise UsageError(unknown(what, name, [row.name for row in among]))
    return matching[0]
