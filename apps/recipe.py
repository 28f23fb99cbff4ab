"""`wald demo NAME`: one of the applications in `apps/recipes/`.

A recipe is NAME.toml with NAME.md beside it, its page of text. The TOML is an experiment
(docs/experiments.md), or a study whose points are measured elsewhere:

    study = "glue"                       # its name in the store
    space = "by-hand-space.toml"
    goal = "maximize strength"
    subject_to = ["cost <= 30"]
    batch = 3                            # points per ask
    rounds = 6
    laboratory = "module:function"       # measures a point in the user's place
"""

import shlex
import tomllib
from collections.abc import Mapping
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from surrogates.errors import UsageError
from surrogates.options import unknown


def names() -> list[str]:
    """Of all recipes."""
    folder = resources.files("apps.recipes")
    return sorted(f.name.removesuffix(".md") for f in folder.iterdir() if f.name.endswith(".md"))


def recipe(name: str, store: str, seed: int) -> dict[str, Any]:
    """Run a recipe; where it was interrupted it goes on, where it is finished it is shown.

    Args:
        name: one of `names()`.
        store: URL or path.
        seed: of a study; an experiment has its own.

    Returns:
        `recipe`, `page` (Markdown), `state`, and `experiment` (what `wald experiment` tells) or
        `commands` (what was done, as a user would type it) and `study` (as `wald show` tells it).

    Raises:
        UsageError: there is no such recipe.
    """
    if name not in names():
        raise UsageError(unknown("recipe", name, names()))
    folder = resources.files("apps.recipes")
    page = (folder / f"{name}.md").read_text(encoding="utf-8")
    with resources.as_file(folder / f"{name}.toml") as file:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
        if "study" in told:
            space = file.with_name(told["space"])
            return {"recipe": name, "page": page, **_by_hand(told, space, store, seed)}
        from apps.experiment import experiment

        found = experiment(str(file), store, command=["wald", "demo", name])
    return {"recipe": name, "page": page, "state": found["state"], "experiment": found}


def _by_hand(told: Mapping[str, Any], space: Path, store: str, seed: int) -> dict[str, Any]:
    from apps.optimize import ask, tell
    from apps.store import Store
    from apps.summary import find_object
    from bo.study import Study

    module, _, function = told["laboratory"].partition(":")
    measure = getattr(import_module(module), function)
    name, n = told["study"], told["batch"]
    first = ["--space", space.name, "--goal", told["goal"]]
    first += [word for text in told["subject_to"] for word in ("--subject-to", text)]
    commands: list[str] = []
    opened = Store.open(store, create=True)
    while True:
        there = name in [study[0] for study in opened.studies()]
        trials = Study.resume(name, store=store).trials if there else []
        for trial in trials:
            if not trial.done:
                outcome = measure(trial.parameters, seed + trial.number)
                pairs = [f"{goal}={value}" for goal, value in outcome.items()]
                tell(name, trial.number, pairs, store)
                commands.append(shlex.join(["wald", "tell", name, str(trial.number), *pairs]))
        if len(trials) >= n * told["rounds"]:
            break
        words = ["wald", "ask", name, "-n", str(n), *([] if there else first)]
        commands.append(shlex.join(words))
        given: dict[str, Any] = {"goal": told["goal"], "subject_to": told["subject_to"]}
        ask(name, n, store, space=str(space), seed=seed, **given)
    return {"state": "finished", "commands": commands, "study": find_object(opened, name)}
