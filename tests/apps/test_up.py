"""`wald up`: closed by default, one per store, and nothing that dies takes anything with it."""

import os
import signal
import socket
from pathlib import Path

import pytest

from apps.store import current_state
from benchmarks.browsing import Up, answers, ask, handshake, opened, wait_for

pytestmark = pytest.mark.network


def gone(process):
    """Whether no such process runs; what is left of one until its parent looks does not count."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def look(folder, read):
    with opened(folder) as store:
        return read(store)


@pytest.fixture
def up(tmp_path):
    """Starts `wald up`, and leaves no process behind."""
    made: list[Up] = []

    def start(*arguments):
        made.append(Up(tmp_path, *arguments))
        return made[-1]

    yield start
    pids: list[int] = []
    if (tmp_path / "wald.db").exists():
        supervisor = look(tmp_path, lambda store: store.supervisor())
        pids += [supervisor["server_pid"]] if supervisor else []
        running = look(tmp_path, lambda store: store.runs_in(("running",)))
        pids += [int(row.owner.rpartition(":")[2]) for row in running]
    for one in made:
        one.close()
    for pid in pids:
        if pid and not gone(pid):
            os.kill(pid, signal.SIGKILL)


def test_the_page_is_closed_to_all_but_this_machine_and_light(up, wald):
    started = up()
    assert started.told["url"] == f"http://127.0.0.1:{started.port}"
    assert answers(started.port)
    local = f"127.0.0.1:{started.port}"
    assert handshake(started.port, local, local) == 101
    assert handshake(started.port, f"localhost:{started.port}", f"localhost:{started.port}") == 101
    assert handshake(started.port, local, "evil.example") == 403
    assert handshake(started.port, "evil.example", "evil.example") == 403
    assert ask(started.port, "POST", "/_stcore/agent/interact") == 403
    listening = Path("/proc/net/tcp")
    if listening.exists():
        port = f":{started.port:04X} "
        lines = [line.split()[1] for line in listening.read_text().splitlines() if port in line]
        assert {line.partition(":")[0] for line in lines} <= {"0100007F"}  # 127.0.0.1
        server = started.server()
        assert "libtorch" not in Path(f"/proc/{server}/maps").read_text()
        assert f"{started.port:04X}" not in Path("/proc/net/tcp6").read_text()
    again = wald.json("up")
    assert again["url"] == started.told["url"]
    assert again["new"] is False
    wait_for(lambda: look(wald.folder, lambda store: store.published()), "the catalog")
    rows = look(wald.folder, lambda store: store.published())
    named = {(row["kind"], row["role"], row["name"]) for row in rows}
    assert {("bo", "method", "gp-map"), ("rl", "problem", "cartpole")} <= named
    assert all("options" in row for row in rows)


def test_a_port_in_use_is_refused_in_one_line_that_names_a_free_one(wald):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = wald("up", "--port", port)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert f"expected a free port, got {port}" in ended.stderr
    assert "free is --port " in ended.stderr
    assert wald.files() == set()


def test_what_is_killed_comes_back_and_the_others_go_on(up, wald):
    first = up("--workers", "1")
    run_id = wald.json(
        "submit", "bandit", "--problem", "bernoulli", "--method", "ts-beta",
        "--budget", 50_000_000, "--seed", 1,
    )["run_id"]  # fmt: skip

    def row():
        return look(wald.folder, lambda store: store.run(run_id))

    wait_for(lambda: row().progress.get("steps", 0) > 0, "the run's first steps")
    worker = int(row().owner.rpartition(":")[2])

    server = first.server()  # the page
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: first.server() != server, "another page")
    wait_for(lambda: answers(first.port), "the page to answer")
    assert not gone(worker)

    first.process.kill()  # the supervisor; its page is an orphan now
    first.process.wait()
    orphan = first.server()
    assert not gone(orphan)
    second = up("--workers", "1")
    assert second.told["new"] is True
    wait_for(lambda: gone(orphan), "the orphaned page to end")
    assert answers(second.port)
    assert not gone(worker)
    assert int(row().owner.rpartition(":")[2]) == worker

    os.kill(worker, signal.SIGKILL)  # the worker
    wait_for(lambda: current_state(row()) == "lost", "the run to be lost")
    reached = look(wald.folder, lambda store: store.last_step(run_id, "metric"))
    look(wald.folder, lambda store: store.request(run_id, "resume"))
    wait_for(
        lambda: look(wald.folder, lambda store: store.last_step(run_id, "metric")) > reached + 1000,
        "steps after the resume",
    )
    worker = int(row().owner.rpartition(":")[2])

    told = second.close()  # Ctrl-C
    assert second.process.returncode == 0
    assert f"1 of its runs go on ({run_id})" in told
    assert not answers(second.port)
    assert not gone(worker)
    assert look(wald.folder, lambda store: store.supervisor()) is None

    events = look(wald.folder, lambda store: store.events(run_id))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    steps = [event.step for event in events if event.kind == "metric"]
    assert steps == sorted(set(steps))


def test_a_store_that_is_deleted_ends_it_in_one_line(up, tmp_path):
    started = up()
    for file in tmp_path.glob("wald.db*"):
        file.unlink()
    started.process.wait(timeout=60)
    told = started.close()
    assert started.process.returncode == 2
    assert told.count("\n") == 1
    assert "expected the store" in told
    wait_for(lambda: not answers(started.port), "the page to end")
