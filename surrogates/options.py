"""Options of methods and problems: frozen dataclasses that know their bounds and help texts.

A method file declares

    @options
    class Options:
        depth: int = option(default=2, help="hidden layers", low=1, high=8)

and the command line, the catalog and the dashboard read `schema(Options)`, while `build` makes
an instance from strings (`--option depth=3`) or Python values. Values out of bounds, of the wrong
type or of an unknown name raise `UsageError`.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, dataclass_transform

from surrogates.errors import UsageError

_Class = TypeVar("_Class")
_TYPES = {int: "integer", float: "real", bool: "boolean", str: "text"}


def option(
    *,
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
    check: Callable[[Any], object] | None = None,
) -> Any:
    """A field of an `@options` class.

    Args:
        default: the value where none is given; its annotation must be int, float, bool or str.
        help: one line, with the unit where there is one.
        low: the least allowed number, inclusive.
        high: the greatest allowed number, inclusive.
        choices: the allowed texts.
        check: raises `UsageError` of a value that is not allowed.
    """
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "check": check}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(frozen_default=True, field_specifiers=(option,))
def options(cls: type[_Class]) -> type[_Class]:
    """Make a frozen dataclass whose fields are checked against their bounds."""

    def check_all(self: Any) -> None:
        for field in dataclasses.fields(self):
            value = check(getattr(self, field.name), _row(field))
            if field.metadata.get("check") is not None:
                field.metadata["check"](value)
            object.__setattr__(self, field.name, value)

    cls.__post_init__ = check_all  # pyright: ignore[reportAttributeAccessIssue]
    return dataclasses.dataclass(frozen=True)(cls)


def schema(cls: type[Any]) -> list[dict[str, Any]]:
    """One mapping per option: name, type, default, low, high, choices, help."""
    return [_row(field) for field in dataclasses.fields(cls)]


def check(value: Any, row: Mapping[str, Any]) -> Any:
    """A value in the type of an option, given as a row of `schema` (texts are parsed).

    Raises:
        UsageError: of another type, or out of bounds.
    """
    name, wanted = row["name"], row["type"]
    try:
        converted = _parse(value, wanted)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(
            f"option {name} expected {wanted}, got {value!r:.100}; "
            f"the default is {row['default']!r}"
        ) from None
    low, high, choices = (row[key] for key in ("low", "high", "choices"))
    if choices and converted not in choices:
        raise UsageError(unknown(f"value of option {name}", converted, choices))
    if (low is not None and converted < low) or (high is not None and converted > high):
        bounds = f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
        if low is None:
            bounds = f"at most {high:g}"
        raise UsageError(f"option {name} expected {bounds}, got {converted!r}")
    return converted


def build(cls: type[_Class], given: Mapping[str, Any], *, owner: str) -> _Class:
    """An instance of an `@options` class from names and values (texts are parsed).

    Args:
        cls: the options class.
        given: values by name; what is absent keeps its default.
        owner: whose options these are, for the message.

    Raises:
        UsageError: an unknown name (the nearest one is suggested) or a value out of bounds.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    for name in given:
        if name not in fields:
            raise UsageError(unknown(f"option of {owner}", name, fields))
    return cls(**{name: check(value, _row(fields[name])) for name, value in given.items()})


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name, with the nearest known one or the list of all."""
    known = list(known)
    if not known:
        return f"expected no {what}, got {name!r}: it has none"
    if "<" in name:
        return f"expected a name with a value for its placeholder, got {name!r}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"expected a known {what}, got {name!r}; did you mean {near[0]!r}?"
    listed = ", ".join(known[:40])
    more = ", ..." if len(known) > 40 else ""
    return f"expected a known {what}, got {name!r}; choose from: {listed}{more}"


def _field_type(field: "dataclasses.Field[Any]") -> type:
    if not isinstance(field.type, type) or field.type not in _TYPES:
        raise TypeError(
            f"option {field.name} is annotated {field.type!r}; use int, float, bool, str"
        )
    return field.type


def _row(field: "dataclasses.Field[Any]") -> dict[str, Any]:
    choices = field.metadata["choices"]
    return {
        "name": field.name,
        "type": _TYPES[_field_type(field)],
        "default": field.default,
        "low": field.metadata["low"],
        "high": field.metadata["high"],
        "choices": list(choices) if choices else None,
        "help": field.metadata["help"],
    }


def _parse(value: Any, wanted: str) -> Any:
    if wanted == "boolean":
        texts = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if isinstance(value, str):
            return texts[value.lower()] if value.lower() in texts else int("not a boolean")
        if isinstance(value, bool):
            return value
        raise TypeError(value)
    if isinstance(value, bool):
        raise TypeError(value)
    if wanted == "integer":
        number = float(value)
        if not number.is_integer():
            raise ValueError(value)
        return int(value) if not isinstance(value, str) else int(number)
    if wanted == "real":
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(value)
        return number
    if not isinstance(value, str | int | float):
        raise TypeError(value)
    return str(value)  # a file has a number where the option is a number or a name
