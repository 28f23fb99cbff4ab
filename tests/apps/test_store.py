"""The run store: events, requests, versions, migration."""

import pytest
import sqlalchemy as sa

from apps import store as store_module
from apps.events import Event
from apps.spec import RunSpec
from apps.store import Store, current_state
from bo import trial_log
from surrogates.errors import StoreError, UsageError

SPEC = RunSpec("bandit", "digits", "linucb", 0, 100)


@pytest.fixture
def store(tmp_path):
    opened = Store.open(str(tmp_path / "s.db"), create=True)
    opened.create_run("r", SPEC, {"wald": "0"})
    yield opened
    opened.engine.dispose()


def test_events_are_numbered_without_gaps_whoever_writes(store, tmp_path):
    other = Store.open(str(tmp_path / "s.db"), create=True)
    for index in range(10):
        (store, other)[index % 2].record("r", [Event("metric", index, {"x": index})] * 2)
    assert [e.seq for e in store.events("r")] == list(range(1, 22))
    assert [e.step for e in store.events("r", since=19)] == [9, 9]
    assert store.last_step("r", "metric") == 9
    assert store.last_step("r", "observation") == -1
    other.engine.dispose()


def test_a_failed_record_leaves_nothing(store):
    with pytest.raises(TypeError):
        store.record("r", [Event("metric", 1, {"x": object()})], columns={"state": "failed"})
    assert [e.kind for e in store.events("r")] == ["state"]
    assert store.run("r").state == "running"


def test_state_is_what_one_can_know(store):
    row = store.run("r")
    assert current_state(row) == "running"
    assert current_state(row, now=(row.heartbeat or 0) + 11) == "lost"
    store.record("r", [], columns={"state": "finished"})
    assert current_state(store.run("r"), now=row.created + 1e6) == "finished"


def test_a_running_run_cannot_be_claimed(store):
    with pytest.raises(UsageError, match="is running"):
        store.claim_run("r", SPEC, {})


def test_a_stop_request_reaches_the_run_and_dies_with_a_resume(store):
    assert not store.beat("r")
    store.request("r", "stop")
    assert store.beat("r")
    store.record("r", [], columns={"state": "stopped"})
    store.claim_run("r", SPEC, {})
    assert not store.beat("r")


def test_specs_survive_json():
    assert RunSpec.from_json(SPEC.to_json()) == SPEC
    with pytest.raises(UsageError, match="JSON"):
        RunSpec.from_json('{"kind": "bo"}')
    with pytest.raises(UsageError, match="JSON"):
        RunSpec.from_json("nonsense")


def test_an_older_store_is_migrated_by_a_writer_and_refused_by_a_reader(tmp_path, monkeypatch):
    path = str(tmp_path / "s.db")
    opened = Store.open(path, create=True)
    opened.create_run("r", SPEC, {})
    opened.engine.dispose()

    def add_a_column(connection: sa.Connection) -> None:
        connection.execute(sa.text("ALTER TABLE runs ADD COLUMN colour VARCHAR"))

    newer = trial_log.SCHEMA_VERSION + 1
    monkeypatch.setattr(trial_log, "SCHEMA_VERSION", newer)
    monkeypatch.setitem(store_module.MIGRATIONS, newer - 1, add_a_column)
    with pytest.raises(StoreError, match="wald doctor --migrate"):
        Store.open(path, create=False)
    migrated = Store.open(path, create=True)
    assert migrated.run("r").spec == SPEC
    with migrated.engine.connect() as connection:
        columns = {c["name"] for c in sa.inspect(connection).get_columns("runs")}
        assert "colour" in columns
    migrated.engine.dispose()
    Store.open(path, create=False).engine.dispose()


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    path = str(tmp_path / "s.db")
    Store.open(path, create=True).engine.dispose()

    def fail(connection: sa.Connection) -> None:
        connection.execute(sa.text("CREATE TABLE half (x INTEGER)"))
        raise RuntimeError("power cut")

    current = trial_log.SCHEMA_VERSION
    monkeypatch.setattr(trial_log, "SCHEMA_VERSION", current + 1)
    monkeypatch.setitem(store_module.MIGRATIONS, current, fail)
    with pytest.raises(RuntimeError, match="power cut"):
        Store.open(path, create=True)
    monkeypatch.setattr(trial_log, "SCHEMA_VERSION", current)
    opened = Store.open(path, create=False)
    with opened.engine.connect() as connection:
        assert not sa.inspect(connection).has_table("half")
    opened.engine.dispose()
