"""`wald optimize`: commands and functions of users, all that goes wrong in them, early ends."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.catalog import describe, everything
from apps.spec import RunSpec
from apps.store import Store
from bo import metrics
from dashboards import orders
from surrogates.errors import UsageError
from tests.apps.test_refusals import refused as refused  # a fixture

SPACE = """
lr = { type = "real", low = 1e-5, high = 1e-1, log = true }
depth = { type = "integer", low = 1, high = 12 }
"""
TRAIN = """
import sys
lr, depth = float(sys.argv[1]), int(sys.argv[2])
print("an epoch")
print((lr - 0.01) ** 2 + abs(depth - 3))
"""
LINE = "python train.py {lr} {depth}"
AWKWARD = """
import json, os, signal, subprocess, sys, time
trial = int(os.environ["WALD_TRIAL"])
assert os.path.isfile("space.toml")
assert os.environ["WALD_SEED"].isdigit()
if trial == 0:
    sys.exit("first\\nValueError: no such layer")
if trial == 1:
    print("done, I think")
if trial == 2:
    print("NaN")
if trial == 3:
    child = subprocess.Popen(["sleep", "600"])
    open("child", "w").write(str(child.pid))
    time.sleep(600)
if trial == 4:
    os.kill(os.getpid(), signal.SIGKILL)
if trial == 5:
    print("x" * 100_000)
if trial == 6:
    raise OSError(28, os.strerror(28))
if trial == 7:
    print(json.dumps({"accuracy": 1.0}))
if trial == 8:
    sys.stderr.write("a warning\\n" * 300_000)
    sys.stdout.write("x" * 300_000 + "\\n")
    print(json.dumps({"loss": 0.25, "accuracy": 0.5, "model": "small"}))
if trial == 10:
    os.close(1)
if trial == 9:
    print("-1.5\\n\\n  ")
"""
REASONS = {
    0: "exit status 1: ValueError: no such layer",
    1: "the last line of stdout is neither a number nor a JSON object: 'done, I think'",
    2: "loss is not finite: nan",
    3: "EvaluationTimeout: the evaluation was stopped after 4 s",
    4: "killed by signal SIGKILL",
    5: "the last line of stdout is longer than 32,768",
    6: "exit status 1: OSError: [Errno 28] No space left on device",
    7: "no value for 'loss' in the last line, only accuracy",
    10: "it printed nothing on stdout",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder."""
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


def trials_of(wald, run: str) -> list[dict]:
    store = Store.open(str(wald.folder / "wald.db"), create=False)
    rows = metrics.trial_rows(store.trials(run)[1])
    store.engine.dispose()
    return rows


def test_a_command_is_tuned_and_repeats_itself(wald, folder):
    asked = ["optimize", LINE, "--space", "space.toml", "--method", "sobol", "--budget", 5]
    first = wald.json(*asked, "--seed", 3, "--parallel", 2)
    assert first["state"] == "finished"
    assert first["trials"] == {"total": 5, "complete": 5, "failed": 0, "pending": 0}
    assert first["problem"] == f"command:{LINE}"
    assert "minimised" in first["diagnostics"]["note"]
    best = first["best"]["parameters"]
    loss = (best["lr"] - 0.01) ** 2 + abs(best["depth"] - 3)
    assert first["best"]["values"] == {"value": pytest.approx(loss)}
    assert wald.json("show", first["run_id"]) == first
    again = wald.json(*asked, "--seed", 3, "--store", "other.db")
    assert again["digest"] == first["digest"]


def test_whatever_a_command_does_the_study_goes_on_and_says_why(wald, folder):
    (folder / "train.py").write_text(AWKWARD)
    ended = wald.json(
        *("optimize", LINE, "--space", "space.toml", "--goal", "minimize loss"),
        *("--method", "random", "--budget", 11, "--parallel", 2, "--timeout", 4, "--seed", 0),
    )
    assert ended["state"] == "finished"
    rows = trials_of(wald, ended["run_id"])
    told = {row["number"]: row["reason"] for row in rows if row["state"] == "failed"}
    assert set(told) == set(REASONS)
    for number, reason in REASONS.items():
        assert told[number].startswith(reason), told[number]
    assert rows[8]["loss"] == 0.25
    assert rows[8]["accuracy"] == 0.5
    assert "model" not in rows[8]
    assert rows[9]["loss"] == -1.5
    assert {row["attempt"] for row in rows} == {1}
    with sqlite3.connect(folder / "wald.db") as connection:
        (log,) = connection.execute("SELECT traceback FROM trials WHERE number = 0").fetchone()
    connection.close()
    assert log == "first\nValueError: no such layer"
    assert gone(int((folder / "child").read_text()))  # the whole group was killed


def test_a_json_object_without_a_goal_ends_the_run_at_once(wald, folder):
    (folder / "train.py").write_text("print('{\"loss\": 1.0}')")
    ended = wald("optimize", LINE, "--space", "space.toml", "--method", "random", "--json")
    assert ended.returncode == 1
    found = json.loads(ended.stdout)
    assert found["state"] == "failed"
    assert '--goal "minimize loss"' in found["error"]
    assert found["trials"]["total"] == 1


def test_kill_and_resume_from_another_folder_repeats_the_unbroken_run(wald, folder):
    (folder / "train.py").write_text(f"import time; time.sleep(0.4)\n{TRAIN}")
    asked = ["optimize", LINE, "--space", "space.toml", "--method", "random", "--seed", 5]
    whole = wald.json(*asked, "--budget", 8, "--store", "whole.db")
    process = wald.start(*asked, "--budget", 8, "--name", "mine")
    wait_for_trials(process, folder / "wald.db", 3)
    process.kill()
    process.communicate()
    (folder / "space.toml").unlink()  # what was read is in the spec
    (folder / "elsewhere").mkdir()
    wald.folder = folder / "elsewhere"
    ended = wald.json("resume", "mine", "--store", "../wald.db")
    assert ended["digest"] == whole["digest"]


def test_ctrl_c_ends_the_command_too_and_resume_goes_on(wald, folder):
    (folder / "train.py").write_text(
        f"import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(2)\n{TRAIN}"
    )
    process = wald.start(
        *("optimize", LINE, "--space", "space.toml", "--method", "random"),
        *("--budget", 3, "--name", "mine"),
    )
    wait_for_file(process, folder / "pid")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert gone(int((folder / "pid").read_text()))
    (folder / "train.py").write_text(TRAIN)
    assert wald.json("resume", "mine")["trials"]["complete"] == 3


SHARED = """
import os, pathlib, sys, time
trial = os.environ["WALD_TRIAL"]
with open("evaluated", "a") as file:
    file.write(f"{trial} {sys.argv[1]} {sys.argv[2]}\\n")
pathlib.Path(f"worker-{os.getppid()}").touch()
until = time.monotonic() + 60
while trial == "0" and len(list(pathlib.Path().glob("worker-*"))) < 2:
    assert time.monotonic() < until
    time.sleep(0.02)
print((float(sys.argv[1]) - 0.01) ** 2 + abs(int(sys.argv[2]) - 3))
"""
"""A command of which the first trial does not end before two processes evaluate."""


@pytest.mark.parametrize("seed", [[], ["--seed", 7]])
@pytest.mark.parametrize("method", ["sobol", pytest.param("gp-map", marks=pytest.mark.slow)])
def test_two_runs_of_one_name_share_the_work(wald, folder, method, seed):
    (folder / "train.py").write_text(SHARED)
    asked = ["optimize", LINE, "--space", "space.toml", "--method", method, "--budget", 16, *seed]
    processes = [wald.start(*asked, "--name", "s", "--json") for _ in range(2)]
    ended = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    found = [json.loads(out) for out, _ in ended]
    assert found[0]["run_id"] != found[1]["run_id"]
    assert [each["state"] for each in found] == ["finished"] * 2
    rows = trials_of(wald, "s")
    assert [(row["number"], row["state"], row["attempt"]) for row in rows] == [
        (number, "complete", 1) for number in range(16)
    ]
    lines = [line.split() for line in (folder / "evaluated").read_text().splitlines()]
    assert sorted(int(number) for number, *_ in lines) == list(range(16))
    assert len({(lr, depth) for _, lr, depth in lines}) == 16
    assert len(list(folder.glob("worker-*"))) == 2


def test_a_trial_that_kills_its_run_is_failed_after_its_retries(wald, folder):
    (folder / "tuned.py").write_text(
        "import os, signal\n"
        "def loss(p, trial):\n"
        "    if trial.number == 1:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return p['lr']\n"
    )
    asked = ["optimize", "tuned:loss", "--space", "space.toml", "--method", "sobol"]
    asked += ["--budget", 4, "--seed", 2, "--name", "mine", "--retries", 2]
    for _ in range(3):
        assert wald(*asked).returncode == -signal.SIGKILL
    found = wald.json("resume", "mine")
    assert found["state"] == "finished"
    assert found["trials"] == {"total": 4, "complete": 3, "failed": 1, "pending": 0}
    rows = trials_of(wald, "mine")
    assert rows[1]["reason"] == "its process died 3 times, and retries is 2"
    assert [row["attempt"] for row in rows] == [1, 4, 1, 1]
    store = Store.open(str(folder / "wald.db"), create=False)
    assert sorted(store.steps_of(found["run_id"], "observation")) == [0, 1, 2, 3]
    store.engine.dispose()


def test_a_function_prints_what_it_likes_and_stdout_stays_ours(wald, folder):
    (folder / "tuned.py").write_text(
        "import os\nos.system('echo loaded')\n"
        "def loss(p, trial):\n"
        "    print('trial', trial.number, trial.seed)\n"
        "    os.system('echo from a child')\n"
        "    if trial.number == 1: raise LookupError('no data')\n"
        "    return {'loss': p['lr'], 'pid': os.getpid()}\n"
    )
    asked = ["optimize", "tuned:loss", "--space", "space.toml", "--goal", "maximize loss"]
    asked += ["--method", "sobol", "--budget", "4", "--seed", "2"]
    ended = wald(*asked, "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["trials"]["failed"] == 1
    assert "from a child" in ended.stderr
    rows = trials_of(wald, found["run_id"])
    assert rows[1]["reason"] == "LookupError: no data"
    assert len({row["pid"] for row in rows if row["state"] == "complete"}) == 1
    parallel = wald.json(*asked, "--parallel", 2, "--store", "other.db")
    assert trials_of_states(parallel) == trials_of_states(found)


def test_a_users_own_bo_and_rl_come_first_in_the_users_folder(wald, folder):
    wald.env["PYTHONSAFEPATH"] = "1"  # as the installed command: `python -c` has the folder first
    (folder / "bo.py").write_text("WORD = 3\n")
    (folder / "rl").mkdir()
    (folder / "rl" / "train.py").write_text(
        "import bo\ndef loss(p):\n    return abs(p['depth'] - bo.WORD)\n"
    )
    (folder / "apps").mkdir()
    (folder / "apps" / "__init__.py").write_text("raise RuntimeError('never')\n")
    ended = wald.json(
        *("optimize", "rl.train:loss", "--space", "space.toml", "--method", "sobol"),
        *("--budget", 4, "--seed", 0),
    )
    assert ended["trials"]["complete"] == 4
    assert ended["best"]["values"]["value"] == abs(ended["best"]["parameters"]["depth"] - 3)


def test_a_submitted_command_runs_in_its_users_folder(wald, folder):
    queued = wald.json(
        *("optimize", LINE, "--space", "space.toml", "--method", "random", "--budget", 2),
        "--submit",
    )
    assert queued["state"] == "queued"
    worker = subprocess.run(
        [sys.executable, "-m", "apps.worker", "--store", folder / "wald.db", queued["run_id"]],
        env=wald.env,
        check=False,
        capture_output=True,
        text=True,
    )
    assert worker.returncode == 0, worker.stderr
    assert wald.json("show", queued["run_id"])["trials"]["complete"] == 2


def test_known_results_come_first_and_count_for_no_budget(wald, folder):
    (folder / "old.csv").write_text("depth,lr,loss,who\n3,0.01,0.001,me\n7,0.02,,you\n")
    asked = ["optimize", LINE, "--space", "space.toml", "--goal", "minimize loss"]
    asked += ["--method", "sobol", "--budget", "3", "--name", "mine", "--seed", "0"]
    ended = wald(*asked, "--from", "old.csv", "--json")
    assert ended.returncode == 0, ended.stderr
    assert "old.csv: ignored who" in ended.stderr
    found = json.loads(ended.stdout)
    assert found["trials"] == {"total": 5, "complete": 4, "failed": 1, "pending": 0}
    assert found["steps"] == 3
    assert found["best"]["number"] == 0
    again = wald.json(*asked, "--from", "old.csv")
    assert again["digest"] == found["digest"]
    asked[asked.index("mine")] = "next"
    assert wald.json(*asked, "--from", "mine")["trials"]["total"] == 8
    itself = wald(*asked, "--from", "next")
    assert itself.returncode == 2
    assert "--from expected another study, got 'next' itself" in itself.stderr
    assert wald.json("show", "next")["trials"]["total"] == 8


def test_another_command_in_a_study_is_told_of(wald, folder):
    asked = ["--space", "space.toml", "--method", "sobol", "--name", "mine", "--seed", "0"]
    assert "too, and this run" not in wald("optimize", LINE, *asked, "--budget", "1").stderr
    other = wald("optimize", "echo 7 {lr} {depth}", *asked, "--budget", "2", "--json")
    assert other.returncode == 0, other.stderr
    assert f"the study 'mine' has values of command:{LINE} too" in other.stderr
    assert "no trial is complete" not in other.stderr


def test_a_constraint_beside_a_pool_leaves_it_a_pool(wald, folder):
    (folder / "shelf.csv").write_text("lr,depth\n0.01,3\n0.02,7\n0.05,9\n")
    text = (folder / "space.toml").read_text()
    (folder / "shelf.toml").write_text(f'candidates = "shelf.csv"\n{text}')
    asked = ["optimize", LINE, "--space", "shelf.toml", "--method", "sobol", "--budget", "2"]
    beyond = wald(*asked, "--subject-to", "depth <= 8")
    assert beyond.returncode == 2
    assert "candidates expected rows that satisfy 'depth <= 8', got 1 of 3" in beyond.stderr
    kept = wald.json(*asked, "--subject-to", "depth <= 9", "--name", "shelf")
    assert kept["trials"]["complete"] == 2
    assert kept["best"]["parameters"]["lr"] in (0.01, 0.02, 0.05)


def test_a_run_without_a_complete_trial_says_so(wald, folder):
    asked = ["optimize", "echo hi {lr} {depth}", "--space", "space.toml", "--budget", "2"]
    ended = wald(*asked, "--method", "sobol", "--json")
    assert ended.returncode == 0
    assert "no trial is complete: 2 failed, most often like this: the last line" in ended.stderr


def test_rows_that_do_not_fit_are_left_out_where_that_is_asked_for(wald, folder):
    (folder / "old.csv").write_text("depth,lr,loss\n3,0.01,0.001\n99,0.02,0.5\n4,0.02,low\n")
    asked = ["optimize", LINE, "--space", "space.toml", "--goal", "minimize loss"]
    asked += ["--method", "sobol", "--budget", "1", "--from", "old.csv"]
    refused = wald(*asked)
    assert refused.returncode == 2
    assert "line 3: parameter depth" in refused.stderr
    assert "line 4: goal loss expected a number" in refused.stderr
    assert not (folder / "wald.db").exists()
    taken = wald(*asked, "--skip-invalid", "--json")
    assert "1 known results, which no budget counts; old.csv: left out 2 of 3" in taken.stderr
    assert json.loads(taken.stdout)["trials"]["total"] == 2


@pytest.mark.parametrize(
    ("flags", "note", "most"),
    [
        ("--stop-at 3.5", "reached the target 3.5", 19),
        ("--stall 4", "no improvement in 4 trials", 19),
        ("--stop-after 0.001", "stopped after 0.001 s", 1),
    ],
)
def test_a_run_ends_early_and_stays_finished(wald, folder, flags, note, most):
    asked = ["optimize", LINE, "--space", "space.toml", "--method", "random", "--budget", "20"]
    ended = wald.json(*asked, "--seed", "1", "--name", "mine", *flags.split())
    assert ended["state"] == "finished"
    assert note in ended["diagnostics"]["note"]
    assert ended["trials"]["total"] <= most
    again = wald.json(*asked, "--seed", "1", "--name", "mine", *flags.split())
    assert again["digest"] == ended["digest"]


@pytest.mark.parametrize(
    ("target", "flags", "told"),
    [
        ("python train.py {rate}", "", "expected a known parameter in the command, got 'rate'"),
        ("python train.py {lr:.2f}", "", "expected {name} for a parameter"),
        ("python train.py {lr", "", "write {{ and }} for braces"),
        ("python train.py {}", "", "expected {name}"),
        ("python 'train.py", "", "expected a command line"),
        ("", "", "expected a command line, got none"),
        ("pyhton train.py {lr}", "", "no such program on the PATH"),
        ("./train {lr}", "", "no such program in"),
        ("train:lost", "", "expected a function train:lost, got AttributeError"),
        ("trian:loss", "", "expected a function trian:loss, got ModuleNotFoundError"),
        ("quick:WORD", "", "a value of type int"),
        (LINE, "--goal loss", "a goal expected"),
        (LINE, "--space other.toml", "expected a readable TOML file"),
        (LINE, "--retries -1", "--retries expected 0 or more"),
        (LINE, "--timeout 0", "--timeout expected more than 0"),
        (LINE, "--stop-at nan", "--stop-at expected a finite value"),
        (LINE, "--stall 0", "--stall expected more than 0"),
        (LINE, "--method gpmap", "did you mean 'gp-map'"),
        (LINE, "--from none.csv", "expected a readable CSV file"),
        (LINE, "--from nothing", "expected FILE.csv or a study"),
        (LINE, "--from bad.csv", "bad.csv, line 3: parameter depth expected 1 to 12, got 99"),
        (LINE, "--from wide.csv", "wide.csv, line 2: expected 3 cells, got 4"),
        (LINE, "--from text.csv", "text.csv, line 2: goal value expected a number, got 'low'"),
        (LINE, "--skip-invalid", "--skip-invalid expected --from beside it"),
        (LINE, "--from less.csv", "less.csv expected a column depth"),
    ],
)
def test_it_is_refused_and_nothing_is_created(refused, folder, target, flags, told):
    (folder / "quick.py").write_text("WORD = 3\n")
    (folder / "train.py").write_text("loss = None\ndef tune(p): return 1.0\n")
    (folder / "bad.csv").write_text("lr,depth,value\n0.01,3,1\n0.01,99,1\n")
    (folder / "wide.csv").write_text("lr,depth,value\n0.01,3,1,5\n")
    (folder / "text.csv").write_text("lr,depth,value\n0.01,3,low\n")
    (folder / "less.csv").write_text("lr,value\n0.01,1\n")
    loaded = set(sys.modules)
    path = list(sys.path)
    sys.dont_write_bytecode, kept = True, sys.dont_write_bytecode
    try:
        words = ["--space", "space.toml", *flags.split()]
        assert told in refused("optimize", target, *words)
    finally:
        sys.dont_write_bytecode = kept
        sys.path[:] = path
        for name in {"train", "quick"} & (set(sys.modules) - loaded):
            del sys.modules[name]


def test_early_ends_are_for_bo_alone(refused, folder):
    asked = ["run", "bandit", "--problem", "digits", "--method", "random"]
    assert "--stall expected a bo run" in refused(*asked, "--stall", "3")
    assert "--from expected a bo run" in refused(*asked, "--from", "old.csv")


def test_specs_of_former_versions_still_load():
    former = '{"kind": "bo", "problem": "branin", "method": "sobol", "seed": 1, "budget": 5}'
    spec = RunSpec.from_json(former)
    assert (spec.timeout, spec.stop_at, spec.stop_after, spec.stall) == (None,) * 4
    assert spec.retries is None
    assert RunSpec.from_json(spec.to_json()) == spec


def test_no_page_can_order_code_not_even_that_of_an_earlier_run(tmp_path):
    store = Store.open(str(tmp_path / "wald.db"), create=True)
    names = ["command:rm {x}", "python:os:system", "command:<target>", "command:<target>5"]
    for index, name in enumerate(names):
        store.create_run(f"bo-{index}", RunSpec("bo", name, "sobol", 0, 5, folder="/"), {})
    published = [
        describe(role, row, options=True) for role, row in everything() if row.kind == "bo"
    ]
    offered = orders.offer(published, store.runs())
    assert not [name for name in offered.choices("bo") if name.startswith(("comm", "pyth"))]
    for name in names:
        with pytest.raises(UsageError, match="expected a problem of the catalog"):
            offered.problem("bo", name)
    assert "branin" in offered.choices("bo")
    store.engine.dispose()


def trials_of_states(run: dict) -> dict:
    return {key: run["trials"][key] for key in ("complete", "failed")} | {
        "best": run["best"]["parameters"]
    }


def wait_for_file(process: subprocess.Popen, path: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not (path.is_file() and path.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def wait_for_trials(process: subprocess.Popen, store: Path, count: int) -> None:
    until = time.monotonic() + 60
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)
        if not store.is_file():
            continue
        connection = sqlite3.connect(store)
        try:
            if connection.execute("SELECT count(*) FROM trials").fetchone()[0] >= count:
                return
        except sqlite3.OperationalError:
            continue
        finally:
            connection.close()


def gone(pid: int, seconds: float = 5) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_reasons_are_shown_where_trials_fail(wald):
    (wald.folder / "space.toml").write_text('x = { type = "real", low = 0, high = 1 }\n')
    told = ["optimize", "sh -c 'echo {x} >&2; exit 3'", "--space", "space.toml", "--budget", "3"]
    ended = wald(*told, "--method", "sobol", "--name", "lab")
    assert "3 of 3: exit status 3" in ended.stdout
    failures = wald.json("show", "lab")["failures"]
    assert sum(failures.values()) == 3


def test_reasons_that_are_not_shown_are_counted(wald):
    (wald.folder / "space.toml").write_text('x = { type = "real", low = 0, high = 1 }\n')
    (wald.folder / "fails.py").write_text(
        "import os, sys\nkinds = ['a: 1', 'a: 2', *'bcdefgh']\n"
        "def f(p, trial):\n    raise RuntimeError if False else "
        "type(kinds[trial.number][0], (Exception,), {})(kinds[trial.number])\n"
    )
    told = ["optimize", "fails:f", "--space", "space.toml", "--budget", "9", "--method", "sobol"]
    ended = wald(*told, "--name", "lab")
    assert ended.stdout.count(" of 9: ") == 7
    assert "2 of 9: other reasons" in ended.stdout


def test_outcomes_without_a_goal_end_a_run_that_is_not_to_be_resumed(wald):
    (wald.folder / "space.toml").write_text('x = { type = "real", low = 0, high = 1 }\n')
    (wald.folder / "tell.py").write_text('print(\'{"loss": 1.0, "other": 2.0}\')\n')
    told = ["optimize", "python tell.py {x}", "--space", "space.toml", "--budget", "3"]
    ended = wald(*told, "--method", "sobol")
    assert ended.returncode == 1
    assert "say which is the goal" in ended.stderr
    assert "the same command with --goal, and with another --name" in ended.stderr
    assert "wald resume" not in ended.stderr


def test_a_run_in_which_no_trial_keeps_the_constraints_says_so(wald):
    (wald.folder / "space.toml").write_text('x = { type = "real", low = 0, high = 1 }\n')
    (wald.folder / "lab.py").write_text("def f(p):\n    return {'gain': 1.0, 'fumes': p['x']}\n")
    told = ["optimize", "lab:f", "--space", "space.toml", "--budget", "4", "--method", "sobol"]
    told += ["--goal", "maximize gain", "--subject-to", "fumes <= -1", "--name", "lab"]
    assert "none: no trial keeps fumes <= -1" in wald(*told).stdout
    assert wald.json("show", "lab")["best"] is None


def test_a_study_goes_to_optuna(wald):
    optuna = pytest.importorskip("optuna")
    (wald.folder / "space.toml").write_text('x = { type = "real", low = 0, high = 1 }\n')
    wald("optimize", "echo {x}", "--space", "space.toml", "--budget", "3", "--name", "lab")
    url = f"sqlite:///{wald.folder}/optuna.db"
    told = wald.json("export", "lab", "--format", "optuna", "--out", url)
    assert told["study"] == "lab"
    theirs = optuna.load_study(study_name="lab", storage=url)
    assert [trial.value for trial in theirs.trials] == [t.params["x"] for t in theirs.trials]
    assert len(theirs.trials) == 3
    assert "expected --out URL" in wald("export", "lab", "--format", "optuna").stderr


def test_an_outcome_is_told_once(wald):
    (wald.folder / "space.toml").write_text('x = { type = "real", low = 0, high = 1 }\n')
    wald("ask", "lab", "--space", "space.toml", "--goal", "maximize gain")
    assert "each outcome once, got gain twice" in wald("tell", "lab", 0, "gain=1", "gain=2").stderr
    told = wald.json("tell", "lab", 0, "gain=1±0.5")
    assert told["state"] == "complete"
