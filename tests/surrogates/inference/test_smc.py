"""Sequential Monte Carlo on densities whose moments and integrals are known."""

import dataclasses
import json
import math

import pytest
import torch
from torch import Generator, Tensor

from surrogates.errors import DataError
from surrogates.inference import diagnostics, resampling, smc
from surrogates.inference.contract import Differentiated, Draws
from tests.surrogates.inference.targets import TARGETS, Target, funnel, two_modes

SEEDS = [0, 1]
ONE_SOON = [0, pytest.param(1, marks=pytest.mark.slow)]
OPTIONS = smc.Options()


def seeded(seed: int) -> Generator:
    return Generator(device="cpu").manual_seed(seed)


@dataclasses.dataclass(frozen=True)
class Normal:
    """Independent normals with their constant: a density to start from."""

    mean: Tensor
    sd: Tensor

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = (x - self.mean) / self.sd
        constant = self.sd.log().sum() + 0.5 * len(self.sd) * math.log(2 * math.pi)
        return -0.5 * z.square().sum(dim=1) - constant, -z / self.sd

    def draws(self, n: int, generator: Generator) -> Tensor:
        noise = torch.randn((n, len(self.sd)), generator=generator, dtype=torch.float64)
        return self.mean + self.sd * noise.to(self.sd)


def normal(*sd: float, mean: float = 0.0) -> Normal:
    scale = torch.tensor(sd, dtype=torch.float64)
    return Normal(torch.full_like(scale, mean), scale)


def around(target: Target) -> Normal:
    """Three times as wide as a target, and beside it."""
    sd = 3.0 * target.variance.sqrt()
    return Normal(target.mean + 0.5 * sd, sd)


def carried(
    target: Target, n: int, seed: int, options: smc.Options = OPTIONS
) -> tuple[Draws, smc.State]:
    generator = seeded(seed)
    prior = around(target)
    state = smc.init(prior, prior.draws(n, generator))
    return smc.run(prior, target.density, state, options=options, generator=generator)


@pytest.mark.parametrize("seed", ONE_SOON)
@pytest.mark.parametrize("target", [*TARGETS, funnel()], ids=str)
def test_moments_and_normalisers_of_known_densities(target: Target, seed: int) -> None:
    """Over 16 runs the error of a mean is 0.7 to 1.2 standard deviations over sqrt(n)."""
    n = 16_384
    draws, _ = carried(target, n, seed)
    told = draws.diagnostics
    assert told["converged"] == 1.0
    assert draws.x.shape == (1, n, len(target.mean))
    assert draws.log_weights is None
    x = draws.x[0]
    off = (x.mean(dim=0) - target.mean) / target.variance.sqrt()
    assert float(off.abs().max()) < 4.0 * 1.2 / math.sqrt(n)
    squares = (x - target.mean).square()
    noise = 1.2 * squares.std(dim=0) / math.sqrt(n)
    assert bool((3.0 * noise < 0.1 * target.variance).all())
    far = (squares.mean(dim=0) - target.variance).abs()
    assert bool((far < torch.minimum(0.1 * target.variance, 4.0 * noise)).all())
    assert told["log_normaliser_sd"] < 0.1
    error = told["log_normaliser"] - target.log_normaliser
    assert abs(error) < 4.0 * told["log_normaliser_sd"]


def test_the_error_of_the_normaliser_is_what_it_says() -> None:
    target = two_modes()
    runs = [carried(target, 128, seed)[0].diagnostics for seed in range(32)]
    errors = [told["log_normaliser"] - target.log_normaliser for told in runs]
    spread = math.sqrt(sum(error * error for error in errors) / len(errors))
    said = math.sqrt(sum(told["log_normaliser_sd"] ** 2 for told in runs) / len(runs))
    # A standard deviation of 32 normal numbers is itself uncertain by an eighth.
    assert 0.5 < spread / said < 1.5
    assert abs(sum(errors) / len(errors)) < 4.0 * spread / math.sqrt(len(errors))


def test_modes_that_no_chain_crosses_keep_their_shares() -> None:
    target = two_modes(distance=30.0)
    options = smc.Options(moves=2, most_moves=2)
    shares = torch.zeros(16, dtype=torch.float64)
    for seed in range(16):
        draws, _ = carried(target, 256, seed, options)
        assert abs(draws.diagnostics["log_normaliser"] - target.log_normaliser) < 0.8
        shares[seed] = (draws.x[0, :, 0] > 15.0).double().mean()
    spread = float(shares.std())
    assert 0.0 < spread < 0.1  # independent draws: 0.029
    assert float(shares.mean()) == pytest.approx(0.3, abs=4.0 * spread / 4.0)


@dataclasses.dataclass(frozen=True)
class Regression:
    """Coefficients ~ N(0, 4), outcomes with noise of known variance: all in closed form."""

    rows: Tensor
    y: Tensor
    noise_var: float = 0.25

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        off = self.y - x @ self.rows.T
        constant = 0.5 * len(self.y) * math.log(2 * math.pi * self.noise_var)
        constant += 0.5 * x.shape[1] * math.log(2 * math.pi * 4.0)
        value = -0.5 * off.square().sum(dim=1) / self.noise_var - x.square().sum(dim=1) / 8.0
        return value - constant, off @ self.rows / self.noise_var - x / 4.0

    def posterior(self) -> tuple[Tensor, Tensor, float]:
        """Means, variances and log evidence."""
        n, dim = self.rows.shape
        unit = torch.eye(n, dtype=torch.float64, device="cpu")
        outcome = torch.distributions.MultivariateNormal(
            torch.zeros_like(self.y), 4.0 * self.rows @ self.rows.T + self.noise_var * unit
        )
        precision = self.rows.T @ self.rows / self.noise_var
        precision = precision + 0.25 * torch.eye(dim, dtype=torch.float64, device="cpu")
        covariance = torch.linalg.inv(precision)
        mean = covariance @ self.rows.T @ self.y / self.noise_var
        return mean, covariance.diagonal(), float(outcome.log_prob(self.y))


@pytest.mark.parametrize("seed", SEEDS)
def test_one_row_after_the_other(seed: int) -> None:
    generator = seeded(seed)
    rows = torch.randn((20, 3), generator=generator, dtype=torch.float64)
    noise = torch.randn(20, generator=generator, dtype=torch.float64)
    y = rows @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + 0.5 * noise
    before: Normal | Regression = normal(2.0, 2.0, 2.0)
    assert isinstance(before, Normal)
    state = smc.init(before, before.draws(1024, generator))
    moved, evidence = [], 0.0
    for n in range(1, 21):
        after = Regression(rows[:n], y[:n])
        draws, state = smc.run(before, after, state, options=OPTIONS, generator=generator)
        told, before = draws.diagnostics, after
        moved.append(told["moved"])
        weights = state.log_weights.exp()
        assert float(weights.sum()) == pytest.approx(1.0)
        assert (draws.log_weights is None) == (told["moved"] > 0.0)
        mean, variance, log_evidence = after.posterior()
        effective = 1.0 / float(weights.square().sum())
        assert effective >= 512.0
        off = (weights @ state.x - mean) / variance.sqrt()
        assert float(off.abs().max()) < 4.5 / math.sqrt(effective / 2.0)
        spread = weights @ (state.x - mean).square() / variance
        assert float((spread - 1.0).abs().max()) < 4.5 * math.sqrt(2.0 / (effective / 2.0))
        error = told["log_normaliser"] - log_evidence
        assert abs(error) < 4.0 * told["log_normaliser_sd"] < 0.8
        evidence += told["log_ratio"]
        assert evidence == pytest.approx(told["log_normaliser"])
        assert told["converged"] == 1.0
    assert 3 < sum(moved) < 20  # the later rows tell little, and then no particle moves
    assert 0.0 in moved


def test_one_row_that_changes_everything_is_reached_in_stages() -> None:
    generator = seeded(0)
    before, after = normal(1.0, 1.0), normal(0.05, 0.05, mean=6.0)
    state = smc.init(before, before.draws(1024, generator))
    draws, _ = smc.run(before, after, state, options=OPTIONS, generator=generator)
    told = draws.diagnostics
    assert told["stages"] > 4
    assert told["converged"] == 1.0
    assert told["ess"] > 400.0
    assert 20.0 < told["ancestors"] < 500.0
    assert abs(told["log_ratio"]) < 4.0 * told["log_normaliser_sd"] < 0.8
    x = draws.x[0]
    assert float((x.mean(dim=0) - 6.0).abs().max()) < 4.0 * 1.2 * 0.05 / math.sqrt(1024)
    assert x.std(dim=0).tolist() == pytest.approx([0.05, 0.05], rel=0.15)
    jump = smc.Options(most_stages=1)
    at_once, _ = smc.run(before, after, state, options=jump, generator=generator)
    assert at_once.diagnostics["stages"] == 1.0
    assert at_once.diagnostics["converged"] == 0.0


def test_particles_that_are_not_of_their_density_are_found_out_in_the_moves() -> None:
    before, after = normal(1.0, 1.0), normal(0.7, 0.7, mean=1.5)
    generator = seeded(0)
    lost = smc.init(before, 0.3 * before.draws(512, generator))
    short = smc.Options(moves=2, most_moves=2)
    draws, _ = smc.run(before, after, lost, options=short, generator=generator)
    assert draws.diagnostics["drift"] > 5.0
    assert draws.diagnostics["converged"] == 0.0
    one_stage = smc.Options(cess=0.01, khat=10.0, correlation=1.0, most_moves=24)
    draws, _ = smc.run(before, after, lost, options=one_stage, generator=generator)
    assert draws.diagnostics["stages"] == 1.0
    assert draws.diagnostics["moves"] > 3.0  # as many as where all is well
    assert draws.diagnostics["drift"] < 5.0
    assert draws.x[0].std(dim=0).tolist() == pytest.approx([0.7, 0.7], rel=0.2)


@pytest.mark.parametrize("seed", range(4))
def test_particles_of_their_density_do_not_drift(seed: int) -> None:
    before, after = normal(1.0, 1.0), normal(0.5, 0.5, mean=0.5)
    generator = seeded(seed)
    state = smc.init(before, before.draws(256, generator))
    draws, _ = smc.run(before, after, state, options=OPTIONS, generator=generator)
    assert 0.0 < draws.diagnostics["drift"] < 5.0
    assert draws.diagnostics["correlation"] <= OPTIONS.correlation + 2.0 / math.sqrt(256)


def test_a_density_that_stays_moves_nothing() -> None:
    density = normal(1.0, 2.0)
    state = smc.init(density, density.draws(64, seeded(0)))
    draws, after = smc.run(density, density, state, options=OPTIONS, generator=seeded(1))
    assert torch.equal(after.x, state.x)
    assert draws.log_weights is None
    told = draws.diagnostics
    assert (told["stages"], told["moved"], told["gradients"], told["ancestors"]) == (1, 0, 1, 64)
    assert told["log_ratio"] == pytest.approx(0.0, abs=1e-12)
    assert told["ess"] == pytest.approx(64.0)


@pytest.mark.parametrize("sd", [0.9, 0.3])
def test_particles_go_on_from_what_was_kept_as_if_they_had_not_stopped(sd: float) -> None:
    """0.9: weighted, and some dead; 0.3: resampled and moved."""
    prior, last = normal(1.0, 1.0), normal(0.2, 0.2)
    near = normal(sd, sd)

    def log_density(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > -1.5, near.value_and_grad(x)[0], -math.inf)

    middle = Differentiated(log_density)
    generator = seeded(0)
    state = smc.init(prior, prior.draws(128, generator))
    draws, state = smc.run(prior, middle, state, options=OPTIONS, generator=generator)
    assert (draws.log_weights is None) == (sd == 0.3)
    assert 0.03 < draws.diagnostics["log_normaliser_sd"] < 0.3
    text = json.dumps(state.to_json(), allow_nan=False)
    kept = smc.State.from_json(json.loads(text), middle, state.x)
    assert torch.equal(kept.log_weights, state.log_weights)
    at = generator.get_state()
    straight, ends = smc.run(middle, last, state, options=OPTIONS, generator=generator)
    generator.set_state(at)
    resumed, also = smc.run(middle, last, kept, options=OPTIONS, generator=generator)
    assert torch.equal(straight.x, resumed.x)
    assert straight.diagnostics == resumed.diagnostics
    assert ends.to_json() == also.to_json()


def test_draws_are_the_same_from_the_same_seed_and_others_from_another() -> None:
    target = two_modes()
    drawn = [carried(target, 64, seed)[0].x for seed in (5, 5, 6)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_single_precision_stays() -> None:
    prior = Normal(torch.zeros(2, device="cpu"), torch.ones(2, device="cpu"))
    density = Differentiated(lambda x: -8.0 * (x - 1.0).square().sum(dim=1))
    generator = seeded(0)
    state = smc.init(prior, prior.draws(512, generator))
    draws, state = smc.run(prior, density, state, options=OPTIONS, generator=generator)
    assert {draws.x.dtype, draws.log_density.dtype, state.log_weights.dtype} == {torch.float32}
    assert draws.diagnostics["log_normaliser"] == pytest.approx(math.log(math.pi / 8), abs=0.5)
    assert draws.x[0].mean(dim=0).tolist() == pytest.approx([1.0, 1.0], abs=0.06)


def test_points_outside_the_support_have_no_weight() -> None:
    """A half normal: -inf on one side, NaN far out on the other."""

    def log_density(x: Tensor) -> Tensor:
        inside = -0.5 * x[:, 0].square()
        return torch.where(x[:, 0] > 0, inside, -math.inf) + 0.0 * (6.0 - x[:, 0]).log()

    prior = normal(3.0)
    generator = seeded(0)
    state = smc.init(prior, prior.draws(2048, generator))
    draws, _ = smc.run(
        prior, Differentiated(log_density), state, options=OPTIONS, generator=generator
    )
    x = draws.x[0, :, 0]
    assert bool((x > 0).all())
    assert bool(torch.isfinite(draws.log_density).all())
    assert float(x.mean()) == pytest.approx(math.sqrt(2 / math.pi), abs=4 * 1.2 * 0.6 / 2048**0.5)
    error = draws.diagnostics["log_normaliser"] - 0.5 * math.log(math.pi / 2)
    assert abs(error) < 4.0 * draws.diagnostics["log_normaliser_sd"] < 0.4


def test_bad_particles_are_refused() -> None:
    density = Differentiated(lambda x: torch.where(x[:, 0] > 0, -x[:, 0], -math.inf))
    for start, told in [
        (torch.zeros(3, dtype=torch.float64), r"shape \(chains, dim\), got \(3,\)"),
        (torch.full((2, 2), math.nan, dtype=torch.float64), "finite values, got NaN"),
        (torch.full((2, 1), -1.0, dtype=torch.float64), "above 0 at one of 2 starting points"),
    ]:
        with pytest.raises(DataError, match=told):
            smc.init(density, start)
    prior = normal(0.1, mean=-5.0)
    state = smc.init(prior, prior.draws(8, seeded(0)))
    with pytest.raises(DataError, match="above 0 at one of 8 particles, got none; start with more"):
        smc.run(prior, density, state, options=OPTIONS, generator=seeded(0))


def test_a_single_particle_and_a_single_point_do_not_fail() -> None:
    before, after = normal(1.0, 1.0), normal(0.5, 0.5)
    for start in (torch.zeros((1, 2), dtype=torch.float64), torch.ones((8, 2)).double()):
        state = smc.init(before, start)
        draws, _ = smc.run(before, after, state, options=OPTIONS, generator=seeded(0))
        assert bool(torch.isfinite(draws.x).all())
        assert all(math.isfinite(value) for value in draws.diagnostics.values())


def test_resampling_is_in_proportion() -> None:
    weights = torch.tensor([0.0, 0.5, 0.26, 0.0, 0.24, 0.0], dtype=torch.float64).repeat(5) / 5.0
    total = torch.zeros_like(weights)
    for seed in range(400):
        places = resampling.systematic(weights, len(weights), seeded(seed))
        count = torch.bincount(places, minlength=len(weights)).double()
        assert float((count - len(weights) * weights).abs().max()) < 1.0
        assert float(count[weights == 0.0].sum()) == 0.0
        total += count
    # A count is one of two neighbours, so its standard deviation is at most 0.5.
    assert float((total / 400 - len(weights) * weights).abs().max()) < 4.0 * 0.5 / math.sqrt(400)


def test_a_stage_goes_as_far_as_the_weights_stay_equal() -> None:
    weights = torch.full((1000,), -math.log(1000.0), dtype=torch.float64)
    z = normal(1.0).draws(1000, seeded(0))[:, 0]
    ratio = -50.0 * (z - 2.0).square()
    ratio[:100] = -math.inf  # dead whatever the length
    length = smc._length(weights, ratio, 1.0, smc.Options(khat=10.0))
    change = torch.exp(length * ratio)
    share = float(change.mean() ** 2 / change.square().mean())
    assert share == pytest.approx(0.5 * 0.9, rel=5e-3)
    assert smc._length(weights, 1e-3 * ratio, 0.7, OPTIONS) == 0.7
    heavy = -torch.log(1.0 - torch.linspace(0.0, 0.9999, 1000, dtype=torch.float64))  # shape 1
    length = smc._length(weights, 2.0 * heavy, 1.0, smc.Options(cess=0.01))
    assert length < 0.6
    assert diagnostics.khat(length * 2.0 * heavy) == pytest.approx(0.7, rel=0.2)


def test_siblings_count_as_one_in_the_error_of_the_normaliser() -> None:
    weights = torch.softmax(normal(1.0).draws(40, seeded(0))[:, 0], 0)
    alone = torch.arange(40, dtype=torch.int64, device="cpu")
    twice = 0.5 * weights.repeat_interleave(2)
    variance = smc._variance(weights, alone)
    assert variance == pytest.approx(float(weights.square().sum()) - 1.0 / 40)
    assert smc._variance(twice, alone.repeat_interleave(2)) == pytest.approx(variance)


def test_weights_on_few_particles_are_not_trusted() -> None:
    """The second density has a twentieth of the first one's support."""
    prior = normal(1.0)
    density = Differentiated(lambda x: torch.where(x[:, 0] > 1.645, 0.0, -math.inf) - x[:, 0])
    state = smc.init(prior, prior.draws(400, seeded(0)))
    draws, _ = smc.run(prior, density, state, options=OPTIONS, generator=seeded(0))
    assert draws.diagnostics["ess"] < 40.0
    assert draws.diagnostics["drift"] < OPTIONS.drift
    assert draws.diagnostics["converged"] == 0.0


@pytest.mark.parametrize("last", [True, False])
def test_values_and_gradients_are_those_of_the_particles(last: bool) -> None:
    prior, density = normal(1.0, 1.0), normal(0.5, 0.4, mean=0.5)
    state = smc.init(prior, prior.draws(64, seeded(0)))
    stage = smc.Stage(state, 0.0, (state.value, None), density.value_and_grad(state.x))
    options = smc.Options(moves=1, most_moves=1, cess=0.6)
    stage, moved = smc.step(prior, density, stage, options, seeded(1), last=last)
    assert (stage.share == 1.0) == last
    assert 0.0 < moved.accept < 1.0
    assert moved.places is not None
    value, gradient = density.value_and_grad(stage.state.x)
    assert torch.allclose(stage.after[0], value)
    assert torch.allclose(stage.after[1], gradient)
    between = smc.Between(prior, density, stage.share)
    assert torch.allclose(stage.state.value, between.value_and_grad(stage.state.x)[0])


def test_few_particles_never_say_that_they_are_enough() -> None:
    def log_density(x: Tensor) -> Tensor:
        return -0.5 * x.square().sum(dim=1)

    def sharper(x: Tensor) -> Tensor:
        return log_density(x) - 50.0 * (x - 1.0).square().sum(dim=1)

    before, after = Differentiated(log_density), Differentiated(sharper)
    for particles in (2, 8, 32):
        start = torch.randn((particles, 2), generator=seeded(particles), dtype=torch.float64)
        draws, _ = smc.run(
            before,
            after,
            smc.init(before, start),
            options=smc.Options(),
            generator=seeded(0),
        )
        assert draws.diagnostics["converged"] == 0.0
