"""One thread for OpenBLAS while wald fits or asks."""

from typing import Any

import pytest
import torch
from threadpoolctl import ThreadpoolController, threadpool_limits

from bo.parameters import real
from bo.space import Space
from bo.strategies.model_based import ModelBased
from bo.study import Study
from surrogates.gp import map as gp_map
from surrogates.inputs import Inputs
from surrogates.threads import one_thread


def _counts() -> list[int]:
    found = ThreadpoolController().select(internal_api="openblas").info()
    return [library["num_threads"] for library in found]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch):
    """Two threads, as on a machine of two cores whose environment says nothing."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with threadpool_limits(2):
        if set(_counts()) != {2}:
            pytest.skip(f"no OpenBLAS that takes two threads here: {_counts()}")
        yield


@pytest.mark.usefixtures("two")
def test_one_inside_and_as_before_outside() -> None:
    with one_thread():
        assert set(_counts()) == {1}
        with one_thread():
            assert set(_counts()) == {1}
        assert set(_counts()) == {1}
    assert set(_counts()) == {2}


@pytest.mark.usefixtures("two")
def test_as_before_after_an_error() -> None:
    with pytest.raises(ValueError, match="mine"), one_thread():
        raise ValueError("mine")
    assert set(_counts()) == {2}


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
@pytest.mark.usefixtures("two")
def test_what_the_environment_says_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "2")
    with one_thread():
        assert set(_counts()) == {2}


@pytest.mark.parametrize("method", ["gp-map", "gp-trust-region", "gp-global-local", "auto"])
@pytest.mark.usefixtures("two")
def test_an_ask_has_one(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(Space({"x": real(0.0, 1.0)}), method=method, seed=0)
    for trial in study.ask(4):
        study.tell(trial, trial.number / 3)
    seen: list[int] = []
    acquisition = ModelBased._acquisition

    def watched(*args: Any, **options: Any) -> Any:
        seen.extend(_counts())
        return acquisition(*args, **options)

    monkeypatch.setattr(ModelBased, "_acquisition", watched)
    study.ask()
    assert set(seen) == {1}
    assert set(_counts()) == {2}


@pytest.mark.usefixtures("two")
def test_a_fit_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    check = gp_map.check_data

    def watched(*args: Any, **options: Any) -> None:
        seen.extend(_counts())
        check(*args, **options)

    monkeypatch.setattr(gp_map, "check_data", watched)
    x = torch.rand(4, 1, dtype=torch.float64, device="cpu", generator=torch.Generator())
    gp_map.fit(x, x.sin(), inputs=Inputs.reals(1), options=gp_map.Options())
    assert set(seen) == {1}
    assert set(_counts()) == {2}
