"""The tables of an experiment, as `wald experiment` tells them: medians with quartiles, tests."""

import pandas as pd

from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.experimenting import Experiment

_MEDIANS = ("problem", "budget", "method", "seeds", "measure", "median", "q25", "q75")
_TESTS = ("budget", "method", "best", "seeds", "wins", "ties", "losses", "p", "p_holm", "worse")


def card(experiment: Experiment, problem: str | None = None) -> Card:
    """Medians and quartiles, of one problem or all.

    Raises:
        NotYet: no run has reached a budget.
    """
    rows = _of(experiment, "table", problem)
    rows = [row for row in rows if row["seeds"]]
    if not rows:
        raise NotYet("No run has reached the smallest budget yet.")
    frame = pd.DataFrame(rows)[[*_MEDIANS, "ask_cpu_seconds"]]
    if problem is not None:
        frame = frame.drop(columns="problem")
    return Card(
        title=f"{experiment.row.name}: medians" + ("" if problem is None else f" on {problem}"),
        reading="Median and quartiles (q25, q75) of the measure over seeds, after so many steps;"
        " CPU seconds of a mean ask beyond the initial design. Regret: lower is better.",
        alt=f"Medians and quartiles of {marks.counted(len(frame), 'row')}.",
        data=frame,
        chart=None,
    )


def tests(experiment: Experiment, problem: str) -> Card:
    """Each method against the best one of a problem.

    Raises:
        NotYet: no seed is through with all methods.
    """
    rows = _of(experiment, "tests", problem)
    if not rows:
        raise NotYet("Tests need a seed whose runs have ended for every method.")
    frame = pd.DataFrame(rows)[list(_TESTS)]
    return Card(
        title=f"{experiment.row.name}: tests on {problem}",
        reading="Seeds at which a method wins, ties, loses against the best median of its budget;"
        " p of Wilcoxon's signed-rank test, then with Holm's correction; worse: below 5 %.",
        alt=f"{int(frame['worse'].sum())} of {len(frame)} rows are significantly worse.",
        data=frame,
        chart=None,
    )


def _of(experiment: Experiment, what: str, problem: str | None) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = list((experiment.results or {}).get(what) or [])
    return [row for row in rows if problem is None or row["problem"] == problem]
