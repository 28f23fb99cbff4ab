"""What the variational engines share: points to average over, an ascent, and the verdict.

Averages over a Gaussian are taken at randomised quasi-random points (Buchholz, Wenzel & Mandt 2018,
"Quasi-Monte Carlo Variational Inference"), moved and stretched so that their mean is 0 and their
second moments are those of the Gaussian: a quadratic log density is then averaged without error.

The draws of a fit are weighted by target over approximation, smoothed (Vehtari et al. 2024, "Pareto
Smoothed Importance Sampling"). A family has converged where its ELBO has stopped rising, by the
test that its file states, and `khat` lets the weights be trusted.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from torch import Generator, Tensor
from torch.quasirandom import SobolEngine

from surrogates.inference import diagnostics
from surrogates.inference.contract import Counted, Density, Draws, normals

_PENALTY = 100.0
_PULL = 10.0
_WORST = 1e100
_GIVEN_UP = 2  # the line search: SciPy tells the best point, and the value of the last one tried
_WINDOW = 5


class Guarded:
    """A density made one that is above 0 everywhere.

    Where the density is 0 or NaN, the logarithm is 100 below that at `home` and falls from there by
    10 for every standard deviation, so that what lies outside is drawn back. Gradients that are not
    finite are 0.

    Args:
        density: the target.
        home: (dim,) where it is above 0.
        value: log density there.
        sd: (dim,) units of the distance.
    """

    def __init__(self, density: Density, home: Tensor, value: float, sd: Tensor) -> None:
        self.density = density
        self.home, self.floor, self.sd = home, value - _PENALTY, sd

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Density`."""
        value, gradient = self.density.value_and_grad(x)
        good = torch.isfinite(value)
        gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        if bool(good.all()):
            return value, gradient
        away = (x - self.home) / self.sd
        distance = away.norm(dim=1)
        back = -_PULL * away / (distance.clamp_min(1e-12).unsqueeze(1) * self.sd)
        value = torch.where(good, value, self.floor - _PULL * distance)
        return value, torch.where(good.unsqueeze(1), gradient, back)


def points(count: int, dim: int, generator: Generator, like: Tensor) -> Tensor:
    """Quasi-random standard normal points (count, dim), with moments as exact as `count` allows.

    Mean 0 and variance 1 in every column; where there are twice as many points as columns, the
    columns are uncorrelated too.
    """
    if dim <= SobolEngine.MAXDIM:
        seed = torch.randint(
            2**62, (1,), generator=generator, dtype=torch.int64, device=generator.device
        )
        engine = SobolEngine(dim, scramble=True, seed=int(seed))
        uniform = engine.draw(count, dtype=torch.float64)
        drawn = torch.special.ndtri(uniform.clamp(1e-9, 1.0 - 1e-9)).to(like)
    else:
        drawn = normals((count, dim), generator, like)
    drawn = drawn - drawn.mean(dim=0)
    if count >= 2 * dim:
        factor = torch.linalg.cholesky(drawn.T @ drawn / count)
        return torch.linalg.solve_triangular(factor, drawn.T, upper=False).T.contiguous()
    return drawn / drawn.square().mean(dim=0).sqrt()


def climb(
    objective: Callable[[Tensor], tuple[float, Tensor]],
    start: Tensor,
    *,
    iterations: int,
    tolerance: float,
) -> tuple[Tensor, float, int]:
    """Maximise by L-BFGS until five iterations together raise the objective by less than that.

    Args:
        objective: value and gradient at a flat vector.
        start: where to begin; the value there is finite.
        iterations: at most.
        tolerance: the rise.

    Returns:
        The best point, the objective there, and the number of iterations.
    """
    seen: list[float] = []

    def downhill(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = objective(torch.as_tensor(x).to(start))
        slope = -gradient.double().cpu().numpy()
        if not math.isfinite(value) or not np.isfinite(slope).all():
            return _WORST, np.zeros_like(x)
        return -value, slope

    def look(intermediate_result: OptimizeResult) -> None:
        seen.append(-float(intermediate_result.fun))
        if len(seen) > _WINDOW and seen[-1] - seen[-1 - _WINDOW] < tolerance:
            raise StopIteration

    found = minimize(
        downhill,
        start.double().cpu().numpy(),
        jac=True,
        method="L-BFGS-B",
        callback=look,
        options={"maxiter": iterations, "maxcor": 20, "ftol": 1e-12, "gtol": 1e-9},
    )
    best, value = torch.as_tensor(found.x).to(start), -float(found.fun)
    if found.status == _GIVEN_UP:
        value, _ = objective(best)
    return best, value, int(found.nit)


def judged(
    counted: Counted,
    x: Tensor,
    log_q: Tensor,
    *,
    weighted: bool,
    stopped: bool,
    iterations: int,
) -> Draws:
    """Draws of an approximation with the verdict.

    Where the target is 0 a draw has the weight 0, and the ELBO is that of the approximation without
    the part that lies there; without weights such draws are replaced by others.

    Args:
        counted: the target.
        x: (draws, dim) of the approximation.
        log_q: (draws,) its log densities.
        weighted: whether the draws carry smoothed importance weights.
        stopped: whether the ELBO has stopped rising.
        iterations: of the fit.

    Returns:
        The draws. Diagnostics: `elbo` and its Monte Carlo error `elbo_se`, `khat` and `ess` of the
        weights, `log_normaliser` by importance sampling and its error `log_normaliser_se`,
        `iterations`, `gradients` (calls for all points at once), `converged`.
    """
    value, _ = counted.density.value_and_grad(x)
    size = len(x)
    good = torch.isfinite(value)
    ratios = torch.where(good, value - log_q, torch.full_like(value, -math.inf))
    log_weights, khat = diagnostics.pareto_smoothed(ratios)
    kept = ratios[good]
    total = torch.logsumexp(ratios, 0)
    squares = size * float((2.0 * (ratios - total)).exp().sum())
    told = {
        "elbo": float(kept.mean()) + math.log(len(kept) / size) if len(kept) else -math.inf,
        "elbo_se": float(kept.std()) / math.sqrt(len(kept)) if len(kept) > 1 else math.inf,
        "khat": khat,
        "ess": float(1.0 / (2.0 * log_weights).exp().sum()),
        "log_normaliser": float(total) - math.log(size),
        "log_normaliser_se": math.sqrt(max(squares - 1.0, 0.0) / size),
        "iterations": float(iterations),
        "gradients": float(counted.calls),
        "converged": float(stopped and khat < diagnostics.good_khat(size)),
    }
    if weighted:
        return Draws(x.unsqueeze(0), value.unsqueeze(0), log_weights.unsqueeze(0), told)
    if len(kept):
        place = good.nonzero().flatten()
        every = torch.arange(size, dtype=torch.int64, device=x.device)
        place = torch.where(good, every, place[every % len(place)])
        x, value = x[place], value[place]
    return Draws(x.unsqueeze(0), value.unsqueeze(0), None, told)
