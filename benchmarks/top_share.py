"""Which share of the best 5 % of a table's rows a method finds, beside Optuna's GP and chance.

The measure of Liang et al. (2021), "Benchmarking the performance of Bayesian optimization across
multiple experimental materials science domains", on those of its tables that are at hand; repeated
measurements are averaged first. Each method starts from the same Latin hypercube (nearest rows, 2
per parameter, 4 to 16), over 10 seeds; none takes a row twice. Of a table with N rows, n drawn by
chance hold n / N of the best, on average. Reported without a bound.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from apps.experiment_worker import design
from benchmarks.harness import Claim, Peer, Report, say, version_of
from bo.contract import Problem
from bo.methods import make_problem
from bo.space import Parameters
from bo.study import Study
from surrogates.seeds import derive_seed

TABLES = ("blackbox/agnp", "blackbox/autoam", "blackbox/p3ht")
OURS, OPTUNA = "auto", "optuna-gp"
BUDGETS = (25, 50)
BEST = 0.05
FIRST_SEED = 30_000


def run(*, quick: bool) -> Report:
    """Measure (see `benchmarks.harness`)."""
    version = version_of("optuna", extra="peers")
    seeds = range(FIRST_SEED, FIRST_SEED + (2 if quick else 10))
    samples: list[dict[str, Any]] = []
    claims: list[Claim] = []
    for table in TABLES:
        problem = make_problem(table, {"repeats": "mean"})
        rows = problem.space.every
        assert rows is not None, "tables have all their rows in memory"
        best = _best(problem, rows)
        for seed in seeds:
            for method in (OURS, OPTUNA):
                found = _found(problem, best, method, seed, table)
                say(f"{table}, seed {seed}, {method}: {found[-1]} of {len(best)}")
                samples.append(
                    {"table": table, "method": method, "seed": seed, "found": found}
                    | {"best": len(best), "rows": len(rows)}
                )
        claims += _claims(table, [row for row in samples if row["table"] == table])
    settings = {"tables": ", ".join(TABLES), "seeds": f"{seeds[0]} to {seeds[-1]}"}
    return Report("top-share", Peer(OPTUNA, version, settings), claims, samples)


def _best(problem: Problem, rows: Sequence[Parameters]) -> set[str]:
    """The keys of the best 5 % of the rows, at least one."""
    values = {problem.space.key(row): _value(problem, row) for row in rows}
    ranked = sorted(values, key=lambda key: values[key], reverse=_higher(problem))
    return set(ranked[: math.ceil(BEST * len(ranked))])


def _found(problem: Problem, best: set[str], method: str, seed: int, table: str) -> list[int]:
    """How many of the best are among the first 1, 2, ... points."""
    study = Study(problem.space, problem.goals, method=method, seed=seed)
    for point in design(problem.space, None, derive_seed(seed, "design", table)):
        study.enqueue(point)
    found: list[int] = []
    seen: set[str] = set()
    while len(found) < BUDGETS[-1]:
        trial = study.ask()[0]
        study.tell(trial, _value(problem, trial.parameters))
        seen.add(problem.space.key(trial.parameters))
        found.append(len(seen & best))
    return found


def _claims(table: str, rows: Sequence[dict[str, Any]]) -> list[Claim]:
    claims: list[Claim] = []
    for budget in BUDGETS:
        share = {
            method: statistics.median(
                row["found"][budget - 1] / row["best"] for row in rows if row["method"] == method
            )
            for method in (OURS, OPTUNA)
        }
        name = f"{table}, {budget} of {rows[0]['rows']} rows"
        claims += [
            Claim(f"{name}: share", share[OURS], share[OPTUNA], None, "", "at least"),
            Claim(f"{name}: by chance", budget / rows[0]["rows"], None, None, "", "at least"),
        ]
    return claims


def _higher(problem: Problem) -> bool:
    return problem.goals.only.direction == "maximize"


def _value(problem: Problem, point: Parameters) -> float:
    value = problem.evaluate(point, seed=0)
    value = value[problem.goals.only.name] if isinstance(value, Mapping) else value
    assert isinstance(value, float), "repeats are averaged, so that no row has a standard error"
    return value
