"""The documentation runs: python blocks, shell blocks, and the examples in docstrings.

The blocks of one page run in their order, in one empty folder; its python blocks share their names.
Of a shell block, lines that start with a program of `NOT_RUN` are left out (what `make` is given
must be a target). `<!-- not run: reason -->` on the line above leaves a whole block out.
"""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *sorted(f.relative_to(ROOT).as_posix() for f in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"^(?P<skip><!-- not run: [^\n]+ -->\n\s*)?```(?P<language>python|bash|shell|sh)[ \t]*\n"
    r"(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN = {"make", "pip", "git", "cd", "python", "python3", "source", "ray", "streamlit"}
WITH_EXAMPLES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("surrogates", "bo", "rl", "apps", "dashboards")
    for file in (ROOT / package).rglob("*.py")
    if re.search(r"^\s*>>> ", file.read_text(encoding="utf-8"), re.MULTILINE)
)


class Block(NamedTuple):
    """A fenced block: its language, its code, and the line of the page where the code starts."""

    language: str
    code: str
    line: int


def blocks(text: str) -> list[Block]:
    """The blocks of a page that are meant to run."""
    return [
        Block(found["language"], found["code"], text.count("\n", 0, found.start("code")) + 1)
        for found in BLOCK.finditer(text)
        if not found["skip"]
    ]


def lines_to_run(code: str) -> str:
    """A shell block without prompts and without the lines that are not run here."""
    kept: list[str] = []
    for line in code.replace("\\\n", " ").splitlines():
        command = line.removeprefix("$ ").replace(".venv/bin/", "")
        words = command.split("#")[0].split()
        if words and words[0] in NOT_RUN:
            check_targets(words)
        else:
            kept.append(command)
    return "\n".join(kept)


def check_targets(words: list[str]) -> None:
    """What `make` is told to make must be in the Makefile."""
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in (word for word in words[1:] if re.fullmatch(r"\w+", word)):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"


def run_page(text: str, name: str) -> None:
    """Run the blocks of a page in the current folder. A failure shows the line of the page."""
    names: dict[str, Any] = {"__name__": "__main__"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks(text):
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.code, name, "exec"), names)
            continue
        script = f"set -euo pipefail\n{lines_to_run(block.code)}"
        result = subprocess.run(
            ["bash", "-c", script],
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert result.returncode == 0, f"{name}:{block.line}\n{script}\n{result.stdout}"


@pytest.mark.parametrize("page", PAGES)
def test_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run_page(text, page)


def test_readme_has_something_to_run() -> None:
    assert blocks((ROOT / "README.md").read_text(encoding="utf-8"))


def test_docstring_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed = [
        module
        for module in WITH_EXAMPLES
        if doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS).failed
    ]
    assert not failed


PAGE = """
```python
x = 1
```
<!-- not run: it would fail -->
```python
x = 1 / 0
```
```bash
make test        # minutes
echo $((20 + 1)) |
  cat > answer.txt
```
```python
from pathlib import Path
assert x + int(Path("answer.txt").read_text()) == 22
```
"""


def test_a_page_runs_in_order_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(PAGE, "page")


@pytest.mark.parametrize(
    "block", ["```python\n1 / 0\n```", "```bash\nfalse | true\n```", "```sh\nmake tea\n```"]
)
def test_a_block_that_fails_is_seen(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, ZeroDivisionError)):
        run_page(block, "page")
