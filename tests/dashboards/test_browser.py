"""The pages in a real Chromium, over a real `wald up`: live, shared, healed, stopped, resumed."""

import os
import re
import shlex
import signal
import time

import pytest

from apps.launch import quietly
from apps.spec import RunSpec
from apps.store import current_state
from apps.summary import run_object
from benchmarks.browsing import (
    HINT,
    Up,
    browser,
    charts,
    chromium,
    metric,
    opened,
    state,
    wait_for,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.network,
    pytest.mark.skipif(chromium() is None, reason=HINT),
]
PATIENCE_MS = 60_000
ENDLESS = RunSpec("bandit", "bernoulli", "ts-beta", 1, 500_000_000)


@pytest.fixture(scope="module")
def chrome():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """One `wald up` for all, with one finished BO run; the workers of the tests end with it."""
    folder = tmp_path_factory.mktemp("up")
    finished = RunSpec("bo", "branin", "gp-map", 1, 8, name="finished")
    quietly(finished, f"sqlite:///{folder / 'wald.db'}")
    started = Up(folder, "--workers", "3")
    with opened(folder) as store:
        wait_for(store.published, "the catalog")
    yield started
    with opened(folder) as store:
        for row in store.runs_in(("queued", "running")):
            store.request(row.run_id, "stop")
        wait_for(lambda: not living(store), "the workers to end")
    started.close()


@pytest.fixture
def look(chrome, up):
    """Opens a page in a browser context of its own."""
    contexts = []

    def open_page(path, **context):
        made = chrome.new_context(viewport={"width": 1280, "height": 900}, **context)
        contexts.append(made)
        page = made.new_page()
        page.goto(f"{up.url}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def store(up):
    with opened(up.folder) as found:
        yield found


def living(store):
    return [row for row in store.runs_in(("running",)) if current_state(row) == "running"]


def steps(page):
    """The number of rounds in the head of the page, or -1."""
    found = re.match(r"[\d,]+", metric(page, "Rounds") or "")
    return int(found.group().replace(",", "")) if found else -1


def shows(page, text):
    return page.evaluate("text => document.body.innerText.includes(text)", text)


def submitted(store, run_id, spec=ENDLESS):
    assert store.submit(run_id, spec)
    wait_for(lambda: store.run(run_id).progress.get("steps", 0) > 0, "the first steps")


def worker(store, run_id):
    return int((store.run(run_id).owner or "").rpartition(":")[2])


def check_events(store, run_id):
    """No event is lost or doubled."""
    events = store.events(run_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    recorded = [event.step for event in events if event.kind in ("metric", "observation")]
    assert recorded == sorted(set(recorded))


def test_a_finished_run_shows_what_the_command_line_shows(look, store):
    run = run_object(store, store.runs_named("finished")[0])
    page = look(f"run?run={run['run_id']}")
    wait_for(lambda: charts(page) >= 4, "charts")
    best = run["best"]["values"]["value"]
    wait_for(lambda: metric(page, "Best value"), "the best value")
    assert float((metric(page, "Best value") or "").replace(",", "")) == pytest.approx(
        best, rel=5e-3
    )
    assert metric(page, "Trials") == "8 of 8"
    for text in ("What it believes", "next", f"wald export {run['run_id']}"):
        if text.startswith("wald"):
            page.get_by_role("button", name="Download").first.click()
        wait_for(lambda text=text: shows(page, text), text)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('[data-testid="stVegaLiteChart"]')].filter(
            chart => ![chart, ...chart.querySelectorAll('*')].some(
                e => (e.getAttribute('aria-label') || '').length > 20)).length"""
    )
    assert unnamed == 0  # every chart has a text for those who cannot see it


def test_overview_leads_to_run_and_compare(look):
    page = look("overview?find=finished")
    page.get_by_test_id("stDataFrame").wait_for(timeout=PATIENCE_MS)
    table = page.get_by_test_id("stDataFrame").locator("canvas").first
    box = wait_for(table.bounding_box, "the table")
    page.wait_for_timeout(1000)
    page.mouse.click(box["x"] + 16, box["y"] + 35 + 17)  # the tick box of the first row
    page.get_by_role("button", name="Compare 1 ticked").click()
    page.wait_for_url("**/compare*", timeout=PATIENCE_MS)
    wait_for(lambda: charts(page) >= 1, "the comparison")
    wait_for(lambda: shows(page, "wald compare"), "its command")
    page.go_back()
    page.get_by_test_id("stDataFrame").wait_for(timeout=PATIENCE_MS)
    page.wait_for_timeout(1000)
    box = wait_for(table.bounding_box, "the table")
    page.mouse.click(box["x"] + 65, box["y"] + 35 + 17)  # Open
    page.wait_for_url("**/run*", timeout=PATIENCE_MS)
    wait_for(lambda: charts(page) >= 1, "the run")


@pytest.mark.parametrize("path", ["overview", "run", "compare", "experiments", "start", "health"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens_in_both_themes_and_in_both_widths(look, path, scheme):
    page = look(path, color_scheme=scheme)
    page.locator("h1, h2, h3").first.wait_for(timeout=PATIENCE_MS)
    background = page.evaluate(
        "() => getComputedStyle(document.querySelector('.stApp')).backgroundColor"
    )
    bright = sum(map(int, re.findall(r"\d+", background)[:3])) > 3 * 127
    assert bright is (scheme == "light")
    for width in (1280, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= width
    assert page.get_by_test_id("stException").count() == 0


def test_two_viewers_see_one_run_and_a_reload_loses_nothing(look, store):
    submitted(store, "shared")
    process = worker(store, "shared")
    a, b = look("run?run=shared&range=last+50"), look("run?run=shared")
    for page in (a, b):
        wait_for(lambda page=page: steps(page) > 0 and charts(page) > 0, "the run")
    first = steps(a)
    wait_for(lambda: steps(a) > first, "the next steps, without a click")

    a.reload()
    wait_for(lambda: steps(a) > first and charts(a) > 0, "the same run after a reload")
    assert "run=shared" in a.url
    assert "range=last" in a.url
    assert worker(store, "shared") == process

    a.get_by_label("Add a note").fill("seen by both")
    a.get_by_role("button", name="Save note").click()
    wait_for(lambda: shows(b, "seen by both"), "the note in the other browser")
    a.get_by_test_id("stButton").get_by_role("button", name="Stop").click()
    wait_for(lambda: state(b) == "stopped", "the stop in the other browser")
    notes = [event.payload.get("note") for event in store.events("shared", kind="log")]
    assert notes == ["seen by both"]
    check_events(store, "shared")
    last = store.last_step("shared", "metric")
    wait_for(lambda: steps(b) == last, "the last step, which follows the state")


def test_paused_pictures_keep_the_zoom_while_the_run_goes_on(look, store):
    submitted(store, "paused")
    page = look("run?run=paused&live=false")
    wait_for(lambda: steps(page) > 0 and charts(page) > 0, "the run")
    chart = page.get_by_test_id("stVegaLiteChart").first
    plain = settled(page, chart)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.keyboard.down("Shift")
    page.mouse.wheel(0, -600)
    page.keyboard.up("Shift")
    zoomed = wait_for(
        lambda: (now := settled(page, chart)) != plain and now, "the zoom of the picture"
    )
    before = steps(page)
    time.sleep(6)  # some refreshes
    assert steps(page) > before
    assert settled(page, chart) == zoomed
    store.request("paused", "stop")


def settled(page, chart):
    """The axis labels of a chart, once they are twice the same."""
    read = "e => [...e.querySelectorAll('svg text')].map(t => t.textContent).join('|')"
    last = None
    while (now := chart.evaluate(read)) != last:
        last = now
        page.wait_for_timeout(300)
    return now


def test_start_makes_one_run_whoever_presses_and_it_equals_its_command(look, store, up):
    path = (
        "start?kind=bo&bo.problem=branin&bo.method=sobol&bo.budget=7&seed=5&form=0123456789abcdef"
    )
    a, b = look(path), look(path)
    for page in (a, b):
        page.get_by_role("button", name="Start 1 run").wait_for(timeout=PATIENCE_MS)
    known = {row.run_id for row in store.runs()}
    command = a.locator("code", has_text="wald submit").first.inner_text()
    a.get_by_role("button", name="Start 1 run").click()
    b.get_by_role("button", name="Start 1 run").click()
    for page in (a, b):
        wait_for(lambda page=page: shows(page, "In the queue"), "the answer of the page")
    made = [row.run_id for row in store.runs() if row.run_id not in known]
    assert len(made) == 1
    wait_for(lambda: store.run(made[0]).state == "finished", "the run")

    words = shlex.split(" ".join(command.split()))
    assert words[:2] == ["wald", "submit"]
    from apps import cli

    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(up.folder)
        patch.setattr("sys.argv", [*words, "--json"])
        patch.setattr(cli, "_print_json", lambda value: told.append(value["run_id"]))
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 0
    wait_for(lambda: store.run(told[0]).state == "finished", "the run of the command")
    digests = {store.run(run_id).summary["digest"] for run_id in (made[0], told[0])}
    assert len(digests) == 1


def test_kill_page_supervisor_and_worker_while_two_runs_and_two_browsers_are_open(look, store, up):
    submitted(store, "first")
    submitted(store, "second")
    a, b = look("run?run=first"), look("run?run=second")
    for page in (a, b):
        wait_for(lambda page=page: steps(page) > 0, "the runs")
    workers = worker(store, "first"), worker(store, "second")

    server = up.server()
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: up.server() != server, "another server")
    before = steps(a), steps(b)
    wait_for(lambda: steps(a) > before[0], "the first tab to heal by itself")
    wait_for(lambda: steps(b) > before[1], "the second tab to heal by itself")
    assert (worker(store, "first"), worker(store, "second")) == workers

    up.kill()  # the supervisor: runs and pages go on without it
    before = steps(a), steps(b)
    wait_for(lambda: steps(a) > before[0], "the first tab to go on")
    wait_for(lambda: steps(b) > before[1], "the second tab to go on")
    up.start()  # takes over, and replaces the page that has nobody
    before = steps(a), steps(b)
    wait_for(lambda: steps(a) > before[0], "the first tab to heal again")
    wait_for(lambda: steps(b) > before[1], "the second tab to heal again")
    assert (worker(store, "first"), worker(store, "second")) == workers

    os.kill(workers[0], signal.SIGKILL)
    wait_for(lambda: state(a) == "lost", "the word lost")
    reached = store.last_step("first", "metric")
    a.get_by_role("button", name="Resume").click()
    wait_for(lambda: store.last_step("first", "metric") > reached, "steps after the resume")
    wait_for(lambda: steps(a) > reached, "them on the page")
    following = next(e.step for e in store.events("first", kind="metric") if e.step > reached)
    assert following == reached + (50 if reached < 5_000 else 500)  # the very next record
    for run_id in ("first", "second"):
        check_events(store, run_id)
        store.request(run_id, "stop")
