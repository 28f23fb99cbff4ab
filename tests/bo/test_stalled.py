"""What the default does once nothing improves: every second ask looks elsewhere."""

import statistics

import pytest

from bo import Study, real

BUDGET = 34


def asked(seed: int, *, stalled: str, subject_to: tuple[str, ...] = ()) -> list[float]:
    """Where a bowl was looked at, as distances from its bottom, after the initial design."""
    study = Study(
        {"x": real(0, 1), "y": real(0, 1)},
        "minimize value",
        subject_to=subject_to,
        method="gp-map",
        options={"stalled": stalled},
        seed=seed,
    )

    def bowl(p: dict[str, float]) -> dict[str, float]:
        return {"value": (p["x"] - 0.3) ** 2 + (p["y"] - 0.6) ** 2, "fumes": p["x"]}

    study.run(bowl, budget=BUDGET)
    places = study.result().trials[["x", "y"]].to_numpy()
    return abs(places - [0.3, 0.6]).max(axis=1).tolist()


@pytest.mark.parametrize("subject_to", [(), ("fumes <= 0.8",)])
def test_every_second_ask_leaves_a_bottom_that_is_known(subject_to):
    far = asked(1, stalled="explore", subject_to=subject_to)[24:]
    assert statistics.median(far[1::2]) < 0.01 < statistics.median(far[0::2])


def test_refine_stays_there():
    far = asked(1, stalled="refine")[24:]
    assert statistics.median(far) < 0.01


def test_until_it_stalls_both_ask_the_same():
    explore, refine = (asked(2, stalled=stalled) for stalled in ("explore", "refine"))
    assert explore[:11] == refine[:11]
    assert explore != refine
