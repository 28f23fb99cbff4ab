"""What a run has come to: the one object that every command prints, and tables of many runs.

    {"run_id", "name", "kind", "problem", "method", "seed", "state", "steps", "seconds",
     "cpu_seconds", "score", "best", "regret", "trials", "digest", "metrics", "diagnostics",
     "versions"}

`score` is higher-is-better on every kind. Imports nothing heavy: pages and exports use it too.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from apps.schema import RunRow
from apps.store import ENDED, Store, current_state
from bo import metrics
from bo.contract import Trial
from bo.goals import Goals
from bo.health import sampler
from surrogates.errors import UsageError
from surrogates.options import unknown


def summarise_trials(
    goals: Goals, trials: Sequence[Trial], optimum: float | None
) -> dict[str, Any]:
    """The part of the object that trials determine (bo)."""
    front = metrics.front(trials, goals)
    points = [_point(trial) for trial in front]
    best = points if goals.several else (points[0] if points else None)
    value = metrics.best_value(trials, goals)
    asks = [t.ask_seconds for t in trials if t.done and t.ask_seconds is not None]
    states = [trial.method_state for trial in trials if trial.method_state]
    return _counts(trials) | {
        "score": None if value is None else goals.measure.sign * value + 0.0,  # no -0
        "best": best,
        "regret": metrics.regret(front, optimum, goals),
        "metrics": {
            "goal": str(goals),
            "measure": str(goals.measure),
            **_reference(goals, trials),
            "optimum": optimum,
            "ask_cpu_seconds_median": statistics.median(asks) if asks else None,
            "ask_cpu_seconds_total": sum(asks),
        },
        "diagnostics": dict(states[-1].get("diagnostics", {})) if states else {},
    }


def doubts(trials: Sequence[Trial]) -> str | None:
    """A sentence where draws of hyperparameters could not be trusted at some asks; else None."""
    states = [trial.method_state for trial in trials if trial.method_state]
    lights = [sampler(state["diagnostics"]) for state in states if "diagnostics" in state]
    bad = [light for light in lights if light["light"] != "green"]
    if not bad:
        return None
    words = bad[-1]["words"][0].rstrip(".")
    count = f"{len(bad)} of {len(lights)} asks"
    return f"hyperparameters were in doubt at {count}, the last time: {words}"


def summarise_record(
    kind: str, step: int, values: Mapping[str, Any], digest: str
) -> dict[str, Any]:
    """The part of the object that a loop's latest record determines (bandit, rl)."""
    if kind == "bandit":
        regret = values.get("regret")
        score = values["reward"] / max(step, 1) if regret is None else -regret
    else:
        regret, score = None, values.get("score")
    return {
        "steps": step,
        "score": score,
        "regret": regret,
        "digest": digest,
        "metrics": dict(values),
    }


def run_object(store: Store, row: RunRow) -> dict[str, Any]:
    """The object of one run, as of now; its `error` says it where its goals cannot be read."""
    summary: Mapping[str, Any] = row.summary
    error = row.error
    pending = summary.get("trials", {}).get("pending", 0)  # when it ended: others told them since
    if row.study is not None and (pending or row.state not in ENDED):  # the log is ahead
        try:
            goals, trials = store.trials(row.study)
        except UsageError as unread:
            goals, trials = None, []
            error = error or _unread(unread)
        if goals is not None:
            fresh = summarise_trials(goals, trials, row.optimum)
            summary = fresh | {"diagnostics": fresh["diagnostics"] | _notes(row.summary)}
    empty = {"total": 0, "complete": 0, "failed": 0, "pending": 0}
    described = {
        "run_id": row.run_id,
        "name": row.name,
        "kind": row.kind,
        "problem": row.spec.problem,
        "method": row.spec.method,
        "seed": row.spec.seed,
        "state": current_state(row),
        "steps": summary.get("steps", 0),
        "seconds": row.seconds,
        "cpu_seconds": row.cpu_seconds,
        "score": summary.get("score"),
        "best": summary.get("best"),
        "regret": summary.get("regret"),
        "trials": summary.get("trials", empty),
        "failures": summary.get("failures", {}),
        "digest": summary.get("digest"),
        "metrics": summary.get("metrics", {}),
        "diagnostics": summary.get("diagnostics", {}),
        "versions": dict(row.versions),
        "created": row.created,
        "budget": row.spec.budget,
    }
    return described | ({"error": error} if error else {})


def study_object(store: Store, name: str) -> dict[str, Any]:
    """The object of a study that somebody asks and tells by hand.

    Where its goals cannot be read, it has no score, and its `error` says so.
    """
    try:
        goals, trials = store.trials(name)
        assert goals is not None
        summary = summarise_trials(goals, trials, None)
    except UsageError as unread:
        trials = store.trials_since(name, -1)
        summary = _counts(trials) | {
            "score": None,
            "best": None,
            "regret": None,
            "metrics": {},
            "diagnostics": {},
            "error": _unread(unread),
        }
    found = next(study for study in store.studies() if study[0] == name)
    finished = [t.finished for t in trials if t.finished is not None]
    pending = any(trial.state == "running" for trial in trials)
    return {
        "run_id": name,
        "name": name,
        "kind": "bo",
        "problem": None,
        "method": found[2],
        "seed": found[3],
        "state": "running" if pending else "stopped",
        "seconds": max(finished) - found[4] if finished else 0.0,
        "cpu_seconds": sum(t.ask_seconds or 0.0 for t in trials),
        "versions": {},
        "created": found[4],
        "budget": None,
    } | summary


def find_object(store: Store, name: str) -> dict[str, Any]:
    """The object of a run, or of a study without one, by id or name.

    Raises:
        UsageError: neither; the nearest name is suggested.
    """
    rows = store.runs()
    for row in [*(r for r in rows if r.run_id == name), *(r for r in rows if r.name == name)]:
        return run_object(store, row)
    studies = [study[0] for study in store.studies()]
    if name in studies:
        return study_object(store, name)
    known = dict.fromkeys([*(row.run_id for row in rows), *studies])
    raise UsageError(unknown("run", name, known))


def all_objects(store: Store) -> list[dict[str, Any]]:
    """Every run, and every study without one, newest first."""
    rows = store.runs()
    driven = {row.study for row in rows}
    objects = [run_object(store, row) for row in rows]
    objects += [study_object(store, s[0]) for s in store.studies() if s[0] not in driven]
    return sorted(objects, key=lambda item: -item["created"])


def compare(objects: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per kind, problem and method: scores over seeds with a 95 % interval of the mean."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for item in objects:
        groups.setdefault((item["kind"], item["problem"], item["method"]), []).append(item)
    compared = [_compared(key, items) for key, items in groups.items()]
    return sorted(
        compared,
        key=lambda r: (
            r["kind"],
            str(r["problem"]),
            -(r["mean"] if r["mean"] is not None else -math.inf),
        ),
    )


def _compared(key: tuple[Any, ...], items: list[Mapping[str, Any]]) -> dict[str, Any]:
    scores = sorted(item["score"] for item in items if item["score"] is not None)
    regrets = [item["regret"] for item in items if item["regret"] is not None]
    mean = statistics.fmean(scores) if scores else None
    half = interval(scores)
    quartiles = (
        statistics.quantiles(scores, n=4, method="inclusive") if len(scores) > 1 else [mean] * 3
    )
    return {
        "kind": key[0],
        "problem": key[1],
        "method": key[2],
        "runs": len(items),
        "run_ids": [item["run_id"] for item in items],
        "steps": max(item["steps"] for item in items),
        "mean": mean,
        "low": None if mean is None or half is None else mean - half,
        "high": None if mean is None or half is None else mean + half,
        "median": statistics.median(scores) if scores else None,
        "q25": quartiles[0],
        "q75": quartiles[2],
        "regret": statistics.median(regrets) if regrets else None,
        "cpu_seconds": statistics.fmean(item["cpu_seconds"] for item in items),
    }


def interval(values: Sequence[float]) -> float | None:
    """Half the width of Student's 95 % interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    import scipy.special  # 15 MB that most pages never need

    factor = float(scipy.special.stdtrit(len(values) - 1, 0.975))
    return factor * statistics.stdev(values) / math.sqrt(len(values))


def _counts(trials: Sequence[Trial]) -> dict[str, Any]:
    """What trials say whatever the goals are."""
    return {
        "steps": sum(trial.counted for trial in trials if trial.done),
        "trials": {
            "total": len(trials),
            "complete": sum(t.state == "complete" for t in trials),
            "failed": sum(t.state == "failed" for t in trials),
            "pending": sum(not t.done for t in trials),
        },
        "failures": metrics.reasons(trials),
        "digest": metrics.digest(trials),
    }


def _unread(error: UsageError) -> str:
    return f"the goals of its study cannot be read: {error}"


def _point(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "parameters": dict(trial.parameters),
        "values": dict(trial.values),
    }


def _reference(goals: Goals, trials: Sequence[Trial]) -> dict[str, Any]:
    """Where hypervolume is measured from, by name of goal."""
    found = metrics.reference(trials, goals) if goals.several else None
    if found is None:
        return {}
    names = [goal.name for goal in goals.goals]
    return {"reference": dict(zip(names, found, strict=True))}


def _notes(summary: Mapping[str, Any]) -> dict[str, Any]:
    diagnostics = summary.get("diagnostics", {})
    return {"note": diagnostics["note"]} if "note" in diagnostics else {}
