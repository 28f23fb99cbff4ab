"""What a BO run believes, written as it goes: posterior and diagnostic events. No paper.

Right after each ask, before its trial is evaluated, so that a page shows what the model thinks and
what it will try next while that is being tried.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apps.events import Event
from bo.contract import Believer, Trial
from bo.health import health
from bo.study import Study


class Snapshots:
    """The hook of one run.

    Args:
        study: whose asks are drawn.
        earlier: the run's posterior and observation events so far (after a resume).
        every: asks from one picture to the next; 0 for none.
        write: takes events.
    """

    def __init__(
        self,
        study: Study,
        earlier: Sequence[Event],
        *,
        every: int,
        write: Callable[[Sequence[Event]], None],
    ) -> None:
        self.study = study
        self.write = write
        self.told_failure = False
        self.predicted: dict[int, Mapping[str, Any]] = {}
        self.checked: list[tuple[float, float, float]] = []
        last: int | None = None
        for event in earlier:
            if event.kind == "posterior" and event.step is not None:
                last = max(event.step, -1 if last is None else last)  # some are drawn later
                self._remember(event.step, event.payload)
            elif event.payload.get("predicted") is not None:
                self.checked.append(_judged(event.payload["predicted"], event.payload["value"]))
        if every > 0 and isinstance(study.strategy, Believer):
            from bo.snapshot import SnapshotBudget  # loads BoTorch, which others do without

            self.budget = SnapshotBudget(every=every, last=last)
            study.after_ask = self._asked

    def prediction(self, trial: Trial) -> dict[str, Any]:
        """What the model had said about a trial, to be kept with its observation."""
        told = self.predicted.pop(trial.number, None)
        value = trial.values.get(self.study.goals.goals[0].name)
        if told is None or value is None or trial.state != "complete":
            return {}
        self.checked.append(_judged(told, value))
        return {"predicted": dict(told)}

    def _asked(
        self, before: Sequence[Trial], new: list[Trial], state: Mapping[str, Any] | None
    ) -> None:
        self.budget.asked(sum(trial.ask_seconds or 0.0 for trial in new))
        try:
            events = self._look(before, new, {} if state is None else state)
        except Exception:  # noqa: BLE001 - a picture that fails is no reason to end a run
            if self.told_failure:
                return
            self.told_failure = True
            events = [Event("log", None, {"traceback": traceback.format_exc()})]
        if events:
            self.write(events)

    def _look(
        self, before: Sequence[Trial], new: list[Trial], state: Mapping[str, Any]
    ) -> list[Event]:
        from bo.snapshot import predictions, snapshot

        told = predictions(self.study, before, new)
        self.predicted |= told
        events: list[Event] = []
        if told and "diagnostics" in state:  # the first that the model chose, as in the picture
            light = health(state["diagnostics"], self.checked)
            events.append(Event("diagnostic", min(told), light))
        if self.budget.wants(new[0].number):
            began = time.process_time()
            picture = snapshot(self.study, before, new)
            if picture is not None:
                self.budget.took(picture["next"]["number"], time.process_time() - began)
                events.append(Event("posterior", picture["next"]["number"], picture))
        return events

    def _remember(self, number: int, picture: Mapping[str, Any]) -> None:
        """The prediction of a trial that an earlier process asked and did not finish."""
        upcoming = picture["next"]
        if upcoming["mean"] is not None and upcoming["predictive_std"] is not None:
            told = {"mean": upcoming["mean"], "std": upcoming["predictive_std"]}
            kept = {"quantiles": upcoming["quantiles"]} if upcoming.get("quantiles") else {}
            self.predicted[number] = told | kept


def _judged(told: Mapping[str, Any], outcome: float) -> tuple[float, float, float]:
    """Mean, std and outcome; of a mixture the normal in which the outcome has the same place."""
    if not told.get("quantiles"):
        return told["mean"], told["std"], outcome
    from bo.mixtures import normal_score

    score = normal_score(outcome, told["quantiles"])
    return outcome - score * told["std"], told["std"], outcome
