"""An experiment in a store, its runs made in this process; and one of numbers made by hand."""

from pathlib import Path
from typing import Any

from apps.experiment_driver import Driver
from apps.experiment_file import parse_plan
from apps.experiment_results import collect, curves, tell
from apps.experiment_worker import work
from apps.schema import ExperimentRow
from apps.store import Store
from dashboards.experimenting import Experiment

SOURCE = """
name = "mine"
problems = ["branin", { name = "ackley3", label = "ackley <b>*x*</b> | 1" }]
methods = ["sobol", "random"]
seeds = 2
budgets = [4, 6]
"""


def make(path: Path, *, runs: int | None = None) -> Store:
    """A store with the experiment `mine`, so many of its runs done, and what was found by then."""
    store = Store.open(str(path), create=True)
    plan = parse_plan(SOURCE, "mine", str(path.parent))
    assert store.begin_experiment("mine", SOURCE, str(path.parent), workers=1)
    with Driver(store, "mine", mine=True) as driver:
        for *_, spec in list(plan.cells())[:runs]:
            work(store, spec, plan.initial)
        results = collect(plan, store, {})
        driver.write(tell(results) | {"curves": curves(results), "out": "/somewhere/mine"})
        driver.end("finished" if runs is None else "interrupted")
    return store


def by_hand(*, methods: int = 3, budgets: tuple[int, ...] = (10, 20), seeds: int = 8) -> Experiment:
    """Two problems; the methods are equally good but for the last, which is worse."""
    names = ["gp-map", "sobol", "random", *(f"ax:m{i}" for i in range(methods - 3))][:methods]
    problems = ["branin", "x:y [<b>]"]
    listed = ", ".join(f'"{n}"' for n in names)
    source = f'problems = ["branin", {{ name = "branin", label = "{problems[1]}" }}]\n'
    source += f"methods = [{listed}]\nseeds = {seeds}\nbudgets = {list(budgets)}\n"
    results: dict[str, Any] = {"table": [], "ranks": [], "tests": [], "curves": {}}
    for problem in problems:
        results["curves"][problem] = [
            {
                "method": name,
                "runs": seeds,
                "step": [1.0, 5.0, 10.0],
                "low": [1.0, 0.1, 0.0],
                "median": [2.0, 1.0, 0.5],
                "high": [4.0, 2.0, 1.0],
            }
            for name in names
        ]
        for budget in budgets:
            for place, name in enumerate(names):
                results["table"].append(
                    {
                        **{"problem": problem, "method": name, "budget": budget, "seeds": seeds},
                        **{"median": 0.5, "q25": 0.1, "q75": 1.0, "ask_cpu_seconds": 0.01},
                        **{"measure": "regret", "direction": "minimize"},
                    }
                )
                worse = place == len(names) - 1 and place > 0
                results["tests"].append(
                    {
                        **{"problem": problem, "method": name, "budget": budget, "seeds": seeds},
                        **{"best": names[0], "wins": int(place > 0 and not worse), "ties": 0},
                        **{"losses": seeds if worse else int(place > 0), "worse": worse},
                        "p": None if place == 0 else 0.01,
                        "p_holm": None if place == 0 else 0.02,
                    }
                )
    for budget in budgets:
        for place, name in enumerate(names):
            ends = {"mean_rank": place + 1.0, "low": place + 0.75, "high": place + 1.25}
            results["ranks"].append({"method": name, "budget": budget, "problems": 2, **ends})
    row = ExperimentRow(
        "hand", 0.0, source, ".", 1, "finished", None, None, None, 1.0, None, None, 1.0
    )
    plan = parse_plan(source, "hand", ".")
    return Experiment(row, "finished", plan, None, {}, 2 * methods * seeds, results)
