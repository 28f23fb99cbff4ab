"""Which methods of an experiment are best, close or worse on each problem, by Holm's tests."""

import altair as alt
import pandas as pd

from apps.spec import BUDGET_UNITS
from dashboards.cards import marks
from dashboards.cards.card import Card, NotYet
from dashboards.cards.picture import layer
from dashboards.experimenting import Experiment
from dashboards.theme import BEST, DATA, FAILED

WORDS = {"best": BEST, "close": DATA, "worse": FAILED}
SIGNS = {"best": "★", "close": "≈", "worse": "▼"}
LEAST_SEEDS = 6


def card(experiment: Experiment, budget: int) -> Card:
    """A cell per problem and method.

    Raises:
        NotYet: no seed is through with all methods.
    """
    rows = [r for r in (experiment.results or {}).get("tests") or [] if r["budget"] == budget]
    if experiment.plan is None or not rows:
        raise NotYet("Tests need a problem and a seed whose runs have ended for every method.")
    frame = pd.DataFrame(rows)
    frame["standing"] = [_standing(row) for row in rows]
    frame["sign"] = frame["standing"].map(SIGNS)
    frame["score"] = [f"{row['wins']}/{row['ties']}/{row['losses']}" for row in rows]
    problems = list(dict.fromkeys(frame["problem"]))
    methods = list(dict.fromkeys(frame["method"]))
    ys = dict(zip(problems, marks.distinct(problems, 30), strict=True))
    xs = dict(zip(methods, marks.distinct(methods, 22), strict=True))
    frame["row"], frame["column"] = frame["problem"].map(ys), frame["method"].map(xs)
    base = alt.Chart(frame).encode(
        x=alt.X("column:N", title="method", sort=list(xs.values())).axis(
            orient="top", labelAngle=-30, labelLimit=160
        ),
        y=alt.Y("row:N", title="problem", sort=list(ys.values())).axis(labelLimit=200),
        tooltip=[
            marks.tip("problem", "problem", "nominal"),
            marks.tip("method", "method", "nominal"),
            marks.tip("standing", "standing", "nominal"),
            marks.tip("best", "the best method", "nominal"),
            marks.tip("score", "wins/ties/losses against it", "nominal"),
            marks.tip("p_holm", "p after Holm's correction"),
            marks.tip("seeds", "seeds"),
        ],
    )
    cells = base.mark_rect(opacity=0.8, stroke="#FFFFFF", strokeOpacity=0.4).encode(
        color=alt.Color(
            "standing:N",
            title=None,
            scale=alt.Scale(domain=list(WORDS), range=list(WORDS.values())),
            legend=alt.Legend(orient="bottom", symbolStrokeWidth=0),
        )
    )
    texts = base.mark_text(fontSize=14, color="#FFFFFF").encode(text="sign:N")
    counts = frame.groupby("method", sort=False)["standing"].value_counts()
    best = [f"{m} {int(counts.get((m, 'best'), 0))}" for m in methods]
    few = int(frame["seeds"].min()) < LEAST_SEEDS
    weak = f" With fewer than {LEAST_SEEDS} seeds no test can find a difference." if few else ""
    unit = BUDGET_UNITS[experiment.plan.kind]
    return Card(
        title=f"{experiment.row.name}: best, close, worse after {budget:,} {unit}",
        reading="★ best: lowest median loss (or equal at every seed). ≈ close: not significantly"
        " worse than it (Wilcoxon's signed-rank test over seeds, Holm's correction within the"
        f" problem, 5 %). ▼ worse: significantly.{weak}",
        alt=f"On how many of {marks.counted(len(problems), 'problem')} each method is best:"
        f" {'; '.join(best)}.",
        data=frame.drop(columns=["row", "column", "sign", "score"]),
        chart=layer(cells, texts, height=max(26 * len(problems), 60)),
    )


def _standing(row: "dict[str, object]") -> str:
    """As RESULTS.md counts them."""
    if row["wins"] == row["losses"] == 0:
        return "best"
    return "worse" if row["worse"] else "close"
