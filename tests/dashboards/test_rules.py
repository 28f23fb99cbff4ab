"""What no page may do: wait, start processes, cache without bound, write HTML."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "dashboards"
FILES = sorted(FOLDER.rglob("*.py"))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the last word of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2], node


def breaches(source: str) -> list[str]:
    tree = ast.parse(source)
    found: list[str] = []
    for name, call in calls(tree):
        given = {keyword.arg for keyword in call.keywords}
        if name in ("cache_data", "cache_resource") and not given & {"ttl", "max_entries"}:
            found.append(f"line {call.lineno}: a cache without ttl or max_entries")
        if "unsafe_allow_html" in given:
            found.append(f"line {call.lineno}: HTML")
        if name in ("vega_lite_chart", "altair_chart") and "alt" not in given:
            found.append(f"line {call.lineno}: a chart without alt")
    endless = [n for n in ast.walk(tree) if isinstance(n, ast.While) and "True" in ast.dump(n.test)]
    found += [f"line {loop.lineno}: an endless loop" for loop in endless]
    bare = ("cache_data", "cache_resource")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [ast.unparse(each).rpartition(".")[2] for each in node.decorator_list]
            found += [f"line {node.lineno}: a cache without bound" for n in names if n in bare]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_a_page_keeps_the_rules(file: Path) -> None:
    assert breaches(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "@st.cache_data\ndef f(): ...",
        "@st.cache_resource(show_spinner=False)\ndef f(): ...",
        "while True: pass",
        "st.markdown('x', unsafe_allow_html=True)",
        "st.vega_lite_chart({})",
    ],
)
def test_a_breach_is_seen(source: str) -> None:
    assert len(breaches(source)) == 1
