"""The Laplace approximation, and importance sampling from it.

MacKay (2003), "Information Theory, Inference, and Learning Algorithms", chapter 27: a Gaussian at
the mode whose precision is minus the Hessian of the log density there. Draws are weighted by target
over proposal, smoothed as by Vehtari et al. (2024), "Pareto Smoothed Importance Sampling".

The mode is found by L-BFGS from several starts, the best one kept; the Hessian is that of central
differences of the gradient, all in one call, which is repeated where the steps were too wide. The
proposal may be a Student t, with heavier tails.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from torch import Generator, Tensor

from surrogates.inference import diagnostics
from surrogates.inference.contract import Density, Draws, check_run, check_start, normals
from surrogates.inference.proposal import Proposal
from surrogates.inference.variational import Guarded
from surrogates.options import option, options

_SAME = 0.2
_STEP = 1e-4
_WIDE, _NARROW = 0.1, 0.01  # of a standard deviation: steps above the one become the other
_LOOKS = 5
_DIGITS = 100.0  # units of rounding that a step has at least
NEAR = 12.0
"""How far below the highest mode, in log density, another one counts for those who sample."""
_FLOOR = 0.05  # of the share of a mode
_INFLATED = 1.5


@options
class Options:
    """How the mode is sought and how much is drawn."""

    draws: int = option(default=512, help="draws of the approximation", low=16, high=10_000_000)
    max_iterations: int = option(default=200, help="of L-BFGS per start", low=1, high=100_000)
    degrees: int = option(
        default=5, help="of freedom of the proposal, a Student t; 0: a Gaussian", low=0, high=100
    )
    greatest_sd: float = option(
        default=10.0, help="standard deviation where the density is flat or bends up", low=1e-6
    )


@dataclass(frozen=True)
class State:
    """The approximation.

    Attributes:
        mode: (dim,).
        value: log density there.
        factor: (dim, dim) lower triangular, times its transpose the covariance.
        log_normaliser: logarithm of the integral of the density as approximated.
    """

    mode: Tensor
    value: float
    factor: Tensor
    log_normaliser: float


def init(density: Density, start: Tensor, options: Options) -> State:
    """Find the highest mode and what is around it (see `modes`)."""
    return max(modes(density, start, options), key=lambda found: found.value)


def modes(density: Density, start: Tensor, options: Options, *, near: float = 0.0) -> list[State]:
    """Find modes and what is around them.

    Args:
        density: unnormalised.
        start: (starts, dim) where to begin a search each.
        options: see `Options`.
        near: how far below the highest mode another may be, as a difference of log densities.

    Returns:
        Each mode once, the highest first.

    Raises:
        DataError: a start that is not finite, or a density of 0 at all of them.
    """
    values, _ = check_start(start, density)
    ends = [
        _climb(Guarded(density, row, value, torch.ones_like(row)), row, options.max_iterations)
        for row, value in zip(start, values.tolist(), strict=True)
        if math.isfinite(value)
    ]
    ends.sort(key=lambda end: float(end.fun))
    found: list[State] = []
    for end in ends:
        if found and found[0].value + float(end.fun) > near:
            break
        mode = torch.as_tensor(end.x).to(start)
        if any(_same(mode, other) for other in found):
            continue
        factor = _factor(density, mode, options.greatest_sd)
        volume = 0.5 * len(mode) * math.log(2 * math.pi) + float(factor.diagonal().log().sum())
        found.append(State(mode, -float(end.fun), factor, -float(end.fun) + volume))
    return found


def _climb(density: Guarded, start: Tensor, max_iterations: int) -> OptimizeResult:
    """L-BFGS; where there is no density it meets a wall that it turns back from.

    A number that is lower by far would not do: the line search would give up at a point between,
    which is no mode.
    """

    walls = 0

    def objective(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal walls
        value, gradient = density.value_and_grad(torch.as_tensor(x).to(start).unsqueeze(0))
        walls += float(value[0]) <= density.floor
        return -float(value[0]), -gradient[0].double().cpu().numpy()

    end = minimize(
        objective,
        start.double().cpu().numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations},
    )
    if walls:  # SciPy tells the best point, but the value of the last one tried
        end.fun, _ = objective(end.x)
    return end


def around(found: list[State]) -> Proposal:
    """A mixture of t distributions at modes, wider than the approximation, by their masses.

    Every mode has some share, for the mass is a guess.
    """
    masses = found[0].mode.new_tensor([each.log_normaliser for each in found])
    return Proposal(
        torch.log_softmax(torch.log(torch.softmax(masses, dim=0) + _FLOOR), dim=0),
        torch.stack([each.mode for each in found]),
        _INFLATED * torch.stack([each.factor for each in found]),
    )


def _same(mode: Tensor, other: State) -> bool:
    """Whether a search ended at a mode that is known, to a fifth of its standard deviations."""
    offset = (mode - other.mode).unsqueeze(1)
    white = torch.linalg.solve_triangular(other.factor, offset, upper=False)
    return float(white.square().sum()) < _SAME**2


def step(state: State, options: Options, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draws (draws, dim) of the proposal, and its log densities (draws,)."""
    dim = len(state.mode)
    like = state.mode
    normal = normals((options.draws, dim), generator, like)
    scale = torch.ones(options.draws, dtype=like.dtype, device=like.device)
    square = normal.square().sum(dim=1)
    log_det = state.factor.diagonal().log().sum()
    if options.degrees:
        nu = options.degrees
        chi_square = normals((options.draws, nu), generator, like).square().sum(dim=1)
        scale = (nu / chi_square).sqrt()
        log_density = (
            math.lgamma((nu + dim) / 2)
            - math.lgamma(nu / 2)
            - 0.5 * dim * math.log(nu * math.pi)
            - log_det
            - 0.5 * (nu + dim) * torch.log1p(scale.square() * square / nu)
        )
    else:
        log_density = -0.5 * (square + dim * math.log(2 * math.pi)) - log_det
    return state.mode + (scale.unsqueeze(1) * normal) @ state.factor.T, log_density


def run(
    density: Density,
    start: Tensor,
    *,
    options: Options,
    generator: Generator,
) -> Draws:
    """Weighted draws: `log_weights` are the smoothed importance weights.

    Diagnostics: `khat`, `ess` of the weights, `log_normaliser` by importance sampling.

    Raises:
        DataError: see `init`.
    """
    check_run(options, Options, generator, start, Tensor)
    state = init(density, start, options)
    x, proposed = step(state, options, generator)
    value, _ = density.value_and_grad(x)
    ratios = torch.nan_to_num(value, nan=-math.inf) - proposed
    log_weights, khat = diagnostics.pareto_smoothed(ratios)
    told = {
        "khat": khat,
        "ess": float(1.0 / (2.0 * log_weights).exp().sum()),
        "log_normaliser": float(torch.logsumexp(ratios, 0)) - math.log(len(ratios)),
        "converged": float(khat < diagnostics.good_khat(len(ratios))),
    }
    return Draws(x.unsqueeze(0), value.unsqueeze(0), log_weights.unsqueeze(0), told)


def _precision(density: Density, mode: Tensor, greatest_sd: float) -> Tensor:
    """Minus the Hessian, by steps that are short beside the standard deviations it tells of."""
    steps = _STEP * (1.0 + mode.abs())
    least = _DIGITS * torch.finfo(mode.dtype).eps * mode.abs()
    precision = _differences(density, mode, steps)
    for _ in range(_LOOKS):
        sd = precision.diagonal().clamp_min(greatest_sd**-2.0).rsqrt()
        wide = (steps > _WIDE * sd) & (steps > least)
        if not bool(wide.any()):
            break
        steps = torch.where(wide, (_NARROW * sd).maximum(least), steps)
        precision = _differences(density, mode, steps)
    return precision


def _differences(density: Density, mode: Tensor, steps: Tensor) -> Tensor:
    """Minus the Hessian by differences of the gradient; 0 where they are not finite.

    Central ones; where one side has no density, of the other and the mode.
    """
    offsets = torch.diag(steps)
    value, gradient = density.value_and_grad(torch.cat([mode + offsets, mode - offsets]))
    inside = torch.isfinite(value)
    if not bool(inside.all()):
        _, here = density.value_and_grad(mode.unsqueeze(0))
        gradient = torch.where(inside.unsqueeze(1), gradient, here)
    ahead, behind = gradient.chunk(2)
    width = steps * torch.stack(inside.chunk(2)).sum(dim=0)
    hessian = (ahead - behind) / width.unsqueeze(1)
    return torch.nan_to_num(-0.5 * (hessian + hessian.T), nan=0.0, posinf=0.0, neginf=0.0)


def _factor(density: Density, mode: Tensor, greatest_sd: float) -> Tensor:
    """Lower Cholesky factor of minus the inverse Hessian; flat directions have `greatest_sd`."""
    values, vectors = torch.linalg.eigh(_precision(density, mode, greatest_sd))
    variances = values.clamp_min(greatest_sd**-2.0).reciprocal()  # the greatest first
    if variances[0] < variances[-1] * torch.finfo(variances.dtype).eps ** -0.75:
        covariance = vectors * variances @ vectors.T
        return torch.linalg.cholesky(0.5 * (covariance + covariance.T))
    return lower_root(vectors * variances.sqrt())  # else the least would be lost in rounding


def lower_root(root: Tensor) -> Tensor:
    """Lower Cholesky factor (dim, dim) of root root^T, root (dim, k), without that matrix.

    In its rounding the least of variances that lie decades apart would be lost.
    """
    upper = torch.linalg.qr(root.T).R
    return (torch.where(upper.diagonal() < 0.0, -1.0, 1.0).unsqueeze(1) * upper).T
