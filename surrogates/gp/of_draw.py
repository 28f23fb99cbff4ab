"""One draw of a mixture as BoTorch's own Gaussian process, for functions that want just one.

Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning", equations 2.23-2.24: the
mean is 0 after centring and its uncertainty is part of the kernel, so the prediction is that of the
draw in the mixture. New outcomes have the noise of the draw; of known noise, BoTorch takes its
average where the mixture takes its median.
"""

from typing import Any, cast

from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from gpytorch.means import ConstantMean
from torch import Tensor

from surrogates.errors import CapabilityError
from surrogates.gp.mixture import MixtureGP


class _Covariance(Kernel):
    """The covariance function of one draw, in the user's units."""

    has_lengthscale = False

    def __init__(self, model: MixtureGP, place: int) -> None:
        super().__init__()
        self.held = [model.with_draws([place])]  # in a list: no part of the state

    def forward(
        self,
        x1: Tensor,
        x2: Tensor,
        diag: bool = False,
        last_dim_is_batch: bool = False,
        **params: Any,
    ) -> Tensor:
        (model,) = self.held
        if diag:
            pairs = model.between(x1.unsqueeze(-2).unsqueeze(-3), x2.unsqueeze(-2).unsqueeze(-3))
            return model.unit**2 * pairs.flatten(-3).reshape(x1.shape[:-1])
        return model.unit**2 * model.between(x1.unsqueeze(-3), x2.unsqueeze(-3)).squeeze(-3)


def of_draw(model: MixtureGP, place: int) -> SingleTaskGP:
    """The Gaussian process of the draw `place`.

    Raises:
        CapabilityError: of fantasies, or where outcomes are transformed.
    """
    if model.inputs.ndim > 3 or model.y.ndim > 2:
        raise CapabilityError(
            f"expected one model to take a draw of, got a batch {tuple(model.batch_shape)}; take "
            "it of the model that they are fantasies of"
        )
    if model.transform is not None:
        raise CapabilityError(
            "expected outcomes as they are to take one draw of a mixture, got an outcome "
            "transform; average over the mixture with a Monte Carlo acquisition function"
        )
    noise = model.noise[place] * model.unit**2
    known = model.data.noise is not None or bool((noise != noise[0]).any())
    likelihood: Any = GaussianLikelihood()
    if known:
        likelihood = FixedNoiseGaussianLikelihood(noise=noise)
    else:
        likelihood.noise_covar.register_constraint(
            "raw_noise", GreaterThan(0.0, transform=cast(Any, None))
        )
        likelihood.noise = noise[0]
    mean = ConstantMean()
    mean.constant = model.centre
    y = model.y[min(place, len(model.y) - 1)]
    made = SingleTaskGP(
        model.inputs[min(place, len(model.inputs) - 1)],
        model.centre + model.unit * y.unsqueeze(-1),
        likelihood=likelihood.to(y),
        covar_module=_Covariance(model, place),
        mean_module=mean.to(y),
        outcome_transform=None,
    )
    made.requires_grad_(False)
    return made.eval()
