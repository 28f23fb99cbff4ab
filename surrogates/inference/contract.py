"""What an inference engine takes and gives back. It knows nothing of Gaussian processes or nets.

An engine is a module holding, in this order: a header (what, paper, equations, departures),
`Options`, `State`, `init`, `step`, `run`. It calls `value_and_grad` for all chains at once and
never differentiates anything itself. What it draws lies on the device and has the dtype of where it
starts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.errors import DataError


@runtime_checkable
class Density(Protocol):
    """An unnormalised density over R^dim."""

    def value_and_grad(
        self, x: Float[Tensor, "chains dim"]
    ) -> tuple[Float[Tensor, " chains"], Float[Tensor, "chains dim"]]:
        """Log densities and their gradients, a row per chain.

        Where the density is 0 or cannot be computed the value is -inf (or NaN) and the gradient
        whatever it is: samplers reject such points.
        """
        ...


class Leaping(Protocol):
    """A density that makes leapfrog steps of its own, faster than by calls of `value_and_grad`.

    The result is that of `leapfrog_by_steps` but for rounding.
    """

    def leapfrog(
        self, x: Tensor, momentum: Tensor, gradient: Tensor, factor: Tensor, size: float, steps: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `leapfrog`."""
        ...


def leapfrog(
    density: Density,
    x: Tensor,
    momentum: Tensor,
    gradient: Tensor,
    factor: Tensor,
    size: float,
    steps: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """So many leapfrog steps of every chain, by the density itself where that is `Leaping`.

    Args:
        density: of the chains.
        x: (chains, dim) where they are.
        momentum: (chains, dim) in units of the metric.
        gradient: (chains, dim) of the log density at x.
        factor: (dim, dim) lower triangular, times its transpose the inverse metric.
        size: of a step.
        steps: at least 1.

    Returns:
        Position, momentum, log density and gradient at the end. A chain that meets NaN on its way
        stays by itself: that is what its end tells.
    """
    own: Any = getattr(density, "leapfrog", None)  # isinstance of a protocol takes 0.1 ms
    if own is not None:
        return own(x, momentum, gradient, factor, size, steps)
    return leapfrog_by_steps(density, x, momentum, gradient, factor, size, steps)


def leapfrog_by_steps(
    density: Density,
    x: Tensor,
    momentum: Tensor,
    gradient: Tensor,
    factor: Tensor,
    size: float,
    steps: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `leapfrog`: every gradient is one call for all chains."""
    factor = factor.contiguous()  # the layout decides how products round
    across = factor.T.contiguous()
    value = x.new_empty(len(x))
    momentum = torch.addmm(momentum, gradient, factor, alpha=0.5 * size)
    for left in range(steps, 0, -1):
        x = torch.addmm(x, momentum, across, alpha=size)
        value, gradient = density.value_and_grad(x)
        momentum.addmm_(gradient, factor, alpha=size if left > 1 else 0.5 * size)
    return x, momentum, value, gradient


class Differentiated:
    """A density from its logarithm alone, differentiated by torch.

    Args:
        log_density: from (chains, dim) to (chains,); every row's value depends on that row alone.
    """

    def __init__(self, log_density: Callable[[Tensor], Tensor]) -> None:
        self.log_density = log_density

    def value_and_grad(
        self, x: Float[Tensor, "chains dim"]
    ) -> tuple[Float[Tensor, " chains"], Float[Tensor, "chains dim"]]:
        """See `Density`."""
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            values = self.log_density(at)
            if not isinstance(values, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DataError(
                    f"log_density expected to return a tensor (points,), got {_called(values)}"
                )
            if values.shape != x.shape[:1]:
                raise DataError(
                    f"log_density expected shape {tuple(x.shape[:1])} for points of shape "
                    f"{tuple(x.shape)}, got {tuple(values.shape)}"
                )
            if not values.requires_grad:
                raise DataError(
                    "log_density expected to compute its values from the points by torch, which "
                    "differentiates them; got values without a gradient (a constant, or detached)"
                )
            (gradient,) = torch.autograd.grad(values.sum(), at)
        return values.detach(), gradient


class Counted:
    """A density that counts its calls, and the points of all of them."""

    def __init__(self, density: object) -> None:
        self.density = _density(density)
        self.calls = self.points = 0

    def value_and_grad(
        self, x: Float[Tensor, "chains dim"]
    ) -> tuple[Float[Tensor, " chains"], Float[Tensor, "chains dim"]]:
        """See `Density`."""
        self.calls += 1
        self.points += len(x)
        return self.density.value_and_grad(x)

    def leapfrog(
        self, x: Tensor, momentum: Tensor, gradient: Tensor, factor: Tensor, size: float, steps: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `leapfrog`; every step counts as a call."""
        self.calls += steps
        self.points += steps * len(x)
        return leapfrog(self.density, x, momentum, gradient, factor, size, steps)


@dataclass(frozen=True)
class Draws:
    """What was drawn.

    Attributes:
        x: (chains, draws, dim).
        log_density: (chains, draws) unnormalised.
        log_weights: (chains, draws) whose exponentials sum to 1; None where all count the same.
        diagnostics: whether to trust them; `converged` is 1 where every check held, else 0.
    """

    x: Tensor
    log_density: Tensor
    log_weights: Tensor | None
    diagnostics: Mapping[str, float]


def check_start(start: object, density: object) -> tuple[Tensor, Tensor]:
    """Values and gradients at (chains, dim) starting points.

    Raises:
        DataError: no density, another shape or dtype (of the start, or of what the density
            returns), no rows, values that are not finite, or a density of 0 at all.
    """
    density = _density(density)
    if not isinstance(start, Tensor):
        raise DataError(f"start expected a tensor (chains, dim), got {start!r:.100}")
    if not start.is_floating_point():
        raise DataError(f"start expected floating point numbers, got {start.dtype}")
    if start.ndim != 2 or 0 in start.shape:
        raise DataError(f"start expected shape (chains, dim), got {tuple(start.shape)}")
    if not bool(torch.isfinite(start).all()):
        raise DataError("start expected finite values, got NaN or infinity")
    told: Any = density.value_and_grad(start)
    if not (
        isinstance(told, tuple) and len(told) == 2 and all(isinstance(t, Tensor) for t in told)
    ):
        raise DataError(
            "value_and_grad expected to return two tensors, values and gradients, got "
            f"{_called(told)}"
        )
    value, gradient = told
    if value.shape != start.shape[:1] or gradient.shape != start.shape:
        raise DataError(
            f"a density expected to return values {tuple(start.shape[:1])} and gradients "
            f"{tuple(start.shape)} at points {tuple(start.shape)}, got {tuple(value.shape)} and "
            f"{tuple(gradient.shape)}"
        )
    if value.dtype != start.dtype:
        raise DataError(
            f"a density expected to keep the dtype of its points, {start.dtype}, got {value.dtype}"
        )
    if not bool(torch.isfinite(value).any()):
        raise DataError(
            f"expected a density above 0 at one of {len(start)} starting points, got log densities "
            f"of {', '.join(sorted({str(each) for each in value.tolist()}))}; start elsewhere"
        )
    return value, gradient


def check_run(
    options: object, wanted: type, generator: object, state: object, *states: type
) -> None:
    """Whether an engine is given its own things.

    Raises:
        DataError: options or a state of another kind, or no generator.
    """
    if not isinstance(state, states):
        raise DataError(
            f"expected a state of {states[-1].__module__} (from init, or an earlier run), got "
            f"{_called(state)}"
        )
    if not isinstance(options, wanted):
        raise DataError(
            f"options expected {wanted.__module__}.{wanted.__name__}, got {_called(options)}"
        )
    if not isinstance(generator, Generator):
        raise DataError(
            f"generator expected a torch.Generator, got {_called(generator)}; such as "
            "torch.Generator().manual_seed(0)"
        )


def check_told(told: object, *names: str) -> None:
    """Whether this is what `to_json` of a state returned.

    Raises:
        DataError: no dictionary, or one without these names.
    """
    missing = [n for n in names if n not in told] if isinstance(told, Mapping) else list(names)
    if missing:
        raise DataError(
            f"a state expected what its to_json() returned, got {_called(told)} without "
            f"{', '.join(missing)}"
        )


def _density(density: object) -> Density:
    if not isinstance(density, Density):
        raise DataError(
            f"density expected an object with value_and_grad, got {_called(density)}; a function "
            "from points to log densities becomes one by Differentiated(function)"
        )
    return density


def _called(it: object) -> str:
    """What something is, in few words."""
    kind = type(it)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return f"{name} {it!r:.60}"


def normals(shape: tuple[int, ...], generator: Generator, like: Tensor) -> Tensor:
    """Standard normal numbers of a generator of any device, with the dtype and device of `like`."""
    drawn = torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device)
    return drawn.to(like.device)


def uniforms(shape: tuple[int, ...], generator: Generator, like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1), as `normals`."""
    drawn = torch.rand(shape, generator=generator, dtype=like.dtype, device=generator.device)
    return drawn.to(like.device)
