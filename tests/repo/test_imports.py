"""Imports point down, and what only reads stays light."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "ax", "botorch", "gpytorch", "linear_operator", "streamlit"}
LIGHT = [
    "surrogates.errors",
    "surrogates.options",
    "surrogates.registry",
    "surrogates.inputs",
    "surrogates.catalog",
    "bo.space",
    "bo.contract",
    "bo.catalog",
    "bo.database",
    "bo.trial_log",
    "rl.catalog",
    "apps.cli",
    "apps.spec",
    "apps.catalog",
    "apps.events",
    "apps.schema",
    "apps.store",
]
PACKAGES = sorted(
    ".".join(file.parent.relative_to(ROOT).parts)
    for top in ("surrogates", "bo", "rl", "apps", "dashboards")
    for file in (ROOT / top).rglob("__init__.py")
)


def loaded_by(code: str) -> set[str]:
    """The top-level names in `sys.modules` of a fresh process after the code ran."""
    tail = "import sys, json; print(json.dumps([n for n in sys.modules if '.' not in n]))"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tail}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_contracts_of_import_linter_hold() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("module", LIGHT)
def test_light_module_loads_nothing_heavy(module: str) -> None:
    assert not loaded_by(f"import {module}") & HEAVY


def test_packages_load_nothing_heavy() -> None:
    assert not loaded_by("import " + ", ".join(PACKAGES)) & HEAVY


def test_importing_bo_opens_no_database_library() -> None:
    assert "sqlalchemy" not in loaded_by("import bo")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["catalog"]])
def test_quick_commands_load_nothing_heavy(arguments: list[str]) -> None:
    call = f"""
import sys
sys.argv = ["wald", *{arguments!r}]
from apps.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    assert not loaded_by(call) & HEAVY
