"""Pictures of the pages for the README and the docs: `make screenshots`.

Runs real methods on real problems in a temporary folder, opens `wald up` in a headless Chromium,
and writes every page in both themes to `docs/images/`.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from apps.experiment import experiment
from apps.launch import quietly
from apps.spec import RunSpec
from benchmarks.browsing import Up, browser, charts, opened, wait_for

OUT = Path(__file__).resolve().parent / "images"
QUICK = Path(__file__).resolve().parents[1] / "experiments" / "quick.toml"
WIDTH, HEIGHT = 1440, 1000
FINISHED = [
    *(RunSpec("bo", "branin", m, s, 25) for m in ("gp-map", "sobol") for s in (1, 2, 3)),
    *(RunSpec("bandit", "digits", m, s, 3_000) for m in ("ts-linear", "linucb") for s in (1, 2)),
    RunSpec("bo", "hartmann6", "gp-hmc", 1, 30),
    RunSpec("bandit", "bernoulli", "ts-beta", 1, 3_000),
    RunSpec("rl", "cartpole", "dqn", 1, 30_000),
]
RUNNING = RunSpec("bo", "svm-digits", "gp-map", 7, 200)


def main() -> None:
    """Make the runs, then the pictures."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wald-screenshots-") as name:
        os.chdir(name)
        ids: dict[str, list[str]] = {}
        for spec in FINISHED:
            print(f"{spec.method} on {spec.problem}, seed {spec.seed}", file=sys.stderr)
            run = quietly(spec, "sqlite:///wald.db")
            ids.setdefault(spec.problem, []).append(run["run_id"])
        experiment(str(QUICK), "sqlite:///wald.db", workers=1)
        with Up(Path(name), "--workers", "1") as up, browser() as chrome:
            with opened(Path(name)) as store:
                store.submit("live", RUNNING)
                wait_for(lambda: store.steps_of("live", "posterior"), "the model's first view")
                wait_for(lambda: store.published(), "the catalog")
            pages = {
                "first-look": "run?run=live",
                "overview": "overview",
                "run-live": "run?run=live",
                "run-branin": f"run?run={ids['branin'][0]}",
                "run-bayesian": f"run?run={ids['hartmann6'][0]}",
                "run-bandit": f"run?run={ids['bernoulli'][0]}",
                "run-agent": f"run?run={ids['cartpole'][0]}",
                "compare": f"compare?runs={','.join(ids['branin'])}",
                "experiments": "experiments?experiment=quick",
                "start-experiment": "start?what=experiment&bo.problems=branin&bo.methods=gp-map",
                "start": "start",
                "health": "health",
            }
            for scheme in ("light", "dark"):
                for title, path in pages.items():
                    _picture(chrome, f"{up.url}/{path}", scheme, OUT / f"{title}-{scheme}.png")
            with opened(Path(name)) as store:
                store.request("live", "stop")
                wait_for(lambda: not store.runs_in(("running",)), "the live run to stop")


def _picture(chrome: Any, url: str, scheme: str, file: Path) -> None:
    """The whole page, once nothing more appears on it."""
    context = chrome.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, device_scale_factor=1
    )
    page = context.new_page()
    page.goto(url)
    page.locator("h1, h2").first.wait_for(timeout=60_000)
    drawn, still = -1, 0
    while still < 4:
        page.wait_for_timeout(500)
        now = charts(page) + page.locator('[data-testid="stDataFrame"]').count()
        drawn, still = now, still + 1 if now == drawn else 0
    tall = 1_260  # what the README shows: the top of the page
    if not file.name.startswith("first-look"):
        tall = page.evaluate(
            """() => Math.max(...[...document.querySelectorAll('*')].map(e => e.scrollHeight))"""
        )
    page.set_viewport_size({"width": WIDTH, "height": min(max(int(tall), HEIGHT), 6_000)})
    page.wait_for_timeout(1_500)
    part = {} if not file.name.startswith("run-bayesian") else {"clip": _draws(page)}
    page.screenshot(path=str(file), **part)
    print(file, file=sys.stderr)
    context.close()


def _draws(page: Any) -> dict[str, float]:
    """Where a page shows the hyperparameters: from that heading to the next one."""
    top, end = (
        page.get_by_role("heading", name=name).bounding_box()["y"]
        for name in ("Its hyperparameters", "How it goes")
    )
    return {"x": 0, "y": top - 16, "width": WIDTH, "height": end - top}


if __name__ == "__main__":
    main()
