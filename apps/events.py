"""Events: what a run says as it goes. Append-only, keyed `(run_id, seq)`; imports nothing heavy."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

EventKind = Literal["state", "observation", "metric", "posterior", "diagnostic", "artifact", "log"]


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: what sort of thing.
        step: trial number, round or environment step; None where it belongs to no step.
        payload: JSON-able: scalars and short lists.
        seq: 1, 2, ... within the run, without gaps; given by the store.
        time: seconds since 1970 (UTC); given by the store.
    """

    kind: EventKind
    step: int | None
    payload: Mapping[str, Any]
    seq: int = 0
    time: float = 0.0
