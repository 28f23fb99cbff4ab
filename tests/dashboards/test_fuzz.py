"""A thousand forms and a thousand addresses of nonsense: no exception, no run of an invalid one."""

import math
import random
import string
from typing import Any

import pytest

from apps.spec import RunSpec
from apps.store import Store, UsageError
from dashboards import commands, links, orders
from dashboards.words import ago, duration, number, plain
from tests.dashboards.opening import Open

FORMS = 1000
ADDRESSES = 1000
PAGES = 24
VALID: dict[str, Any] = {
    "kind": "bo",
    "problem": "branin",
    "method": "gp-map",
    "budget": 10,
    "seed": 0,
    "seeds": 2,
    "device": "auto",
    "threads": 1,
    "name": None,
    "options": {"acquisition": "ucb", "initial": 5},
    "problem_options": {},
}
NASTY: list[Any] = [
    None,
    "",
    " ",
    "branin",
    "branin\n",
    "ackley<d>",
    "ackley0",
    "ackley007",
    "ackley9999999999",
    "ackley٣",
    "table:<file>",
    "table:/etc/passwd",
    "csv:../../secret.csv",
    "os:system",
    "__import__('os').system('x')",
    "apps.cli:main",
    "gp-map; rm -rf /",
    "$(reboot)",
    "'; DROP TABLE runs; --",
    "<script>alert(1)</script>",
    "\x00",
    "\ud800",
    "a" * 100_000,
    "🙂" * 50,
    -1,
    0,
    1,
    2,
    1.5,
    2**31,
    2**63,
    10**400,
    10**5000,
    -(10**30),
    math.nan,
    math.inf,
    -math.inf,
    True,
    False,
    [],
    ["bo"],
    {},
    {"a": 1},
    {1: 2},
    {"acquisition": "none such"},
    {"initial": math.nan},
    {"initial": 10**5000},
    {"surrogate.kernel": "rbf\x00"},
    {"device": "cuda", "initial": "5"},
    {"initial": {"deep": []}},
    b"bytes",
    object(),
    (1, 2),
]


def _form(draw: random.Random) -> dict[str, Any]:
    form = dict(VALID)
    for name in draw.sample(list(VALID), draw.choice([1, 1, 1, 2, 3, len(VALID)])):
        form[name] = draw.choice(NASTY)
    if draw.random() < 0.2:
        del form[draw.choice(list(form))]
    if draw.random() < 0.1:
        form[draw.choice(NASTY[:22]) or "x"] = draw.choice(NASTY)
    return form


def test_a_thousand_forms(store: Store):
    draw = random.Random(1)
    offered = orders.offer(store.published(), store.runs())
    problems = {row["name"] for row in store.published() if row["role"] == "problem"}
    before = len(store.runs())
    refused, told = 0, set[str]()
    for _ in range(FORMS):
        form = _form(draw)
        try:
            specs = orders.read(form, offered)
        except UsageError as error:
            told.add(plain(error, 500))
            refused += 1
            continue
        for spec in specs:  # what passes is what the supervisor can read again, inside the catalog
            assert RunSpec.from_json(spec.to_json()) == spec
            assert spec.problem in problems or spec.problem.startswith("ackley")
            assert spec.folder is None
            assert orders.run_id("token", spec) == orders.run_id("token", spec)
            assert len(orders.run_id("token", spec)) < 20
        assert 1 <= len(specs) <= orders.MOST_SEEDS
    assert 600 < refused < FORMS  # both sides of the fence were visited
    assert all("expected" in text for text in told)
    assert len(store.runs()) == before
    assert len(orders.read(VALID, offered)) == 2


@pytest.mark.parametrize("name", list(VALID))
def test_each_field_is_checked_alone(store: Store, name: str):
    offered = orders.offer(store.published(), store.runs())
    wrong = {"budget": 0, "seed": -1, "seeds": 51, "threads": 0, "options": {"nonsense": 1}}
    wrong |= {"problem_options": {"nonsense": 1}, "name": "line\nbreak"}
    with pytest.raises(UsageError):
        orders.read(VALID | {name: wrong.get(name, "nonsense")}, offered)


def _text(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.4:
        return str(draw.choice([n for n in NASTY if isinstance(n, str) and n.isprintable()]))[:500]
    if kind < 0.6:
        return "".join(draw.choices(string.printable, k=draw.randrange(40)))
    if kind < 0.8:
        return "".join(chr(draw.randrange(32, 0x2FFFF)) for _ in range(draw.randrange(12)))
    return draw.choice(["one-point", "true", "last 50", "bo branin", "1", "-1", "1e9", "NaN", ","])


def test_a_thousand_addresses_are_read():
    draw = random.Random(2)
    known = {"one-point", "a,b", ""}
    for _ in range(ADDRESSES):
        texts = [_text(draw) for _ in range(draw.randrange(4))]
        found, missing = links.runs(texts, known)
        assert set(found) <= known
        assert not set(missing) & known
        text = draw.choice([None, *texts]) if texts else None
        assert links.group(text, {("bo", "branin")}) in (None, ("bo", "branin"))
        last, step = links.last(text), links.step(text)
        assert last is None or last > 0
        assert step is None or step >= 0
        token = orders.token(text)
        assert token is None or len(token) == 16
        for each in texts:
            assert "\n" not in plain(each)
            assert number(each) == each
            assert commands.compare([each], "sqlite:///wald.db").startswith("wald compare ")
    assert links.runs(["x," * 10**6], known) == ([], ["x"])


def test_words_take_any_number():
    for value in NASTY:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if isinstance(value, int) and abs(value) > 10**300:
                continue  # no event holds one: JSON numbers here are floats or small
            assert number(value)
            assert duration(float(value))
            assert ago(float(value), 0.0)


KEYS = {
    "overview": ["kinds", "states", "find", "top"],
    "run": ["run", "live", "range", "step", "along", "show", "log-y", "over"],
    "compare": ["runs", "group", "show", "log-y"],
    "start": ["kind", "bo.problem", "bo.method", "bo.budget", "seeds", "seed", "d", "form", "name"]
    + ["what", "bo.problems", "bo.methods", "bo.budgets", "experiment-name", "workers"],
    "health": ["x"],
    "experiments": ["experiment", "on"],
}


@pytest.mark.parametrize("seed", range(PAGES))
def test_addresses_of_nonsense_open_a_page(page: Open, store: Store, seed: int):
    draw = random.Random(seed)
    view = draw.choice(list(KEYS))
    before = len(store.runs())
    query = {key: _text(draw) for key in KEYS[view] if draw.random() < 0.7}
    if draw.random() < 0.5:
        query |= {_text(draw) or "k": _text(draw)}
    if view == "run" and draw.random() < 0.7:
        query["run"] = draw.choice(["mixed", "arms", "agent", "believing"])
    at = page(view, **query)
    assert not at.exception
    assert not [e for e in at.error if query.get("run") != "failed-at-0"]
    assert len(store.runs()) == before
