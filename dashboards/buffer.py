"""All that was read so far of one run: pages share it, and it reads only what is new."""

import threading
from collections.abc import Sequence
from typing import Any

import pandas as pd

from apps.curves import measure, run_curve, told
from apps.events import Event
from apps.store import Store
from dashboards.thin import thin

CHUNK = 10_000  # events that are read at once
MOST_RECORDS = 20_000  # kept here; beyond, the older ones are thinned (the store keeps all)
NEWEST = 5_000  # of which none is left out
_OBSERVED = ("best", "regret", "predicted_mean", "predicted_std")


class Buffer:
    """All observations and metrics of one run that were read so far."""

    def __init__(self, store: Store, run_id: str, study: str | None, *, by_hand: bool) -> None:
        self.store = store
        self.run_id = run_id
        self.study = study
        self.by_hand = by_hand
        self.seq = 0
        self.revision = -1
        self.records = 0  # read so far, those thinned away since included
        self.newest: float | None = None  # time of the latest observation or metric
        self._lock = threading.Lock()
        self._space: dict[str, Any] | None = None
        self._trials: dict[int, dict[str, Any]] = {}
        self._observed: dict[int, dict[str, Any]] = {}
        self._steps = pd.DataFrame({"seq": pd.Series(dtype="int64")})
        self._frames: tuple[tuple[int, int], pd.DataFrame] | None = None

    def refresh(self) -> None:
        """Read what is new."""
        with self._lock:
            if not self.by_hand:
                self._read_events()
            if self.study is not None:
                self._space = self._space or self.store.study(self.study)
                for trial in self.store.trials_since(self.study, self.revision):
                    self._trials[trial.number] = _trial_row(trial)
                    self.revision = max(self.revision, trial.revision)

    @property
    def goal(self) -> tuple[str, str] | None:
        """Name and direction of what progress is measured by, once the study exists."""
        return None if self.goals is None else measure(self.goals)

    @property
    def goals(self) -> str | None:
        """All that the study optimises, as a text, once it exists."""
        return None if self._space is None else str(self._space["goal"])

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The space, without its constraints."""
        found = {} if self._space is None else self._space["space"]
        # `candidates`, the pool of a table, stands beside the parameters and has no type.
        return {n: t for n, t in found.items() if isinstance(t, dict) and "type" in t}

    @property
    def version(self) -> tuple[int, int]:
        """What changes with the content."""
        return self.seq, self.revision

    def size(self) -> int:
        """How many events or trials there are, for the pace of refreshing."""
        return max(self.seq, len(self._trials))

    def trials(self, upto: int | None) -> pd.DataFrame:
        """One row a trial; with `upto`, as after that event."""
        with self._lock:
            key = (self.seq if upto is None else upto, self.revision)
            if self._frames is None or self._frames[0] != key:
                self._frames = key, self._trial_frame(upto)
            return self._frames[1]

    def steps(self, upto: int | None) -> pd.DataFrame:
        """One row a record; with `upto`, as after that event."""
        with self._lock:
            found = self._steps if upto is None else self._steps[self._steps["seq"] <= upto]
        return found.drop(columns="seq")

    def _read_events(self) -> None:
        while len(
            new := self.store.events(
                self.run_id, since=self.seq, kind=("observation", "metric"), limit=CHUNK
            )
        ):
            self._take(new)
            if len(new) < CHUNK:
                return

    def _take(self, new: Sequence[Event]) -> None:
        if not new:
            return
        self.seq, self.newest = new[-1].seq, new[-1].time
        for event in new:
            if event.kind == "observation":
                told = dict(event.payload)
                predicted = told.pop("predicted", None) or {}
                told["predicted_mean"] = predicted.get("mean")
                told["predicted_std"] = predicted.get("std")
                told["predicted_quantiles"] = predicted.get("quantiles")
                self._observed[told["number"]] = told | {"seq": event.seq, "time": event.time}
        records = [event for event in new if event.kind == "metric"]
        if records:
            rows = pd.DataFrame(
                [{"seq": e.seq, "step": e.step, "time": e.time, **e.payload} for e in records]
            )
            rows = rows.apply(_numbers)
            self._steps = rows if self._steps.empty else pd.concat([self._steps, rows])
            self.records += len(records)
            if len(self._steps) > MOST_RECORDS:
                self._steps = _thinned(self._steps)
            self._steps = self._steps.reset_index(drop=True)

    def _trial_frame(self, upto: int | None) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        now = self._time_of(upto)
        for number in sorted({*self._trials, *self._observed}):
            bare: dict[str, Any] = {"number": number, "state": "complete", "outcomes": {}}
            row = self._trials.get(number) or bare
            observed = self._observed.get(number)
            if upto is not None and not self.by_hand:
                later = observed is not None and observed["seq"] > upto
                unborn = observed is None and (row.get("started") or 0.0) > now
                if later or unborn:
                    continue
            seen = {} if observed is None else observed
            observations = {name: seen.get(name) for name in _OBSERVED}
            observations["predicted_quantiles"] = seen.get("predicted_quantiles")
            rows.append({**_ABSENT, **row, **observations, "value": seen.get("value")})
        if self.goals is not None:
            _measure(rows, self.goals, by_hand=self.by_hand)
        frame = pd.DataFrame(rows, columns=[*_ABSENT, *(f"p.{name}" for name in self.parameters)])
        plain = [*_OBSERVED, "value", "ask_cpu_seconds", "seconds", "started"]
        frame[plain] = frame[plain].apply(_numbers)
        return frame

    def _time_of(self, upto: int | None) -> float:
        shown = [o["time"] for o in self._observed.values() if upto is None or o["seq"] <= upto]
        return max(shown, default=0.0)


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """A third of the older records: the extremes and the last of every stretch of each number."""
    older, newer = rows.iloc[:-NEWEST], rows.iloc[-NEWEST:]
    skipped = ("seq", "step", "time", "cpu_seconds")
    numbers = [name for name in older.select_dtypes("number").columns if name not in skipped]
    return pd.concat([thin(older, "seq", numbers or ["seq"], len(older) // 3), newer])


_ABSENT: dict[str, Any] = {
    "number": None,
    "state": None,
    "value": None,
    "outcomes": None,
    "best": None,
    "regret": None,
    "predicted_mean": None,
    "predicted_std": None,
    "predicted_quantiles": None,
    "reason": None,
    "ask_cpu_seconds": None,
    "seconds": None,
    "started": None,
}


def _trial_row(trial: Any) -> dict[str, Any]:
    took = trial.finished - trial.started if trial.finished and trial.started else None
    return {
        "number": trial.number,
        "state": trial.state,
        "outcomes": dict(trial.values),
        "reason": trial.reason,
        "ask_cpu_seconds": trial.ask_seconds,
        "seconds": took,
        "started": trial.started,
        **{f"p.{name}": value for name, value in trial.parameters.items()},
    }


def _measure(rows: Sequence[dict[str, Any]], goals: str, *, by_hand: bool) -> None:
    """The value of each trial, and the best so far where no event told it.

    Of several goals both are the hypervolume up to the trial, all from the last reference point.
    """
    found = told(goals)
    if len(found.goals) == 1:
        ((name, _),) = found.goals
        for row in rows:
            row["value"] = row["outcomes"].get(name, row["value"])
        if not by_hand:
            return
    given = [
        {"number": row["number"], "state": row["state"]}
        | {f"value.{name}": value for name, value in row["outcomes"].items()}
        for row in rows
        if row["state"] != "complete" or set(found.outcomes) <= set(row["outcomes"])
    ]
    steps, values = run_curve({"kind": "bo", "metrics": {"goal": goals}}, given)
    best = dict(zip(steps, values, strict=True))
    latest: float | None = None
    for row in rows:
        latest = best.get(row["number"] + 1, latest)
        row["best"] = latest if row["state"] in ("complete", "failed") else None
        if len(found.goals) > 1:
            row["value"] = row["best"]


def _numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column of numbers and None as floats, a column of lists as it is."""
    if column.dtype != object:
        return column
    if column.map(lambda value: isinstance(value, (list, dict, str))).any():
        return column
    return pd.to_numeric(column, errors="coerce").astype("float64")
