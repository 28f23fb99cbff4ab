"""What an ask of gp-map costs, and the regret it reaches, beside plain BoTorch, Ax and Optuna's GP.

- *regret*: Hartmann6, 50 evaluations, the first 10 of them equal for all (a scrambled Sobol design
  of the seed), over 10 seeds; Wilcoxon's signed-rank test, paired over seeds, Holm's correction.
- *first ask*: CPU seconds of a process that imports, and asks once with 10 outcomes: with the
  kernels of ours on disk, as every process but the first on a machine has them; and without.
- *once*: CPU seconds of a process that imports `bo` and ends; of an experiment of Ax that is built
  from 1,000 trials of a log.
- *cost*: CPU seconds of an ask at n = 20, 50 and 200 in 2, 6 and 20 dimensions (Levy's function),
  after two asks and tells that warm it up, median of three.

One thread. Every method in its own loop: Optuna by its own ask and tell, BoTorch as its recipes say
(`SingleTaskGP`, `fit_gpytorch_mll`; lean: LogEI, 8 starts, 512 raw samples; with Ax's settings:
qLogNEI, 20 starts, 1024 raw samples), ours and Ax through a study.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from apps.statistics import holm, signed_rank
from benchmarks.harness import Claim, Peer, Report, say, version_of
from bo.contract import Problem
from bo.methods import make_problem
from bo.space import Parameters
from bo.study import Study

INITIAL, BUDGET = 10, 50
FIRST_SEED = 20_000
SIZES = (20, 50, 200)
DIMENSIONS = (2, 6, 20)
OURS, OPTUNA = "gp-map", "optuna-gp"
_COLD = "gp-map, kernels compiled"
_IMPORT = "import bo"
_REPLAY = "an experiment of Ax from 1,000 trials"
SLOW = ("ax", "botorch-ax")  # one ask of these is timed at 200 points


class Optimiser(Protocol):
    """One method on one problem; all minimise."""

    def tell(self, point: Parameters, value: float) -> None:
        """Take in an evaluation, its own or another's."""
        ...

    def ask(self) -> Parameters:
        """The next point."""
        ...


def run(*, quick: bool) -> Report:
    """Measure; regret is judged only where not quick."""
    import torch

    version = version_of("optuna", extra="peers")
    torch.set_num_threads(1)
    seeds = 3 if quick else 10
    samples = _firsts(1 if quick else 3) + _once(1 if quick else 3)
    samples += _regrets(seeds) + _costs(SIZES[:2] if quick else SIZES)
    settings = {
        "regret": f"hartmann6, {BUDGET} evaluations, {INITIAL} of them common, seeds {FIRST_SEED}"
        f" to {FIRST_SEED + seeds - 1}",
        "Optuna": "GPSampler, n_startup_trials=10, its defaults otherwise",
        "versions": ", ".join(
            f"{name} {version_of(name, extra='peers')}" for name in ("botorch", "ax-platform")
        ),
    }
    return Report("bo-ask", Peer("optuna-gp", version, settings), _claims(samples, quick), samples)


def _claims(samples: Sequence[dict[str, Any]], quick: bool) -> list[Claim]:
    found = [s for s in samples if s["what"] == "regret"]
    regret = {m: np.array([s["regret"] for s in found if s["method"] == m]) for m in METHODS}
    ours, optuna = (float(np.median(regret[m])) for m in (OURS, OPTUNA))
    claims = [
        Claim("regret, median", ours, optuna, None if quick else 0.14, "regret"),
        Claim(
            "seeds within .02",
            float((regret[OURS] <= 0.02).sum()),
            float((regret[OPTUNA] <= 0.02).sum()),
            None if quick else 0.45 * len(regret[OURS]),
            "seeds",
            "at least",
        ),
    ]
    others = [m for m in METHODS if m != OURS]
    p_values = holm([_worse(regret[OURS], regret[m]) for m in others])
    claims += [
        Claim(f"not worse than {m}, p (Holm)", p, None, None if quick else 0.05, "", "at least")
        for m, p in zip(others, p_values, strict=True)
    ]
    asked = {
        m: [c for s in found if s["method"] == m for c in s["ask_cpu_seconds"]] for m in METHODS
    }
    mean = {m: statistics.mean(costs) for m, costs in asked.items()}
    claims.append(Claim("ask, hartmann6", mean[OURS], mean[OPTUNA], mean[OPTUNA], "CPU s"))
    first = {
        name: statistics.median(
            s["cpu_seconds"] for s in samples if s["what"] == "first ask" and s["method"] == name
        )
        for name in (OURS, OPTUNA, _COLD)
    }
    claims.append(Claim("import and first ask", first[OURS], first[OPTUNA], None, "CPU s"))
    claims.append(Claim("the same, kernels compiled", first[_COLD], None, None, "CPU s"))
    once = {
        name: statistics.median(s["cpu_seconds"] for s in samples if s["what"] == name)
        for name in (_IMPORT, _REPLAY)
    }
    claims.append(Claim(_IMPORT, once[_IMPORT], None, 0.3, "CPU s"))
    claims.append(Claim(_REPLAY, once[_REPLAY], None, None, "CPU s"))
    claims += [
        Claim(f"ask of {m}, hartmann6", mean[m], None, None, "CPU s") for m in others if m != OPTUNA
    ]
    for d, n in sorted({(s["d"], s["n"]) for s in samples if s["what"] == "cost"}):
        cost = {
            s["method"]: s["cpu_seconds"] for s in samples if (s.get("d"), s.get("n")) == (d, n)
        }
        peer = cost[OPTUNA]
        claims.append(Claim(f"ask, d={d} n={n}", cost[OURS], peer, peer, "CPU s"))
    return claims


def _worse(ours: np.ndarray, other: np.ndarray) -> float:
    """P-value of a difference, where ours has the greater median; else 1."""
    return signed_rank(ours - other) if np.median(ours) > np.median(other) else 1.0


def first_ask(name: str) -> None:
    """For a process of its own: import, ask once after a design, print the CPU seconds."""
    problem = make_problem("hartmann6", {})
    optimiser = METHODS[name](problem, 0)
    for point, value in _design(problem, INITIAL, 0):
        optimiser.tell(point, value)
    _timed(optimiser)
    print(time.process_time())


def _firsts(repeats: int) -> list[dict[str, Any]]:
    """Processes of ours and of the peer; and of ours with no kernel on disk."""
    samples: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as nothing:
        for repeat in range(repeats + 1):  # the first one of each fills caches
            for label in (OURS, OPTUNA, _COLD):
                say(f"first ask, {label}")
                folder = {"NUMBA_CACHE_DIR": f"{nothing}/{repeat}"} if label == _COLD else {}
                name = OURS if label == _COLD else label
                code = f"from benchmarks.bo_ask import first_ask; first_ask({name!r})"
                told = subprocess.run(
                    [sys.executable, "-c", code],
                    env={**os.environ, **folder},
                    capture_output=True,
                    text=True,
                    check=True,
                )
                seconds = float(told.stdout.split()[-1])
                if repeat:
                    samples.append({"what": "first ask", "method": label, "cpu_seconds": seconds})
    return samples


def _once(repeats: int) -> list[dict[str, Any]]:
    """Processes that import and end; logs that become experiments of Ax."""
    from bo import ax_bridge
    from bo.space import real

    samples: list[dict[str, Any]] = []
    code = "import time; import bo; print(time.process_time())"
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(repeats + 1)  # the first one fills caches
    ]
    samples += [{"what": _IMPORT, "cpu_seconds": float(each.stdout)} for each in told[1:]]
    random = np.random.default_rng(0)
    names = [f"x{i}" for i in range(6)]
    study = Study({name: real(0.0, 1.0) for name in names}, "minimize y", method="random")
    for row in random.random((1000, 6)):
        study.add(dict(zip(names, row.tolist(), strict=True)), float(row.sum()))
    trials = list(study.trials)
    for _ in range(repeats):
        say(_REPLAY)
        client = ax_bridge.experiment(study.space, 0)
        began = time.process_time()
        ax_bridge.replay(client, study.space, study.goals.only, trials, ())
        samples.append({"what": _REPLAY, "cpu_seconds": time.process_time() - began})
    return samples


def _regrets(seeds: int) -> list[dict[str, Any]]:
    problem = make_problem("hartmann6", {})
    samples: list[dict[str, Any]] = []
    for make in METHODS.values():  # what a process does once is told by the first asks
        warm = make(problem, 0)
        for point, value in _design(problem, INITIAL, 0):
            warm.tell(point, value)
        _timed(warm)
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        design = _design(problem, INITIAL, seed)
        for name in _turned(list(METHODS), seed):  # none is always first, on a cold cache
            regret, costs = _optimise(METHODS[name], problem, design, seed)
            say(f"hartmann6, seed {seed}, {name}: {regret:.4f}, {statistics.mean(costs):.3f} s")
            samples.append(
                {
                    "what": "regret",
                    "method": name,
                    "seed": seed,
                    "regret": regret,
                    "ask_cpu_seconds": costs,
                }
            )
    return samples


def _turned(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]


def _optimise(
    make: "Callable[[Problem, int], Optimiser]",
    problem: Problem,
    design: Sequence[tuple[Parameters, float]],
    seed: int,
) -> tuple[float, list[float]]:
    optimiser = make(problem, seed)
    values = [value for _, value in design]
    for point, value in design:
        optimiser.tell(point, value)
    costs: list[float] = []
    while len(values) < BUDGET:
        point, seconds = _timed(optimiser)
        costs.append(seconds)
        values.append(_value(problem, point))
        optimiser.tell(point, values[-1])
    assert problem.optimum is not None
    return min(values) - problem.optimum, costs


def _costs(sizes: Sequence[int]) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = []
    for d in DIMENSIONS:
        problem = make_problem(f"levy{d}", {})
        for n in sizes:
            design = _design(problem, n - 3, d * 1000 + n)
            for name, make in METHODS.items():
                optimiser = make(problem, n)
                for point, value in design:
                    optimiser.tell(point, value)
                seconds: list[float] = []
                for _ in range(1 if name in SLOW and n > 50 else 5):
                    point, took = _timed(optimiser)
                    seconds.append(took)
                    optimiser.tell(point, _value(problem, point))
                say(f"levy{d}, n = {n}, {name}: {statistics.median(seconds[-3:]):.3f} s")
                about = {"what": "cost", "method": name, "d": d, "n": n}
                samples.append(
                    {**about, "cpu_seconds": statistics.median(seconds[-3:]), "all": seconds}
                )
    return samples


def _timed(optimiser: Optimiser) -> tuple[Parameters, float]:
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        point = optimiser.ask()
    return point, time.process_time() - began


def _design(problem: Problem, n: int, seed: int) -> list[tuple[Parameters, float]]:
    from bo.strategies.sobol import first_points

    points = first_points(problem.space, problem.goals, seed, [], n)
    return [(point, _value(problem, point)) for point in points]


def _value(problem: Problem, point: Parameters) -> float:
    value = problem.evaluate(point, seed=0)
    assert isinstance(value, float)
    return value


class _InStudy:
    """A method of ours."""

    def __init__(self, method: str, problem: Problem, seed: int) -> None:
        options = {"initial": INITIAL}
        self.study = Study(problem.space, problem.goals, method=method, options=options, seed=seed)
        self.asked: Any = None

    def tell(self, point: Parameters, value: float) -> None:
        if self.asked is None:
            self.study.add(point, value)
        else:
            self.study.tell(self.asked, value)
            self.asked = None

    def ask(self) -> Parameters:
        (self.asked,) = self.study.ask(1)
        return self.asked.parameters


class _Optuna:
    """Optuna's sampler in Optuna's own study."""

    def __init__(self, problem: Problem, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space: Any = {
            name: optuna.distributions.FloatDistribution(p.low, p.high)
            for name, p in problem.space.free.items()
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=INITIAL)
        self.study: Any = optuna.create_study(sampler=sampler)
        self.make = optuna.trial.create_trial
        self.asked: Any = None

    def tell(self, point: Parameters, value: float) -> None:
        if self.asked is None:
            self.study.add_trial(self.make(params=point, distributions=self.space, value=value))
        else:
            self.study.tell(self.asked, value)
            self.asked = None

    def ask(self) -> Parameters:
        self.asked = self.study.ask(self.space)
        return dict(self.asked.params)


class _BoTorch:
    """BoTorch by its own recipes."""

    def __init__(self, problem: Problem, seed: int, *, like_ax: bool) -> None:
        self.space = problem.space
        self.like_ax = like_ax
        self.seed = seed
        self.points: list[Parameters] = []
        self.outcomes: list[float] = []

    def tell(self, point: Parameters, value: float) -> None:
        self.points.append(point)
        self.outcomes.append(-value)

    def ask(self) -> Parameters:
        import torch
        from botorch import fit_gpytorch_mll
        from botorch.acquisition import LogExpectedImprovement, qLogNoisyExpectedImprovement
        from botorch.models import SingleTaskGP
        from botorch.optim import optimize_acqf
        from gpytorch.mlls import ExactMarginalLogLikelihood

        torch.manual_seed(self.seed + len(self.points))
        x = torch.as_tensor(self.space.encode(self.points))
        y = torch.tensor(self.outcomes, dtype=torch.float64).unsqueeze(-1)
        model = SingleTaskGP(x, y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        function: Any = (
            qLogNoisyExpectedImprovement(model, x, prune_baseline=True)
            if self.like_ax
            else LogExpectedImprovement(model, best_f=y.max())
        )
        d = self.space.d
        starts, raw = (20, 1024) if self.like_ax else (8, 512)
        found, _ = optimize_acqf(
            function,
            torch.tensor([[0.0] * d, [1.0] * d], dtype=torch.float64),
            q=1,
            num_restarts=starts,
            raw_samples=raw,
        )
        return self.space.decode(found.numpy())[0]


METHODS: "dict[str, Callable[[Problem, int], Optimiser]]" = {
    OURS: lambda problem, seed: _InStudy(OURS, problem, seed),
    OPTUNA: _Optuna,
    "botorch-lean": lambda problem, seed: _BoTorch(problem, seed, like_ax=False),
    "botorch-ax": lambda problem, seed: _BoTorch(problem, seed, like_ax=True),
    "ax": lambda problem, seed: _InStudy("ax", problem, seed),
}
