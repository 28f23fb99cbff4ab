"""Handwritten digits as a bandit: scikit-learn's `load_digits`, 1797 images of 8 x 8, 10 labels.

Contexts (b, 10, 64): pixels over 16, so in 0 to 1. Reward 1 for the right digit, else 0.
"""

import torch
from sklearn.datasets import load_digits

from rl.environments.classification import Classification
from surrogates.options import options


@options
class Options:
    """The digits have no options."""


def problem(name: str, options: Options, seed: int, device: torch.device) -> Classification:
    """The factory of the catalog; the data are the same under every seed."""
    del options, seed
    X, y = load_digits(return_X_y=True)
    return Classification(
        name,
        torch.tensor(X / 16.0, device=device, dtype=torch.float64),
        torch.tensor(y, device=device, dtype=torch.int64),
        [str(digit) for digit in range(10)],
    )
