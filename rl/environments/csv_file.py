"""Any CSV file with a label column as a bandit: `csv:mushroom.csv.gz`. 1 for the right label.

A column is numeric where every cell that is not empty is a finite number: it is standardised, and
empty cells become the mean. Any other column is categorical: one 0/1 column per level, '?' and the
empty text being levels like others. Constant columns are left out. Contexts (b, K, d), K labels.

The file: comma-separated, UTF-8, a header in the first row, `.gz` allowed.
"""

import csv
import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rl.environments.classification import Classification
from surrogates.errors import UsageError
from surrogates.options import option, options, unknown

_MOST_LABELS = 200
_MOST_COLUMNS = 2000


@options
class Options:
    """Options of a CSV file."""

    label: str = option(default="", help="column of the label; empty: the last one")


def problem(name: str, options: Options, seed: int, device: torch.device) -> Classification:
    """The factory of the catalog; the data are the same under every seed.

    Raises:
        UsageError: no such file, a malformed one, no such column, labels that cannot be arms.
    """
    del seed
    path = Path(name.removeprefix("csv:"))
    header, cells = _read(path)
    label = options.label or header[-1]
    if label not in header:
        raise UsageError(unknown(f"column of {path}", label, header))
    columns = dict(zip(header, zip(*cells, strict=True), strict=True))
    arms, y = _labels(path, label, columns.pop(label))
    return Classification(
        name,
        torch.tensor(_encode(path, columns), device=device, dtype=torch.float64),
        torch.tensor(y, device=device, dtype=torch.int64),
        arms,
    )


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows, all of one length."""
    if not path.is_file():
        raise UsageError(f"expected a CSV file, got {path}, which does not exist; check the path")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = [row for row in csv.reader(file, strict=True) if row]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise UsageError(f"expected a readable CSV file, got {path}: {error}; mend it") from error
    if len(lines) < 3:
        raise UsageError(
            f"expected a header and at least two rows, got {len(lines)} lines in {path}; add rows"
        )
    header, *cells = lines
    doubled = sorted({column for column in header if header.count(column) > 1})
    if doubled:
        raise UsageError(f"expected distinct columns in {path}, got {doubled[0]!r} twice; rename")
    for number, row in enumerate(cells, start=1):
        if len(row) != len(header):
            raise UsageError(
                f"expected {len(header)} cells in each row of {path}, got {len(row)} in data row "
                f"{number}; mend the row or quote its commas"
            )
    return header, cells


def _labels(path: Path, label: str, texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Names of the arms and the right arm of each row."""
    if "" in texts:
        raise UsageError(
            f"expected a label in every row of {path}, got an empty {label!r} in data row "
            f"{texts.index('') + 1}; fill it in or remove the row"
        )
    arms = sorted(set(texts))
    if len(arms) > _MOST_LABELS:
        raise UsageError(
            f"expected at most {_MOST_LABELS} labels in column {label!r} of {path}, got "
            f"{len(arms)}; name a column of classes with the option label"
        )
    if len(arms) < 2:
        raise UsageError(
            f"expected at least 2 labels in column {label!r} of {path}, got only {arms[0]!r}; "
            "name another column with the option label"
        )
    index = {text: arm for arm, text in enumerate(arms)}
    return arms, [index[text] for text in texts]


def _encode(path: Path, columns: dict[str, tuple[str, ...]]) -> np.ndarray:
    """Standardised numbers and 0/1 columns, (n, d)."""
    encoded: list[np.ndarray] = []
    for column, texts in columns.items():
        numbers = _numbers(texts)
        if numbers is not None:
            std = numbers.std()
            if std > 0:
                encoded.append((numbers - numbers.mean()) / std)
            continue
        levels = sorted(set(texts))
        if len(encoded) + len(levels) > _MOST_COLUMNS:
            raise UsageError(
                f"expected at most {_MOST_COLUMNS} inputs, got more: column {column!r} of {path} "
                f"has {len(levels)} levels; remove it"
            )
        if len(levels) > 1:
            array = np.array(texts)
            encoded.extend((array == level).astype(np.float64) for level in levels)
    if not encoded:
        raise UsageError(
            f"expected a column that varies besides the label, got none in {path}; add inputs"
        )
    return np.stack(encoded, axis=1)


def _numbers(texts: Sequence[str]) -> np.ndarray | None:
    """The column as numbers, empty cells at the mean; None where it is not numeric."""
    try:
        values = [float(text) if text.strip() else math.nan for text in texts]
    except ValueError:
        return None
    array = np.array(values, dtype=np.float64)
    given = np.array([bool(text.strip()) for text in texts])
    if not given.any() or not np.isfinite(array[given]).all():
        return None
    return np.where(given, array, array[given].mean())
