"""A surrogate of the catalog as the BoTorch model that Ax makes itself. No paper.

Ax hands a model its training data when it constructs it, and asks for the fit afterwards, by class:
`model_class` makes one class per surrogate, with a name of its own, since Ax saves models by the
names of their classes. Ax makes choices one-hot itself; which columns belong together is told by
whoever knows the space, and else they are columns like any other. What draws, draws from a seed
that the data tell.
"""

import functools
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from botorch.models.model import Model
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.outcome import OutcomeTransform
from botorch.posteriors import Posterior
from botorch.utils.datasets import SupervisedDataset
from jaxtyping import Float
from torch import Generator, Tensor

from surrogates.catalog import SURROGATES
from surrogates.inputs import Column, Inputs
from surrogates.options import build
from surrogates.registry import find, rows
from surrogates.seeds import derive_seed

_LEAST_VAR = 1e-8


class CatalogModel(Model):
    """A surrogate with its training data in Ax's columns; fitted by `learn`.

    Args:
        train_X: (n, k) Ax's columns.
        train_Y: (n, 1) outcomes.
        train_Yvar: (n, 1) known variances of the noise, or None.
        input_transform: Ax's, to the unit cube, or None where they lie there.
        outcome_transform: none: surrogates standardise inside.
        options: of the surrogate, by name.
        choices: first column and number of columns of every one-hot choice, where that is known.
    """

    surrogate: ClassVar[str]
    _supports_batched_models = False

    def __init__(
        self,
        train_X: Float[Tensor, "n k"],
        train_Y: Float[Tensor, "n 1"],
        train_Yvar: Float[Tensor, "n 1"] | None = None,
        input_transform: InputTransform | None = None,
        outcome_transform: OutcomeTransform | None = None,
        options: Mapping[str, Any] | None = None,
        choices: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        self.train_X, self.train_Y, self.train_Yvar = train_X, train_Y, train_Yvar
        self.options = dict(options or {})
        # Held in lists, so that they are no part of the state that Ax keeps and loads.
        self._transforms = [] if input_transform is None else [input_transform.eval()]
        self._fitted: list[Model] = []
        self.inputs = _inputs(train_X.shape[-1], {each[0]: each[1] for each in choices})

    @classmethod
    def construct_inputs(
        cls,
        training_data: SupervisedDataset,
        options: Mapping[str, Any] | None = None,
        choices: Sequence[Sequence[int]] = (),
        **_: Any,
    ) -> dict[str, Any]:
        """What `__init__` takes, from Ax's data set."""
        return {
            "train_X": training_data.X,
            "train_Y": training_data.Y,
            "train_Yvar": training_data.Yvar,
            "options": options,
            "choices": choices,
        }

    @property
    def fitted(self) -> Model:
        """The surrogate's own model. Raises `RuntimeError` before `learn`."""
        if not self._fitted:
            raise RuntimeError("expected a fitted model, got one before learn()")
        return self._fitted[0]

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        return self.fitted.batch_shape

    @property
    def _is_ensemble(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.fitted._is_ensemble

    @property
    def _is_fully_bayesian(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.fitted._is_fully_bayesian

    def learn(self) -> None:
        """Fit the surrogate."""
        row = find(self.surrogate, rows(SURROGATES), what="surrogate")
        X, Y = self._in_cube(self.train_X), self.train_Y.detach()
        Yvar = self.train_Yvar
        data = b"".join(each.cpu().double().numpy().tobytes() for each in (X, Y))
        seed = derive_seed(0, hashlib.sha256(data).hexdigest())
        model = row.load()(
            X,
            Y,
            None if Yvar is None else Yvar.clamp_min(_LEAST_VAR),
            inputs=self.inputs,
            options=build(row.options(), self.options, owner=f"surrogate {row.name}"),
            generator=Generator(device="cpu").manual_seed(seed),
        )
        self._fitted = [model]

    def posterior(
        self,
        X: Float[Tensor, "*b q k"],
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Any = None,
    ) -> Posterior:
        """The surrogate's posterior, at Ax's columns."""
        return self.fitted.posterior(
            self._in_cube(X),
            observation_noise=observation_noise,
            posterior_transform=posterior_transform,
        )

    def _in_cube(self, X: Float[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        return self._transforms[0].transform(X) if self._transforms else X


@functools.cache
def model_class(surrogate: str) -> type[CatalogModel]:
    """The class of a surrogate. Raises `UsageError` (the nearest name is suggested)."""
    row = find(surrogate, rows(SURROGATES), what="surrogate")
    name = "".join(part.title() for part in row.name.split("-")) + "Surrogate"
    # Ax looks for the names of arguments, and not through what may be wrapped around `__init__`.
    signature = inspect.signature(inspect.unwrap(CatalogModel.__init__))
    told = {"surrogate": row.name, "__signature__": signature, "__module__": __name__}
    return type(name, (CatalogModel,), told)


def _inputs(k: int, choices: Mapping[int, int]) -> Inputs:
    """The meaning of k columns, of which some begin the one-hot columns of a choice."""
    columns: list[Column] = []
    while len(columns) < k:
        group, width = len({column.group for column in columns}), choices.get(len(columns), 1)
        kind = "category" if width > 1 else "real"
        columns += [Column(kind, group, width if width > 1 else 0)] * width
    return Inputs(tuple(columns))
