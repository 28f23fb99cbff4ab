"""Pictures of fully Bayesian models: draws of hyperparameters, chains, weights, their light."""

from collections.abc import Callable

import numpy as np
import pytest
import vl_convert

from bo import health, mixtures
from dashboards.cards import (
    belief_1d,
    belief_map,
    calibration,
    chains,
    hyper_pair,
    hyperparameters,
    importance,
    sampler,
)
from dashboards.cards.card import Card, printable
from dashboards.data import RunData
from tests.dashboards.test_cards import (
    SOME,
    axis_titles,
    belief,
    bo,
    drawing,
    drawn,
    drawn_belief,
    encoded,
    specification,
)


def test_a_belief_of_many_draws_has_their_own_band_and_the_lines_of_some() -> None:
    card = belief_1d.card(drawing(), parameter="x0")
    shown = card.data
    band = shown[shown["what"] == "belief"]
    assert (band["band from"] == band["mean"] - 3.0).all()
    assert (band["band to"] == band["mean"] + 5.0).all()
    lines = shown[shown["what"] == "single draw"]
    assert lines.groupby("draw").size().to_list() == [11, 11, 11]
    assert "what 3 single draws expect" in card.reading
    assert "the middle 95 % of the mixture" in card.reading
    assert "standard deviation" not in card.reading
    plain = belief_1d.card(bo(SOME, posterior=belief()), parameter="x0")
    assert "two standard deviations" in plain.reading
    assert "single draw" not in set(plain.data["what"])


def test_a_slice_without_lines_still_has_the_band_of_the_mixture() -> None:
    told = drawn_belief()
    del told["slices"][0]["drawn"]
    card = belief_1d.card(bo(SOME, posterior=told), parameter="x0")
    assert "band from" in card.data
    assert "single draw" not in card.reading


def test_a_slice_of_one_draw_is_not_called_a_mixture() -> None:
    told = drawn_belief()
    told["slices"][0]["drawn"] = told["slices"][0]["drawn"][:1]
    card = belief_1d.card(bo(SOME, posterior=told), parameter="x0")
    assert "the middle 95 %" in card.reading
    for word in ("mixture", "draw", "Thin lines"):
        assert word not in card.reading


@pytest.mark.parametrize(
    "make", [belief_1d.card, belief_map.card, hyperparameters.card, hyper_pair.card, chains.card]
)
def test_every_picture_of_draws_carries_its_light(make: Callable[[RunData], Card]) -> None:
    card = make(drawing())
    assert card.light is not None
    assert card.light[0] == "amber"
    assert "disagree" in card.light[1]
    spec = printable(card)
    assert "Draws amber: The chains of the sampler disagree" in " ".join(spec["title"]["subtitle"])


def test_pictures_of_one_value_each_have_no_light_of_draws() -> None:
    data = bo(SOME, posterior=belief())
    assert belief_1d.card(data).light is None
    assert belief_map.card(data).light is None
    assert importance.card(data).light is None


def test_few_hyperparameters_have_a_panel_each_and_many_a_row() -> None:
    few = specification(hyperparameters.card(drawing()))
    assert len(few["concat"]) == 4
    assert {"length-scale of x0", "noise variance"} <= set(axis_titles(few))
    names = tuple(f"x{i}" for i in range(12))
    many = hyperparameters.card(drawing(names))
    spec = specification(many)
    assert len(spec["concat"]) == 2
    (scales, variances) = spec["concat"]
    assert encoded(scales, "y")[0]["sort"][0].startswith("length-scale of x")
    assert set(encoded(variances, "y")[0]["sort"]) == {"noise variance", "signal variance"}
    assert list(many.data.columns) == [
        *(f"length-scale of {name}" for name in names),
        "signal variance",
        "noise variance",
    ]
    assert len(many.data) == 64


def test_densities_of_draws_and_prior_are_over_the_same_places() -> None:
    spec = specification(hyperparameters.card(drawing()))
    after, before, strokes = drawn(spec)[:3]
    assert [row["at"] for row in after] == [row["at"] for row in before]
    assert len(strokes) == 64
    at = np.log10([row["at"] for row in after])
    mass = np.trapezoid([row["density"] for row in after], at)
    assert mass == pytest.approx(1.0, abs=0.02)


def test_a_prior_far_wider_than_the_draws_leaves_room_for_them() -> None:
    data = drawing()
    assert data.posterior is not None
    for each in data.posterior["hyperparameters"]["draws"]:
        each["prior"] = {"from": -40.0, "to": 40.0, "density": [0.0, 0.0125, 0.0125, 0.0]}
    card = hyperparameters.card(data)
    values = card.data["length-scale of x0"]
    (after, *_) = drawn(specification(card))
    assert after[0]["at"] > values.min() / 100
    assert after[-1]["at"] < values.max() * 100


def test_draws_that_are_all_alike_or_none_are_no_reason_to_fail() -> None:
    data = drawing()
    assert data.posterior is not None
    first, second, third, _ = data.posterior["hyperparameters"]["draws"]
    first["values"] = [2.0] * 64
    second["values"] = [None] * 64
    third["values"] = [None, 0.0, *[3.0] * 62]
    for make in (hyperparameters.card, hyper_pair.card, sampler.card):
        card = make(data)
        if card.chart is not None:
            specification(card)
            assert vl_convert.vegalite_to_svg(printable(card)).startswith("<svg")
    assert "length-scale of x1" not in hyperparameters.card(data).data


def test_a_pair_is_the_closest_one_or_the_one_that_is_picked() -> None:
    closest = hyper_pair.card(drawing())
    assert "noise variance" not in closest.data
    assert "their ratio" in closest.reading
    picked = hyper_pair.card(drawing(), pair=("length-scale of x1", "noise variance"))
    assert list(picked.data.columns) == ["length-scale of x1", "noise variance"]
    assert "each varies by itself" in picked.reading


def test_ranks_of_chains_that_have_seen_the_same_are_even() -> None:
    data = drawing()
    assert data.posterior is not None
    trace = data.posterior["hyperparameters"]["traces"][1]
    trace["values"] = [[float(100 * chain + i) for i in range(20)] for chain in range(4)]
    spec = specification(chains.card(data))
    tiles = [rows for rows in drawn(spec) if "tenth" in rows[0]][1]
    low = {row["tenth"]: row["share"] for row in tiles if row["chain"] == 1}
    # The first chain has all of the lowest quarter of the ranks.
    assert low[1] == low[2] == 4.0
    assert low[3] == 2.0
    assert sum(low.values()) == 10.0
    assert chains.card(data).data["draw"].max() == 60, "one draw in three is kept"


def test_the_table_of_the_sampler_says_what_is_good() -> None:
    card = sampler.card(drawing())
    shown = {row["quantity"]: (row["value"], row["good"]) for row in card.data.to_dict("records")}
    assert shown["R-hat, the largest"] == ("1.10", "at most 1.05")
    assert shown["has reached what it wanted"] == ("no", "yes")
    assert shown["R-hat of length-scale of x1"] == ("1.02", "worth 400 draws")
    assert "16 chains" in card.reading
    assert "k-hat" in sampler.card(drawing(weights=True)).reading


def test_pages_and_models_mean_the_same_levels_and_limits() -> None:
    assert calibration.LEVELS == mixtures.LEVELS
    assert sampler.KNOWN["rhat_max"][1] == f"at most {health._RHAT}"
    assert sampler.KNOWN["ess_min"][1] == f"at least {health._ESS}"
    assert sampler.KNOWN["mcse_sd_max"][1] == f"at most {health._SD_ERROR}"
    assert sampler.KNOWN["khat"][1] == f"at most {health._KHAT}"
