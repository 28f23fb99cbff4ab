"""Several goals, outcome constraints, standard errors: texts, measures, what the search finds."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume
from botorch.utils.multi_objective.pareto import is_non_dominated
from hypothesis import given, settings, strategies as st

import bo
from bo import metrics
from bo.contract import Trial
from bo.goals import Goal, Goals, OutcomeConstraint
from surrogates.errors import UsageError

SQUARE = {"x": bo.real(0, 1), "y": bo.real(0, 1)}


def told(goals: Goals, *rows: Any) -> list[Trial]:
    """Trials with these values, in order; None is a failed one."""
    return [
        Trial(i, {}, "failed")
        if row is None
        else Trial(i, {}, "complete", dict(zip(goals.outcomes, row, strict=True)))
        for i, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "minimize loss",
        "maximize accuracy subject to latency <= 20",
        "minimize a, maximize b subject to max(c, d) <= 2*a, c >= -1 reference a = 1.5, b = -2.0",
    ],
)
def test_the_text_of_goals_says_all(text):
    assert str(Goals.parse(text)) == text
    assert Goals.parse(str(Goals.parse(text))) == Goals.parse(text)


NAMES = st.one_of(
    st.sampled_from(
        ["loss", "reference", "subject", "to", "minimize", "yield", "lambda", "a=b", "a`b", "`a`"]
        + ["x, y", "a subject to b", "a reference b", " reference ", " ", ",", "#1", "b <= 3"]
        + ["(", "a  b", "a\nb", "min", "and", "1st", "per cent %", "\u00e9t\u00e9", "seconds"]
    ),
    st.text(min_size=1, max_size=6),
)


@st.composite
def any_goals(draw):
    """Of names that the user may have taken from anywhere."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    goals = tuple(Goal(n, draw(st.sampled_from(("minimize", "maximize")))) for n in names)
    others = [n for n in draw(st.lists(NAMES, max_size=3)) if "`" not in n]
    bare = {"loss", "reference", "subject", "to", "minimize", "yield", "seconds"}
    texts = []
    for other in others:
        name = other if other in bare and draw(st.booleans()) else f"`{other}`"
        shapes = ["{} <= 3", "3.>={}", "2*{} + reference < 1e3", "max({}, b)>= reference"]
        texts.append(draw(st.sampled_from([*shapes, "(1 - {}) <= 3  # of b, reference 1"])))
        texts[-1] = texts[-1].format(name)
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    corner = tuple(draw(numbers) for _ in names) if len(names) > 1 and draw(st.booleans()) else None
    return Goals(goals, tuple(map(OutcomeConstraint, texts)), corner)


@settings(max_examples=400, deadline=None)
@given(any_goals())
def test_goals_of_any_names_come_back_from_their_text(goals):
    assert Goals.parse(str(goals)) == goals
    assert all(Goal.parse(str(goal)) == goal for goal in goals.goals)


@pytest.mark.parametrize(
    ("text", "outcomes"),
    [
        ("minimize seconds subject to reference <= 3", ("seconds", "reference")),
        ("minimize a, maximize reference subject to b<=1", ("a", "reference", "b")),
        ("minimize a subject to `x, y` <= 3, b <= `a subject to b`", None),
        ("minimize `a reference b` subject to b + reference <= 3", None),
        ("minimize reference, minimize b reference reference = 1, b = 2", ("reference", "b")),
        ("minimize a, minimize b subject to 3 >= reference reference a=1,b=2", None),
        ("minimize a,maximize b  subject to  c <= 1,\n d<2 reference  b = 1 , a=2", None),
        ("minimize a`b subject to c <= 1", ("a`b", "c")),
        ("minimize a\tsubject to `a  b` <= 1 # most, c > 1", ("a", "a  b", "c")),
    ],
)
def test_names_with_words_of_the_text_are_names(text, outcomes):
    goals = Goals.parse(text)
    assert outcomes is None or goals.outcomes == outcomes
    assert Goals.parse(str(goals)) == goals


def test_a_study_of_any_names_is_resumed(tmp_path):
    store = tmp_path / "s.db"
    goal, limits = Goal("run time, s", "minimize"), ["reference <= 3", "`x, y` <= `a  b`"]
    study = bo.Study(SQUARE, goal, subject_to=limits, name="s", store=store, method="sobol")
    told = {"run time, s": 1.0, "reference": 2.0, "x, y": 0.0, "a  b": 1.0}
    study.tell(study.ask()[0], told)
    again = bo.Study.resume("s", store=store)
    assert again.goals == study.goals
    assert again.best is not None
    assert again.best.values == told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("minimise loss",), "minimize NAME"),
        (("minimize a, minimize a",), "different names"),
        (("minimize a", ["b"]), "comparison"),
        (("minimize a", ["b == 1"]), "one comparison"),
        (("minimize a", ["0 <= b <= 1"]), "one comparison"),
        (("minimize a", ["b <= 1 and c <= 1"]), "one comparison"),
        (("minimize a", ["__import__('os') <= 1"]), "'__import__'|condition"),
        (("minimize a", ["1 <= 2"]), "in it"),
        (("minimize a", (), {"a": 1.0}), "several goals"),
        (("minimize a, minimize b", (), {"a": 1.0}), "each of a, b"),
        (("minimize a, minimize b reference a = 1, b",), "NAME = number"),
        (("minimize a b",), "minimize NAME"),
        (("minimize a,",), "minimize NAME"),
        (("minimize",), "minimize NAME"),
        (("minimize a subject to b <= 1,",), "a constraint expected a text"),
        (("minimize a, minimize b", (), {"a": 1.0, "b": math.nan}), "finite"),
        ((3,), "minimize NAME"),
    ],
)
def test_malformed_goals_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        Goals.of(*arguments)


def test_slacks_and_their_standard_errors():
    limit = OutcomeConstraint("2*a - b <= 3")
    assert limit.slack({"a": 1.0, "b": 0.5}) == pytest.approx(1.5)
    assert limit.holds({"a": 1.0, "b": 0.5})
    assert not limit.holds({"a": 3.0, "b": 0.5})
    assert limit.slack_sem({"a": 1.0, "b": 0.5}, {"a": 0.3, "b": 0.8}) == pytest.approx(1.0)
    assert limit.slack_sem({"a": 1.0, "b": 0.5}, {"a": 0.3}) is None
    undefined = OutcomeConstraint("sqrt(a) >= 0")
    assert not undefined.holds({"a": -1.0})
    assert OutcomeConstraint("a < 1").holds({"a": 0.5})
    assert not OutcomeConstraint("a < 1").holds({"a": 1.0})


def test_the_incumbent_satisfies_the_constraints():
    goals = Goals.of("minimize loss", ["q >= 1"])
    trials = told(goals, (3.0, 2.0), None, (1.0, 0.5), (2.0, 1.0), (2.5, 9.0))
    best = metrics.incumbent(trials, goals)
    assert best is not None
    assert best.number == 3
    assert metrics.best_so_far(trials, goals) == [3.0, 3.0, 3.0, 2.0, 2.0]
    assert metrics.incumbent(told(goals, (1.0, 0.0)), goals) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(-5, 5)] * 3), min_size=1, max_size=25),
    st.tuples(*[st.booleans()] * 3),
)
def test_front_and_hypervolume_are_botorchs(rows, up):
    goals = Goals.of(", ".join(f"{'maximize' if u else 'minimize'} g{i}" for i, u in enumerate(up)))
    trials = told(goals, *rows)
    signs = torch.tensor([goal.sign for goal in goals.goals], dtype=torch.float64)
    Y = torch.tensor(rows, dtype=torch.float64) * signs
    front = metrics.front(trials, goals)
    theirs = {tuple(row) for row in Y[is_non_dominated(Y)].tolist()}
    ours = {tuple(g.sign * t.values[g.name] for g in goals.goals) for t in front}
    assert ours == theirs
    corner = metrics.reference(trials, goals)
    assert corner is not None
    volume = Hypervolume(torch.tensor(corner, dtype=torch.float64) * signs).compute(
        torch.tensor(sorted(theirs), dtype=torch.float64)
    )
    curve = metrics.hypervolumes(trials, goals)
    assert curve[-1] == pytest.approx(volume, rel=1e-9, abs=1e-12)
    found = [v for v in curve if v is not None]
    assert all(b >= a - 1e-9 for a, b in zip(found[:-1], found[1:], strict=True))


def test_noise_that_was_added_to_several_goals_does_not_count_in_their_regret():
    goals = Goals.of("minimize a, maximize b", (), {"a": 4.0, "b": 0.0})
    noisy = {"a": -9.0, "b": 9.0, "a_noiseless": 3.0, "b_noiseless": 1.0}
    trials = [
        Trial(0, {}, "complete", noisy),
        Trial(1, {}, "complete", {"a": -8.0, "b": 10.0, "a_noiseless": 2.0, "b_noiseless": 2.0}),
    ]
    assert metrics.regret(trials, 5.0, goals) == 5.0 - 2 * 2  # of the second alone
    assert metrics.without_noise(trials[0], goals).values == {**noisy, "a": 3.0, "b": 1.0}


def test_a_constrained_search_ends_at_the_constraint():
    def f(p):
        return {"loss": (p["x"] - 0.3) ** 2 + (p["y"] - 0.7) ** 2, "sum": p["x"] + p["y"]}

    result = bo.minimize(f, SQUARE, 22, goal="loss", subject_to=["sum <= 0.8"], seed=11)
    assert result.best_parameters is not None
    assert sum(map(float, result.best_parameters.values())) <= 0.8
    assert result.best_value == pytest.approx(0.02, abs=2e-3)  # at (0.2, 0.6)


def test_several_goals_are_traded_off():
    def f(p):
        return {"a": p["x"] ** 2 + p["y"], "b": (p["x"] - 1) ** 2 + p["y"]}

    goals = {"a": 1.1, "b": 1.1}
    study = bo.Study(SQUARE, "minimize a, minimize b", reference=goals, seed=12)
    study.run(f, 12)
    random = bo.Study(
        SQUARE, "minimize a, minimize b", reference=goals, seed=12, method="random"
    ).run(f, 40)
    ours = metrics.hypervolume(study.trials, study.goals)
    theirs = metrics.hypervolume(random.study.trials, study.goals)
    assert ours is not None
    assert theirs is not None
    assert ours > theirs
    assert len(study.front()) >= 4
    with pytest.raises(UsageError, match="expected one goal"):
        _ = study.best


@pytest.mark.parametrize("method", ["auto", "gp-map"])
def test_told_standard_errors_are_kept_and_used(tmp_path, method: str):
    study = bo.Study({"x": bo.real(0, 1)}, name="s", store=tmp_path / "s.db", method=method, seed=3)
    for x in np.linspace(0, 1, 8):
        study.add({"x": float(x)}, (float(np.sin(6 * x)), 0.2))
    again = bo.Study.resume("s", store=tmp_path / "s.db")
    assert [t.sems for t in again.trials] == [{"value": 0.2}] * 8
    state, generator = again._ask_inputs(again.trials)
    strategy: Any = again.strategy
    belief = strategy.belief(again.trials, 1, state=state, generator=generator)
    noise_var = belief.model.likelihood.noise.reshape(-1, 8)  # a row per draw of hyperparameters
    # draws tell it in the goal's units, the least noise on top
    unit, rel = (belief.outcomes.std().item(), 1e-6) if method == "gp-map" else (1.0, 1e-4)
    if belief.scale is None:
        wanted = np.full(noise_var.shape, (0.2 / unit) ** 2)
        assert noise_var.numpy() == pytest.approx(wanted, rel=rel)
    with pytest.raises(UsageError, match="standard error"):
        study.add({"x": 0.5}, (1.0, -1.0))


def test_methods_refuse_goals_that_they_cannot_take():
    for goals, words in [
        ("minimize a, minimize b", "expected one goal"),
        ("minimize a subject to b <= 1", "no outcome constraints"),
    ]:
        with pytest.raises(UsageError, match=f"{words}.*gp-map"):
            bo.Study(SQUARE, goals, method="cma")
    assert bo.Study(SQUARE, "minimize a, minimize b", method="sobol").goals.several


def test_a_study_of_other_goals_is_not_joined(tmp_path):
    bo.Study(SQUARE, "minimize a", subject_to="b <= 1", name="s", store=tmp_path / "s.db")
    joined = bo.Study(
        SQUARE,
        Goals((Goal("a", "minimize"),)),
        subject_to="b <= 1",
        name="s",
        store=tmp_path / "s.db",
    )
    assert joined.goals.outcomes == ("a", "b")
    with pytest.raises(UsageError, match="subject to b <= 1"):
        bo.Study(SQUARE, "minimize a", name="s", store=tmp_path / "s.db")
