"""What constraints between parameters cost an ask, ours and Ax's.

Levy's function in 6 and 20 dimensions, n = 20, 50 and 200: one study of the whole box, one with a
linear inequality, one with a linear equality, one with a non-linear inequality. They ask in turn,
so that what else the machine does meets all alike; the first two asks of each warm it up, the
median of the others counts. The ratio is that to the ask without constraint. Ax is asked up to
n = 50 in 6 dimensions, without the equality, which it refuses.
"""

import statistics
import time
from typing import Any

from benchmarks.harness import Claim, Peer, Report, say, version_of
from bo.methods import make_problem
from bo.space import Space
from bo.study import Study

FREE = "none"
CONSTRAINTS = {
    FREE: (),
    "linear": ("x1 + x2 <= 0",),
    "equality": ("x1 + x2 + x3 == 0",),
    "non-linear": ("x1 * x2 <= 1",),
}
SIZES = ((6, 20), (6, 50), (6, 200), (20, 20), (20, 50), (20, 200))
WARM, ASKS = 2, 9
OURS, AX = "gp-map", "ax"


def run(*, quick: bool) -> Report:
    """Measure (see `benchmarks.harness`)."""
    import torch

    torch.set_num_threads(1)
    version = version_of("ax-platform", extra="ax")
    samples: list[dict[str, Any]] = []
    claims: list[Claim] = []
    for d, n in SIZES[:1] if quick else SIZES:
        asked = d == 6 and n <= 50
        ours = _measure(OURS, d, n, tuple(CONSTRAINTS), 3 if quick else ASKS)
        kinds = (FREE, "linear") if quick else (FREE, "linear", "non-linear")
        theirs = _measure(AX, d, n, kinds, 3) if asked else {}
        samples += [
            {"method": method, "d": d, "n": n, "constraint": kind, "cpu_seconds": seconds}
            for method, found in ((OURS, ours), (AX, theirs))
            for kind, seconds in found.items()
        ]
        ratio, peer = _ratios(ours), _ratios(theirs)
        claims += [
            Claim(
                f"{kind}, d={d} n={n}",
                ratio[kind],
                peer.get(kind),
                2.0 if kind == "linear" else None,
                "times",
            )
            for kind in ratio
        ]
    settings = {
        "constraints": "; ".join(f"{k}: {' '.join(c)}" for k, c in CONSTRAINTS.items() if c),
        "asks": f"{WARM} to warm up, then the median of {3 if quick else ASKS} (Ax 3)",
    }
    return Report("bo-constraints", Peer(AX, version, settings), claims, samples)


def _ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    cost = {kind: statistics.median(each) for kind, each in seconds.items()}
    return {kind: cost[kind] / cost[FREE] for kind in cost if kind != FREE}


def _measure(
    method: str, d: int, n: int, kinds: tuple[str, ...], asks: int
) -> dict[str, list[float]]:
    """CPU seconds of the asks with n outcomes and more, by kind of constraint."""
    from bo.strategies.sobol import first_points

    problem = make_problem(f"levy{d}", {})
    studies: dict[str, Study] = {}
    for kind in kinds:
        space = Space(problem.space.free, subject_to=CONSTRAINTS[kind])
        study = Study(space, problem.goal, method=method, options={"initial": 10}, seed=n)
        for point in first_points(space, problem.goals, n, [], n):
            study.add(point, problem.evaluate(point, seed=0))
        studies[kind] = study
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(WARM + asks):
        for kind, study in studies.items():
            began = time.process_time()
            (trial,) = study.ask()
            found[kind].append(time.process_time() - began)
            study.tell(trial, problem.evaluate(trial.parameters, seed=0))
    for kind, seconds in found.items():
        say(f"{method}, d = {d}, n = {n}, {kind}: {statistics.median(seconds[WARM:]):.3f} s")
    return {kind: seconds[WARM:] for kind, seconds in found.items()}
