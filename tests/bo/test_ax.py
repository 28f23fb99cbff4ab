"""The strategy `ax` and the bridge to Ax under it.

An ask of the model costs about half a second, so that the spaces are small and the asks are few.
"""

import ast
import dataclasses
import inspect
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal

from bo import ax_bridge, ax_surrogate
from bo.contract import Trial
from bo.goals import Goal
from bo.methods import make_problem, make_strategy
from bo.space import (
    Parameters,
    Space,
    boolean,
    choice,
    fixed,
    integer,
    ordinal,
    real,
)
from bo.strategies.ax import AxDefault, Options
from bo.study import Study
from surrogates.catalog import SURROGATES
from surrogates.errors import CapabilityError, NotInstalledError, UsageError
from surrogates.gp.map import MapGP
from surrogates.gp.mixture import MixtureGP
from surrogates.gp.saas import SaasGP
from surrogates.registry import find, rows
from tests.contracts.rows import REDUCED

HOME = Path(__file__).resolve().parents[2]
SOBOL = {"diagnostics": {"model": "Sobol"}}
MODEL = {"diagnostics": {"model": "BoTorch"}}
LOSS = Goal("loss", "minimize")
MIXTURES = [name for name, *_, words, _ in SURROGATES if "mixture" in words.split()]
FULLY_BAYESIAN = [name for name in MIXTURES if name != "gp-mode"]
PLANE = Space({"x": real(0.0, 1.0), "rate": real(1e-5, 1e-1, log=True)})
MIXED = Space(
    {
        "learning rate": real(1e-9, 1e-7, log=True),
        "lambda": integer(1, 300, log=True),
        "größe-1": integer(-(2**40), 2**40),
        "size": ordinal(64, 16, "all"),
        "kind": choice("a", 2, True),
        "pair": choice("only", "two"),
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


def generator(seed: int) -> torch.Generator:
    return torch.Generator(device="cpu").manual_seed(seed)


def reduced(surrogate: str) -> dict[str, Any]:
    """Options under which a surrogate is quick."""
    return REDUCED.get(find(surrogate, rows(SURROGATES), what="surrogate").factory, {})


def global_state() -> list[Any]:
    """What a library might leave changed behind it.

    But for the generator of `random`, which beartype draws from in tests: see STUDY.
    """
    loggers = logging.Logger.manager.loggerDict.values()
    numbers = np.random.get_state()  # noqa: NPY002 - the global generator is what is watched
    return [
        [part.tolist() if isinstance(part, np.ndarray) else part for part in numbers],
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        list(warnings.filters),
        sum(logger.disabled for logger in loggers if isinstance(logger, logging.Logger)),
        threading.active_count(),
    ]


def log(
    space: Space, values: Sequence[float | str], goal: Goal = LOSS, seed: int = 0
) -> list[Trial]:
    """One trial for every value; a text is a state without a value."""
    uniforms = np.random.default_rng(seed).random((len(values), len(space.free)))
    return [
        Trial(i, point, "complete", {goal.name: value})
        if isinstance(value, float)
        else Trial(i, point, value)  # pyright: ignore[reportArgumentType]
        for i, (point, value) in enumerate(zip(space.from_uniforms(uniforms), values, strict=True))
    ]


def ask(
    space: Space,
    trials: Sequence[Trial],
    n: int = 1,
    *,
    goal: Goal = LOSS,
    initial: int = 5,
    seed: int = 0,
) -> tuple[list[Parameters], Mapping[str, Any] | None]:
    strategy = AxDefault(space, goal, Options(initial=initial), seed=1)
    return strategy.ask(trials, n, state=None, generator=generator(seed))


STUDY = """
import json, random, sys
import torch
torch.set_num_threads(1)
from bo.contract import Trial
from bo.goals import Goal
from bo.space import Space, integer, real
from bo.methods import make_strategy
assert "ax" not in sys.modules, "the module of the strategy loads Ax"
space = Space({"x": real(0.0, 1.0), "k": integer(1, 40, log=True)})

def run(method, points, budget):
    strategy = make_strategy(method, space, Goal("loss", "minimize"), {}, 7)
    models = []
    while len(points) < budget:
        values = [{"loss": (p["x"] - 0.3) ** 2 + p["k"] / 40} for p in points]
        trials = [Trial(i, p, "complete", v) for i, (p, v) in enumerate(zip(points, values))]
        generator = torch.Generator().manual_seed(len(points))
        new, state = strategy.ask(trials, 1, state=None, generator=generator)
        points, models = points + new, models + [state["diagnostics"]["model"]]
    return points, models
"""


@pytest.mark.parametrize("method", ["ax", pytest.param("ax:gp-map", marks=pytest.mark.slow)])
def test_a_study_goes_on_bit_for_bit_in_a_new_process(method: str) -> None:
    script = STUDY + textwrap.dedent(
        """
        before = random.getstate()
        points, models = run(sys.argv[2], json.loads(sys.argv[1]), 9)
        assert random.getstate() == before, "the global generator moved"
        sys.stdout.write(json.dumps([points, models]))
        """
    )
    here: dict[str, Any] = {}
    exec(STUDY.replace('assert "ax"', 'assert True or "ax"'), here)
    points, models = here["run"](method, [], 9)
    warned = ["-W", "error"]
    if method != "ax":  # GPyTorch is imported for the options of the surrogate, and says this
        warned += ["-W", "ignore:`torch.jit.script` is deprecated:DeprecationWarning"]
    there = subprocess.run(
        [sys.executable, *warned, "-c", script, json.dumps(points[:6]), method],
        env={**os.environ, "PYTHONPATH": str(HOME)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout) == [points, models[6:]]
    assert models == ["Sobol"] * 5 + ["BoTorch"] * 4
    assert there.stderr == ""


KILLED = """
import json, os, signal, sys
import torch
torch.set_num_threads(1)
import bo
store, method, options, last = sys.argv[1:]

def loss(p):
    return (p["x"] - 0.3) ** 2 + p["k"] / 40

def finished(trial):
    if trial.number == int(last):
        os.kill(os.getpid(), signal.SIGKILL)

space = {"x": bo.real(0.0, 1.0), "k": bo.integer(1, 40, log=True)}
study = bo.Study(
    space, "minimize loss", name="s", store=store, method=method, options=json.loads(options),
    seed=7,
)
study.run(loss, budget=9, callback=finished)
told = [[t.parameters, t.method_state["diagnostics"]["model"], t.attempt] for t in study.trials]
sys.stdout.write(json.dumps(told))
"""


@pytest.mark.slow
@pytest.mark.parametrize("surrogate", ["gp-hmc", "gp-smc", "gp-vi-bures"])
def test_a_killed_study_with_a_fully_bayesian_surrogate_goes_on_bit_for_bit(
    surrogate: str, tmp_path: Path
) -> None:
    options = {f"surrogate.{name}": value for name, value in reduced(surrogate).items()}

    def run(store: str, last: int) -> subprocess.CompletedProcess[str]:
        told = [str(tmp_path / store), f"ax:{surrogate}", json.dumps(options), str(last)]
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", KILLED, *told],
            env={**os.environ, "PYTHONPATH": str(HOME)},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    whole = run("whole.db", -1)
    assert whole.returncode == 0, whole.stderr
    assert run("cut.db", 6).returncode == -signal.SIGKILL
    resumed = run("cut.db", -1)
    assert resumed.returncode == 0, resumed.stderr
    trials = json.loads(whole.stdout)
    assert [model for _, model, _ in trials] == ["Sobol"] * 5 + ["BoTorch"] * 4
    assert json.loads(resumed.stdout) == trials


def test_every_kind_of_parameter_comes_back_valid_and_nothing_global_changes(
    capfd: pytest.CaptureFixture[str],
) -> None:
    trials = log(MIXED, [3.0, 1.0, 2.0, 1.5, "running", "waiting", "failed", 0.5])
    trials.append(Trial(8, trials[0].parameters, "complete", {"loss": 3.1}))  # a repeat
    before = global_state()
    points, state = ask(MIXED, trials, 2)
    assert global_state() == before
    assert capfd.readouterr() == ("", "")
    assert state == MODEL
    for point in points:
        assert list(point) == list(MIXED.parameters)
        assert MIXED.check(point) == point
        assert MIXED.decode(MIXED.encode([point])) == [point]
        assert list(map(type, point.values())) == list(map(type, MIXED.check(point).values()))
    keys = {MIXED.key(point) for point in [*points, *(t.parameters for t in trials)]}
    assert len(keys) == len(points) + len(trials) - 1


def test_the_seed_and_the_running_trials_matter_and_the_goal_is_mirrored() -> None:
    values: list[float | str] = [0.2, 1.0, 0.5, 0.9, 0.4, 0.7]
    trials = log(PLANE, values)
    points, _ = ask(PLANE, trials)
    assert ask(PLANE, trials, seed=1)[0] != points
    running = Trial(len(trials), points[0], "running")
    assert ask(PLANE, [*trials, running])[0] != points
    score = Goal("score", "maximize")
    mirrored = log(PLANE, [-v for v in values if isinstance(v, float)], goal=score)
    assert ask(PLANE, mirrored, goal=score)[0] == points


def test_it_looks_elsewhere_after_a_failure() -> None:
    """A failed trial teaches the model nothing, yet its point must not come again and again."""
    trials = log(PLANE, [0.2, 1.0, 0.5, 0.9, 0.4, 0.7])
    first = ask(PLANE, trials)[0][0]
    again = ask(PLANE, [*trials, Trial(6, first, "failed")], seed=1)[0][0]
    assert np.abs(PLANE.encode([first]) - PLANE.encode([again])).max() > 0.02


class Slope(Model):
    """A surrogate that is no GP: a straight line, and a width that grows with the distance."""

    _is_ensemble = False

    def __init__(self, X: torch.Tensor, Y: torch.Tensor) -> None:
        super().__init__()
        design = torch.cat([X, torch.ones_like(X[:, :1])], dim=1)
        self.weights = torch.linalg.pinv(design) @ Y
        self.centre, self.spread = X.mean(dim=0), Y.std()
        self.diagnostics, self.state = {"seconds": 1e-9}, {}

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size([])

    def posterior(self, X: torch.Tensor, *_: Any, **more: Any) -> Any:
        mean = (X @ self.weights[:-1] + self.weights[-1]).squeeze(-1)
        var = self.spread**2 * (0.1 + (X - self.centre).square().sum(dim=-1))
        found = GPyTorchPosterior(MultivariateNormal(mean, torch.diag_embed(var)))
        transform = more.get("posterior_transform")
        return found if transform is None else transform(found)


def fit_slope(X: torch.Tensor, Y: torch.Tensor, *_: Any, **__: Any) -> Slope:
    """Its factory."""
    return Slope(X, Y)


@pytest.fixture
def slope(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a surrogate of the catalog that is no GP."""
    rows = (("slope", f"{__name__}:fit_slope", "surrogate", "joint", "A straight line"),)
    for module in (ax_bridge, ax_surrogate):
        monkeypatch.setattr(module, "SURROGATES", (*SURROGATES, *rows))
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, _here()))
    return "slope"


def _here() -> Any:
    made = types.ModuleType(__name__)
    vars(made).update(globals())
    return made


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every client of Ax that the bridge makes."""
    made: list[Any] = []
    plain = ax_bridge.Client

    def client(*given: Any, **more: Any) -> Any:
        made.append(plain(*given, **more))
        return made[-1]

    monkeypatch.setattr(ax_bridge, "Client", client)
    return made


def model_of(client: Any) -> Any:
    """The BoTorch model that a client asked last."""
    return client._generation_strategy.adapter.generator.surrogate.model


def with_model(surrogate: str, space: Space, trials: Sequence[Trial], n: int = 1) -> Any:
    """Points of `ax:<surrogate>`, past its initial design, and the strategy."""
    made: Any = make_strategy(f"ax:{surrogate}", space, LOSS, {}, seed=1)
    return made.ask(trials, n, state=None, generator=generator(0)), made


def test_a_surrogate_of_the_catalog_is_the_model_of_ax(clients: list[Any]) -> None:
    trials = log(MIXED, [3.0, 1.0, 2.0, 1.5, 0.5, "running", "failed", 0.7])
    (points, state), _ = with_model("gp-map", MIXED, trials)
    assert [MIXED.check(point) for point in points] == points
    assert state == MODEL
    model = model_of(clients[-1])
    assert type(model).__name__ == "GpMapSurrogate"
    assert isinstance(model.fitted, MapGP)
    cells = [i for i, column in enumerate(model.inputs.columns) if column.kind == "category"]
    assert len(cells) == 3, "the choice among three is one-hot to the surrogate"
    assert (model.train_X[:, cells].sum(dim=1) == 1).all()
    assert len(model.inputs.columns) == model.train_X.shape[1]
    assert with_model("gp-map", MIXED, trials)[0][0] == points


def assert_model_of(client: Any, surrogate: str) -> Any:
    """The client asked a model of the surrogate last; its own model, fitted."""
    model = model_of(client)
    assert type(model) is ax_surrogate.model_class(surrogate)
    assert type(model).surrogate == surrogate
    if surrogate in FULLY_BAYESIAN:
        assert model._is_fully_bayesian
        assert isinstance(model.fitted, SaasGP if surrogate == "saas" else MixtureGP)
        assert model.fitted.num_mcmc_samples > 1
    return model.fitted


SLOWER = ("gp-vi-flow", "saas")


@pytest.mark.parametrize(
    "surrogate",
    [pytest.param(n, marks=pytest.mark.slow if n in SLOWER else ()) for n in MIXTURES],
)
def test_a_surrogate_of_many_draws_is_the_model_of_ax(surrogate: str, clients: list[Any]) -> None:
    trials = log(PLANE, [0.2, 1.0, 0.5, 0.9, 0.4])
    options = {f"surrogate.{name}": value for name, value in reduced(surrogate).items()}
    made: Any = make_strategy(f"ax:{surrogate}", PLANE, LOSS, options, seed=1)
    (point,), state = made.ask(trials, 1, state=None, generator=generator(0))
    assert PLANE.check(point) == point
    assert state == MODEL
    (client,) = clients
    fitted = assert_model_of(client, surrogate)
    if "kept" in reduced(surrogate):
        assert fitted.num_mcmc_samples == reduced(surrogate)["kept"]


@pytest.mark.slow
@pytest.mark.parametrize("surrogate", [name for name, *_ in SURROGATES])
def test_nine_trials_of_hartmann6_with_each_surrogate(surrogate: str, clients: list[Any]) -> None:
    problem = make_problem("hartmann6", {})
    study = Study(problem.space, problem.goal, method=f"ax:{surrogate}", seed=0)
    study.run(lambda p: problem.evaluate(p, seed=0), budget=9)
    models = [(trial.method_state or {})["diagnostics"]["model"] for trial in study.trials]
    assert models == ["Sobol"] * 5 + ["BoTorch"] * 4
    assert len(clients) == 4
    for client in clients:
        assert_model_of(client, surrogate)
    points = {problem.space.key(trial.parameters) for trial in study.trials}
    assert len(points) == 9


def test_the_kernel_that_is_asked_for_reaches_the_model_of_ax() -> None:
    trials = log(PLANE, [0.2, 1.0, 0.5, 0.9, 0.4])
    options = {"surrogate.kernel": "rbf"}
    made: Any = make_strategy("ax:gp-map", PLANE, LOSS, options, seed=1)
    assert made.model.model_options == {
        "options": {"kernel": "rbf", "max_iterations": 200, "warp": False}
    }
    rbf, _ = made.ask(trials, 1, state=None, generator=generator(0))
    assert rbf != with_model("gp-map", PLANE, trials)[0][0]


def test_unknown_surrogates_and_options_are_refused_by_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'ax:gp-map'"):
        make_strategy("ax:gp-mpa", PLANE, LOSS, {}, seed=1)
    with pytest.raises(UsageError, match="did you mean 'gp-map'"):
        ax_bridge.ax_model("gp-mpa")
    with pytest.raises(UsageError, match="did you mean 'kernel'"):
        ax_bridge.ax_model("gp-map", {"kernal": "rbf"})


def test_no_two_surrogates_share_the_name_of_a_class() -> None:
    names = [ax_surrogate.model_class(name).__name__ for name, *_ in SURROGATES]
    assert len(set(names)) == len(names)
    assert all(json.loads(json.dumps(ax_bridge.ax_model(n).model_options)) for n, *_ in SURROGATES)


@pytest.mark.parametrize(
    ("options", "draws"),
    [({}, 16), ({"kept": 32}, 32), ({"kept": 99}, 64), ({"surrogate.kept": 8}, 8)],
    ids=str,
)
def test_ax_sees_as_many_draws_as_of_its_own_model_unless_told_otherwise(
    options: dict[str, int], draws: int
) -> None:
    problem = make_problem("branin", {})
    strategy = make_strategy("ax:gp-hmc", problem.space, problem.goals, options, 0)
    assert isinstance(strategy, AxDefault)
    assert strategy.model.model_options["options"]["kept"] == draws
    assert ax_bridge.ax_model("gp-hmc").model_options["options"]["kept"] == 16
    assert ax_bridge.ax_model("gp-hmc", {"kept": 32}).model_options["options"]["kept"] == 32


def filled(model: Any) -> Any:
    """A user's own client with six trials, whose next point comes from a model."""
    client = ax_bridge.Client(random_seed=3)
    client.configure_experiment(
        [
            ax_bridge.RangeParameterConfig("x", (0.0, 2.0), "float"),
            ax_bridge.ChoiceParameterConfig("kind", ["a", "b", "c"], "str", is_ordered=False),
        ]
    )
    client.configure_optimization("-loss")
    struct = ax_bridge.GenerationStrategyDispatchStruct(
        method="custom", initialization_budget=0, initialize_with_center=False
    )
    client.set_generation_strategy(ax_bridge.choose_generation_strategy(struct, model))
    for index, kind in enumerate("abcabc"):
        number = client.attach_trial({"x": index / 3, "kind": kind})
        client.complete_trial(number, raw_data={"loss": (index / 3 - 0.7) ** 2 + (kind == "a")})
    return client


@pytest.mark.filterwarnings("ignore")  # those of Ax's own calls, which are the user's here
@pytest.mark.parametrize(
    "name", ["gp-map", "slope", pytest.param("gp-hmc", marks=pytest.mark.slow)]
)
def test_a_users_own_client_holds_a_surrogate_and_is_saved_and_loaded(
    name: str, slope: str, tmp_path: Path
) -> None:
    options = {} if name == "slope" else reduced(name)
    client = filled(ax_bridge.ax_model(name, options))
    client.save_to_json_file(str(tmp_path / "client.json"))
    ((_, point),) = client.get_next_trials(1).items()
    assert isinstance(model_of(client), ax_surrogate.model_class(name))
    loaded = ax_bridge.Client.load_from_json_file(str(tmp_path / "client.json"))
    ((_, again),) = loaded.get_next_trials(1).items()
    assert isinstance(model_of(loaded), ax_surrogate.model_class(name))
    assert model_of(loaded).options == model_of(client).options
    if name in FULLY_BAYESIAN:
        assert assert_model_of(loaded, name).num_mcmc_samples == options["kept"]
    assert set(again) == set(point) == {"x", "kind"}


def test_failed_trials_do_not_use_up_the_initial_design() -> None:
    assert ask(PLANE, [])[1] == SOBOL
    assert ask(PLANE, log(PLANE, [1.0, 2.0, "running", "failed", "failed"]))[1] == SOBOL
    assert ask(PLANE, log(PLANE, [1.0] + ["running"] * 9))[1] == SOBOL
    points, _ = ask(PLANE, log(PLANE, [1.0, "failed"]), 4, initial=9)
    assert len({PLANE.key(point) for point in points}) == 4


def test_a_batch_that_begins_with_sobol_ends_with_the_model() -> None:
    trials = log(PLANE, [0.2, 1.0, 0.5, 0.9])
    points, state = ask(PLANE, trials, 3)
    assert points[0] == ask(PLANE, trials)[0][0]
    assert len({PLANE.key(point) for point in points}) == 3
    assert state == MODEL


@pytest.mark.parametrize("outcome", [1e30, -1.7e308])
def test_an_enormous_outcome_is_survived(outcome: float) -> None:
    points, state = ask(PLANE, log(PLANE, [0.2, outcome, 0.5, 0.9, 0.4]))
    assert PLANE.check(points[0]) == points[0]
    assert state == MODEL


def test_a_pool_gives_each_row_once() -> None:
    rows = [{"x": i / 8, "kind": "abc"[i % 3]} for i in range(9)]
    space = Space({"x": real(0.0, 1.0), "kind": choice("a", "b", "c")}, candidates=[*rows, rows[0]])
    trials: list[Trial] = []
    while True:
        points, _ = ask(space, trials, 5)
        if not points:
            break
        trials += [
            Trial(len(trials) + i, point, "complete", {"loss": float(point["x"])})
            for i, point in enumerate(points)
        ]
    assert len(trials) == len(rows)
    assert {space.key(t.parameters) for t in trials} == {space.key(row) for row in rows}


class Echo:
    """Stands in for the bridge: a model that proposes one point for ever."""

    def __init__(self, point: Parameters) -> None:
        self.point = point

    def suggest(
        self, space: Space, goal: Goal, trials: Sequence[Trial], n: int, **_: Any
    ) -> tuple[list[Parameters], str]:
        return [self.point] * n, "echo"


def test_a_known_point_gives_way_to_the_nearest_new_one() -> None:
    small = Space({"k": integer(1, 6), "flag": boolean()})
    for space in (small, PLANE):
        trials = log(space, [1.0, 2.0, 3.0, 4.0, 5.0])
        strategy = AxDefault(space, LOSS, Options(initial=5), seed=0)
        strategy.bridge = Echo(trials[0].parameters)
        points, _ = strategy.ask(trials, 3, state=None, generator=generator(0))
        known = {space.key(trial.parameters) for trial in trials}
        assert len({space.key(point) for point in points} - known) == 3
        gap = np.abs(space.encode(points) - space.encode([trials[0].parameters]))
        assert gap.sum(axis=1).max() < 0.7


def test_a_space_that_is_used_up_still_gets_a_point() -> None:
    space = Space({"k": integer(1, 3), "flag": boolean()})
    everything = space.decode(np.array([[(k + 0.5) / 3, f] for k in range(3) for f in (0.0, 1.0)]))
    trials = [Trial(i, p, "complete", {"loss": 1.0 + i}) for i, p in enumerate(everything)]
    points, _ = ask(space, trials, 2)
    assert [space.check(point) for point in points] == points
    assert len(points) == 2


def test_too_many_values_of_a_choice_are_refused() -> None:
    space = Space({"x": real(0.0, 1.0), "word": choice(*(f"w{i}" for i in range(1001)))})
    with pytest.raises(CapabilityError, match=r"at most 1000 values of choice word, got 1001"):
        ask(space, log(space, [1.0, 2.0, 3.0, 4.0, 5.0]))


def test_without_ax_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "ax"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "bo.ax_bridge")
    monkeypatch.setitem(sys.modules, "ax", None)
    with pytest.raises(NotInstalledError, match="pip install ax-platform"):
        AxDefault(PLANE, LOSS, Options(initial=5), seed=0)


WITHOUT_AX = """
import sys
sys.modules["ax"] = None  # as where it is not installed: importing it raises
import bo
from surrogates.errors import NotInstalledError

def loss(p):
    return (p["x"] - 0.3) ** 2 + p["k"] / 40

space = {"x": bo.real(0.0, 1.0), "k": bo.integer(1, 40, log=True)}
for method in ("auto", "gp-map"):
    study = bo.Study(space, "minimize loss", method=method, seed=7)
    study.run(loss, budget=8)
    assert [t.state for t in study.trials] == ["complete"] * 8
    assert study.trials[-1].method_state, "past the initial design"
assert [n for n in sys.modules if n == "ax" or n.startswith("ax.")] == ["ax"]
try:
    bo.Study(space, "minimize loss", method="ax", seed=7).ask()
except NotInstalledError as error:
    sys.stdout.write(str(error))
"""


def test_other_methods_run_where_ax_is_not_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_AX],
        env={**os.environ, "PYTHONPATH": str(HOME)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install ax-platform" in done.stdout


def takes(function: Any, *names: str) -> bool:
    """Whether it has parameters of these names."""
    return set(names) <= set(inspect.signature(function).parameters)


def test_every_name_that_the_bridge_imports_of_ax_is_in_the_contract() -> None:
    imports = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(ax_bridge)))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ax"
    ]
    named = [each.asname or each.name for node in imports for each in node.names]
    contract = inspect.getsource(test_the_symbols_of_ax_that_the_bridge_stands_on)
    assert "ModelConfig" in named
    assert [name for name in named if f"ax_bridge.{name}" not in contract] == []


def test_the_symbols_of_ax_that_the_bridge_stands_on() -> None:
    """An upstream change fails here, or where a study is read from Ax, and nowhere else."""
    client = ax_bridge.Client
    assert takes(client, "random_seed")
    assert takes(client.configure_experiment, "parameters", "parameter_constraints")
    assert takes(client.configure_optimization, "objective", "outcome_constraints")
    assert takes(client.set_generation_strategy, "generation_strategy")
    assert takes(client.get_next_trials, "max_trials")
    assert takes(ax_bridge.RangeParameterConfig, "name", "bounds", "parameter_type", "scaling")
    assert takes(ax_bridge.ChoiceParameterConfig, "name", "values", "parameter_type", "is_ordered")
    assert takes(
        ax_bridge.GenerationStrategyDispatchStruct,
        "method",
        "initialization_budget",
        "initialization_random_seed",
        "initialize_with_center",
    )
    assert takes(client.attach_trial, "parameters")
    assert takes(client.complete_trial, "trial_index", "raw_data")
    assert takes(client.mark_trial_failed, "trial_index", "failed_reason")
    assert takes(ax_bridge.choose_generation_strategy, "struct", "model_config")
    config = ax_bridge.ModelConfig
    assert takes(config, "botorch_model_class", "model_options", "name")
    assert dataclasses.replace(config(model_options={"a": 1}), model_options={}).model_options == {}
    made_of = ax_surrogate.model_class("gp-hmc")
    assert takes(ax_bridge.fit_botorch_model.dispatch(made_of), "model", "mll_class", "mll_options")
    assert ax_bridge.fit_botorch_model.dispatch(made_of) is ax_bridge._fit
    assert takes(ax_bridge.register_model, "model_class")
    assert takes(ax_bridge.Arm, "parameters")
    assert takes(ax_bridge.Data, "data_rows")
    assert list(inspect.signature(ax_bridge.DataRow).parameters)[:6] == [
        "trial_index",
        "arm_name",
        "metric_name",
        "metric_signature",
        "mean",
        "se",
    ]
    trial = ax_bridge.AxTrial
    assert takes(trial.mark_running, "no_runner_required")
    for name in ("add_arm", "mark_completed", "mark_abandoned", "arms", "index", "generator_runs"):
        assert name in dir(trial), name

    made = client()
    made.configure_experiment([ax_bridge.RangeParameterConfig("p0", (0.0, 1.0), "float")])
    experiment = made._experiment
    for name in ("new_trial", "attach_data", "trials"):
        assert name in dir(experiment), name
    strategy = ax_bridge.choose_generation_strategy(
        ax_bridge.GenerationStrategyDispatchStruct(
            initialization_budget=0, initialize_with_center=False
        )
    )
    (node,) = strategy.nodes_by_name.values()
    assert node.name == "MBM"
    assert node.should_deduplicate is True
    assert "_generator_key" in dir(
        ax_bridge.AxTrial(experiment).add_arm(ax_bridge.Arm({"p0": 0.5})).generator_runs[0]
    )


@pytest.mark.filterwarnings("ignore")  # those of Ax's own calls, which are the user's here
def test_the_symbols_of_ax_that_a_study_is_read_by() -> None:
    """What `bo/ax_study.py` looks up on an experiment; it imports nothing of Ax."""
    ranged, chosen = ax_bridge.RangeParameterConfig, ax_bridge.ChoiceParameterConfig
    with ax_bridge._quiet():
        client = ax_bridge.Client()
        client.configure_experiment(
            [
                ranged("x", (0.1, 1.0), "float", scaling="log"),
                ranged("y", (0.0, 1.0), "float"),
                ranged("n", (1, 5), "int"),
                chosen("o", [1, 2, 4], "int", is_ordered=True),
                chosen("one", [7], "int"),
            ],
            parameter_constraints=["y + n <= 5"],
            name="mine",
        )
        client.configure_optimization("-loss, gain", ["heat <= 3", "gain >= 0.1"])
        point = {"x": 0.5, "y": 0.2, "n": 2, "o": 2, "one": 7}
        client.complete_trial(
            client.attach_trial(point), {"loss": (1.0, 0.1), "gain": 0.5, "heat": 1.0}
        )
        client.mark_trial_failed(client.attach_trial({**point, "x": 0.6}), failed_reason="no")
    held: Any = client._experiment
    assert held._name == held.name == "mine"
    x, y, n, o, one = (held.search_space.parameters[name] for name in ("x", "y", "n", "o", "one"))
    kinds = [type(each).__name__ for each in (x, y, n, o, one)]
    assert kinds == ["RangeParameter"] * 3 + ["ChoiceParameter", "FixedParameter"]
    assert not any(each.is_hierarchical for each in (x, y, n, o, one))
    assert (x.lower, x.upper, x.log_scale, x.parameter_type.name) == (0.1, 1.0, True, "FLOAT")
    assert (n.lower, n.upper, bool(n.log_scale), n.parameter_type.name) == (1, 5, False, "INT")
    assert (o.values, o.is_ordered, one.value) == ([1, 2, 4], True, 7)
    (between,) = held.search_space.parameter_constraints
    assert (between.constraint_dict, between.bound) == ({"y": 1.0, "n": 1.0}, 5.0)
    config = held.optimization_config
    assert dict(config.objective.metric_weights) == {"loss": -1.0, "gain": 1.0}
    assert not config.objective.is_scalarized_objective
    assert config.objective.expression == "-loss, gain"
    (limit,), (worst,) = config.outcome_constraints, config.objective_thresholds
    assert (limit.relative, limit.expression, limit.op.name) == (False, "heat <= 3", "LEQ")
    assert (dict(limit.metric_weights), limit.bound) == ({"heat": 1.0}, 3.0)
    assert (worst.metric_names, worst.op.name, worst.bound) == (["gain"], "GEQ", 0.1)
    rows_of = held.lookup_data().df.to_dict("records")
    assert {row["metric_name"]: row["mean"] for row in rows_of} == {
        "loss": 1.0,
        "gain": 0.5,
        "heat": 1.0,
    }
    assert {(row["trial_index"], row["arm_name"]) for row in rows_of} == {(0, "0_0")}
    assert [row["sem"] for row in rows_of if row["metric_name"] == "loss"] == [0.1]
    first, second = held.trials.values()
    assert (first.index, first.arms[0].name, first.arms[0].parameters) == (0, "0_0", point)
    assert (first.status.name, second.status.name) == ("COMPLETED", "FAILED")
    assert second.status_reason == "no"
    assert first.time_completed >= first.time_created
    statuses = set(type(first.status).__members__)
    assert {"CANDIDATE", "STAGED", "RUNNING", "COMPLETED", "EARLY_STOPPED"} <= statuses
