"""Conditional parameters."""

import json
import math

import numpy as np
import pytest
import torch

import bo
from bo import metrics
from bo.contract import Trial
from bo.goals import Goal
from bo.methods import make_strategy
from surrogates.errors import CapabilityError, UsageError
from surrogates.seeds import derive_seed

TREE = {
    "act": bo.choice("relu", "tanh", "gelu"),
    "slope": bo.real(0, 0.3, when={"act": "relu"}),
    "n": bo.integer(1, 3),
    "deep": bo.real(1e-3, 1, log=True, when={"n": [2, 3]}),
    "kind": bo.choice("a", "b", "c", when={"act": ["gelu", "relu"], "n": 3}),
    "grand": bo.boolean(when={"kind": "c"}),
    "size": bo.ordinal(8, 16, when={"grand": True}),
    "extra": bo.fixed(7, when={"kind": "a"}),
}


def test_a_point_holds_its_active_parameters_only():
    space = bo.Space(TREE)
    points = space.from_uniforms(np.random.default_rng(0).random((500, len(space.free))))
    for point in points:
        assert ("slope" in point) == (point["act"] == "relu")
        assert ("deep" in point) == (point["n"] != 1)
        assert ("kind" in point) == (point["act"] != "tanh" and point["n"] == 3)
        assert ("grand" in point) == (point.get("kind") == "c")
        assert ("size" in point) == (point.get("grand") is True)
        assert (point.get("extra") == 7) == (point.get("kind") == "a")
        assert list(point) == [name for name in TREE if name in point]
        assert space.check(point) == point


def test_columns_of_inactive_parameters_are_their_default_and_an_indicator_tells():
    space = bo.Space({"on": bo.boolean(), "x": bo.real(1, 3, when={"on": True})})
    assert space.encode([{"on": True, "x": 1.5}, {"on": False}]).tolist() == [
        [1.0, 0.25, 1.0],
        [0.0, 0.5, 0.0],
    ]
    assert [c.kind for c in space.inputs.columns] == ["ordinal", "real", "ordinal"]
    assert space.inputs.groups == (0, 1, 2)
    assert space.inputs.columns[2].levels == 2
    assert space.decode(np.array([[0.2, 0.9, 1.0]])) == [{"on": False}]  # it can't disagree


@pytest.mark.parametrize(
    ("point", "told"),
    [
        (
            {"act": "tanh", "slope": 0.1, "n": 1},
            "active only when act is 'relu', and act is 'tanh'",
        ),
        ({"act": "relu", "n": 1}, "none for slope"),
        ({"act": "tanh", "n": 3, "deep": 0.1, "grand": True}, "kind is not active itself"),
        ({"act": "tanh", "n": 1, "extra": 7}, "active only when kind is 'a'"),
    ],
)
def test_inactive_and_missing_values_are_refused(point, told):
    with pytest.raises(UsageError) as error:
        bo.Space(TREE).check(point)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"a": bo.boolean(when={"b": True}), "b": bo.boolean(when={"a": True})}, "circle"),
        (
            {"x": bo.real(0, 1, when={"x": 0.5})},
            "when of parameter x expected another one, got 'x'",
        ),
        ({"x": bo.real(0, 1, when={"w": 0.5})}, "expected a known parameter"),
        ({"x": bo.real(0, 1, when={"act": "a"})}, "did you mean 'acti'"),
        ({"x": bo.real(0, 1, when={"acti": "c"})}, "expected a known value"),
        ({"x": bo.real(0, 1, when={"y": 0.5})}, "y, which is real"),
    ],
)
def test_impossible_conditions_are_refused(parameters, told):
    others = {"acti": bo.choice("a", "b"), "y": bo.real(0, 1)} if "x" in parameters else {}
    with pytest.raises(UsageError) as error:
        bo.Space({"z": bo.real(0, 1)} | others | parameters)
    assert told in str(error.value)


@pytest.mark.parametrize("when", [{}, {"act": []}, {"act": None}])
def test_an_empty_condition_is_refused(when):
    with pytest.raises(UsageError, match="when expected"):
        bo.real(0, 1, when=when)


def test_a_space_needs_a_parameter_that_is_always_active():
    with pytest.raises(UsageError, match="always active|circle"):
        bo.Space({"a": bo.boolean(when={"b": True}), "b": bo.boolean(when={"a": True})})


def test_conditions_survive_files_and_tell_spaces_apart(tmp_path):
    (tmp_path / "space.toml").write_text(
        'act = { type = "choice", values = ["relu", "tanh"] }\n'
        'slope = { type = "real", low = 0.0, high = 0.3, when = { act = "relu" } }\n'
    )
    space = bo.Space.from_toml(tmp_path / "space.toml")
    assert space.parameters["slope"] == bo.real(0, 0.3, when={"act": "relu"})
    tree = bo.Space(TREE)
    again = bo.Space.from_dict(json.loads(json.dumps(tree.to_dict())))
    assert again.difference(tree) is None
    assert again.signature() == tree.signature()
    other = bo.Space(TREE | {"slope": bo.real(0, 0.3)})
    assert "parameter slope" in (tree.difference(other) or "")


def test_a_finite_conditional_space_knows_its_size():
    space = bo.Space(
        {
            "act": bo.choice("relu", "tanh"),
            "n": bo.integer(1, 3),
            "kind": bo.choice("a", "b", when={"act": "relu"}),
        }
    )
    assert space.size == 3 * 2 + 3
    assert bo.Space({"n": bo.integer(1, 4)}, subject_to=["n <= 3"]).size == 3


def test_a_conditional_pool_is_searched_and_kept():
    rows = [{"on": True, "x": x / 9} for x in range(10)] + [{"on": False}, {"on": False}]
    space = bo.Space({"on": bo.boolean(), "x": bo.real(0, 1, when={"on": True})}, candidates=rows)
    assert space.size == 11
    again = bo.Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again.difference(space) is None
    for method, count in (("random", 11), ("sobol", 11), ("gp-map", 5)):
        points = _asks(space, method, count, batch=count if count == 11 else 3)
        assert len({space.key(point) for point in points}) == count


def test_rows_of_trials_have_empty_cells_for_what_is_not_active():
    trials = [
        Trial(0, {"on": False}, "complete", values={"x": 1.0}),
        Trial(1, {"on": True, "x": 0.5}, "complete", values={"x": 2.0}),
    ]
    first, second = metrics.trial_rows(trials)
    assert list(first) == list(second)
    assert (first["x"], first["value.x"], second["x"]) == (None, 1.0, 0.5)


def test_a_study_in_a_conditional_space_resumes_and_draws_its_belief(tmp_path):
    from bo.snapshot import snapshot

    store = tmp_path / "runs.db"

    def study(seed=3):
        return bo.Study(bo.Space(TREE), "minimize y", name="s", store=store, method="gp-map")

    drawn = []
    first = study()
    first.after_ask = lambda before, asked, state: drawn.append(snapshot(first, before, asked))
    first.run(lambda p: p.get("slope", 0.2) - p["n"], budget=16)
    joined = study()
    assert len(joined.trials) == 16
    picture = [each for each in drawn if each is not None][-1]
    json.dumps(picture, allow_nan=False)
    best = first.best
    assert best is not None
    assert {each["parameter"] for each in picture["slices"]} <= set(TREE)
    frame = first.result().trials
    assert set(frame.columns) >= {"act", "slope", "deep"}


def test_ax_refuses_conditional_parameters():
    pytest.importorskip("ax")
    with pytest.raises(CapabilityError, match="always active"):
        make_strategy("ax", bo.Space(TREE), Goal("y", "minimize"), {}, 1)


def _asks(space: bo.Space, method: str, count: int, *, batch: int, seed: int = 1) -> list:
    options = {"surrogate.max_iterations": 5, "initial": 2} if method == "gp-map" else {}
    made = make_strategy(method, space, Goal("y", "minimize"), options, seed)
    trials: list[Trial] = []
    state = None
    while len(trials) < count:
        generator = torch.Generator()
        generator.manual_seed(derive_seed(seed, "ask", len(trials)))
        points, new = made.ask(
            trials, min(batch, count - len(trials)), state=state, generator=generator
        )
        if not points:
            break
        state = new or state
        outcomes = ((space.encode(points) - 0.8) ** 2).sum(axis=1)
        for point, outcome in zip(points, outcomes, strict=True):
            kind = "failed" if len(trials) % 5 == 4 else "complete"
            values = {"y": float(outcome)} if kind == "complete" else {}
            trials.append(Trial(len(trials), point, kind, values=values))
    return [trial.parameters for trial in trials]


def test_infinite_spaces_say_so():
    assert bo.Space(TREE).size == math.inf


@pytest.mark.parametrize("method", ["random", "sobol", "gp-map", "gp-trust-region", "cma"])
@pytest.mark.parametrize(
    ("names", "total"),
    [("ab", 4), ("abc", 5), ("a", 2)],
)
def test_an_equality_may_solve_the_parent_of_a_conditional_parameter(method, names, total):
    parameters = {"a": bo.integer(1, 4), "b": bo.integer(0, 3), "c": bo.integer(0, 3)}
    parameters["z"] = bo.real(0, 1, when={"a": 1})
    space = bo.Space(parameters, subject_to=[f"{' + '.join(names)} == {total}"])
    study = bo.Study(space, method=method, seed=0)
    for number in range(8):
        (trial,) = study.ask()
        point = trial.parameters
        assert ("z" in point) == (point["a"] == 1)
        assert sum(float(point[name]) for name in names) == total
        study.tell(trial, float(number))


def test_equalities_that_only_an_inactive_parameter_saves_are_refused():
    parameters = {
        "a": bo.integer(1, 6, log=True),
        "b": bo.integer(1, 6),
        "z": bo.integer(0, 3, when={"a": 1}),
    }
    with pytest.raises(UsageError, match="which none does"):
        bo.Space(parameters, subject_to=["3*b + 3*z == 4", "0.5*b + 3*a == 5", "a + b + 2*z < 4"])
