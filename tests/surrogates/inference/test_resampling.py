"""Which of some weighted draws are kept: Fearnhead & Clifford's way, whatever the weights."""

import pytest
import torch
from torch import Generator, Tensor

from surrogates.inference.resampling import lightened


def shares(seed: int, count: int, spread: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Weights whose logarithms have this standard deviation."""
    generator = Generator(device="cpu").manual_seed(seed)
    drawn = torch.randn(count, generator=generator, dtype=torch.float64, device="cpu")
    return torch.softmax(spread * drawn, 0).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0, 10.0, 30.0, 100.0])
@pytest.mark.parametrize("n", [1, 8, 64])
def test_none_is_kept_twice_and_weights_sum_to_one(
    spread: float, n: int, dtype: torch.dtype
) -> None:
    generator = Generator(device="cpu").manual_seed(0)
    for seed in range(60):
        share = shares(seed, 512, spread, dtype)
        place, log_weight = lightened(share, n, generator)
        weight = log_weight.double().exp()
        assert len(place) == len(log_weight) <= n
        assert len(place.unique()) == len(place)
        assert abs(float(weight.sum()) - 1.0) < (1e-12 if dtype == torch.float64 else 1e-5)
        assert bool((weight > 0.0).all())
        kept = share[place].double()
        assert bool((weight >= kept * (1.0 - 1e-5)).all()), "none is lighter than it was"


@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_a_draw_weighs_its_share_on_average(spread: float) -> None:
    generator = Generator(device="cpu").manual_seed(0)
    share, rounds = shares(1, 12, spread), 4000
    total = torch.zeros_like(share)
    for _ in range(rounds):
        place, log_weight = lightened(share, 4, generator)
        total[place] += log_weight.exp()
    # A weight is 0 or at most w, so the variance of one is at most w times its share.
    most = torch.maximum(share, share.new_tensor(0.25))
    error = (most * share / rounds).sqrt()
    assert bool(((total / rounds - share).abs() < 4.5 * error + 1e-12).all())
