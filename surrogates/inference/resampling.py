"""Which of some weighted draws to keep. Papers: at each function."""

import torch
from torch import Generator, Tensor

from surrogates.inference.contract import uniforms

_LITTLE = 1e-3  # of all weight


def systematic(share: Tensor, n: int, generator: Generator) -> Tensor:
    """Places (n,) of draws by their shares, spread as evenly as can be (Kitagawa 1996)."""
    offset = uniforms((1,), generator, share)
    at = (torch.arange(n, dtype=share.dtype, device=share.device) + offset) / n
    edges = share.cumsum(0)
    return torch.searchsorted(edges / edges[-1], at, right=True).clamp_max(len(share) - 1)


def lightened(share: Tensor, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Places and logarithms of the new weights of at most n draws, none of them twice.

    Fearnhead & Clifford (2003), "On-line Inference for Hidden Markov Models via Particle Filters",
    section 3.2: draws above some weight keep it, the others are picked by their shares, spread
    evenly, and have that weight then. Of all unbiased ways this one changes the weights least.
    """
    share = share / share.sum()
    heavy = share.argsort(descending=True)[: int((share > 0).sum())]
    if len(heavy) <= n:
        return heavy, share[heavy].log()
    ranked = share[heavy]
    left = 1.0 - ranked.cumsum(0) + ranked  # from a draw on
    behind = ranked.flip(0).cumsum(0).flip(0)
    left = torch.where(behind < _LITTLE, behind, left)  # that difference would be rounding
    each = left[:n] / torch.arange(n, 0, -1, dtype=share.dtype, device=share.device)
    whole = min(int((ranked[:n] > each).to(dtype=torch.int64).cumprod(0).sum()), n - 1)
    rest = heavy[whole:]
    picked = rest[systematic(share[rest], n - whole, generator)]
    weight = each[whole].log().expand(n - whole)
    return torch.cat([heavy[:whole], picked]), torch.cat([ranked[:whole].log(), weight])
