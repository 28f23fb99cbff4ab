"""What a surrogate is: a module with `Options` and `fit`, whose result is a BoTorch `Model`.

One method = one module holding, in this order: a header (what, paper, equations, departures), the
`Options`, the `Model`, `fit`. Its catalog row declares capabilities that the contract suite checks:

- `joint`: `posterior(X)` is a joint distribution over the q points of `X` (..., q, d).
- `gradients`: the posterior is differentiable in `X`.
- `fantasies`: `fantasize` and `condition_on_observations` work.
- `categorical`: one-hot `category` columns are modelled as such.
- `multi-output`: `train_Y` may have more than one column.
- `paths`: the model draws sample paths for Thompson sampling.

A missing ability raises `CapabilityError`, which names what to use instead.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from botorch.models.model import Model
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.inputs import Inputs

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
