"""One thread for OpenBLAS while wald fits or asks."""

import pytest
import torch
from threadpoolctl import ThreadpoolController, threadpool_limits

from bo.parameters import real
from bo.space import Space
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


@pytest.mark.usefixtures("two")
def test_an_ask_and_a_fit_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(Space({"x": real(0.0, 1.0)}), "minimize y", method="random", seed=0)
    seen: list[list[int]] = []
    ask = study.strategy.ask

    def watched(*args, **options):
        seen.append(_counts())
        return ask(*args, **options)

    monkeypatch.setattr(study.strategy, "ask", watched)
    study.ask(2)
    check = gp_map.check_data

    def checked(*args, **options):
        seen.append(_counts())
        return check(*args, **options)

    monkeypatch.setattr(gp_map, "check_data", checked)
    x = torch.rand(4, 1, dtype=torch.float64, device="cpu", generator=torch.Generator())
    gp_map.fit(x, x.sin(), inputs=Inputs.reals(1), options=gp_map.Options())
    assert len(seen) == 2
    assert {count for counts in seen for count in counts} == {1}
    assert set(_counts()) == {2}
