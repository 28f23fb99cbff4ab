"""What a strategy with a model believes at an ask: the pictures of `bo/snapshot.py` show it.

No paper.
"""

import dataclasses

from botorch.acquisition import AcquisitionFunction
from botorch.models.model import Model
from jaxtyping import Float
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Belief:
    """The fitted model and the acquisition function of the first point that it chose.

    Attributes:
        model: fitted to outcomes of which higher is better (the goal's sign times the outcome).
        acquisition: scores (b, 1, d) tensors of columns.
        name: of the acquisition function.
        observed: (n, d) columns of the finished trials it was fitted to.
        outcomes: (n, 1) what it was fitted to.
        designed: how many points of the same ask came from the initial design, before that one.
    """

    model: Model
    acquisition: AcquisitionFunction
    name: str
    observed: Float[Tensor, "n d"]
    outcomes: Float[Tensor, "n 1"]
    designed: int
