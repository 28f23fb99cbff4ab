"""Acquisition functions by name, from BoTorch. Outcomes are oriented so that higher is better.

- `logei`: log expected improvement over the best posterior mean at the observed points, Ament et
  al. (2023), "Unexpected Improvements to Expected Improvement"; with pending points its Monte
  Carlo form, which conditions on them. On the CPU in closed form, of `gp-map` by
  `bo/acquisition/fused.py` and of many draws of hyperparameters by `fused_mixture.py` beside it.
- `lognei`: log noisy expected improvement, which also integrates over the incumbent's value.
- `ucb`: upper confidence bound, mean + sqrt(beta) std, Srinivas et al. (2010), "Gaussian Process
  Optimization in the Bandit Setting".
- `ts`: Thompson sampling, a function drawn from the posterior (`bo/acquisition/thompson.py`), of
  surrogates with the capability `paths`.
- `ehvi`: for several goals, log noisy expected hypervolume improvement, Daulton et al. (2021),
  "Parallel Bayesian Optimization of Multiple Noisy Objectives with Expected Hypervolume
  Improvement", in its logarithmic form of Ament et al. (2023). Of `gp-map` on the CPU:
  `bo/acquisition/fused_ehvi.py`; of many draws of hyperparameters `fused_mixture_ehvi.py`.

Limits are models of what is to be at least 0 at a point that counts (outcome constraints, that an
evaluation succeeds): improvement is weighed with the probability that they hold.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import botorch.acquisition.multi_objective.logei as botorch_logei
import torch
from botorch.acquisition import (
    AcquisitionFunction,
    LogExpectedImprovement,
    UpperConfidenceBound,
    qLogExpectedImprovement,
    qLogNoisyExpectedImprovement,
    qUpperConfidenceBound,
)
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.acquisition.objective import ConstrainedMCObjective, GenericMCObjective
from botorch.acquisition.utils import prune_inferior_points
from botorch.models import ModelListGP
from botorch.models.gpytorch import GPyTorchModel
from botorch.models.model import Model, ModelList
from botorch.posteriors import TorchPosterior
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from botorch.sampling import SobolQMCNormalSampler
from botorch.sampling.get_sampler import get_sampler
from jaxtyping import Float
from torch import Tensor

from bo.acquisition.fused import FusedLogEI
from bo.acquisition.fused_ehvi import FusedLogEHVI
from bo.acquisition.fused_mixture import FusedMixtureLogEI
from bo.acquisition.fused_mixture_ehvi import FusedMixtureLogEHVI
from bo.acquisition.thompson import ThompsonSample
from surrogates.errors import UsageError
from surrogates.gp.map import MapGP
from surrogates.gp.mixture import MixtureGP

BETA = 4.0
SAMPLES = 128
PRUNING_SAMPLES = 2048
HYPERVOLUME_DRAWS = 4

if hasattr(botorch_logei, "_load_attempted"):
    # BoTorch would compile a kernel with g++ at first use, for half a minute; and where that is
    # cut off, every later process waits for ever for the lock that it left.
    botorch_logei._load_attempted = True


@dataclasses.dataclass(frozen=True)
class Models:
    """What was fitted.

    Attributes:
        goals: a model per goal.
        limits: models of what is to be at least 0.
    """

    goals: Sequence[Model]
    limits: Sequence[Model] = ()

    @property
    def joined(self) -> Model:
        """All in one, goals first."""
        held = [*self.goals, *self.limits]
        if len(held) == 1:
            return held[0]
        if all(isinstance(model, GPyTorchModel) for model in held):
            return ModelListGP(*cast(Any, held))
        return ModelList(*held)

    @property
    def constraints(self) -> list[Callable[[Tensor], Tensor]]:
        """Of the outcomes of `joined`: at most 0 where a limit holds."""
        first = len(self.goals)
        return [_minus(first + at) for at in range(len(self.limits))]


def acquisition(
    name: str,
    models: Models,
    observed: Float[Tensor, "n d"],
    pending: Float[Tensor, "p d"] | None,
    *,
    reference: Sequence[float] | None = None,
    seed: int,
    margin: float = 0.0,
    beta: float = BETA,
) -> AcquisitionFunction:
    """The acquisition function of one more point.

    Args:
        name: one of `bo.acquisition.names`.
        models: fitted to outcomes of which higher is better.
        observed: (n, d) the points that have outcomes.
        pending: (p, d) points under evaluation, or None.
        reference: oriented as the outcomes; of several goals.
        seed: of the Monte Carlo base samples.
        margin: of `logei`: how far above the best mean improvement begins, in the units of the
            outcomes.
        beta: of `ucb`.

    Raises:
        UsageError: `ehvi` for one goal, or another one for several.
    """
    if (name == "ehvi") != (len(models.goals) > 1):
        raise UsageError(
            f"acquisition {name} expected {'several goals' if name == 'ehvi' else 'one goal'}, got "
            f"{len(models.goals)}; leave the option out"
        )
    models = _of_one_size(models)
    model, limits, m = models.goals[0], models.limits, len(models.goals)
    held = [*models.goals, *limits]
    fused = [each for each in held if isinstance(each, MapGP) and each.predictor is not None]
    closed = len(fused) == len(held)
    mixed = [
        each
        for each in held
        if isinstance(each, MixtureGP)
        and each.data.kernel is None  # of the two that are compiled there
        and observed.device.type == "cpu"
    ]
    alike = len(mixed) == len(held)
    if name == "ehvi":
        assert reference is not None
        if closed:
            return FusedLogEHVI(fused[:m], reference, pending, limits=fused[m:], seed=seed)
        if alike:
            return FusedMixtureLogEHVI(mixed[:m], reference, pending, limits=mixed[m:], seed=seed)
        return _hypervolume(models, observed, pending, reference, seed)
    if name == "logei" and closed:
        return FusedLogEI(fused[0], pending, limits=fused[1:], seed=seed, margin=margin)
    if name == "logei" and alike:
        return FusedMixtureLogEI(mixed[0], pending, limits=mixed[1:], seed=seed, margin=margin)
    if name == "ts":
        return ThompsonSample(model, limits, observed, seed=seed)
    if limits:
        return _limited(name, models, observed, pending, seed, margin, beta)
    sampler = SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=seed)
    if name == "lognei":
        # Pruned here: left to BoTorch, it would draw from torch's global generator.
        pruning = SobolQMCNormalSampler(torch.Size([PRUNING_SAMPLES]), seed=seed)
        kept = prune_inferior_points(model, observed, sampler=pruning)
        return qLogNoisyExpectedImprovement(
            model, kept, sampler=sampler, X_pending=pending, prune_baseline=False
        )
    if name == "ucb" and pending is None:
        return UpperConfidenceBound(model, beta=beta)
    if name == "ucb":
        return qUpperConfidenceBound(model, beta=beta, sampler=sampler, X_pending=pending)
    best = _means([model], observed).max() + margin
    if pending is None:
        return LogExpectedImprovement(model, best_f=best)
    return qLogExpectedImprovement(model, best_f=best, sampler=sampler, X_pending=pending)


def _limited(
    name: str,
    models: Models,
    observed: Tensor,
    pending: Tensor | None,
    seed: int,
    margin: float,
    beta: float,
) -> AcquisitionFunction:
    """One goal with limits, for models that have no closed form."""
    joined, constraints = models.joined, models.constraints
    sampler = _sampler(joined, observed, seed)
    objective = GenericMCObjective(lambda samples, X=None: samples[..., 0])
    means = _means([*models.goals, *models.limits], observed)
    holds = (means[:, 1:] >= 0).all(dim=1)
    if name == "ucb":
        worst = means[:, 0].min() - (means[:, 0].max() - means[:, 0].min())
        weighed = ConstrainedMCObjective(
            lambda samples, X=None: samples[..., 0], constraints, infeasible_cost=-worst
        )
        return qUpperConfidenceBound(
            joined, beta=beta, sampler=sampler, objective=weighed, X_pending=pending
        )
    if name == "lognei":
        return qLogNoisyExpectedImprovement(
            joined,
            observed,
            sampler=sampler,
            objective=objective,
            constraints=constraints,
            X_pending=pending,
            prune_baseline=False,
        )
    best = means[holds, 0].max() if bool(holds.any()) else means[:, 0].min()
    return qLogExpectedImprovement(
        joined,
        best_f=best + margin,
        sampler=sampler,
        objective=objective,
        constraints=constraints,
        X_pending=pending,
    )


def _hypervolume(
    models: Models,
    observed: Tensor,
    pending: Tensor | None,
    reference: Sequence[float],
    seed: int,
) -> AcquisitionFunction:
    thin = Models(_thinned(models.goals), _thinned(models.limits))
    joined, m = thin.joined, len(models.goals)
    # Pruned here: left to BoTorch, it would draw from torch's global generator.
    kept = observed[_hopeful(models.goals, observed)]
    return qLogNoisyExpectedHypervolumeImprovement(
        joined,
        ref_point=list(reference),
        X_baseline=kept,
        sampler=_sampler(joined, observed, seed),
        objective=IdentityMCMultiOutputObjective(outcomes=list(range(m))),
        constraints=models.constraints or None,
        X_pending=pending,
        prune_baseline=False,
        cache_root=False,
    )


def _of_one_size(models: Models) -> Models:
    """As many draws of hyperparameters in each mixture as in the smallest."""
    held = [*models.goals, *models.limits]
    counts = {each.num_mcmc_samples for each in held if isinstance(each, MixtureGP)}
    if len(counts) < 2:
        return models
    cut = [each.thinned(min(counts)) if isinstance(each, MixtureGP) else each for each in held]
    return Models(cut[: len(models.goals)], cut[len(models.goals) :])


def _thinned(models: Sequence[Model]) -> list[Model]:
    """Models of fewer draws of hyperparameters: BoTorch's hypervolumes are costly in each."""
    return [
        each.thinned(HYPERVOLUME_DRAWS) if isinstance(each, MixtureGP) else each for each in models
    ]


def _hopeful(goals: Sequence[Model], X: Tensor) -> Tensor:
    """(n,) whether the mean of no other point is better in every goal than mean + 2 std here."""
    told = [_moments(model, X) for model in goals]
    mean = torch.cat([each for each, _ in told], dim=-1)
    top = mean + 2 * torch.cat([each for _, each in told], dim=-1).sqrt()
    beaten = (mean[None] > top[:, None]).all(dim=-1)
    return ~beaten.any(dim=1)


def _means(models: Sequence[Model], X: Tensor) -> Float[Tensor, "n m"]:
    return torch.cat([_moments(model, X)[0] for model in models], dim=-1)


def _moments(model: Model, X: Tensor) -> tuple[Tensor, Tensor]:
    """Means and variances (n, 1); of several draws of hyperparameters, those of their mixture."""
    with torch.no_grad():
        told = cast(Any, model.posterior(X))
    if isinstance(told, GaussianMixturePosterior):
        return told.mixture_mean, told.mixture_variance
    return told.mean, told.variance


def _sampler(model: Model, X: Tensor, seed: int) -> Any:
    with torch.no_grad():
        return get_sampler(
            cast(TorchPosterior, model.posterior(X[:1])), torch.Size([SAMPLES]), seed=seed
        )


def _minus(column: int) -> Callable[[Tensor], Tensor]:
    return lambda outcomes: -outcomes[..., column]
