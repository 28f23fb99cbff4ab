"""The wheel holds the five packages and works away from the source tree."""

import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.browsing import answers, free_port, handshake, wait_for

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"surrogates", "bo", "rl", "apps", "dashboards"}
SKIP = ".git .venv build dist *.egg-info __pycache__ .*_cache .hypothesis *.db*"
LEFT_OUT = shutil.ignore_patterns(*SKIP.split())


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command of this interpreter and return what it printed."""
    result = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy of the tree so that nothing is left in it."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "tree", ignore=LEFT_OUT)
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), cwd=folder / "tree")
    (found,) = folder.glob("wald-*.whl")
    return found


@pytest.fixture(scope="module")
def target(wheel: Path) -> Path:
    """A folder that the wheel is installed into, without its dependencies."""
    folder = wheel.parent / "installed"
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run(*pip, "--no-index", "--target", str(folder), str(wheel), cwd=wheel.parent)
    return folder


def test_holds_the_five_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_holds_every_module_and_recipe(wheel: Path) -> None:
    shipped = {
        file.relative_to(ROOT).as_posix()
        for top in PACKAGES
        for suffix in ("*.py", "*.toml", "*.md")
        for file in (ROOT / top).rglob(suffix)
    }
    assert shipped <= set(zipfile.ZipFile(wheel).namelist())


def test_packages_come_from_where_it_was_installed(target: Path, tmp_path: Path) -> None:
    names = ", ".join(sorted(PACKAGES))
    code = f"import {names}\nfor package in ({names}): print(package.__file__)"
    files = run("-c", code, cwd=tmp_path, PYTHONPATH=str(target)).splitlines()
    assert len(files) == len(PACKAGES)
    assert all(Path(file).is_relative_to(target) for file in files), files


@pytest.mark.network
def test_pages_are_closed_by_the_settings_that_are_shipped(target: Path, tmp_path: Path) -> None:
    port = free_port()
    page = target / "dashboards" / "app.py"
    words = ["-P", "-m", "streamlit", "run", str(page), "--server.port", str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, *words],  # no other flag: what holds comes from the wheel
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        stdout=quiet,
        stderr=quiet,
    )
    try:
        wait_for(lambda: answers(port), "the page")
        local = f"127.0.0.1:{port}"
        assert handshake(port, local, local) == 101
        assert handshake(port, "evil.example", "evil.example") == 403
        assert handshake(port, local, "evil.example") == 403
        with socket.socket() as probe, pytest.raises(OSError, match="refused"):
            probe.connect(("127.0.0.2", port))  # it would answer there if it listened everywhere
        assert list(tmp_path.iterdir()) == []
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_command_runs(flag: str, target: Path, tmp_path: Path) -> None:
    call = f"import sys; sys.argv = ['wald', {flag!r}]; from apps.cli import main; main()"
    assert run("-c", call, cwd=tmp_path, PYTHONPATH=str(target)).strip()
