"""Regression sets with fixed splits, and the scores of a surrogate on them.

The sets are the UCI ones of Hernandez-Lobato & Adams (2015), "Probabilistic Backpropagation for
Scalable Learning of Bayesian Neural Networks", in the splits of Gal & Ghahramani (2016), "Dropout
as a Bayesian Approximation": 90 % to train on. They are read from `uci/NAME/` of `$WALD_DATA`, a
folder with `data.txt` (or `.gz`), numbers in columns, and `splits.npz`, which holds `test_mask`
(rows, splits), `features` and `target` (column numbers).

Departs from the protocol: inputs are scaled to the unit cube by the training rows, which is what a
surrogate takes, instead of to unit variance.
"""

import dataclasses
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from botorch.models.model import Model
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import DataError, UsageError
from surrogates.options import unknown

Array = NDArray[np.float64]

SPLITS = ("gal", "half")
_LEVELS = np.linspace(0.05, 0.95, 19)
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Split:
    """A part to learn from and one to be asked about; outcomes are in the set's own units.

    Attributes:
        train_X: (n, d) in the unit cube.
        train_Y: (n, 1).
        test_X: (m, d), scaled as the former: a few may lie outside the cube.
        test_Y: (m, 1).
    """

    train_X: Tensor
    train_Y: Tensor
    test_X: Tensor
    test_Y: Tensor

    @property
    def checksum(self) -> str:
        """Of all the numbers: eight hexadecimal digits."""
        told = hashlib.sha256()
        for each in (self.train_X, self.train_Y, self.test_X, self.test_Y):
            told.update(repr(tuple(each.shape)).encode() + each.cpu().numpy().tobytes())
        return told.hexdigest()[:8]


@dataclasses.dataclass(frozen=True)
class Scores:
    """How good predictions are.

    Attributes:
        rmse: root mean squared error of the predictive mean, in units of the outcome.
        loglik: mean log density of the outcomes, noise included.
        coverage95: share of the outcomes within the central interval of 95 %.
        calibration: mean distance between levels .05, .10, ... .95 and the share of outcomes below
            the predictive quantile of that level (Kuleshov, Fenner & Ermon 2018).
    """

    rmse: float
    loglik: float
    coverage95: float
    calibration: float


def names() -> list[str]:
    """The sets that are here. Raises `UsageError` where there is no folder of them."""
    folder = _folder()
    return sorted(each.name for each in folder.iterdir() if (each / "splits.npz").is_file())


def load(name: str, number: int, *, split: str = "gal", most: int = 0) -> Split:
    """One split of a set.

    Args:
        name: of the set, such as `concrete`.
        number: of the split, from 0.
        split: `gal`, one of those that come with the set; `half`, a random half to train on, by
            this number (Lalchand & Rasmussen 2020).
        most: rows to train on at most, the first of a random order by this number; 0 for all.

    Raises:
        UsageError: no such set, split or number.
        DataError: files that cannot be read.
    """
    folder = _folder() / name
    if not (folder / "splits.npz").is_file():
        raise UsageError(unknown("regression set", name, names()))
    if split not in SPLITS:
        raise UsageError(unknown("split", split, SPLITS))
    try:
        with np.load(folder / "splits.npz") as told:
            masks, features = told["test_mask"], told["features"]
            target = int(np.asarray(told["target"]).reshape(-1)[0])
        file = folder / "data.txt"
        rows = np.loadtxt(file if file.is_file() else folder / "data.txt.gz", dtype=np.float64)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"expected data.txt and splits.npz of a regression set in {folder}: {error}"
        ) from None
    if not (
        masks.shape[:1] == (len(rows),)
        and masks.ndim == 2
        and rows.ndim == 2
        and min(*features, target) >= 0
        and max(*features, target) < rows.shape[1]
    ):
        raise DataError(
            f"{folder} expected test_mask (rows, splits) of {len(rows)} rows, and features and "
            f"target among the columns 0 to {rows.shape[-1] - 1}, got {masks.shape}, "
            f"{list(features)} and {target}"
        )
    order = np.random.default_rng(number).permutation(len(rows))
    if split == "half":
        test = np.ones(len(rows), dtype=bool)
        test[order[: len(rows) // 2]] = False
    elif 0 <= number < masks.shape[1]:
        test = np.asarray(masks[:, number], dtype=bool)
    else:
        count = masks.shape[1]
        raise UsageError(
            f"{name} expected a split from 0 to {count - 1} ({count} splits), got {number}"
        )
    train = order[~test[order]]
    if not 0 < len(train) < len(rows):
        raise DataError(f"{name}, split {number}: expected rows to train on and others to test")
    train = train[: most or None]
    inputs, outcome = rows[:, features], torch.as_tensor(rows[:, [target]])
    low, high = inputs[train].min(axis=0), inputs[train].max(axis=0)
    unit = torch.as_tensor((inputs - low) / np.where(high > low, high - low, 1.0))
    return Split(unit[train], outcome[train], unit[test], outcome[test])


def scores(model: Model, test_X: Tensor, test_Y: Tensor) -> Scores:
    """Scores of a model's predictions, each outcome on its own.

    Args:
        model: of the contract; a mixture is taken as one, not by its moments.
        test_X: (m, d).
        test_Y: (m, 1).
    """
    means, variances = zip(*(_moments(model, part) for part in test_X.split(_CHUNK)), strict=True)
    mean, sd = torch.cat(means), torch.cat(variances).sqrt()  # (m, S)
    z = (test_Y - mean) / sd
    log_density = torch.distributions.Normal(mean, sd).log_prob(test_Y.expand_as(mean))
    loglik = torch.logsumexp(log_density, dim=1) - np.log(mean.shape[1])
    below = torch.special.ndtr(z).mean(dim=1).cpu().numpy()  # of the predictive distribution
    share = np.mean(below[:, None] <= _LEVELS, axis=0)
    return Scores(
        rmse=float((test_Y[:, 0] - mean.mean(dim=1)).square().mean().sqrt()),
        loglik=float(loglik.mean()),
        coverage95=float(np.mean((below > 0.025) & (below < 0.975))),
        calibration=float(np.mean(np.abs(share - _LEVELS))),
    )


def _moments(model: Model, X: Tensor) -> tuple[Tensor, Tensor]:
    """Means and variances (m, S) of outcomes with their noise; S is 1 where there is no mixture."""
    with torch.no_grad():
        posterior: Any = model.posterior(X.unsqueeze(1), observation_noise=True)
    mean, variance = posterior.mean, posterior.variance
    if isinstance(posterior, GaussianMixturePosterior):
        return mean[:, :, 0, 0], variance[:, :, 0, 0]
    return mean[:, :, 0], variance[:, :, 0]


def _folder() -> Path:
    told = os.environ.get("WALD_DATA", "")
    folder = Path(told) / "uci"
    if not told or not folder.is_dir():
        got = folder if told else "WALD_DATA not set"
        raise UsageError(
            f"expected a folder of regression sets, got {got}; set WALD_DATA to the folder that "
            "holds uci/"
        )
    return folder
