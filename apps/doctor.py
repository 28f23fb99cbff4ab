"""What is installed, devices, threads, store, data: one row each, and the fix of what is wrong."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from apps.store import Store
from bo.database import is_missing, store_url
from surrogates.errors import StoreError

REQUIRED = ("torch", "botorch", "gpytorch", "ax-platform", "gymnasium", "streamlit", "sqlalchemy")
OPTIONAL = {
    "optuna": "peers",
    "smac": "peers",
    "nevergrad": "peers",
    "cma": "peers",
    "coco-experiment": "coco",
    "box2d": "box2d",
    "distributed": "dask",
    "ray": "ray",
}
OWN_NAMES = ("surrogates", "bo", "rl", "apps", "dashboards")


def examine(store: str, *, migrate: bool = False) -> list[dict[str, Any]]:
    """All findings: name, status (`ok`, `absent`, `wrong`), value, fix."""
    return [
        _row("wald", "ok", importlib.metadata.version("wald")),
        _python(),
        *(_package(name, None) for name in REQUIRED),
        *(_package(name, extra) for name, extra in OPTIONAL.items()),
        _names(),
        _row("cpu", "ok", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"),
        _cuda(),
        _store(store, migrate=migrate),
        _data(),
    ]


def _row(name: str, status: str, value: str, fix: str = "") -> dict[str, Any]:
    return {"name": name, "status": status, "value": value, "fix": fix}


def _python() -> dict[str, Any]:
    fine = sys.version_info >= (3, 11)
    return _row(
        "python",
        "ok" if fine else "wrong",
        platform.python_version(),
        "" if fine else "use 3.11 or newer",
    )


def _package(name: str, extra: str | None) -> dict[str, Any]:
    try:
        return _row(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        if extra is None:
            return _row(name, "wrong", "not installed", f"pip install {name}")
        return _row(name, "absent", "not installed (optional)", f'pip install "wald[{extra}]"')


def _names() -> dict[str, Any]:
    """Other distributions ship packages of the same names; they would overwrite ours."""
    owners = importlib.metadata.packages_distributions()
    foreign = sorted({o for name in OWN_NAMES for o in owners.get(name, []) if o != "wald"})
    if not foreign:
        return _row("import names", "ok", "ours alone")
    fix = f"pip uninstall {' '.join(foreign)}, then reinstall wald in an environment of its own"
    return _row("import names", "wrong", f"also claimed by {', '.join(foreign)}", fix)


def _cuda() -> dict[str, Any]:
    if torch.cuda.is_available():
        return _row("cuda", "ok", torch.cuda.get_device_name())
    return _row("cuda", "absent", "no device (everything runs on the CPU)")


def _store(store: str, *, migrate: bool) -> dict[str, Any]:
    url = store_url(store)
    if is_missing(url):
        return _row("store", "absent", f"none at {url}", "wald run or wald demo makes one")
    try:
        found = Store.open(store, create=migrate)
        return _row("store", "ok", f"{url}, {len(found.runs())} runs")
    except StoreError as error:
        return _row("store", "wrong", str(error))


def _data() -> dict[str, Any]:
    folder = os.environ.get("WALD_DATA")
    if not folder:
        return _row(
            "data", "absent", "WALD_DATA is not set", "set it to use the blackbox/ problems"
        )
    if not (Path(folder) / "blackbox").is_dir():
        return _row(
            "data", "wrong", f"no blackbox/ folder in {folder}", "set WALD_DATA to its parent"
        )
    return _row("data", "ok", folder)
