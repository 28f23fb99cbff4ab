"""Functions drawn from every draw of a mixture at once, for BoTorch's utilities that want paths.

Wilson et al. (2020), "Efficiently Sampling Functions from Gaussian Process Posteriors", as in
`surrogates/paths.py`, here of S Gaussian processes in one batch. `draw_matheron_paths` finds it,
and with it `get_matheron_path_model`, `get_optimal_samples` and `PathwiseThompsonSampling`.

Departs from the house: BoTorch hands these functions no generator, so they draw a seed from torch's
own, which `torch.manual_seed` sets. `MixtureGP.draw_path` takes a generator.
"""

import math
from typing import Any, Protocol

import torch
from botorch.sampling.pathwise.paths import SamplePath
from torch import Generator, Size, Tensor

from surrogates.errors import CapabilityError
from surrogates.gp import spectra
from surrogates.gp.hyperposterior import MEAN_VAR, Data
from surrogates.inference.contract import normals, uniforms
from surrogates.paths import FEATURES

_MATERN_DEGREES = 5


class Mixture(Protocol):
    """What is needed of a mixture over S draws."""

    data: Data
    draws: Tensor
    lengthscale: Tensor
    signal_var: Tensor
    noise: Tensor
    inputs: Tensor
    y: Tensor

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., S, q, n) covariances of (..., 1, q, d) and (..., 1, n, d) columns."""
        ...

    def warped(self, x: Tensor) -> Tensor:
        """(..., 1, q, d) columns as the kernel of each draw sees them."""
        ...

    def solve(self, y: Tensor) -> Tensor:
        """K^-1 y of (..., S, n) outcomes."""
        ...

    def seen(self, standardised: Tensor) -> Tensor:
        """Outcomes in the user's units."""
        ...


class MixturePaths(SamplePath):
    """Functions of (..., N, d) columns: (samples, S, N) values; of (..., 1, N, d) where S counts.

    Args:
        model: not a batch of fantasies.
        sample_shape: how many functions of each draw.
        generator: of the draws.
    """

    def __init__(self, model: Mixture, sample_shape: Size, generator: Generator) -> None:
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
