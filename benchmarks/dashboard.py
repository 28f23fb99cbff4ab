"""The pages in a real browser: first picture, latency, bytes, memory, healing; beside Optuna's.

A headless Chromium on this machine opens `wald up`. Times to a first picture are from the
navigation, in a fresh browser context, to the title, or to the last chart that is on the page two
seconds later. The latency of an event is from its commit to the moment at which the number in the
head of the page reaches it. Bytes are those of the page's WebSocket frames.

The peer is optuna-dashboard on the same trials, for what both do: start, first picture of a study
of 1,000 trials and 8 parameters, resident memory with that page open.
"""

import contextlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apps.events import Event
from apps.schema import events as events_table
from apps.spec import RunSpec
from apps.store import Store, current_state
from apps.summary import summarise_record, summarise_trials
from benchmarks.browsing import (
    Up,
    browser,
    charts,
    free_port,
    heading,
    metric,
    opened,
    press,
    resident_bytes,
    state,
    wait_for,
)
from benchmarks.harness import Claim, Peer, Report, say, version_of
from bo import metrics
from bo.goals import Goals
from bo.space import Space, real
from bo.trial_log import Log, StudyRow

PARAMETERS = [f"x{i}" for i in range(8)]
GOAL = Goals.parse("minimize value")
TRIALS = 1_000
EVENTS = 100_000
RECORDS = 10  # a second
MEGABYTE = 1e6
WARM_UP = 60.0  # seconds

Sample = dict[str, Any]


def run(*, quick: bool) -> Report:
    """Measure everything (see `benchmarks.harness`); endurance takes an hour where not quick."""
    version = version_of("optuna-dashboard", extra="peers")
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="wald-benchmark-") as name, browser() as chrome:
        folder = Path(name)
        say("a history of 100,000 events and 1,000 trials")
        _write_histories(folder)
        with Up(folder, "--workers", "2") as up:
            samples.append(_sample("healthy", up.seconds_to_healthy))
            samples += _first_pictures(chrome, up, repeats=2 if quick else 5)
            samples += _latency(chrome, up, seconds=20 if quick else 60)
            samples += _long_history(chrome, up, seconds=20 if quick else 60)
            samples += _two_viewers(chrome, up, repeats=1 if quick else 3)
            samples += _healing(chrome, up, repeats=1 if quick else 3)
            samples += _endurance(chrome, up, minutes=2 if quick else 60)
            _stop_all(folder)
        samples += _peer(chrome, folder, repeats=2 if quick else 5)
    settings = {"study": f"{TRIALS} trials, {len(PARAMETERS)} parameters", "page": "study, default"}
    return Report(
        "dashboard", Peer("optuna-dashboard", version, settings), _claims(samples), samples
    )


def _sample(what: str, value: float, **about: Any) -> Sample:
    return {"what": what, "value": value, **about}


def _claims(samples: Sequence[Sample]) -> list[Claim]:
    """One line per bound of the pages; medians, or the percentile that the name says."""

    def of(what: str) -> list[float]:
        return [sample["value"] for sample in samples if sample["what"] == what]

    def middle(what: str) -> float:
        return statistics.median(of(what)) if of(what) else float("nan")

    def high(what: str, percent: int) -> float:
        found = sorted(of(what))
        if not found:
            return float("nan")
        return found[min(len(found) - 1, int(len(found) * percent / 100))]

    def peer(what: str) -> float | None:
        return middle(f"peer {what}") if of(f"peer {what}") else None

    minutes = next((s["minutes"] for s in samples if s["what"] == "endurance memory"), 0)
    return [
        Claim("healthy after the start", middle("healthy"), peer("healthy"), None, "s"),
        Claim("server healthy after its start", middle("server healthy"), None, 3.0, "s"),
        Claim("memory, one viewer", middle("memory"), peer("memory"), 300.0, "MB"),
        Claim("first page ever: chart", middle("first ever"), None, 7.0, "s"),
        Claim("Overview: title", middle("overview title"), None, 2.0, "s"),
        Claim("Run: title", middle("run title"), None, 2.0, "s"),
        Claim("Run: chart", middle("run chart"), None, 4.0, "s"),
        Claim("Run, 1,000 trials: chart", middle("big chart"), peer("chart"), 5.0, "s"),
        Claim("Run, 1,000 trials: received", middle("big MB"), None, 1.0, "MB"),
        Claim("Run, 99,000 events: chart", middle("long chart"), None, 5.0, "s"),
        Claim("Compare, 1,000 trials: charts", middle("compare chart"), None, 6.0, "s"),
        Claim("event to text, p95", high("latency", 95), None, 2.0, "s"),
        Claim("event to text, greatest", max(of("latency"), default=float("nan")), None, 3.0, "s"),
        Claim("10,000 records: chart", middle("10000 chart"), None, 4.0, "s"),
        Claim("10,000 records: a tick, p95", high("10000 tick", 95), None, 1.0, "s"),
        Claim("10,000 records: a tick's bytes", high("10000 kB", 95), None, 60.0, "kB"),
        Claim("reload in mid-run", middle("reload"), None, 4.0, "s"),
        Claim("stop seen by the other viewer", middle("stop"), None, 3.0, "s"),
        Claim("note seen by the other viewer", middle("note"), None, 3.0, "s"),
        Claim("page killed: tab live again", middle("heal"), None, 10.0, "s"),
        Claim("worker killed: lost on the page", middle("lost"), None, 15.0, "s"),
        Claim(f"memory growth, {minutes} min", middle("endurance memory"), None, 50.0, "MB"),
        Claim(f"heap growth, {minutes} min", middle("endurance heap"), None, 50.0, "MB"),
        Claim(f"tick, last to first, {minutes} min", middle("endurance tick"), None, 1.5, "x"),
    ]


# Histories, written as runs write them but without the runs


def _write_histories(folder: Path) -> None:
    store = Store.open(str(folder / "wald.db"), create=True)
    _write_study(store)
    spec = RunSpec("bandit", "bernoulli", "ts-beta", 1, EVENTS)
    _write_bandit(store, "long", spec, EVENTS - TRIALS)
    _write_bandit(store, "ten-thousand", spec, 10_000)
    store.record("long", [], columns={"state": "finished"})
    store.engine.dispose()


def _write_study(store: Store) -> None:
    """1,000 random trials of a quadratic function of 8 parameters, and their run."""
    space = Space({name: real(0, 1) for name in PARAMETERS})
    row = StudyRow("big", space, GOAL, "random", {}, seed=1, created=time.time())
    log = Log.create(store.url, row)
    draw = random.Random(1)
    now = time.time()
    rows: list[dict[str, Any]] = []
    for number in range(TRIALS):
        point = {name: draw.random() for name in PARAMETERS}
        value = sum((x - 0.3) ** 2 for x in point.values()) + 0.05 * draw.gauss(0, 1)
        rows.append(
            {
                "parameters": json.dumps(point),
                "state": "complete",
                "outcome": json.dumps({"value": value}),
                "method": "random",
                "ask_seconds": 0.001,
                "started": now + number,
                "finished": now + number + 1,
            }
        )
    trials = log.add(rows)
    log.engine.dispose()
    spec = RunSpec("bo", "ackley8", "random", 1, TRIALS, name="big")
    store.create_run("big", spec, {})
    best = None
    new: list[Event] = []
    for trial in trials:
        best = metrics.better(best, trial, GOAL)
        told = {"number": trial.number, "state": trial.state, "value": trial.values["value"]}
        told |= {"best": best.values["value"] if best else None, "regret": None}
        new.append(Event("observation", trial.number, told))
    summary = summarise_trials(GOAL, trials, None)
    store.record("big", new, summary=summary, columns={"state": "finished"})


def _write_bandit(store: Store, run_id: str, spec: RunSpec, count: int) -> None:
    """A running bandit run with so many records, one per round."""
    store.create_run(run_id, spec, {})
    draw = random.Random(2)
    regret, pulls = 0.0, [0] * 10
    rows: list[dict[str, Any]] = []
    now = time.time()
    for step in range(1, count + 1):
        regret += draw.random() / (1 + step / 500)
        pulls[draw.randrange(10)] += 1
        payload = {
            "reward": step * 0.7,
            "regret": regret,
            "pulls": pulls,
            "cpu_seconds": step / 1e3,
        }
        kind = {"run_id": run_id, "kind": "metric", "time": now, "seq": step + 1}
        rows.append({**kind, "step": step, "payload": json.dumps(payload)})
    with store._writing() as connection:
        for first in range(0, count, 10_000):
            connection.execute(events_table.insert(), rows[first : first + 10_000])
    values = {"reward": count * 0.7, "regret": regret, "pulls": pulls}
    summary = summarise_record("bandit", count, values, "0")
    store.record(run_id, [], summary=summary, progress={"steps": count, "regret": regret})


@contextlib.contextmanager
def _live(
    folder: Path, run_id: str, *, per_second: float, first: int
) -> Iterator[dict[int, float]]:
    """Write one record after the other, as a run does; yields the time of commit per step."""
    committed: dict[int, float] = {}
    over = threading.Event()

    def write() -> None:
        with opened(folder) as store:
            step = first
            due = time.monotonic()
            while not over.is_set():
                step += 1
                values = {"reward": step * 0.7, "regret": step**0.5, "pulls": [step // 10] * 10}
                summary = summarise_record("bandit", step, values, "0")
                progress = {"steps": step, "regret": step**0.5}
                event = Event("metric", step, {**values, "cpu_seconds": step / 1e3})
                store.record(run_id, [event], summary=summary, progress=progress)
                committed[step] = time.monotonic()
                due += 1 / per_second
                over.wait(max(0.0, due - time.monotonic()))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield committed
    finally:
        over.set()
        thread.join()


# What is measured


def _open(chrome: Any, url: str) -> tuple[Any, list[int]]:
    """A page in a context of its own, and the sizes of the frames that it receives."""
    page = chrome.new_context(viewport={"width": 1280, "height": 900}).new_page()
    received: list[int] = []

    def listen(socket: Any) -> None:
        socket.on("framereceived", lambda frame: received.append(len(frame)))

    page.on("websocket", listen)
    page.goto(url)
    return page, received


def _picture(chrome: Any, url: str, title: str, *, charts_wanted: bool = True) -> dict[str, float]:
    """Seconds from the navigation to the title and to the last chart, and what was received."""
    began = time.monotonic()
    page, received = _open(chrome, url)
    heading(page, title)
    found = {"title": time.monotonic() - began}
    if charts_wanted:
        last, drawn = 0.0, 0
        wait_for(lambda: charts(page) > 0, f"a chart on {url}")
        while time.monotonic() - began < last + 2.0 or not drawn:
            now_drawn = charts(page)
            if now_drawn != drawn:
                drawn, last = now_drawn, time.monotonic() - began
            time.sleep(0.02)
        found |= {"chart": last, "charts": drawn}
    found["MB"] = sum(received) / MEGABYTE
    page.context.close()
    return found


def _first_pictures(chrome: Any, up: Up, *, repeats: int) -> list[Sample]:
    say("first pictures")
    ever = _picture(chrome, f"{up.url}/run?run=big", "seed 1")
    samples = [_sample("first ever", ever["chart"])]
    for repeat in range(repeats):
        found = _picture(chrome, f"{up.url}/overview", "Runs", charts_wanted=False)
        samples.append(_sample("overview title", found["title"], repeat=repeat))
        small = _picture(chrome, f"{up.url}/run?run=ten-thousand&live=false", "seed 1")
        samples.append(_sample("run title", small["title"], repeat=repeat))
        samples.append(_sample("run chart", small["chart"], repeat=repeat))
        big = _picture(chrome, f"{up.url}/run?run=big", "seed 1")
        samples.append(_sample("big chart", big["chart"], charts=big["charts"], repeat=repeat))
        samples.append(_sample("big MB", big["MB"], repeat=repeat))
        long = _picture(chrome, f"{up.url}/run?run=long", "seed 1")
        samples.append(_sample("long chart", long["chart"], repeat=repeat))
        both = _picture(chrome, f"{up.url}/compare?runs=big", "Compare")
        samples.append(
            _sample("compare chart", both["chart"], charts=both["charts"], repeat=repeat)
        )
    return samples


def _steps(page: Any) -> int:
    """The number of steps in the head of the page; -1 while it is not there."""
    text = metric(page, "Rounds")
    found = None if text is None else re.match(r"[\d,]+", text)
    return -1 if found is None else int(found.group().replace(",", ""))


def _watch(pages: Sequence[Any], committed: Mapping[int, float], seconds: float) -> list[float]:
    """Per event and page the seconds from its commit to the page."""
    latencies: list[float] = []
    seen = [max(_steps(page), min(committed, default=0)) for page in pages]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for index, page in enumerate(pages):
            shown, now = _steps(page), time.monotonic()
            for step in range(seen[index] + 1, shown + 1):
                if step in committed:
                    latencies.append(now - committed[step])
            seen[index] = max(seen[index], shown)
        time.sleep(0.02)
    return latencies


def _latency(chrome: Any, up: Up, *, seconds: float) -> list[Sample]:
    say(f"latency of 10 events a second in two browsers, {seconds:g} s")
    with opened(up.folder) as store:
        store.create_run("quick", RunSpec("bandit", "bernoulli", "ts-beta", 1, EVENTS), {})
    samples: list[Sample] = []
    with _live(up.folder, "quick", per_second=RECORDS, first=0) as committed:
        pages = [_open(chrome, f"{up.url}/run?run=quick")[0] for _ in range(2)]
        for page in pages:
            wait_for(lambda page=page: _steps(page) > 0, "the first step on a page")
        samples += [_sample("latency", value) for value in _watch(pages, committed, seconds)]
        began = time.monotonic()
        before = _steps(pages[0])
        pages[0].reload()
        wait_for(lambda: _steps(pages[0]) >= before and charts(pages[0]) > 0, "the page again")
        samples.append(_sample("reload", time.monotonic() - began))
        pages[1].context.close()
        samples.append(_sample("memory", resident_bytes(up.server()) / MEGABYTE))
        pages[0].context.close()
    with opened(up.folder) as store:
        store.record("quick", [], columns={"state": "finished"})
    return samples


def _long_history(chrome: Any, up: Up, *, seconds: float) -> list[Sample]:
    # More often than the page looks, each second: with as many of both, what is measured is the
    # wait of a record for the next look, as long as their phase has it, and not the tick.
    say(f"10,000 records and {RECORDS} more each second, {seconds:g} s")
    samples: list[Sample] = []
    with _live(up.folder, "ten-thousand", per_second=RECORDS, first=10_000) as committed:
        began = time.monotonic()
        page, received = _open(chrome, f"{up.url}/run?run=ten-thousand&live=true")
        wait_for(lambda: charts(page) > 0 and _steps(page) > 0, "the first chart")
        samples.append(_sample("10000 chart", time.monotonic() - began))
        time.sleep(3.0)
        del received[:]
        first, last = time.monotonic(), _steps(page)
        ticks: list[float] = []
        sizes: list[float] = []
        counted = 0
        while time.monotonic() - first < seconds:
            shown = _steps(page)
            if shown > last:
                # What arrived since the last tick is this one's.
                sizes.append(sum(received[counted:]) / 1e3)
                counted = len(received)
                newest = committed.get(shown)
                if newest is not None:
                    ticks.append(time.monotonic() - newest)
                last = shown
            time.sleep(0.02)
        page.context.close()
    samples += [_sample("10000 tick", value) for value in ticks]
    samples += [_sample("10000 kB", value) for value in sizes[1:]]
    return samples


def _submit(folder: Path, run_id: str) -> None:
    with opened(folder) as store:
        store.submit(run_id, RunSpec("bandit", "bernoulli", "ts-beta", 1, 500_000_000))


def _stop_all(folder: Path) -> None:
    """Workers outlive `wald up`; they must not outlive the benchmark."""
    with opened(folder) as store:
        for row in store.runs_in(("queued", "running")):
            store.request(row.run_id, "stop")
        wait_for(lambda: not _living(store), "the workers to end")


def _living(store: Store) -> bool:
    """Whether a worker still drives a run (the histories are `running` without one)."""
    ours = f":{os.getpid()}"
    rows = store.runs_in(("running",))
    return any(current_state(r) == "running" and not str(r.owner).endswith(ours) for r in rows)


def _shows(page: Any, text: str) -> bool:
    return bool(page.evaluate("text => document.body.innerText.includes(text)", text))


def _two_viewers(chrome: Any, up: Up, *, repeats: int) -> list[Sample]:
    say("two viewers")
    samples: list[Sample] = []
    for repeat in range(repeats):
        run_id = f"ended-{repeat}"
        _submit(up.folder, run_id)
        a, b = (_open(chrome, f"{up.url}/run?run={run_id}")[0] for _ in range(2))
        for page in (a, b):
            wait_for(lambda page=page: _steps(page) > 0, "steps on both pages")
        text = f"seen by both {repeat}"
        a.get_by_label("Add a note").fill(text)
        began = press(a, a.get_by_role("button", name="Save note"))
        wait_for(lambda text=text, b=b: _shows(b, text), "the note in the other browser")
        samples.append(_sample("note", time.monotonic() - began, repeat=repeat))
        began = press(a, a.get_by_test_id("stButton").get_by_role("button", name="Stop"))
        wait_for(lambda b=b: state(b) == "stopped", "the stop in the other browser")
        samples.append(_sample("stop", time.monotonic() - began, repeat=repeat))
        a.context.close()
        b.context.close()
    return samples


def _healing(chrome: Any, up: Up, *, repeats: int) -> list[Sample]:
    say("killing the page's server, then a worker")
    samples: list[Sample] = []
    for repeat in range(repeats):
        run_id = f"killed-{repeat}"
        _submit(up.folder, run_id)
        page, _ = _open(chrome, f"{up.url}/run?run={run_id}")
        wait_for(lambda page=page: _steps(page) > 0, "steps")
        server = up.server()
        before = _steps(page)
        began = time.monotonic()
        os.kill(server, signal.SIGKILL)
        wait_for(lambda server=server: up.server() != server, "another server")
        started = time.monotonic()
        wait_for(lambda: _answers(f"{up.url}/_stcore/health"), "the server")
        samples.append(_sample("server healthy", time.monotonic() - started, repeat=repeat))
        wait_for(lambda page=page, before=before: _steps(page) > before, "steps in the open tab")
        samples.append(_sample("heal", time.monotonic() - began, repeat=repeat))
        with opened(up.folder) as store:
            worker = int((store.run(run_id).owner or "").rpartition(":")[2])
        began = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda page=page: state(page) == "lost", "the word lost")
        samples.append(_sample("lost", time.monotonic() - began, repeat=repeat))
        page.context.close()
    return samples


def _endurance(chrome: Any, up: Up, *, minutes: float) -> list[Sample]:
    say(f"endurance, {minutes:g} min with two viewers and 5 events a second")
    with opened(up.folder) as store:
        store.create_run("lasting", RunSpec("bandit", "bernoulli", "ts-beta", 1, EVENTS), {})
    window = min(5.0, minutes / 2) * 60
    with _live(up.folder, "lasting", per_second=5, first=0) as committed:
        pages = [_open(chrome, f"{up.url}/run?run=lasting")[0] for _ in range(2)]
        for page in pages:
            wait_for(lambda page=page: _steps(page) > 50, "steps")
        _watch(pages, committed, WARM_UP)  # the server was killed before: all it loads is loaded
        memory, heap = resident_bytes(up.server()), _heap(pages[0])
        course: list[Sample] = []

        def watch(seconds: float) -> list[float]:
            told: list[float] = []
            while seconds > 0:
                told += _watch(pages, committed, min(60.0, seconds))
                seconds -= 60.0
                now = (resident_bytes(up.server()) - memory) / MEGABYTE
                course.append(_sample("endurance course", now, minute=len(course) + 1))
            return told

        first = watch(window)
        watch(minutes * 60 - 2 * window)
        last = watch(window)
        grown = course[-1]["value"]
        heap_grown = (_heap(pages[0]) - heap) / MEGABYTE
        for page in pages:
            page.context.close()
    ratio = statistics.median(last) / statistics.median(first) if first and last else float("nan")
    about = {"minutes": minutes}
    say(f"memory {grown:+.1f} MB, heap {heap_grown:+.1f} MB, tick {ratio:.2f} times the first")
    return [
        *course,
        _sample("endurance memory", grown, **about),
        _sample("endurance heap", heap_grown, **about),
        _sample("endurance tick", ratio, **about),
    ]


def _heap(page: Any) -> float:
    """Bytes of the page's JavaScript heap after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return float(used)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# The peer


def _peer(chrome: Any, folder: Path, *, repeats: int) -> list[Sample]:
    say("optuna-dashboard")
    file = folder / "optuna.db"
    _write_optuna(file)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    command = str(Path(sys.executable).parent / "optuna-dashboard")
    words = [command, f"sqlite:///{file}", "--port", str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(words, stdout=quiet, stderr=quiet)
    samples: list[Sample] = []
    try:
        wait_for(lambda: _answers(f"{url}/dashboard/"), "optuna-dashboard")
        samples.append(_sample("peer healthy", time.monotonic() - began))
        for repeat in range(repeats):
            context = chrome.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            began = time.monotonic()
            page.goto(f"{url}/dashboard/studies/1")
            page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=60_000)
            samples.append(_sample("peer chart", time.monotonic() - began, repeat=repeat))
            if repeat == repeats - 1:
                samples.append(_sample("peer memory", resident_bytes(process.pid) / MEGABYTE))
            context.close()
    finally:
        process.terminate()
        process.wait()
    return samples


def _write_optuna(file: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=f"sqlite:///{file}", study_name="big")
    draw = random.Random(1)
    distributions: Any = {name: optuna.distributions.FloatDistribution(0, 1) for name in PARAMETERS}
    made: list[Any] = []
    for _ in range(TRIALS):
        point = {name: draw.random() for name in PARAMETERS}
        value = sum((x - 0.3) ** 2 for x in point.values()) + 0.05 * draw.gauss(0, 1)
        make: Callable[..., Any] = optuna.trial.create_trial
        made.append(make(params=point, distributions=distributions, value=value))
    study.add_trials(made)
