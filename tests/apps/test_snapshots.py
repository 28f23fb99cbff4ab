"""What a run keeps of its predictions: of a mixture, the place of the outcome decides."""

import pytest
from scipy.stats import norm

from apps.snapshots import _judged
from bo.mixtures import LEVELS


def test_a_prediction_with_quantiles_is_judged_by_the_place_of_the_outcome():
    # A long upper tail: 4 is a normal surprise of 1.96, though 4 standard deviations away.
    told = {"mean": 0.0, "std": 1.0, "quantiles": [-1.0, -0.6, -0.3, 0.0, 0.5, 1.5, 4.0]}
    mean, std, outcome = _judged(told, 4.0)
    assert outcome == 4.0
    assert (outcome - mean) / std == pytest.approx(norm.ppf(LEVELS[-1]))


def test_a_prediction_without_them_is_judged_by_mean_and_standard_deviation():
    assert _judged({"mean": 1.0, "std": 2.0}, 3.0) == (1.0, 2.0, 3.0)
