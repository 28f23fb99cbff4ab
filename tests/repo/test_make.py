"""The Makefile: its targets, and a second set-up that does nothing."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments: str, folder: Path = ROOT) -> str:
    """Run make as a person would, outside any other make; return what it printed."""
    free = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    result = subprocess.run(
        ["make", *arguments], cwd=folder, env=free, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder, with a space in its name, where set-up has just ended."""
    folder = tmp_path / "a copy"
    (folder / ".venv").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv" / ".stamp").touch()
    return folder


@pytest.mark.parametrize("target", ["help", "setup", "demo", "test", "lint", "bench"])
def test_target_exists(target: str, installed: Path) -> None:
    make("--dry-run", target, folder=installed)


def test_help_is_the_default_and_names_every_target(installed: Path) -> None:
    text = make(folder=installed)
    assert all(f"make {target}" in text for target in ("setup", "demo", "test", "lint", "bench"))


def test_second_setup_does_nothing(installed: Path) -> None:
    assert "pip" not in make("--dry-run", "setup", folder=installed)


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_setup_follows_what_it_installs(name: str, installed: Path) -> None:
    later = (installed / ".venv" / ".stamp").stat().st_mtime + 10
    os.utime(installed / name, (later, later))
    assert "pip" in make("--dry-run", "setup", folder=installed)


def test_setup_installs_extras_that_there_are(installed: Path) -> None:
    (installed / ".venv" / ".stamp").unlink()
    (told,) = re.findall(r"--editable '\.\[(.*)\]'", make("--dry-run", "setup", folder=installed))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(told.split(",")) == {"dev", "peers", "bench"}
    assert set(told.split(",")) <= set(extras["optional-dependencies"])
