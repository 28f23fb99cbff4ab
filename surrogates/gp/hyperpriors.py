"""Priors of a Gaussian process's hyperparameters, as densities of their logarithms.

- `moderate`: log l_j ~ N(log(0.4) + log(p)/2, 1), log signal_var ~ N(0, 1), log noise_var ~ N(-4,
  1), and the noise is 1e-6 at least, as `gp-map` has it. No paper: the mode of the next one as a
  density of l_j itself, where `gp-map` starts, is the median here, or near it; as a density of
  log l_j that one has it at length-scales of 4 sqrt(p).
- `dimension-scaled`: log l_j ~ N(sqrt(2) + log(p)/2, 3), log noise_var ~ N(-4, 1), of Hvarfner,
  Hellsten & Nardi (2024), "Vanilla Bayesian Optimization Performs Great in High Dimensions".
- `saas`: 1 / l_j^2 = tau rho_j with rho_j ~ C+(1) and tau ~ C+(0.1), half-Cauchy, of Eriksson &
  Jankowiak (2021), "High-Dimensional Bayesian Optimization with Sparse Axis-Aligned Subspaces";
  noise_var ~ Gamma(0.9, 10). The global tau is integrated out by the trapezoidal rule on log tau,
  whose error falls exponentially in the step for an integrand that is analytic and dies away.
- `vague`: N(0, 3) of every logarithm, of Lalchand & Rasmussen (2020), "Approximate Inference for
  Fully Bayesian Gaussian Process Regression"; the 3 is taken for the standard deviation.
- `gamma`: l_j ~ Gamma(3, 6), signal_var ~ Gamma(2, 0.15), noise_var ~ Gamma(1.1, 0.05), densities
  of the numbers themselves, of De Ath, Everson & Fieldsend (2021), "How Bayesian Should Bayesian
  Optimisation Be?", and of BoTorch until 2024.
- `flat`: N(0, 30) of every logarithm, as good as no prior, so that the mode of maximum likelihood
  stays finite. For `gp-mode`; there is nothing to sample where the likelihood is flat too.

The signal variance is Gamma(2, 0.15) with `dimension-scaled` and `saas` too, as in BoTorch's fully
Bayesian models; and all but `moderate` have its least noise, 1e-4 of the outcomes' variance, which
without noise is in the way of the last digits of an optimum.

Of a kernel that is a sum of products (`surrogates/gp/kernels.py`) every elementary kernel has
length-scales of such a prior, its own, and every term such a signal variance. No paper says what
else it needs: log period ~ N(log 0.2, 2.25), 95 % from 1/100 to 4 widths of the unit cube, and log
alpha ~ N(0, 1). Where columns are warped, log a and log b ~ N(0, 0.75), as in BoTorch's fully
Bayesian models: half of them bend either way. `vague` and `flat` are those of all of these too.
"""

import dataclasses
import functools
import math
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import gammaincinv
from torch import Generator, Tensor

from surrogates.compiled import compiled
from surrogates.errors import UsageError
from surrogates.gp.kernels import Kernel, Slot
from surrogates.gp.warp import PRIOR_VAR
from surrogates.inference.contract import normals, uniforms

Array = NDArray[np.float64]

NAMES = ("moderate", "dimension-scaled", "saas", "vague", "gamma")
FLAT = "flat"
LEAST_NOISE_VAR = 1e-4
_TAU_SCALE = 0.1
_GREATEST_LOG = 600.0


@runtime_checkable
class Prior(Protocol):
    """A density of (log l_1, ..., log l_p, log signal_var[, log noise_var])."""

    def value_and_grad(
        self, x: Float[Tensor, "chains dim"]
    ) -> tuple[Float[Tensor, " chains"], Float[Tensor, "chains dim"]]:
        """Log densities and gradients."""
        ...

    def sample(self, n: int, generator: Generator, like: Tensor) -> Float[Tensor, "n dim"]:
        """Draws, of the dtype and device of `like`."""
        ...


def named(
    name: str, p: int, *, noise: bool, kernel: Kernel | None = None, warped: int = 0
) -> Prior:
    """A prior for p length-scales, a signal variance, and a noise variance where that is unknown.

    Args:
        name: one of `NAMES`, or `FLAT`.
        p: number of length-scales.
        noise: whether the noise is unknown.
        kernel: whose hyperparameters stand in place of length-scales and signal variance.
        warped: columns whose log a and log b follow.

    Raises:
        UsageError: another name.
    """
    if name not in (*NAMES, FLAT):
        raise UsageError(f"prior expected one of {', '.join((*NAMES, FLAT))}, got {name}")
    slots = (
        (Slot("lengthscale", 0, p), Slot("signal_var", p, 1)) if kernel is None else kernel.slots
    )
    if name in ("vague", FLAT):
        count = sum(slot.count for slot in slots) + noise + 2 * warped
        return Normal((0.0,) * count, (3.0 if name == "vague" else 30.0,) * count)
    parts = [_part(name, slot) for slot in slots]
    parts += [_NOISE.get(name, Normal((-4.0,), (1.0,)))] * noise
    if warped:
        parts.append(Normal((0.0,) * 2 * warped, (math.sqrt(PRIOR_VAR),) * 2 * warped))
    return Independent(tuple(parts))


def least_noise_var(name: str) -> float:
    """What unknown noise has at least under a prior of that name, in standardised units."""
    return 1e-6 if name == "moderate" else LEAST_NOISE_VAR


def _part(name: str, slot: Slot) -> "Normal | Gamma | Saas":
    """The prior of some hyperparameters, but for those of one normal for all."""
    count = slot.count
    if slot.kind == "period":
        return Normal((math.log(0.2),) * count, (1.5,) * count)
    if slot.kind == "alpha":
        return Normal((0.0,) * count, (1.0,) * count)
    if slot.kind == "signal_var":
        return Normal((0.0,), (1.0,)) if name == "moderate" else Gamma(2.0, 0.15)
    if name == "gamma":
        return Gamma(3.0, 6.0, count)
    if name == "saas":
        return Saas(count)
    if name == "moderate":
        return Normal((math.log(0.4) + 0.5 * math.log(count),) * count, (1.0,) * count)
    centre = math.sqrt(2.0) + 0.5 * math.log(count)
    return Normal((centre,) * count, (math.sqrt(3.0),) * count)


@dataclasses.dataclass(frozen=True)
class Independent:
    """Priors of parts that follow each other."""

    parts: tuple["Normal | Gamma | Saas", ...]

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prior`."""
        told = [
            part.value_and_grad(piece)
            for part, piece in zip(self.parts, x.split([p.dim for p in self.parts], 1), strict=True)
        ]
        total = torch.stack([value for value, _ in told]).sum(dim=0)
        return total, torch.cat([gradient for _, gradient in told], dim=1)

    def sample(self, n: int, generator: Generator, like: Tensor) -> Tensor:
        """See `Prior`."""
        return torch.cat([part.sample(n, generator, like) for part in self.parts], dim=1)


@dataclasses.dataclass(frozen=True)
class Normal:
    """Logarithms that are independent and normal."""

    centre: tuple[float, ...]
    sd: tuple[float, ...]

    @property
    def dim(self) -> int:
        """How many."""
        return len(self.centre)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prior`."""
        sd = torch.tensor(self.sd, dtype=x.dtype, device=x.device)
        z = (x - torch.tensor(self.centre, dtype=x.dtype, device=x.device)) / sd
        constant = sum(math.log(s) for s in self.sd) + 0.5 * self.dim * math.log(2 * math.pi)
        return -0.5 * z.square().sum(dim=1) - constant, -z / sd

    def sample(self, n: int, generator: Generator, like: Tensor) -> Tensor:
        """See `Prior`."""
        sd = torch.tensor(self.sd, dtype=like.dtype, device=like.device)
        centre = torch.tensor(self.centre, dtype=like.dtype, device=like.device)
        return centre + sd * normals((n, self.dim), generator, like)


@dataclasses.dataclass(frozen=True)
class Gamma:
    """Logarithms of independent numbers with a gamma distribution, of shape a and rate b."""

    shape: float
    rate: float
    dim: int = 1

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prior`."""
        a, b = self.shape, self.rate
        risen = b * x.exp()
        value = a * (x + math.log(b)) - risen - math.lgamma(a)
        return value.sum(dim=1), a - risen

    def sample(self, n: int, generator: Generator, like: Tensor) -> Tensor:
        """See `Prior`."""
        uniform = uniforms((n, self.dim), generator, like).double().cpu().numpy()
        drawn = np.log(np.maximum(gammaincinv(self.shape, uniform), 1e-300) / self.rate)
        return torch.as_tensor(drawn).to(like)


@dataclasses.dataclass(frozen=True)
class Saas:
    """Log length-scales under the sparse axis-aligned prior, tau integrated out."""

    p: int

    @property
    def dim(self) -> int:
        """How many."""
        return self.p

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prior`."""
        constant = self.p * math.log(4.0 / math.pi)
        shared = _nodes(self.p)
        if x.device.type == "cpu" and x.dtype == torch.float64:
            values, gradients = _shrinkages(np.ascontiguousarray(x.numpy()), shared)
            return torch.from_numpy(values) + constant, torch.from_numpy(gradients)
        t = torch.as_tensor(shared[0]).to(x)
        # log C+(1) of rho = exp(v) as a density of v, less what does not vary: v - log(1 + exp 2v).
        v = -2.0 * x.unsqueeze(1) - t[:, None]  # (chains, nodes, p)
        local = -_log_two_cosh(v)
        log_tau = torch.as_tensor(shared[1]).to(x)
        total = local.sum(dim=2) + log_tau
        value = torch.logsumexp(total, dim=1)
        share = torch.exp(total - value.unsqueeze(1))
        gradient = 2.0 * (share.unsqueeze(2) * torch.tanh(v)).sum(dim=1)
        return value + constant, gradient

    def sample(self, n: int, generator: Generator, like: Tensor) -> Tensor:
        """See `Prior`."""
        cauchy = torch.tan(0.5 * math.pi * uniforms((n, self.p + 1), generator, like))
        log = cauchy.clamp_min(torch.finfo(like.dtype).tiny).log()
        return -0.5 * (log[:, :1] + math.log(_TAU_SCALE) + log[:, 1:])


def _log_two_cosh(v: Tensor) -> Tensor:
    """log(exp(v) + exp(-v))."""
    size = v.abs()
    return size + torch.log1p(torch.exp(-2.0 * size))


@functools.lru_cache
def _nodes(p: int) -> Array:
    """Rows: values t of log tau, the logarithms of its density there times the step; exp(-t),
    exp(t), and that density times the step.

    The more length-scales, the narrower is what they say of tau.
    """
    step = min(0.4, 1.5 / math.sqrt(p))
    t = np.arange(-36.0, 28.0, step)
    scale = math.log(_TAU_SCALE)
    log_density = math.log(2.0 / math.pi * step) - np.logaddexp(t - scale, scale - t)
    return np.stack([t, log_density, np.exp(-t), np.exp(t), np.exp(log_density)])


def terms(prior: Prior) -> tuple[Array, Array] | None:
    """What compiled code makes a prior of; None for one that is not of this file.

    Returns:
        (dim, 5) of every coordinate: c, w, a, b and k in k - w (x - c)^2 / 2 + a x - b exp(x). And
        the nodes of tau, where the length-scales share one; else an empty array.
    """
    parts = prior.parts if isinstance(prior, Independent) else (prior,)
    rows: list[tuple[float, ...]] = []
    shared = np.empty((5, 0))
    for part in parts:
        if isinstance(part, Normal):
            for centre, sd in zip(part.centre, part.sd, strict=True):
                constant = -math.log(sd) - 0.5 * math.log(2 * math.pi)
                rows.append((centre, sd**-2.0, 0.0, 0.0, constant))
        elif isinstance(part, Gamma):
            constant = part.shape * math.log(part.rate) - math.lgamma(part.shape)
            rows += [(0.0, 0.0, part.shape, part.rate, constant)] * part.dim
        elif isinstance(part, Saas) and not rows:
            shared = _nodes(part.p)
            rows += [(0.0, 0.0, 0.0, 0.0, math.log(4.0 / math.pi))] * part.p
        else:
            return None
    return np.array(rows), shared


@compiled
def _shrinkages(x: Array, shared: Array) -> tuple[Array, Array]:
    """`Saas.value_and_grad` without its constant."""
    values, gradients = np.empty(len(x)), np.zeros(x.shape)
    for c in range(len(x)):
        values[c] = shrinkage(x[c], gradients[c], shared)
    return values, gradients


@compiled
def shrinkage(x: Array, gradient: Array, shared: Array) -> float:
    """Of one point: products in place of sums of logarithms. The gradient is added."""
    p, m = len(x), shared.shape[1]
    nodes, log_nodes, up, down, density = shared
    reach = max(abs(nodes[0]), abs(nodes[-1]))
    product, share, tanh = np.ones(m), np.empty(m), np.empty((p, m))
    logs, wide = np.empty(m), False
    for k in range(m):
        logs[k] = log_nodes[k]
    size = 0.0  # of the logarithm of a product, at most
    for j in range(p):
        a, b = math.exp(-2.0 * x[j]), math.exp(2.0 * x[j])
        size += abs(2.0 * x[j]) + reach
        if size > _GREATEST_LOG:
            wide = True
            for k in range(m):
                logs[k] -= math.log(product[k])
                product[k] = 1.0
            size = abs(2.0 * x[j]) + reach
        for k in range(m):
            above, below = a * up[k], b * down[k]
            both = above + below  # 2 cosh v
            product[k] *= both
            tanh[j, k] = (above - below) / both
    top = 0.0
    if wide:
        top = -math.inf
        for k in range(m):
            logs[k] -= math.log(product[k])
            top = max(top, logs[k])
    total = 0.0
    for k in range(m):
        share[k] = math.exp(logs[k] - top) if wide else density[k] / product[k]
        total += share[k]
    for j in range(p):
        gradient[j] += 2.0 * np.dot(tanh[j], share) / total
    return top + math.log(total)


_NOISE = {"saas": Gamma(0.9, 10.0), "gamma": Gamma(1.1, 0.05)}
