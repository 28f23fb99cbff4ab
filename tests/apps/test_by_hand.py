"""`wald ask`, `tell`, `fail`: one log with Python and with runs, from many processes at once."""

import csv
import json
import sqlite3
import sys

import pytest

import bo
from apps import cli
from tests.apps.test_refusals import refused as refused  # a fixture

SPACE = 'x = { type = "real", low = 0.0, high = 1.0 }\nk = { type = "choice", values = ["a", "b"] }'


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Run `wald` in this process, in an empty folder; returns its JSON object."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.toml").write_text(SPACE)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["wald", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        assert not ended.value.code, told.err
        return json.loads(told.out)

    return run


MADE = ("--space", "space.toml", "--goal", "maximize gain", "--method", "sobol", "--seed", "4")


def test_ask_tell_and_fail_share_the_log_with_python(here):
    rows = here("ask", "lab", "-n", 3, *MADE)["rows"]
    assert [row["number"] for row in rows] == [0, 1, 2]
    assert here("tell", "lab", 1, "gain=2.5", "cost=1") == {
        "number": 1,
        "state": "complete",
        "values": {"gain": 2.5, "cost": 1.0},
    }
    told = here("tell", "lab", 0, "gain=nan")
    assert told["state"] == "failed"
    assert "not finite" in told["reason"]
    assert here("fail", "lab", 2, "--why", "the flask broke")["reason"] == "the flask broke"
    study = bo.Study.resume("lab", store="wald.db")
    assert [t.state for t in study.trials] == ["failed", "complete", "failed"]
    assert [dict(t.parameters) for t in study.trials] == [row["parameters"] for row in rows]
    assert here("ask", "lab")["rows"][0]["number"] == 3
    assert here("ask", "lab", *MADE)["rows"][0]["number"] == 4  # joins
    assert here("show", "lab")["best"]["values"] == {"gain": 2.5, "cost": 1.0}
    same = bo.Study({"x": bo.real(0, 1), "k": bo.choice("a", "b")}, method="sobol", seed=4)
    assert dict(same.ask()[0].parameters) == rows[0]["parameters"]


def test_what_is_told_after_a_run_of_the_study_ended_shows(here):
    here("ask", "lab", *MADE)
    line = """python -c "import json; print(json.dumps(dict(gain=1.0)))" {x} {k}"""
    same = ("--space", "space.toml", "--goal", "maximize gain", "--method", "sobol")
    run = here("optimize", line, *same, "--name", "lab", "--budget", 3)
    assert run["trials"]["pending"] == 1
    here("tell", "lab", 0, "gain=2.5")
    shown = here("show", run["run_id"])
    assert shown["trials"] == {"total": 3, "complete": 3, "failed": 0, "pending": 0}
    assert shown["best"]["values"] == {"gain": 2.5}
    assert here("list")["rows"][0]["trials"]["pending"] == 0


def test_a_slip_is_mended_in_a_file_and_goes_on_under_another_name(here, tmp_path):
    rows = here("ask", "lab", "-n", 3, *MADE)["rows"]
    for number, gain in enumerate((2.5, 70.0)):
        here("tell", "lab", number, f"gain={gain}")
    here("export", "lab", "--format", "csv", "--out", "lab.csv")
    text = (tmp_path / "lab.csv").read_text()
    assert text.count("70.0") == 1
    (tmp_path / "lab.csv").write_text(text.replace("70.0", "0.7"))
    assert here("ask", "mended", *MADE, "--from", "lab.csv")["rows"][0]["number"] == 2
    study = bo.Study.resume("mended", store="wald.db")
    assert [dict(t.parameters) for t in study.trials[:2]] == [r["parameters"] for r in rows[:2]]
    assert [dict(t.values) for t in study.trials[:2]] == [{"gain": 2.5}, {"gain": 0.7}]
    assert here("ask", "mended", "--from", "lab.csv")["rows"][0]["number"] == 3  # none twice


DRIVEN = ("--problem", "branin", "--method", "sobol", "--budget", "2", "--name", "driven")
NAMED_AS_OURS = """\
state = { type = "choice", values = ["running", "asleep"] }
attempt = { type = "integer", low = 1, high = 5 }
"""


def test_names_as_in_our_columns_come_back_from_an_export(here, wald, tmp_path):
    (tmp_path / "ours.toml").write_text(NAMED_AS_OURS)
    made = ["--space", "ours.toml", "--goal", "minimize seconds", "--method", "sobol"]
    rows = here("ask", "lab", "-n", 5, *made)["rows"]
    for number in range(4):
        here("tell", "lab", number, f"seconds={10 - number}+-0.5")
    here("export", "lab", "--format", "csv", "--out", "lab.csv")
    lines = list(csv.DictReader((tmp_path / "lab.csv").read_text().splitlines()))
    assert [line["trial.state"] for line in lines] == ["complete"] * 4 + ["running"]
    assert [line["seconds"] for line in lines] == ["10.0", "9.0", "8.0", "7.0", ""]
    assert {*lines[0]} >= {"number", "trial.attempt", "method", "trial.seconds", "reason"}
    here("ask", "again", *made, "--from", "lab.csv")
    study = bo.Study.resume("again", store="wald.db")
    assert [dict(t.parameters) for t in study.trials[:4]] == [r["parameters"] for r in rows[:4]]
    assert study.best is not None
    assert study.best.values == {"seconds": 7.0}
    assert study.trials[3].sems == {"seconds": 0.5}
    whole = json.loads(wald("export", "lab", "--format", "json").stdout)["rows"]
    assert whole[0]["attempt"] == rows[0]["parameters"]["attempt"]
    assert wald("export", "lab", "--format", "html", "--out", "lab.html").returncode == 0
    assert "<svg" in (tmp_path / "lab.html").read_text()


def test_an_outcome_may_be_called_reference(here):
    made = ["--space", "space.toml", "--goal", "minimize seconds", "--method", "sobol"]
    here("ask", "lab", *made, "--subject-to", "reference <= 3", "--subject-to", "`x, y` >= 0")
    here("tell", "lab", 0, "seconds=1", "reference=2", "x, y=1")
    (row,) = here("list")["rows"]
    assert row["best"]["values"] == {"seconds": 1.0, "reference": 2.0, "x, y": 1.0}


def test_a_study_whose_goal_cannot_be_read_is_listed_beside_the_others(here, wald, tmp_path):
    for name in ("lab", "damaged"):
        here("ask", name, *MADE)
        here("tell", name, 0, "gain=1.5")
    run = here("run", "bo", *DRIVEN)
    with sqlite3.connect(tmp_path / "wald.db") as connection:
        connection.execute("UPDATE studies SET goal = 'gain, as it was' WHERE study != 'lab'")
        connection.execute("UPDATE runs SET state = 'queued'")
    rows = {row["name"]: row for row in here("list")["rows"]}
    assert rows["lab"]["best"]["values"] == {"gain": 1.5}
    assert "error" not in rows["lab"]
    assert rows["damaged"]["trials"]["complete"] == 1
    assert rows["damaged"]["score"] is None
    for name in ("damaged", "driven"):
        assert "goals of its study cannot be read: a goal expected" in rows[name]["error"]
    assert rows["driven"]["run_id"] == run["run_id"]
    assert {*rows["damaged"]} == {*rows["lab"], "error"}
    assert wald("list").returncode == 0
    assert "cannot be read" in wald("show", "damaged").stdout
    assert here("ask", "lab")["rows"][0]["number"] == 1


def test_known_results_that_do_not_fit_make_no_study(refused, tmp_path):
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "lab.csv").write_text("x,k,gain\n0.5,a,1\n7,a,1\n")
    told = refused("ask", "lab", *MADE, "--from", "lab.csv")
    assert "line 3: parameter x expected" in told
    assert "--skip-invalid expected --from" in refused("ask", "lab", *MADE, "--skip-invalid")


def test_a_run_is_asked_and_told_by_its_id(here):
    run = here("run", "bo", "--problem", "branin", "--method", "random", "--budget", 2)
    (row,) = here("ask", run["run_id"])["rows"]
    assert row["number"] == 2
    assert here("tell", run["run_id"], 2, "value=-1e9")["state"] == "complete"
    assert bo.Study.resume(run["run_id"], store="wald.db").best is not None


def test_two_terminals_share_a_study_and_no_point_comes_twice(wald):
    (wald.folder / "space.toml").write_text(SPACE)
    asked = ["ask", "lab", "-n", "5", *MADE, "--json"]
    processes = [wald.start(*asked) for _ in range(4)]
    ended = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ended
    rows = [row for out, _ in ended for row in json.loads(out)["rows"]]
    assert sorted(row["number"] for row in rows) == list(range(20))
    assert len({row["parameters"]["x"] for row in rows}) == 20


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("ask lab", "no such file"),
        ("ask lab --goal x", "--goal expected --space"),
        ("ask lab --seed 3", "--seed expected --space"),
        ("ask lab --space none.toml", "expected a readable TOML file"),
        ("tell lab 0 loss=1", "no such file"),
        ("fail lab 0", "no such file"),
        ("tell lab nil loss=1", "integer"),
        ("tell lab 0", "GOAL=VALUE"),
    ],
)
def test_nothing_is_made_by_mistake(refused, arguments, told):
    assert told in refused(*arguments.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("ask lob", "did you mean 'lab'"),
        ("ask lab -n 0", "at least 1"),
        ("ask lab --space other.toml --goal value", "a goal expected"),
        ("ask lab --space other.toml", "exists and differs"),
        ("tell lob 0 value=1", "did you mean 'lab'"),
        ("tell lab 0 value=1", "trial 0, which is complete"),
        ("tell lab 9 value=1", "got number 9"),
        ("tell lab 1 loss=1", "expected a value for 'value'"),
        ("tell lab 1 value", "NAME=NUMBER"),
        ("tell lab 1 value=many", "NAME=NUMBER"),
        ("fail lab 0", "trial 0, which is complete"),
    ],
)
def test_bad_words_are_refused_and_change_nothing(refused, tmp_path, arguments, told):
    study = bo.Study({"x": bo.real(0, 1)}, name="lab", store=tmp_path / "wald.db", method="sobol")
    first, _ = study.ask(2)
    study.tell(first, 1.0)
    study.log.engine.dispose()
    (tmp_path / "other.toml").write_text(SPACE)
    assert told in refused(*arguments.split())
