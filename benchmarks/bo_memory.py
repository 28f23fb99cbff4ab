"""Memory of a long study: 1,000 trials in 20 dimensions, ask after ask, beside Optuna's GP.

Each method in a process of its own: a study of 1,000 random trials of Levy's function in memory,
then asks and tells. The peak is that of the whole process, imports included; growth is the greatest
memory over the last eight asks less that over the eight after the second, by when all that is
loaded late is loaded.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, Peer, Report, say, version_of

TRIALS, DIMENSIONS = 1_000, 20
MEGABYTE = 1e6
WINDOW = 8
OURS, OPTUNA = "auto", "optuna-gp"


def run(*, quick: bool) -> Report:
    """Measure (see `benchmarks.harness`)."""
    version = version_of("optuna", extra="peers")
    asks = {OURS: 2 + WINDOW + (4 if quick else 20), OPTUNA: 1 if quick else 3}
    samples: list[dict[str, Any]] = []
    for method, count in asks.items():
        say(f"{method}: {count} asks after {TRIALS} trials")
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.bo_memory", method, str(count)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        samples += [{"method": method, **row} for row in json.loads(ended.stdout)]
    ours = [row for row in samples if row["method"] == OURS]
    theirs = [row for row in samples if row["method"] == OPTUNA]
    resident = [row["resident"] for row in ours]
    growth = max(resident[-WINDOW:]) - max(resident[2 : 2 + WINDOW])
    mean = {
        m: sum(row["cpu_seconds"] for row in rows) / len(rows)
        for m, rows in ((OURS, ours), (OPTUNA, theirs))
    }
    claims = [
        Claim("peak memory", ours[-1]["peak"], theirs[-1]["peak"], 1_500.0, "MB"),
        Claim(f"growth over {len(ours) - WINDOW - 2} asks", growth, None, 20.0, "MB"),
        Claim("ask", mean[OURS], mean[OPTUNA], None, "CPU s"),
    ]
    settings = {"study": f"{TRIALS} random trials, levy{DIMENSIONS}", "asks": str(asks)}
    return Report("bo-memory", Peer(OPTUNA, version, settings), claims, samples)


def _measure(method: str, asks: int) -> list[dict[str, float]]:
    import numpy as np
    import torch

    from bo.methods import make_problem
    from bo.study import Study

    torch.set_num_threads(1)
    problem = make_problem(f"levy{DIMENSIONS}", {})
    study = Study(problem.space, problem.goal, method=method, seed=1)
    uniforms = np.random.default_rng(1).random((TRIALS, DIMENSIONS))
    for point in problem.space.from_uniforms(uniforms):
        study.add(point, problem.evaluate(point, seed=0))
    found: list[dict[str, float]] = []
    for _ in range(asks):
        (trial,) = study.ask()
        study.tell(trial, problem.evaluate(trial.parameters, seed=0))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        found.append(
            {
                "cpu_seconds": trial.ask_seconds or 0.0,
                "resident": pages * resource.getpagesize() / MEGABYTE,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE,
            }
        )
    return found


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))
