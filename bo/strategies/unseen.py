"""Which rows of a pool have not been tried yet. No paper."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bo.space import Array, Parameters, Space


def unseen_indices(space: Space, seen: Iterable[Mapping[str, Any]]) -> NDArray[np.int64]:
    """Positions in `space.pool` of the rows that are not among the seen points."""
    pool = space.pool
    if pool is None:
        raise ValueError("expected a space with candidates, got one without")
    free = np.ones(len(pool.rows), dtype=bool)
    known = [pool.index.get(space.key(point), -1) for point in seen]
    free[[index for index in known if index >= 0]] = False
    return np.flatnonzero(free)


def nearest_unseen(
    space: Space, seen: Iterable[Mapping[str, Any]], columns: Array
) -> list[Parameters]:
    """For each row of `columns` (n, d) the nearest unseen row of the pool, each at most once.

    Returns fewer than n points only where the pool has no more unseen rows.
    """
    pool = space.pool
    if pool is None:
        raise ValueError("expected a space with candidates, got one without")
    left = unseen_indices(space, seen)
    chosen: list[Parameters] = []
    for target in columns[: len(left)]:
        nearest = int(np.argmin(((pool.columns[left] - target) ** 2).sum(axis=1)))
        chosen.append(pool.rows[left[nearest]])
        left = np.delete(left, nearest)
    return chosen
