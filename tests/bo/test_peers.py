"""The peers as methods, and `cma`: what the contract suite does not ask.

Each is compared with its own loop where it has one: what goes through the log is what it proposes.
"""

import dataclasses
import math
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bo.contract import Strategy, Trial
from bo.goals import Goal, Goals
from bo.methods import make_strategy
from bo.space import Parameter, Parameters, Space, boolean, choice, fixed, integer, ordinal, real
from bo.study import Study
from surrogates.errors import NotInstalledError, UsageError
from surrogates.seeds import derive_seed

OPTIONS: dict[str, dict[str, Any]] = {
    "cma": {"population": 4},
    "optuna-tpe": {"startup": 4},
    "optuna-gp": {"startup": 4},
    "smac": {"budget": 16, "challengers": 50},
    "nevergrad": {"budget": 20},
}
"""By method, options under which nine trials are enough to see its model."""

PACKAGES = {
    "cma": "cma",
    "optuna-tpe": "optuna",
    "optuna-gp": "optuna",
    "smac": "smac",
    "nevergrad": "nevergrad",
}
LOSS = Goal("value", "minimize")
PLANE = Space({"x": real(0.0, 1.0), "rate": real(1e-3, 1e1, log=True)})
MIXED = Space(
    {
        "learning rate": real(1e-9, 1e-7, log=True),
        "lambda": integer(1, 300, log=True),
        "größe-1": integer(-(2**40), 2**40),
        "steps": integer(1, 2**40, log=True),
        "size": ordinal(64, 16, "all"),
        "kind": choice("a", 2, True),
        "flag": boolean(),
        "constant": fixed("c"),
    }
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Equal bits need equal threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SLOW = ("smac", "nevergrad")
"""Seconds an ask: the default run asks them in the contract suite alone."""


@pytest.fixture(
    params=[pytest.param(m, marks=pytest.mark.slow if m in SLOW else ()) for m in OPTIONS]
)
def method(request: pytest.FixtureRequest) -> str:
    """A method whose package is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(PACKAGES[request.param])
    return request.param


def made(method: str, space: Space, seed: int = 1, **options: Any) -> Strategy:
    return make_strategy(method, space, LOSS, OPTIONS[method] | options, seed)


def ask(
    strategy: Strategy, trials: Sequence[Trial], n: int = 1, state: Any = None
) -> tuple[list[Parameters], Any]:
    seed = derive_seed(1, "ask", len(trials))
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return strategy.ask(trials, n, state=state, generator=generator)


def log(space: Space, values: Sequence[float | str], seed: int = 0) -> list[Trial]:
    """One trial for every value; a text is a state without a value."""
    uniforms = np.random.default_rng(seed).random((len(values), len(space.free)))
    return [
        Trial(i, point, "complete", {"value": value}, revision=i)
        if isinstance(value, float)
        else Trial(i, point, value)  # pyright: ignore[reportArgumentType]
        for i, (point, value) in enumerate(zip(space.from_uniforms(uniforms), values, strict=True))
    ]


def bowl(parameters: Parameters) -> float:
    """Least at x = 0.3, rate = 1; fails in a corner."""
    x, rate = float(parameters["x"]), float(parameters["rate"])
    if x > 0.8 and rate > 1.0:
        raise ValueError("out of memory")
    return (x - 0.3) ** 2 + np.log10(rate) ** 2 / 10


def run(study: Study, budget: int, batch: int = 1) -> list[Parameters]:
    study.run(bowl, budget, batch=batch, callback=lambda trial: None)
    return [trial.parameters for trial in study.trials]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_study_goes_on_bit_for_bit_from_its_log(method: str, batch: int, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"method": method, "options": OPTIONS[method], "seed": 3}
    whole = run(Study(PLANE, **settings), 9, batch)
    store = tmp_path / "runs.db"
    first = run(Study(PLANE, name="mine", store=store, **settings), 6, batch)
    again = run(Study.resume("mine", store=store), 9, batch)
    assert first == whole[:6]
    assert again == whole


def test_a_design_that_exists_is_no_hindrance_and_resumes(method: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"method": method, "options": OPTIONS[method], "seed": 3}
    studies = [
        Study(PLANE, **settings),
        Study(PLANE, name="mine", store=tmp_path / "runs.db", **settings),
    ]
    for study in studies:
        for trial in log(PLANE, [1.0] * 6):
            study.enqueue(trial.parameters)
    whole = run(studies[0], 9)
    run(studies[1], 7)
    assert run(Study.resume("mine", store=tmp_path / "runs.db"), 9) == whole


def test_every_kind_of_parameter_comes_back_valid(method: str) -> None:
    values: list[float | str] = [3.0, 1.0, 2.0, 1.5, "running", "waiting", "failed", 0.5, 0.7, 2.5]
    trials = log(MIXED, values)
    trials.append(Trial(10, trials[0].parameters, "complete", {"value": 3.1}))  # a repeat
    points, _ = ask(made(method, MIXED), trials, 3)
    for point in points:
        assert list(point) == list(MIXED.parameters)
        assert list(map(type, point.values())) == list(map(type, MIXED.check(point).values()))
        assert MIXED.decode(MIXED.encode([point])) == [point]
    assert len({MIXED.key(point) for point in points}) == 3


def test_a_pool_gives_each_row_once_and_the_note_says_how(method: str) -> None:
    rows = [{"x": i / 8, "rate": 10.0 ** (i % 3 - 1)} for i in range(9)]
    space = Space(PLANE.parameters, candidates=[*rows, rows[0]])
    strategy, trials, state = made(method, space), list[Trial](), None
    assert strategy.note is not None
    assert "nearest unseen candidate" in strategy.note
    assert made(method, PLANE).note is None
    while True:
        points, state = ask(strategy, trials, 4, state)
        if not points:
            break
        trials += [
            Trial(len(trials) + i, p, "complete", {"value": float(p["x"])}, method_state=state)
            for i, p in enumerate(points)
        ]
    assert len(trials) == len(rows)
    assert {space.key(t.parameters) for t in trials} == {space.key(row) for row in rows}


def test_pending_points_are_never_asked_again(method: str) -> None:
    space = Space({"k": integer(1, 6), "flag": boolean()})
    trials = log(space, [1.0, 2.0, 3.0, 4.0, 5.0])
    known = {space.key(trial.parameters) for trial in trials}
    points, _ = ask(made(method, space), trials, int(space.size) - len(known))
    pending = [Trial(5 + i, point, "running") for i, point in enumerate(points)]
    assert len({space.key(point) for point in points}) == len(points)
    (last,), _ = ask(made(method, space), [*trials, *pending])
    assert space.check(last) == last


def test_conditions_and_constraints_are_honoured(method: str) -> None:
    space = Space(
        {
            "kind": choice("flat", "steep"),
            "slope": real(0.0, 1.0, when={"kind": "steep"}),
            "a": real(0.0, 1.0),
            "b": real(0.0, 1.0),
        },
        subject_to=["a + b <= 0.5"],
    )
    study = Study(space, method=method, options=OPTIONS[method], seed=2)
    study.run(lambda p: float(p["a"]) - float(p["b"]), 10, callback=lambda trial: None)
    assert all(space.check(trial.parameters) == trial.parameters for trial in study.trials)
    assert all(trial.state == "complete" for trial in study.trials)
    assert {trial.parameters["kind"] for trial in study.trials} == {"flat", "steep"}


def test_a_mad_outcome_is_survived(method: str) -> None:
    values: list[float | str] = [0.2, -1.7e308, 1.7e308, 0.9, "failed", "failed"]
    (point,), _ = ask(made(method, PLANE), log(PLANE, values))
    assert PLANE.check(point) == point


def test_smac_takes_outcomes_at_bounds_of_many_digits() -> None:
    pytest.importorskip("smac")
    low, high = 0.12345678901234562, 0.99999999994494362
    study = Study({"x": real(low, high)}, "minimize loss", method="smac", seed=0)
    for x in (low, high):
        study.add({"x": x}, x)
    for _ in range(3):
        (trial,) = study.ask()
        assert low <= float(trial.parameters["x"]) <= high
        study.tell(trial, 0.5)


def test_without_its_package_the_message_says_what_to_install(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = PACKAGES[method]
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotInstalledError, match=rf'package {package}.*install "wald\[peers\]"'):
        made(method, PLANE)


def test_hebo_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hebo", None)
    with pytest.raises(NotInstalledError, match="got none; do pip install --no-deps HEBO"):
        make_strategy("hebo", PLANE, LOSS, {}, 0)


@pytest.mark.parametrize("sampler", ["GPSampler", "TPESampler"])
def test_what_comes_back_is_what_optuna_proposes(sampler: str) -> None:
    optuna = pytest.importorskip("optuna")
    method = {"GPSampler": "optuna-gp", "TPESampler": "optuna-tpe"}[sampler]
    trials = log(PLANE, [float(t.parameters["x"]) for t in log(PLANE, [0.0] * 12)])
    (point,), _ = ask(made(method, PLANE, startup=10), trials)
    generator = torch.Generator(device="cpu").manual_seed(derive_seed(1, "ask", 12))
    seed = int(torch.randint(2**31, (1,), generator=generator, dtype=torch.int64, device="cpu"))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
    kinds = {
        "p0": optuna.distributions.FloatDistribution(0.0, 1.0),
        "p1": optuna.distributions.FloatDistribution(1e-3, 1e1, log=True),
    }
    for trial in trials:
        told = {"p0": trial.parameters["x"], "p1": trial.parameters["rate"]}
        value = trial.values["value"]
        study.add_trial(optuna.trial.create_trial(params=told, distributions=kinds, value=value))
    theirs = study.ask(kinds).params
    assert float(point["x"]) == pytest.approx(theirs["p0"], abs=1e-9)
    assert float(point["rate"]) == pytest.approx(theirs["p1"], rel=1e-9)


@pytest.mark.parametrize("sampler", ["GPSampler", "TPESampler"])
def test_several_goals_and_constraints_are_what_optuna_makes_of_them(sampler: str) -> None:
    optuna = pytest.importorskip("optuna")
    method = {"GPSampler": "optuna-gp", "TPESampler": "optuna-tpe"}[sampler]
    goals = Goals.of("minimize a, maximize b", ["c <= 0.5", "c >= -0.2"])
    generator = torch.Generator(device="cpu").manual_seed(derive_seed(1, "ask", 8))
    seed = int(torch.randint(2**31, (1,), generator=generator, dtype=torch.int64, device="cpu"))
    trials: list[Trial] = []
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(optuna.samplers, sampler)(seed=seed, n_startup_trials=4)
    study = optuna.create_study(sampler=theirs, directions=["minimize", "maximize"])
    kinds = {
        "p0": optuna.distributions.FloatDistribution(0.0, 1.0),
        "p1": optuna.distributions.FloatDistribution(1e-3, 1e1, log=True),
    }
    for trial in log(PLANE, [0.0] * 8, seed=4):
        x, rate = (float(value) for value in trial.parameters.values())
        c = x - 0.4
        values = {"a": x**2, "b": math.log10(rate) - x, "c": c}
        trials.append(dataclasses.replace(trial, values=values))
        study.add_trial(
            optuna.trial.create_trial(
                params={"p0": x, "p1": rate},
                distributions=kinds,
                values=[values["a"], values["b"]],
                system_attrs={"constraints:0": c - 0.5, "constraints:1": -0.2 - c},
            )
        )
    strategy = make_strategy(method, PLANE, goals, OPTIONS[method], 1)
    (point,), state = ask(strategy, trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proposed = study.ask(kinds).params
    assert list(point.values()) == pytest.approx(list(proposed.values()), rel=1e-9)
    if method == "optuna-gp":
        assert [len(state[cache]) for cache in state] == [2, 2]
        assert ask(strategy, trials, state=state)[1] != state


def test_optuna_finds_a_front_within_constraints() -> None:
    pytest.importorskip("optuna")
    study = Study(
        PLANE, "minimize a, minimize b", subject_to="c <= 0.6", method="optuna-gp", seed=2
    )
    for _ in range(20):
        (trial,) = study.ask()
        x, rate = (float(value) for value in trial.parameters.values())
        study.tell(trial, {"a": x + rate, "b": (1 - x) ** 2 + math.log10(rate) ** 2, "c": x})
    assert len(study.front()) >= 2
    assert all(trial.values["c"] <= 0.6 for trial in study.front())


def test_trials_that_exist_count_as_start_up_trials_of_optuna() -> None:
    pytest.importorskip("optuna")
    states = [ask(made("optuna-gp", PLANE, startup=6), log(PLANE, [1.0] * n))[1] for n in (5, 6)]
    assert states[0] is None
    assert set(states[1]) == {"_gprs_cache_list"}


def test_the_kernel_of_the_fit_before_starts_the_next() -> None:
    pytest.importorskip("optuna")
    trials = log(PLANE, [float(t.parameters["x"]) for t in log(PLANE, [0.0] * 8)])
    strategy = made("optuna-gp", PLANE)
    _, state = ask(strategy, trials[:7])
    assert ask(strategy, trials, state=state)[1] != ask(strategy, trials)[1]


def test_trials_that_exist_take_the_place_of_design_points_of_smac() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("smac")
    design, _ = ask(made("smac", PLANE), [], 4)
    trials = log(PLANE, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert ask(made("smac", PLANE), trials[:3])[0] == [design[3]]
    assert ask(made("smac", PLANE), trials)[0][0] not in design


def test_nevergrad_goes_its_own_way() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nevergrad = pytest.importorskip("nevergrad")
    options = {"optimizer": "CMA", "budget": 30}
    ours = Study(PLANE, method="nevergrad", options=options, seed=5)
    ours.run(lambda p: float(p["x"]) ** 2 + float(p["rate"]), 15, callback=lambda trial: None)
    kinds = nevergrad.p
    space = kinds.Dict(p0=kinds.Scalar(lower=0.0, upper=1.0), p1=kinds.Log(lower=1e-3, upper=1e1))
    space.random_state = np.random.RandomState(derive_seed(5, "nevergrad") % 2**32)  # noqa: NPY002
    theirs = nevergrad.optimizers.registry["CMA"](space, budget=30, num_workers=1)
    for trial in ours.trials:
        candidate = theirs.ask()
        assert float(trial.parameters["x"]) == pytest.approx(candidate.value["p0"], abs=1e-9)
        assert float(trial.parameters["rate"]) == pytest.approx(candidate.value["p1"], rel=1e-9)
        theirs.tell(candidate, trial.values["value"])


def test_nevergrad_that_has_spent_its_plan_goes_on_from_the_best_point() -> None:
    """Its COBYLA ends there, and random points would follow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("nevergrad")
    space = Space({f"x{i}": real(-2.0, 2.0) for i in range(6)})

    def slope(point: Parameters) -> float:
        return sum((float(value) - 0.7) ** 2 * (i + 1) for i, value in enumerate(point.values()))

    study = Study(space, method="nevergrad", options={"budget": 20}, seed=1)
    study.run(slope, 60, callback=lambda trial: None)
    values = [trial.values["value"] for trial in study.trials]
    assert min(values[20:]) < 0.5 * min(values[:20])
    assert np.median(values[30:]) < np.median(values[:20])
    again = made("nevergrad", space, seed=1, budget=20)
    told = study.trials[:45]
    assert ask(again, told)[0] == [study.trials[45].parameters]


def test_nevergrad_leaves_no_thread_behind_and_refuses_unknown_optimisers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("nevergrad")
    before = threading.active_count()
    strategy = made("nevergrad", PLANE, optimizer="Cobyla")
    ask(strategy, log(PLANE, [1.0, 2.0, 3.0]))
    ask(strategy, log(PLANE, [1.0, 2.0, 3.0, 4.0]))
    del strategy
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(timeout=0.5)
    assert threading.active_count() <= before
    with pytest.raises(UsageError, match="did you mean 'NGOpt'"):
        made("nevergrad", PLANE, optimizer="NGOptt")


@pytest.mark.parametrize("one", [real(-3, -2.999), integer(1, 6), choice("a", "b", "c")])
def test_cma_searches_along_a_single_parameter(one: Parameter) -> None:
    pytest.importorskip("cma")
    study = Study({"p": one}, method="cma", seed=1)
    space = study.space
    result = study.run(
        lambda p: float(((space.encode([p]) - 0.4) ** 2).sum()), 60, callback=lambda _: None
    )
    assert len(result.study.trials) == 60
    assert result.best_value is not None
    assert result.best_value < (1e-3 if one.type == "real" else 0.7)


def test_cma_goes_its_own_way_and_starts_again_when_it_has_converged() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cma = pytest.importorskip("cma")
    space = Space({"a": real(0.0, 1.0), "b": real(0.0, 1.0), "c": real(0.0, 1.0)})
    study = Study(space, method="cma", seed=5)
    study.run(lambda p: sum((float(v) - 0.4) ** 2 for v in p.values()), 35, callback=lambda t: None)
    random = np.random.default_rng(derive_seed(5, "cma"))
    settings = {"bounds": [0, 1], "verbose": -10, "seed": float("nan")}
    settings["randn"] = lambda *shape: random.standard_normal(shape)  # pyright: ignore[reportArgumentType]
    search = cma.CMAEvolutionStrategy(3 * [0.5], 0.3, settings)
    trials = study.trials
    for start in range(0, 35, 7):
        vectors = search.ask()
        told = trials[start : start + 7]
        points = np.array([list(trial.parameters.values()) for trial in told], dtype=float)
        assert np.abs(points - np.array(vectors)).max() < 1e-9
        search.tell(vectors, [trial.values["value"] for trial in told])

    flat = made("cma", space)
    points, _ = ask(flat, log(space, [1.0] * 400))
    assert flat._latest.factor > 1  # pyright: ignore[reportAttributeAccessIssue]
    assert space.check(points[0]) == points[0]
