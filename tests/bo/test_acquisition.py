"""Acquisition functions: the same seed gives the same function, whatever torch's own state."""

import copy
import math
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch

from bo.acquisition.functions import Models, acquisition
from bo.acquisition.names import NAMES
from bo.strategies.model_based import growing_beta
from surrogates.gp import map as gp_map
from surrogates.inputs import Column, Inputs

F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}


@pytest.fixture(scope="module")
def fitted():
    generator = torch.Generator().manual_seed(5)
    X = torch.rand(60, 2, generator=generator, **F64)
    noise = torch.randn(60, 1, generator=generator, **F64)
    Y = -((X - 0.4) ** 2).sum(1, keepdim=True) + 2.0 * noise
    inputs = Inputs((Column("real", 0, 0), Column("real", 1, 0)))
    return X, gp_map.fit(X, Y, inputs=inputs, options=gp_map.Options())


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pending", [None, 2])
def test_the_seed_alone_decides(fitted, name, pending, limited, exact):
    X, model = fitted
    if not exact:  # as where the model is not on the CPU, or of another kind
        model = copy.copy(model)
        model.predictor = None
    several = name == "ehvi"
    models = Models([model, model] if several else [model], [model] if limited else [])
    reference = [-5.0, -5.0] if several else None
    waiting = None if pending is None else X[:pending] * 0.5
    where = torch.rand(40, 1, 2, generator=torch.Generator().manual_seed(1), **F64)

    def scores(seed, own_state):
        torch.manual_seed(own_state)
        with torch.no_grad():
            made = acquisition(name, models, X, waiting, reference=reference, seed=seed)
            return made(where)

    first = scores(3, 0)
    assert all(torch.equal(first, scores(3, state)) for state in range(1, 6))
    closed = name == "ucb" and not limited
    closed |= name in ("logei", "ehvi") if exact else name == "logei" and not limited
    drawn = pending is not None or not closed
    assert torch.equal(first, scores(4, 0)) is not drawn


@pytest.mark.gpu
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pending", [None, 2])
def test_it_is_the_same_function_on_cuda(fitted, name, pending, limited):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    X, model = fitted
    several = name == "ehvi"
    where = torch.rand(40, 1, 2, generator=torch.Generator().manual_seed(1), **F64)
    found: list[torch.Tensor] = []
    for device in ("cpu", "cuda"):
        moved = copy.deepcopy(model).to(device)
        moved.predictor = None
        models = Models([moved, moved] if several else [moved], [moved] if limited else [])
        waiting = None if pending is None else (X[:pending] * 0.5).to(device)
        made = acquisition(
            name,
            models,
            X.to(device),
            waiting,
            reference=[-5.0, -5.0] if several else None,
            seed=3,
        )
        with torch.no_grad():
            found.append(made(where.to(device)).cpu())
    assert torch.allclose(*found, rtol=1e-5, atol=1e-7)


def test_the_beta_of_ucb():
    """Mean + sqrt(beta) std, of a beta that is given."""
    X = torch.linspace(0, 1, 6, dtype=torch.float64, device="cpu").unsqueeze(1)
    model = gp_map.fit(X, torch.sin(5 * X), inputs=Inputs.reals(1), options=gp_map.Options())
    at = torch.tensor([[[0.37]]], dtype=torch.float64, device="cpu")
    told = model.posterior(at)
    for beta in (0.25, 9.0):
        made = acquisition("ucb", Models([model]), X, None, seed=0, beta=beta)
        wanted = told.mean + math.sqrt(beta) * told.variance.sqrt()
        torch.testing.assert_close(made(at), wanted.flatten())


def test_the_growing_beta_is_that_of_the_paper():
    # d = 2, t = 10, delta = 0.01: 2 log(2 * 100 * pi^2 / 0.06)
    assert growing_beta(10, 2) == pytest.approx(20.80238, abs=1e-5)


def test_several_goals_wait_for_no_compiler(tmp_path):
    """BoTorch would compile at first use, and wait for ever where a `lock` was left by that."""
    stale = tmp_path / "logei_fused_ext" / "lock"
    stale.parent.mkdir()
    stale.touch()
    code = """
        import sys
        started = []
        STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system")
        sys.addaudithook(lambda name, told: name in STARTS and started.append((name, str(told))))

        import bo
        from bo.methods import make_problem
        problem = make_problem("branincurrin", {})
        study = bo.Study(problem.space, problem.goal, method="gp-map", seed=0)
        study.run(lambda p: problem.evaluate(p, seed=0), budget=4)
        started.clear()  # by libraries that look at the machine while they are imported
        for _ in range(2):
            trial = study.ask()[0]
            assert trial.method_state is not None
            study.tell(trial, problem.evaluate(trial.parameters, seed=0))
        assert started == [], started

        import torch
        from botorch.acquisition.multi_objective.logei import (
            qLogNoisyExpectedHypervolumeImprovement as Noisy,
        )
        from botorch.models import SingleTaskGP
        X = torch.rand(6, 2, dtype=torch.float64)
        Noisy(SingleTaskGP(X, torch.cat([X[:, :1], 1 - X[:, :1]], 1)), [-1.0, -1.0], X)
        assert started == [], started
    """
    environment = os.environ | {"TORCH_EXTENSIONS_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    done = subprocess.run(
        command, env=environment, timeout=120, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == [stale.parent, stale]
