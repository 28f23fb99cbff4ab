"""Warm starts: rows of a file, trials of another study."""

import contextlib
import threading

import pandas as pd
import pytest

import bo
from bo import metrics
from bo.known import read_csv, read_study
from bo.trial_log import Log
from surrogates.errors import UsageError

SPACE = bo.Space(
    {
        "lr": bo.real(1e-5, 1e-1, log=True),
        "depth": bo.integer(1, 5),
        "act": bo.choice("relu", "tanh"),
        "size": bo.ordinal(16, 32),
        "bias": bo.boolean(),
        "data": bo.fixed("small"),
    }
)
GOAL = bo.Goal("loss", "minimize")
HEAD = "lr,depth,act,size,bias,loss,who\n"


def written(tmp_path, text):
    path = tmp_path / "old.csv"
    path.write_text(text)
    return path


def test_rows_of_a_file_become_typed_points(tmp_path):
    path = written(tmp_path, HEAD + "0.01,3, tanh,32,true,0.5,me\n\n1e-3,1,relu,16,0,,you\n")
    known, note = read_csv(path, SPACE, GOAL)
    first = {"lr": 0.01, "depth": 3, "act": "tanh", "size": 32, "bias": True, "data": "small"}
    assert known[0] == (first, {"loss": 0.5})
    assert known[1][0]["bias"] is False
    assert known[1][1] is None
    assert note == "old.csv: ignored who"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("0.01,3,tnh,32,true,0.5,me", "line 2: expected a known value of parameter act"),
        ("0.01,3.5,tanh,32,true,0.5,me", "line 2: parameter depth expected an integer"),
        ("1,3,tanh,32,true,0.5,me", "line 2: parameter lr expected 1e-05 to 0.1"),
        ("x,3,tanh,32,true,0.5,me", "line 2: parameter lr expected a number"),
        ("0.01,3,tanh,32,maybe,0.5,me", "line 2: .*parameter bias"),
        (",3,tanh,32,true,0.5,me", "line 2: expected a value for every parameter, got none for lr"),
        ("0.01,3,tanh,32,true,inf,me", "line 2: goal loss expected a number, got 'inf'"),
        ("0.01,3,tanh,32,true,0.5", "line 2: expected 7 cells, got 6"),
    ],
)
def test_a_bad_row_is_refused_by_its_line(tmp_path, row, told):
    with pytest.raises(UsageError, match=told):
        read_csv(written(tmp_path, f"{HEAD}{row}\n"), SPACE, GOAL)


def test_all_bad_rows_are_told_at_once_the_first_by_their_lines(tmp_path):
    good, bad, short = "0.01,3,tanh,32,true,0.5,me\n", "0.01,9,tanh,32,true,0.5,me\n", "0.01\n"
    path = written(tmp_path, HEAD + good + bad + short + bad * 5)
    with pytest.raises(UsageError) as told:
        read_csv(path, SPACE, GOAL)
    for line in (3, 4, 5, 6, 7):
        assert f"line {line}: " in str(told.value)
    assert "line 8" not in str(told.value)
    assert "; and 2 more; mend them, or leave out what is invalid" in str(told.value)


def test_bad_rows_are_left_out_where_that_is_asked_for(tmp_path):
    good, bad, short = "0.01,3,tanh,32,true,0.5,me\n", "0.01,9,tanh,32,true,0.5,me\n", "0.01\n"
    known, note = read_csv(
        written(tmp_path, HEAD + good + bad + short + good), SPACE, GOAL, skip_invalid=True
    )
    assert [outcome for _, outcome in known] == [{"loss": 0.5}, {"loss": 0.5}]
    assert note is not None
    assert note.startswith("old.csv: ignored who; left out 2 of 4 (line 3: parameter depth ")
    assert "line 4: expected 7 cells, got 1" in note
    with pytest.raises(UsageError, match="none that is valid: line 2"):
        read_csv(written(tmp_path, HEAD + bad), SPACE, GOAL, skip_invalid=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a column lr, got none"),
        ("lr,depth,act,size,bias\n", "expected a column loss"),
        ("lr,lr,depth,act,size,bias,loss\n", "expected one column lr"),
        ('lr,depth\n"1', "expected a readable CSV file"),
        ("lr;depth;loss\n1;2;3\n", "expected commas between cells, got 'lr;depth;loss'"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, told):
    with pytest.raises(UsageError, match=told):
        read_csv(written(tmp_path, text), SPACE, GOAL)


def test_no_budget_counts_what_was_known_and_twice_is_once():
    study = bo.Study({"x": bo.real(0, 1)}, "minimize loss", method="sobol", seed=0)
    known = [({"x": 0.25}, {"loss": 0.1}), ({"x": 0.25}, {"loss": 0.1}), ({"x": 0.5}, None)]
    assert len(study.warm_start(known)) == 3
    assert study.warm_start(known) == []
    study.run(lambda p: {"loss": p["x"]}, 4, callback=lambda _: None)
    assert [t.state for t in study.trials[:3]] == ["complete", "complete", "failed"]
    assert len(study.trials) == 3 + 4
    study.run(lambda p: {"loss": p["x"]}, 6, callback=lambda _: None)
    assert len(study.trials) == 3 + 6


def test_two_that_take_in_the_same_at_once_take_it_in_once(tmp_path, monkeypatch):
    known = [({"x": x / 10}, {"loss": 0.1}) for x in range(10)]
    store = tmp_path / "runs.db"
    studies = [
        bo.Study({"x": bo.real(0, 1)}, "minimize loss", name="s", store=store, method="sobol")
        for _ in range(2)
    ]
    both = threading.Barrier(2)
    insert = Log._insert

    def late(self, connection, rows):
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1.0)  # where each has looked before either wrote, they meet here
        return insert(self, connection, rows)

    monkeypatch.setattr(Log, "_insert", late)
    threads = [threading.Thread(target=study.warm_start, args=(known,)) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(studies[0].trials) == 10


def test_a_bad_row_takes_in_none():
    study = bo.Study({"x": bo.real(0, 1)}, "minimize loss", method="sobol", seed=0)
    with pytest.raises(UsageError, match="parameter x expected"):
        study.warm_start([({"x": 0.25}, {"loss": 0.1}), ({"x": 2.0}, {"loss": 0.1})])
    assert study.trials == []


def test_the_model_learns_from_what_was_known():
    space = {"x": bo.real(0, 1), "y": bo.real(0, 1)}
    known = [
        ({"x": i / 9, "y": (i * 7 % 10) / 9}, {"value": (i / 9 - 0.3) ** 2}) for i in range(10)
    ]
    study = bo.Study(space, method="gp-map", seed=0)
    study.warm_start(known)
    (asked,) = study.ask()
    other = bo.Study(space, method="gp-map", seed=0).ask()[0]
    assert asked.parameters != other.parameters
    assert abs(float(asked.parameters["x"]) - 0.3) < 0.25


def test_trials_of_another_study_are_taken_where_they_fit():
    old = bo.Study(
        {"x": bo.real(0, 1), "z": bo.real(0, 1)}, "minimize loss", method="sobol", seed=0
    )
    old.run(lambda p: {"loss": p["x"], "more": 1.0}, 3, callback=lambda _: None)
    old.fail(old.ask()[0], "no")
    old.ask()
    space = bo.Space({"x": bo.real(0, 1), "kind": bo.fixed("a")})
    known, note = read_study(old, space, GOAL)
    assert [outcome for _, outcome in known][3] == "no"
    assert known[0][0] == {"x": old.trials[0].parameters["x"], "kind": "a"}
    assert known[0][1] == dict(old.trials[0].values)
    assert len(known) == 4
    assert note is not None
    assert "ignored z" in note


@pytest.mark.parametrize(
    ("parameters", "goal", "told"),
    [
        ({"w": bo.real(0, 1)}, "loss", "expected parameter w in the study"),
        ({"x": bo.real(0, 1e-9)}, "loss", "study .*, trial 0: parameter x expected"),
        ({"x": bo.real(0, 1)}, "cost", "expected a goal 'cost'"),
    ],
)
def test_a_study_that_does_not_fit_is_refused(parameters, goal, told):
    old = bo.Study({"x": bo.real(0, 1)}, "minimize loss", method="sobol", seed=0)
    old.run(lambda p: {"loss": p["x"]}, 2, callback=lambda _: None)
    with pytest.raises(UsageError, match=told):
        read_study(old, bo.Space(parameters), bo.Goal(goal, "minimize"))


def test_trials_that_do_not_fit_are_left_out_where_that_is_asked_for():
    old = bo.Study({"x": bo.real(0, 1)}, "minimize loss", method="sobol", seed=0)
    for x in (0.1, 0.9, 0.2):
        old.add({"x": x}, x)
    known, note = read_study(old, bo.Space({"x": bo.real(0, 0.5)}), GOAL, skip_invalid=True)
    assert [point["x"] for point, _ in known] == [0.1, 0.2]
    assert note is not None
    assert "left out 1 of 3 (trial 1: parameter x expected" in note


def test_an_export_comes_back_whole(tmp_path):
    """Standard errors and the reasons of failures too."""
    space = {"x": bo.real(0, 1)}
    study = bo.Study(space, "minimize loss", method="sobol", seed=0)
    study.add({"x": 0.25}, {"loss": (0.7, 0.05)})
    study.add({"x": 0.5}, {"loss": 0.3})
    study.fail(study.ask()[0], "flask broke: at 80 C")
    file = tmp_path / "lab.csv"
    pd.DataFrame(metrics.trial_rows(study.trials)).to_csv(file, index=False)
    known, _ = read_csv(file, study.space, study.goals)
    again = bo.Study(space, "minimize loss", method="sobol", seed=0)
    again.warm_start(known)
    for old, new in zip(study.trials, again.trials, strict=True):
        assert (new.state, new.values, new.sems) == (old.state, old.values, old.sems)
        assert new.reason == old.reason
        assert new.started is not None
        assert new.started == new.finished
    assert again.warm_start(known) == []
    other = bo.Study(space, "minimize loss", method="sobol", seed=0)
    other.warm_start(read_study(study, other.space, other.goals)[0])
    assert other.trials[2].reason == "flask broke: at 80 C"


OURS = ("number", "state", "reason", "attempt", "method", "ask_cpu_seconds", "seconds")
LEVELS = bo.choice("running", "waiting", "complete", "failed")


def exported(study, folder):
    """The CSV file that `Result.trials` or `wald export` makes of a study."""
    rows = metrics.trial_rows(study.trials, study.space.parameters, study.goals.outcomes)
    file = folder / "all.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def same_again(study, folder):
    """A study of the same space and goals that took in the export of this one."""
    known, _ = read_csv(exported(study, folder), study.space, study.goals)
    again = bo.Study(study.space, study.goals, method="sobol", seed=0)
    again.warm_start(known)
    finished = [trial for trial in study.trials if trial.done]
    for old, new in zip(finished, again.trials, strict=True):
        assert (new.state, new.parameters, new.sems) == (old.state, old.parameters, old.sems)
        assert new.reason == old.reason
        held = {name: old.values[name] for name in study.goals.outcomes if name in old.values}
        assert new.values == held
    assert metrics.best_so_far(again.trials, again.goals) == metrics.best_so_far(
        finished, study.goals
    )
    return again


@pytest.mark.parametrize(
    ("parameters", "goals", "more"),
    [
        *[({name: bo.integer(1, 5), "x": bo.real(0, 1)}, "minimize loss", ()) for name in OURS],
        *[({"x": bo.real(0, 1)}, f"minimize {name}", ()) for name in OURS],
        *[({name: bo.integer(1, 5)}, f"maximize {name}", ()) for name in OURS],
        ({"state": LEVELS, "number": bo.integer(1, 9)}, "minimize loss", ()),
        ({"method": LEVELS, "reason": LEVELS}, "minimize loss subject to seconds <= 3", ()),
        ({name: bo.integer(1, 5) for name in OURS}, "minimize value, minimize values", ()),
        ({"value": bo.real(0, 1)}, "minimize value", ()),
        ({"x": bo.real(0, 1), "value.x": bo.real(0, 1)}, "minimize x, maximize `value.x`", ()),
        ({"x": bo.real(0, 1)}, "minimize x, maximize value.x", ()),
        ({"sem": bo.real(0, 1), "sem.loss": bo.real(0, 1)}, "minimize loss", ()),
        ({"x": bo.real(0, 1)}, "minimize x, minimize sem.x", ()),
        ({"x": bo.real(0, 1)}, "minimize sem.loss subject to loss <= 3", ("trial.sem.loss",)),
        ({"trial.state": LEVELS, "state": LEVELS}, "minimize trial.seconds", ()),
        ({"trial.number": bo.real(0, 1)}, "minimize loss", ()),
        ({"x": bo.real(0, 1)}, "minimize loss", (*OURS, "value.loss", "sem.loss")),
        ({"x": bo.real(0, 1)}, "minimize x", ("value.x", "trial.state", "trial.value.x")),
    ],
)
def test_parameters_and_outcomes_of_any_name_come_back_from_an_export(
    tmp_path, parameters, goals, more
):
    """`more`: outcomes that no goal names."""
    study = bo.Study(parameters, goals, method="random", seed=1)
    for i, trial in enumerate(study.ask(7)):
        told = {name: (1.0 + i + j, 0.25) for j, name in enumerate(study.goals.outcomes)}
        told |= {name: 70.0 + j for j, name in enumerate(more)}
        if i in (1, 4):
            told = dict.fromkeys(study.goals.outcomes, 9.0 - i)
        if i in (2, 3):
            study.fail(trial, "flask: broke")
        elif i < 6:
            study.tell(trial, told)
    rows = metrics.trial_rows(study.trials, study.space.parameters, study.goals.outcomes)
    users = {*parameters, *(n for n in [*study.goals.outcomes, *more] if n not in parameters)}
    for trial, row in zip(study.trials, rows, strict=True):
        assert len(row) == len(rows[0])
        for name in users:
            held = trial.parameters if name in parameters else trial.values
            assert row[name] == held.get(name)
    clean = not any(name.rpartition("trial.")[2] in OURS for name in users)
    assert clean == ({*OURS} <= {*rows[0]} - users)  # as they were where none clashes
    same_again(study, tmp_path)


def test_only_failures_and_a_parameter_never_active_come_back_from_an_export(tmp_path):
    space = {"on": bo.boolean(), "state": bo.integer(1, 5, when={"on": True})}
    study = bo.Study(space, "minimize seconds", method="sobol", seed=0)
    study.warm_start([({"on": False}, "flask broke")])
    assert same_again(study, tmp_path).trials[0].parameters == {"on": False}


@pytest.mark.parametrize("name", ["reason", "attempt", "method", "ask_cpu_seconds", "seconds"])
def test_an_export_that_wrote_over_a_column_is_refused(tmp_path, name):
    head = "number,state,x,loss,reason,attempt,method,ask_cpu_seconds,seconds\n"
    path = written(tmp_path, f"{head}0,complete,0.5,1,,1,sobol,0.1,2\n1,running,0.2,,,1,sobol,0,\n")
    space = bo.Space({"x": bo.real(0, 1)})
    known, _ = read_csv(path, space, GOAL)
    assert known == [({"x": 0.5}, {"loss": 1.0})]
    with pytest.raises(UsageError, match=f"your {name} in the column {name}"):
        read_csv(path, space, bo.Goal(name, "minimize"))
    with pytest.raises(UsageError, match=f"your {name} in the column {name}"):
        read_csv(path, bo.Space({"x": bo.real(0, 1), name: bo.real(0, 9)}), GOAL)


def test_a_bad_standard_error_is_refused(tmp_path):
    path = written(tmp_path, "x,loss,sem.loss\n0.5,1.0,-2\n")
    study = bo.Study({"x": bo.real(0, 1)}, "minimize loss", method="sobol", seed=0)
    with pytest.raises(UsageError, match="standard error"):
        study.warm_start(read_csv(path, study.space, study.goals)[0])
