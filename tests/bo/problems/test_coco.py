"""COCO's functions: optima that are known in closed form, integers, names, absence."""

import importlib
import importlib.util
import pickle
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from bo.problems.coco import Options, problem
from surrogates.errors import NotInstalledError, UsageError

needs_coco = pytest.mark.skipif(
    importlib.util.find_spec("cocoex") is None, reason='needs pip install "wald[coco]"'
)


@needs_coco
def test_sphere_reaches_its_final_target() -> None:
    made = problem("coco/bbob-f1-d2-i1", Options())
    assert made.optimum is None

    def outcome(x: Any) -> dict[str, Any]:
        found: Any = made.evaluate({"x0": float(x[0]), "x1": float(x[1])}, seed=0)
        assert isinstance(found, dict)
        return found

    found = minimize(
        lambda x: outcome(x)["value"],
        [0.0, 0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12},
    )
    assert found.fun == pytest.approx(79.48, abs=1e-6)  # the suite's documented optimum
    assert outcome(found.x)["final_target_hit"] == 1.0
    # An evaluation knows nothing of those before it.
    away = outcome(found.x + [3.0, -4.0])
    assert away["value"] == pytest.approx(79.48 + 25, abs=1e-6)
    assert away["final_target_hit"] == 0.0


@needs_coco
def test_instances_and_functions_differ() -> None:
    names = [
        "coco/bbob-f1-d2-i1",
        "coco/bbob-f1-d2-i2",
        "coco/bbob-f2-d2-i1",
        "coco/bbob-f1-d2-i99",
    ]
    values = {str(problem(n, Options()).evaluate({"x0": 0.1, "x1": 0.2}, seed=0)) for n in names}
    assert len(values) == 4


@needs_coco
def test_mixed_integers() -> None:
    parameters = problem("coco/bbob-mixint-f3-d10-i2", Options()).space.parameters.values()
    told = [(p.type, p.low, p.high) for p in parameters]
    integers = [("integer", 0, high) for high in (1, 3, 7, 15) for _ in range(2)]
    assert told == [*integers, *[("real", -5.0, 5.0)] * 2]


@needs_coco
def test_travels_to_a_worker() -> None:
    made = problem("coco/bbob-f24-d5-i3", Options())
    again = pickle.loads(pickle.dumps(made))
    point = made.space.from_uniforms(np.full((1, 5), 0.3))[0]
    assert again.evaluate(point, seed=0) == made.evaluate(point, seed=1)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("coco/bbob-f25-d5-i1", "function of 1 to 24, got 25"),
        ("coco/bbob-f1-d4-i1", "dimension of 2, 3, 5, 10, 20, 40, got 4"),
        ("coco/bbob-mixint-f1-d2-i1", "dimension of 5, 10"),
        ("coco/bbob-f1-d2-i99999", "instance of 1 to 1000"),
        ("coco/bbob-noisy-f101-d2-i1", "SUITE one of bbob, bbob-mixint"),
        ("coco/bbob-f1-d2", "write such as coco/bbob-f8-d5-i1"),
    ],
)
def test_bad_names(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        problem(name, Options())


def test_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(NotInstalledError, match=r'pip install "wald\[coco\]"'):
        problem("coco/bbob-f1-d2-i1", Options())
