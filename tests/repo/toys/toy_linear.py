"""Bayesian linear regression on random cosines of the inputs.

f(x) = sum_j w_j phi_j(x), w_j ~ N(0, 1), phi_j(x) = sqrt(2 / D) cos(omega_j'x / lengthscale + b_j).
Rahimi & Recht (2007), "Random Features for Large-Scale Kernel Machines". Many cosines make a
Gaussian process with an RBF kernel. Lengthscale and noise_var are those of a small grid with the
greatest evidence. Departs from the paper: that choice, which is ours.
"""

import itertools
import math
import time
from typing import Any, NoReturn

import torch
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.contract import State, check_data
from surrogates.errors import CapabilityError
from surrogates.inputs import Inputs
from surrogates.options import option, options

_GRID = tuple(itertools.product((0.1, 0.2, 0.4, 0.8, 1.6), (1e-3, 1e-2, 1e-1, 1.0)))


@options
class Options:
    """Choices of the model."""

    features: int = option(default=256, help="number of cosines D", low=8, high=4096)


class ToyLinear(Model):
    """The fitted model: `root` is a Cholesky factor (D, D) of the weights' precision."""

    def __init__(self, omega: Tensor, phase: Tensor, Y_mean: Tensor, Y_std: Tensor) -> None:
        super().__init__()
        self.omega, self.phase, self.Y_mean, self.Y_std = omega, phase, Y_mean, Y_std
        self.diagnostics: dict[str, float] = {}
        self.state: State = {}

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size([])

    def features(self, X: Float[Tensor, "*b q d"], lengthscale: float) -> Float[Tensor, "*b q D"]:
        """phi(X)."""
        return math.sqrt(2 / len(self.phase)) * torch.cos(X / lengthscale @ self.omega + self.phase)

    def learn(self, phi: Float[Tensor, "n D"], Y: Float[Tensor, "n 1"]) -> None:
        """The posterior of the weights."""
        noise_var, prior = self.state["noise_var"], torch.eye(phi.shape[1], **like(phi))
        self.root = torch.linalg.cholesky(phi.T @ phi / noise_var + prior)
        self.weights = torch.cholesky_solve(phi.T @ Y / noise_var, self.root)

    def posterior(self, X: Float[Tensor, "*b q d"], *args: Any, **kwargs: Any) -> GPyTorchPosterior:
        """The joint distribution of f at the q points."""
        phi = self.features(X, self.state["lengthscale"])
        half = torch.linalg.solve_triangular(self.root, phi.mT, upper=False)
        covariance = half.mT @ half + 1e-8 * torch.eye(X.shape[-2], **like(X))
        mean = self.Y_mean + self.Y_std * (phi @ self.weights).squeeze(-1)
        return GPyTorchPosterior(MultivariateNormal(mean, self.Y_std**2 * covariance))

    def condition_on_observations(self, X: Tensor, Y: Tensor, **kwargs: Any) -> NoReturn:
        """What is not offered says what is."""
        raise CapabilityError("expected a model with fantasies, got toy-linear; use gp-map")


def fit(
    train_X: Float[Tensor, "n d"],
    train_Y: Float[Tensor, "n m"],
    train_Yvar: Float[Tensor, "n m"] | None = None,
    *,
    inputs: Inputs,
    options: Options,
    generator: Generator | None = None,
    warm_start: State | None = None,
) -> ToyLinear:
    """Fit the model (see `surrogates.contract.Fit`); the grid needs no warm start."""
    began = time.perf_counter()
    check_data(train_X, train_Y, train_Yvar, inputs=inputs, outputs=1)
    if train_Yvar is not None:
        raise CapabilityError("toy-linear expected unknown noise, got train_Yvar; use gp-map")
    source = generator or Generator(device="cpu").manual_seed(0)
    kind: dict[str, Any] = {"generator": source, "dtype": torch.float64, "device": "cpu"}
    omega = torch.randn(inputs.d, options.features, **kind).to(train_X)
    phase = 2 * math.pi * torch.rand(options.features, **kind).to(train_X)
    spread = train_Y.std(correction=0)
    Y_std = torch.where(spread > 0, spread, torch.ones_like(spread))
    model = ToyLinear(omega, phase, train_Y.mean(), Y_std)
    Y = (train_Y - model.Y_mean) / Y_std
    best = -math.inf
    for lengthscale, noise_var in _GRID:
        phi = model.features(train_X, lengthscale)
        covariance = phi @ phi.T + noise_var * torch.eye(len(phi), **like(phi))
        found = float(MultivariateNormal(torch.zeros_like(Y[:, 0]), covariance).log_prob(Y[:, 0]))
        if found > best:
            best, model.state = found, {"lengthscale": lengthscale, "noise_var": noise_var}
    model.learn(model.features(train_X, model.state["lengthscale"]), Y)
    model.diagnostics = {"seconds": time.perf_counter() - began, "log_evidence": best}
    return model.eval()


def like(values: Tensor) -> dict[str, Any]:
    """Device and dtype of a tensor."""
    return {"device": values.device, "dtype": values.dtype}
