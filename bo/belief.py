"""What a strategy with a model believes at an ask: the pictures of `bo/snapshot.py` show it.

No paper.
"""

import dataclasses

from botorch.acquisition import AcquisitionFunction
from botorch.models.model import Model
from jaxtyping import Float
from torch import Tensor

from bo.acquisition.functions import Models
from bo.goals import Goal
from surrogates.power import Power


@dataclasses.dataclass(frozen=True)
class Belief:
    """The fitted models and the acquisition function of the first point that they chose.

    Attributes:
        models: fitted to outcomes of which higher is better (the goal's sign times the outcome).
        acquisition: scores (b, 1, d) tensors of columns.
        name: of the acquisition function.
        observed: (n, d) columns of the complete trials.
        outcomes: (n, m) what the models of the goals were fitted to.
        designed: how many points of the same ask came from the initial design, before that one.
        goal: the first one: pictures show its model.
        scale: on which that model sees the goal; None for its own.
        chosen_at: how many outcomes there were when the scale was chosen; 0 where it was not.
    """

    models: Models
    acquisition: AcquisitionFunction
    name: str
    observed: Float[Tensor, "n d"]
    outcomes: Float[Tensor, "n m"]
    designed: int
    goal: Goal
    scale: Power | None = None
    chosen_at: int = 0

    @property
    def model(self) -> Model:
        """That of the first goal."""
        return self.models.goals[0]
