"""Which rows are checked: those of the catalogs, and those that `--row` names.

A third party runs the suite on a method of their own without touching wald:

    pytest tests/contracts --row "surrogate mine my_package.my_method:fit joint,gradients"

The words are KIND NAME MODULE:FACTORY [CAPABILITIES] [OPTION=VALUE ...]; capabilities are joined
by commas, `-` stands for none, and the options are those under which a slow method is checked.
"""

import functools
from pathlib import Path
from typing import Any

import pytest

from bo.methods import method_rows, problem_rows
from bo.problems import estimators
from rl import catalog as rl_catalog
from surrogates.catalog import SURROGATES
from surrogates.errors import UsageError
from surrogates.options import build
from surrogates.registry import Row, rows

KINDS = {
    "surrogate": "surrogate",
    "bo-method": "bo",
    "bo-problem": "bo",
    "bandit-method": "bandit",
    "bandit-problem": "bandit",
    "rl-method": "rl",
    "rl-problem": "rl",
}
"""What `--row` may name, and the kind that such a row has in its catalog."""

_DATA_SETS = ("australian", "car", "phoneme", "segment")
_QUICK = ("knn-diabetes", "svm-rbf-diabetes", "dt-diabetes", "lasso-diabetes", "linear-diabetes")
_SURROGATE = {
    "joint",
    "gradients",
    "fantasies",
    "categorical",
    "multi-output",
    "paths",
    "mixture",
}
CAPABILITIES = {
    "surrogate": _SURROGATE,
    "bo-method": {"pending", "pool", "goals", "constraints"} | _SURROGATE,
    "bo-problem": {"optimum", "pool", "noisy", "data", "goals", "constraints", "fidelity"},
    "bandit-method": {"disjoint", "shared", "context", "binary-only"},
    "bandit-problem": {"binary", "context"},
    "rl-method": set[str](),
    "rl-problem": set[str](),
}
"""The words that a row of each kind may declare."""

REDUCED: dict[str, dict[str, Any]] = {
    "bo.strategies.peers.smac:SMAC": {"challengers": 100, "budget": 20},
    "surrogates.gp.saas:fit": {
        "num_samples": 64,
        "warmup_steps": 64,
        "thinning": 8,
        "max_tree_depth": 5,
    },
    "surrogates.gp.hmc:fit": {"chains": 8, "draws": 16, "most_draws": 64, "kept": 16},
    "surrogates.gp.nuts:fit": {"chains": 8, "draws": 16, "most_draws": 64, "kept": 16},
    "surrogates.gp.smc:fit": {"particles": 64, "kept": 16},
    "surrogates.gp.laplace:fit": {"kept": 16},
    "surrogates.gp.vi_meanfield:fit": {"kept": 16, "most_points": 128},
    "surrogates.gp.vi_fullrank:fit": {"kept": 16, "most_points": 128},
    "surrogates.gp.vi_flow:fit": {"kept": 16, "most_iterations": 400},
    "surrogates.gp.vi_bures:fit": {"kept": 16, "most_points": 128},
    "bo.problems.tuning:problem": {"rows": 150},
    "bo.problems.lunar_lander:problem": {"episodes": 2},
    "rl.agents.dqn:agent": {"start": 32, "batch": 8, "replay": 64, "width": 16},
    "rl.environments.cartpole:environments": {"time_limit": 15},
    "rl.environments.classic:environments": {"time_limit": 15},
}
"""By factory, options under which the checks are quick; whoever is quick already needs none."""

SLOW = {
    "gp-nuts",
    "gp-vi-flow",
    "hebo",
    "penicillin",
    "saas",
    *(f"ax:{name}" for name, *_ in SURROGATES),
    "blackbox/hpolib-slice",
    *(f"blackbox/hpobench-{d}" for d in _DATA_SETS),
    *(name for name in estimators.NAMES if not name.endswith("-wine") and name not in _QUICK),
}
"""Rows that take seconds to load, ask or evaluate (tables of 30,000 rows and more, digits, HEBO,
chains that JAX compiles), or that are much like others; checked with `-m slow`."""

EXAMPLES = {
    "coco/bbob-f<k>-d<d>-i<i>": ("coco/bbob-f8-d2-i1", "cocoex"),
    "coco/bbob-mixint-f<k>-d<d>-i<i>": ("coco/bbob-mixint-f15-d5-i2", "cocoex"),
    "lunarlander-controller": ("lunarlander-controller", "Box2D"),
}
"""Names of problems behind an extra, and the module that it brings."""


def catalog(kind: str) -> list[Row]:
    """The catalog rows of one of `KINDS`."""
    if kind == "surrogate":
        return rows(SURROGATES)
    if kind == "bo-method":
        return method_rows()
    if kind == "bo-problem":
        return problem_rows()
    raw = rl_catalog.METHODS if kind.endswith("method") else rl_catalog.PROBLEMS
    return [row for row in rows(raw) if row.kind == KINDS[kind]]


def given(text: str) -> tuple[str, Row]:
    """Kind and row of a `--row`. Raises `pytest.UsageError`."""
    words = text.split()
    if len(words) < 3 or words[0] not in KINDS or ":" not in words[2]:
        raise pytest.UsageError(
            f"--row expected 'KIND NAME MODULE:FACTORY [CAPABILITIES] [OPTION=VALUE ...]' with "
            f"KIND one of {', '.join(KINDS)}, got {text!r}"
        )
    kind, name, factory, *more = words
    settings = dict(word.split("=", 1) for word in more if "=" in word)
    told = {word for words in more if "=" not in words for word in words.split(",")} - {"-"}
    if settings:
        REDUCED[factory] = dict(settings)
    return kind, Row(name, factory, KINDS[kind], frozenset(told), "Given by --row")


def checks_of(module: Any) -> list[Any]:
    """The check functions of a module, in their order."""
    return [check for name, check in vars(module).items() if name.startswith("check_")]


def title(check: Any) -> str:
    """What a check says, for the test's id."""
    return check.__name__.removeprefix("check_")


def options_of(row: Row) -> Any:
    """The row's options, reduced where there is a way."""
    return build(row.options(), REDUCED.get(row.factory, {}), owner=row.name)


@functools.cache
def smallest_dimension(row: Row) -> str:
    """The name with the smallest dimension from 2 to 10 that the problem has."""
    for d in range(2, 11):
        name = row.name.replace("<d>", str(d))
        try:
            row.load()(name, options_of(row))
        except UsageError:
            continue
        return name
    raise AssertionError(f"{row.name} has no dimension from 2 to 10")


def example(row: Row, folder: Path) -> str:
    """A concrete name of a row whose name may hold a placeholder; its files are in the folder."""
    if row.name in EXAMPLES:
        name, module = EXAMPLES[row.name]
        pytest.importorskip(module)
        return name
    if "<d>" in row.name:
        return smallest_dimension(row)
    if row.name == "table:<file>":
        return f"table:{write_table(folder)}"
    if row.name == "csv:<file>":
        return f"csv:{write_csv(folder)}"
    if "<" in row.name:
        pytest.skip(f"no example of {row.name} is known; add one to tests/contracts/rows.py")
    return row.name


def write_table(folder: Path) -> Path:
    """A table of measurements: a choice, a number, repeats and a failed row."""
    lines = [f"{'abc'[i % 3]},{i % 4},{(i % 4 - 1.5) ** 2 + i % 3}" for i in range(24)]
    (folder / "table.csv").write_text("\n".join(["metal,dose,loss", *lines, "a,9,"]) + "\n")
    path = folder / "table.toml"
    path.write_text(
        'table = "table.csv"\n[inputs.metal]\n[inputs.dose]\n[goals.loss]\ndirection = "minimize"\n'
    )
    return path


def write_csv(folder: Path) -> Path:
    """A labelled data set: a number, a text and the label."""
    path = folder / "labels.csv"
    lines = [f"{i % 7},{'uvw'[i % 3]},{'yes' if i % 7 > 3 else 'no'}" for i in range(40)]
    path.write_text("\n".join(["size,shape,good", *lines]) + "\n")
    return path
