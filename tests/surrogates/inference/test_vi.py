"""Variational families on densities whose moments, or whose best Gaussian, are known."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from surrogates.errors import DataError
from surrogates.inference import (
    variational,
    vi_bures,
    vi_flow,
    vi_fullrank,
    vi_meanfield,
)
from surrogates.inference.contract import Counted, Density, Differentiated, Draws
from tests.surrogates.inference.targets import Target, funnel, gaussian, student, two_modes

SEEDS = [0, 1]
Run = Callable[[Density, Any, Generator], tuple[Draws, Any]]


def seeded(seed: int) -> Generator:
    return Generator(device="cpu").manual_seed(seed)


def engine(module: Any, **given: Any) -> Run:
    options = module.Options(**given)
    return lambda density, start, generator: module.run(
        density, start, options=options, generator=generator
    )


FLOW = {"layers": 2, "iterations": 50, "most_iterations": 50}
ENGINES = {
    "meanfield": engine(vi_meanfield),
    "fullrank": engine(vi_fullrank),
    "flow": engine(vi_flow, **FLOW),
    "bures": engine(vi_bures),
    "bures, stochastic": engine(vi_bures, stochastic=True, max_iterations=40),
}
GAUSSIANS = {"fullrank": vi_fullrank, "bures": vi_bures}
each_engine = pytest.mark.parametrize("run", ENGINES.values(), ids=ENGINES.keys())


def divergence(mean: Tensor, factor: Tensor, other_mean: Tensor, other_factor: Tensor) -> float:
    """KL of a Gaussian from another."""
    solved = torch.linalg.solve_triangular(other_factor, factor, upper=False)
    offset = (mean - other_mean).unsqueeze(1)
    offset = torch.linalg.solve_triangular(other_factor, offset, upper=False)
    log_det = solved.diagonal().abs().log().sum()
    return float(0.5 * (solved.square().sum() + offset.square().sum() - len(mean)) - log_det)


def precision_of(target: Target) -> Tensor:
    """Minus the Hessian of a Gaussian."""
    eye = torch.eye(len(target.mean), dtype=torch.float64)
    return -target.density.value_and_grad(target.mean + eye)[1]


def gap(draws: Draws, target: Target) -> tuple[float, float]:
    """KL of the fit from the target, and its error."""
    told = draws.diagnostics
    return target.log_normaliser - told["elbo"], told["elbo_se"]


def far(dim: int) -> tuple[Tensor, Tensor]:
    """A Gaussian far from every target here, with another shape."""
    scale = torch.linspace(0.2, 20.0, dim, dtype=torch.float64)
    return torch.linspace(-9.0, 9.0, dim, dtype=torch.float64), torch.diag(scale)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("module", "given"),
    [(vi_fullrank, {}), (vi_bures, {}), (vi_bures, {"stochastic": True})],
)
def test_a_gaussian_is_found_from_far_away(module: Any, given: Any, seed: int) -> None:
    target = gaussian()
    covariance = torch.linalg.inv(precision_of(target))
    state = module.State(*far(10))
    options = module.Options(tolerance=1e-4, **given)
    draws, found = module.run(target.density, state, options=options, generator=seeded(seed))
    truth = torch.linalg.cholesky(covariance)
    assert divergence(state.mean, state.factor, target.mean, truth) > 10.0
    assert divergence(found.mean, found.factor, target.mean, truth) < 1e-3
    assert draws.diagnostics["converged"] == 1.0
    assert draws.diagnostics["ess"] > 510.0
    assert draws.diagnostics["elbo"] == pytest.approx(target.log_normaliser, abs=1e-2)
    assert draws.diagnostics["log_normaliser"] == pytest.approx(target.log_normaliser, abs=1e-2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["planar", "radial", "alternating"])
def test_a_flow_finds_a_gaussian(kind: str, seed: int) -> None:
    target = gaussian()
    options = vi_flow.Options(flow=kind, draws=100_000)
    start = target.starts(2, seeded(seed))
    draws, _ = vi_flow.run(target.density, start, options=options, generator=seeded(seed))
    missing, error = gap(draws, target)
    assert missing + 4.0 * error < 1e-3


@pytest.mark.parametrize("kind", ["planar", "radial"])
def test_a_flow_finds_a_gaussian_from_a_wrong_one_beneath_it(kind: str) -> None:
    target = gaussian()
    long: dict[str, Any] = {"points": 256, "iterations": 1000, "most_iterations": 1000}
    options = vi_flow.Options(flow=kind, layers=2, rate=0.03, draws=100_000, **long)
    state = vi_flow.init(target.density, target.starts(2, seeded(0)), options, seeded(0))
    state = dataclasses.replace(state, base=state.base + 0.5)
    draws, _ = vi_flow.run(target.density, state, options=options, generator=seeded(0))
    missing, error = gap(draws, target)
    assert missing + 4.0 * error < 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_mean_field_finds_independent_coordinates(seed: int) -> None:
    mean = torch.linspace(-3.0, 3.0, 6, dtype=torch.float64)
    sd = 10.0 ** torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)
    density = Differentiated(lambda x: -0.5 * ((x - mean) / sd).square().sum(dim=1))
    options = vi_meanfield.Options(tolerance=1e-4)
    start = torch.zeros((1, 6), dtype=torch.float64)
    draws, found = vi_meanfield.run(density, start, options=options, generator=seeded(seed))
    assert divergence(found.mean, torch.diag(found.sd), mean, torch.diag(sd)) < 1e-3
    assert draws.diagnostics["converged"] == 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_mean_field_of_a_correlated_gaussian_has_the_variances_given_all_others(seed: int) -> None:
    target = gaussian(5)
    options = vi_meanfield.Options(tolerance=1e-5, draws=20_000)
    start = target.starts(2, seeded(seed))
    draws, found = vi_meanfield.run(target.density, start, options=options, generator=seeded(seed))
    precision = precision_of(target).diagonal()
    assert torch.allclose(found.mean, target.mean, atol=1e-2)
    assert torch.allclose(found.sd.pow(-2), precision, rtol=1e-2)
    assert draws.diagnostics["elbo"] < target.log_normaliser - 0.5  # what it cannot say
    assert draws.diagnostics["converged"] == 0.0


def logistic() -> Density:
    """The posterior of a logistic regression on few data: log-concave, with skewness."""
    generator = seeded(7)
    x = torch.randn((12, 3), generator=generator, dtype=torch.float64)
    y = torch.tensor([1.0, -1.0, 1.0] * 4, dtype=torch.float64)

    def log_density(w: Tensor) -> Tensor:
        told = torch.nn.functional.logsigmoid(y * (w @ x.T)).sum(dim=1)
        return told - 0.5 * (w / 3.0).square().sum(dim=1)

    return Differentiated(log_density)


@pytest.mark.parametrize("stochastic", [False, True])
def test_bures_finds_the_optimum_of_full_rank_where_the_density_is_log_concave(
    stochastic: bool,
) -> None:
    density = logistic()
    mean, factor = far(3)
    points = 4096
    options = vi_fullrank.Options(points=points, most_points=points, tolerance=1e-6)
    _, one = vi_fullrank.run(
        density, vi_fullrank.State(mean, factor), options=options, generator=seeded(0)
    )
    few = 256 if stochastic else points
    options = vi_bures.Options(
        points=few, most_points=points, tolerance=1e-4, stochastic=stochastic
    )
    _, two = vi_bures.run(
        density, vi_bures.State(mean, factor), options=options, generator=seeded(1)
    )
    laplace = vi_bures.init(density, torch.zeros((1, 3), dtype=torch.float64))
    assert divergence(two.mean, two.factor, one.mean, one.factor) < 1e-3
    assert divergence(laplace.mean, laplace.factor, one.mean, one.factor) > 1e-2


@pytest.mark.parametrize("module", GAUSSIANS.values(), ids=GAUSSIANS.keys())
@pytest.mark.parametrize("target", [student(), two_modes()], ids=str)
def test_the_normaliser_is_told_within_its_error(target: Target, module: Any) -> None:
    run = engine(module, draws=50_000)
    draws, _ = run(target.density, target.starts(4, seeded(0)), seeded(0))
    told = draws.diagnostics
    off = abs(told["log_normaliser"] - target.log_normaliser)
    assert off < 4.5 * told["log_normaliser_se"]
    assert told["log_normaliser_se"] < 0.03
    missing, error = gap(draws, target)
    assert missing > -4.0 * error  # the ELBO is below


@pytest.mark.parametrize("target", [two_modes(), funnel()], ids=str)
def test_a_flow_is_nearer_than_any_gaussian(target: Target) -> None:
    generator = seeded(0)
    start = target.starts(4, generator)
    given = {"draws": 20_000}
    straight, _ = engine(vi_fullrank, **given)(target.density, start, generator)
    flow = engine(vi_flow, iterations=200, most_iterations=200, **given)
    bent, _ = flow(target.density, start, generator)
    missing, error = gap(bent, target)
    missing_straight, error_straight = gap(straight, target)
    assert missing + 4.0 * error < 0.5 * (missing_straight - 4.0 * error_straight)
    assert missing > -4.0 * error


def test_what_a_flow_says_of_its_density_integrates_to_one() -> None:
    """Log-determinants and slopes are those of the map, as torch differentiates it."""
    generator = seeded(0)
    for dim, kind, full in ((3, "planar", True), (3, "radial", False), (1, "radial", True)):
        start = torch.zeros((1, dim), dtype=torch.float64)
        target = gaussian(dim)
        options = vi_flow.Options(flow=kind, layers=3, fullrank=full)
        state = vi_flow.init(target.density, start, options, generator)
        maps = tuple(each + torch.randn(each.shape, generator=generator) for each in state.maps)
        base = 0.3 * torch.randn(state.base.shape, generator=generator, dtype=torch.float64)
        state = dataclasses.replace(state, maps=maps, base=base)
        told = json.loads(json.dumps(state.to_json()))
        state = vi_flow.State.from_json(told, start)
        e = torch.randn((5, dim), generator=generator, dtype=torch.float64)
        _, log_det, slopes = vi_flow.transport(state, e)
        for row, told, slope in zip(e, log_det, slopes, strict=True):

            def log_q(at: Tensor, flow: vi_flow.State = state) -> Tensor:
                return -0.5 * at.square().sum() - vi_flow.transport(flow, at.unsqueeze(0))[1][0]

            def forward(at: Tensor, flow: vi_flow.State = state) -> Tensor:
                return vi_flow.transport(flow, at.unsqueeze(0))[0][0]

            jacobian = torch.func.jacrev(forward)(row)
            assert float(told) == pytest.approx(float(torch.linalg.det(jacobian).log()))
            expected = torch.linalg.solve(jacobian.T, torch.func.grad(log_q)(row))
            assert torch.allclose(slope, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("flow", ["planar", "radial", "alternating"])
def test_a_flow_of_one_dimension_begins_near_the_identity(flow: str) -> None:
    generator, start = seeded(0), torch.zeros((1, 1), dtype=torch.float64)
    options = vi_flow.Options(flow=flow, layers=4)
    state = vi_flow.init(gaussian(1).density, start, options, generator)
    e = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64).unsqueeze(1)
    x, log_det, _ = vi_flow.transport(state, e)
    assert float((x - state.mean - e @ state.factor.T).abs().max()) < 0.3 * float(state.factor)
    assert float((log_det - state.factor.log().sum()).abs().max()) < 0.5
    assert sum(state.radial) == {"planar": 0, "radial": 4, "alternating": 2}[flow]


def test_draws_of_a_gaussian_fit_have_its_moments() -> None:
    target = gaussian(3)
    run = engine(vi_bures, draws=20_000, weighted=False)
    draws, _ = run(target.density, target.starts(2, seeded(0)), seeded(0))
    assert draws.log_weights is None
    assert draws.x.shape == (1, 20_000, 3)
    error = (target.variance / 20_000).sqrt()
    assert bool(((draws.x[0].mean(dim=0) - target.mean).abs() < 4.5 * error).all())
    assert torch.allclose(draws.x[0].var(dim=0), target.variance, rtol=4.5 * math.sqrt(2 / 20_000))
    assert torch.equal(draws.log_density[0], target.density.value_and_grad(draws.x[0])[0])


@pytest.mark.parametrize(
    ("dtype", "power", "stochastic"),
    [(torch.float32, 8, False), (torch.float32, 8, True), (torch.float64, 12, True)],
)
def test_bures_goes_on_where_curvatures_lie_decades_apart(
    dtype: torch.dtype, power: int, stochastic: bool
) -> None:
    """The density is flat at its mode and falls steeply: the fit begins far too wide."""
    density = Differentiated(lambda x: -(x**power).sum(dim=1))
    for seed in range(3):
        start = torch.randn(4, 6, generator=seeded(seed), dtype=dtype, device="cpu")
        options = vi_bures.Options(stochastic=stochastic)
        draws, found = vi_bures.run(density, start, options=options, generator=seeded(seed))
        assert bool((found.factor.diagonal() > 0.0).all())
        assert torch.equal(found.factor, found.factor.tril())
        assert bool(torch.isfinite(draws.x).all())
        assert math.isfinite(draws.diagnostics["elbo"])


@pytest.mark.parametrize("name", ["meanfield", "fullrank", "bures"])
def test_khat_tells_of_tails_that_are_too_light(name: str) -> None:
    target = student(dim=2, degrees=0.5)
    module = {"meanfield": vi_meanfield, **GAUSSIANS}[name]
    start = torch.full((1, 2), 0.5, dtype=torch.float64)
    draws, _ = engine(module, draws=20_000)(target.density, start, seeded(0))
    assert draws.diagnostics["khat"] > 0.7
    assert draws.diagnostics["converged"] == 0.0


@each_engine
def test_a_deep_funnel_is_not_called_converged_or_the_bound_tells(run: Run) -> None:
    def log_density(x: Tensor) -> Tensor:
        v, rest = x[:, 0], x[:, 1:]
        return -0.5 * ((v / 3.0).square() + 9.0 * v + rest.square().sum(dim=1) * torch.exp(-v))

    density = Differentiated(log_density)
    start = torch.zeros((1, 10), dtype=torch.float64)
    draws, _ = run(density, start, seeded(0))
    told = draws.diagnostics
    assert told["converged"] == 0.0 or told["elbo"] + 0.3 < told["log_normaliser"]
    assert told["elbo"] < 5.0 * math.log(2 * math.pi) + math.log(3.0) - 0.3


def test_a_fit_that_was_cut_short_is_not_called_converged() -> None:
    target = gaussian()
    state = vi_fullrank.State(*far(10))
    options = vi_fullrank.Options(max_iterations=3, most_points=64)
    draws, _ = vi_fullrank.run(target.density, state, options=options, generator=seeded(0))
    assert draws.diagnostics["converged"] == 0.0
    assert draws.diagnostics["iterations"] == 3.0


def test_good_weights_alone_are_not_called_converged() -> None:
    target = gaussian(3)
    options = vi_fullrank.Options(tolerance=0.0, most_points=64)
    start = target.starts(1, seeded(0))
    draws, _ = vi_fullrank.run(target.density, start, options=options, generator=seeded(0))
    assert draws.diagnostics["khat"] < 0.1
    assert draws.diagnostics["converged"] == 0.0


@each_engine
def test_a_region_without_density_does_not_ruin_a_fit(run: Run) -> None:
    """Half a Gaussian: -inf on one side, NaN in value and gradient far out on the other."""

    def log_density(x: Tensor) -> Tensor:
        inside = -0.5 * x.square().sum(dim=1)
        return torch.where(x[:, 0] > 0, inside, -math.inf) + 0.0 * (6.0 - x[:, 0]).log()

    start = torch.tensor([[-1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    draws, _ = run(Differentiated(log_density), start, seeded(0))
    assert bool(torch.isfinite(draws.x).all())
    assert draws.log_weights is not None
    weights, x = draws.log_weights[0].exp(), draws.x[0]
    assert float(weights.sum()) == pytest.approx(1.0)
    assert float(weights[~torch.isfinite(draws.log_density[0])].sum()) == 0.0
    assert float(torch.isfinite(draws.log_density).double().mean()) > 0.75
    assert 0.3 < float(weights @ x[:, 0]) < 1.3  # sqrt(2 / pi) = 0.8
    assert abs(float(weights @ x[:, 1])) < 0.4
    truth = math.log(math.pi)
    told = draws.diagnostics
    assert told["elbo"] < truth + 4.0 * told["elbo_se"]
    assert told["elbo"] > truth - 4.0


def test_draws_without_weights_are_never_where_the_density_is_0() -> None:
    density = Differentiated(
        lambda x: torch.where(x[:, 0].abs() < 1.5, -0.5 * x[:, 0].square(), math.nan)
    )
    state = vi_fullrank.State(
        torch.zeros(1, dtype=torch.float64), torch.ones((1, 1), dtype=torch.float64)
    )
    options = vi_fullrank.Options(weighted=False, max_iterations=1, most_points=64, draws=2000)
    draws, _ = vi_fullrank.run(density, state, options=options, generator=seeded(0))
    assert bool((draws.x.abs() < 1.5).all())
    assert bool(torch.isfinite(draws.log_density).all())


def test_the_bound_of_a_fit_that_lies_in_part_outside_is_that_of_the_rest() -> None:
    """q = N(0, 1) cut off at 0 is the target itself: the bound is its normaliser."""
    density = Differentiated(lambda x: torch.where(x[:, 0] > 0, -0.5 * x[:, 0].square(), -math.inf))
    x = torch.randn((10_000, 1), generator=seeded(0), dtype=torch.float64)
    log_q = -0.5 * (x[:, 0].square() + math.log(2 * math.pi))
    draws = variational.judged(
        Counted(density), x, log_q, weighted=True, stopped=True, iterations=0
    )
    truth = 0.5 * math.log(math.pi / 2.0)
    assert draws.diagnostics["elbo"] == pytest.approx(truth, abs=0.045)
    assert draws.diagnostics["log_normaliser"] == pytest.approx(truth, abs=0.045)
    assert draws.diagnostics["log_normaliser_se"] == pytest.approx(0.01, rel=0.2)


@each_engine
def test_the_same_seed_gives_the_same_and_another_another(run: Run) -> None:
    target = two_modes()
    start = target.starts(2, seeded(0))
    drawn = [run(target.density, start, seeded(seed))[0].x for seed in (5, 5, 6)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("name", ENGINES)
def test_a_fit_goes_on_from_what_was_kept_as_if_it_had_not_stopped(name: str) -> None:
    target, run = funnel(), ENGINES[name]
    generator = seeded(1)
    _, between = run(target.density, target.starts(2, seeded(0)), generator)
    kept = type(between).from_json(between.to_json(), target.mean)
    at = generator.get_state()
    straight, _ = run(target.density, between, generator)
    generator.set_state(at)
    resumed, after = run(target.density, kept, generator)
    assert torch.equal(straight.x, resumed.x)
    assert after.iterations >= between.iterations
    _, error = gap(straight, target)
    assert gap(resumed, target)[0] < 1.0 + 4.0 * error


@each_engine
@pytest.mark.parametrize(
    ("start", "told"),
    [
        (torch.zeros(3, dtype=torch.float64), r"shape \(chains, dim\), got \(3,\)"),
        (torch.full((2, 2), math.nan, dtype=torch.float64), "finite values, got NaN"),
        (torch.full((2, 1), -1.0, dtype=torch.float64), "above 0 at one of 2 starting points"),
    ],
)
def test_bad_starts_are_refused(run: Run, start: Tensor, told: str) -> None:
    density = Differentiated(lambda x: torch.where(x[:, 0] > 0, -x[:, 0], -math.inf))
    with pytest.raises(DataError, match=told):
        run(density, start, seeded(0))


@each_engine
def test_the_dtype_is_that_of_the_start(run: Run) -> None:
    density = Differentiated(lambda x: -0.5 * (x - 1.0).square().sum(dim=1))
    draws, state = run(density, torch.zeros((1, 2), dtype=torch.float32), seeded(0))
    assert draws.x.dtype == draws.log_density.dtype == state.mean.dtype == torch.float32
    assert torch.allclose(state.mean, torch.ones(2, dtype=torch.float32), atol=0.02)
    assert draws.diagnostics["ess"] > 450.0


@pytest.mark.parametrize(("count", "dim"), [(64, 8), (32, 30)])
def test_points_have_the_moments_of_a_normal(count: int, dim: int) -> None:
    like = torch.zeros(1, dtype=torch.float64)
    e = variational.points(count, dim, seeded(0), like)
    second = e.T @ e / count
    assert torch.allclose(e.mean(dim=0), torch.zeros(dim, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(second.diagonal(), torch.ones(dim, dtype=torch.float64))
    if count >= 2 * dim:
        assert torch.allclose(second, torch.eye(dim, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_a_climb_that_ends_at_a_wall_tells_the_value_where_it_ends(seed: int) -> None:
    def objective(x: Tensor) -> tuple[float, Tensor]:
        if bool((x <= 0.0).any()):
            return -100.0 - 10.0 * float(x.abs().sum()), -10.0 * x.sign()
        return -12.5 * float(x[0] ** 2) - float(x[1]), torch.stack([-25.0 * x[0], 0.0 * x[1] - 1.0])

    start = torch.rand(2, generator=seeded(seed), dtype=torch.float64, device="cpu")
    best, value, _ = variational.climb(objective, start, iterations=200, tolerance=1e-6)
    assert value == objective(best)[0]
    assert value > objective(start)[0]


@each_engine
def test_half_of_the_space_may_have_no_density(run: Run) -> None:
    """An exponential beside a normal: the Gaussian's own mean may lie where the density is 0."""

    def log(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0, -x[:, 0] - 0.5 * x[:, 1].square(), -math.inf)

    for seed in range(3):
        start = torch.randn((16, 2), generator=seeded(seed), dtype=torch.float64).abs()
        draws, _ = run(Differentiated(log), start, seeded(seed))
        assert draws.log_weights is not None
        weights = draws.log_weights[0].exp()
        assert float(weights[draws.x[0, :, 0] <= 0].sum()) == 0.0
        if run is ENGINES["meanfield"]:  # too narrow, which its k-hat does not always see
            continue
        error = 5.0 * float(weights.square().sum().sqrt())
        assert abs(float(weights @ draws.x[0, :, 0]) - 1.0) < error
        assert abs(float(weights @ draws.x[0, :, 1])) < error
