"""What users get wrong is told in a sentence; what goes wrong in every trial is not silent."""

import subprocess
import sys
from typing import Any, cast

import numpy as np
import pytest
import torch

import bo
from surrogates.errors import UsageError

SPACE = {"x": bo.real(0.0, 1.0)}


def test_no_complete_trial_is_told(caplog):
    def broken(p):
        if p["x"] > 2:
            return 1.0
        raise ValueError("the pump is off")

    bo.minimize(broken, SPACE, budget=3, method="sobol", seed=0)
    (record,) = caplog.records
    assert "is complete; 3 failed like this: ValueError: the pump is off" in record.getMessage()


def test_one_complete_trial_is_enough(caplog):
    bo.minimize(lambda p: 1 / (p["x"] > 0.5), SPACE, budget=4, method="sobol", seed=0)
    assert not caplog.records


@pytest.mark.parametrize("goal", [["a", "b"], "a, b", "", "a b"])
def test_minimize_takes_one_goal(goal):
    with pytest.raises(UsageError, match=r"goal expected the name of one outcome.*bo\.Study"):
        bo.minimize(lambda p: 1.0, SPACE, budget=1, goal=goal)


@pytest.mark.parametrize("value", [[1, 2], [1], (3,)])
def test_fixed_takes_no_list(value):
    with pytest.raises(UsageError, match="fixed expected one number, text or boolean, got"):
        bo.fixed(value)


@pytest.mark.parametrize("kind", ["choice", "ordinal"])
def test_values_are_a_list(kind):
    with pytest.raises(UsageError, match="expected a list of values, got 'abc'"):
        bo.Space.from_dict({"x": {"type": kind, "values": "abc"}})


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"a": True}, "when of parameter a expected another one, got 'a'"),
        ({"z": True}, "when of parameter a expected another one, got 'z'"),
    ],
)
def test_a_parent_that_is_none(when, message):
    with pytest.raises(UsageError, match=message):
        bo.Space({"a": bo.boolean(when=when)})


def test_a_circle_is_called_one():
    both = {"a": bo.boolean(when={"b": True}), "b": bo.boolean(when={"a": True})}
    with pytest.raises(UsageError, match="expected no circle, got one among a, b"):
        bo.Space(both)


def test_options_and_executors_that_are_none():
    with pytest.raises(UsageError, match="options expected a mapping"):
        bo.minimize(lambda p: 1.0, SPACE, budget=1, method="gp-map", options=cast(Any, "foo"))
    study = bo.Study(SPACE)
    with pytest.raises(UsageError, match="executor expected submit"):
        study.run(lambda p: 1.0, 1, executor=cast(Any, object()))


def test_a_surrogates_option_names_what_to_do():
    with pytest.raises(UsageError, match="name the surrogate as the method, such as gp-map"):
        bo.Study(SPACE, options={"surrogate.warp": True})


def test_nevergrads_threads_end_with_the_process():
    """Under constraints it asks COBYLA, which waits in a thread for an outcome."""
    pytest.importorskip("nevergrad")
    program = (
        "import bo\n"
        'space = bo.Space({"x": bo.real(0.0, 1.0), "y": bo.real(0.0, 1.0)},'
        ' subject_to=["x + y <= 0.6", "x >= y"])\n'
        'bo.minimize(lambda p: p["x"] + p["y"] + 9, space, budget=9, seed=1, method="nevergrad")\n'
        "import threading\n"
        "waiting = [t for t in threading.enumerate() if t is not threading.main_thread()]\n"
        'print(len(waiting), "threads", all(t.daemon for t in waiting))\n'
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True
    )
    assert ended.stdout.splitlines()[-1].endswith("True")


def test_a_constraint_between_parameters_belongs_to_the_space():
    with pytest.raises(UsageError, match=r"give it to bo\.Space"):
        bo.Study({**SPACE, "y": bo.real(0.0, 1.0)}, subject_to=["x + y >= 1"])


@pytest.mark.parametrize("method", ["gp-map", "gp-hmc"])
def test_an_outcome_of_any_size_leaves_a_model(method, recwarn):
    values = iter([1.0, 2.0, 1e200, -1e300, 0.5, 0.4, 0.3])
    told = bo.minimize(lambda p: next(values), SPACE, budget=7, method=method, seed=0)
    assert told.best_value == -1e300
    assert not [each for each in recwarn if issubclass(each.category, RuntimeWarning)]


@pytest.mark.parametrize("number", [np.int64(1), torch.tensor(1, dtype=torch.int64, device="cpu")])
def test_a_trial_is_told_by_any_whole_number(number):
    study = bo.Study({"x": bo.real(0, 1)}, method="sobol", seed=0)
    study.ask(2)
    assert study.tell(number, 0.5).number == 1
    assert study.trials[1].state == "complete"


@pytest.mark.parametrize("number", [1.0, "1", True, None])
def test_what_is_no_trial_is_refused_and_tells_nothing(number):
    study = bo.Study({"x": bo.real(0, 1)}, method="sobol", seed=0)
    study.ask(2)
    with pytest.raises(UsageError, match="expected a trial or its number"):
        study.tell(number, 0.5)
    with pytest.raises(UsageError, match="expected a trial or its number"):
        study.fail(number)
    assert [trial.state for trial in study.trials] == ["running", "running"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"type": "real", "low": 1, "high": 2, "log": "no"}, "log = true or false, got 'no'"),
        ({"type": "boolean", "values": ["x", "y"]}, "expected no values"),
        ({"type": "boolean", "values": 5}, "parameter a of type boolean"),
        ({"type": "integer", "low": 0, "high": 10**400}, "expected finite bounds"),
        ({"type": "real", "low": -(10**400), "high": 0}, "expected finite bounds"),
    ],
)
def test_a_table_that_says_something_else(table, message):
    with pytest.raises(UsageError, match=message):
        bo.Space.from_dict({"a": table})


def test_a_number_beyond_all_floats_is_outside():
    with pytest.raises(UsageError, match="parameter a expected 0 to 3"):
        bo.Space({"a": bo.integer(0, 3)}).check({"a": 10**400})
