"""Studies to and from Optuna and Ax: parameters, values and states are the same."""

import pytest

import bo
from surrogates.errors import CapabilityError, UsageError

optuna = pytest.importorskip("optuna", reason="pip install optuna")

SPACE = {
    "lr": bo.real(1e-5, 1e-1, log=True),
    "depth": bo.integer(1, 12, log=True),
    "act": bo.choice("relu", "tanh", "gelu"),
    "size": bo.ordinal(16, 32.5, 64),
    "bias": bo.boolean(),
    "data": bo.fixed("small"),
}
ALIKE = ("number", "parameters", "state", "values", "reason", "method", "started", "finished")


def mixed_study():
    """A study with trials in every state."""
    study = bo.Study(SPACE, "maximize gain", name="mixed", method="sobol", seed=3)
    for trial in study.ask(5):
        study.tell(trial, {"gain": 0.1 * trial.number + 1 / 3, "cost": 1e-300})
    study.fail(study.ask()[0], "out of memory")
    study.tell(study.ask()[0], {"gain": float("nan"), "cost": 2.0})
    study.ask()
    study.enqueue(study.trials[0].parameters)
    return study


@pytest.mark.parametrize("stored", [False, True])
def test_optuna_there_and_back_is_exact(tmp_path, stored):
    study = mixed_study()
    url = f"sqlite:///{tmp_path / 'optuna.db'}" if stored else None
    theirs = study.to_optuna(url)
    assert study.best is not None
    assert theirs.best_value == study.best.values["gain"]
    assert theirs.best_params == study.best.parameters
    states = [trial.state.name for trial in theirs.trials]
    assert states == ["COMPLETE"] * 5 + ["FAIL"] * 2 + ["RUNNING", "WAITING"]
    back = bo.from_optuna(url or theirs, "mixed", store=tmp_path / "wald.db")
    assert back.space.difference(study.space) is None
    assert back.goal == study.goal
    for mine, other in zip(study.trials, back.trials, strict=True):
        assert {k: getattr(other, k) for k in ALIKE if k not in ("started", "finished")} == {
            k: getattr(mine, k) for k in ALIKE if k not in ("started", "finished")
        }
        if mine.finished is not None:
            assert other.finished == pytest.approx(mine.finished, abs=1e-3)
    assert back.ask()[0].parameters == study.trials[8].parameters  # what was enqueued comes first


def test_a_study_that_optuna_made_gets_the_space_of_its_trials():
    theirs = optuna.create_study(study_name="theirs")

    def objective(trial):
        x = trial.suggest_float("x", -3.0, 3.0)
        n = trial.suggest_int("n", 2, 10, step=2)
        trial.suggest_categorical("flag", [True, False])
        trial.suggest_float("grid", 0.0, 1.0, step=0.25)
        if trial.number == 2:
            raise optuna.TrialPruned
        return x**2 + n

    theirs.optimize(objective, n_trials=4)
    study = bo.from_optuna(theirs, goal="loss", method="sobol", seed=0)
    assert study.space.parameters == {
        "x": bo.real(-3.0, 3.0),
        "n": bo.ordinal(2, 4, 6, 8, 10),
        "flag": bo.boolean(),
        "grid": bo.ordinal(0.0, 0.25, 0.5, 0.75, 1.0),
    }
    assert str(study.goal) == "minimize loss"
    assert [trial.parameters for trial in study.trials] == [t.params for t in theirs.trials]
    assert [trial.values.get("loss") for trial in study.trials] == [
        t.value if t.state.name == "COMPLETE" else None for t in theirs.trials
    ]
    assert study.trials[2].reason == "pruned"
    assert study.ask()[0].number == 4


def test_trials_that_ended_before_all_parameters_were_chosen_are_left_out():
    theirs = optuna.create_study()

    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        if trial.number == 1:
            raise optuna.TrialPruned
        y = trial.suggest_float("y", 0.0, 1.0)
        if trial.number == 3:
            raise optuna.TrialPruned
        return x + y

    theirs.optimize(objective, n_trials=5)
    theirs.ask()  # it runs, and has no parameter yet
    with pytest.warns(UserWarning, match=r"before all of their parameters were chosen: 1, 5$"):
        study = bo.from_optuna(theirs)
    assert set(study.space.parameters) == {"x", "y"}
    assert [trial.state for trial in study.trials] == ["complete"] * 2 + ["failed", "complete"]
    assert [t.parameters for t in study.trials] == [theirs.trials[n].params for n in (0, 2, 3, 4)]


def test_several_goals_travel_both_ways():
    study = bo.Study({"x": bo.real(0, 1)}, "minimize a, maximize b", subject_to="c <= 1", seed=1)
    study.run(lambda p: {"a": p["x"], "b": (p["x"], 0.1), "c": 0.5}, 5, callback=lambda t: None)
    theirs = study.to_optuna()
    assert [d.name for d in theirs.directions] == ["MINIMIZE", "MAXIMIZE"]
    back = bo.from_optuna(theirs, "back")
    assert str(back.goals) == str(study.goals)
    assert [(t.values, t.sems) for t in back.trials] == [(t.values, t.sems) for t in study.trials]
    assert {t.number for t in theirs.best_trials} == {t.number for t in study.front()}
    other = optuna.create_study(directions=["minimize", "maximize"])
    other.optimize(lambda t: (t.suggest_float("x", 0, 1), 2.0), n_trials=2)
    assert str(bo.from_optuna(other).goals) == "minimize value0, maximize value1"


def test_what_optuna_can_say_and_we_cannot_is_refused(tmp_path):
    with pytest.raises(UsageError, match="with trials, got none"):
        bo.from_optuna(optuna.create_study())
    moving = optuna.create_study()
    moving.optimize(lambda t: t.suggest_float("x", 0, 1 + t.number), n_trials=2)
    with pytest.raises(UsageError, match="parameter x expected one range"):
        bo.from_optuna(moving)
    assert len(bo.from_optuna(moving, space={"x": bo.real(0, 2)}).trials) == 2
    lacking = optuna.create_study()
    lacking.optimize(lambda t: t.suggest_float(f"x{t.number}", 0, 1), n_trials=2)
    with pytest.raises(UsageError, match="expected every parameter in every trial"):
        bo.from_optuna(lacking)
    study = mixed_study()
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    study.to_optuna(url)
    with pytest.raises(UsageError, match="expected a name that is free"):
        study.to_optuna(url)
    store = tmp_path / "wald.db"
    bo.from_optuna(url, "mixed", store=store)
    with pytest.raises(UsageError, match="holds trials already"):
        bo.from_optuna(url, "mixed", store=store)


def test_a_conditional_study_of_optuna_needs_its_space_and_then_goes_on():
    theirs = optuna.create_study()
    for model, name, value in (("svm", "c", 0.5), ("forest", "depth", 3), ("svm", "c", 2.0)):
        theirs.enqueue_trial({"model": model, name: value})

    def objective(trial):
        if trial.suggest_categorical("model", ["svm", "forest"]) == "svm":
            return trial.suggest_float("c", 0.1, 10.0, log=True)
        return float(trial.suggest_int("depth", 1, 9))

    theirs.optimize(objective, n_trials=3)
    with pytest.raises(UsageError, match="no depth in trial 0; give space=, .* with its when="):
        bo.from_optuna(theirs)
    space = bo.Space(
        {
            "model": bo.choice("svm", "forest"),
            "c": bo.real(0.1, 10.0, log=True, when={"model": "svm"}),
            "depth": bo.integer(1, 9, when={"model": "forest"}),
        }
    )
    ours = bo.from_optuna(theirs, space=space, method="gp-map", seed=0)
    assert [dict(t.parameters) for t in ours.trials] == [t.params for t in theirs.trials]
    assert [t.values["value"] for t in ours.trials] == [0.5, 3.0, 2.0]
    asked = dict(ours.ask()[0].parameters)
    assert set(asked) == {"model", "c" if asked["model"] == "svm" else "depth"}
    back = ours.to_optuna(name="back")
    again = bo.from_optuna(back)  # what came from us knows its space
    assert again.space.to_dict() == space.to_dict()
    assert [t.parameters for t in again.trials] == [t.parameters for t in ours.trials]


@pytest.mark.filterwarnings("ignore")  # those of Ax's own calls, which are the user's from here on
def test_an_ax_client_holds_the_study_and_goes_on():
    study = mixed_study()
    client = study.to_ax()
    held = client._experiment.trials
    states = [held[index].status.name for index in range(8)]
    assert states == ["COMPLETED"] * 5 + ["FAILED"] * 2 + ["RUNNING"]
    for trial in study.trials[:8]:
        assert held[trial.number].arms[0].parameters == trial.parameters
    frame = client._experiment.lookup_data().df
    gains = frame[frame.metric_name == "gain"].sort_values("trial_index")["mean"].tolist()
    assert gains == [trial.values["gain"] for trial in study.trials[:5]]
    ((_, asked),) = client.get_next_trials(1).items()
    assert study.space.check(asked) == asked


@pytest.mark.filterwarnings("ignore")
def test_ax_there_and_back(tmp_path):
    study = bo.Study(
        bo.Space(
            {
                "x": bo.real(0.0, 1.0),
                "y": bo.real(0.01, 1.0, log=True),
                "n": bo.integer(1, 9),
                "kind": bo.choice("a", "b", "c"),
                "size": bo.ordinal(16, 32, 64),
                "flag": bo.boolean(),
                "data": bo.fixed("small"),
            },
            subject_to=["x + 2 * n <= 15"],
        ),
        "maximize gain, minimize cost",
        subject_to=["fumes <= 1.5"],
        reference={"gain": 0.0, "cost": 9.0},
        name="two",
        method="sobol",
        seed=3,
    )
    for trial in study.ask(4):
        gain = (0.1 * trial.number + 1 / 3, 0.05)
        study.tell(trial, {"gain": gain, "cost": float(trial.number), "fumes": 1.0})
    study.fail(study.ask()[0], "out of memory")
    study.ask()
    back = bo.from_ax(study.to_ax(), "back", store=tmp_path / "wald.db", method="sobol")
    assert back.space.parameters == study.space.parameters
    assert back.space.constraints[0].linear == study.space.constraints[0].linear
    assert (back.goals.goals, back.goals.reference) == (study.goals.goals, study.goals.reference)
    ours, theirs = study.trials, back.trials
    for name in ("number", "state", "parameters", "values", "sems", "reason"):
        assert [getattr(t, name) for t in theirs] == [getattr(t, name) for t in ours], name
    (limit,) = back.goals.constraints
    assert limit.holds({"fumes": 1.5})
    assert not limit.holds({"fumes": 1.6})
    assert [trial.number for trial in back.front()] == [trial.number for trial in study.front()]
    with pytest.raises(UsageError, match="holds trials already"):
        bo.from_ax(study.to_ax(), "back", store=tmp_path / "wald.db")


@pytest.mark.filterwarnings("ignore")
def test_a_client_that_ax_made_becomes_a_study_that_goes_on():
    from ax.api.client import Client
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

    client = Client()
    configs = [
        RangeParameterConfig("lr", (1e-5, 1e-1), "float", scaling="log"),
        RangeParameterConfig("depth", (1, 12), "int"),
        ChoiceParameterConfig("act", ["relu", "tanh", "gelu"], "str", is_ordered=False),
        ChoiceParameterConfig("bias", [False, True], "bool"),
    ]
    client.configure_experiment(configs, name="made by Ax")
    with pytest.raises(UsageError, match="call configure_optimization"):
        bo.from_ax(client)
    client.configure_optimization("-loss")
    points = client.get_next_trials(4)
    for index in points:
        if index == 2:
            client.mark_trial_failed(index, failed_reason="no memory")
        elif index < 3:
            client.complete_trial(index, raw_data={"loss": 0.1 * index})
    study = bo.from_ax(client, method="gp-map", seed=1)
    assert study.name == "made by Ax"
    assert study.space.parameters == {
        "lr": bo.real(1e-5, 1e-1, log=True),
        "depth": bo.integer(1, 12),
        "act": bo.choice("relu", "tanh", "gelu"),
        "bias": bo.boolean(),
    }
    assert str(study.goals) == "minimize loss"
    assert [t.state for t in study.trials] == ["complete", "complete", "failed", "running"]
    assert study.trials[2].reason == "no memory"
    assert study.best is not None
    assert study.best.number == 0
    assert study.trials[3].parameters == points[3]
    study.tell(3, {"loss": -1.0})
    assert study.ask()[0].number == 4


@pytest.mark.filterwarnings("ignore")
def test_what_a_study_cannot_say_of_ax_is_refused():
    from ax.api.client import Client
    from ax.api.configs import RangeParameterConfig

    client = Client()
    client.configure_experiment([RangeParameterConfig("x", (0.0, 1.0), "float")])
    client.configure_optimization("2 * gain + recall")
    with pytest.raises(UsageError, match="one metric a goal"):
        bo.from_ax(client)


def test_what_ax_cannot_say_is_refused():
    odd = bo.Study({"learning rate": bo.real(0, 1)}, method="sobol")
    with pytest.raises(CapabilityError, match="plain names"):
        odd.to_ax()
    mixed = bo.Study({"x": bo.choice(1, "a")}, method="sobol")
    with pytest.raises(CapabilityError, match="of one type"):
        mixed.to_ax()
    curved = bo.Space({"x": bo.real(0, 1), "y": bo.real(0, 1)}, subject_to=["x * y <= 0.5"])
    with pytest.raises(CapabilityError, match="linear constraints"):
        bo.Study(curved, method="sobol").to_ax()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            bo.Space({"a": bo.real(0, 1), "b": bo.real(0, 1)}, subject_to=["a + b == 1"]),
            "Ax expected inequalities",
        ),
        (
            bo.Space(
                {"a": bo.real(0.01, 1, log=True), "b": bo.real(0, 1)}, subject_to=["a + b <= 1"]
            ),
            "Ax expected inequalities",
        ),
        (
            bo.Space({"E": bo.real(0, 1), "b": bo.real(0, 1)}, subject_to=["E + b <= 1"]),
            "Ax expected inequalities",
        ),
        (
            bo.Space({"a": bo.integer(0, 3), "b": bo.integer(0, 3)}, subject_to=["a + b < 3"]),
            "<= or >= between whole numbers",
        ),
        (
            bo.Space({"a": bo.integer(0, 3)}, candidates=[{"a": 1}, {"a": 2}]),
            "a space without candidates",
        ),
    ],
)
def test_what_an_ax_client_cannot_hold_is_refused(space, message):
    with pytest.raises(CapabilityError, match=message):
        bo.Study(space, method="sobol").to_ax()


@pytest.mark.parametrize(("low", "high", "step"), [(0.0, 0.7, 0.1), (0.0, 0.3, 0.1), (0.1, 1, 0.3)])
def test_steps_of_optuna_are_levels_whatever_their_last_digit(low, high, step):
    theirs = optuna.create_study()
    for value in (0.1, high):
        theirs.enqueue_trial({"x": value})
    theirs.optimize(lambda t: t.suggest_float("x", low, high, step=step), n_trials=30)
    study = bo.from_optuna(theirs)
    told = [trial.params["x"] for trial in theirs.trials]
    assert [t.parameters["x"] for t in study.trials] == pytest.approx(told, abs=1e-12)
    assert all(t.parameters["x"] in study.space.parameters["x"].values for t in study.trials)
    assert low <= min(told)
    assert max(study.space.parameters["x"].values) == pytest.approx(high, abs=1e-12)


def test_a_value_between_two_levels_is_none_of_them():
    theirs = optuna.create_study()
    theirs.add_trial(
        optuna.trial.create_trial(
            value=1.0,
            params={"x": 0.25},
            distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
        )
    )
    with pytest.raises(UsageError, match="trial 0 of the Optuna study: .* parameter x"):
        bo.from_optuna(theirs, space={"x": bo.ordinal(0.0, 0.5, 1.0)})


def test_an_infinite_value_of_optuna_is_a_failure():
    theirs = optuna.create_study(direction="maximize")
    theirs.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=2)
    theirs.add_trial(
        optuna.trial.create_trial(
            value=float("inf"),
            params={"x": 0.5},
            distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
        )
    )
    study = bo.from_optuna(theirs)
    last = study.trials[-1]
    assert (last.state, last.reason) == ("failed", "value is not finite: inf")
    assert study.best is not None
    assert study.best.number != last.number


def test_a_trial_of_optuna_that_is_enqueued_in_part_is_left_out():
    theirs = optuna.create_study()
    theirs.optimize(lambda t: t.suggest_float("x", 0, 1) + t.suggest_float("y", 0, 1), n_trials=2)
    theirs.enqueue_trial({"x": 0.5})
    theirs.enqueue_trial({"x": 0.5, "y": 0.25})
    with pytest.warns(UserWarning, match="left out trials .*: 2$"):
        study = bo.from_optuna(theirs)
    assert [trial.state for trial in study.trials] == ["complete", "complete", "waiting"]
