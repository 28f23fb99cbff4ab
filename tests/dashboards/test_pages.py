"""Every view on every awkward run: no exception, the facts that matter, the numbers of the CLI."""

import csv
import dataclasses
import io
import re
import shlex
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import bo
from apps import runner
from apps.events import Event
from apps.export import export
from apps.store import Store
from apps.summary import all_objects, compare, run_object
from bo.contract import Problem
from bo.goals import Goal
from bo.space import Space
from dashboards import data, experiment_orders, links, listing, orders
from dashboards.words import BY_HAND, ago, duration, exact, number, plain
from tests.dashboards import awkward
from tests.dashboards.opening import Open, opener, words

VIEWS = ("overview", "run", "compare", "experiments", "start", "health")
EVERY = (*awkward.AWKWARD, *awkward.ORDINARY)


@pytest.mark.parametrize("run_id", EVERY)
def test_run_page_shows_its_run(page: Open, store: Store, run_id: str):
    at = page("run", run=run_id)
    assert not at.exception
    assert not at.error or run_id in ("failed-at-0",)
    assert at.selectbox(key="run").value == run_id
    told = words(at)
    run = data.the_object(store, run_id)
    assert plain(run["method"]) in told
    assert run["state"] in told
    steps = f"{run['steps']:,}" + ("" if run["budget"] is None else f" of {run['budget']:,}")
    assert steps in told


@pytest.mark.parametrize("run_id", EVERY)
def test_comparing_a_run_with_another(page: Open, run_id: str):
    at = page("compare", runs=[run_id] if run_id == "one-point" else [run_id, "one-point"])
    assert not at.exception
    assert not at.error


@pytest.mark.parametrize("run_id", [r for r in EVERY if r not in ("arms", "agent", "by-hand")])
def test_best_on_the_page_is_that_of_object_and_csv(page: Open, store: Store, run_id: str):
    best = run_object(store, store.run(run_id))["best"]
    rows = list(csv.DictReader(io.StringIO(export(store, run_id, "csv"))))
    told = [m for m in page("run", run=run_id).metric if m.label.startswith("Best")]
    if best is None:
        assert [m.value for m in told] == ["–"]
        assert not [row for row in rows if row["state"] == "complete"]
        return
    value = best["values"]["value"]
    assert f"Exactly {exact(value)};" in told[0].proto.help
    assert told[0].value == number(value)
    assert min(float(row["value"]) for row in rows if row["state"] == "complete") == value


def test_overview_lists_every_run_with_its_numbers(page: Open, store: Store):
    at = page("overview")
    assert not at.exception
    shown = at.dataframe[0].value
    objects = {listing.fit(run["name"], listing.NAME): run for run in all_objects(store)}
    assert set(shown["name"]) == set(objects)
    for _, row in shown.iterrows():
        run = objects[row["name"]]
        assert row["state"] == [run["state"]]
        best = run["best"]["values"]["value"] if run["best"] else None
        if run["kind"] == "bo":
            assert (best is None and row["best"] != row["best"]) or row["best"] == best
        regret = run["regret"]
        assert (regret is None and row["regret"] != row["regret"]) or row["regret"] == regret
        assert row["steps"].startswith(f"{run['steps']:,}")


def test_overview_reads_all_runs_with_one_query(store: Store, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    rows = Store.runs
    monkeypatch.setattr(Store, "runs", lambda self: asked.append("runs") or rows(self))
    for name in ("run", "events", "trials"):
        monkeypatch.setattr(Store, name, lambda *_, **__: pytest.fail("one query more per run"))
    monkeypatch.setenv("WALD_STORE", store.url)
    monkeypatch.setattr(data, "_by_hand", lambda *_: {"created": 0.0})
    assert len(data.overview(store)) == len(EVERY)
    assert asked == ["runs"]


def test_filters_of_the_overview_come_from_the_url(page: Open):
    at = page("overview", kinds=["rl", "bandit"])
    assert set(at.dataframe[0].value["kind"]) == {"rl", "bandit"}
    at = page("overview", find="größe")
    assert list(at.dataframe[0].value["name"]) == [listing.fit(awkward.UNICODE, listing.NAME)]
    at = page("overview", find="no such run")
    assert not at.dataframe
    assert "clear one" in words(at)


def test_long_names_lose_their_middle():
    assert listing.fit("short", 8) == "short"
    assert listing.fit("peers/branin/gp-map/13", 12) == "peers…map/13"
    assert len(listing.fit("x" * 50, 22)) == 22


def test_top_keeps_the_best_of_each_problem_and_what_goes_on():
    base = {"kind": "bo", "problem": "p", "method": "m", "name": "", "state": "finished"}
    items = [base | {"run_id": str(i), "score": s} for i, s in enumerate([1.0, 3.0, None, 2.0])]
    items += [base | {"run_id": "other", "problem": "q", "score": -9.0}]
    items += [base | {"run_id": "now", "state": "running", "score": -9.0}]
    kept = listing.keep(items, kinds=[], states=[], text="", top=2)
    assert [item["run_id"] for item in kept] == ["1", "3", "other", "now"]


def test_compare_shows_the_rows_of_the_command_line(page: Open, store: Store):
    at = page("compare", group="bo branin")
    shown = at.dataframe[0].value
    runs = [r for r in all_objects(store) if (r["kind"], r["problem"]) == ("bo", "branin")]
    rows = compare(runs)
    assert list(shown["method"]) == [row["method"] for row in rows]
    for name in ("mean", "low", "high", "median", "runs"):
        told = [None if value != value else value for value in shown[name]]
        assert told == [row[name] for row in rows]
    assert "wald compare " in words(at)


def test_runs_of_the_url_in_either_spelling(page: Open):
    at = page("compare", runs="one-point,constant,no-such-run")
    assert set(at.multiselect(key="runs").value) == {"one-point", "constant"}
    assert "no\\-such\\-run" in words(at)


def test_an_unknown_run_is_named_and_another_one_shown(page: Open):
    at = page("run", run="no-such-run")
    assert not at.exception
    assert "No run is called no\\-such\\-run" in words(at)
    assert at.selectbox(key="run").value in EVERY


def test_a_run_is_found_by_its_name(page: Open):
    assert page("run", run=awkward.UNICODE).selectbox(key="run").value == "unicode"


def test_failed_run_shows_error_and_traceback(page: Open):
    at = page("run", run="failed-at-0")
    assert "option initial expected integer" in at.error[0].value.replace("\\", "")
    assert any("Traceback" in code.value for code in at.code)


def test_each_button_has_its_command(page: Open, store: Store):
    for run_id, verb in (("running", "stop"), ("lost", "resume"), ("empty", "stop")):
        at = page("run", run=run_id)
        assert at.button(key=verb)
        assert f"wald {verb} {run_id} --store {store.url}" in words(at)
    told = words(page("run", run="one-point"))
    assert "wald stop" not in told
    assert "wald resume" not in told
    assert f"wald export one-point --format csv --store {store.url}" in told
    assert f"wald note one-point TEXT --store {store.url}" in told


def test_health_tells_of_store_and_supervisor(page: Open, store: Store):
    at = page("health")
    assert not at.exception
    told = words(at)
    assert "None is alive" in told
    assert f"wald up --store {store.url}" in told
    assert f"Events {store.facts()['events']:,}" in told
    assert set(at.dataframe[0].value["state"]) == {"queued", "running", "lost"}


def test_banner_only_without_a_supervisor(page: Open, store: Store):
    assert "Nothing starts new runs now" in words(page("overview"))
    store.become_supervisor("http://127.0.0.1:1", workers=1)
    try:
        assert "Nothing starts new runs now" not in words(page("overview"))
        assert "alive" in words(page("health"))
    finally:
        store.leave_supervisor()


def test_notes_are_kept_and_harmless(page: Open, store: Store):
    at = page("run", run="constant")
    at.text_area(key="note-text").set_value("<b>50 %</b> *more* [x](http://y)")
    at.button(key="save-note").click().run()
    assert not at.exception
    notes = [event.payload["note"] for event in store.events("constant", kind="log")]
    assert notes == ["<b>50 %</b> *more* [x](http://y)"]
    assert plain(notes[0]) in words(page("run", run="constant"))


def test_a_note_tells_how_old_it_is(page: Open, store: Store):
    store.record("two-metrics", [Event("log", None, {"note": "an hour ago"})])
    with store.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE events SET time = time - 3600 WHERE run_id = :run AND kind = 'log'"),
            {"run": "two-metrics"},
        )
    told = words(page("run", run="two-metrics"))
    assert told.index("an hour ago") < told.index("60 min ago")


def test_stop_asks_once(page: Open, store: Store):
    at = page("run", run="running")
    at.button(key="stop").click().run()
    assert list(store.open_requests("stop")) == ["running"]
    assert at.button(key="stop").disabled


def test_paused_pictures_stand_still(page: Open, store: Store):
    first = data.load(store, "running")
    mark = data.mark_of(store, "running")
    earlier = data.Mark(mark.seq - 2, mark.belief)
    shown = data.load(store, "running", mark=earlier).trials
    assert list(shown["number"]) == list(first.trials["number"])[:-2]
    at = page("run", run="running", live="false")
    assert at.toggle(key="live").value is False
    assert at.session_state["mark"] == mark
    assert page("run", run="running").toggle(key="live").value is True
    assert page("run", run="one-point").toggle(key="live").value is False


def test_the_belief_of_the_url_or_else_the_newest(page: Open, store: Store):
    kept = store.steps_of("believing", "posterior")
    assert len(kept) > 2
    at = page("run", run="believing")
    newest = at.select_slider(key=f"slider-{kept[-1]}")
    assert newest.value == kept[-1]
    newest.set_value(kept[1]).run()
    assert at.query_params["step"] == str(kept[1])
    assert page("run", run="believing", step="77").select_slider[0].value == kept[-1]
    at = page("run", run="believing", step=str(kept[1]))
    assert at.select_slider(key="slider").value == kept[1]
    at.button(key="follow").click().run()
    assert "step" not in at.query_params
    assert at.select_slider[0].value == kept[-1]
    data_at = data.load(store, "believing", step=kept[1])
    assert data_at.posterior == store.events_at("believing", "posterior", kept[1])[0].payload


def test_a_fully_bayesian_run_shows_its_draws_and_another_one_does_not(page: Open, store: Store):
    at = page("run", run="drawing")
    assert not at.exception
    told = words(at)
    for title in ("Hyperparameters", "Two of them against each other", "Chains"):
        assert f"**{title}**" in told
    assert "Whether to trust the draws" in told
    # The light stands on both slices, the map, importance, and the four cards of the draws.
    assert len(re.findall(r"badge\[\S+ draws \w+\]", told)) == 8
    assert "worth" in told
    other = words(page("run", run="believing"))
    assert "Hyperparameters" not in other
    assert not re.search(r"badge\[\S+ draws", other)


def test_a_pair_of_hyperparameters_is_picked_by_name(page: Open, store: Store):
    at = page("run", run="drawing")
    (own,) = [each.value for each in at.caption if "Rank correlation" in each.value]
    picked = ["length-scale of y", "noise variance"]
    at = at.pills(key="pair-of").set_value(picked).run()
    assert not at.exception
    (other,) = [each.value for each in at.caption if "Rank correlation" in each.value]
    assert other != own
    at = at.pills(key="pair-of").set_value(picked[:1]).run()
    assert "A pair is of two hyperparameters; 1 are picked." in words(at)


def test_names_of_parameters_to_pick_are_no_markdown(tmp_path, monkeypatch):
    store = Store.open(str(tmp_path / "wald.db"), create=True)
    space = Space({name: bo.real(0.0, 1.0) for name in ("*x*", ":red[y]", "plain_z")})
    goal = Goal("value", "minimize")
    problem = Problem("branin", space, goal, lambda parameters, seed: float(parameters["*x*"]))
    store.create_run("odd", awkward.spec(method="gp-map", budget=6), runner.versions())
    runner.execute("odd", store, problem=problem)
    at = opener(store.url, monkeypatch)("run", run="odd")
    pills = at.pills(key="along")
    assert pills.options == [plain("*x*"), plain(":red[y]"), "plain_z"]
    pills.set_value(["*x*", "plain_z"]).run()
    assert not at.exception
    told = words(at)
    assert f"Belief along {plain('*x*')}" in told
    assert f"Belief along {plain(':red[y]')}" not in told


def test_a_map_of_other_axes_is_asked_for_and_shown(page: Open, store: Store):
    step = store.steps_of("believing", "posterior")[-1]
    found = store.events_at("believing", "posterior", step)[0].payload
    other = sorted({"x", "y", "z"} - {found["map"]["x"]})
    at = page("run", run="believing", axes=other)
    assert not at.exception
    asked = f"wald snapshot believing --axes {other[0]} {other[1]} --step {step}"
    if {found["map"]["x"], found["map"]["y"]} == set(other):
        pytest.fail("expected axes that are not drawn yet")
    assert asked in words(at)
    at.button(key="draw").click().run()
    assert not at.exception
    assert at.query_params["step"] in (str(step), [str(step)])
    assert [p for _, p in store.asked("believing", "snapshot")] == [{"step": step, "axes": other}]
    assert at.button(key="draw").disabled
    for request, payload in store.asked("believing", "snapshot"):
        drawn = {**found, "map": {**found["map"], **dict(zip("xy", payload["axes"], strict=True))}}
        store.answer(request, "believing", [Event("posterior", step, drawn)])
    at.run()
    assert not at.exception
    assert "draw" not in [button.key for button in at.button]
    assert f"Belief over {other[0]} and {other[1]}" in words(at)
    assert f"Belief over {found['map']['x']} and" in words(page("run", run="believing"))


def test_a_map_that_cannot_be_drawn_says_so_of_itself_alone(page: Open, store: Store):
    step = store.steps_of("believing", "posterior")[0]
    found = store.events_at("believing", "posterior", step)[0].payload["map"]
    pairs = (["x", "y"], ["x", "z"], ["y", "z"])
    one, other = (pair for pair in pairs if set(pair) != {found["x"], found["y"]})
    failed = {"not_drawn": "no memory left", "step": step, "axes": one}
    store.record("believing", [Event("log", None, failed)])
    told = words(page("run", run="believing", step=str(step), axes=one))
    assert "It could not be drawn: no memory left" in told
    assert "no memory left" not in words(page("run", run="believing", step=str(step), axes=other))


def test_buffers_are_shared_and_only_read_what_is_new(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WALD_STORE", store.url)
    one = data.buffer_of(store, "constant")
    asked: list[int] = []
    events = Store.events
    monkeypatch.setattr(
        Store,
        "events",
        lambda self, run_id, **k: asked.append(k["since"]) or events(self, run_id, **k),
    )
    assert data.buffer_of(store, "constant") is one
    assert asked == [one.seq]
    assert one.seq > 0


def test_by_hand_study_has_its_best_so_far(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WALD_STORE", store.url)
    told = data.load(store, "by-hand")
    assert told.goal == ("value", "maximize")
    done = told.trials[told.trials["state"] == "complete"]
    assert list(done["best"]) == list(done["value"].cummax())
    assert set(told.trials["state"]) == {"complete", "running"}


# Start


def _form(page: Open, **query: str):
    return page("start", form="0123456789abcdef", kind="bo", **{"bo.problem": "branin"} | query)


def test_start_pressed_twice_makes_one_run(page: Open, store: Store):
    before = {row.run_id for row in store.runs()}
    query = {"bo.method": "random", "bo.budget": "7", "seed": "3"}
    one, two = _form(page, **query), _form(page, **query)
    assert "wald submit bo --problem branin --method random --budget 7 --seed 3" in words(one)
    one.button(key="start").click().run()
    assert not one.exception
    two.button(key="start").click().run()
    assert not two.exception
    made = [row for row in store.runs() if row.run_id not in before]
    assert [row.state for row in made] == ["queued"]
    spec = made[0].spec
    assert (spec.problem, spec.method, spec.budget, spec.seed) == ("branin", "random", 7, 3)
    assert "In the queue" in words(two)
    store.end_run(made[0].run_id, "failed", "no such problem")
    told = words(two.run())
    assert "Made: 1 run of this form" in told
    assert "failed" in told
    two.button(key="again").click().run()
    two.button(key="start").click().run()
    assert len(store.runs()) == len(before) + 2


def test_start_makes_one_run_per_seed_with_the_options_given(page: Open, store: Store):
    before = {row.run_id for row in store.runs()}
    query = {"bo.method": "gp-map", "seeds": "3", "seed": "5", "gp-map.acquisition": "ucb"}
    at = _form(page, **query)
    at.button(key="start").click().run()
    made = [row for row in store.runs() if row.run_id not in before]
    assert sorted(row.spec.seed for row in made) == [5, 6, 7]
    assert {row.spec.options["acquisition"] for row in made} == {"ucb"}
    assert all(set(row.spec.options) == {"acquisition"} for row in made)
    told = [paragraph for each in at.markdown for paragraph in each.value.split("\n\n")]
    lines = [line.strip("` ") for line in told if "wald submit" in line]
    assert [line.count("wald submit") for line in lines] == [1, 1, 1]
    assert [shlex.split(line)[shlex.split(line).index("--seed") + 1] for line in lines] == [*"567"]


def test_start_offers_what_suits_the_goals_of_a_problem(page: Open, store: Store):
    one = page("start", **{"kind": "bo", "bo.problem": "branin", "bo.method": "gp-map"})
    assert one.selectbox(key="gp-map.acquisition").options == ["logei", "lognei", "ucb", "ts"]
    assert "cma" in one.selectbox(key="bo.method").options
    query = {"kind": "bo", "bo.problem": "branincurrin", "bo.method": "gp-map"}
    several = page("start", **query, **{"gp-map.acquisition": "ucb"})
    assert not several.exception
    assert several.selectbox(key="gp-map.acquisition").options == ["logei", "ehvi"]
    assert several.selectbox(key="gp-map.acquisition").value == "logei"
    assert "gp-trust-region" not in several.selectbox(key="bo.method").options
    several.selectbox(key="gp-map.acquisition").set_value("ehvi").run()
    assert "--problem branincurrin" in words(several)
    assert "acquisition=ehvi" in words(several)
    several.selectbox(key="bo.problem").set_value("branin").run()
    assert not several.exception
    assert several.selectbox(key="gp-map.acquisition").value == "logei"
    assert not several.button(key="start").disabled


@pytest.mark.parametrize(
    ("problem", "method", "acquisition", "told"),
    [
        ("branincurrin", "gp-map", "ucb", "acquisition expected logei, ehvi for branincurrin"),
        ("branin", "gp-map", "ehvi", "acquisition expected logei, lognei, ucb, ts for branin"),
        ("branincurrin", "gp-trust-region", None, "expected a method for the goals of branincur"),
        ("pressurevessel", "gp-trust-region", None, "expected a method for the goals of pressure"),
    ],
)
def test_an_order_that_does_not_suit_the_goals_is_refused(
    store: Store, problem: str, method: str, acquisition: str | None, told: str
):
    offered = orders.offer(store.published(), [])
    fields: dict[str, Any] = {"kind": "bo", "problem": problem, "method": method, "budget": 3}
    fields |= {"seed": 0, "seeds": 1, "device": "auto", "threads": 1}
    if acquisition is not None:
        fields["options"] = {"acquisition": acquisition}
    with pytest.raises(orders.UsageError, match=told):
        orders.read(fields, offered)
    listed = {"kind": "bo", "name": "e", "problems": [problem], "methods": [method]}
    listed |= {"seeds": 1, "first_seed": 0, "budgets": [3], "threads": 1, "workers": 1}
    if acquisition is None:
        with pytest.raises(orders.UsageError, match="expected methods for the goals of"):
            experiment_orders.read(listed, offered)


def test_dimensions_and_names_with_files(page: Open, store: Store):
    at = page("start", **{"kind": "bo", "bo.problem": "ackley", "d": "17"})
    assert "--problem ackley17 " in words(at)
    assert not [o for o in at.selectbox(key="bo.problem").options if "<" in o or "file" in o]


def test_problems_in_files_are_offered_only_as_the_store_knows_them(store: Store):
    published = store.published()
    spec = awkward.spec(problem="table:mine.toml", folder="/somewhere")
    row = dataclasses.replace(store.run("one-point"), spec=spec)
    offered = orders.offer(published, [row])
    assert "table:mine.toml" in offered.choices("bo")
    fields = {
        "kind": "bo",
        "problem": "table:mine.toml",
        "method": "random",
        "budget": 3,
        "seed": 0,
        "seeds": 1,
        "device": "auto",
        "threads": 1,
    }
    assert orders.read(fields, offered)[0].folder == "/somewhere"
    with pytest.raises(orders.UsageError):
        orders.read(fields | {"problem": "table:/etc/passwd"}, offered)
    assert "table:mine.toml" not in orders.offer(published, []).choices("bo")


def test_a_method_must_suit_the_goals_that_a_file_was_seen_to_have(store: Store):
    published, before = store.published(), store.run("one-point")
    spec = awkward.spec(problem="table:mine.toml", folder="/somewhere")
    unknown = dataclasses.replace(before, spec=spec, summary={})
    summary = {"metrics": {"goal": "maximize a, minimize b"}}
    known = dataclasses.replace(unknown, summary=summary)
    one = {m["name"] for m in published if m["role"] == "method" and not m.get("capabilities")}
    for rows in ([unknown, known], [known, unknown]):
        offered = orders.offer(published, rows)
        row = offered.choices("bo")["table:mine.toml"]
        assert row == offered.problem("bo", "table:mine.toml")
        suiting = {m["name"] for m in offered.rows("bo", "method") if orders.suits(m, row)}
        assert "auto" in suiting
        assert "cma" in one
        assert not suiting & one
    assert orders.offer(published, [unknown]).problem("bo", "table:mine.toml")["capabilities"] == ()


def test_a_taken_name_is_refused_before_anything_is_made(page: Open, store: Store):
    at = _form(page, name=awkward.UNICODE)
    assert at.button(key="start").disabled
    assert "expected a name that is free" in at.warning[-1].value.replace("\\", "")


def test_without_a_catalog_start_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bare = Store.open(str(tmp_path / "bare.db"), create=True)
    open_view = opener(bare.url, monkeypatch)
    at = open_view("start")
    assert not at.exception
    assert f"wald up --store {bare.url}" in words(at)
    for view in VIEWS:
        assert not open_view(view).exception
    assert "No run yet" in words(open_view("overview"))
    bare.engine.dispose()


# Stores that cannot be opened


def test_missing_store_shows_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url = f"sqlite:///{tmp_path / 'none.db'}"
    monkeypatch.setenv("WALD_STORE", url)
    at = opener(url, monkeypatch)("run")
    assert not at.exception
    assert "no such file" in at.error[0].value.replace("\\", "")
    assert not (tmp_path / "none.db").exists()


def test_damaged_and_newer_stores_show_a_sentence(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    (tmp_path / "text.db").write_text("no database at all, just a long enough text" * 50)
    with sqlite3.connect(tmp_path / "newer.db") as newer:
        newer.execute("CREATE TABLE wald_version (version INTEGER NOT NULL)")
        newer.execute("INSERT INTO wald_version VALUES (999)")
    newer.close()
    said = {"damaged": "damaged", "text": "damaged", "newer": "newer wald"}
    for name, word in said.items():
        at = opener(f"sqlite:///{tmp_path / name}.db", monkeypatch)("overview")
        assert not at.exception
        assert word in at.error[0].value.replace("\\", "")


def test_a_store_that_breaks_while_shown_gives_a_sentence(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = tmp_path / "copy.db"
    shutil.copy(str(store.engine.url.database), copy)
    open_view = opener(f"sqlite:///{copy}", monkeypatch)
    at = open_view("overview")
    with sqlite3.connect(copy) as broken:
        broken.execute("DROP TABLE studies")
    broken.close()
    at.run()
    assert not at.exception
    assert "no such table" in at.error[0].value.replace("\\", "")


# Words and links


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        (0.0, "0"),
        (0.39788735, "0.398"),
        (0.4, "0.400"),
        (-1234.5, "-1,230"),
        (123456.0, "123,000"),
        (1.5e-9, "1.50e-09"),
        (2.5e9, "2.50e+09"),
        (12345, "12,345"),
        (0.9999, "1.00"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_times_in_words():
    assert ago(100.0, 112.3) == "12 s ago"
    assert ago(100.0, 100.2) == "just now"
    assert ago(3700.0, 100.0) == "60 min ahead"
    assert ago(None, 1.0) == "–"
    assert duration(7300.0) == "2 h"
    assert duration(-5.0) == "0.0 s"


def test_links_read_what_is_sensible():
    assert links.runs(["a,b", "c", "a"], ["a", "c"]) == (["a", "c"], ["b"])
    assert links.runs(["a, b", "c"], ["a, b", "c"]) == (["a, b", "c"], [])
    assert links.last("last 50") == 50
    assert [links.last(text) for text in ("all", None, "last x", "last -1", "last 0")] == [None] * 5
    assert links.group("bo p q", {("bo", "p q")}) == ("bo", "p q")
    assert links.group("bo", {("bo", "p")}) is None


def test_a_study_whose_goal_cannot_be_read_leaves_the_others(tmp_path, monkeypatch):
    file = tmp_path / "wald.db"
    for name in ("lab", "damaged"):
        study = bo.Study({"x": bo.real(0, 1)}, name=name, store=file, method="sobol", seed=0)
        study.tell(study.ask()[0], 0.5)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE studies SET goal = 'as it was' WHERE study = 'damaged'")
    open_view = opener(f"sqlite:///{file}", monkeypatch)
    at = open_view("overview")
    assert not at.exception
    assert set(at.dataframe[0].value["name"]) == {"lab", "damaged"}
    for name in ("lab", "damaged"):
        at = open_view("run", run=name)
        assert not at.exception
        assert ("cannot be read" in words(at)) == (name == "damaged")


def test_a_study_by_hand_is_told_of_in_its_own_words(tmp_path, monkeypatch):
    file = tmp_path / "wald.db"
    study = bo.Study({"x": bo.real(0, 1)}, name="lab", store=file, method="gp-map", seed=0)
    study.tell(study.ask()[0], 0.5)
    study.fail(study.ask()[0], "spilled")
    at = opener(f"sqlite:///{file}", monkeypatch)("run", run="lab")
    assert [each.value for each in at.metric if each.label == "Failed"] == ["1 trial"]
    assert "keeps no belief" in words(at)
    (badge,) = [each for each in at.markdown if "-badge[" in each.value and "stopped" in each.value]
    assert badge.proto.help == BY_HAND["stopped"]


def test_a_goal_of_several_words_has_its_best_and_its_course(tmp_path, monkeypatch):
    file = tmp_path / "wald.db"
    goal = "minimize `test loss (%)`"
    study = bo.Study({"x": bo.real(0, 1)}, goal, name="lab", store=file, method="sobol", seed=0)
    study.tell(study.ask()[0], 0.5)
    open_view = opener(f"sqlite:///{file}", monkeypatch)
    at = open_view("run", run="lab")
    best = at.metric[0]
    assert (best.label, best.value) == (f"Best {plain('test loss (%)')}", "0.500")
    assert "lower is better" in best.proto.help
    assert not open_view("compare", runs=["lab"]).error
