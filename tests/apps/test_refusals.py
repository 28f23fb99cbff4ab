"""Bad input: exit 2, one clear line, no traceback, nothing created or damaged.

Most cases run in this process, through `main`, since a process of its own costs a second each.
"""

import json
import sqlite3
import sys

import pytest

from apps import cli
from apps.store import Store

TABLE = 'table = "t.csv"\n[goals.y]\ndirection = "minimize"\n[inputs.a]\n'


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run `wald` with arguments; returns the one line on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, may_create: bool = False) -> str:
        before = contents(tmp_path)
        monkeypatch.setattr(sys, "argv", ["wald", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        assert ended.value.code == 2, told.err
        assert told.err.count("\n") == 1
        assert told.err.startswith("wald: ")
        assert "Traceback" not in told.err
        if "--json" in arguments:
            assert set(json.loads(told.out)) == {"error"}
        else:
            assert told.out == ""
        assert contents(tmp_path) == before
        return told.err

    return run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run bo --problem brannin", "did you mean 'branin'"),
        ("run bo --problem branin --method gpmap", "did you mean 'gp-map'"),
        ("run bo --problem branin --option acquisitoin=ucb", "did you mean 'acquisition'"),
        ("run bo --problem branin --option acquisition=logie", "did you mean 'logei'"),
        (
            "run bo --problem branin --method gp-smc --option prior=saas",
            "that of the surrogate is 'surrogate.prior'",
        ),
        ("run bo --problem branin --option initial=-3", "option initial expected"),
        ("run bo --problem branin --option initial=many", "option initial expected integer"),
        ("run bo --problem branin --option initial", "name=value"),
        ("run bo --problem branin --method sobol --option x=1", "it has none"),
        ("run bo --problem branin --problem-option noize=1", "did you mean 'noise'"),
        ("run bo --problem branin --problem-option noise=-1", "option noise expected"),
        ("run bo --problem branin --problem-option fail_beyond=0", "the best one is 0.397887"),
        ("run bo --problem branin --budget 0", "budget expected 1"),
        ("run bo --problem branin --budget -5", "budget expected 1"),
        ("run bo --problem branin --budget ten", "integer"),
        ("run bo --problem branin --seed -1", "seed expected"),
        ("run bo --problem branin --batch 0", "batch expected"),
        ("run bo --problem branin --threads 0", "threads expected"),
        ("run bo --problem branin --snapshots 3", "snapshots expected every=k"),
        ("run bo --problem branin --snapshots every=-1", "snapshots expected every=k"),
        ("run bo --problem branin --replications 0", "replications expected 1"),
        ("submit bo --problem brannin", "did you mean 'branin'"),
        ("submit bo --problem branin --option initial=-3", "option initial expected"),
        ("submit bo --problem table:nothing.toml", "nothing.toml"),
        ("submit bandit --problem digits", "expected --method"),
        ("up --port 0", "--port 1 to 65535"),
        ("up --workers 999", "--workers 0 to 256"),
        ("up --store nonsense://x", "store URL"),
        ("run bo --problem branin --threads 100000", "threads expected 1 to 256"),
        ("run bo --problem branin --parallel 100000", "parallel expected 1 to 256"),
        ("run bo --problem branin --device tpu", "known device"),
        ("run bo --problem branin --bogus 1", "No such option"),
        ("run bo", "problem"),
        ("run boo --problem branin", "bo, bandit or rl"),
        ("run bandit --problem digits", "choose from: random, ts-beta, ts-linear, linucb"),
        ("run rl --problem cartpole", "choose from: dqn"),
        ("run bandit --problem digitz --method random", "did you mean 'digits'"),
        ("run bandit --problem digits --method linucbb", "did you mean 'linucb'"),
        ("run bandit --problem gaussian --method ts-beta", "ts-beta"),
        ("run bandit --problem digits --method linucb --budget 0", "budget expected"),
        ("run bandit --problem digits --method linucb --batch 2", "bo run"),
        ("run bandit --problem csv:none.csv --method linucb", "none.csv"),
        ("run rl --problem cartpol --method dqn", "did you mean 'cartpole'"),
        ("run rl --problem cartpole --method dqn --option gamma=2", "gamma"),
        ("run bo --problem table:none.toml", "none.toml"),
        ("run bo --problem branin --store sqlite:////no/such/folder/x.db", "expected a folder"),
        ("run bo --problem branin --store foo://x", "store URL"),
        ("run bo --problem branin --store sqlite://", "expected a file in the store URL"),
        ("frobnicate", "No such command"),
        ("show nope", "no such file"),
        ("resume nope --json", "no such file"),
        ("compare nope", "no such file"),
        ("note nope text", "no such file"),
        ("export nope", "no such file"),
        ("catalog brannin", "did you mean 'branin'"),
    ],
)
def test_it_is_refused_in_one_line(refused, arguments, told):
    assert told in refused(*arguments.split())


@pytest.mark.parametrize(
    ("toml", "csv", "told"),
    [
        ("table = ", None, "TOML"),
        (TABLE, None, "t.csv"),
        (TABLE, "", "t.csv"),
        (TABLE, "a,z\n1,2\n", "y"),
        (TABLE, "a,y\n", "row"),
        (TABLE, "a,y\n1,x\n2,3\n", "y"),
        (TABLE + '[inputs.b]\ntype = "real"\n', "a,y\n1,2\n2,3\n", "b"),
        (TABLE + 'type = "rael"\n', "a,y\n1,2\n2,3\n", "real"),
        (TABLE.replace("direction", "direktion"), "a,y\n1,2\n2,3\n", "direction"),
    ],
)
def test_a_malformed_table_is_refused(refused, tmp_path, toml, csv, told):
    (tmp_path / "t.toml").write_text(toml)
    if csv is not None:
        (tmp_path / "t.csv").write_text(csv)
    assert told in refused("run", "bo", "--problem", "table:t.toml", "--method", "random")


def test_an_unknown_run_names_the_nearest(refused, tmp_path):
    make_store(tmp_path)
    assert "did you mean 'bo-1234'" in refused("show", "bo-1235")
    assert "did you mean" in refused("resume", "bo-1235", "--json")
    assert "format" in refused("export", "bo-1234", "--format", "cvs")


@pytest.mark.parametrize("command", ["list", "show x", "resume x", "run bo --problem branin"])
def test_a_damaged_store_is_refused_and_not_touched(refused, tmp_path, command):
    (tmp_path / "wald.db").write_bytes(b"this was a store once" * 500)
    assert "damaged" in refused(*command.split())


@pytest.mark.parametrize("command", ["list", "show x", "resume x", "run bo --problem branin"])
def test_a_store_of_a_newer_version_is_refused(refused, tmp_path, command):
    make_store(tmp_path)
    with sqlite3.connect(tmp_path / "wald.db") as connection:
        connection.execute("UPDATE wald_version SET version = 99")
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    assert "newer wald" in refused(*command.split())


def test_a_name_that_belongs_to_something_else_is_refused(refused, tmp_path):
    make_store(tmp_path)
    told = refused("run", "bandit", "--problem", "digits", "--method", "random", "--name", "mine")
    assert "is taken" in told


def contents(folder) -> dict:
    """Every file, but for those that SQLite keeps beside an open database."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))]
    return {p.name: p.read_bytes() for p in files}


def make_store(folder) -> None:
    from apps.spec import RunSpec

    store = Store.open(str(folder / "wald.db"), create=True)
    store.create_run("bo-1234", RunSpec("bo", "branin", "sobol", 0, 5), {})
    store.create_run("b-1", RunSpec("bandit", "digits", "linucb", 0, 5, name="mine"), {})
    store.engine.dispose()
