"""What a surrogate is: a module with `Options` and `fit`, whose result is a BoTorch `Model`.

One method = one module holding, in this order: a header (what, paper, equations, departures), the
`Options`, the `Model`, `fit`. Its catalog row declares capabilities that the contract suite checks:

- `joint`: `posterior(X)` is a joint distribution over the q points of `X` (..., q, d).
- `gradients`: the posterior is differentiable in `X`.
- `fantasies`: `fantasize` and `condition_on_observations` work.
- `categorical`: one-hot `category` columns are modelled as such.
- `multi-output`: `train_Y` may have more than one column.
- `paths`: `draw_path(generator)` draws a function from the posterior of f, for Thompson sampling: a
  callable from (b, d) columns to (b,) values in the units of the outcomes, differentiable.
- `mixture`: the posterior is BoTorch's `GaussianMixturePosterior` over S draws of hyperparameters:
  `batch_shape` is (S,), and S stands before q in the shapes; `mixture_mean` is without it.

A missing ability raises `CapabilityError`, which names what to use instead.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from botorch.models.model import Model
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.errors import CapabilityError, DataError
from surrogates.inputs import Inputs

_ROUNDED = 1e-4
"""How far beyond 0 and 1 a column may be, by rounding (float32 too)."""

State = Mapping[str, Any]
"""What a fit may carry to the next one: JSON-able (hyperparameters, particles), never tensors."""


class Fit(Protocol):
    """The factory of a surrogate."""

    def __call__(
        self,
        train_X: Float[Tensor, "n d"],
        train_Y: Float[Tensor, "n m"],
        train_Yvar: Float[Tensor, "n m"] | None = None,
        *,
        inputs: Inputs,
        options: Any,
        generator: Generator | None = None,
        warm_start: State | None = None,
    ) -> Model:
        """Fit a model.

        Args:
            train_X: (n, d) inputs in the unit cube.
            train_Y: (n, m) outcomes in the user's units; standardised inside the model.
            train_Yvar: (n, m) known variances of the noise, or None where it is unknown.
            inputs: the meaning of the d columns.
            options: the `Options` of the same module.
            generator: source of every random draw.
            warm_start: the `state` of an earlier fit of the same method, on other rows perhaps.

        Returns:
            A BoTorch model in evaluation mode, with `diagnostics` (mapping of scalars, "seconds"
            among them) and `state` (for the next `warm_start`). Prediction never changes it.

        Raises:
            DataError: NaN or infinite values, shapes that disagree, no rows.
        """
        ...


def least_spread(Y: Tensor) -> float:
    """The standard deviation below which outcomes count as all alike: that of rounding."""
    told = torch.finfo(Y.dtype)
    return max(max(1e-12, 2.0 * told.eps) * float(Y.abs().max()), math.sqrt(told.tiny))


def check_data(
    train_X: Tensor,
    train_Y: Tensor,
    train_Yvar: Tensor | None,
    *,
    inputs: Inputs,
    outputs: int | None = None,
) -> None:
    """Refuse what no surrogate can be fitted to; every `fit` begins with it.

    Args:
        train_X: (n, d) inputs.
        train_Y: (n, m) outcomes.
        train_Yvar: (n, m) variances or None.
        inputs: the columns that `train_X` must have.
        outputs: the only m that the method can model, or None.

    Raises:
        DataError: no tensors, shapes that disagree, no rows, NaN or infinite values, another
            dtype, outcomes whose squares overflow, inputs outside the unit cube.
        CapabilityError: more outcomes than the method can model.
    """
    for name, given in (("train_X", train_X), ("train_Y", train_Y), ("train_Yvar", train_Yvar)):
        if not (isinstance(given, Tensor) or (given is None and name == "train_Yvar")):
            raise DataError(f"{name} expected a tensor, got {type(given).__name__}")
    if train_X.ndim != 2 or train_X.shape[-1] != inputs.d:
        raise DataError(f"train_X expected shape (n, {inputs.d}), got {tuple(train_X.shape)}")
    if train_Y.ndim != 2 or train_Y.shape[0] != train_X.shape[0]:
        n = train_X.shape[0]
        raise DataError(f"train_Y expected shape ({n}, m), got {tuple(train_Y.shape)}")
    if train_Yvar is not None and train_Yvar.shape != train_Y.shape:
        raise DataError(
            f"train_Yvar expected shape {tuple(train_Y.shape)}, got {tuple(train_Yvar.shape)}"
        )
    if train_X.shape[0] == 0:
        raise DataError("expected at least one row, got none; evaluate some points first")
    if outputs is not None and train_Y.shape[1] != outputs:
        raise CapabilityError(
            f"expected {outputs} outcome, got {train_Y.shape[1]}; fit one model per outcome "
            "and join them with botorch.models.model.ModelList"
        )
    for name, values in (("train_X", train_X), ("train_Y", train_Y), ("train_Yvar", train_Yvar)):
        if values is None:
            continue
        if values.dtype != torch.float64 and values.dtype != torch.float32:
            raise DataError(f"{name} expected float64 (or float32), got {values.dtype}")
        if name == "train_Yvar" and bool((values < 0).any()):
            raise DataError("train_Yvar expected variances of at least 0, got a negative one")
        if not bool(torch.isfinite(values).all()):
            raise DataError(f"{name} expected finite values, got NaN or infinity; drop those rows")
    greatest, most = float(train_Y.abs().max()), math.sqrt(torch.finfo(train_Y.dtype).max) / 1e4
    if greatest > most:
        raise DataError(
            f"train_Y expected outcomes of at most {most:.0e}, got {greatest:.4g}; divide them by "
            "a constant (their squares are summed)"
        )
    low, high = float(train_X.min()), float(train_X.max())
    if low < -_ROUNDED or high > 1.0 + _ROUNDED:
        raise DataError(
            f"train_X expected columns in the unit cube, got {low:.4g} to {high:.4g}; scale them "
            "to 0 to 1 (priors and bounds count on it)"
        )
