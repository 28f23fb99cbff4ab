"""Where the draws of a mixture come from, for pictures and reports. No paper."""

import dataclasses

from surrogates.gp.hyperpriors import Prior
from surrogates.inference.contract import Draws


@dataclasses.dataclass(frozen=True)
class Sampled:
    """All that an engine drew, of which a model keeps some; and what was held possible before.

    Attributes:
        draws: chain by chain, points of the hyperposterior.
        prior: a density of such points.
    """

    draws: Draws
    prior: Prior
