"""The first thing one sees of a running bo: what it believes, and what it will try next."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from apps.store import Store
from dashboards import commands, links
from dashboards.cards import (
    belief_1d,
    belief_map,
    chains,
    hyper_pair,
    hyperparameters,
    importance,
    sampler,
)
from dashboards.cards.card import NotYet, draw, lit
from dashboards.data import RunData, of_the_first_goal, over
from dashboards.parts import calm, commanded, url_value
from dashboards.words import NOTHING, label, number, plain

MOST_SLICES = 4


def believing(store: Store, data: RunData) -> None:
    """The light of the model's health, the step, slices, map, the next point."""
    st.subheader("What it believes, and what it tries next", anchor=False)
    data = of_the_first_goal(data)
    if data.posterior is None:
        draw(functools.partial(belief_1d.card, data), key="belief", title="Belief")
        return
    _light(data.diagnostic)
    _steps(data.posterior_steps)
    slices = [each["parameter"] for each in data.posterior.get("slices") or []]
    shown = _along(slices, data.posterior)
    for start in range(0, len(shown), 2):
        row = shown[start : start + 2]
        columns = st.columns(2) if len(shown) > 1 else [st.container()]
        for column, name in zip(columns, row, strict=False):
            with column:
                make = functools.partial(belief_1d.card, data, parameter=name)
                draw(
                    make,
                    key=f"slice-{name}",
                    title=f"Belief along {name}",
                    version=data.version,
                )
    if data.posterior.get("map"):
        mapped = _mapped(store, data, slices)
        assert mapped.posterior is not None
        x, y = (mapped.posterior["map"][axis] for axis in "xy")
        make = functools.partial(belief_map.card, mapped)
        draw(make, key="map", title=f"Belief over {x} and {y}", version=mapped.version)
    left, right = st.columns(2)
    with left:
        _next(data)
    with right:
        make = functools.partial(importance.card, data)
        title = "Which parameters matter to it"
        draw(make, key="importance", title=title, version=data.version)
    if data.posterior.get("hyperparameters"):
        _drawn(data)


def _drawn(data: RunData) -> None:
    """What a fully Bayesian model holds possible of its hyperparameters, and how it was drawn."""
    assert data.posterior is not None
    st.subheader("Its hyperparameters, and whether they are drawn well", anchor=False)
    make = functools.partial(hyperparameters.card, data)
    draw(make, key="hyperparameters", title="Hyperparameters", version=data.version)
    told = data.posterior["hyperparameters"]
    pair = _paired(data)
    left, right = st.columns(2)
    with left:
        make = functools.partial(hyper_pair.card, data, pair=pair)
        version = None if data.version is None else (*data.version, *pair)
        draw(make, key="pair", title="Two of them against each other", version=version)
    with right:
        make = functools.partial(sampler.card, data)
        draw(make, key="sampler", title="Whether to trust the draws", version=data.version)
        if told.get("weights"):
            make = functools.partial(chains.card, data)
            draw(make, key="chains", title="Weights of the draws", version=data.version)
    if told.get("traces"):
        make = functools.partial(chains.card, data)
        draw(make, key="chains", title="Chains", version=data.version)


def _paired(data: RunData) -> tuple[str, ...]:
    """Which two hyperparameters are drawn against each other; none picked: the card's own."""
    try:
        names = hyper_pair.names(data)
    except NotYet:
        return ()
    if len(names) < 3:
        return ()
    picked = st.pills(
        "Pair of",
        names,
        format_func=label,
        selection_mode="multi",
        key="pair-of",
        bind="query-params",
        help="Two; none picked: the two that go together most closely",
    )
    if picked and len(picked) != 2:
        st.caption(f"A pair is of two hyperparameters; {len(picked)} are picked.")
    return tuple(picked) if picked and len(picked) == 2 else ()


def _light(told: Mapping[str, Any] | None) -> None:
    """A picture of a posterior is worth what its model is worth: said in words."""
    if told is None:
        st.caption(":material/help: This method says nothing about the health of its model.")
        return
    light = str(told.get("light"))
    words = " ".join(str(word) for word in told.get("words") or []) or "No word on the model."
    lit(light, words, what="model")


def chosen_step() -> int | None:
    """The step of the URL; None where the newest belief is followed."""
    return links.step(url_value("step"))


def _steps(kept: Sequence[int]) -> None:
    """The slider over the beliefs that are kept; at its right end it follows the newest."""
    if len(kept) < 2:
        st.caption(f"The belief with which trial {kept[0]} was chosen; the only one so far.")
        return
    step = chosen_step()
    follows = step not in kept
    # A slider whose options grow under the same key may send its former place back as if somebody
    # had moved it. So one that follows is a new one with each belief.
    key = f"slider-{kept[-1]}" if follows else "slider"
    if not follows:
        st.session_state[key] = step
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    with left:
        st.select_slider(
            "The belief with which this trial was chosen",
            kept,
            value=kept[-1] if follows else kept[0],  # of a pinned one, its key holds the value
            key=key,
            on_change=_moved,
            args=(key, kept[-1]),
            help="What the model believed is kept at each ask; the newest is on the right",
        )
    with right:
        st.button(
            "Follow the newest",
            key="follow",
            icon=":material/last_page:",
            disabled=follows,
            on_click=_follow,
            width="stretch",
        )


def _moved(key: str, newest: int) -> None:
    step = st.session_state[key]
    if step == newest:
        _follow()
    else:
        st.query_params["step"] = str(step)


def _follow() -> None:
    st.query_params.pop("step", None)


def _along(slices: Sequence[str], posterior: Mapping[str, Any]) -> list[str]:
    """Along which parameters the slices are drawn: two that matter most, or those picked."""
    if len(slices) <= 2:
        return list(slices)
    weight: dict[str, float] = dict(posterior.get("importance") or {})
    most = sorted(slices, key=lambda name: -(weight.get(name) or 0.0))[:2]
    picked = st.pills(
        "Slices along",
        list(slices),
        format_func=label,
        selection_mode="multi",
        key="along",
        bind="query-params",
        help=f"None picked: the two that matter most to the belief; at most {MOST_SLICES}",
    )
    return list(picked)[:MOST_SLICES] if picked else most


def _mapped(store: Store, data: RunData, slices: Sequence[str]) -> RunData:
    """The belief with the map of the two parameters that are picked, where it is drawn."""
    assert data.posterior is not None
    if len(slices) < 3:
        return data
    picked = st.pills(
        "Map over",
        list(slices),
        format_func=label,
        selection_mode="multi",
        key="axes",
        bind="query-params",
        help="Two; none picked: the two that matter most to the belief",
    )
    if not picked:
        return data
    if len(picked) != 2:
        st.caption(f"A map is over two parameters; {len(picked)} are picked.")
        return data
    mapped = over(store, data, picked)
    if mapped is None:
        _offer(store, data.run["run_id"], data.posterior["next"]["number"], picked)
    return mapped or data


def _offer(store: Store, run_id: str, step: int, axes: Sequence[str]) -> None:
    """A map that is not drawn yet can be asked for: pages have no model."""
    wanted = {"step": step, "axes": list(axes)}
    waits = any(payload == wanted for _, payload in store.asked(run_id, "snapshot"))
    button, line = st.columns([1, 4], vertical_alignment="center")
    with button:
        st.button(
            "Being drawn…" if waits else "Draw this map",
            key="draw",
            icon=":material/draw:",
            disabled=waits,
            on_click=_ask,
            args=(store, run_id, wanted),
            help="The model of that step is fitted anew by the supervisor; a matter of seconds",
            width="stretch",
        )
    with line:
        commanded(commands.snapshot(run_id, axes, step, store.url))
    told = [event.payload for event in store.events(run_id, kind="log")]
    this = [each for each in told if each.get("step") == step and each.get("axes") == list(axes)]
    failed = [each["not_drawn"] for each in this if "not_drawn" in each]
    if failed and not waits:
        st.warning(f"It could not be drawn: {plain(failed[-1], 500)}", icon=":material/warning:")


@calm
def _ask(store: Store, run_id: str, wanted: Mapping[str, Any]) -> None:
    store.request(run_id, "snapshot", wanted)
    st.query_params["step"] = str(wanted["step"])  # it stays there while the run goes on


def _next(data: RunData) -> None:
    """The next point beside the best one, and what the model expects there."""
    posterior = data.posterior
    assert posterior is not None
    following = posterior["next"]
    incumbent: Mapping[str, Any] = posterior.get("incumbent") or {}
    done = data.trials.loc[data.trials["number"] == following["number"], "state"]
    tried = done.isin(["complete", "failed"]).any()
    title = f"The point of trial {following['number']}, beside the best before it"
    with st.container(border=True):
        st.markdown(f"**{title if tried else 'The next point, beside the best so far'}**")
        number = following["number"]
        point_title = f"trial {number}" if tried else "next"
        best_title = f"best before trial {number}" if tried else "best so far"
        st.caption(plain(_expected(posterior), 500))
        point: Mapping[str, Any] = following["parameters"]
        frame = pd.DataFrame(
            {
                "parameter": list(point),
                point_title: [_value(value) for value in point.values()],
                best_title: [_value(incumbent.get(name)) for name in point],
            }
        )
        st.dataframe(
            frame,
            hide_index=True,
            height="content" if len(frame) <= 12 else 460,
            key="next",
            alt=f"By parameter: {point_title}, and {best_title}",
        )


def _expected(posterior: Mapping[str, Any]) -> str:
    following = posterior["next"]
    goal = posterior.get("goal", "value")
    mean, spread = following.get("mean"), following.get("predictive_std")
    if mean is None:
        return "The model says nothing about the value there."
    band = "" if spread is None else f", ± {number(2 * spread)} (2 sd)"
    if following.get("quantiles"):
        band = ", 95 % from {} to {}".format(
            *(number(following["quantiles"][end]) for end in (0, -1))
        )
    best = posterior.get("incumbent_value")
    against = "" if best is None else f"; the best so far is {number(best)}"
    return f"Expected {goal} there: {number(mean)}{band}{against}."


def _value(value: Any) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
