"""`blackbox/NAME`: ready tables of real measurements, in the folder `blackbox` of `$WALD_DATA`.

Materials, chemistry, GPU kernels, configurations of software, hyperparameters of networks; sources,
licences and traps are told in the README beside the tables. Repeated measurements are averaged
(or drawn: `repeats=draw`), failed ones fail. Every column that is neither an outcome nor a remark
is an input. A table with several outcomes has one goal at a time, the first or that of the option
`goal`; outcomes over many decades are optimised as log10.

The tables of hyperparameters are arrays (configurations, seeds); row r is the configuration
`numpy.unravel_index(r, shape)` of the grid in `meta.json`, and NaN means a seed that was not run.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bo.contract import Problem
from bo.goals import Goal, Goals
from bo.problems.measurements import Input, Outcome, problem_of
from bo.problems.table import column_of, numbers, read_frame, read_header, statuses_of
from surrogates.errors import UsageError
from surrogates.options import option, options, unknown

_REMARKS = ("time_std_ms", "status")


class Table(NamedTuple):
    """A ready table.

    Attributes:
        file: path within the folder `blackbox`.
        goals: "direction name", or "direction name = column" where the column has another name.
        log: names of goals that are optimised as log10.
        ordinal: inputs that are ordered levels, where the column does not show it.
    """

    file: str
    goals: tuple[str, ...]
    log: tuple[str, ...] = ()
    ordinal: tuple[str, ...] = ()


_STORM = ("maximize throughput = Throughput+", "minimize latency = Latency-")

TABLES: dict[str, Table] = {
    "agnp": Table("pvlab/agnp.csv", ("minimize loss",)),
    "autoam": Table("pvlab/autoam.csv", ("maximize score = Score",)),
    "p3ht": Table("pvlab/p3ht.csv", ("maximize conductivity = Conductivity (measured) (S/cm)",)),
    "benzylation": Table("olympus/benzylation.csv", ("minimize impurity",)),
    "buchwald_a": Table("olympus/buchwald_a.csv.gz", ("maximize yield",)),
    "buchwald_b": Table("olympus/buchwald_b.csv.gz", ("maximize yield",)),
    "colors_bob": Table("olympus/colors_bob.csv", ("minimize difference_to_green",)),
    "electrochem": Table("olympus/electrochem.csv", ("maximize voltage",)),
    "hplc": Table("olympus/hplc.csv.gz", ("maximize peak_area",)),
    "lnp3": Table(
        "olympus/lnp3.csv.gz",
        ("maximize drug_loading", "maximize encap_efficiency", "minimize particle_diameter"),
        ordinal=("surfractant_input",),
    ),
    "oer_plate_3496": Table("olympus/oer_plate_3496.csv.gz", ("minimize overpotential",)),
    "oer_plate_3851": Table("olympus/oer_plate_3851.csv.gz", ("minimize overpotential",)),
    "photo_pce10": Table("olympus/photo_pce10.csv", ("minimize degradation",)),
    "snar": Table("olympus/snar.csv", ("minimize impurity",)),
    "suzuki_i": Table("olympus/suzuki_i.csv", ("maximize yield", "maximize turnover")),
    "suzuki_ii": Table("olympus/suzuki_ii.csv", ("maximize yield", "maximize turnover")),
    "suzuki": Table("edbo/suzuki.csv.gz", ("maximize yield",)),
    "aryl_amination": Table("edbo/aryl_amination.csv.gz", ("maximize yield",)),
    "gpu-convolution": Table("gpu_kernels/convolution_milo__A100.csv.gz", ("minimize time_ms",)),
    "gpu-dedispersion": Table(
        "gpu_kernels/dedispersion_milo__A100.csv.gz",
        ("minimize time_ms",),
        ordinal=("block_size_y",),
    ),
    "storm-a": Table("software/config__SS-A.csv.gz", _STORM),
    "storm-c": Table("software/config__SS-C.csv.gz", _STORM, log=("latency",)),
    "storm-d": Table("software/config__SS-D.csv.gz", _STORM, log=("latency",)),
    "hsqldb": Table(
        "software/config__SS-M.csv.gz",
        (
            "minimize energy = Benchmark-energy-",
            "minimize time = Benchmark-time-",
            "minimize cpu = Benchmark-cpu-",
        ),
    ),
    "sqlite": Table(
        "software/config__SQL_AllMeasurements.csv.gz", ("minimize performance = Performance-",)
    ),
    "x264": Table(
        "software/config__X264_AllMeasurements.csv.gz", ("minimize performance = Performance-",)
    ),
    "llvm": Table("software/systems__LLVM.csv.gz", ("minimize performance = PERF-",)),
    "hpobench-australian": Table("hpo_tables/hpobench__australian.npz", ("maximize score",)),
    "hpobench-car": Table("hpo_tables/hpobench__car.npz", ("maximize score",)),
    "hpobench-phoneme": Table("hpo_tables/hpobench__phoneme.npz", ("maximize score",)),
    "hpobench-segment": Table("hpo_tables/hpobench__segment.npz", ("maximize score",)),
    "hpolib-slice": Table(
        "hpo_tables/hpolib__slice_localization.npz", ("minimize mse",), log=("mse",)
    ),
    "nasbench201-cifar10": Table(
        "hpo_tables/nasbench201__cifar10.npz", ("maximize accuracy_percent",)
    ),
}


@options
class Options:
    """Which outcome, and what to do with repeats."""

    goal: str = option(
        default="", help="name of the outcome to optimise; the table's first where empty"
    )
    repeats: str = option(
        default="mean",
        help="repeated measurements: average them, or draw one by the evaluation's seed",
        choices=("mean", "draw"),
    )


def data_folder() -> Path:
    """The folder of `$WALD_DATA`. Raises `UsageError` where it is not set or not a folder."""
    told = os.environ.get("WALD_DATA", "")
    if not told or not Path(told).is_dir():
        got = f"no folder at {told}" if told else "nothing"
        raise UsageError(
            f"expected a data folder, got {got}; set WALD_DATA to the folder that holds blackbox/"
        )
    return Path(told)


def problem(name: str, options: Options) -> Problem:
    """The problem of `blackbox/NAME`. Raises `UsageError` where name, goal or data are unknown."""
    short = name.removeprefix("blackbox/")
    if short not in TABLES:
        raise UsageError(unknown("table of blackbox/", short, TABLES))
    table = TABLES[short]
    column, goal = _goal(table, options.goal, name)
    path = data_folder() / "blackbox" / table.file
    if not path.is_file():
        raise UsageError(f"expected a table at {path}, got no file; set WALD_DATA to its folder")
    columns, values, statuses, ordinals = (
        _read_grid(path) if path.suffix == ".npz" else _read_table(path, table, column)
    )
    outcome = Outcome(goal.name, values, log=goal.name in table.log)
    return problem_of(
        name,
        columns,
        {key: Input(type="ordinal" if key in ordinals else "") for key in columns},
        [outcome],
        Goals((dataclasses.replace(goal, name=outcome.shown),)),
        repeats="draw" if options.repeats == "draw" else "mean",
        statuses=statuses,
        notes=_others(table, goal),
    )


def _goal(table: Table, wanted: str, name: str) -> tuple[str, Goal]:
    known = dict(_column_and_goal(text) for text in table.goals)
    names = {goal.name: (column, goal) for column, goal in known.items()}
    if wanted and wanted not in names:
        raise UsageError(unknown(f"goal of {name}", wanted, names))
    return names[wanted or next(iter(names))]


def _column_and_goal(text: str) -> tuple[str, Goal]:
    told, _, column = text.partition(" = ")
    goal = Goal.parse(told)
    return column or goal.name, goal


def _others(table: Table, goal: Goal) -> list[str]:
    others = [g.name for _, g in map(_column_and_goal, table.goals) if g.name != goal.name]
    return [f"other goals: {', '.join(others)}"] if others else []


_Read = tuple[dict[str, pd.Series], NDArray[np.float64], pd.Series | None, tuple[str, ...]]


def _read_table(path: Path, table: Table, column: str) -> _Read:
    apart = {*_REMARKS, *(found for found, _ in map(_column_and_goal, table.goals))}
    inputs = [name for name in read_header(path) if name not in apart]
    frame = read_frame(path, inputs=inputs, goals=[column])
    outcomes = numbers(column_of(frame, column), column, path.name)[:, None]
    columns = {name: column_of(frame, name) for name in inputs}
    return columns, outcomes, statuses_of(frame), table.ordinal


def _read_grid(path: Path) -> _Read:
    meta = path.with_name("meta.json")
    family = path.stem.partition("__")[0]
    try:
        space = json.loads(meta.read_text(encoding="utf-8"))["families"][family]["space"]
        with np.load(path, allow_pickle=False) as arrays:
            outcomes = arrays["values"].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"expected a readable grid at {path} and {meta.name}: {error}") from None
    codes = np.unravel_index(np.arange(len(outcomes)), [len(levels) for levels in space.values()])
    columns = {
        name: pd.Series(np.array(levels)[code])
        for (name, levels), code in zip(space.items(), codes, strict=True)
    }
    numeric = tuple(name for name, levels in space.items() if not isinstance(levels[0], str))
    return columns, outcomes, None, numeric
