"""The buffer of a run: bounded, whatever the length of the run, and no spike is lost."""

import json

import pytest

import bo
from apps.schema import events
from apps.spec import RunSpec
from apps.store import Store
from dashboards.buffer import CHUNK, MOST_RECORDS, NEWEST, Buffer


@pytest.fixture
def store(tmp_path):
    opened = Store.open(str(tmp_path / "wald.db"), create=True)
    opened.create_run("r", RunSpec("bandit", "bernoulli", "ts-beta", 1, 10**6), {})
    yield opened
    opened.engine.dispose()


def write(store, first, last, spikes):
    rows = [
        {
            "run_id": "r",
            "seq": step + 1,
            "kind": "metric",
            "step": step,
            "time": float(step),
            "payload": json.dumps({"reward": spikes.get(step, step % 7), "pulls": [step, 1]}),
        }
        for step in range(first, last + 1)
    ]
    with store._writing() as connection:
        connection.execute(events.insert(), rows)


def test_a_long_run_is_thinned_and_keeps_its_extremes_and_its_end(store):
    count = 3 * MOST_RECORDS + 17
    spikes = {4_321: 1e6, 9_876: -1e6, count - 5: 2e6}
    write(store, 1, count, spikes)
    buffer = Buffer(store, "r", None, by_hand=False)
    buffer.refresh()
    steps = buffer.steps(None)
    assert len(steps) <= MOST_RECORDS
    assert buffer.records == count
    assert buffer.seq == count + 1
    kept = dict(zip(steps["step"], steps["reward"], strict=True))
    assert {step: kept[step] for step in spikes} == spikes
    assert list(steps["step"].tail(NEWEST)) == list(range(count - NEWEST + 1, count + 1))
    assert steps["step"].is_monotonic_increasing
    assert steps["step"].iloc[0] == 1


def test_it_reads_only_what_is_new_whatever_the_chunks(store):
    buffer = Buffer(store, "r", None, by_hand=False)
    buffer.refresh()
    assert len(buffer.steps(None)) == 0
    write(store, 1, CHUNK, {})  # just one chunk
    buffer.refresh()
    write(store, CHUNK + 1, CHUNK + 3, {})
    buffer.refresh()
    assert list(buffer.steps(None)["step"]) == list(range(1, CHUNK + 4))
    assert list(buffer.steps(CHUNK - 5)["step"]) == list(range(1, CHUNK - 5))


def test_a_pool_of_candidates_is_no_parameter(tmp_path):
    url = f"sqlite:///{tmp_path / 'pool.db'}"
    rows = [{"x": 0.1 * i, "act": act} for i in range(5) for act in ("tanh", "relu")]
    space = bo.Space({"x": bo.real(0, 1), "act": bo.choice("tanh", "relu")}, candidates=rows)
    study = bo.Study(space, "maximize y", name="pool", store=url, method="sobol", seed=0)
    study.run(lambda p: p["x"], 4, callback=lambda trial: None)
    opened = Store.open(url, create=False)
    buffer = Buffer(opened, "pool", "pool", by_hand=True)
    buffer.refresh()
    assert list(buffer.parameters) == ["x", "act"]
    assert {"p.x", "p.act"} <= set(buffer.trials(None).columns)
    assert not any("candidates" in name for name in buffer.trials(None).columns)
    opened.engine.dispose()
