"""The watch on tensor factories fires where it should, and nowhere else."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.repo.factories import ExplicitFactories

SILENT = [
    "torch.zeros(2, device='cpu', dtype=torch.float64)",
    "torch.randperm(3, generator=g, device='cpu', dtype=torch.int64)",
    "torch.zeros_like(X)",
    "X.new_zeros(2)",
    "torch.as_tensor(X)",
    "torch.asarray(array)",
    "torch.normal(X, 1.0, generator=g)",
    "torch.ones(2, out=X)",
    "torch.distributions.Normal(0.0, 1.0)",
    "torch.func.vmap(lambda x: x + 1)(X)",
]
LOUD = [
    "torch.zeros(2)",
    "torch.ones(2, dtype=torch.float64)",
    "torch.full((2,), 1.0, device='cpu')",
    "torch.tensor([1.0], device=None, dtype=torch.float64)",
    "torch.as_tensor([1.0])",
    "torch.normal(0.0, 1.0, (2,), generator=g)",
    "torch.randperm(3, generator=g)",
    "torch.arange(3, device='cpu')",
    "torch.func.vmap(lambda x: x + torch.eye(1)[0])(X)",
    "[torch.linspace(0, 1, n) for n in (2, 3)]",
]


def run(expression: str, module: str) -> Any:
    """Evaluate an expression inside a function of a module of that name."""
    names: dict[str, Any] = {
        "__name__": module,
        "torch": torch,
        "array": np.zeros(2),
        "X": torch.zeros(2, dtype=torch.float64),
        "g": torch.Generator(),
    }
    exec(compile(f"def call():\n    return {expression}", f"{module}.py", "exec"), names)
    with ExplicitFactories():
        return names["call"]()


@pytest.mark.parametrize("expression", LOUD)
@pytest.mark.parametrize("module", ["surrogates.fake", "rl.fake"])
def test_fires(expression: str, module: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=rf"{module}\.py:2: torch\.\w+ names no"):
        run(expression, module)


@pytest.mark.parametrize("expression", SILENT)
def test_lets_explicit_calls_pass(expression: str) -> None:
    run(expression, "surrogates.fake")


@pytest.mark.parametrize("module", ["bo.fake", "rlx.fake", "surrogates_other", "__main__"])
def test_watches_no_other_package(module: str) -> None:
    run("torch.zeros(2)", module)
