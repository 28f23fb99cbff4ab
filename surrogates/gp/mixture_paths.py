"""Functions drawn from every draw of a mixture at once, for BoTorch's utilities that want paths.

Wilson et al. (2020), "Efficiently Sampling Functions from Gaussian Process Posteriors", as in
`surrogates/paths.py`, here of S Gaussian processes in one batch. `draw_matheron_paths` finds it,
and with it `get_matheron_path_model`, `get_optimal_samples` and `PathwiseThompsonSampling`.

Departs from the house: BoTorch hands these functions no generator, so they draw a seed from torch's
own, which `torch.manual_seed` sets. `MixtureGP.draw_path` takes a generator.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from botorch.sampling.pathwise.paths import SamplePath
from torch import Generator, Size, Tensor

from surrogates.errors import CapabilityError
from surrogates.gp import spectra, warp
from surrogates.gp.hyperposterior import MEAN_VAR
from surrogates.gp.mixture_draws import MixtureDraws, correlation, factor_of
from surrogates.inference.contract import normals, uniforms
from surrogates.paths import FEATURES, CorrectedPath, GPPath

_MATERN_DEGREES = 5


class MixturePaths(SamplePath):
    """Functions of (..., N, d) columns: (samples, S, N) values; of (..., 1, N, d) where S counts.

    Args:
        model: not a batch of fantasies.
        sample_shape: how many functions of each draw.
        generator: of the draws.
    """

    def __init__(self, model: MixtureDraws, sample_shape: Size, generator: Generator) -> None:
        super().__init__()
        self.model, self.as_batch = model, False
        (count, d), features = model.lengthscale.shape, FEATURES
        like, shape = model.lengthscale, (*sample_shape, count)
        if model.data.kernel is None:
            frequencies = normals((*shape, d, features), generator, like)
            if model.data.matern:
                squares = normals((*shape, features, _MATERN_DEGREES), generator, like).square()
                wider = (_MATERN_DEGREES / squares.sum(dim=-1)).sqrt()
                frequencies = frequencies * wider.unsqueeze(-2)
            frequencies = frequencies / model.lengthscale.unsqueeze(-1)
            phases = 2 * math.pi * uniforms((*shape, 1, features), generator, like)
            scale = (2 * model.signal_var / features).sqrt()[:, None, None]
            weights = scale * normals((*shape, features, 1), generator, like)
            self.drawn = spectra.Function([(frequencies, phases, weights, [])])
        else:
            draws = model.draws.expand(*shape, -1)
            self.drawn = spectra.drawn(model.data.kernel, draws, generator)
        self.level = math.sqrt(MEAN_VAR) * normals((*shape, 1), generator, like)
        noise = model.noise.sqrt() * normals((*shape, model.y.shape[-1]), generator, like)
        missed = model.y - self._prior(model.inputs) - noise
        self.correction = model.solve(missed).unsqueeze(-1)

    def set_ensemble_as_batch(self, ensemble_as_batch: bool) -> None:
        """Whether the columns have S before N in their shape."""
        self.as_batch = ensemble_as_batch

    def forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Values (..., S, N), in the user's units."""
        if not self.as_batch or x.ndim < 3:
            x = x.unsqueeze(-3)
        try:
            torch.broadcast_shapes(x.shape[:-2], self.level.shape[:-1])
        except RuntimeError as error:
            raise CapabilityError(
                f"expected columns that go with paths {tuple(self.level.shape[:-1])}, got "
                f"{tuple(x.shape)}; where each draw has columns of its own, call "
                "set_ensemble_as_batch(True), as get_optimal_samples does"
            ) from error
        update = self.model.between(x, self.model.inputs) @ self.correction
        return self.model.seen((self._prior(x) + update.squeeze(-1)).unsqueeze(-1)).squeeze(-1)

    def _prior(self, x: Tensor) -> Tensor:
        return self.drawn(self.model.warped(x)) + self.level


def of_mixture(
    model: Any, *, sample_shape: Size, prior_sampler: Any = None, update_strategy: Any = None
) -> MixturePaths:
    """As BoTorch's dispatcher calls it; the model is a `MixtureGP`."""
    model = model.equal
    if model.inputs.ndim > 3:
        raise CapabilityError(
            f"expected one model to draw paths of, got a batch {tuple(model.batch_shape)}; draw "
            "from the model that they are fantasies of"
        )
    seed = int(torch.randint(2**31, (), dtype=torch.int64, device="cpu"))
    return MixturePaths(model, sample_shape, Generator(device="cpu").manual_seed(seed))


def of_one_draw(model: MixtureDraws, generator: Generator) -> Callable[[Tensor], Tensor]:
    """A function drawn from the posterior of f: of a draw, its mean, and a path given both.

    Raises:
        CapabilityError: of fantasies, which are many models.
    """
    if model.inputs.ndim > 3 or model.y.ndim > 2:
        raise CapabilityError(
            f"expected one model to draw a path of, got a batch {tuple(model.batch_shape)}; "
            "draw from the model that they are fantasies of"
        )
    uniform = uniforms((1,), generator, model.draws)
    last = len(model.draws) - 1
    if model.log_weights is None:
        at = min(int(uniform * len(model.draws)), last)
    else:
        at = min(int(torch.searchsorted(model.log_weights.exp().cumsum(0), uniform)), last)
    lengthscale, signal_var = model.lengthscale[at], model.signal_var[at]
    y, noise = model.y[min(at, len(model.y) - 1)], model.noise[at]
    data, draw = model.data, model.draws[at : at + 1]
    own = data.kernel

    def bent(x: Tensor) -> Tensor:
        return warp.bent(x, data.warped, data.warps(draw))[0] if data.warped else x

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        if own is not None:
            return own.between(draw, a, b)[0]
        return signal_var * correlation(a / lengthscale, b / lengthscale, data.matern)

    X = bent(model.inputs[min(at, len(model.inputs) - 1)])
    factor = factor_of(kernel(X, X) + torch.diag(noise))
    ones = torch.ones_like(y)
    solved = torch.cholesky_solve(torch.stack([y, ones], dim=1), factor)
    precision = 1.0 / MEAN_VAR + solved[:, 1].sum()
    normal = normals((1,), generator, y)[0]
    mean = solved[:, 0].sum() / precision + normal / precision.sqrt()
    told: dict[str, Any] = {
        "signal_var": signal_var,
        "noise_var": noise,
        "generator": generator,
    }
    if own is not None:
        prior = spectra.drawn(own, draw[0], generator)
        path: Callable[[Tensor], Tensor] = CorrectedPath(X, y - mean, kernel, prior, **told)
    else:
        told |= {"lengthscale": lengthscale, "matern": data.matern}
        path = GPPath(X, y - mean, kernel, **told)
    return lambda x: model.seen((mean + path(bent(x))).unsqueeze(-1)).squeeze(-1)
