"""Running `wald` as its user does: a process of its own, in an empty folder."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.forked import Forked, Server

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}
WALD = [sys.executable, "-c", "from apps.cli import main; main()"]


class Wald:
    """The command line in one folder."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.env = dict(ENV)

    def __call__(
        self, *arguments: object, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        words = [str(argument) for argument in arguments]
        return subprocess.CompletedProcess(words, process.wait(), out, err)

    def json(self, *arguments: object) -> dict:
        """Run with --json; exactly one object must be on stdout."""
        ended = self(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("\n") == 1
        return json.loads(ended.stdout)

    def start(self, *arguments: object) -> "subprocess.Popen[str] | Forked":
        """Start and return at once."""
        if self.env == ENV:
            return self.server.start([str(a) for a in arguments], self.folder, self.env)
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


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    server = Server(ENV)
    yield server
    server.stop()


@pytest.fixture
def wald(tmp_path: Path, _server: Server) -> Wald:
    """`wald` in an empty folder."""
    return Wald(tmp_path, _server)
