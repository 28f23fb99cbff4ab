"""Experiments on the pages: what the command tells, Start with its file, forms of nonsense."""

import random
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from apps.experiment_file import parse_plan
from apps.publish import offered as published
from apps.spec import RunSpec
from apps.store import Store, UsageError
from dashboards import experiment_orders, experimenting, orders
from dashboards.words import plain
from tests.dashboards import experimental
from tests.dashboards.opening import Open, opener, words
from tests.dashboards.test_fuzz import NASTY

FORMS = 1000
VALID: dict[str, Any] = {
    "kind": "bo",
    "name": "fuzzed",
    "problems": ["branin", "ackley6"],
    "methods": ["gp-map", "sobol"],
    "seeds": 3,
    "first_seed": 0,
    "budgets": [10, 20],
    "threads": 1,
    "workers": 2,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with a catalog and a finished experiment; experiments are added to it."""
    store = experimental.make(tmp_path_factory.mktemp("experiments") / "wald.db")
    store.publish(published(data=True))
    yield store
    store.engine.dispose()


@pytest.fixture
def open_page(made: Store, monkeypatch: pytest.MonkeyPatch) -> Open:
    return opener(made.url, monkeypatch)


def offer(store: Store) -> orders.Offer:
    return orders.offer(store.published(), store.runs())


def test_the_page_shows_the_numbers_of_the_command(open_page: Open, made: Store):
    at = open_page("experiments", experiment="mine")
    assert not at.exception
    assert not at.error
    told = words(at)
    assert "8 of 8" in told
    problems = next(each for each in at.metric if each.label == "Problems")
    assert problems.proto.help == plain("branin, ackley <b>*x*</b> | 1")
    assert "wald experiment mine.toml --workers 1" in told
    assert "/somewhere/mine" in told
    results = made.experiment_results("mine")
    assert results is not None
    frames = [frame.value for frame in at.dataframe]
    (whole,) = [f for f in frames if "problem" in f.columns and "median" in f.columns]
    for column in ("problem", "method", "budget", "median", "q25", "q75", "ask_cpu_seconds"):
        shown = [None if value != value else value for value in whole[column]]
        assert shown == [row[column] for row in results["table"]]
    (tests,) = [f for f in frames if "p_holm" in f.columns]
    wanted = [row for row in results["tests"] if row["problem"] == "branin"]
    assert [None if p != p else p for p in tests["p_holm"]] == [row["p_holm"] for row in wanted]


def test_another_problem_and_an_unknown_name(open_page: Open):
    at = open_page("experiments", experiment="mine", on="ackley <b>*x*</b> | 1")
    assert not at.exception
    assert "ackley \\<b\\>" in words(at)
    at = open_page("experiments", experiment="nobody's")
    assert not at.exception
    assert "No experiment is called nobody's" in words(at)


def test_an_interrupted_one_can_go_on_and_a_queued_one_can_stop(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    store = experimental.make(tmp_path / "wald.db", runs=3)
    open_page = opener(store.url, monkeypatch)
    at = open_page("experiments")
    assert "3 of 8" in words(at)
    at.button(key="resume-experiment").click().run()
    assert store.experiment("mine").state == "queued"
    at.button(key="stop-experiment").click().run()
    assert store.experiment("mine").state == "stopped"
    assert "stopped" in words(at)
    store.engine.dispose()


def test_without_experiments_the_page_says_how_to_begin(tmp_path, monkeypatch):
    store = Store.open(str(tmp_path / "wald.db"), create=True)
    at = opener(store.url, monkeypatch)("experiments")
    assert not at.exception
    assert "wald experiment experiments/quick.toml" in words(at)
    store.engine.dispose()


def test_a_file_that_cannot_be_read_is_told(open_page: Open, made: Store):
    made.submit_experiment("odd", "seeds =", ".", workers=1)
    at = open_page("experiments", experiment="odd")
    assert not at.exception
    assert "expected TOML" in at.error[0].value
    made.ask_experiment("odd", "stop")


def test_methods_have_the_colours_of_every_page():
    plan = experimental.by_hand().plan
    assert plan is not None
    from apps.curves import style

    assert experimenting.styles(plan) == {n: style("bo", n) for n in ("gp-map", "sobol", "random")}
    twice = parse_plan(
        'problems = ["branin"]\nseeds = 1\nbudgets = [2]\n'
        'methods = ["sobol", { name = "sobol", label = "again" }]',
        "twice",
        ".",
    )
    assert len(set(experimenting.styles(twice).values())) == 2


def test_start_queues_one_experiment_whoever_presses(open_page: Open, made: Store):
    query: dict[str, Any] = {"what": "experiment", "form": "0123456789abcdef"}
    query |= {"bo.problems": ["branin", "ackley"], "bo.methods": ["sobol", "random"], "seeds": "3"}
    pages = [open_page("start", **query) for _ in range(2)]
    for at in pages:
        assert not at.exception
        assert at.button(key="start-experiment").label == "Start 12 runs"
    command = "wald experiment experiment-0123.toml --workers 1"
    assert command in words(pages[0])
    for at in pages:
        at.button(key="start-experiment").click().run()
        assert not at.exception
        assert "In the queue" in words(at)
    row = made.experiment("experiment-0123")
    assert row.state == "queued"
    assert row.source.strip() in [code.value.strip() for code in pages[0].code]
    told = tomllib.loads(row.source)
    assert told["problems"] == ["branin", "ackley6"]
    plan = parse_plan(row.source, row.name, row.folder)
    assert len(list(plan.cells())) == 12
    at = open_page("start", **(query | {"bo.methods": ["sobol"]}))
    assert "which another experiment has" in words(at).replace("\\", "")
    made.ask_experiment("experiment-0123", "stop")


def test_start_waits_for_problems_and_methods(open_page: Open):
    at = open_page("start", what="experiment")
    assert not at.exception
    assert at.button(key="start-experiment").disabled
    assert "Choose problems and methods" in words(at)
    at = open_page(
        "start",
        what="experiment",
        **{"bo.problems": "branin", "bo.methods": "sobol"},
        **{"bo.budgets": "ten"},
    )
    assert at.button(key="start-experiment").disabled
    assert "budgets expected whole numbers" in words(at)


def test_problems_in_files_are_named_by_their_whole_path(made: Store):
    spec = RunSpec("bo", "table:mine.toml", "random", 0, 5, folder="/data/here")
    made.submit("with-a-file", spec)
    order = experiment_orders.read(VALID | {"problems": ["table:mine.toml"]}, offer(made))
    assert order.plan.problems[0].name == "table:/data/here/mine.toml"
    assert order.plan.problems[0].label == "table:mine.toml"
    made.end_run("with-a-file", "stopped", None)
    with pytest.raises(UsageError):
        experiment_orders.read(VALID | {"problems": ["table:/etc/passwd"]}, offer(made))


def _form(draw: random.Random) -> dict[str, Any]:
    form = dict(VALID)
    for name in draw.sample(list(VALID), draw.choice([1, 1, 1, 2, 3, len(VALID)])):
        form[name] = draw.choice(NASTY)
        if draw.random() < 0.4:
            form[name] = [draw.choice(NASTY) for _ in range(draw.randrange(1, 4))]
    if draw.random() < 0.1:
        del form[draw.choice(list(form))]
    return form


def test_a_thousand_forms(made: Store):
    draw = random.Random(3)
    offered = offer(made)
    problems = {row["name"] for row in made.published() if row["role"] == "problem"}
    before, refused, told = len(made.experiments()), 0, set[str]()
    for _ in range(FORMS):
        try:
            order = experiment_orders.read(_form(draw), offered)
        except UsageError as error:
            told.add(plain(error, 500))
            refused += 1
            continue
        again = parse_plan(order.source, "other", ".")
        assert again == order.plan
        assert order.plan.name == order.name
        assert 1 <= order.runs <= experiment_orders.MOST_RUNS
        for entry in order.plan.problems:
            assert entry.name in problems or entry.name.startswith("ackley")
    assert 500 < refused < FORMS
    assert all("expected" in text for text in told)
    assert len(made.experiments()) == before
    assert experiment_orders.read(VALID, offered).runs == 12


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("name", "../../etc", "name expected"),
        ("name", "a/b", "name expected"),
        ("name", "x" * 61, "at most 60"),
        ("problems", [], "problems expected"),
        ("problems", ["branin", "branin"], "distinct"),
        ("methods", ["gp-map"] * 21, "at most 20"),
        ("methods", ["apps.cli:main"], "of the catalog"),
        ("seeds", 51, "1 to 50"),
        ("budgets", [0], "budgets expected"),
        ("budgets", [1] * 6, "1 to 5"),
        ("workers", 65, "1 to 64"),
        ("threads", 0, "threads expected"),
        ("kind", "os", "kind of run"),
    ],
)
def test_each_field_is_checked_alone(made: Store, field: str, value: Any, told: str):
    with pytest.raises(UsageError, match=told):
        experiment_orders.read(VALID | {field: value}, offer(made))


@pytest.mark.parametrize("text", ["", "a", "-1", "1.5", "10;20", "٣", "1e3", "9" * 9, "10 x"])
def test_budgets_are_whole_numbers(text: str):
    if text == "":
        assert experiment_orders.budgets_of(text) == []
        return
    with pytest.raises(UsageError, match="whole numbers"):
        experiment_orders.budgets_of(text)


def test_budgets_are_read_with_commas_and_blanks():
    assert experiment_orders.budgets_of("10, 25,50  7") == [10, 25, 50, 7]
