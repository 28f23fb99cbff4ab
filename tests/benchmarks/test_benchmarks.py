"""The harness of the benchmarks: what passes, what it prints, how it exits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import harness, store
from benchmarks.harness import Claim, Peer, Report
from surrogates.errors import NotInstalledError

ROOT = Path(__file__).resolve().parents[2]
FASTER = Claim("one step", ours=0.5, peer=2.0, bound=1.0, unit="ms")
SLOWER = Claim("another step", ours=4.0, peer=2.0, bound=1.0, unit="ms")


def fake(*claims, calls=None):
    """A benchmark that finds these claims; `calls` takes how it was called."""

    def run(*, quick):
        if calls is not None:
            calls.append(quick)
        peer = Peer("rival", "1.0", {"mode": "its default"})
        return Report("fake", peer, claims, [{"repeat": 0, "ours": [0.5], "peer": [2.0]}])

    return run


def absent(*, quick):
    version = harness.version_of("a-distribution-that-nobody-has", extra="peers")
    return Report("fake", Peer("rival", version, {}), [], [])


@pytest.mark.parametrize(
    ("sense", "ours", "bound", "passes"),
    [
        ("at most", 1.0, 1.0, True),
        ("at most", 1.1, 1.0, False),
        ("at least", 1.0, 1.0, True),
        ("at least", 0.9, 1.0, False),
        ("exactly", 1000, 1000, True),
        ("exactly", 1001, 1000, False),
        ("at most", 1e9, None, True),
        ("at most", float("nan"), 1.0, False),
        ("at least", float("nan"), 1.0, False),
    ],
)
def test_claim_keeps_its_bound(sense, ours, bound, passes):
    assert Claim("it", ours, None, bound, "ms", sense).passes is passes


@pytest.mark.parametrize(
    ("sense", "ours", "peer", "ratio"),
    [
        ("at most", 2.0, 8.0, 4.0),
        ("at least", 2.0, 8.0, 0.25),
        ("at most", 2.0, None, None),
        ("at most", 0.0, 8.0, None),
        ("exactly", 0, 3, None),
    ],
)
def test_ratio_above_one_means_that_ours_is_better(sense, ours, peer, ratio):
    assert Claim("it", ours, peer, None, "ms", sense).ratio == ratio


@pytest.mark.parametrize(("claims", "code"), [([FASTER], 0), ([FASTER, SLOWER], 1)])
@pytest.mark.parametrize("flags", [[], ["--json"], ["--quick", "--json"]])
def test_exit_code_says_whether_every_claim_holds(claims, code, flags, capsys):
    calls: list[bool] = []
    assert harness.main(["fake", *flags], {"fake": fake(*claims, calls=calls)}) == code
    assert calls == ["--quick" in flags]
    assert capsys.readouterr().out


def test_json_is_one_object_of_the_agreed_shape(capsys):
    harness.main(["fake", "--json"], {"fake": fake(FASTER, SLOWER)})
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert list(found) == ["name", "machine", "threads", "peer", "claims", "samples"]
    assert found["name"] == "fake"
    assert found["threads"] == 1
    assert found["machine"]["cores"]
    assert found["peer"] == {"name": "rival", "version": "1.0", "settings": {"mode": "its default"}}
    assert found["claims"][0] == {
        "name": "one step",
        "ours": 0.5,
        "peer": 2.0,
        "ratio": 4.0,
        "bound": 1.0,
        "unit": "ms",
        "pass": True,
    }
    assert found["claims"][1]["pass"] is False
    assert found["samples"] == [{"repeat": 0, "ours": [0.5], "peer": [2.0]}]


def test_json_holds_no_nan(capsys):
    nan = Claim("it", float("nan"), float("inf"), 1.0, "ms")
    assert harness.main(["fake", "--json"], {"fake": fake(nan)}) == 1
    claim = json.loads(capsys.readouterr().out)["claims"][0]
    assert claim["ours"] is claim["peer"] is claim["ratio"] is None


def test_table_names_claims_and_what_falls_short(capsys):
    harness.main(["fake"], {"fake": fake(FASTER, SLOWER)})
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("one step")).endswith("holds")
    assert next(line for line in lines if line.startswith("another")).endswith("FALLS SHORT")
    assert any("rival 1.0" in line for line in lines)


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_unknown_name_is_refused_in_one_line(flags, capsys):
    assert harness.main(["fakr", *flags], {"fake": fake(FASTER), "other": fake()}) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "expected a benchmark, got 'fakr'; did you mean 'fake'? choose from: fake, other"
    ]


@pytest.mark.parametrize("arguments", [[], ["fake", "--no-such-flag"]])
def test_bad_usage_exits_2(arguments, capsys):
    assert harness.main(arguments, {"fake": fake(FASTER)}) == 2
    assert capsys.readouterr().out == ""


def test_absent_peer_exits_3_and_names_the_extra(capsys):
    assert harness.main(["fake"], {"fake": absent}) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert 'pip install "wald[peers]"' in err


def parted(*, quick, only=None):
    named = Claim(only or "all", ours=1.0, peer=2.0, bound=2.0, unit="s")
    return Report("parted", Peer("rival", "1.0", {}), [named], [{"part": only}])


def test_a_part_alone_and_parts_joined(tmp_path, capsys):
    files = []
    for part in ("a", "b"):
        assert harness.main(["parted", "--json", "--only", part], {"parted": parted}) == 0
        files.append(tmp_path / f"{part}.json")
        files[-1].write_text(capsys.readouterr().out)
    assert harness.main(["parted", "--parts", *map(str, files)], {"parted": parted}) == 0
    joined = json.loads(capsys.readouterr().out)
    assert [claim["name"] for claim in joined["claims"]] == ["a", "b"]
    assert joined["samples"] == [{"part": "a"}, {"part": "b"}]


def test_parts_that_fall_short_exit_1(tmp_path, capsys):
    harness.main(["fake", "--json"], {"fake": fake(SLOWER)})
    (tmp_path / "a.json").write_text(capsys.readouterr().out)
    assert harness.main(["fake", "--parts", str(tmp_path / "a.json")], {"fake": fake()}) == 1


def test_a_benchmark_without_parts_refuses_one(capsys):
    assert harness.main(["fake", "--only", "a"], {"fake": fake(FASTER)}) == 2
    assert "fake has no parts" in capsys.readouterr().err


def test_reports_of_another_benchmark_are_refused(tmp_path, capsys):
    harness.main(["fake", "--json"], {"fake": fake(FASTER)})
    (tmp_path / "a.json").write_text(capsys.readouterr().out)
    with pytest.raises(SystemExit, match="expected a report of parted, got one of fake"):
        harness.main(["parted", "--parts", str(tmp_path / "a.json")], {"parted": parted})


def test_store_asks_for_its_peer_first(monkeypatch):
    def refuse(distribution, *, extra):
        raise NotInstalledError(distribution)

    monkeypatch.setattr(store, "version_of", refuse)
    with pytest.raises(NotInstalledError, match="optuna"):
        store.run(quick=True)


def test_from_the_command_line():
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "stroe"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "did you mean 'store'?" in result.stderr
    assert "store" in harness.names()


def test_store_step_asks_and_tells(tmp_path):
    log = store._new_log(tmp_path / "a.db")
    times = store._block(store._our_step(log), 3)
    assert len(times) == 6
    trials = log.trials()
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert all(trial.state == "complete" and len(trial.parameters) == 6 for trial in trials)


def test_store_append_writes_one_event(tmp_path):
    run = store._new_run(tmp_path / "a.db", 20)
    store._append(run)()
    assert [event.seq for event in run.events("run")] == list(range(1, 22))
