"""Functions of BoTorch that want one Gaussian process refuse a mixture by name. No paper.

They look at the shape of what the mixture gives, and fail on it without a word of what to do
instead. Before that they ask nothing but its inputs and its posterior; so there, who asks is read
from the stack.
"""

import inspect

from botorch.acquisition.analytic import PosteriorStandardDeviation
from botorch.acquisition.max_value_entropy_search import MaxValueBase
from botorch.acquisition.multi_objective.predictive_entropy_search import (
    qMultiObjectivePredictiveEntropySearch,
)

from surrogates.errors import CapabilityError

_INSTEAD: dict[type, str] = {
    MaxValueBase: "OverDraws(model, lambda gp: {name}(gp, ...))",
    qMultiObjectivePredictiveEntropySearch: "OverDraws(model, lambda gp: {name}(gp, ...))",
    PosteriorStandardDeviation: "MixtureStandardDeviation(model)",
}
_FRAMES = 12
"""How far up BoTorch's decorators and ours put the function that asks."""


def refuse_functions_of_one() -> None:
    """To be called where a mixture is asked for something that these functions begin with.

    Raises:
        CapabilityError: a function of BoTorch asks that wants one Gaussian process.
    """
    frame = inspect.currentframe()
    for _ in range(_FRAMES):
        frame = None if frame is None else frame.f_back
        if frame is None:
            return
        if "self" not in frame.f_code.co_varnames[:1]:
            continue
        asks = frame.f_locals.get("self")
        for kind, instead in _INSTEAD.items():
            if isinstance(asks, kind):
                name = type(asks).__name__
                raise CapabilityError(
                    f"{name} expected one Gaussian process, got a mixture over draws of "
                    f"hyperparameters; use {instead.format(name=name)} of "
                    "bo.acquisition.over_draws"
                )
