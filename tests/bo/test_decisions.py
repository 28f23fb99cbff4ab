"""The point that a fully Bayesian step chooses, judged by the posterior of a long run."""

import pytest
import torch
from botorch.test_functions import Hartmann
from torch import Generator, Tensor
from torch.quasirandom import SobolEngine

import bo
from bo.acquisition.fused_mixture import FusedMixtureLogEI
from bo.acquisition.maximise import maximise
from surrogates.gp import hmc, smc
from surrogates.gp.mixture import MixtureGP
from surrogates.inputs import Inputs

SPACE = bo.Space({f"x{j}": bo.real(0.0, 1.0) for j in range(6)})
SEEDS = range(12)


def chosen(function: FusedMixtureLogEI, X: Tensor, seed: int) -> Tensor:
    """The columns of its maximum, (1, 6)."""
    point = maximise(
        function,
        SPACE,
        [],
        X.numpy(),
        generator=Generator(device="cpu").manual_seed(seed),
        like=torch.zeros(0, dtype=torch.float64, device="cpu"),
    )
    assert point is not None
    return torch.as_tensor(SPACE.encode([point]))


@pytest.mark.slow
@pytest.mark.parametrize("method", [hmc, smc], ids=["gp-hmc", "gp-smc"])
def test_expected_improvement_of_the_point_is_near_the_greatest(method) -> None:
    """By at most 3 % on average over data sets of n = 20, where a point estimate loses 17 %."""
    lost: list[float] = []
    for seed in SEEDS:
        X = SobolEngine(6, scramble=True, seed=seed).draw(20, dtype=torch.float64)
        Y = -Hartmann(6)(X).unsqueeze(-1)

        def fitted(module, seed: int = seed, X: Tensor = X, Y: Tensor = Y, **told) -> MixtureGP:
            return module.fit(
                X,
                Y,
                inputs=Inputs.reals(6),
                options=module.Options(**told),
                generator=Generator(device="cpu").manual_seed(seed),
            )

        truth = fitted(hmc, chains=32, draws=256, most_draws=1024, ess=2000.0, rhat=1.01, kept=1024)
        assert truth.diagnostics["ess_min"] > 2000.0
        reference = FusedMixtureLogEI(truth, None, seed=0)
        ours = chosen(FusedMixtureLogEI(fitted(method), None, seed=0), X, seed)
        points = [ours, *(chosen(reference, X, other) for other in range(4))]
        values = torch.as_tensor(reference.values(torch.cat(points).numpy())).exp()
        lost.append(float(1.0 - values[0] / values.max()))
    assert sum(lost) / len(lost) < 0.03, lost
