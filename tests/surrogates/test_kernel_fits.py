"""Fits with kernels that are sums of products, and with warps; the plain kernels beside them."""

import dataclasses
import json
import math
from typing import Any, cast

import pytest
import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.models.model import ModelList
from botorch.sampling.get_sampler import get_sampler
from torch import Generator, Tensor

import bo
from bo.acquisition.functions import Models, acquisition
from bo.acquisition.fused_mixture import FusedMixtureLogEI
from surrogates.gp import (
    bayesian,
    hmc,
    kernels,
    laplace,
    mode,
    nuts,
    smc,
    vi_bures,
    vi_flow,
    vi_fullrank,
    vi_meanfield,
)
from surrogates.gp.hyperposterior import Hyperposterior
from surrogates.gp.mixture import MixtureGP
from surrogates.inputs import Column, Inputs

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}


def seeded(seed: int) -> Generator:
    return Generator(device="cpu").manual_seed(seed)


def test_the_compiled_acquisition_is_for_the_two_kernels_that_it_knows() -> None:
    X = torch.rand((8, 2), generator=seeded(0), **F64)
    Y = torch.sin(5.0 * X.sum(dim=1, keepdim=True))
    for kernel, warp, closed in (
        ("rbf", False, True),
        ("matern52", False, True),
        ("matern52", True, False),
        ("rq", False, False),
        ("rbf + linear", False, False),
    ):
        options = laplace.Options(kernel=kernel, warp=warp, kept=8)
        model = laplace.fit(X, Y, inputs=Inputs.reals(2), options=options)
        assert model.lengthscale.shape == (8, 2 if closed else 0)
        function = acquisition("logei", Models([model]), X, None, seed=0)
        assert isinstance(function, FusedMixtureLogEI) == closed
        assert bool(torch.isfinite(function(X[:3].unsqueeze(1) * 0.9)).all())


@pytest.mark.parametrize("kernel", ["matern52", "rbf"])
def test_the_two_plain_kernels_keep_their_hyperparameters(kernel: str) -> None:
    X = torch.rand((8, 2), generator=seeded(0), **F64)
    problem = bayesian.Problem(
        X, X[:, :1], None, Inputs.reals(2), bayesian.Options(kernel=f" {kernel}"), None
    )
    assert problem.density.fused
    assert problem.exact.kernel is None
    composed = dataclasses.replace(problem.exact, kernel=kernels.kernel(kernel, Inputs.reals(2)))
    x = torch.randn((3, 4), generator=seeded(1), **F64)
    told = Hyperposterior(composed, problem.prior).value_and_grad(x)
    for one, other in zip(problem.density.value_and_grad(x), told, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


def test_a_state_of_another_kernel_is_no_start() -> None:
    X = torch.rand((8, 2), generator=seeded(0), **F64)
    Y = torch.sin(5.0 * X.sum(dim=1, keepdim=True))

    def fitted(kernel: str, *, warp: bool = False, told: Any = None) -> MixtureGP:
        options = laplace.Options(kernel=kernel, warp=warp, draws=32)
        return laplace.fit(X, Y, inputs=Inputs.reals(2), options=options, warm_start=told)

    state = fitted("matern12").state
    assert state["kernel"] == "matern12"
    assert fitted("matern52").state["kernel"] == "matern52"
    assert fitted("matern12", warp=True).state["kernel"] == "matern12 warped"
    plain = fitted("matern52")
    assert torch.equal(fitted("matern52", told=state).draws, plain.draws)
    assert torch.equal(fitted("matern32", told=state).draws, fitted("matern32").draws)


@pytest.mark.parametrize(
    "asked",
    [{"prior": "saas"}, {"prior": "vague"}, {"kernel": "rbf"}],
    ids=["saas", "vague", "rbf"],
)
@pytest.mark.parametrize(
    ("module", "few"),
    [(smc, {"particles": 32}), (hmc, {"draws": 8, "most_draws": 8, "chains": 4})],
    ids=["smc", "hmc"],
)
def test_draws_under_another_prior_or_plain_kernel_are_no_start(
    module: Any, few: dict[str, int], asked: dict[str, str]
) -> None:
    X = torch.rand((20, 2), generator=seeded(0), **F64)
    Y = torch.sin(5.0 * X[:, :1]) + X[:, 1:]

    def fitted(told: Any = None, **more: Any) -> MixtureGP:
        return module.fit(
            X,
            Y,
            inputs=Inputs.reals(2),
            options=module.Options(**few, **more),
            generator=seeded(1),
            warm_start=told,
        )

    state = json.loads(json.dumps(fitted().state))
    assert torch.equal(fitted(state, **asked).draws, fitted(**asked).draws)


@pytest.mark.parametrize(("kernel", "warp"), [("rbf + linear", False), ("matern52", True)])
def test_a_state_dict_makes_another_model_the_same(kernel: str, warp: bool) -> None:
    X = torch.rand((8, 2), generator=seeded(0), **F64)
    one, other = (
        mode.fit(X, y, inputs=Inputs.reals(2), options=mode.Options(kernel=kernel, warp=warp))
        for y in (X[:, :1].sin(), X[:, 1:].exp())
    )
    other.load_state_dict(one.state_dict())
    told, expected = (model.posterior(X.flip(1)) for model in (other, one))
    assert torch.equal(told.mean, expected.mean)
    assert torch.equal(told.variance, expected.variance)
    fewer = other.with_draws([0]).posterior(X.flip(1))
    assert torch.allclose(fewer.mean, expected.mean)


def test_the_noise_that_a_fit_tells_of_is_by_the_weights_of_its_draws() -> None:
    X = torch.rand((10, 3), generator=seeded(0), **F64)
    Y = X[:, :1] + 0.3 * torch.randn((10, 1), generator=seeded(1), **F64)
    model = laplace.fit(X, Y, inputs=Inputs.reals(3), options=laplace.Options())
    assert model.log_weights is not None
    told = model.diagnostics["noise_var"]
    assert told == pytest.approx(float((model.weights * model.noise_var).sum()))
    assert told != pytest.approx(float(model.noise_var.mean()), rel=1e-3)


def test_the_period_of_a_known_kernel_is_found_again() -> None:
    """Draws of rbf*periodic + rbf with period 0.13; 90 % intervals hold it, and are narrow."""
    kernel = kernels.kernel("airline", Inputs.reals(1))
    at = torch.log(torch.tensor([[1.5, 1.0, 0.13, 1.0, 0.4, 0.3]], **F64))
    X = torch.rand((40, 1), generator=seeded(0), **F64)
    factor = torch.linalg.cholesky(kernel.between(at, X, X)[0] + 1e-8 * torch.eye(40, **F64))
    held = 0
    for seed in range(5):
        normal = torch.randn((40, 2), generator=seeded(seed), **F64)
        Y = factor @ normal[:, :1] + 0.1 * normal[:, 1:]
        options = hmc.Options(kernel="airline", most_draws=64)
        model = hmc.fit(X, Y, inputs=Inputs.reals(1), options=options, generator=seeded(seed))
        levels = torch.tensor([0.05, 0.95], **F64)
        low, high = kernel.periods[0].of(model.draws).exp().quantile(levels).tolist()
        held += low < 0.13 < high
        assert high - low < 0.05
    assert held >= 3


def test_a_trend_with_a_season_is_carried_on_by_co2_and_not_by_rbf() -> None:
    """Trained on the first 70 %, the width of the unit cube."""
    x = torch.linspace(0.0, 1.0 / 0.7, 80, **F64)[:, None]
    noise = 0.05 * torch.randn((80, 1), generator=seeded(0), **F64)
    y = 2.0 * x + 0.5 * torch.sin(2.0 * math.pi * x / 0.12) + noise
    errors, scores = [], []
    for kernel in ("co2", "rbf"):
        options = hmc.Options(kernel=kernel, most_draws=64)
        model = hmc.fit(
            x[:56], y[:56], inputs=Inputs.reals(1), options=options, generator=seeded(1)
        )
        told = model.posterior(x[56:], observation_noise=True)
        errors.append(float((told.mixture_mean - y[56:]).square().mean().sqrt()))
        normal = torch.distributions.Normal(told.mean, told.variance.sqrt())
        density = torch.logsumexp(normal.log_prob(y[56:]), dim=-3) - math.log(len(told.mean))
        scores.append(float(density.mean()))
    assert errors[0] < 0.5 * errors[1]
    assert scores[0] > scores[1]


def test_a_warp_is_learnt() -> None:
    """A function that changes at one end only: better predicted, a and b apart from 1."""
    X = torch.rand((16, 1), generator=seeded(1), **F64)
    grid = torch.linspace(0.0, 1.0, 101, **F64)[:, None]
    errors = []
    for warp in (False, True):
        options = hmc.Options(warp=warp, most_draws=64)
        model = hmc.fit(
            X, torch.sin(9 * X**5), inputs=Inputs.reals(1), options=options, generator=seeded(0)
        )
        mean = model.posterior(grid.unsqueeze(1)).mixture_mean.flatten()
        errors.append(float((mean - torch.sin(9 * grid[:, 0] ** 5)).abs().mean()))
    assert errors[1] < errors[0]
    assert float(model.data.warps(model.draws)[:, 0].mean()) > 0.5


@pytest.mark.parametrize("module", [hmc, smc, laplace], ids=["hmc", "smc", "laplace"])
@pytest.mark.parametrize(("kernel", "warp"), [("airline", False), ("rq + linear", True)])
def test_same_seed_same_draws_and_states_go_on(module: Any, kernel: str, warp: bool) -> None:
    inputs = Inputs((Column("real", 0), Column("category", 1, 2), Column("category", 1, 2)))
    X = torch.rand((10, 3), generator=seeded(3), **F64)
    X[:, 1] = (X[:, 1] > 0.5).double()
    X[:, 2] = 1.0 - X[:, 1]
    Y = torch.sin(5.0 * X.sum(dim=1, keepdim=True)) + 40.0
    short: dict[str, Any] = {"draws": 32}
    if module is hmc:
        short = {"most_draws": 8, "draws": 8, "warmup": 8, "trajectory": 0.5}
    elif module is smc:
        short = {"particles": 32, "most_moves": 3}
    options = module.Options(kernel=kernel, warp=warp, kept=8, **short)
    one, other = (
        module.fit(X[:9], Y[:9], inputs=inputs, options=options, generator=seeded(1))
        for _ in range(2)
    )
    assert torch.equal(one.draws, other.draws)
    assert one.state == other.state
    travelled = json.loads(json.dumps(one.state, allow_nan=False))
    after = module.fit(
        X, Y, inputs=inputs, options=options, generator=seeded(2), warm_start=travelled
    )
    told = after.posterior(X)
    assert bool(torch.isfinite(told.mean).all())
    assert bool((told.variance > 0).all())


def degenerate(name: str) -> tuple[Tensor, Tensor]:
    X = torch.rand((10, 2), generator=seeded(0), **F64)
    Y = torch.sin(5.0 * X.sum(dim=1, keepdim=True))
    if name == "one row":
        return X[:1], Y[:1]
    if name == "constant":
        return X, torch.full_like(Y, 3.0)
    if name == "contradicting":
        return X[:1].repeat(10, 1), Y
    if name == "outlier":
        Y[3] = 1e8
        return X, Y
    return torch.rand((10, 50), generator=seeded(1), **F64), Y


SHORT: dict[str, tuple[Any, dict[str, Any]]] = {
    "hmc": (hmc, {"most_draws": 16, "draws": 16, "chains": 8, "trajectory": 0.5}),
    "nuts": (nuts, {"most_draws": 16, "draws": 16, "chains": 8}),
    "smc": (smc, {"particles": 32, "most_moves": 3}),
    "laplace": (laplace, {}),
    "vi_meanfield": (vi_meanfield, {}),
    "vi_fullrank": (vi_fullrank, {}),
    "vi_flow": (vi_flow, {"layers": 2, "iterations": 50, "most_iterations": 50}),
    "vi_bures": (vi_bures, {}),
}
"""All fully Bayesian surrogates, with options that take little time."""
COMPOSED = [
    (engine, kernel) for engine in ("hmc", "smc") for kernel in ("airline", "linear + rq warped")
]


@pytest.mark.parametrize(
    ("engine", "kernel"), [*((engine, "matern52") for engine in SHORT), *COMPOSED]
)
@pytest.mark.parametrize(
    "name", ["one row", "constant", "contradicting", "outlier", "many columns"]
)
def test_degenerate_data_give_finite_wide_posteriors(name: str, engine: str, kernel: str) -> None:
    X, Y = degenerate(name)
    module, short = SHORT[engine]
    text, warp = kernel.removesuffix(" warped"), kernel.endswith("warped")
    model = module.fit(
        X,
        Y,
        inputs=Inputs.reals(X.shape[1]),
        options=module.Options(kernel=text, warp=warp, kept=16, **short),
        generator=seeded(2),
    )
    for values in model.diagnostics.values():
        assert math.isfinite(values)
    Xs = torch.rand((20, 1, X.shape[1]), generator=seeded(3), **F64)
    told = model.posterior(Xs)
    assert bool(torch.isfinite(told.mean).all())
    assert bool((told.variance > 0).all())
    spread = float(told.mixture_variance.sqrt().mean())
    assert spread > 0.02 * model.unit


@pytest.mark.parametrize("engine", SHORT)
@pytest.mark.parametrize("seed", [0, 1])
def test_ten_rows_say_little_of_fifty_columns(seed: int, engine: str) -> None:
    """Neither of the function where no data are, nor of the length-scales."""
    module, short = SHORT[engine]
    X = torch.rand((10, 50), generator=seeded(seed), **F64)
    Y = torch.sin(5.0 * X[:, :2].sum(dim=1, keepdim=True))
    options = module.Options(kept=64, **short)
    model = module.fit(X, Y, inputs=Inputs.reals(50), options=options, generator=seeded(seed))
    assert all(math.isfinite(value) for value in model.diagnostics.values())
    told = model.posterior(torch.rand((50, 1, 50), generator=seeded(9), **F64))
    assert bool(torch.isfinite(told.mean).all())
    wide = told.mixture_variance.sqrt() / model.unit
    assert 0.7 < float(wide.min()) < float(wide.max()) < 1.5  # beside outcomes of 1
    known = model.posterior(X.unsqueeze(1)).mixture_variance.sqrt() / model.unit
    assert float(known.mean()) < 0.4
    widths = model.draws[:, :50].std(dim=0)  # of log length-scales: their prior has 1
    assert 0.5 < float(widths.median()) < 1.5


def test_two_of_them_in_a_list_have_a_hypervolume() -> None:
    X = torch.rand((8, 2), generator=seeded(0), **F64)
    models = []
    for at, kernel in enumerate(("rbf + linear", "matern52")):
        Y = torch.sin(5.0 * X.sum(dim=1, keepdim=True) + at)
        options = hmc.Options(kernel=kernel, most_draws=8, draws=8, kept=4)
        models.append(hmc.fit(X, Y, inputs=Inputs.reals(2), options=options, generator=seeded(at)))
    joined = ModelList(*models)
    function = qLogNoisyExpectedHypervolumeImprovement(
        joined,
        ref_point=[-1.0, -1.0],
        X_baseline=X,
        sampler=get_sampler(cast(Any, joined.posterior(X[:1])), torch.Size([8]), seed=0),
        objective=IdentityMCMultiOutputObjective(outcomes=[0, 1]),
        prune_baseline=False,
        cache_root=False,
    )
    at = X[:3].unsqueeze(1) * 0.9
    value = function(at.requires_grad_())
    assert value.shape == (3,)
    assert bool(torch.isfinite(value).all())
    (gradient,) = torch.autograd.grad(value.sum(), at)
    assert bool(torch.isfinite(gradient).all())


def test_a_study_asks_with_a_composite_kernel_and_a_warp() -> None:
    space = {"x": bo.real(0.0, 1.0), "k": bo.integer(1, 9), "kind": bo.choice("a", "b")}
    options = {
        "surrogate.kernel": "matern32 + linear",
        "surrogate.warp": True,
        "surrogate.draws": 8,
        "surrogate.most_draws": 8,
        "initial": 4,
    }
    study = bo.Study(space, "minimize value", method="gp-hmc", options=options, seed=0)
    for _ in range(7):
        (trial,) = study.ask()
        study.tell(trial, cast(float, trial.parameters["x"]) ** 2)
    state = study.trials[-1].method_state
    assert state is not None
    assert state["surrogates"]["value"]["kernel"] == "matern32 + linear warped"


def test_particles_begin_as_draws_of_chains_where_rows_are_many() -> None:
    """They say of the posterior what tempering from the prior does; the next fit carries them."""
    X = torch.rand((53, 2), generator=seeded(0), **F64)
    Y = torch.sin(5.0 * X.sum(dim=1, keepdim=True)) + 0.1 * torch.randn(
        (53, 1), generator=seeded(1), **F64
    )

    def fitted(rows: int, *, told: Any = None, **options: Any) -> MixtureGP:
        return smc.fit(
            X[:rows],
            Y[:rows],
            inputs=Inputs.reals(2),
            options=smc.Options(**options),
            generator=seeded(2),
            warm_start=told,
        )

    few, many = fitted(50), fitted(51)
    assert "log_normaliser" in few.diagnostics
    assert "rhat_max" not in few.diagnostics
    assert "log_normaliser" not in many.diagnostics
    assert many.diagnostics["rhat_max"] < 1.05
    assert torch.equal(fitted(51).draws, many.draws)
    from_prior = fitted(51, begin="prior")
    assert "log_normaliser" in from_prior.diagnostics
    told, other = (
        torch.tensor(model.state["particles"]["x"], **F64) for model in (many, from_prior)
    )
    assert told.shape == other.shape == (256, 4)
    weight = torch.tensor(from_prior.state["particles"]["log_weights"], **F64).exp()
    mean = weight @ other
    sd = (weight @ (other - mean).square()).sqrt()
    assert bool(((told.mean(dim=0) - mean).abs() < 0.5 * sd).all())
    assert bool(((told.std(dim=0) / sd - 1.0).abs() < 0.4).all())
    state = json.loads(json.dumps(many.state))
    following = fitted(52, told=state)
    assert "rhat_max" not in following.diagnostics
    assert following.diagnostics["stages"] >= 1.0
    assert "log_normaliser" not in following.diagnostics
    assert "log_normaliser" not in fitted(53, told=following.state).diagnostics
    carried = fitted(52, told=json.loads(json.dumps(from_prior.state)))
    assert "log_normaliser" in carried.diagnostics
    assert fitted(20, begin="chains").diagnostics["rhat_max"] < 1.05


def test_particles_of_chains_are_as_many_as_asked() -> None:
    X = torch.rand((12, 2), generator=seeded(0), **F64)
    Y = torch.sin(5.0 * X.sum(dim=1, keepdim=True))
    for particles in (16, 9000):
        options = smc.Options(begin="chains", particles=particles)
        model = smc.fit(X, Y, inputs=Inputs.reals(2), options=options, generator=seeded(0))
        x = torch.tensor(model.state["particles"]["x"], **F64)
        assert len(x) == particles
        assert len(x.unique(dim=0)) > 0.5 * particles
