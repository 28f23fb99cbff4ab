"""Regression sets are split as told, and scores are those of the predictive distribution."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from surrogates import regression
from surrogates.errors import DataError, UsageError
from surrogates.gp import hmc, map as gp_map
from surrogates.inputs import Inputs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    rows = rng.uniform(-2.0, 5.0, (40, 4))
    rows[:, 2] = 7.0  # a column that never changes
    rows[:, 3] = np.sin(rows[:, 0]) + 0.1 * rng.standard_normal(40)
    there = tmp_path / "uci" / "waves"
    there.mkdir(parents=True)
    np.savetxt(there / "data.txt", rows)
    masks = np.zeros((40, 2), dtype=bool)
    masks[:4, 0] = masks[4:10, 1] = True
    np.savez(there / "splits.npz", test_mask=masks, features=[0, 1, 2], target=3)
    monkeypatch.setenv("WALD_DATA", str(tmp_path))
    return there, rows


def test_the_rows_of_a_mask_are_asked_about(folder):
    _, rows = folder
    split = regression.load("waves", 1)
    assert torch.equal(split.test_Y[:, 0], torch.as_tensor(rows[4:10, 3]))
    assert sorted(split.train_Y[:, 0].tolist()) == sorted(np.delete(rows[:, 3], range(4, 10)))


def test_inputs_are_scaled_by_the_training_rows(folder):
    split = regression.load("waves", 0)
    assert torch.equal(split.train_X[:, :2].amin(0), torch.zeros(2, dtype=torch.float64))
    assert torch.equal(split.train_X[:, :2].amax(0), torch.ones(2, dtype=torch.float64))
    assert torch.equal(split.train_X[:, 2], torch.zeros(36, dtype=torch.float64))


def test_halves_differ_and_fewer_rows_are_a_part_of_them(folder):
    first, second = (regression.load("waves", k, split="half") for k in (0, 1))
    assert len(first.train_X) == len(first.test_X) == 20
    assert not torch.equal(first.train_Y, second.train_Y)
    few = regression.load("waves", 0, split="half", most=7)
    assert torch.equal(few.train_Y, first.train_Y[:7])
    assert torch.equal(few.test_Y, first.test_Y)


def test_what_is_not_there_is_told(folder, monkeypatch):
    there, _ = folder
    with pytest.raises(UsageError, match="did you mean 'waves'"):
        regression.load("wave", 0)
    with pytest.raises(UsageError, match="split from 0 to 1 .2 splits., got 2"):
        regression.load("waves", 2)
    with pytest.raises(UsageError, match="known split, got 'gall'"):
        regression.load("waves", 0, split="gall")
    (there / "data.txt").write_text("1 2 x\n")
    with pytest.raises(DataError, match=r"expected data\.txt and splits\.npz"):
        regression.load("waves", 0)
    monkeypatch.delenv("WALD_DATA")
    with pytest.raises(UsageError, match="set WALD_DATA"):
        regression.load("waves", 0)


def _few(seed: int):
    generator = torch.Generator(device="cpu").manual_seed(seed)
    X = torch.rand(12, 1, generator=generator, dtype=torch.float64)
    Y = torch.sin(6.0 * X) + 3.0
    test_X = torch.rand(30, 1, generator=generator, dtype=torch.float64)
    test_Y = torch.sin(6.0 * test_X) + 3.0
    return (
        X,
        Y,
        test_X,
        test_Y + 0.1 * torch.randn(test_Y.shape, generator=generator, dtype=torch.float64),
    )


def test_scores_of_a_gaussian_prediction():
    X, Y, test_X, test_Y = _few(0)
    model = gp_map.fit(X, Y, inputs=Inputs.reals(1), options=gp_map.Options())
    told = regression.scores(model, test_X, test_Y)
    posterior = model.posterior(test_X.unsqueeze(1), observation_noise=True)
    mean = posterior.mean[:, 0, 0].detach().numpy()
    sd = posterior.variance[:, 0, 0].detach().sqrt().numpy()
    y = test_Y[:, 0].numpy()
    assert told.rmse == pytest.approx(math.sqrt(np.mean((y - mean) ** 2)), rel=1e-10)
    assert told.loglik == pytest.approx(norm.logpdf(y, mean, sd).mean(), rel=1e-10)
    assert told.coverage95 == np.mean(np.abs(y - mean) < norm.ppf(0.975) * sd)


def test_scores_of_a_mixture_are_not_those_of_its_moments():
    X, Y, test_X, test_Y = _few(1)
    options = hmc.Options(chains=4, draws=8, most_draws=8, kept=16)
    model = hmc.fit(X[:4], Y[:4], inputs=Inputs.reals(1), options=options)
    told = regression.scores(model, test_X, test_Y)
    posterior = model.posterior(test_X.unsqueeze(1), observation_noise=True)
    mean, sd = posterior.mean[:, :, 0, 0].numpy(), posterior.variance[:, :, 0, 0].sqrt().numpy()
    density = norm.pdf(test_Y.numpy(), mean, sd).mean(axis=1)
    assert told.loglik == pytest.approx(np.log(density).mean(), rel=1e-9)
    share = norm.cdf(test_Y.numpy(), mean, sd).mean(axis=1)
    assert told.coverage95 == np.mean((share > 0.025) & (share < 0.975))


def test_a_calibrated_prediction_is_near_its_levels():
    """Outcomes drawn from the model's own predictions."""
    X, Y, _, _ = _few(2)
    model = gp_map.fit(X, Y, inputs=Inputs.reals(1), options=gp_map.Options())
    generator = torch.Generator(device="cpu").manual_seed(5)
    test_X = torch.rand(4000, 1, generator=generator, dtype=torch.float64)
    posterior = model.posterior(test_X.unsqueeze(1), observation_noise=True)
    noise = torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    drawn = posterior.mean[:, 0].detach() + posterior.variance[:, 0].detach().sqrt() * noise
    told = regression.scores(model, test_X, drawn)
    assert told.calibration < 0.02
    assert abs(told.coverage95 - 0.95) < 0.015
    assert regression.scores(model, test_X, drawn + 1.0).calibration > 0.2


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"test_mask": np.zeros((39, 2), dtype=bool)}, "test_mask"),
        ({"test_mask": np.zeros(40, dtype=bool)}, "test_mask"),
        ({"features": [0, 7]}, "columns 0 to 3"),
        ({"test_mask": np.zeros((40, 2), dtype=bool)}, "rows to train on and others to test"),
        ({"test_mask": np.ones((40, 2), dtype=bool)}, "rows to train on and others to test"),
    ],
)
def test_a_file_of_splits_that_does_not_fit_is_refused(folder, told, message):
    there, _ = folder
    mask = np.zeros((40, 2), dtype=bool)
    mask[:4] = True
    np.savez(there / "splits.npz", **{"test_mask": mask, "features": [0, 1], "target": 3} | told)
    with pytest.raises(DataError, match=message):
        regression.load("waves", 0)
