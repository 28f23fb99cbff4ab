"""The run store: events, requests, versions, migration."""

import pytest
import sqlalchemy as sa

from apps import schema
from apps.events import Event
from apps.spec import RunSpec
from apps.store import Store, current_state
from bo import database
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


def test_resume_queues_what_has_ended_and_nothing_else(store):
    store.request("r", "resume")
    assert store.run("r").state == "running"
    store.record("r", [], columns={"state": "failed"})
    store.request("r", "resume")
    assert store.run("r").state == "queued"
    assert store.take_queued("r")
    assert not store.take_queued("r")
    store.record("r", [], columns={"state": "finished"})
    store.request("r", "resume")
    assert store.run("r").state == "finished"


def test_events_are_found_by_kind_and_step(store):
    store.record("r", [Event("posterior", 3, {"x": 1}), Event("metric", 3, {"x": 2})])
    store.record("r", [Event("posterior", 5, {"x": 3}), Event("posterior", 3, {"x": 4})])
    assert store.steps_of("r", "posterior") == [3, 5]
    assert [e.payload for e in store.events_at("r", "posterior", 3)] == [{"x": 1}, {"x": 4}]
    assert store.events_at("r", "posterior", 4) == []
    assert [e.kind for e in store.events("r", kind=("state", "metric"))] == ["state", "metric"]
    assert [e.seq for e in store.events("r", since=1, limit=2)] == [2, 3]


def test_published_rows_keep_their_order(store):
    rows = [{"kind": "bo", "role": "method", "name": n, "options": []} for n in ("z", "a", "m")]
    store.publish(rows)
    assert store.published() == rows
    store.publish(rows[:1])
    assert store.published() == rows[:1]


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

    newer = database.SCHEMA_VERSION + 1
    monkeypatch.setattr(database, "SCHEMA_VERSION", newer)
    monkeypatch.setitem(schema.MIGRATIONS, newer - 1, add_a_column)
    with pytest.raises(StoreError, match="wald doctor --migrate"):
        Store.open(path, create=False)
    migrated = Store.open(path, create=True)
    assert migrated.run("r").spec == SPEC
    with migrated.engine.connect() as connection:
        columns = {c["name"] for c in sa.inspect(connection).get_columns("runs")}
        assert "colour" in columns
    migrated.engine.dispose()
    Store.open(path, create=False).engine.dispose()


def test_a_store_of_version_1_becomes_one_of_version_2(tmp_path):
    path = str(tmp_path / "s.db")
    opened = Store.open(path, create=True)
    opened.create_run("r", SPEC, {"wald": "0"})
    with opened.engine.begin() as connection:  # as version 1 left it
        for undo in (
            "DROP TABLE supervisor",
            "DROP TABLE published",
            "DROP INDEX events_by_kind",
            "ALTER TABLE runs DROP COLUMN queued",
            "ALTER TABLE runs DROP COLUMN progress",
            "UPDATE wald_version SET version = 1",
        ):
            connection.exec_driver_sql(undo)
    opened.engine.dispose()
    with pytest.raises(StoreError, match="wald doctor --migrate"):
        Store.open(path, create=False)
    migrated = Store.open(path, create=True)
    row = migrated.run("r")
    assert (row.spec, row.queued, row.progress) == (SPEC, None, {})
    assert [event.kind for event in migrated.events("r")] == ["state"]
    assert migrated.submit("q", SPEC)
    assert migrated.supervisor() is None
    assert migrated.published() == []
    names = {index["name"] for index in sa.inspect(migrated.engine).get_indexes("events")}
    assert "events_by_kind" in names
    migrated.engine.dispose()


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    path = str(tmp_path / "s.db")
    Store.open(path, create=True).engine.dispose()

    def fail(connection: sa.Connection) -> None:
        connection.execute(sa.text("CREATE TABLE half (x INTEGER)"))
        raise RuntimeError("power cut")

    current = database.SCHEMA_VERSION
    monkeypatch.setattr(database, "SCHEMA_VERSION", current + 1)
    monkeypatch.setitem(schema.MIGRATIONS, current, fail)
    with pytest.raises(RuntimeError, match="power cut"):
        Store.open(path, create=True)
    monkeypatch.setattr(database, "SCHEMA_VERSION", current)
    opened = Store.open(path, create=False)
    with opened.engine.connect() as connection:
        assert not sa.inspect(connection).has_table("half")
    opened.engine.dispose()
