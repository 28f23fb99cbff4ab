"""Variational inference with a normalizing flow.

Rezende & Mohamed (2015), "Variational Inference with Normalizing Flows": draws z of a Gaussian pass
through maps whose log-determinants are cheap; log q(x) = log q0(z) - the sum of these.

    planar  f(z) = z + u tanh(w z + b)             |det| = |1 + u psi|, psi = (1 - tanh^2) w
            u <- u + (m(w u) - w u) w / |w|^2, m(a) = log(1 + e^a) - 1     (appendix A.1)
    radial  f(z) = z + beta h (z - c), h = 1 / (alpha + |z - c|)
            |det| = (1 + beta h)^(d-1) (1 + beta h - beta h^2 |z - c|)
            beta = log(1 + e^b) - alpha                                    (appendix A.2)

Departs from it: the Gaussian beneath the flow has a full covariance by an option, and the whole
lies in the coordinates of a full-rank Gaussian that is fitted first (see `vi_fullrank`), where all
maps begin near the identity: so it begins about as good as that Gaussian. Adam goes by averages
over fresh quasi-random points of the path gradient (Vaitl, Nicoli, Nakajima & Kessel 2022,
"Gradients Should Stay on Path"): the slope of log p - log q where a point lands, times how the
parameters move it. Where q is p that is 0 at every point, not only on average. Adam's rate falls to
0 in a round, each twice as long as the one before; rounds go on until one raises the ELBO at 2048
points by less than `tolerance`, which is the test of `converged`, and the better of the last two is
kept.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from surrogates.inference import vi_fullrank
from surrogates.inference.contract import (
    Counted,
    Density,
    Draws,
    check_run,
    check_start,
    check_told,
    normals,
)
from surrogates.inference.variational import Guarded, judged, points
from surrogates.options import option, options

_CHECKED = 2048
_IDENTITY = math.log(math.e - 1.0)  # m is 0 there
_BETAS = (0.9, 0.99)
_NOISE = 0.05
_BEGUN = 0.05  # rise of the ELBO that ends the fit of the first Gaussian


@options
class Options:
    """Which flow, how well it is trained and how much is drawn."""

    draws: int = option(default=512, help="draws of the fit", low=16, high=10_000_000)
    weighted: bool = option(default=True, help="whether draws carry importance weights")
    flow: str = option(
        default="planar", help="kind of the maps", choices=("planar", "radial", "alternating")
    )
    layers: int = option(default=8, help="maps, one after the other", low=1, high=1000)
    fullrank: bool = option(default=True, help="whether the Gaussian beneath has a covariance")
    points: int = option(default=64, help="of a step of Adam", low=2, high=10**6)
    rate: float = option(default=0.1, help="of Adam at the start of a round", low=1e-6, high=1.0)
    iterations: int = option(default=200, help="steps of the first round", low=1, high=10**6)
    most_iterations: int = option(
        default=800, help="steps of a round; stops there, converged or not", low=1, high=10**7
    )
    tolerance: float = option(
        default=0.02, help="rise of the ELBO in a round that ends the fit", low=0.0
    )


@dataclass(frozen=True)
class State:
    """The flow: x = mean + factor f(z), f the maps in turn, z a Gaussian.

    Attributes:
        mean: (dim,).
        factor: (dim, dim) lower triangular.
        base: (dim + dim^2,) mean of z, and a matrix: the logarithms of its factor's diagonal, and
            what is beneath it; or (2 dim,) with the logarithms of the standard deviations.
        maps: (2 dim + 1,) u, w, b of a planar map; (dim + 2,) c, log alpha, b of a radial one.
        radial: which of the maps are radial.
        iterations: steps of Adam so far.
    """

    mean: Tensor
    factor: Tensor
    base: Tensor
    maps: tuple[Tensor, ...]
    radial: tuple[bool, ...]
    iterations: int = 0

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "mean": self.mean.tolist(),
            "factor": self.factor.tolist(),
            "base": self.base.tolist(),
            "maps": [each.tolist() for each in self.maps],
            "radial": list(self.radial),
            "iterations": self.iterations,
        }

    @staticmethod
    def from_json(told: Mapping[str, Any], like: Tensor) -> "State":
        """With the dtype and device of `like`."""
        check_told(told, "mean", "factor", "base", "maps", "radial", "iterations")
        where: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        mean, factor, base = (
            torch.tensor(told[key], **where) for key in ("mean", "factor", "base")
        )
        maps = tuple(torch.tensor(each, **where) for each in told["maps"])
        return State(mean, factor, base, maps, tuple(told["radial"]), told["iterations"])


def init(density: Density, start: Tensor, options: Options, generator: Generator) -> State:
    """A full-rank Gaussian, and maps that are almost the identity.

    Raises:
        DataError: a start that is not finite, or a density of 0 at all of them.
    """
    fit = vi_fullrank.Options(draws=16, tolerance=_BEGUN)
    _, found = vi_fullrank.run(density, start, options=fit, generator=generator)
    dim = len(found.mean)
    like = found.mean
    base = like.new_zeros(dim + (dim * dim if options.fullrank else dim))
    maps: list[Tensor] = []
    radial = tuple(
        options.flow == "radial" or (options.flow == "alternating" and at % 2 == 1)
        for at in range(options.layers)
    )
    for is_radial in radial:
        noise = normals((2 * dim + 2,), generator, like)
        if not is_radial:
            w = noise[:dim] / noise[:dim].norm()
            u = _IDENTITY * w + _NOISE * noise[dim : 2 * dim] / math.sqrt(dim)
            maps.append(torch.cat([u, w, noise[-1:]]))
        else:
            scale = torch.tensor([0.0, _IDENTITY], dtype=like.dtype, device=like.device)
            maps.append(torch.cat([noise[:dim], scale]))
    return State(found.mean, found.factor, base, tuple(maps), radial)


def transport(state: State, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where points (points, dim) of a standard normal go.

    Returns:
        Points x (points, dim); log-determinants (points,); the slopes of log q(x) in x (points,
        dim), which carry no graph.
    """
    dim = len(state.mean)
    spread = state.base[dim:]
    if len(spread) == dim:
        lower = torch.diag(spread.exp())
    else:
        spread = spread.unflatten(0, (dim, dim))
        lower = spread.tril(-1) + torch.diag(spread.diagonal().exp())
    z = state.base[:dim] + e @ lower.T
    log_det = lower.diagonal().log().sum() + state.factor.diagonal().log().sum()
    slope = _before(lower, -e)
    for each, radial in zip(state.maps, state.radial, strict=True):
        change = _radial if radial else _planar
        z, more, slope = change(z, each, slope)
        log_det = log_det + more
    return state.mean + z @ state.factor.T, log_det.expand(len(e)), _before(state.factor, slope)


@torch.no_grad()
def _before(lower: Tensor, slope: Tensor) -> Tensor:
    """Slopes in x = lower z, of those in z."""
    return torch.linalg.solve_triangular(lower, slope, upper=False, left=False)


def _planar(z: Tensor, raw: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dim = z.shape[1]
    u, w, b = raw[:dim], raw[dim : 2 * dim], raw[2 * dim]
    along = w @ u
    along_now = torch.nn.functional.softplus(along) - 1.0  # above -1: so it can be undone
    u = u + (along_now - along) * w / w.square().sum().clamp_min(1e-12)
    bent = torch.tanh(z @ w + b)
    steep = 1.0 - bent.square()
    det = 1.0 + steep * along_now
    with torch.no_grad():
        slope = slope + (2.0 * bent * steep * along_now / det).unsqueeze(1) * w  # of -log det
        slope = slope - (steep * (slope @ u) / det).unsqueeze(1) * w
    return z + bent.unsqueeze(1) * u, det.log(), slope


def _radial(z: Tensor, raw: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dim = z.shape[1]
    centre, alpha = raw[:dim], raw[dim].exp()
    beta = torch.nn.functional.softplus(raw[dim + 1]) - alpha
    offset = z - centre
    distance = (offset.square().sum(dim=1) + 1e-12).sqrt()
    near = 1.0 / (alpha + distance)
    stretch = beta * near
    across, along = 1.0 + stretch, 1.0 + stretch - stretch * near * distance
    log_det = (dim - 1) * across.log() + along.log()
    with torch.no_grad():
        falls = (dim - 1) / across + 2.0 * (1.0 - near * distance) / along  # of -log det
        slope = slope + (falls * stretch * near / distance).unsqueeze(1) * offset
        pull = stretch * near / distance * (slope * offset).sum(dim=1) / along
        slope = (slope + pull.unsqueeze(1) * offset) / across.unsqueeze(1)
    return z + stretch.unsqueeze(1) * offset, log_det, slope


@torch.no_grad()
def elbo(density: Density, state: State, e: Tensor) -> Tensor:
    """The ELBO but for the entropy of e, averaged over points e."""
    x, log_det, _ = transport(state, e)
    return (density.value_and_grad(x)[0] + log_det).mean()


def step(
    density: Density, state: State, options: Options, iterations: int, generator: Generator
) -> State:
    """A round of Adam; a step whose gradient is not finite is left out.

    Args:
        density: above 0 everywhere (see `variational.Guarded`).
        state: the flow to begin with.
        options: see `Options`.
        iterations: steps.
        generator: of the points.
    """
    dim = len(state.mean)
    parameters = [each.clone().requires_grad_() for each in (state.base, *state.maps)]
    optimiser = torch.optim.Adam(parameters, lr=options.rate, betas=_BETAS, maximize=True)
    for at in range(iterations):
        optimiser.param_groups[0]["lr"] = options.rate * (1.0 - at / iterations)
        e = points(options.points, dim, generator, state.mean)
        with torch.enable_grad():
            now = dataclasses.replace(state, base=parameters[0], maps=tuple(parameters[1:]))
            x, _, slope = transport(now, e)
            pull = density.value_and_grad(x.detach())[1] - slope
            slopes = torch.autograd.grad((pull * x).sum(dim=1).mean(), parameters)
        if all(bool(torch.isfinite(slope).all()) for slope in slopes):
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.grad = slope
            optimiser.step()
    base, *maps = (parameter.detach() for parameter in parameters)
    done = state.iterations + iterations
    return dataclasses.replace(state, base=base, maps=tuple(maps), iterations=done)


def run(
    density: Density,
    start: Tensor | State,
    *,
    options: Options,
    generator: Generator,
) -> tuple[Draws, State]:
    """Train, then draw.

    Args:
        density: unnormalised.
        start: (starts, dim) points, or a state to go on from, whose maps stay what they are.
        options: see `Options`.
        generator: of every random number.

    Returns:
        The draws and the flow. Diagnostics: see `variational.judged`.

    Raises:
        DataError: see `init`; a state whose `mean` has the density 0.
    """
    check_run(options, Options, generator, start, Tensor, State)
    counted = Counted(density)
    state = init(counted, start, options, generator) if isinstance(start, Tensor) else start
    dim = len(state.mean)
    known = state.mean.unsqueeze(0)
    if isinstance(start, Tensor):  # the Gaussian's mean may lie where the density is 0
        known = torch.cat([known, start])
    values, _ = check_start(known, counted)
    home = 0 if bool(torch.isfinite(values[0])) else int(values.nan_to_num(-torch.inf).argmax())
    guarded = Guarded(counted, known[home], float(values[home]), state.factor.norm(dim=1))
    count, rise = options.iterations, math.inf
    while count <= max(options.most_iterations, options.iterations) and (
        not rise < options.tolerance
    ):
        e = points(_CHECKED, dim, generator, state.mean)
        tried = step(guarded, state, options, count, generator)
        rise = float(elbo(guarded, tried, e) - elbo(guarded, state, e))
        state = tried if rise > 0.0 else state
        count *= 2
    e = normals((options.draws, dim), generator, state.mean)
    x, log_det, _ = transport(state, e)
    log_q = -0.5 * (e.square().sum(dim=1) + dim * math.log(2 * math.pi)) - log_det
    draws = judged(
        counted,
        x,
        log_q,
        weighted=options.weighted,
        stopped=rise < options.tolerance,
        iterations=state.iterations,
    )
    return draws, state
