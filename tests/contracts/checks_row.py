"""What holds for every catalog row, whatever its kind."""

import importlib
import inspect
import re

from surrogates.options import schema
from surrogates.registry import Row


def check_name_is_what_one_types(row: Row, words: set[str]) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9:/_.<>-]*", row.name), row.name


def check_help_is_one_line_without_full_stop(row: Row, words: set[str]) -> None:
    assert 0 < len(row.help) <= 100
    assert "\n" not in row.help
    assert row.help == row.help.strip()
    assert not row.help.endswith("."), row.help


def check_capabilities_are_known_words(row: Row, words: set[str]) -> None:
    assert row.capabilities <= words, f"unknown: {sorted(row.capabilities - words)}"


def check_factory_loads_and_its_module_has_a_header(row: Row, words: set[str]) -> None:
    assert callable(row.load())
    header = inspect.getdoc(importlib.import_module(row.factory.partition(":")[0]))
    assert header, f"expected a docstring at the top of {row.factory}"


def check_options_have_defaults_and_help(row: Row, words: set[str]) -> None:
    row.options()()
    for option in schema(row.options()):
        told = option["help"]
        assert told, option["name"]
        assert "\n" not in told
        assert not told.endswith("."), f"{option['name']}: {told}"
