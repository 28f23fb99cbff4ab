"""What every surrogate promises (`surrogates/contract.py`): functions of a row and a device."""

import contextlib
import inspect
import itertools
import json
import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import torch
from botorch.acquisition import LogExpectedImprovement, qLogExpectedImprovement
from botorch.exceptions import InputDataWarning
from botorch.models.model import Model
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from botorch.sampling import SobolQMCNormalSampler
from botorch.sampling.get_sampler import get_sampler
from linear_operator import to_dense
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from surrogates.errors import CapabilityError, DataError
from surrogates.inputs import Column, Inputs
from surrogates.registry import Row
from tests.contracts.common import generator, kept, no_global_draws, normal, same, uniform
from tests.contracts.rows import options_of

BATCHES = ((), (3,), (2, 3))
MIXED = Inputs((Column("real", 0), *[Column("category", 1, 4)] * 4))
"""One real column, and a choice among four."""


class Data(NamedTuple):
    """Training data: X (n, d) and Y (n, m)."""

    X: Tensor
    Y: Tensor


def wave(
    device: torch.device, *, n: int = 12, d: int = 2, m: int = 1, dtype: torch.dtype = torch.float64
) -> Data:
    """A smooth function with a little noise, in units far from standard ones."""
    X = uniform(n, d, use=("wave", n, d), device=device, dtype=dtype)
    phases = torch.arange(m, device=device, dtype=dtype)
    clean = torch.sin(4.0 * X.sum(-1, keepdim=True) / d + phases)
    noise = normal(n, m, use=("noise", n, m), device=device, dtype=dtype)
    return Data(X, 50.0 + 8.0 * (clean + 0.05 * noise))


def fitted(
    row: Row, data: Data, *, inputs: Inputs | None = None, seed: int = 0, **more: Any
) -> Any:
    """The row's model of some data."""
    return row.load()(
        data.X,
        data.Y,
        inputs=inputs or Inputs.reals(data.X.shape[-1]),
        options=options_of(row),
        generator=generator("fit", seed),
        **more,
    )


def predicted(model: Model, X: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance at X (..., q, d), one point at a time: every method can do that."""
    with torch.no_grad():
        mean, variance = moments(model.posterior(X.unsqueeze(-2)))
        return mean.squeeze(-2), variance.squeeze(-2)


def moments(posterior: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance (..., q, m), of a mixture those of the whole."""
    if isinstance(posterior, GaussianMixturePosterior):
        return posterior.mixture_mean, posterior.mixture_variance
    return posterior.mean, posterior.variance


def draws(posterior: Any, s: int = 64) -> Tensor:
    """(s, ..., q, m) draws from a posterior, always the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # jitter where points coincide
        return get_sampler(posterior, torch.Size([s]), seed=1)(posterior)


def needs(row: Row, *words: str) -> None:
    """Skip what the row does not declare."""
    missing = [word for word in words if word not in row.capabilities]
    if missing:
        pytest.skip(f"{row.name} does not declare {', '.join(missing)}")


def check_fit_returns_a_botorch_model_in_evaluation_mode(row: Row, device: torch.device) -> None:
    model = fitted(row, wave(device))
    assert isinstance(model, Model)
    assert not model.training
    assert model.num_outputs == 1
    assert len(model.batch_shape) == ("mixture" in row.capabilities)


def check_posterior_has_the_shape_of_X(row: Row, device: torch.device) -> None:
    for m in (1, 2) if "multi-output" in row.capabilities else (1,):
        model = fitted(row, wave(device, m=m))
        for batch, q in itertools.product(BATCHES, (1, 4) if "joint" in row.capabilities else (1,)):
            X = uniform(*batch, q, 2, use="shapes", device=device)
            posterior = model.posterior(X)
            mean, variance = moments(posterior)
            assert mean.shape == variance.shape == (*batch, q, m)
            assert posterior.mean.shape == (*batch, *model.batch_shape, q, m)
            assert posterior.variance.shape == posterior.mean.shape
            assert draws(posterior, 5).shape == (5, *posterior.mean.shape)
            assert torch.isfinite(posterior.mean).all()
            assert (posterior.variance > 0).all()


def check_batches_predict_what_single_points_do(row: Row, device: torch.device) -> None:
    model = fitted(row, wave(device))
    X = uniform(2, 3, 1, 2, use="batches", device=device)
    with torch.no_grad():
        together = model.posterior(X)
        for index in itertools.product(range(2), range(3)):
            alone = model.posterior(X[index])
            torch.testing.assert_close(together.mean[index], alone.mean, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(together.variance[index], alone.variance, rtol=1e-5, atol=0)


def check_dtype_and_device_are_those_of_the_data(row: Row, device: torch.device) -> None:
    model = fitted(row, wave(device))
    mean, variance = predicted(model, uniform(3, 2, use="dtype", device=device))
    assert mean.dtype == variance.dtype == torch.float64
    assert mean.device.type == variance.device.type == device.type


def check_float32_is_fitted_or_refused_by_name(row: Row, device: torch.device) -> None:
    data = wave(device, dtype=torch.float32)
    with warnings.catch_warnings(), contextlib.suppress(DataError, CapabilityError):
        warnings.simplefilter("ignore", InputDataWarning)  # BoTorch advises double precision
        model = fitted(row, data)
        mean, variance = predicted(model, data.X)
        assert mean.dtype == variance.dtype == torch.float32
        assert torch.isfinite(mean).all()
        assert (variance > 0).all()


def check_certain_at_the_data_uncertain_away_from_it(row: Row, device: torch.device) -> None:
    data = wave(device, n=16)
    model = fitted(row, Data(0.4 * data.X, data.Y))
    mean, near = predicted(model, 0.4 * data.X)
    _, away = predicted(model, torch.ones(1, 2, device=device, dtype=torch.float64))
    assert near.mean() < 0.5 * away.mean()
    error = (mean - data.Y).square().mean()
    assert error < 0.5 * data.Y.var(), "expected predictions at the data that follow the data"


def check_far_away_it_is_about_the_prior(row: Row, device: torch.device) -> None:
    # Noise in one corner teaches nothing about the other one, so that there the prior stands: a
    # mean about the data's, within what the model itself holds possible, and their spread.
    X = 0.1 * uniform(16, 3, use="corner", device=device)
    Y = 100.0 + 10.0 * normal(16, 1, use="corner noise", device=device)
    mean, variance = predicted(
        fitted(row, Data(X, Y)), torch.ones(1, 3, device=device, dtype=torch.float64)
    )
    std = float(variance.sqrt())
    assert 2.0 < std < 50.0
    assert abs(float(mean) - 100.0) < 4.0 * std


def check_outcomes_may_have_any_units(row: Row, device: torch.device) -> None:
    data = wave(device)
    Xs = uniform(5, 2, use="units", device=device)
    mean, variance = predicted(fitted(row, data), Xs)
    if "mixture" in row.capabilities:
        # A chain that starts from other last digits goes elsewhere; a power of two changes none.
        scaled, scaled_variance = predicted(fitted(row, Data(data.X, 1024 * data.Y)), Xs)
        torch.testing.assert_close(scaled, 1024 * mean)
        torch.testing.assert_close(scaled_variance, 1024**2 * variance)
        return
    scaled, scaled_variance = predicted(fitted(row, Data(data.X, 1e3 * data.Y - 7e5)), Xs)
    torch.testing.assert_close(scaled, 1e3 * mean - 7e5, rtol=1e-3, atol=1e3)
    torch.testing.assert_close(scaled_variance, 1e6 * variance, rtol=0.05, atol=1e3)


def check_same_seed_gives_the_same_model_bit_for_bit(row: Row, device: torch.device) -> None:
    data = wave(device)
    Xs = uniform(5, 2, use="same seed", device=device)
    one, other = fitted(row, data, seed=1), fitted(row, data, seed=1)
    assert same(predicted(one, Xs), predicted(other, Xs))
    assert same(one.state, other.state)
    assert same(draws(one.posterior(Xs[:1])), draws(other.posterior(Xs[:1])))


def check_prediction_never_changes_the_model(row: Row, device: torch.device) -> None:
    model = fitted(row, wave(device))
    Xs = uniform(5, 2, use="unchanged", device=device)
    before, parameters = predicted(model, Xs), kept(model.state_dict())
    state, diagnostics = kept(model.state), kept(dict(model.diagnostics))
    for batch in BATCHES:
        draws(model.posterior(uniform(*batch, 1, 2, use="others", device=device)))
    assert same(predicted(model, Xs), before)
    assert same(dict(model.state_dict()), dict(parameters))
    assert same(model.state, state)
    assert same(dict(model.diagnostics), diagnostics)
    assert not model.training


def check_fit_never_changes_the_data(row: Row, device: torch.device) -> None:
    data = wave(device)
    before = kept(data)
    model = fitted(row, data)
    predicted(model, data.X)
    assert same(data, before)


def check_diagnostics_are_finite_numbers_with_seconds(row: Row, device: torch.device) -> None:
    noise: dict[str, Any] = {"train_Yvar": torch.full_like(wave(device).Y, 0.04)}
    for more in ({}, noise):
        try:
            diagnostics = fitted(row, wave(device), **more).diagnostics
        except CapabilityError:
            assert more, "a fit without known noise is what every surrogate offers"
            continue
        assert isinstance(diagnostics, Mapping)
        assert diagnostics["seconds"] > 0
        for name, value in diagnostics.items():
            assert isinstance(name, str)
            assert math.isfinite(value), f"{name} is {value}"


def check_state_is_json_and_starts_the_next_fit(row: Row, device: torch.device) -> None:
    data = wave(device)
    state = fitted(row, Data(data.X[:7], data.Y[:7])).state
    travelled = json.loads(json.dumps(state, allow_nan=False))
    assert travelled == json.loads(json.dumps(travelled))
    for n in (7, 12, 3):
        fewer = Data(data.X[:n], data.Y[:n])
        begun = kept(travelled)
        one = fitted(row, fewer, warm_start=travelled)
        assert travelled == begun, "a fit must not change the state that it starts from"
        mean, variance = predicted(one, data.X)
        assert torch.isfinite(mean).all()
        assert (variance > 0).all()
        assert same(predicted(fitted(row, fewer, warm_start=begun), data.X), (mean, variance))


def check_nothing_is_drawn_from_global_generators(row: Row, device: torch.device) -> None:
    data = wave(device)
    with no_global_draws():
        predicted(fitted(row, data), data.X)


def check_equal_points_have_equal_draws(row: Row, device: torch.device) -> None:
    needs(row, "joint")
    model = fitted(row, wave(device))
    X = torch.tensor([[0.9, 0.1], [0.2, 0.7], [0.9, 0.1]], device=device, dtype=torch.float64)
    with torch.no_grad():
        posterior = model.posterior(X)
        found = draws(posterior)
    std = posterior.variance.sqrt()
    assert (found.std(0) > 0.3 * std).all(), "draws must vary as much as the posterior says"
    assert (found[..., 0, :] - found[..., 2, :]).abs().max() < 0.05 * std.max()
    variance = moments(posterior)[1]
    torch.testing.assert_close(predicted(model, X)[1], variance, rtol=1e-3, atol=1e-4)


def check_draws_at_neighbours_go_together(row: Row, device: torch.device) -> None:
    needs(row, "joint")
    model = fitted(row, wave(device))
    X = torch.tensor([[0.9, 0.1], [0.901, 0.1]], device=device, dtype=torch.float64)
    with torch.no_grad():
        found = draws(model.posterior(X), 256).squeeze(-1)
    assert float(torch.corrcoef(found.flatten(0, -2).T)[0, 1]) > 0.8


def check_without_joint_two_points_at_once_are_refused(row: Row, device: torch.device) -> None:
    if "joint" in row.capabilities:
        pytest.skip(f"{row.name} declares joint")
    model = fitted(row, wave(device))
    with pytest.raises(CapabilityError):
        model.posterior(uniform(2, 2, use="pair", device=device))


def check_gradients_are_those_of_the_predictions(row: Row, device: torch.device) -> None:
    needs(row, "gradients")
    model = fitted(row, wave(device))
    X = 0.2 + 0.6 * uniform(3, 1, 2, use="gradients", device=device)
    predicted(model, X[:, 0])  # what was predicted without gradients must not stand in the way

    def value(at: Tensor) -> Tensor:
        posterior = model.posterior(at)
        return posterior.mean.sum() + posterior.variance.sum()

    X.requires_grad_(True)
    (gradient,) = torch.autograd.grad(value(X), X)
    step = normal(3, 1, 2, use="direction", device=device)
    with torch.no_grad():
        difference = (value(X + 1e-4 * step) - value(X - 1e-4 * step)) / 2e-4
    assert torch.isfinite(gradient).all()
    assert float(gradient.abs().max()) > 0
    torch.testing.assert_close((gradient * step).sum(), difference, rtol=1e-2, atol=1e-2)


def check_conditioning_learns_and_leaves_the_model_alone(row: Row, device: torch.device) -> None:
    model = fitted(row, wave(device))
    X = torch.tensor([[0.95, 0.05]], device=device, dtype=torch.float64)
    mean, variance = before = predicted(model, X)
    Y = mean + 2 * variance.sqrt()
    if "fantasies" not in row.capabilities:
        with pytest.raises(CapabilityError):
            model.condition_on_observations(X, Y)
        return
    wiser, wiser_variance = predicted(model.condition_on_observations(X, Y), X)
    assert (wiser_variance < variance).all()
    assert ((wiser - Y).abs() < (mean - Y).abs()).all()
    assert same(predicted(model, X), before)


def check_fantasies_have_one_model_per_draw(row: Row, device: torch.device) -> None:
    needs(row, "fantasies")
    model = fitted(row, wave(device))
    X = uniform(2, 2, use="fantasies", device=device)
    sampler = SobolQMCNormalSampler(torch.Size([3]), seed=1)
    posterior = model.fantasize(X, sampler).posterior(uniform(4, 2, use="after", device=device))
    mean, variance = moments(posterior)
    assert mean.shape == (3, 4, 1)
    assert torch.isfinite(mean).all()
    assert (variance > 0).all()


def check_drawn_paths_follow_the_posterior(row: Row, device: torch.device) -> None:
    needs(row, "paths")
    count = 500
    for inputs, data in ((None, wave(device, n=8)), (MIXED, levels(device))):
        model = fitted(row, data, inputs=inputs)
        X = torch.cat([data.X[:2], uniform(6, data.X.shape[1], use="paths", device=device)])
        if inputs is not None:
            X[2:, 1:] = data.X[2:8, 1:]
        drawn = torch.stack([model.draw_path(generator("path", i))(X) for i in range(count)])
        drawn = drawn.detach()
        with torch.no_grad():
            posterior = model.posterior(X)
        if isinstance(posterior, GaussianMixturePosterior):
            covariance = to_dense(posterior.mixture_covariance_matrix)
        else:
            covariance = posterior.covariance_matrix
        mean, variance = moments(posterior)[0].squeeze(-1), covariance.diagonal()
        assert drawn.shape == (count, len(X))
        assert ((drawn.mean(0) - mean).abs() < 5 * (variance / count).sqrt()).all()
        # The error of a sample covariance, and of 1024 features in place of all.
        offset = drawn - drawn.mean(0)
        spread = (offset[:, :, None] * offset[:, None]).std(dim=0) / count**0.5
        assert ((torch.cov(drawn.T) - covariance).abs() < 5 * spread + 0.02 * variance.max()).all()


def check_a_drawn_path_is_the_seeds_and_differentiable(row: Row, device: torch.device) -> None:
    needs(row, "paths")
    model = fitted(row, wave(device))
    X = uniform(5, 2, use="path", device=device).requires_grad_()
    path = model.draw_path(generator("path", 1))
    assert same(path(X), model.draw_path(generator("path", 1))(X))
    assert not same(path(X), model.draw_path(generator("path", 2))(X))
    (slope,) = torch.autograd.grad(path(X).sum(), X)
    step = torch.full_like(X, 1e-6)
    change = (path(X + step) - path(X - step)) / 2e-6
    assert torch.allclose(change, slope.sum(dim=1), rtol=1e-3, atol=1e-4)


def levels(device: torch.device, *, seen: int = 3, n: int = 18) -> Data:
    """A step per level of a choice, of whose four levels the first few were seen."""
    x = uniform(n, 1, use="levels", device=device)
    level = torch.arange(n, device=device) % seen
    hot = torch.nn.functional.one_hot(level, 4).to(x)
    step = torch.tensor([0.0, 6.0, 12.0, 3.0], device=device, dtype=torch.float64)[level]
    return Data(torch.cat([x, hot], dim=1), step.unsqueeze(1) + torch.sin(3 * x))


def check_permuted_levels_have_permuted_predictions(row: Row, device: torch.device) -> None:
    needs(row, "categorical")
    data = levels(device)
    order = [0, 3, 1, 4, 2]  # the first column is the real one
    Xs = torch.cat([torch.full_like(data.X[:4, :1], 0.4), torch.eye(4).to(data.X)], dim=1)
    plain = predicted(fitted(row, data, inputs=MIXED), Xs)
    moved = predicted(fitted(row, Data(data.X[:, order], data.Y), inputs=MIXED), Xs[:, order])
    for one, other in zip(plain, moved, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)


def check_a_level_never_seen_is_uncertain(row: Row, device: torch.device) -> None:
    needs(row, "categorical")
    data = levels(device)
    Xs = torch.cat([torch.full_like(data.X[:4, :1], 0.4), torch.eye(4).to(data.X)], dim=1)
    mean, variance = predicted(fitted(row, data, inputs=MIXED), Xs)
    assert (variance[3] > 2 * variance[:3]).all()
    assert data.Y.min() < mean[3] < data.Y.max()


def check_intervals_cover_draws_of_a_gaussian_process(row: Row, device: torch.device) -> None:
    # 20 functions, 30 points each. Point estimates of hyperparameters make intervals too narrow:
    # gp-map covers 89 % (standard deviation over roots of seeds 2.7 %), so that it falls below 80 %
    # by chance about once in 2,000 roots; intervals half as wide cover less than 70 %.
    covered: list[float] = []
    for number in range(20):
        X = uniform(60, 2, use=("draw", number), device=device)
        squared = torch.cdist(X / 0.5, X / 0.5).square()
        root = torch.linalg.cholesky(torch.exp(-squared / 2) + 1e-8 * torch.eye(60).to(X))
        f = root @ normal(60, 1, use=("function", number), device=device)
        Y = f[:30] + 0.1 * normal(30, 1, use=("noise", number), device=device)
        mean, variance = predicted(fitted(row, Data(X[:30], Y)), X[30:])
        inside = (f[30:] - mean).abs() < 1.96 * variance.sqrt()
        covered.append(float(inside.double().mean()))
    assert 0.8 <= sum(covered) / len(covered) <= 1.0


def check_expected_improvement_takes_it(row: Row, device: torch.device) -> None:
    data = wave(device)
    model = fitted(row, data)
    X = uniform(5, 1, 2, use="improvement", device=device)
    values = LogExpectedImprovement(model, best_f=data.Y.max())(X)
    assert values.shape == (5,)
    assert torch.isfinite(values).all()
    if "joint" in row.capabilities:
        pending = uniform(2, 2, use="pending", device=device)
        sampler = SobolQMCNormalSampler(torch.Size([16]), seed=1)
        values = qLogExpectedImprovement(
            model, best_f=data.Y.max(), sampler=sampler, X_pending=pending
        )(X)
        assert values.shape == (5,)
        assert torch.isfinite(values).all()


def check_known_noise_is_used_or_refused_by_name(row: Row, device: torch.device) -> None:
    data = wave(device)
    noise = torch.full_like(data.Y, 1e-2)
    with contextlib.suppress(CapabilityError):
        _, quiet = predicted(fitted(row, data, train_Yvar=noise), data.X)
        _, loud = predicted(fitted(row, data, train_Yvar=1e4 * noise), data.X)
        assert (quiet.mean() < loud.mean()).all()


def check_second_outcome_is_modelled_or_refused_by_name(row: Row, device: torch.device) -> None:
    data = wave(device, m=2)
    if "multi-output" not in row.capabilities:
        with pytest.raises(CapabilityError, match=r"expected .* got"):
            fitted(row, data)
        return
    mean, _ = predicted(fitted(row, data), data.X)
    assert (mean - data.Y).square().mean() < 0.5 * data.Y.var()


def check_bad_data_is_refused_with_a_message(row: Row, device: torch.device) -> None:
    X, Y = wave(device)
    hole_X, hole_Y = X.clone(), Y.clone()
    hole_X[2, 1], hole_Y[3, 0] = math.nan, math.inf
    bad = {
        "NaN in X": Data(hole_X, Y),
        "inputs that were not scaled": Data(30.0 * X, Y),
        "infinity in Y": Data(X, hole_Y),
        "squares that overflow": Data(X, 1e200 * Y),
        "too many columns": Data(torch.cat([X, X], dim=1), Y),
        "no column of Y": Data(X, Y[:, 0]),
        "X is a vector": Data(X[:, 0], Y),
        "unequal rows": Data(X, Y[:-1]),
        "no rows": Data(X[:0], Y[:0]),
        "whole numbers": Data(X, Y.long()),
    }
    # Users run without the shape checks of the tests, which would come first here.
    fit = inspect.unwrap(row.load())
    settings: dict[str, Any] = {"inputs": Inputs.reals(2), "options": options_of(row)}
    for data in bad.values():
        with pytest.raises(DataError, match="expected .*got"):
            fit(data.X, data.Y, generator=generator("bad"), **settings)
    with pytest.raises(DataError, match="expected .*got"):
        fit(X, Y, torch.full_like(Y, math.nan), generator=generator("bad"), **settings)


def check_poor_data_still_give_a_model(row: Row, device: torch.device) -> None:
    X, Y = wave(device)
    poor = {
        "one row": Data(X[:1], Y[:1]),
        "two rows": Data(X[:2], Y[:2]),
        "all rows twice": Data(torch.cat([X, X]), torch.cat([Y, Y])),
        "equal inputs, other outcomes": Data(X[:1].repeat(5, 1), Y[:5]),
        "one value": Data(X, torch.full_like(Y, 3.0)),
        "one column": Data(X[:, :1], Y),
        "an outlier": Data(X, torch.cat([Y[:-1], Y[-1:] + 1e6])),
    }
    for what, data in poor.items():
        mean, variance = predicted(fitted(row, data), data.X)
        assert torch.isfinite(mean).all(), what
        assert torch.isfinite(variance).all(), what
        assert (variance > 0).all(), what
