"""Tables told by a TOML file: types, repeats, failures, scales, and bad files."""

import gzip
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bo.contract import Problem
from bo.problems.table import Options, problem
from surrogates.errors import DataError, NotInstalledError, UsageError
from surrogates.options import build

CSV = """\
ligand,temperature,flow,flag,stirred,solvent,stage,yield,status
L1,20,0.5,0,True,None,2,10.0,ok
L2,20,1.5,1,False,NA,2,20.0,ok
L2,20,1.5,1,False,NA,2,40.0,ok
L1,40,2.5,0,True,NA,2,,exploded
L1,60,3.5,1,False,None,2,5.0,ok
L1,60,3.5,1,False,None,2,,leaked
"""
INPUTS = "".join(
    f"[inputs.{name}]\n"
    for name in ("ligand", "temperature", "flow", "flag", "stirred", "solvent", "stage")
)
GOAL = '[goals.yield]\ndirection = "maximize"\n'
MADE = Callable[..., Problem]


@pytest.fixture
def make(tmp_path: Path) -> MADE:
    """A problem from the texts of a TOML file and its csv file."""

    def build_problem(
        toml: str = f'table = "data/t.csv"\n{INPUTS}{GOAL}', csv: str = CSV, **given: str
    ) -> Problem:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "t.csv").write_text(csv, encoding="utf-8")
        (tmp_path / "data" / "t.csv.gz").write_bytes(gzip.compress(csv.encode()))
        (tmp_path / "t.toml").write_text(toml, encoding="utf-8")
        return problem(f"table:{tmp_path / 't.toml'}", build(Options, given, owner="a table"))

    return build_problem


def only(inputs: str, goal: str = GOAL, first: str = 'table = "data/t.csv"\n') -> str:
    return f"{first}{inputs}\n{goal}"


def test_types_come_from_the_columns(make: MADE) -> None:
    parameters = make().space.parameters
    assert {name: parameter.type for name, parameter in parameters.items()} == {
        "ligand": "choice",
        "temperature": "ordinal",
        "flow": "real",
        "flag": "boolean",
        "stirred": "boolean",
        "solvent": "choice",
        "stage": "fixed",
    }
    assert parameters["temperature"].values == (20, 40, 60)
    assert parameters["solvent"].values == ("NA", "None")  # names of levels, not empty cells
    assert (parameters["flow"].low, parameters["flow"].high) == (0.5, 3.5)


def test_pool_repeats_and_failures(make: MADE) -> None:
    made = make()
    pool = made.space.candidates
    assert pool is not None
    assert len(pool) == 4
    assert pool[1] == {
        "ligand": "L2",
        "temperature": 20,
        "flow": 1.5,
        "flag": True,
        "stirred": False,
        "solvent": "NA",
        "stage": 2,
    }
    assert str(made.goal) == "maximize yield"
    assert made.optimum == 30.0
    assert [made.evaluate(pool[i], seed=0) for i in (0, 1, 3)] == [10.0, 30.0, 5.0]
    with pytest.raises(DataError, match="the measurement failed: status exploded"):
        made.evaluate(pool[2], seed=0)
    assert made.note is not None
    assert "4 measurements of 3 distinct rows, repeats are averaged" in made.note
    assert "1 of 4 rows are failed" in made.note
    assert "constant: stage" in made.note


def test_fixed_parameters_may_be_left_out(make: MADE) -> None:
    made = make()
    assert made.space.candidates is not None
    point = {k: v for k, v in made.space.candidates[1].items() if k != "stage"}
    assert made.evaluate(point, seed=0) == 30.0


def test_draws(make: MADE) -> None:
    made = make(f'repeats = "draw"\ntable = "data/t.csv.gz"\n{INPUTS}{GOAL}')
    assert made.space.candidates is not None
    row = made.space.candidates[1]
    values = [made.evaluate(row, seed=seed) for seed in range(40)]
    assert set(map(str, values)) == {"20.0", "40.0"}
    assert values == [made.evaluate(row, seed=seed) for seed in range(40)]
    # An empty repeat of a row that was also measured is never drawn.
    assert all(made.evaluate(made.space.candidates[3], seed=seed) == 5.0 for seed in range(20))
    assert made.optimum == 30.0
    assert make(repeats="draw").note != make().note


def test_log_scale(make: MADE) -> None:
    goal = '[goals.yield]\ndirection = "minimize"\nscale = "log"'
    made = make(only("[inputs.ligand]\n[inputs.temperature]", goal))
    assert made.space.candidates is not None
    assert str(made.goal) == "minimize log10_yield"
    assert made.optimum == math.log10(5.0)
    assert made.evaluate(made.space.candidates[0], seed=0) == {"log10_yield": 1.0, "yield": 10.0}


def test_given_types(make: MADE) -> None:
    made = make(
        only(
            '[inputs.ligand]\ntype = "ordinal"\nvalues = ["L2", "L1", "L3"]\n'
            '[inputs.temperature]\ntype = "integer"\nlow = 10\nhigh = 100\nlog = true\n'
            "[inputs.flow]\nlog = true\n"
            '[inputs.solvent]\ntype = "categorical"\n'
            '[inputs.stage]\ntype = "fixed"\nvalue = 2\n'
        )
    )
    ligand, temperature, flow, solvent, stage = made.space.parameters.values()
    assert (ligand.type, ligand.values) == ("ordinal", ("L2", "L1", "L3"))
    assert (temperature.type, temperature.low, temperature.high) == ("integer", 10, 100)
    assert (flow.type, flow.log) == ("real", True)
    assert (solvent.type, stage.type) == ("choice", "fixed")


def test_a_fixed_value_selects_rows(make: MADE) -> None:
    made = make(only('[inputs.temperature]\n[inputs.ligand]\ntype = "fixed"\nvalue = "L1"'))
    assert made.space.candidates is not None
    assert [row["temperature"] for row in made.space.candidates] == [20, 40, 60]
    assert made.optimum == 10.0


def test_numbers_are_read_to_the_last_digit(make: MADE) -> None:
    numbers = np.random.default_rng(0).random(200).tolist()
    csv = "x,yield\n" + "".join(f"{x!r},{x!r}\n" for x in numbers)
    made = make(only("[inputs.x]"), csv)
    assert all(made.evaluate({"x": x}, seed=0) == x for x in numbers)


def test_byte_order_mark_and_spaces(make: MADE) -> None:
    made = make(only("[inputs.x]"), "\ufeffx, yield\r\n1.5, 2 \r\n2.5, 3\r\n")
    assert made.optimum == 3.0


def test_parquet(make: MADE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {"a": pd.Categorical(["u", "v", "u"]), "b": [True, False, False], "yield": [1.0, 2.0, None]}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    toml = only("[inputs.a]\n[inputs.b]", first='table = "t.parquet"\n')
    made = make(toml)
    assert {p.type for p in made.space.parameters.values()} == {"choice", "boolean"}
    assert made.optimum == 2.0
    with pytest.raises(UsageError, match="did you mean 'yield'"):
        make(toml.replace("goals.yield", "goals.yields"))

    def absent(path: Path) -> None:
        raise ImportError

    monkeypatch.setattr(pd, "read_parquet", absent)
    with pytest.raises(NotInstalledError, match="pip install pyarrow"):
        make(toml)


def test_descriptors_are_used_and_checked(make: MADE, tmp_path: Path) -> None:
    toml = only('[inputs.flow]\n[inputs.ligand]\ndescriptors = "d.csv"\nkey = "name"')
    (tmp_path / "d.csv").write_text("name,mass\nL1,3\nL2,4\n", encoding="utf-8")
    parameter = make(toml).space.parameters["ligand"]
    assert parameter.descriptors == ((3.0,), (4.0,))
    assert parameter.encode(["L1", "L2"]).tolist() == [[0.0], [1.0]]
    (tmp_path / "d.csv").write_text("name,mass\nL1,3\n", encoding="utf-8")
    with pytest.raises(UsageError, match="a row for every level, got none for 'L2'"):
        make(toml)
    with pytest.raises(UsageError, match="did you mean 'name'"):
        make(toml.replace('"name"', '"names"'))
    with pytest.raises(UsageError, match="got no file"):
        make(toml.replace("d.csv", "e.csv"))
    with pytest.raises(UsageError, match="give both or neither"):
        make(toml.replace('key = "name"', ""))


def test_a_variable_of_the_environment_counts_in_a_path(
    make: MADE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = only("[inputs.ligand]", first='table = "$TABLES/t.csv"\n')
    monkeypatch.delenv("TABLES", raising=False)
    with pytest.raises(UsageError, match="no such variable"):
        make(toml)
    monkeypatch.setenv("TABLES", str(tmp_path / "data"))
    assert len(make(toml).space.candidates or ()) == 2


def test_points_outside_the_table(make: MADE) -> None:
    made = make(only("[inputs.ligand]\n[inputs.flow]"))
    with pytest.raises(UsageError, match="expected one of the 4 rows"):
        made.evaluate({"ligand": "L2", "flow": 2.5}, seed=0)
    with pytest.raises(UsageError, match=r"0\.5 to 3\.5"):
        made.evaluate({"ligand": "L2", "flow": 9.0}, seed=0)
    with pytest.raises(UsageError, match="flow"):
        made.evaluate({"ligand": "L2"}, seed=0)


def test_travels_to_a_worker(make: MADE) -> None:
    made = pickle.loads(pickle.dumps(make()))
    assert made.evaluate(made.space.candidates[1], seed=0) == 30.0


TRADE = """\
x,yield,cost,waste
1,10,1,5
2,20,4,5
3,15,5,5
4,30,10,50
5,40,,5
"""
TRADED = '[goals.yield]\ndirection = "maximize"\n[goals.cost]\ndirection = "minimize"\n'


def test_several_goals_have_the_front_of_the_table(make: MADE) -> None:
    made = make(only("[inputs.x]", TRADED), TRADE)
    assert [str(goal) for goal in made.goals.goals] == ["maximize yield", "minimize cost"]
    # The front is rows 1, 2 and 4: yields 10 to 30, costs 1 to 10, and a tenth of that beyond.
    assert made.goals.reference == pytest.approx((8.0, 10.9))
    assert made.optimum == pytest.approx(22 * 0.9 + (20 - 8) * (10 - 4) + (10 - 8) * (4 - 1))
    assert made.evaluate({"x": 2}, seed=0) == {"yield": 20.0, "cost": 4.0}
    with pytest.raises(DataError, match="no value"):
        made.evaluate({"x": 5}, seed=0)
    given = make(
        only("[inputs.x]", TRADED, 'table = "data/t.csv"\nreference = { yield = 0, cost = 20 }\n'),
        TRADE,
    )
    assert given.goals.reference == (0.0, 20.0)
    assert given.optimum == pytest.approx(30 * 10 + 20 * 6 + 10 * 3)


def test_constraints_speak_of_any_column_of_outcomes(make: MADE) -> None:
    toml = only(
        "[inputs.x]", GOAL, 'table = "data/t.csv"\nsubject_to = ["waste <= 10", "yield <= 35"]\n'
    )
    made = make(toml, TRADE)
    assert str(made.goals) == "maximize yield subject to waste <= 10, yield <= 35"
    assert made.optimum == 20.0
    assert made.evaluate({"x": 4}, seed=0) == {"yield": 30.0, "waste": 50.0}
    logged = make(toml.replace("direction", 'scale = "log"\ndirection'), TRADE)
    assert logged.optimum == pytest.approx(math.log10(20.0))
    found = logged.evaluate({"x": 4}, seed=0)
    assert found == pytest.approx({"log10_yield": math.log10(30), "yield": 30.0, "waste": 50.0})


TWO_GOALS = GOAL + '[goals.flow]\ndirection = "minimize"'
BAD_TOML = [
    ("table = ", "readable TOML"),
    (only("[inputs.ligand]", first=""), 'table = "FILE.csv"'),
    (only("[inputs.ligand]", first='table = "absent.csv"\n'), "got no file"),
    (only("[inputs.ligand]", first='table = "t.toml"\n'), "csv.gz or parquet"),
    (only(""), r"at least one table \[inputs.NAME\]"),
    (only("[inputs.ligand]", ""), r"at least one table \[goals.NAME\]"),
    (only("[inputs]\nligand = 3"), r"expected a table \[inputs.ligand\]"),
    (only("[inputs.ligant]"), "column of t.csv, got 'ligant'; did you mean 'ligand'"),
    (only("[inputs.ligand]", GOAL.replace("yield", "yeild")), "did you mean 'yield'"),
    (only("[inputs.flow]", TWO_GOALS), "expected flow as input or goal, got both"),
    (
        only("[inputs.ligand]", GOAL, first='subject_to = "flow <= 1"\ntable = "data/t.csv"\n'),
        "subject_to = ",
    ),
    (
        only("[inputs.ligand]", GOAL, first='subject_to = ["flo <= 1"]\ntable = "data/t.csv"\n'),
        "did you mean 'flow'",
    ),
    (
        only("[inputs.ligand]", TWO_GOALS, first='reference = 3\ntable = "data/t.csv"\n'),
        "reference = { NAME = NUMBER",
    ),
    (
        only(
            "[inputs.ligand]", TWO_GOALS, first='reference = { flow = 3 }\ntable = "data/t.csv"\n'
        ),
        "yield",
    ),
    (only("[inputs.ligand]", "[goals.yield]"), "expected direction"),
    (only("[inputs.ligand]", GOAL + 'scale = "cubic"'), "expected scale"),
    (only("[inputs.ligand]", GOAL + 'scales = "log"'), "did you mean 'scale'"),
    (only("[inputs.ligand]", GOAL.replace("yield", "ligand")), "got both"),
    (only("[inputs.flow]", GOAL.replace("yield", "ligand")), "expected numbers, got 'L1' in row 1"),
    (only("[inputs.ligand]", first='table = "data/t.csv"\nrepeat = "mean"\n'), "mean 'repeats'"),
    (only("[inputs.ligand]", first='table = "data/t.csv"\nrepeats = "all"\n'), 'or "draw", got'),
    (only('[inputs.ligand]\ntype = "chioce"'), "did you mean 'choice'"),
    (only('[inputs.ligand]\ntype = ""'), "type of input ligand"),
    (only('[inputs.ligand]\ntype = "real"'), "expected numbers, got 'L1'; use choice"),
    (only('[inputs.ligand]\ntype = "ordinal"'), "texts in order"),
    (only('[inputs.ligand]\ntype = "fixed"'), "expected one value, got 2"),
    (only('[inputs.ligand]\ntype = "choice"\nvalues = ["L1"]'), "at least 2 values"),
    (only('[inputs.ligand]\ntype = "choice"\nvalues = ["L1", "L3"]'), "'L2'"),
    (only('[inputs.ligand]\ntype = "choice"\nlow = 1'), "key of .* of type choice, got 'low'"),
    (only('[inputs.flow]\ntype = "integer"'), "whole numbers, got fractions"),
    (only('[inputs.flow]\ntype = "boolean"'), "expected 0 and 1"),
    (only('[inputs.flow]\ntype = "real"\nlow = "a"'), "low of input flow expected a number"),
    (only('[inputs.flow]\ntype = "real"\nlow = 1.0'), "expected 1 to 3.5, got 0.5"),
    (only("[inputs.flow]\nlog = 1"), "log of input flow expected true or false"),
    (only('[inputs.flow]\ntype = "ordinal"\nvalues = 3'), "expected a list"),
    (only("[inputs.stage]"), "not fixed"),
    (only('[inputs.flow]\n[inputs.ligand]\ntype = "fixed"\nvalue = "L9"'), "'L9', got none"),
]


@pytest.mark.parametrize(("toml", "says"), BAD_TOML, ids=lambda text: text[-30:])
def test_bad_toml(make: MADE, toml: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        make(toml)
    assert "\n" not in str(caught.value)


BAD_CSV = [
    ("", "readable table"),
    ("x,yield\n", "at least one row"),
    ("x,yield\n1,\n2,\n", "measurements of yield, got none in any row"),
    ("x,yield\n1,3\n,4\n", "a value in every row, got none in row 2"),
    ("x,yield\n1,3\nNaN,4\n", "row 2"),
    ("x,yield\n1,3\n2,four\n", "expected numbers, got 'four' in row 2"),
    ("x,yield\n1,3,9\n2,4,9\n", "readable table"),
    ("x,yield\n1,3\n2,4,9\n", "readable table"),
    ("x,yield\n1,3\n2,4\n5 mm,6\n", "got '5 mm' in row 3; correct it, or give type"),
    ("x,x,yield\n1,3,9\n2,4,9\n", "one column x in t.csv, got 2"),
    ("x;yield\n1;3\n", "column of t.csv, got 'x'"),
]


@pytest.mark.parametrize(("csv", "says"), BAD_CSV)
def test_bad_csv(make: MADE, csv: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        make(only("[inputs.x]"), csv)
    assert "\n" not in str(caught.value)


def test_log_of_nothing_positive(make: MADE) -> None:
    goal = GOAL + 'scale = "log"'
    with pytest.raises(UsageError, match="yield > 0, got -1"):
        make(only("[inputs.x]", goal), "x,yield\n1.5,3\n2.5,-1\n")


def test_damaged_gzip(make: MADE, tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(CSV.encode())[:40])
    (tmp_path / "no.csv.gz").write_bytes(b"a,b\n1,2\n")
    for name in ("cut", "no"):
        with pytest.raises(UsageError, match="readable table"):
            make(only("[inputs.ligand]", first=f'table = "{name}.csv.gz"\n'))


def test_missing_toml() -> None:
    with pytest.raises(UsageError, match="readable TOML file"):
        problem("table:absent.toml", build(Options, {}, owner="a table"))


def test_twenty_thousand_rows_load_quickly(make: MADE) -> None:
    grid = np.stack(np.unravel_index(np.arange(20_000), (10, 10, 10, 20)), axis=1)
    csv = "a,b,c,d,yield\n" + "".join(f"{a},{b},{c},{d},{a + d}\n" for a, b, c, d in grid.tolist())
    toml = only("[inputs.a]\n[inputs.b]\n[inputs.c]\n[inputs.d]")
    before = time.process_time()
    made = make(toml, csv)
    # Run-time checks of types take most of it here.
    assert time.process_time() - before < 4
    assert made.optimum == 28.0
    assert made.space.candidates is not None
    assert len(made.space.candidates) == 20_000
