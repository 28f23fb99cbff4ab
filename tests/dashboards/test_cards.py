"""Every picture, from runs made by hand: what is drawn, how it is labelled, when it is not yet."""

import dataclasses
import functools
import json
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert

import bo as wald
from apps.curves import DASHES, PALETTE, style
from apps.spec import RunSpec
from apps.store import Store
from apps.summary import find_object
from dashboards import theme
from dashboards.arrange import listed
from dashboards.buffer import Buffer
from dashboards.cards import (
    arms,
    ask_time,
    bands,
    belief_1d,
    belief_map,
    best_so_far,
    calibration,
    chains,
    differences,
    experiment_curves,
    experiment_table,
    failures,
    final,
    front,
    hyper_pair,
    hyperparameters,
    importance,
    lengths,
    limits,
    losses,
    parallel,
    parameters,
    pulls,
    ranks,
    regret,
    returns,
    sampler,
    standing,
    timeline,
)
from dashboards.cards.card import Card, NotYet, panels, printable
from dashboards.cards.picture import beside, layer, whole
from dashboards.data import RunData, of_the_first_goal
from dashboards.thin import POINTS
from tests.dashboards.experimental import by_hand

# Names that a path of Vega, markdown, HTML or a tooltip would take for something else.
AWKWARD = ["a.b[0]", "x:y", "<b>", "image", "größe `x` $y$", 'it\'s "q" \\']
LONG = 5_000


def bo(
    values: list[float | None],
    *,
    direction: str = "minimize",
    optimum: float | None = None,
    goal: str = "loss",
    names: tuple[str, ...] = ("x0", "x1"),
    method: str = "gp-map",
    seed: int = 1,
    posterior: dict[str, Any] | None = None,
    predicted: bool = False,
    run_id: str = "bo-1",
) -> RunData:
    """A bo run; None is a failed trial. Parameters are real in [0, 1], all at the same place."""
    sign = 1 if direction == "minimize" else -1
    rows: list[dict[str, Any]] = []
    best: float | None = None
    for number, value in enumerate(values):
        if (
            value is not None
            and np.isfinite(value)
            and (best is None or sign * value < sign * best)
        ):
            best = value
        regret_now = None if best is None or optimum is None else abs(best - optimum)
        place = (number + 0.5) / len(values)
        rows.append(
            {
                "number": number,
                "state": "failed" if value is None else "complete",
                "value": value,
                "best": best,
                "regret": regret_now,
                "predicted_mean": place if predicted and value is not None else None,
                "predicted_std": 1.0 if predicted and value is not None else None,
                "reason": "a crash: <b>no</b> memory" if value is None else None,
                "ask_cpu_seconds": 0.01 * (number + 1),
                "seconds": 1.0,
                **{f"p.{name}": place for name in names},
            }
        )
    columns = ["number", "state", "value", "best", "regret", "predicted_mean", "predicted_std"]
    columns += ["reason", "ask_cpu_seconds", "seconds", *(f"p.{name}" for name in names)]
    score = None if best is None else -sign * best
    return RunData(
        run={
            "run_id": run_id,
            "name": run_id,
            "kind": "bo",
            "problem": "toy",
            "method": method,
            "seed": seed,
            "steps": len(values),
            "score": score,
            "regret": None,
            "cpu_seconds": 1.0,
            "metrics": {"goal": f"{direction} {goal}", "optimum": optimum},
            "versions": {},
            "budget": 50,
        },
        goal=(goal, direction),
        parameters={n: {"type": "real", "low": 0.0, "high": 1.0, "log": False} for n in names},
        trials=pd.DataFrame(rows, columns=columns),
        steps=pd.DataFrame(),
        posterior_steps=[] if posterior is None else [posterior["next"]["number"]],
        posterior=posterior,
        diagnostic=None,
    )


def belief(names: tuple[str, ...] = ("x0", "x1"), *, number: int = 4) -> dict[str, Any]:
    """A payload over real parameters in [0, 1]; the map's mean is 10 x + y, so cells differ."""
    at = [round(float(x), 3) for x in np.linspace(0, 1, 11)]
    slices = [
        {
            "parameter": name,
            "at": at,
            "mean": [x**2 for x in at],
            "std": [0.1 + x / 10 for x in at],
            "acquisition": [-100.0 * x for x in at],
        }
        for name in names
    ]
    grid = [(x, y) for y in at for x in at]
    chart = {
        "x": names[0],
        "y": names[-1],
        "x_at": at,
        "y_at": at,
        "mean": [10 * x + y for x, y in grid],
        "std": [0.5 for _ in grid],
        "acquisition": [-x for x, _ in grid],
    }
    return {
        "goal": "loss",
        "direction": "minimize",
        "acquisition": "logei",
        "data": number,
        "incumbent": dict.fromkeys(names, 0.25),
        "incumbent_value": 0.5,
        "next": {
            "number": number,
            "parameters": dict.fromkeys(names, 0.75),
            "mean": 0.4,
            "std": 0.1,
            "predictive_std": 0.2,
            "acquisition": -1.0,
        },
        "slices": slices,
        "map": chart if len(names) > 1 else None,
        "importance": {name: 0.5 / (place + 1) for place, name in enumerate(names)},
        "cpu_seconds": 0.01,
    }


def bandit(rounds: list[int], *, arm_count: int = 3, beliefs: bool = True, **more: Any) -> RunData:
    """A bandit run with one record per entry of rounds."""
    steps: list[dict[str, Any]] = []
    for step in rounds:
        row: dict[str, Any] = {"step": step, "time": 0.0, "cpu_seconds": step / 100}
        row |= {"reward": 0.5 * step, "regret": 0.1 * step}
        row["pulls"] = [step - arm_count + 1, *[1] * (arm_count - 1)]
        if beliefs:
            row["posterior_mean"] = [0.9 - 0.1 * arm for arm in range(arm_count)]
            row["posterior_std"] = [0.05] * arm_count
        steps.append(row | more)
    run = {"run_id": "b-1", "name": None, "kind": "bandit", "problem": "toy", "method": "ts-beta"}
    run |= {"seed": 1, "steps": 1, "score": -1.0, "regret": 1.0, "cpu_seconds": 1.0, "metrics": {}}
    return RunData(run, None, {}, pd.DataFrame(), pd.DataFrame(steps), [], None, None)


def rl(count: int) -> RunData:
    """An rl run; greedy evaluations at every second record, the loss from the second on."""
    steps: list[dict[str, Any]] = [
        {
            "step": 500 * (i + 1),
            "time": 0.0,
            "cpu_seconds": 2.0 * (i + 1),
            "episodes": i,
            "return": float(i),
            "length": 10.0 + i,
            "evaluation": None if i < 1 else float(2 * (i // 2)),
            "kept_evaluation": None if i < 1 else float(2 * (i // 2)),
            "kept_step": None if i < 1 else 1000 if i == 1 else 500 + 1000 * (i // 2),
            "epsilon": 1.0 / (i + 1),
            "loss": None if i < 1 else 1.0 / i,
        }
        for i in range(count)
    ]
    run = {"run_id": "r-1", "name": None, "kind": "rl", "problem": "cartpole", "method": "dqn"}
    run |= {"seed": 1, "steps": 1, "score": 9.0, "regret": None, "cpu_seconds": 1.0}
    run |= {"metrics": {"score": 9.0, "score_standard_error": 0.5}}
    return RunData(run, None, {}, pd.DataFrame(), pd.DataFrame(steps), [], None, None)


def sure() -> dict[str, Any]:
    """A belief with intervals of importance."""
    told = belief()
    return told | {"importance_intervals": {"x0": [0.2, 0.6, 0.9], "x1": [0.1, 0.4, 0.8]}}


def drawn_belief(
    names: tuple[str, ...] = ("x0", "x1"), *, weights: bool = False, light: str = "amber"
) -> dict[str, Any]:
    """A belief of a mixture; its length-scales and signal variance go together."""
    told = belief(names)
    random = np.random.default_rng(0)
    common = random.normal(size=64)
    labels = [("lengthscale", name) for name in names]
    labels += [("signal_var", None), ("noise_var", None)]
    draws = [
        {
            "what": what,
            "parameter": name,
            "values": np.exp(
                (what != "noise_var") * common + 0.3 * random.normal(size=64)
            ).tolist(),
            "prior": {"from": -2.0, "to": 2.0, "density": [0.0, 0.3, 0.5, 0.3, 0.0]},
            "rhat": None if weights else 1.01 + 0.01 * place,
            "ess": None if weights else 400.0,
        }
        for place, (what, name) in enumerate(labels)
    ]
    traces = [
        {
            "what": what,
            "parameter": name,
            "rhat": 1.02,
            "values": (random.normal(size=(4, 20)) ** 2).tolist(),
        }
        for what, name in (("log_density", None), ("noise_var", None), labels[0])
    ]
    told["hyperparameters"] = {
        "of": len(draws),
        "draws": draws,
        "traces": [] if weights else traces,
        "every": 3,
        "chains": 1 if weights else 16,
        "weights": np.linspace(0, 1, 33).tolist() if weights else None,
        "light": light,
        "words": ["The chains of the sampler disagree (R-hat 1.10)."],
    }
    for each in told["slices"]:
        each["low"] = [mean - 3.0 for mean in each["mean"]]
        each["high"] = [mean + 5.0 for mean in each["mean"]]
        each["drawn"] = [[mean + shift for mean in each["mean"]] for shift in (-1.0, 0.0, 1.0)]
    told["next"]["quantiles"] = [-2.0, -1.0, 0.0, 0.4, 1.0, 2.0, 4.0]
    return told


def drawing(names: tuple[str, ...] = ("x0", "x1"), *, weights: bool = False) -> RunData:
    """A run of a fully Bayesian method."""
    made = bo(SOME, names=names, method="gp-hmc", posterior=drawn_belief(names, weights=weights))
    numbers = {"rhat_max": 1.1, "ess_min": 321.0, "divergences": 0.0, "converged": 0.0}
    return dataclasses.replace(made, diagnostic={"light": "amber", "words": [], "numbers": numbers})


def timed(times: Sequence[tuple[float, float | None]]) -> RunData:
    """A run whose trials began and ended then, in seconds after some time; None runs."""
    data = bo([1.0] * len(times))
    frame = data.trials.assign(
        started=[1e9 + start for start, _ in times],
        seconds=[np.nan if end is None else end - start for start, end in times],
        state=["running" if end is None else "complete" for _, end in times],
    )
    return dataclasses.replace(data, trials=frame)


def independent() -> RunData:
    """A run whose draws are neither of chains nor weighted."""
    data = drawing(weights=True)
    assert data.posterior is not None
    told = data.posterior["hyperparameters"] | {"weights": None}
    return dataclasses.replace(data, posterior={**data.posterior, "hyperparameters": told})


PLANT: tuple[dict[str, float] | None, ...] = (
    {"cost": 3.0, "gain": 1.0, "heat": 0.2},
    None,
    {"cost": 1.0, "gain": 0.5, "heat": 0.0},
    {"cost": 2.0, "gain": 2.0, "heat": 0.9},
    {"cost": 3.5, "gain": 0.4, "heat": 0.1},
    {"cost": 2.0, "gain": 1.5, "heat": 0.5},
)
"""What six trials of a plant told; the second failed, the fourth is too hot."""
TWO_GOALS = "minimize cost, maximize gain"
THREE_GOALS = "minimize cost, maximize gain, minimize heat"
COOL = ("heat <= 0.5",)
TWO_LIMITS = ("heat <= 0.5", "gain > 0.4")
MANY = tuple(f"heat <= {0.4 + place / 10}" for place in range(8))


@functools.cache
def plant(
    goals: str = TWO_GOALS,
    subject_to: tuple[str, ...] = COOL,
    told: tuple[dict[str, float] | None, ...] = PLANT,
) -> RunData:
    """A study by hand as pages read it from its store; measured from a cost of 4, a gain of 0."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plant.db"
        study = wald.Study(
            {"x": wald.real(0, 1)},
            goals,
            subject_to=subject_to,
            reference={"cost": 4.0, "gain": 0.0} if goals == TWO_GOALS else None,
            name="plant",
            store=path,
            method="sobol",
            seed=0,
        )
        for outcome in told:
            (trial,) = study.ask()
            if outcome is None:
                study.fail(trial, "a leak")
            else:
                study.tell(trial, outcome)
        store = Store.open(str(path), create=False)
        buffer = Buffer(store, "plant", "plant", by_hand=True)
        buffer.refresh()
        made = RunData(
            run=find_object(store, "plant"),
            goal=buffer.goal,
            goals=buffer.goals,
            parameters=buffer.parameters,
            trials=buffer.trials(None),
            steps=buffer.steps(None),
            posterior_steps=[],
            posterior=None,
            diagnostic=None,
        )
        store.engine.dispose()
        return made


NO_DIRECTION = (
    "limits",
    "failures",
    "pulls",
    "lengths",
    "timeline",
    "standing",
    "hyperparameters",
    "chains",
    "weights",
    "pair",
)
SOME = [3.0, None, 2.0, 5.0, 1.0]
FULL: dict[str, Callable[[], Card]] = {
    "best so far": lambda: best_so_far.card(bo(SOME, optimum=0.5)),
    "regret, log": lambda: best_so_far.card(bo(SOME, optimum=0.5), show="regret", log=True),
    "values, log": lambda: best_so_far.card(bo(SOME), log=True),
    "parameters": lambda: parameters.card(bo(SOME)),
    "failures": lambda: failures.card(bo(SOME)),
    "belief along": lambda: belief_1d.card(bo(SOME, posterior=belief())),
    "belief along the only one": lambda: belief_1d.card(
        bo(SOME, names=("x0",), posterior=belief(("x0",)))
    ),
    "belief over two": lambda: belief_map.card(bo(SOME, posterior=belief())),
    "calibration": lambda: calibration.card(bo(SOME, predicted=True)),
    "importance": lambda: importance.card(bo(SOME, posterior=belief())),
    "belief along, of many draws": lambda: belief_1d.card(drawing()),
    "belief over two, of many draws": lambda: belief_map.card(drawing()),
    "hyperparameters": lambda: hyperparameters.card(drawing()),
    "hyperparameters of many": lambda: hyperparameters.card(
        drawing(tuple(f"x{i}" for i in range(12)))
    ),
    "pair of hyperparameters": lambda: hyper_pair.card(drawing()),
    "chains": lambda: chains.card(drawing()),
    "weights": lambda: chains.card(drawing(weights=True)),
    "ask time": lambda: ask_time.card(bo(SOME)),
    "bandit regret": lambda: regret.card(bandit([50, 100, 150])),
    "pulls": lambda: pulls.card(bandit([50, 100, 150])),
    "pulls of many": lambda: pulls.card(bandit([50, 100], arm_count=45)),
    "arms": lambda: arms.card(bandit([50, 100])),
    "returns": lambda: returns.card(rl(6)),
    "returns by time": lambda: returns.card(rl(6), x="cpu_seconds"),
    "lengths": lambda: lengths.card(rl(6)),
    "losses": lambda: losses.card(rl(6)),
    "bands": lambda: bands.card([bo(SOME), bo([4.0, 2.0], seed=2), bo(SOME, method="random")]),
    "bands of regret": lambda: bands.card([bo(SOME, optimum=0.5)], show="regret", log=True),
    "bands of bandits": lambda: bands.card([bandit([50, 100]), bandit([50, 100])]),
    "final": lambda: final.card([bo(SOME), bo([4.0, 2.0], seed=2), bo(SOME, method="random")]),
    "parallel": lambda: parallel.card([bo(SOME)]),
    "importance with intervals": lambda: importance.card(bo(SOME, posterior=sure())),
    "timeline": lambda: timeline.card(timed([(0, 2), (1, 3), (2.5, None)]), now=5.0),
    "timeline of one": lambda: timeline.card(timed([(0, 2)])),
    "ranks": lambda: ranks.card(by_hand()),
    "ranks at one budget": lambda: ranks.card(by_hand(budgets=(5,))),
    "ranks of many": lambda: ranks.card(by_hand(methods=12)),
    "standing": lambda: standing.card(by_hand(), 20),
    "front": lambda: front.card(plant()),
    "front of three goals": lambda: front.card(plant(THREE_GOALS, ())),
    "hypervolume": lambda: best_so_far.card(plant()),
    "limits": lambda: limits.card(plant()),
    "limits of one goal": lambda: limits.card(
        plant("minimize cost", ("heat <= 0.5", "gain > 0.4"))
    ),
    "limits, many": lambda: limits.card(plant(TWO_GOALS, MANY)),
    "experiment curves": lambda: experiment_curves.card(by_hand(), "x:y [<b>]"),
}


@pytest.fixture(params=FULL, scope="module")
def full(request: pytest.FixtureRequest) -> Card:
    return FULL[request.param]()


def specification(card: Card) -> dict[str, Any]:
    """The validated specification; a name that is no valid field raises."""
    assert card.chart is not None
    spec = whole(card.chart)
    alt.Chart.from_dict(spec)  # validates
    return spec


def views(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts that have a mark."""
    if "mark" in spec:
        yield spec
    for several in ("layer", "concat", "vconcat"):
        for part in spec.get(several, []):
            yield from views(part)


def encoded(spec: dict[str, Any], channel: str) -> list[Any]:
    return [v["encoding"][channel] for v in views(spec) if channel in v.get("encoding", {})]


def drawn(spec: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The rows that the browser gets."""
    return list(spec["datasets"].values())


def axis_titles(spec: dict[str, Any]) -> list[str]:
    found = [channel.get("title") for c in ("x", "y") for channel in encoded(spec, c)]
    return [" ".join(title) if isinstance(title, list) else title for title in found if title]


def spec_titles(spec: dict[str, Any]) -> list[tuple[str, Any]]:
    """Titles of panels and of legends."""
    legends = [("legend", channel.get("title")) for channel in encoded(spec, "color")]
    parts = [("panel", part.get("title", {}).get("text")) for part in spec.get("concat", [])]
    return legends + parts


# What holds of every picture


def test_a_card_says_what_it_is_how_to_read_it_and_what_it_shows(full: Card) -> None:
    assert full.title
    assert full.reading.endswith(".")
    assert full.alt.strip().endswith((".", "memory"))
    assert any(letter.isdigit() for letter in full.alt), "the takeaway has a number"
    assert len(full.data) > 0


def test_a_card_is_valid_and_renders(full: Card) -> None:
    specification(full)
    svg = vl_convert.vegalite_to_svg(printable(full))
    assert svg.startswith("<svg")
    assert 'fill="white"' in svg
    assert len(svg) > 2_000
    assert full.chart is not None
    for _, frames in panels(full.chart):
        assert frames
        assert all(len(frame) for frame in frames)


def test_a_download_has_the_title_of_the_run_on_white(full: Card) -> None:
    spec = printable(full)
    assert spec["title"]["text"] == full.title
    light = "" if full.light is None else " Draws {}: {}".format(*full.light)
    assert " ".join(spec["title"]["subtitle"]) == full.reading + light
    assert spec["config"]["background"] == "white"
    json.dumps(spec, allow_nan=False)


def test_both_axes_have_titles_or_names(full: Card) -> None:
    spec = specification(full)
    titles = axis_titles(spec)
    named = [title for _, title in spec_titles(spec)]
    assert titles or "lower is better" in json.dumps(named), "parallel axes: labels and a legend"
    assert not any(title.startswith(("p.", "value:")) for title in titles)


@pytest.mark.parametrize("name", [n for n in FULL if not n.startswith(NO_DIRECTION)])
def test_an_axis_tells_which_way_is_better(name: str) -> None:
    spec = specification(FULL[name]())
    told = json.dumps(axis_titles(spec)) + json.dumps(spec_titles(spec))
    assert any(word in told for word in ("lower is better", "higher is better", "higher: "))


def test_numbers_of_tooltips_have_three_digits_and_nothing_is_a_reserved_key(full: Card) -> None:
    told = [t for several in encoded(specification(full), "tooltip") for t in several]
    assert told
    for line in told:
        assert line["title"] not in ("title", "image")
        if line["type"] == "quantitative":
            assert line["format"] in (",.3~r", ".1%", ".0%", ",")


def test_fields_are_names_of_our_own(full: Card) -> None:
    spec = specification(full)
    for view in views(spec):
        for channel in view.get("encoding", {}).values():
            for each in channel if isinstance(channel, list) else [channel]:
                assert not set(each.get("field", "")) & set(".[]:<>\"'\\")


def test_parameters_of_charts_are_named(full: Card) -> None:
    assert {p["name"] for p in specification(full).get("params", [])} <= {"zoom"}


# The data is what is drawn


@pytest.mark.parametrize(
    ("name", "column", "shown"),
    [
        ("best so far", "value", "value"),
        ("best so far", "best so far", "best"),
        ("regret, log", "regret", "regret"),
        ("failures", "count", "count"),
        ("calibration", "expected", "expected"),
        ("importance", "share", "share"),
        ("ask time", "CPU seconds", "seconds"),
        ("bandit regret", "regret", "regret"),
        ("pulls", "share", "share"),
        ("pulls of many", "pulls", "pulls"),
        ("arms", "low", "low"),
        ("returns", "value", "value"),
        ("lengths", "steps per episode", "length"),
        ("losses", "loss", "loss"),
        ("bands", "median", "median"),
        ("final", "score", "score"),
        ("parallel", "place", "place"),
        ("parameters", "value", "value"),
        ("belief over two", "mean", "mean"),
        ("belief along", "mean", "mean"),
        ("front", "gain", "y"),
        ("hypervolume", "best so far", "best"),
        ("limits", "heat <= 0.5", "gap"),
    ],
)
def test_the_data_behind_a_card_is_what_is_drawn(name: str, column: str, shown: str) -> None:
    card = FULL[name]()
    behind = {round(v, 9) for v in card.data[column].dropna()}
    rows = [row for several in drawn(specification(card)) for row in several]
    seen = {round(row[shown], 9) for row in rows if row.get(shown) is not None}
    assert behind
    assert behind <= seen
    # More is drawn than trials: the known optimum, and the line on which both would agree.
    assert name in ("best so far", "calibration") or behind == seen


def test_best_so_far_draws_every_trial_the_line_the_failed_and_the_optimum() -> None:
    card = best_so_far.card(bo(SOME, optimum=0.5))
    spec = specification(card)
    marks = [view["mark"] for view in views(spec)]
    assert [m["type"] for m in marks] == ["circle", "line", "point", "rule"]
    assert marks[2]["shape"] == "cross"
    rows = [[row["trial"] for row in each] for each in drawn(spec)[:3]]
    assert rows == [[0, 2, 3, 4], [0, 2, 4], [1]]  # dots; where the line turns; the failed one
    assert marks[1]["color"] == style("bo", "gp-map").colour
    assert list(card.data["best so far"]) == [3.0, 3.0, 2.0, 2.0, 1.0]
    assert list(card.data["state"]) == ["complete", "failed", "complete", "complete", "complete"]
    assert "failed trials (1)" in card.reading
    assert card.alt == "5 trials of loss, 1 failed; best so far 1.00."


def test_a_front_tells_the_best_from_the_beaten_and_from_what_breaks_a_constraint() -> None:
    card = front.card(plant())
    assert card.data.to_dict("list") == {
        "trial": [0, 2, 3, 4, 5],
        "place": ["beaten", "on the front", "breaks a constraint", "beaten", "on the front"],
        "cost": [3.0, 1.0, 2.0, 3.5, 2.0],
        "gain": [1.0, 0.5, 2.0, 0.4, 1.5],
    }
    assert card.alt == "cost against gain: 2 of 5 trials are on the front."
    spec = specification(card)
    titles = ["cost (lower is better)", "gain (higher is better)"]
    assert [encoded(spec, axis)[0]["title"] for axis in "xy"] == titles
    line, dots = drawn(spec)
    assert [(row["x"], row["y"]) for row in line] == [(1.0, 0.5), (2.0, 1.5)]
    assert [row["trial"] for row in dots] == [0, 2, 3, 4, 5]
    (mark,) = [view["mark"] for view in views(spec) if view["mark"]["type"] == "line"]
    assert mark["interpolate"] == "step-after"  # with a cost of 1.5 the best gain is that at 1
    colour = encoded(spec, "color")[0]["scale"]
    assert dict(zip(colour["domain"], colour["range"], strict=True)) == front.PLACES


def test_the_step_of_a_front_turns_with_the_direction_of_the_first_goal() -> None:
    spec = specification(front.card(plant("maximize gain, minimize cost")))
    (mark,) = [view["mark"] for view in views(spec) if view["mark"]["type"] == "line"]
    assert mark["interpolate"] == "step-before"


def test_a_front_of_three_goals_has_a_panel_for_each_pair_and_no_line() -> None:
    card = front.card(plant(THREE_GOALS, ()))
    assert card.data.set_index("trial")["place"].to_dict() == {
        **dict.fromkeys((0, 2, 3, 5), "on the front"),
        4: "beaten",  # by trial 2, in everything
    }
    spec = specification(card)
    assert len(spec["concat"]) == 3
    assert {view["mark"]["type"] for view in views(spec)} == {"circle"}
    assert {colour["legend"]["columns"] for colour in encoded(spec, "color")} == {2}
    ends = [encoded(part, axis)[0]["title"].split()[0] for part in spec["concat"] for axis in "xy"]
    assert ends == ["cost", "gain", "cost", "heat", "gain", "heat"]


def test_what_is_drawn_of_a_front_may_be_beaten_by_what_is_not() -> None:
    whole = plant()
    some = dataclasses.replace(whole, trials=whole.trials.iloc[4:5])
    assert front.card(some).data["place"].to_list() == ["on the front"]  # for want of another
    card = front.card(some, of=whole)
    assert card.data["place"].to_list() == ["beaten"]
    assert "0 of 1 trial are on the front" in card.reading
    with pytest.raises(NotYet, match="None of these trials"):
        front.card(dataclasses.replace(whole, trials=whole.trials.iloc[1:2]), of=whole)


@pytest.mark.parametrize("names", [("x", "y", "z"), ("trial", "place", "x")])
def test_a_front_takes_goals_of_any_name(names: tuple[str, ...]) -> None:
    told = ((1.0, 2.0, 3.0), (2.0, 1.0, 4.0), (3.0, 3.0, 5.0))
    goals = ", ".join(f"minimize {name}" for name in names)
    outcomes = tuple(dict(zip(names, values, strict=True)) for values in told)
    card = front.card(plant.__wrapped__(goals, (), outcomes))
    spec = specification(card)
    places = [[(row["x"], row["y"]) for row in rows] for rows in drawn(spec)]
    first, second, third = zip(*told, strict=True)
    pairs = ((first, second), (first, third), (second, third))
    assert places == [list(zip(*pair, strict=True)) for pair in pairs]
    assert card.data.columns.is_unique
    assert card.data["place"].to_list() == ["on the front", "on the front", "beaten"]


def test_beliefs_of_several_goals_are_shown_with_the_first_goal() -> None:
    data = of_the_first_goal(plant())
    assert data.goal == ("cost", "minimize")
    complete = data.trials[data.trials["state"] == "complete"]
    assert complete["value"].tolist() == [each["cost"] for each in complete["outcomes"]]
    one = plant("minimize cost", ())
    assert of_the_first_goal(one) is one


def test_progress_of_several_goals_is_the_hypervolume_trial_by_trial() -> None:
    data = plant()
    assert data.goal == ("hypervolume", "maximize")
    card = best_so_far.card(data)
    # From a cost of 4 and a gain of 0: 1 x 1, then 3 x 0.5 + 1 x 0.5, then 1 x 0.5 + 2 x 1.5;
    # neither what failed nor what is too hot nor what is beaten adds anything.
    assert card.data["best so far"].to_list() == [1.0, 1.0, 2.0, 2.0, 2.0, 3.5]
    assert encoded(specification(card), "y")[0]["title"] == "hypervolume (higher is better)"
    assert "now 3.50" in card.reading


def test_limits_are_how_far_within_each_constraint_a_trial_was() -> None:
    card = limits.card(plant())
    assert list(card.data.columns) == ["trial", "heat <= 0.5"]
    assert card.data["trial"].to_list() == [0, 2, 3, 4, 5]
    assert card.data["heat <= 0.5"].to_list() == pytest.approx([0.3, 0.5, -0.4, 0.4, 0.0])
    assert card.alt == "1 constraint: 4 of 5 trials satisfy all of them."
    rows = next(rows for rows in drawn(specification(card)) if "gap" in rows[0])
    assert [row["holds"] for row in rows] == ["holds", "holds", "broken", "holds", "holds"]
    scales = [each["scale"] for each in encoded(specification(card), "y") if "scale" in each]
    assert [scale["padding"] for scale in scales] == [8]
    two = limits.card(plant("minimize cost", TWO_LIMITS))
    assert two.data["gain > 0.4"].to_list() == pytest.approx([0.6, 0.1, 1.6, 0.0, 1.1])


@pytest.mark.parametrize("name", ["front of three goals", "limits, many"])
def test_panels_beside_each_other_zoom_under_names_of_their_own(name: str) -> None:
    spec = specification(FULL[name]())
    names = [p["name"] for view in views(spec) for p in view.get("params", [])]
    assert names == ["zoom", *(f"zoom{place}" for place in range(1, len(spec["concat"])))]


def test_of_many_limits_the_first_are_drawn_and_all_are_in_the_data() -> None:
    card = limits.card(plant(TWO_GOALS, MANY))
    assert len(specification(card)["concat"]) == limits.MOST
    assert list(card.data.columns) == ["trial", *MANY]
    assert "2 more constraints are in the data" in card.reading


def test_maximised_values_say_so_and_fail_at_the_bottom() -> None:
    card = best_so_far.card(bo(SOME, direction="maximize"))
    spec = specification(card)
    assert encoded(spec, "y")[0]["title"] == "loss (higher is better)"
    assert "Crosses at the bottom" in card.reading
    assert encoded(spec, "y")[2]["value"] > 200


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_one_terrible_trial_is_drawn_at_the_edge_and_not_lost(direction: str) -> None:
    sign = 1.0 if direction == "minimize" else -1.0
    values: list[float | None] = [sign * v for v in (5.0, 4.0, 3.0, 2.0, 2.0, 1.0, 1.0, 1e6, 1.5)]
    card = best_so_far.card(bo(values, direction=direction))
    ends = encoded(specification(card), "y")[0]["scale"]["domain"]
    assert max(abs(end) for end in ends) < 100
    assert "far worse trials (1)" in card.reading
    shapes = [view["mark"].get("shape") for view in views(specification(card))]
    assert shapes == [None, None, f"triangle-{'up' if direction == 'minimize' else 'down'}"]
    assert [row["value"] for row in drawn(specification(card))[2]] == [sign * 1e6]
    assert sign * 1e6 in set(card.data["value"])


def test_a_belief_draws_band_mean_dots_incumbent_next_and_acquisition() -> None:
    card = belief_1d.card(bo(SOME, posterior=belief()), parameter="x1")
    spec = specification(card)
    upper, lower = spec["vconcat"]
    assert [v["mark"]["type"] for v in views(upper)] == [
        "area", "line", "circle", "point", "rule", "text",
    ]  # fmt: skip
    assert [v["mark"]["type"] for v in views(lower)] == ["line", "rule"]
    assert spec["resolve"]["scale"]["x"] == "shared"
    band = card.data[card.data["what"] == "belief"]
    assert np.allclose(band["mean + 2 sd"] - band["mean - 2 sd"], 4 * band["std"])
    nexts = [v for v in views(spec) if v["mark"].get("color") == theme.NEXT]
    rows = [spec["datasets"][v["data"]["name"]] for v in nexts if "data" in v]
    assert rows
    assert all(row == [{"at": 0.75, "text": "next"}] for row in rows)
    assert card.alt == (
        "Belief along x1 after 3 trials; best so far 0.500; next at 0.750, where 0.400 ± 0.200 is"
        " expected."
    )


@pytest.mark.parametrize(("at", "side"), [(0.1, "left"), (0.95, "right")])
def test_the_word_at_the_next_point_stays_within_the_picture(at: float, side: str) -> None:
    posterior = belief()
    posterior["next"]["parameters"]["x1"] = at
    spec = specification(belief_1d.card(bo(SOME, posterior=posterior), parameter="x1"))
    words = [view["mark"] for view in views(spec) if view["mark"]["type"] == "text"]
    assert [mark["align"] for mark in words] == [side]


def test_a_belief_shows_only_what_was_known_and_dots_far_from_the_slice_are_faint() -> None:
    data = bo(SOME, posterior=belief(number=3))
    dots = belief_1d.card(data).data.query("what == 'trial'")
    assert list(dots["trial"]) == [0, 2]
    near = dict(zip(dots["trial"], dots["near"], strict=True))
    assert near[0] > near[2] > 0  # the slice holds x1 = 0.25; trial 0 lies at 0.1, trial 2 at 0.5
    alone = belief_1d.card(bo(SOME, names=("x0",), posterior=belief(("x0",))))
    assert set(alone.data.query("what == 'trial'")["near"]) == {1.0}
    assert "projected" not in alone.reading
    assert "fainter the farther" in belief_1d.card(data).reading


def test_a_bottomless_log_acquisition_is_cut_and_said_so() -> None:
    card = belief_1d.card(bo(SOME, posterior=belief()))
    lower = specification(card)["vconcat"][1]
    ends = encoded(lower, "y")[0]["scale"]
    assert ends["domain"] == [-12.0, 0.0]
    assert ends["clamp"] is True
    assert "cut off at the bottom" in card.reading
    other = belief() | {"acquisition": "ucb"}
    whole = belief_1d.card(bo(SOME, posterior=other))
    assert encoded(specification(whole)["vconcat"][1], "y")[0]["scale"]["domain"] == [-100.0, 0.0]


def test_a_band_far_wider_than_what_is_known_leaves_room_for_it() -> None:
    posterior = belief()
    assert "cut off where" not in belief_1d.card(bo(SOME, posterior=posterior)).reading
    posterior["slices"][0]["std"][-1] = 1e6
    card = belief_1d.card(bo(SOME, posterior=posterior))
    scale = encoded(specification(card)["vconcat"][0], "y")[0]["scale"]
    shown = [*card.data["mean"].dropna(), *card.data["value"].dropna()]
    room = max(shown) - min(shown)
    assert scale["clamp"] is True
    assert scale["domain"] == pytest.approx([min(shown) - room, max(shown) + room])
    assert "cut off where" in card.reading
    assert card.data["mean + 2 sd"].max() > 1e6


def test_a_belief_over_a_choice_has_levels_in_their_order() -> None:
    posterior = belief(("x0", "act"))
    posterior["slices"][1] |= {"at": ["relu", "tanh", "gelu"]}
    for name in ("mean", "std", "acquisition"):
        posterior["slices"][1][name] = [0.1, 0.2, 0.3]
    posterior["next"]["parameters"]["act"] = "gelu"
    posterior["incumbent"]["act"] = "tanh"
    data = bo(SOME, names=("x0", "act"), posterior=posterior)
    table = {"type": "choice", "values": ["relu", "tanh", "gelu", "unseen"]}
    data = dataclasses.replace(data, parameters={**data.parameters, "act": table})
    data.trials["p.act"] = ["relu", "tanh", "relu", "gelu", "tanh"]
    spec = specification(belief_1d.card(data, parameter="act"))
    assert encoded(spec, "x")[0]["sort"] == ["relu", "tanh", "gelu", "unseen"]
    assert encoded(spec, "x")[0]["type"] == "nominal"


def test_a_map_has_three_panels_with_one_direction_of_colour_and_the_right_cells() -> None:
    card = belief_map.card(bo(SOME, posterior=belief()))
    spec = specification(card)
    assert len(spec["concat"]) == 3
    scales = [c["scale"] for c in encoded(spec, "color") if "scale" in c]
    assert [scale["range"] for scale in scales] == [list(theme.SEQUENTIAL)] * 3
    data = card.data
    assert np.allclose(data["mean"], 10 * data["x0 (x)"] + data["x1 (y)"])
    assert len(data) == 121


def test_a_map_far_from_what_is_known_keeps_colours_for_that() -> None:
    posterior = belief()
    far = posterior["map"]
    far["std"] = [1e5, *far["std"][1:]]
    far["mean"] = [-1e5, *far["mean"][1:]]
    card = belief_map.card(bo(SOME, posterior=posterior))
    spec = specification(card)
    scales = [c["scale"] for c in encoded(spec, "color") if "scale" in c]
    dots = next(rows for rows in drawn(spec) if "near" in rows[0])
    low, high = min(dot["value"] for dot in dots), max(dot["value"] for dot in dots)
    assert scales[0]["domain"][0] == low - (high - low)
    assert scales[1]["domain"][1] == high - low
    assert "Colours end where a map is far from all that is known." in card.reading
    assert max(card.data["std"]) == 1e5  # the data behind it are whole


def test_a_map_of_a_log_parameter_has_even_cells_on_its_own_scale() -> None:
    posterior = belief()
    posterior["map"] |= {"x_at": [float(10.0**k) for k in range(-5, 6)]}
    data = bo(SOME, posterior=posterior)
    table = {"type": "real", "low": 1e-5, "high": 1e5, "log": True}
    data = dataclasses.replace(data, parameters={**data.parameters, "x0": table})
    spec = specification(belief_map.card(data))
    assert encoded(spec, "x")[0]["scale"]["type"] == "log"
    cells = next(rows for rows in drawn(spec) if "x_low" in rows[0])
    assert np.isclose(cells[1]["x_low"], 10**-4.5)


def test_calibration_counts_what_lies_inside() -> None:
    card = calibration.card(bo([0.1, 0.3, 9.0, 0.7], predicted=True))
    assert card.reading.startswith("3 of 4 outcomes (75%) lie in their 95 % interval.")
    assert list(card.data["interval"].str.startswith("misses")) == [False, False, True, False]


def test_calibration_takes_the_quantiles_that_a_mixture_tells() -> None:
    data = bo([0.1, 0.3, 9.0, 0.7], predicted=True)
    told = [[-9.0, -8.0, -7.0, 0.0, 7.0, 8.0, 9.5], [0.29, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]]
    quantiles = pd.Series([*told, told[0], None], dtype=object)
    frame = data.trials.assign(predicted_quantiles=quantiles)
    card = calibration.card(dataclasses.replace(data, trials=frame))
    assert card.reading.startswith("4 of 4 outcomes (100%) lie in their 95 % interval.")
    assert "In their 80 % interval: 75%; in their 50 %: 50%." in card.reading
    first, second, third, last = card.data.to_dict("records")
    assert (first["low"], first["high"]) == (-9.0, 9.5)
    assert second["place"] == pytest.approx(0.1)
    assert third["place"] == pytest.approx(0.9 + 0.075 * 1.0 / 1.5)
    # The last has mean and standard deviation alone: the normal.
    assert last["high"] == pytest.approx(last["expected"] + 1.959964, abs=1e-5)


def test_failures_are_counted_by_reason() -> None:
    data = bo([None, 1.0, None, None])
    data.trials["reason"] = ["out of memory", None, "time-out", "out of memory"]
    card = failures.card(data)
    assert card.data.to_dict("records") == [
        {"reason": "out of memory", "count": 2, "trials": "0, 3"},
        {"reason": "time-out", "count": 1, "trials": "2"},
    ]
    assert card.reading.startswith("3 of 4 trials failed")


def test_parameters_of_a_large_space_are_the_most_important_ones() -> None:
    names = tuple(f"x{i}" for i in range(15))
    posterior = belief(names) | {"importance": {name: i / 15 for i, name in enumerate(names)}}
    card = parameters.card(bo(SOME, names=names, posterior=posterior))
    assert list(card.data["parameter"].unique()) == list(names[3:])
    assert "12 of 15 parameters" in card.reading
    assert len(specification(card)["concat"]) == 12


def test_parameters_use_log_axes_and_levels() -> None:
    data = bo(SOME, names=("lr", "act", "flag"))
    tables = {
        "lr": {"type": "real", "low": 1e-3, "high": 1.0, "log": True},
        "act": {"type": "choice", "values": ["b", "a", "c"]},
        "flag": {"type": "boolean", "values": [False, True]},
    }
    data = dataclasses.replace(data, parameters=tables)
    data.trials["p.act"] = ["a", "b", "c", "a", "b"]
    data.trials["p.flag"] = [True, False, True, True, False]
    x = encoded(specification(parameters.card(data)), "x")
    assert x[0]["scale"]["type"] == "log"
    assert x[0]["scale"]["domain"] == [1e-3, 1.0]
    assert x[1]["sort"] == ["b", "a", "c"]
    assert x[2]["sort"] == ["false", "true"]


def test_shares_of_pulls_are_those_of_each_stretch() -> None:
    data = bandit([10, 20], arm_count=2)
    data.steps["pulls"] = [[5, 5], [15, 5]]
    shares = pulls.card(data).data.set_index(["step", "arm"])["share"]
    assert shares.to_dict() == {
        (10, "arm 0"): 0.5,
        (20, "arm 0"): 1.0,
        (10, "arm 1"): 0.5,
        (20, "arm 1"): 0.0,
    }


def test_pulls_from_before_what_is_drawn_are_in_no_stretch() -> None:
    data = bandit([100, 110, 120], arm_count=2)
    data.steps["pulls"] = [[90, 10], [95, 15], [105, 15]]
    some = dataclasses.replace(data, records=20)
    shares = pulls.card(some).data.set_index(["step", "arm"])["share"]
    assert shares.to_dict() == {
        (110, "arm 0"): 0.5,
        (120, "arm 0"): 1.0,
        (110, "arm 1"): 0.5,
        (120, "arm 1"): 0.0,
    }


def test_arms_have_two_standard_deviations_either_way() -> None:
    card = arms.card(bandit([50, 100]))
    assert np.allclose(card.data["high"] - card.data["low"], 0.2)
    assert card.alt.startswith("arm 0 is expected to pay most, 0.900 ± 0.100, of 3 arms")


def test_arms_have_the_interval_that_the_policy_tells() -> None:
    ends: dict[str, Any] = {"posterior_low": [0.8, 0.7, 0.6], "posterior_high": [0.95, 0.9, 0.85]}
    card = arms.card(bandit([50, 100], **ends))
    assert list(card.data["low"]) == ends["posterior_low"]
    assert list(card.data["high"]) == ends["posterior_high"]
    assert "95 % interval" in card.reading


def test_returns_show_an_evaluation_once() -> None:
    card = returns.card(rl(6))
    greedy = card.data[card.data["return"] == returns.GREEDY]
    assert list(greedy["step"]) == [1000, 1500, 2500]
    assert "9.00 ± 1.00" in card.reading


def test_returns_show_evaluations_that_are_equally_good() -> None:
    data = rl(6)
    perfect = data.steps.assign(evaluation=500.0, kept_evaluation=500.0)
    card = returns.card(dataclasses.replace(data, steps=perfect))
    greedy = card.data[card.data["return"] == returns.GREEDY]
    assert list(greedy["step"]) == [500, 1000, 1500, 2500]
    assert list(greedy["value"]) == [500.0] * 4


def test_weights_kept_before_what_is_drawn_have_no_place_in_it() -> None:
    data = rl(6)  # the best are kept at 2,500 steps
    marked = [view["mark"] for view in views(specification(returns.card(data)))]
    assert "diamond" in [mark.get("shape") for mark in marked]
    card = returns.card(dataclasses.replace(data, steps=data.steps.tail(1)))
    assert "are kept; they are from before what is drawn." in card.reading
    marked = [view["mark"] for view in views(specification(card))]
    assert "diamond" not in [mark.get("shape") for mark in marked]


def test_bands_are_quartiles_over_runs_of_a_method() -> None:
    runs = [bo([v, v]) for v in (1.0, 2.0, 3.0, 4.0, 5.0)]
    card = bands.card([*runs, bo([9.0, 8.0], method="random")])
    last = card.data[card.data["method"] == "gp-map"].iloc[-1]
    assert (last["low"], last["median"], last["high"], last["runs"]) == (2.0, 3.0, 4.0, 5)
    assert "gp-map 5, random 1" in card.reading
    scale = encoded(specification(card), "color")[0]["scale"]
    assert scale["domain"] == ["gp-map", "random"]
    assert scale["range"] == [style("bo", m).colour for m in ("gp-map", "random")]


def test_sums_over_rounds_end_with_the_shortest_run() -> None:
    card = bands.card([bandit([50, 100, 150, 200]), bandit([50, 100])])
    assert list(card.data["step"]) == [50, 100]
    assert list(card.data["median"]) == pytest.approx([5.0, 10.0])
    assert "A line ends where the shortest run of its method does." in card.reading
    best = bands.card([bo([4.0, 3.0, 2.0]), bo([4.0])])  # a best so far stays the best
    assert list(best.data["median"]) == [4.0, 3.5, 3.0]
    assert "shortest" not in best.reading


def test_final_scores_have_the_interval_of_the_command_line() -> None:
    from apps.summary import compare

    runs = [bo([v], seed=i) for i, v in enumerate((1.0, 2.0, 4.0))]
    card = final.card(runs)
    row = compare([data.run for data in runs])[0]
    found = card.data.iloc[0]
    assert (found["mean"], found["low"], found["high"]) == (row["mean"], row["low"], row["high"])
    assert list(card.data["score"]) == [-1.0, -2.0, -4.0]


def test_parallel_places_are_shares_of_the_range_and_the_best_is_first() -> None:
    card = parallel.card([bo([3.0, 1.0])])
    frame = card.data[card.data["axis"] == "x0"]
    assert list(frame["trial"]) == [1, 0]
    assert list(frame["place"]) == [0.75, 0.25]


def test_a_parameter_that_no_trial_had_keeps_its_axis_and_the_others_their_ends() -> None:
    data = bo([3.0, 1.0], names=("a", "never", "b"))
    ends = {"a": (0.0, 1.0), "never": (7.0, 8.0), "b": (0.0, 100.0)}
    space = {name: {"type": "real", "low": low, "high": high} for name, (low, high) in ends.items()}
    trials = data.trials.copy()
    trials["p.never"] = None
    data = dataclasses.replace(data, parameters=space, trials=trials)
    rulers = drawn(specification(parallel.card([data])))[0]
    told = {row["axis"]: (row["low"], row["high"]) for row in rulers}
    assert told == {"a": ("0", "1"), "never": ("7", "8"), "b": ("0", "100"), "loss": ("1", "3")}


def test_of_many_trials_the_best_lines_are_drawn_and_said_so() -> None:
    card = parallel.card([bo([float(i) for i in range(400)])])
    assert set(card.data["trial"]) == set(range(parallel.MOST_LINES))
    assert f"The best {parallel.MOST_LINES} of 400 are drawn." in card.reading


def test_differences_are_those_of_the_specs() -> None:
    runs = [bo(SOME, run_id="a"), bo(SOME, seed=2, run_id="b")]
    specs = {
        "a": RunSpec("bo", "toy", "gp-map", 1, 50, options={"beta": 1}),
        "b": RunSpec("bo", "toy", "gp-map", 2, 50, options={"beta": 2}),
    }
    table = differences.card(runs, specs).data.set_index("what")
    assert list(table.index) == ["seed", "option beta"]
    assert list(table.loc["option beta"]) == ["1", "2"]


# Records


def test_records_have_all_parameters_and_outcomes_whatever_they_are_named() -> None:
    one = bo([2.0, 1.0], names=("value", "state", "x"))
    shown = listed(one.trials, "minimize loss")
    assert {"number", "trial.value", "value", "trial.state", "state", "x"} <= set(shown)
    assert shown["trial.value"].to_list() == [2.0, 1.0]
    assert shown["value"].to_list() == [0.25, 0.75]
    two = plant.__wrapped__("minimize x, minimize seconds", (), ({"x": 5.0, "seconds": 9.0},))
    shown = listed(two.trials, two.goals)
    assert shown["value.x"].to_list() == [5.0]
    assert shown["x"].to_list() == two.trials["p.x"].to_list()
    assert shown["seconds"].to_list() == [9.0]
    assert shown["trial.seconds"].to_list() == two.trials["seconds"].to_list()


# Long runs


def test_a_long_run_is_thinned_and_keeps_its_extremes() -> None:
    values: list[float | None] = list(np.random.default_rng(0).normal(size=LONG))
    values[1234], values[2345], values[-1] = 99.0, -99.0, 7.0
    for card in (best_so_far.card(bo(values)), ask_time.card(bo(values))):
        assert len(card.data) <= POINTS
    kept = set(best_so_far.card(bo(values)).data["value"])
    assert {99.0, -99.0, 7.0} <= kept
    panel = parameters.card(bo(values)).data
    assert len(panel) <= POINTS
    assert {99.0, -99.0, 7.0} <= set(panel["value"])


def test_long_loops_are_thinned() -> None:
    rounds = list(range(50, 50 * LONG, 50))
    assert len(regret.card(bandit(rounds)).data) <= POINTS
    assert len(pulls.card(bandit(rounds)).data) <= POINTS
    agent = rl(LONG)
    for card in (lengths.card(agent), losses.card(agent), bands.card([agent])):
        assert len(card.data) <= POINTS
    assert returns.card(agent).data["return"].value_counts().max() <= POINTS


# Not yet


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: best_so_far.card(bo([])), "No trial is finished yet."),
        (lambda: best_so_far.card(bo(SOME), show="regret"), "needs a known optimum"),
        (lambda: best_so_far.card(bo([-1.0]), log=True), "needs values above 0"),
        (lambda: parameters.card(bo([None, None])), "No trial has a value yet: 2 ended"),
        (lambda: parameters.card(bo(SOME, names=())), "no free parameter"),
        (lambda: failures.card(bo([1.0, 2.0])), "No trial has failed so far, of 2."),
        (lambda: belief_1d.card(bo(SOME)), "5 trials done"),
        (lambda: belief_map.card(bo(SOME)), "No belief is kept yet"),
        (lambda: importance.card(bo(SOME)), "No belief is kept yet"),
        (lambda: belief_1d.card(plant()), "told by hand keeps no belief"),
        (lambda: calibration.card(of_the_first_goal(plant())), "told by hand keeps no predictions"),
        (lambda: bands.card([plant(), bo(SOME)]), "here are a problem by hand and toy"),
        (
            lambda: belief_map.card(bo(SOME, names=("x0",), posterior=belief(("x0",)))),
            "A map needs two free parameters",
        ),
        (
            lambda: belief_1d.card(bo(SOME, posterior=belief()), parameter="x9"),
            "no slice along x9; choose one of: x0, x1",
        ),
        (
            lambda: importance.card(bo(SOME, names=("x0",), posterior=belief(("x0",)))),
            "fewer than two",
        ),
        (lambda: hyperparameters.card(bo(SOME)), "No belief is kept yet"),
        (lambda: hyperparameters.card(bo(SOME, posterior=belief())), "no draws of hyper"),
        (lambda: hyper_pair.card(bo(SOME, posterior=belief())), "no draws of hyper"),
        (lambda: chains.card(bo(SOME, posterior=belief())), "no draws of hyper"),
        (lambda: sampler.card(bo(SOME, posterior=belief())), "no draws of hyper"),
        (lambda: chains.card(independent()), "there are no chains"),
        (lambda: front.card(bo(SOME)), "goals are not known yet"),
        (lambda: front.card(plant("minimize cost", ())), "several goals; this run has one"),
        (lambda: front.card(plant(told=(None,))), "No trial has an outcome yet."),
        (lambda: limits.card(bo(SOME)), "no constraint on outcomes"),
        (lambda: limits.card(plant(TWO_GOALS, ())), "no constraint on outcomes"),
        (lambda: limits.card(plant(told=(None,))), "No trial has an outcome yet."),
        (lambda: calibration.card(bo(SOME)), "No measured trial was predicted"),
        (lambda: ask_time.card(bo([])), "No trial was asked for yet."),
        (lambda: regret.card(bandit([])), "Nothing is recorded yet."),
        (lambda: pulls.card(bandit([])), "no pulls per arm"),
        (lambda: arms.card(bandit([50], beliefs=False)), "ts-beta reports no belief"),
        (lambda: returns.card(rl(0)), "Nothing is recorded yet."),
        (lambda: lengths.card(rl(0)), "Nothing is recorded yet."),
        (lambda: losses.card(rl(1)), "has not been updated yet"),
        (lambda: bands.card([]), "Choose runs to compare."),
        (lambda: bands.card([bo(SOME), bandit([50])]), "Only runs of one kind"),
        (lambda: bands.card([bo(SOME), bo(SOME, goal="other")]), "minimize loss and minimize"),
        (lambda: bands.card([bo([])]), "a result to draw yet"),
        (lambda: bands.card([bo(SOME)], show="regret"), "has a known optimum"),
        (lambda: final.card([bo([])]), "has a score yet"),
        (lambda: parallel.card([bandit([50])]), "the parameters of bo runs"),
        (lambda: parallel.card([bo(SOME), bo(SOME, names=("z",))]), "different spaces"),
        (lambda: differences.card([bo(SOME)]), "at least two runs"),
        (lambda: differences.card([bo(SOME), bo(SOME)]), "asked the same thing"),
    ],
)
def test_a_card_that_must_wait_says_for_what(make: Callable[[], Card], told: str) -> None:
    with pytest.raises(NotYet, match=r"\.$") as caught:
        make()
    assert told in str(caught.value)


# Awkward runs


AWKWARD_VALUES: dict[str, list[float | None]] = {
    "empty": [],
    "one point": [2.0],
    "all NaN": [float("nan")] * 4,
    "infinite": [float("inf"), 1.0, float("-inf")],
    "constant": [1.0] * 6,
    "all failed": [None] * 4,
    "huge and tiny": [1e300, 1e-300, -1e300],
}


@pytest.mark.parametrize("values", AWKWARD_VALUES.values(), ids=AWKWARD_VALUES)
def test_awkward_values_make_valid_pictures_or_a_sentence(values: list[float | None]) -> None:
    data = bo(values, optimum=0.0, predicted=True, posterior=belief())
    rendered = 0
    makes: list[Callable[[], Card]] = [
        lambda: best_so_far.card(data),
        lambda: best_so_far.card(data, log=True),
        lambda: best_so_far.card(data, show="regret", log=True),
        lambda: parameters.card(data),
        lambda: failures.card(data),
        lambda: belief_1d.card(data),
        lambda: belief_map.card(data),
        lambda: calibration.card(data),
        lambda: importance.card(data),
        lambda: ask_time.card(data),
        lambda: bands.card([data]),
        lambda: final.card([data]),
        lambda: parallel.card([data]),
    ]
    for make in makes:
        try:
            card = make()
        except NotYet:
            continue
        json.dumps(specification(card), allow_nan=False)
        assert vl_convert.vegalite_to_svg(printable(card)).startswith("<svg")
        rendered += 1
    assert rendered >= 3  # a belief is drawn whatever the trials are


def test_a_belief_full_of_nothing_is_still_a_picture() -> None:
    posterior = belief()
    posterior |= {"incumbent_value": None}
    posterior["next"] |= {"mean": None, "std": None, "acquisition": None}
    for several in (*posterior["slices"], posterior["map"]):
        for name in ("mean", "std", "acquisition"):
            several[name] = [None] * len(several[name])
    data = bo(SOME, posterior=posterior)
    for card in (belief_1d.card(data), belief_map.card(data)):
        assert vl_convert.vegalite_to_svg(printable(card)).startswith("<svg")


def test_names_that_mean_something_to_vega_or_markdown() -> None:
    names = tuple(AWKWARD)
    data = bo(SOME, names=names, goal="a.b[0]:<i>", posterior=belief(names))
    for card in (
        best_so_far.card(data),
        parameters.card(data),
        belief_1d.card(data, parameter=names[0]),
        belief_map.card(data),
        importance.card(data),
        parallel.card([data]),
    ):
        spec = specification(card)
        for view in views(spec):
            for channel in view.get("encoding", {}).values():
                for each in channel if isinstance(channel, list) else [channel]:
                    assert not set(each.get("field", "")) & set(".[]:<>\"'\\")
        assert vl_convert.vegalite_to_svg(printable(card)).startswith("<svg")
    axes = parallel.card([data]).data
    assert set(axes["axis"]) >= {"a.b[0]", "x:y", "<b>"}
    assert axes["place"].notna().all()


def test_parameters_named_alike_are_told_apart() -> None:
    names = ("a_very_long_parameter_name_1", "a_very_long_parameter_name_2")
    card = parallel.card([bo(SOME, names=names)])
    assert card.data["axis"].nunique() == 3


# Colours


def test_a_method_has_its_colour_by_its_place_in_the_catalog() -> None:
    from apps import catalog

    for kind in ("bo", "bandit", "rl"):
        rows = catalog.listed(kind, "method")
        styles = [style(kind, row.name) for row in rows]
        assert len(set(styles)) == len(styles)
        for place, found in enumerate(styles):
            assert found.colour == PALETTE[place % len(PALETTE)]
            assert found.dash == DASHES[place // len(PALETTE)]
    assert style("bo", "of another time") == style("bo", None)
    assert style("bo", None) not in {
        style("bo", row.name) for row in catalog.listed("bo", "method")
    }


def test_the_theme_file_has_the_palettes_of_the_pictures() -> None:
    file = Path(theme.__file__).parent / ".streamlit" / "config.toml"
    config = tomllib.loads(file.read_text(encoding="utf-8"))
    for name in ("light", "dark"):
        assert config["theme"][name]["chartCategoricalColors"] == list(theme.CATEGORICAL)
        assert config["theme"][name]["chartSequentialColors"] == list(theme.SEQUENTIAL)
    assert config["server"]["address"] == "127.0.0.1"
    assert config["server"]["allowedHosts"] == ["127.0.0.1", "localhost"]


@pytest.mark.parametrize("background", ["#FFFFFF", "#11151B"])
def test_colours_of_marks_are_seen_on_both_themes(background: str) -> None:
    roles = [theme.BELIEF, theme.NEXT, theme.BEST, theme.WANTED, theme.FAILED, theme.DATA]
    for colour in roles:
        assert contrast(colour, background) >= 2.7, colour
    for colour in (*theme.CATEGORICAL, *theme.SEQUENTIAL_MARKS):
        assert contrast(colour, background) >= 1.8, colour


@pytest.mark.parametrize("palette", [theme.SEQUENTIAL, theme.SEQUENTIAL_MARKS])
def test_high_is_bright(palette: tuple[str, ...]) -> None:
    light = [luminance(colour) for colour in palette]
    assert light == sorted(light)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of contrast."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


# The frame around a card


SCRIPT = """
import altair as alt
import pandas as pd
from dashboards.cards.card import Card, NotYet, draw
from dashboards.cards.picture import beside

def fine():
    frame = pd.DataFrame({"x": [1, 2], "y": [3.0, 4.0]})
    chart = alt.Chart(frame).mark_line().encode(x="x:Q", y="y:Q")
    return Card("Title of a run", "Read me :red[so] <b>.", "Two points.", frame, chart)

def several():
    card = fine()
    return Card("Two", "Two.", "Two.", card.data, beside(card.chart, card.chart))

def table():
    return Card("Table", "A table.", "A table.", pd.DataFrame({"a": [1]}), None)

def waiting():
    raise NotYet("The model starts after 12 trials; 7 are done.")

def broken():
    raise KeyError("p.<b>x")

for make in (fine, several, table, waiting, broken, fine):
    draw(make, key=f"{make.__name__}{len(str(make))}" if make is not fine else f"f{id(object())}",
         title=f"{make.__name__} *and* :blue[x]")
"""


def test_draw_frames_a_card_its_data_and_its_downloads() -> None:
    from streamlit.testing.v1 import AppTest

    script = SCRIPT.replace('f"f{id(object())}"', '"fine-" + str(next(count))').replace(
        "for make", "import itertools\ncount = itertools.count()\nfor make", 1
    )
    app = AppTest.from_string(script, default_timeout=30).run()
    assert not app.exception
    assert len(app.get("vega_lite_chart")) == 4  # one, two side by side, one after a failure
    assert len(app.dataframe) == 1
    assert [error.value for error in app.error] == [
        "This picture cannot be drawn. KeyError\\: 'p\\.\\<b\\>x'"
    ]
    captions = [caption.value for caption in app.caption]
    assert "Read me \\:red\\[so\\] \\<b\\>\\." in captions
    assert any("The model starts after 12 trials; 7 are done" in each for each in captions)
    assert len(app.get("download_button")) == 3 * 3 + 1
    app.toggle(key="fine-0-data").set_value(True).run()
    assert len(app.dataframe) == 2
    alts = [chart.proto.alt for chart in app.get("vega_lite_chart")]
    assert alts == ["Two points.", "Two. (part 1 of 2)", "Two. (part 2 of 2)", "Two points."]


@pytest.mark.parametrize(("marks", "panels"), [(40, 1), (40, 12), (400, 1)])
def test_a_card_with_many_marks_in_all_is_painted(marks: int, panels: int) -> None:
    from streamlit.testing.v1 import AppTest

    script = f"""
from dashboards.cards import parameters
from dashboards.cards.card import draw
from tests.dashboards.test_cards import bo
names = tuple(f"x{{i}}" for i in range({panels}))
data = bo([float(i) for i in range({marks})], names=names)
draw(lambda: parameters.card(data), key="p", title="P")
"""
    app = AppTest.from_string(script, default_timeout=30).run()
    assert not app.exception
    specs = [json.loads(chart.proto.spec) for chart in app.get("vega_lite_chart")]
    assert len(specs) == panels
    renderers = {s.get("usermeta", {}).get("embedOptions", {}).get("renderer") for s in specs}
    assert renderers == ({"canvas"} if marks * panels > 300 else {None})


def test_downloads_are_what_they_say() -> None:
    from dashboards.cards import card as frame

    card = FULL["best so far"]()
    assert frame._csv(card).decode().splitlines()[0] == "trial,state,value,best so far,reason"
    assert len(frame._csv(card).decode().splitlines()) == len(card.data) + 1
    assert frame._png(card).startswith(b"\x89PNG")
    svg = frame._svg(card).decode()
    assert svg.startswith("<svg")
    assert "gp-map on toy, seed 1" in svg


def test_no_engine_of_pictures_is_loaded_before_a_download() -> None:
    import subprocess
    import sys

    code = (
        "import pkgutil, sys, importlib, dashboards.cards as c\n"
        "[importlib.import_module(f'dashboards.cards.{m.name}')"
        " for m in pkgutil.iter_modules(c.__path__)]\n"
        "print([n for n in ('vl_convert', 'torch') if n in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_panels_keep_their_data_when_they_are_drawn_one_by_one() -> None:
    frame = pd.DataFrame({"x": [1.0], "y": [2.0]})
    one = alt.Chart(frame).mark_point().encode(x="x:Q", y="y:Q")
    for spec, frames in panels(beside(one, one)):
        assert spec["data"] == {"name": "data-0"}
        assert len(frames) == 1
        assert frames[0] is frame


def test_layers_that_share_their_data_send_it_once() -> None:
    frame = pd.DataFrame({"x": [1.0, float("nan")], "y": [2.0, float("inf")]})
    one = alt.Chart(frame).mark_point().encode(x="x:Q", y="y:Q")
    spec = whole(layer(one, one.mark_line(), height=90))
    alt.Chart.from_dict(spec)
    assert [view["data"]["name"] for view in spec["layer"]] == ["data-0", "data-0"]
    assert spec["datasets"] == {"data-0": [{"x": 1.0, "y": 2.0}, {"x": None, "y": None}]}
    assert spec["height"] == 90


def test_a_timeline_has_a_lane_for_each_evaluation_in_flight() -> None:
    card = timeline.card(timed([(0, 3), (1, 2), (2, 4), (2.5, None)]), now=1e9 + 10)
    assert card.data["lane"].to_list() == [1, 2, 2, 3]
    assert card.data["end"].to_list() == [1e9 + 3, 1e9 + 2, 1e9 + 4, 1e9 + 10]
    assert card.data["state"].to_list() == ["complete"] * 3 + ["running"]
    assert "end at now" in card.reading
    still = timeline.card(timed([(0, 3), (2.5, None)]))
    assert still.data["state"].to_list() == ["complete", "left open"]
    assert still.data["end"].max() == 1e9 + 3


def test_long_pauses_of_a_timeline_are_cut_out_and_said() -> None:
    seconds = [(i, i + 1) for i in range(20)] + [(90_000 + i, 90_001 + i) for i in range(20)]
    card = timeline.card(timed([(float(a), float(b)) for a, b in seconds]))
    spec = specification(card)
    ends = [row["to"] for rows in drawn(spec) for row in rows if "to" in row]
    assert max(ends) == pytest.approx(40.0)
    assert "Dashed: a pause" in card.reading
    cuts = [row for rows in drawn(spec) for row in rows if "pause" in row]
    assert [(cut["at"], cut["pause"]) for cut in cuts] == [(20.0, "25 h")]
    assert "pause" not in timeline.card(timed([(0, 1), (1.1, 2)])).reading


def test_hundreds_of_trials_fit_a_timeline() -> None:
    many = [(i / 4, i / 4 + 5.0) for i in range(3_000)]
    card = timeline.card(timed(many))
    assert len(card.data) == timeline.MOST
    assert card.data["trial"].max() == 2_999
    assert card.data["lane"].max() == 20
    assert "last 500 of 3,000" in card.reading
    assert specification(card)["height"] <= timeline.MOST_HEIGHT


def test_importance_has_intervals_where_the_belief_has() -> None:
    card = importance.card(bo(SOME, posterior=sure()))
    assert card.data[["low", "share", "high"]].to_numpy().tolist() == [
        [0.2, 0.6, 0.9],
        [0.1, 0.4, 0.8],
    ]
    assert "95 % interval" in card.reading
    without = importance.card(bo(SOME, posterior=belief()))
    assert "no joint posterior" in without.reading
    assert "low" not in without.data


def test_ranks_have_a_panel_per_budget_and_the_best_at_the_largest_on_top() -> None:
    card = ranks.card(by_hand())
    spec = specification(card)
    assert len(spec["concat"]) == 2
    assert [y["sort"][0] for y in encoded(spec, "y")] == ["gp-map"] * 4
    colours = encoded(spec, "color")[0]["scale"]
    told = dict(zip(colours["domain"], colours["range"], strict=True))
    assert told == {name: style("bo", name).colour for name in ("gp-map", "sobol", "random")}


def test_standing_counts_as_the_results_do() -> None:
    card = standing.card(by_hand(), 10)
    assert card.data["standing"].to_list() == ["best", "close", "worse"] * 2
    assert "fewer than" not in card.reading
    assert "fewer than 6 seeds" in standing.card(by_hand(seeds=3), 10).reading


def test_a_regret_of_nothing_has_its_place_on_a_log_scale() -> None:
    card = experiment_curves.card(by_hand(), "branin")
    assert card.data["low"].min() == experiment_curves.SMALLEST
    assert encoded(specification(card), "y")[0]["scale"]["type"] == "log"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda e: ranks.card(e), "Ranks need"),
        (lambda e: standing.card(e, 10), "Tests need"),
        (lambda e: experiment_curves.card(e, "branin"), "has a result"),
        (lambda e: experiment_table.card(e), "smallest budget"),
        (lambda e: experiment_table.tests(e, "branin"), "Tests need"),
    ],
)
def test_an_experiment_that_has_found_nothing_says_so(make: Callable[..., Card], told: str) -> None:
    with pytest.raises(NotYet, match=told):
        make(dataclasses.replace(by_hand(), results=None))


def test_tables_of_an_experiment_have_the_rows_of_the_command() -> None:
    made = by_hand()
    assert made.results is not None
    assert len(experiment_table.card(made).data) == len(made.results["table"])
    assert len(experiment_table.card(made, "branin").data) == len(made.results["table"]) / 2
    assert len(experiment_table.tests(made, "branin").data) == len(made.results["tests"]) / 2
