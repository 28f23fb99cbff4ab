"""The closed-form GP against GPyTorch: log posterior, gradient, mode, predictions."""

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from botorch.acquisition import LogExpectedImprovement
from gpytorch.mlls import ExactMarginalLogLikelihood

from bo.acquisition.functions import Models, acquisition
from surrogates.gp import exact, map as map_gp
from surrogates.inputs import Column, Inputs

MIXED = Inputs(
    (
        Column("real", 0),
        Column("category", 1, 3),
        Column("category", 1, 3),
        Column("category", 1, 3),
    )
)


def data_of(
    n: int, d: int, seed: int, *, matern: bool = True, known: bool = False, warped=()
) -> exact.Data:
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    y = np.sin(5 * X[:, 0]) + X.sum(axis=1) ** 2 + 0.1 * rng.standard_normal(n)
    y = (y - y.mean()) / y.std(ddof=1)
    groups = np.minimum(np.arange(d), 2)  # columns from the third on share a length-scale
    noise = rng.uniform(0.01, 0.2, n) if known else None
    return exact.Data(X, y, groups, matern, noise, warped)


def theta_of(data: exact.Data, seed: int) -> np.ndarray:
    warps = np.random.default_rng(seed + 100).normal(0.0, 0.5, 2 * len(data.warped))
    drawn = np.random.default_rng(seed).normal(-0.5, 0.7, data.p + 2)
    return np.append(drawn[: data.p + 1 + (data.noise is None)], warps)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("matern", [False, True])
@pytest.mark.parametrize("warps", [False, True])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 5), (30, 4), (80, 2)])
def test_the_gradient_is_that_of_finite_differences(n, d, warps, matern, known):
    if n == 1:
        data = exact.Data(np.full((1, d), 0.3), np.zeros(1), np.zeros(d, dtype=np.int64), matern)
    else:
        warped = (0, d - 1) if warps else ()
        data = data_of(n, d, seed=n, matern=matern, known=known, warped=warped)
    for seed in range(3):
        theta = theta_of(data, seed)
        _, gradient, _ = exact.log_posterior(theta, data)
        for index, step in enumerate(1e-5 * np.eye(len(theta))):
            above, below = (exact.log_posterior(theta + s, data)[0] for s in (step, -step))
            assert gradient[index] == pytest.approx((above - below) / 2e-5, rel=1e-5, abs=1e-5)


def fitted(n: int, inputs: Inputs, seed: int, kernel: str = "matern52", warp=False) -> Any:
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n, inputs.d, generator=generator, dtype=torch.float64)
    if inputs is MIXED:
        level = torch.randint(3, (n,), generator=generator)
        X[:, 1:] = torch.nn.functional.one_hot(level, 3).double()
    Y = 100 + 7 * (torch.sin(6 * X[:, :1]) + X[:, 1:2])
    return map_gp.fit(X, Y, inputs=inputs, options=map_gp.Options(kernel=kernel, warp=warp))


@pytest.mark.parametrize("warp", [False, True])
@pytest.mark.parametrize("kernel", ["matern52", "rbf"])
@pytest.mark.parametrize("inputs", [Inputs.reals(2), MIXED], ids=["reals", "mixed"])
def test_the_log_posterior_is_that_of_gpytorch(inputs, kernel, warp):
    model = fitted(25, inputs, 3, kernel=kernel, warp=warp)
    model.train()
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    output = model(*model.train_inputs)
    told = cast(Any, mll(output, model.train_targets)).item() * 25
    assert model.diagnostics["log_posterior"] == pytest.approx(told, abs=1e-6)


@pytest.mark.parametrize("warp", [False, True])
@pytest.mark.parametrize("kernel", ["matern52", "rbf"])
@pytest.mark.parametrize("inputs", [Inputs.reals(2), MIXED], ids=["reals", "mixed"])
def test_predictions_are_those_of_the_model(inputs, kernel, warp):
    model = fitted(25, inputs, 5, kernel=kernel, warp=warp)
    predictor = model.predictor
    assert predictor is not None
    X = torch.rand(40, inputs.d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    posterior = model.posterior(X.unsqueeze(1))
    unit = float(model.outcome_transform.stdvs)
    mean, var = predictor.moments(X.numpy())
    centre = float(model.outcome_transform.means)
    assert np.allclose(
        centre + unit * mean[:, 0], posterior.mean.flatten().detach(), atol=1e-7 * unit
    )
    told = posterior.variance.flatten().detach().numpy()
    assert np.allclose(unit**2 * var, told, rtol=1e-4, atol=1e-8 * unit**2)
    for row, m, v in zip(X.numpy()[:5], mean, var, strict=False):
        at, spread, to_mean, to_var = predictor.moments_and_gradients(row)
        assert at[0] == pytest.approx(m[0], rel=1e-6, abs=1e-9)
        assert spread == pytest.approx(v, rel=1e-4, abs=1e-8)  # as above: it is a difference
        for index, step in enumerate(1e-5 * np.eye(inputs.d)):
            above, below = (predictor.moments((row + s)[None]) for s in (step, -step))
            assert to_mean[0, index] == pytest.approx((above[0] - below[0])[0, 0] / 2e-5, abs=1e-4)
            assert to_var[index] == pytest.approx((above[1] - below[1])[0] / 2e-5, abs=1e-4)


@pytest.mark.parametrize("change", ["observations", "hyperparameters"])
def test_moments_and_improvement_are_those_of_the_model_as_it_is_now(change: str) -> None:
    inputs, generator = Inputs.reals(2), torch.Generator().manual_seed(1)
    model = fitted(25, inputs, 5)
    X = torch.rand(20, 2, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        model.posterior(X)
    if change == "observations":
        best = torch.tensor([[200.0]], dtype=torch.float64, device="cpu")
        now = model.condition_on_observations(X[:1], best)
    else:
        now, other = fitted(25, inputs, 5, kernel="rbf"), fitted(25, inputs, 6, kernel="rbf")
        now.load_state_dict(other.state_dict())
        assert now.state == other.state
    with torch.no_grad():
        told = now.posterior(X.unsqueeze(1))
        known = now.train_inputs[0]
        improvement = acquisition("logei", Models([now]), known, None, seed=0)(X.unsqueeze(1))
        most = now.posterior(known).mean.max()
        expected = LogExpectedImprovement(now, best_f=most)(X.unsqueeze(1))
    mean, var = now.marginals(X.numpy(), noise=False)
    assert np.allclose(mean, told.mean.flatten(), rtol=1e-9)
    assert np.allclose(var, told.variance.flatten(), rtol=1e-6)
    assert torch.allclose(improvement, expected, rtol=1e-6)


def test_the_mode_is_no_worse_than_gpytorchs():
    inputs = Inputs.reals(3)
    for seed in range(5):
        model = fitted(30, inputs, seed)
        other = map_gp.MapGP(
            model.train_inputs[0],
            100 + 7 * model.train_targets.unsqueeze(-1),
            likelihood=map_gp._noisy(),
            covar_module=map_gp._scaled(map_gp.TiedKernel(torch.arange(3), matern=True)),
            outcome_transform=map_gp.Standardize(m=1),
        )
        found = map_gp._find_elsewhere(other, inputs, map_gp.Options(), None)
        assert model.diagnostics["log_posterior"] >= found["log_posterior"] - 1e-3


def test_imagined_outcomes_have_the_moments_that_the_model_expects():
    model = fitted(20, Inputs.reals(2), 7)
    assert model.predictor is not None
    x = np.array([[0.2, 0.9], [0.25, 0.85], [0.7, 0.1]])
    normals = np.random.default_rng(0).standard_normal((20_000, 3))
    imagined = model.predictor.imagining(x, normals)
    drawn = imagined.outcomes[-3:]
    posterior = model(torch.tensor(x))
    noise = math.exp(model.predictor.theta[-1])
    covariance = posterior.covariance_matrix.detach().numpy() + noise * np.eye(3)
    std = np.sqrt(np.diag(covariance))
    assert np.allclose(drawn.mean(axis=1), posterior.mean.detach(), atol=0.04 * std.max())
    assert np.allclose(np.cov(drawn), covariance, atol=0.05 * covariance.max())
    grid = np.random.default_rng(1).random((30, 2))
    before, after = model.predictor.moments(grid), imagined.moments(grid)
    assert (after[1] <= before[1] + 1e-9).all()
    # What is imagined is what is expected: over all histories the mean is as it was.
    spread = 0.04 * math.sqrt(before[1].max())
    assert np.allclose(after[0].mean(axis=1), before[0][:, 0], atol=spread)


@pytest.mark.parametrize("case", ["constant", "duplicates", "steep", "one"])
def test_awkward_data_give_a_finite_mode(case):
    rng = np.random.default_rng(2)
    x, y = rng.random((12, 3)), rng.standard_normal(12)
    if case == "constant":
        y = np.zeros(12)
    elif case == "duplicates":
        x = np.repeat(x[:3], 4, axis=0)
    elif case == "steep":
        y = np.where(x[:, 0] > 0.9, 1e3, 0.0)
    else:
        x, y = x[:1], np.zeros(1)
    data = exact.Data(x, y, np.arange(3), matern=True)
    start = exact.default_start(data)
    mode = exact.find_mode(data, [start], max_iterations=200, tolerance=1e-8)
    assert np.isfinite(mode.theta).all()
    assert math.isfinite(mode.log_posterior)
    assert mode.log_posterior >= exact.log_posterior(start, data)[0] - 1e-9
    mean, var = exact.Predictor(mode.theta, mode.mean, data).moments(rng.random((9, 3)))
    assert np.isfinite(mean).all()
    assert (var > 0).all()


def test_a_matrix_that_is_not_positive_definite_has_no_density():
    data = exact.Data(
        np.full((3, 1), 0.5),
        np.arange(3.0),
        np.zeros(1, dtype=np.int64),
        matern=True,
        noise=np.full(3, -5.0),
    )
    value, gradient, _ = exact.log_posterior(np.zeros(2), data)
    assert value == -math.inf
    assert not gradient.any()
    with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
        exact.Predictor(np.zeros(2), 0.0, data)


def test_known_noise_of_a_single_row_stays_what_was_told():
    """Without it being told, a noise of its own is fitted; GPyTorch's path is `_load`'s."""
    X, Y = (
        torch.full((1, 2), 0.3, dtype=torch.float64),
        torch.full((1, 1), 2.0, dtype=torch.float64),
    )
    told = torch.full((1, 1), 4.0, dtype=torch.float64)
    inputs, options = Inputs.reals(2), map_gp.Options()
    plain = map_gp.fit(X, Y, inputs=inputs, options=options)
    assert "noise_var" in plain.state
    for state in (None, plain.state):
        model: Any = map_gp.fit(X, Y, told, inputs=inputs, options=options, warm_start=state)
        assert model.likelihood.noise.item() == pytest.approx(4.0)
        assert "noise_var" not in model.state
        assert "noise_var" not in model.diagnostics
        predictor = model.predictor
        assert predictor is not None
        assert predictor.noise == pytest.approx([4.0])
        variance = model.posterior(X).variance.item()
        signal = model.state["signal_var"]
        assert variance == pytest.approx(signal * 4.0 / (signal + 4.0))
        map_gp._load(model, {**model.state, "noise_var": 0.1})
        assert model.likelihood.noise.item() == pytest.approx(4.0)
