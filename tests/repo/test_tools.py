"""Style and types, checked by the tools that `make lint` runs."""

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
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"


def test_ruff() -> None:
    check("ruff", "check", "--no-cache", ".")


def test_basedpyright() -> None:
    check("basedpyright")
