"""Every acquisition function and utility of BoTorch on a mixture, against its draws one by one.

Under one draw of the hyperparameters a mixture is an ordinary Gaussian process (`of_draw`, checked
against the joint matrix in `test_mixture.py`'s way); what BoTorch says of the mixture has to be the
average of what it says of these.
"""

import math
import pickle
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from botorch.acquisition import (
    AcquisitionFunction,
    ExpectedImprovement,
    LogExpectedImprovement,
    LogNoisyExpectedImprovement,
    PosteriorMean,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
    qExpectedImprovement,
    qKnowledgeGradient,
    qLogExpectedImprovement,
    qLogNoisyExpectedImprovement,
    qLowerBoundMaxValueEntropy,
    qMaxValueEntropy,
    qMultiFidelityKnowledgeGradient,
    qNegIntegratedPosteriorVariance,
    qNoisyExpectedImprovement,
    qProbabilityOfImprovement,
    qSimpleRegret,
    qUpperConfidenceBound,
)
from botorch.acquisition.analytic import LogProbabilityOfImprovement, PosteriorStandardDeviation
from botorch.acquisition.bayesian_active_learning import qBayesianActiveLearningByDisagreement
from botorch.acquisition.joint_entropy_search import qJointEntropySearch
from botorch.acquisition.multi_objective.hypervolume_knowledge_gradient import (
    qHypervolumeKnowledgeGradient,
)
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.parego import qLogNParEGO
from botorch.acquisition.objective import GenericMCObjective, ScalarizedPosteriorTransform
from botorch.acquisition.predictive_entropy_search import qPredictiveEntropySearch
from botorch.acquisition.thompson_sampling import PathwiseThompsonSampling
from botorch.acquisition.utils import get_optimal_samples
from botorch.cross_validation import ensemble_loo_cv
from botorch.exceptions import UnsupportedError
from botorch.generation.sampling import MaxPosteriorSampling
from botorch.models import ModelList, ModelListGP, SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.sampling import ListSampler, SobolQMCNormalSampler
from botorch.sampling.pathwise import draw_matheron_paths, get_matheron_path_model
from botorch.utils.multi_objective.scalarization import get_chebyshev_scalarization
from botorch.utils.sampling import optimize_posterior_samples
from botorch_community.acquisition.bayesian_active_learning import (
    qBayesianQueryByComittee,
    qBayesianVarianceReduction,
    qStatisticalDistanceActiveLearning,
)
from botorch_community.acquisition.scorebo import qSelfCorrectingBayesianOptimization
from torch import Generator, Tensor

from bo.acquisition.functions import Models
from bo.acquisition.over_draws import MixtureStandardDeviation, OverDraws, thompson_points
from surrogates.errors import CapabilityError
from surrogates.gp import hyperpriors
from surrogates.gp.hyperposterior import Data
from surrogates.gp.mixture import MixtureGP
from surrogates.gp.of_draw import of_draw

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*has known numerical issues"),
    pytest.mark.filterwarnings("ignore:`cache_root` is only supported"),
    pytest.mark.filterwarnings("ignore:Component models of ModelListGP have different batch"),
]

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
DRAWS = 5
BEST = 4.0
BOUNDS = torch.tensor([[0.0, 0.0], [1.0, 1.0]], **F64)


def seeded(seed: int) -> Generator:
    return Generator(device="cpu").manual_seed(seed)


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=seeded(seed), **F64)


def made(seed: int = 0, *, draws: int = DRAWS, **given: Any) -> Any:
    X = uniform(9, 2, seed=9)
    y = torch.randn(9, generator=seeded(seed), **F64)
    prior = hyperpriors.named("dimension-scaled", 2, noise=True)
    points = prior.sample(draws, seeded(seed + 1), X) - 1.0
    return MixtureGP(Data(X, y, (0, 1), True), points, centre=3.0, unit=2.0, **given)


def sampler(count: int = 64) -> SobolQMCNormalSampler:
    return SobolQMCNormalSampler(torch.Size([count]), seed=1)


PENDING = uniform(2, 2, seed=5)
CANDIDATES = uniform(40, 2, seed=6)
KNOWN = made().data.X
ONE, TWO = uniform(6, 1, 2, seed=7), uniform(6, 2, 2, seed=8)

Build = Callable[[Any], AcquisitionFunction]

ALONE: dict[str, tuple[Build, Tensor]] = {
    "LogEI": (lambda model: LogExpectedImprovement(model, BEST), ONE),
    "EI": (lambda model: ExpectedImprovement(model, BEST), ONE),
    "PI": (lambda model: ProbabilityOfImprovement(model, BEST), ONE),
    "LogPI": (lambda model: LogProbabilityOfImprovement(model, BEST), ONE),
    "UCB": (lambda model: UpperConfidenceBound(model, beta=4.0), ONE),
    "mean": (PosteriorMean, ONE),
    "qLogEI": (lambda model: qLogExpectedImprovement(model, BEST, sampler=sampler()), TWO),
    "qLogEI, pending": (
        lambda model: qLogExpectedImprovement(model, BEST, sampler=sampler(), X_pending=PENDING),
        ONE,
    ),
    "qEI": (lambda model: qExpectedImprovement(model, BEST, sampler=sampler()), TWO),
    "qPI": (lambda model: qProbabilityOfImprovement(model, BEST, sampler=sampler()), TWO),
    "qUCB": (lambda model: qUpperConfidenceBound(model, 4.0, sampler=sampler()), TWO),
    "qSR": (lambda model: qSimpleRegret(model, sampler=sampler(), X_pending=PENDING), ONE),
    "qNEI": (
        lambda model: qNoisyExpectedImprovement(
            model, KNOWN, sampler=sampler(), prune_baseline=False, cache_root=False
        ),
        ONE,
    ),
    "qLogNEI": (
        lambda model: qLogNoisyExpectedImprovement(
            model, KNOWN, sampler=sampler(), prune_baseline=False, cache_root=False
        ),
        TWO,
    ),
    "qLogNEI, pending": (
        lambda model: qLogNoisyExpectedImprovement(
            model,
            KNOWN,
            sampler=sampler(),
            prune_baseline=False,
            cache_root=False,
            X_pending=PENDING,
        ),
        ONE,
    ),
    "qKG": (
        lambda model: qKnowledgeGradient(model, num_fantasies=8, sampler=sampler(8)),
        uniform(3, 2 + 8, 2, seed=10),
    ),
    "qMFKG": (
        lambda model: qMultiFidelityKnowledgeGradient(model, num_fantasies=8, sampler=sampler(8)),
        uniform(3, 1 + 8, 2, seed=10),
    ),
    "qNIPV": (lambda model: qNegIntegratedPosteriorVariance(model, CANDIDATES), TWO),
    "qNIPV, pending": (
        lambda model: qNegIntegratedPosteriorVariance(model, CANDIDATES, X_pending=PENDING),
        ONE,
    ),
}


def average(values: list[Tensor], *, log: bool) -> Tensor:
    told = torch.stack(values)
    return told.logsumexp(dim=0) - math.log(len(values)) if log else told.mean(dim=0)


def test_a_draw_is_the_gaussian_process_that_it_is_in_the_mixture() -> None:
    model = made().condition_on_observations(PENDING, torch.tensor([[1.0], [5.0]], **F64))
    told = model.posterior(TWO)
    noisy = model.posterior(TWO, observation_noise=True)
    for place in range(DRAWS):
        alone = of_draw(model, place)
        assert type(alone) is SingleTaskGP
        one = alone.posterior(TWO)
        assert torch.allclose(one.mean, told.mean[:, place], rtol=1e-6, atol=1e-6)
        assert torch.allclose(one.variance, told.variance[:, place], rtol=1e-6, atol=1e-8)
        one = alone.posterior(TWO, observation_noise=True)
        assert torch.allclose(one.variance, noisy.variance[:, place], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ALONE)
def test_it_is_the_average_over_the_draws(name: str) -> None:
    build, X = ALONE[name]
    model = made()
    function = build(model)
    told = function(X)
    assert told.shape == X.shape[:-2]
    parts = [build(of_draw(model, place))(X) for place in range(DRAWS)]
    expected = average(parts, log=getattr(function, "_log", False))
    assert torch.allclose(told, expected, rtol=1e-5, atol=1e-6)
    assert torch.allclose(OverDraws(model, build)(X), expected, rtol=1e-10, atol=1e-10)


def test_weights_of_draws_count_in_every_function_over_draws() -> None:
    weights = torch.tensor([0.5, 0.0, 0.2, 0.2, 0.1], **F64)
    model = made(log_weights=weights.log())
    parts = [ExpectedImprovement(of_draw(model, place), BEST)(ONE) for place in range(DRAWS)]
    told = OverDraws(model, lambda gp: ExpectedImprovement(gp, BEST))(ONE)
    expected = (weights[:, None] * torch.stack(parts)).sum(dim=0)
    assert torch.allclose(told, expected, rtol=1e-10)
    log = OverDraws(model, lambda gp: LogExpectedImprovement(gp, BEST))(ONE)
    assert torch.allclose(log, expected.log(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize("cache", [True, False])
def test_noisy_improvement_whatever_is_pruned_or_cached(prune: bool, cache: bool) -> None:
    torch.manual_seed(0)
    options: Any = {"prune_baseline": prune, "cache_root": cache}
    told = qLogNoisyExpectedImprovement(made(), KNOWN, sampler=sampler(512), **options)(ONE)
    plain = ALONE["qLogNEI"][0](made())(ONE)
    near = plain > plain.max() - 3.0
    assert torch.allclose(told[near], plain[near], atol=0.25)


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("pending", [None, PENDING])
def test_hypervolume_of_two_mixtures(prune: bool, cache: bool, pending: Tensor | None) -> None:
    first, second = made(0), made(10)

    def build(known: Tensor, prune: bool, *models: Any) -> Any:
        torch.manual_seed(0)
        return qLogNoisyExpectedHypervolumeImprovement(
            ModelListGP(*models),
            [-1.0, -1.0],
            known,
            sampler=sampler(),
            prune_baseline=prune,
            cache_root=cache,
            X_pending=pending,
        )

    function = build(KNOWN, prune, first, second)
    kept = function._X_baseline
    assert len(kept) < len(KNOWN) if prune else len(kept) == len(KNOWN)
    pairs = [(of_draw(first, place), of_draw(second, place)) for place in range(DRAWS)]
    parts = [build(kept, False, *pair)(ONE) for pair in pairs]
    assert torch.allclose(function(ONE), average(parts, log=True), rtol=1e-4, atol=1e-4)


WEIGHTS = torch.tensor([0.3, 0.7], **F64)


@pytest.mark.parametrize("mixed", [False, True])
def test_several_goals_as_one(mixed: bool) -> None:
    first: MixtureGP = made(0)
    second: Any = SingleTaskGP(KNOWN, uniform(9, 1, seed=3)) if mixed else made(10)
    models = ModelListGP(cast(Any, first), second)
    settings: Any = {"sampler": sampler(), "cache_root": False}
    told = qLogNParEGO(models, KNOWN, WEIGHTS, **settings)(ONE)
    seen = models.posterior(KNOWN).mean.detach()
    one = GenericMCObjective(get_chebyshev_scalarization(WEIGHTS, seen.mean(dim=-3)))
    parts: list[Tensor] = []
    for place in range(DRAWS):
        pair = ModelListGP(of_draw(first, place), second if mixed else of_draw(second, place))
        settings = {"objective": one, "sampler": sampler(), "prune_baseline": False}
        settings["cache_root"] = False
        parts.append(qLogNoisyExpectedImprovement(pair, KNOWN, **settings)(ONE))
    assert torch.allclose(told, average(parts, log=True), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("joined", [True, False])
def test_hypervolume_of_a_mixture_and_an_ordinary_process(joined: bool) -> None:
    first, ordinary = made(0), SingleTaskGP(KNOWN, uniform(9, 1, seed=3))
    settings: Any = {"prune_baseline": False, "cache_root": False}

    def build(mixture: Any) -> AcquisitionFunction:
        each = [SobolQMCNormalSampler(torch.Size([64]), seed=seed) for seed in (1, 2)]
        return qLogNoisyExpectedHypervolumeImprovement(
            ModelListGP(mixture, ordinary) if joined else ModelList(mixture, ordinary),
            [-1.0, -1.0],
            KNOWN,
            sampler=sampler() if joined else ListSampler(*each),
            **settings,
        )

    parts = [build(of_draw(first, place))(ONE) for place in range(DRAWS)]
    assert torch.allclose(build(first)(ONE), average(parts, log=True), rtol=1e-4, atol=1e-4)
    assert type(Models([first, ordinary]).joined) is ModelList


def test_hypervolume_knowledge_gradient_of_two_mixtures() -> None:
    first, second = made(0), made(10)
    X = uniform(3, 1 + 8, 2, seed=1)

    def build(*models: Any) -> AcquisitionFunction:
        torch.manual_seed(0)
        samplers = [SobolQMCNormalSampler(torch.Size([4]), seed=seed) for seed in (1, 2)]
        return qHypervolumeKnowledgeGradient(
            ModelList(*models),
            torch.tensor([-1.0, -1.0], **F64),
            num_fantasies=4,
            num_pareto=2,
            sampler=ListSampler(*samplers),
            inner_sampler=sampler(32),
        )

    pairs = [(of_draw(first, place), of_draw(second, place)) for place in range(DRAWS)]
    expected = average([build(*pair)(X) for pair in pairs], log=False)
    assert torch.allclose(build(first, second)(X), expected, rtol=1e-4)


def test_mixtures_of_different_sizes_are_brought_to_one() -> None:
    first, second = made(0, draws=4), made(10, draws=6)
    few = second.thinned(4)
    function = qLogNoisyExpectedHypervolumeImprovement(
        ModelListGP(first, few), [-1.0, -1.0], KNOWN, sampler=sampler(8)
    )
    assert function(ONE).shape == (6,)


ENTROPIES: dict[str, Build] = {
    "qMES": lambda gp: qMaxValueEntropy(gp, CANDIDATES),
    "qMES, pending": lambda gp: qMaxValueEntropy(gp, CANDIDATES, X_pending=PENDING),
    "qMES, Thompson": lambda gp: qMaxValueEntropy(gp, CANDIDATES, use_gumbel=False),
    "qGIBBON": lambda gp: qLowerBoundMaxValueEntropy(gp, CANDIDATES),
    "qGIBBON, pending": lambda gp: qLowerBoundMaxValueEntropy(gp, CANDIDATES, X_pending=PENDING),
    "qPES": lambda gp: qPredictiveEntropySearch(gp, CANDIDATES[:2]),
    "standard deviation": PosteriorStandardDeviation,
}


@pytest.mark.parametrize("name", ENTROPIES)
def test_functions_of_one_gaussian_process_are_averaged(name: str) -> None:
    model, build = made(draws=2), ENTROPIES[name]
    torch.manual_seed(0)
    told = OverDraws(model, build)(ONE)
    torch.manual_seed(0)
    parts = [build(of_draw(model, place)) for place in range(2)]
    assert torch.allclose(told, average([part(ONE) for part in parts], log=False), rtol=1e-8)
    assert not torch.allclose(parts[0](ONE), parts[1](ONE), rtol=1e-3)


@pytest.mark.parametrize("name", ENTROPIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_functions_of_one_gaussian_process_refuse_a_mixture_by_name(
    name: str, weighted: bool
) -> None:
    model = made(log_weights=torch.zeros(DRAWS, **F64)) if weighted else made()
    asked = "PosteriorStandardDeviation" if name[0] == "s" else name.split(",", maxsplit=1)[0]
    whole = {
        "qMES": "qMaxValueEntropy",
        "qGIBBON": "qLowerBoundMaxValueEntropy",
        "qPES": "qPredictiveEntropySearch",
    }.get(asked, asked)
    with pytest.raises(CapabilityError, match=f"^{whole} expected .* bo.acquisition.over_draws"):
        ENTROPIES[name](model)(ONE)
    with pytest.raises(CapabilityError, match="OverDraws"):
        qMaxValueEntropy(model, CANDIDATES, train_inputs=KNOWN)


def test_botorch_refuses_a_mixture_where_it_wants_its_own_class() -> None:
    with pytest.raises(UnsupportedError, match="SingleTaskGP"):
        LogNoisyExpectedImprovement(made(), KNOWN)


@pytest.mark.parametrize("weighted", [False, True])
def test_standard_deviation_of_the_mixture(weighted: bool) -> None:
    weights = torch.tensor([0.5, 0.0, 0.2, 0.2, 0.1], **F64)
    model = made(log_weights=weights.log()) if weighted else made()
    told = MixtureStandardDeviation(model)(ONE)
    share = weights if weighted else torch.full_like(weights, 1.0 / DRAWS)
    found = [of_draw(model, place).posterior(ONE) for place in range(DRAWS)]
    means = torch.stack([each.mean.flatten() for each in found])
    squares = torch.stack([each.variance.flatten() for each in found]) + means.square()
    expected = (share @ squares - (share @ means).square()).sqrt()
    assert torch.allclose(told, expected, rtol=1e-6)
    assert torch.allclose(MixtureStandardDeviation(model)(ONE[0]), expected[0], rtol=1e-6)
    with pytest.raises(CapabilityError, match="one point at a time"):
        MixtureStandardDeviation(model)(TWO)


@pytest.mark.parametrize("estimate", ["LB", "MC"])
def test_joint_entropy_search_conditions_each_draw_on_its_own_optima(estimate: str) -> None:
    model = made()
    inputs, outputs = uniform(3, DRAWS, 2, seed=1), 6.0 + uniform(3, DRAWS, 1, seed=2)
    settings: Any = {"estimation_type": estimate, "condition_noiseless": False}
    torch.manual_seed(0)
    told = qJointEntropySearch(model, inputs, outputs, **settings)(ONE)
    parts: list[Tensor] = []
    for place in range(DRAWS):
        torch.manual_seed(0)
        gp = of_draw(model, place)
        parts.append(qJointEntropySearch(gp, inputs[:, place], outputs[:, place], **settings)(ONE))
    assert told.shape == (6,)
    # By Monte Carlo the base samples differ.
    near = 1e-5 if estimate == "LB" else 0.2
    assert torch.allclose(told, average(parts, log=False), rtol=near, atol=near)


def test_joint_entropy_search_from_optimal_samples() -> None:
    model = made()
    torch.manual_seed(0)
    inputs, outputs = get_optimal_samples(model, BOUNDS, 2, raw_samples=64, num_restarts=2)
    assert inputs.shape == (2, DRAWS, 2)
    assert outputs.shape == (2, DRAWS, 1)
    for X in (ONE, TWO):
        assert qJointEntropySearch(model, inputs, outputs)(X).shape == (6,)
    with pytest.raises(CapabilityError, match="get_optimal_samples"):
        qJointEntropySearch(model, inputs[:, 0], outputs[:, 0])


def test_disagreement_is_the_information_about_the_draws() -> None:
    model = made()
    told = qBayesianActiveLearningByDisagreement(model, sampler=sampler(2048))(ONE)
    found = model.posterior(ONE, observation_noise=True)
    means, stds = found.mean[:, :, 0, 0], found.variance[:, :, 0, 0].sqrt()
    line = torch.linspace(-30.0, 36.0, 20_001, **F64)
    density = torch.distributions.Normal(means[..., None], stds[..., None]).log_prob(line).exp()
    mixed = density.mean(dim=1)
    entropy = -(mixed * (mixed + 1e-300).log()).sum(dim=1) * (line[1] - line[0])
    own = (0.5 * math.log(2 * math.pi * math.e) + stds.log()).mean(dim=1)
    assert told.flatten() == pytest.approx((entropy - own).numpy(), abs=0.02)


def test_self_correcting_optimisation_is_the_distance_to_the_mixture() -> None:
    model = made()
    outputs = 6.0 + uniform(3, DRAWS, 1, seed=2)
    told = qSelfCorrectingBayesianOptimization(model, outputs)(ONE)
    clean, noisy = model.posterior(ONE), model.posterior(ONE, observation_noise=True)
    mean, var = noisy.mean[:, :, 0, 0], noisy.variance[:, :, 0, 0]
    std = clean.variance[:, :, 0, 0].sqrt()
    z = (outputs[None, :, :, 0] - mean[:, None]) / std[:, None]
    normal = torch.distributions.Normal(torch.zeros((), **F64), torch.ones((), **F64))
    ratio = normal.log_prob(z).exp() / normal.cdf(z).clamp_min(1e-6)
    cut = mean[:, None] - std[:, None] * ratio
    left = std[:, None].square() * (1 - z * ratio - ratio.square())
    left = left + (var - std.square())[:, None]
    whole = var.mean(dim=1) + mean.var(dim=1, correction=0)
    whole, middle = whole[:, None, None], mean.mean(dim=1)[:, None, None]
    total = left + whole
    overlap = (2 * (left * whole).sqrt() / total).sqrt()
    hellinger = (1 - overlap * torch.exp(-0.25 * (cut - middle).square() / total)).sqrt()
    assert torch.allclose(told, hellinger.mean(dim=(1, 2)), rtol=1e-6)
    both = qSelfCorrectingBayesianOptimization(model, outputs, uniform(3, DRAWS, 2, seed=1))
    assert both(ONE).shape == (6,)


@pytest.mark.parametrize(
    "learning",
    [qStatisticalDistanceActiveLearning, qBayesianQueryByComittee, qBayesianVarianceReduction],
)
def test_active_learning_of_the_community(learning: Build) -> None:
    told = learning(made())(ONE)
    assert told.shape == (6,)
    assert bool(torch.isfinite(told).all())
    same = made(draws=1).with_draws([0, 0, 0])
    assert learning(same)(ONE).abs().max() < told.abs().max(), "nothing to learn of equal draws"


def test_points_one_after_the_other() -> None:
    torch.manual_seed(0)
    function = qLogExpectedImprovement(made(), BEST, sampler=sampler(16))
    options: Any = {"maxiter": 3}
    for sequential in (True, False):
        points, _ = optimize_acqf(function, BOUNDS, 2, 2, 8, options=options, sequential=sequential)
        assert points.shape == (2, 2)


def test_thompson_sampling_from_points_is_marginal() -> None:
    model = made()
    torch.manual_seed(0)
    assert MaxPosteriorSampling(model)(CANDIDATES, num_samples=3).shape == (DRAWS, 3, 2)
    chosen = thompson_points(model, CANDIDATES, 4000, generator=seeded(0))
    again = thompson_points(model, CANDIDATES, 4000, generator=seeded(0))
    assert torch.equal(chosen, again)
    share = (chosen[:, None] == CANDIDATES).all(dim=-1).double().mean(dim=0)
    each = [MaxPosteriorSampling(of_draw(model, s))(CANDIDATES, 4000) for s in range(DRAWS)]
    expected = (torch.cat(each)[:, None] == CANDIDATES).all(dim=-1).double().mean(dim=0)
    assert (share - expected).abs().max() < 0.03


def test_paths_of_botorch_have_the_moments_of_their_draws() -> None:
    model = made()
    torch.manual_seed(0)
    paths = draw_matheron_paths(model, torch.Size([500]))(CANDIDATES[:4])
    assert paths.shape == (500, DRAWS, 4)
    told = model.posterior(CANDIDATES[:4])
    mean, std = told.mean[..., 0], told.variance[..., 0].sqrt()
    assert bool(((paths.mean(dim=0) - mean).abs() < 5 * std / math.sqrt(500) + 0.02).all())
    assert torch.allclose(paths.std(dim=0), std, rtol=0.1, atol=0.01)
    torch.manual_seed(0)
    assert torch.equal(paths, draw_matheron_paths(model, torch.Size([500]))(CANDIDATES[:4]))
    assert get_matheron_path_model(model).posterior(CANDIDATES).mean.shape == (DRAWS, 40, 1)
    thompson = PathwiseThompsonSampling(model)
    assert thompson(ONE).shape == (6,)
    assert torch.equal(thompson(ONE), thompson(ONE))


def test_maxima_of_paths() -> None:
    torch.manual_seed(0)
    paths: Any = draw_matheron_paths(made(), torch.Size([3]))
    with pytest.raises(CapabilityError, match="set_ensemble_as_batch"):
        optimize_posterior_samples(paths, BOUNDS, raw_samples=64, num_restarts=2)
    model = get_matheron_path_model(made(), torch.Size([3]), ensemble_as_batch=True)
    inputs, outputs = optimize_posterior_samples(model, BOUNDS, raw_samples=64, num_restarts=2)
    assert inputs.shape == (3, DRAWS, 2)
    assert bool((outputs[..., 0] >= model(CANDIDATES)[..., 0].amax(dim=-1) - 0.05).all())


def test_scalarised_posteriors_are_mixtures_too() -> None:
    transform = ScalarizedPosteriorTransform(torch.tensor([-2.0], **F64), offset=1.0)
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0], **F64).log()
    for model in (made(), made(log_weights=weights)):
        plain, told = model.posterior(TWO), model.posterior(TWO, posterior_transform=transform)
        assert torch.allclose(told.mixture_mean, 1.0 - 2.0 * plain.mixture_mean)
        assert torch.allclose(told.mixture_variance, 4.0 * plain.mixture_variance)
        assert torch.allclose(told.mean, 1.0 - 2.0 * plain.mean)


def test_a_copy_predicts_the_same() -> None:
    model = made(log_weights=torch.randn(DRAWS, generator=seeded(1), **F64))
    told = model.posterior(TWO)
    for copy in (pickle.loads(pickle.dumps(model)), made(3)):
        if copy.log_weights is None:
            copy.register_buffer("log_weights", torch.zeros(DRAWS, **F64))
            copy.load_state_dict(model.state_dict())
        again = copy.posterior(TWO)
        assert torch.equal(again.mean, told.mean)
        assert torch.equal(again.mixture_variance, told.mixture_variance)
        fewer = copy.with_draws([0, 2]).posterior(TWO)
        assert torch.equal(fewer.mean, model.with_draws([0, 2]).posterior(TWO).mean)


@pytest.mark.parametrize("known", [True, False])
def test_leaving_one_out_is_fitting_without_it(known: bool) -> None:
    model = made()
    noise = 0.1 + uniform(9, seed=4) if known else None
    draws = model.draws[:, :3] if known else model.draws
    data = Data(KNOWN, model.data.y, (0, 1), True, noise)
    model = MixtureGP(data, draws, centre=3.0, unit=2.0)
    told: Any = ensemble_loo_cv(cast(Any, model), observation_noise=False)
    assert told.posterior.mean.shape == (9, DRAWS, 1, 1)
    for row in (0, 4):
        rest = [other for other in range(9) if other != row]
        less = Data(KNOWN[rest], data.y[rest], (0, 1), True, None if noise is None else noise[rest])
        alone = MixtureGP(less, draws, centre=3.0, unit=2.0).posterior(KNOWN[[row]])
        assert torch.allclose(told.posterior.mean[row], alone.mean, rtol=1e-6, atol=1e-6)
        assert torch.allclose(told.posterior.variance[row], alone.variance, rtol=1e-5, atol=1e-5)
        assert torch.allclose(told.posterior.mixture_mean[row], alone.mixture_mean, rtol=1e-6)


def test_observations_of_each_draws_own() -> None:
    model = made()
    X, Y = uniform(2, DRAWS, 1, 2, seed=1), uniform(2, DRAWS, 1, 1, seed=2)
    after = model.condition_on_observations(X, Y, noise=0.01 * torch.ones_like(Y))
    told = after.posterior(CANDIDATES[:3])
    assert told.mean.shape == (2, DRAWS, 3, 1)
    for k, s in ((0, 0), (1, 3)):
        one = model.with_draws([s])
        alone = one.condition_on_observations(X[k, s], Y[k, s], 0.01 * torch.ones_like(Y[k, s]))
        expected = alone.posterior(CANDIDATES[:3])
        assert torch.allclose(told.mean[k, s], expected.mean[0], rtol=1e-8, atol=1e-8)
        assert torch.allclose(told.variance[k, s], expected.variance[0], rtol=1e-6, atol=1e-8)
