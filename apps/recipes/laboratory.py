"""A stand-in for somebody who mixes, cures and measures a glue. Made up; no real material."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def glue(parameters: Mapping[str, Any], seed: int) -> dict[str, float]:
    """Strength and cost of a mixture, measured with an error of about 3 %."""
    resin, hardener = parameters["resin"], parameters["hardener"]
    filler, temperature = parameters["filler"], parameters["cure_temperature"]
    silica = parameters["filler_kind"] == "silica"
    mixed = math.exp(-(((hardener / resin - 0.38) / 0.18) ** 2))
    cured = math.exp(-(((temperature - 85) / 40) ** 2))
    filled = 1 + (0.9 if silica else 0.4) * filler / 30 - 1.1 * (filler / 30) ** 3
    error = 1 + 0.03 * np.random.default_rng(seed).standard_normal()
    cost = 0.3 * resin + 0.45 * hardener + (0.25 if silica else 0.05) * filler
    cost += 0.03 * temperature
    return {
        "strength": round(20 * mixed * (0.3 + 0.7 * cured) * filled * error, 2),
        "cost": round(cost, 2),
    }
