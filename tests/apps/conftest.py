"""Running `wald` as its user does: a process of its own, in an empty folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WALD = [sys.executable, "-c", "from apps.cli import main; main()"]


class Wald:
    """The command line in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "OMP_NUM_THREADS": "1"}

    def __call__(
        self, *arguments: object, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            [*WALD, *map(str, arguments)],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def json(self, *arguments: object) -> dict:
        """Run with --json; exactly one object must be on stdout."""
        ended = self(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("\n") == 1
        return json.loads(ended.stdout)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start and return at once."""
        return subprocess.Popen(
            [*WALD, *map(str, arguments)],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def files(self) -> set[str]:
        """Names of all files in the folder."""
        return {str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file()}


@pytest.fixture
def wald(tmp_path: Path) -> Wald:
    """`wald` in an empty folder."""
    return Wald(tmp_path)
