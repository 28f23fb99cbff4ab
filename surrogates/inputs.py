"""What each column of an input matrix means, as told to a surrogate."""

import dataclasses
from typing import Literal

from surrogates.errors import DataError

Kind = Literal["real", "ordinal", "category"]


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of `X`, in the unit cube.

    Attributes:
        kind: `real` (any value), `ordinal` (a finite ordered set) or `category` (0 or 1: one
            indicator of a group of one-hot columns).
        group: number of the parameter that made the column; the one-hot columns of one choice
            share it. The indicator of a conditional parameter, whether it is active, is an
            `ordinal` of two levels with a group of its own.
        levels: number of values that the parameter can take; 0 for a real one.
    """

    kind: Kind
    group: int
    levels: int = 0


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The columns of an input matrix `X` with shape (n, d)."""

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not self.columns:
            raise DataError("expected at least one input column, got none; add a free parameter")

    @staticmethod
    def reals(d: int) -> "Inputs":
        """`d` real columns."""
        return Inputs(tuple(Column("real", index) for index in range(d)))

    @property
    def d(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @property
    def groups(self) -> tuple[int, ...]:
        """Per column, the position of its parameter among those that have columns: 0, 1, ..."""
        order = list(dict.fromkeys(column.group for column in self.columns))
        return tuple(order.index(column.group) for column in self.columns)

    @property
    def discrete(self) -> tuple[int, ...]:
        """Indices of the columns that are not real."""
        return tuple(i for i, column in enumerate(self.columns) if column.kind != "real")

    @property
    def numeric(self) -> tuple[int, ...]:
        """Indices of the columns with more than two values: real, or ordinal of more levels."""
        columns = enumerate(self.columns)
        return tuple(
            i for i, c in columns if c.kind == "real" or (c.kind == "ordinal" and c.levels > 2)
        )
