"""Functions drawn from a posterior where covariances are nearly singular."""

from typing import Any

import pytest
import torch
from torch import Generator

from surrogates.gp import map, mode
from surrogates.inputs import Inputs


@pytest.mark.filterwarnings("ignore:The model inputs are of type torch.float32")
@pytest.mark.parametrize("module", [map, mode])
@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_a_path_in_single_precision_goes_through_what_was_observed(
    module: Any, kernel: str
) -> None:
    generator = Generator(device="cpu").manual_seed(0)
    X = torch.rand(100, 1, generator=generator, dtype=torch.float64, device="cpu").float()
    Y = torch.sin(3.0 * X)
    model = module.fit(
        X, Y, inputs=Inputs.reals(1), options=module.Options(kernel=kernel), generator=generator
    )
    told = model.draw_path(generator)(X).detach()
    assert told.dtype == torch.float32
    assert float((told - Y[:, 0]).abs().max()) < 0.01
