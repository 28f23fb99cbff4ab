"""At most so many points a line: per bucket of x the lowest, the highest and the last are kept.

So no spike is lost, however long the run. The first and the last point of all are kept too.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

POINTS = 1_000  # a picture is hardly a thousand pixels wide


def thin(
    frame: pd.DataFrame, x: str, ys: str | Sequence[str], points: int = POINTS
) -> pd.DataFrame:
    """The rows to draw, in order of x; all of them where there are no more than `points`.

    Args:
        frame: one row a point.
        x: column of numbers; a row without a finite one cannot be drawn and is dropped.
        ys: column or columns whose extremes are kept; values that are not finite have none.
        points: most rows of the result, at least 2 + 3 for each column of `ys`.

    Raises:
        ValueError: `points` is too small for one bucket.
    """
    columns = [ys] if isinstance(ys, str) else list(ys)
    if points < 2 + 3 * len(columns):
        raise ValueError(f"expected points of at least {2 + 3 * len(columns)}, got {points}")
    at = _numbers(frame[x])
    shown = np.flatnonzero(np.isfinite(at))
    order = shown[np.argsort(at[shown], kind="stable")]
    if len(order) <= points:
        return frame.iloc[order]
    at = at[order]
    buckets = (points - 2) // (3 * len(columns))
    share = (at - at[0]) / (at[-1] - at[0]) if at[-1] > at[0] else np.zeros(len(at))
    bucket = np.minimum((share * buckets).astype(int), buckets - 1)
    kept = [np.array([0, len(at) - 1])]
    for column in columns:
        kept += _extremes(_numbers(frame[column])[order], bucket)
    return frame.iloc[order[np.unique(np.concatenate(kept))]]


def _extremes(values: np.ndarray, bucket: np.ndarray) -> list[np.ndarray]:
    """Positions of the lowest, the highest and the last finite value of each bucket."""
    finite = np.flatnonzero(np.isfinite(values))
    if len(finite) == 0:
        return []
    by_value = finite[np.lexsort((values[finite], bucket[finite]))]
    starts = np.flatnonzero(np.diff(bucket[by_value], prepend=-1))
    ends = np.append(starts[1:], len(by_value)) - 1
    last = np.append(np.flatnonzero(np.diff(bucket[finite])), len(finite) - 1)
    return [by_value[starts], by_value[ends], finite[last]]


def _numbers(column: "pd.Series[float]") -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
