"""A labelled data set as a bandit: see the inputs, name a label, earn 1 if it is right, else 0.

    X (n, d) contexts, labels (n,) in 0..K-1; rows are drawn uniformly with replacement

The usual way to test contextual bandits on real data (Beygelzimer and Langford 2009). The right
label is known to us, so expected rewards are, too: 1 for the right arm, 0 for the others.
"""

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from rl.contract import Arms, Outcome, StateDict


class Classification:
    """A data set played as a bandit.

    Attributes:
        name: of the problem.
        arms: one per label.
        labels: texts of the labels, in the order of the arms.
    """

    def __init__(
        self, name: str, X: Float[Tensor, "n d"], y: Int64[Tensor, " n"], labels: list[str]
    ) -> None:
        """Take a data set.

        Args:
            name: of the problem.
            X: (n, d) contexts.
            y: (n,) the right arm of each row.
            labels: their names.
        """
        self.name = name
        self.labels = labels
        self.arms = Arms(count=len(labels), d=X.shape[1], binary=True)
        self._X, self._y = X, y
        self._rows = torch.zeros(0, device=y.device, dtype=torch.int64)

    def contexts(self, b: int, *, generator: Generator) -> Float[Tensor, "b K d"]:
        """Draw b rows; all arms see the same inputs."""
        self._rows = torch.randint(
            len(self._y), (b,), generator=generator, device=self._y.device, dtype=torch.int64
        )
        return self._X[self._rows].unsqueeze(1).expand(-1, self.arms.count, -1)

    def pull(
        self, contexts: Float[Tensor, "b K d"], arms: Int64[Tensor, " b"], *, generator: Generator
    ) -> Outcome:
        """Name a label for each of the b rows that were just drawn; nothing random is left."""
        del contexts, generator
        rewards = (self._y[self._rows] == arms).to(self._X.dtype)
        return Outcome(rewards=rewards, expected=rewards, best=torch.ones_like(rewards))

    def state_dict(self) -> StateDict:
        """The rows that were drawn last."""
        return {"rows": self._rows.clone()}

    def load_state_dict(self, state: StateDict) -> None:
        """Continue, between `contexts` and `pull` too."""
        self._rows = state["rows"].to(self._y.device)
