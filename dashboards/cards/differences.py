"""What tells the compared runs apart: one row for everything asked that is not the same in all."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from apps.spec import RunSpec
from dashboards.cards.card import Card, NotYet
from dashboards.data import RunData

_ASKED = ("kind", "problem", "method", "seed", "budget")


def card(runs: Sequence[RunData], specs: Mapping[str, RunSpec] | None = None) -> Card:
    """A table, one column a run.

    Args:
        runs: at least two.
        specs: by run id; with them options, batch, device and the like are compared too.

    Raises:
        NotYet: fewer than two runs, or no difference.
    """
    if len(runs) < 2:
        raise NotYet("Differences need at least two runs.")
    asked = [_facts(data, (specs or {}).get(str(data.run["run_id"]))) for data in runs]
    names = list(dict.fromkeys(name for facts in asked for name in facts))
    differing = [n for n in names if len({_text(facts.get(n)) for facts in asked}) > 1]
    if not differing:
        raise NotYet("These runs were asked the same thing, in the same versions.")
    columns = {str(d.run["run_id"]): facts for d, facts in zip(runs, asked, strict=True)}
    table = pd.DataFrame(
        {
            "what": differing,
            **{run: [_text(facts.get(n)) for n in differing] for run, facts in columns.items()},
        }
    )
    return Card(
        title=f"Differences between {len(runs)} runs",
        reading="One row for everything asked, and every version, that is not the same in all"
        f" runs; {len(names) - len(differing)} more are the same.",
        alt=f"The runs differ in {', '.join(differing[:8])}.",
        data=table,
        chart=None,
    )


def _facts(data: RunData, spec: RunSpec | None) -> dict[str, Any]:
    """Everything asked of a run, flat."""
    facts: dict[str, Any] = {name: data.run.get(name) for name in _ASKED}
    if spec is not None:
        for name, value in dataclasses.asdict(spec).items():
            if isinstance(value, Mapping):
                what = "option" if name == "options" else "problem option"
                facts |= {f"{what} {key}": each for key, each in value.items()}
            elif name != "name":
                facts[name] = value
    versions: Mapping[str, Any] = data.run.get("versions") or {}
    return facts | {f"version of {name}": version for name, version in versions.items()}


def _text(value: Any) -> str:
    return "–" if value is None else str(value)
