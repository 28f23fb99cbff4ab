"""Style and types, checked by the tools that `make lint` runs."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def check(*command: str) -> None:
    """Run a tool of this environment from the root; its findings are the failure."""
    result = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, "\n".join(["", *findings(result.stdout), result.stderr])


def findings(output: str) -> list[str]:
    """The lines that name a place; those between them are details, for `make lint` to show."""
    lines = [line.strip() for line in output.splitlines()]
    return [line for line in lines if re.search(r":\d+:\d+", line)] or lines


def test_ruff() -> None:
    check("ruff", "check", "--no-cache", "--output-format=concise", ".")


def test_basedpyright() -> None:
    check("basedpyright")
