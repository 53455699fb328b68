"""The keys of a scenario file, as the classes of `scenarios.scenario` have them."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from enum import Enum

import attrs

from scenarios.scenario import Scenario

_WORDS: dict[object, str] = {int: "number", str: "text", bool: "true or false"}


@attrs.frozen
class Table:
    """One table of a scenario file.

    Attributes:
        heading: How the file writes it.
        kind: The class that it is.
    """

    heading: str
    kind: type


def tables() -> Iterator[Table]:
    """Every table, from the outermost on."""
    yield Table("The file", Scenario)
    yield from _inside(Scenario, "")


def _inside(kind: type, path: str) -> Iterator[Table]:
    hints = typing.get_type_hints(kind)
    for field in attrs.fields(kind):
        place = f"{path}.{field.name}" if path else field.name
        for each, many in _tables_of(hints[field.name]):
            brackets = f"[[{place}]]" if many else f"[{place}]"
            call = typing.get_type_hints(each).get("call")
            suffix = f' with `call = "{typing.get_args(call)[0]}"`' if call else ""
            yield Table(f"`{brackets}`{suffix}", each)
            yield from _inside(each, place)


def _tables_of(hint: object) -> list[tuple[type, bool]]:
    """The classes that a field holds, and whether it holds several."""
    many = typing.get_origin(hint) is tuple
    inner = typing.get_args(hint)[0] if many else hint
    choices = typing.get_args(inner) if _is_union(inner) else (inner,)
    return [(each, many) for each in choices if attrs.has(each)]


def value_of(kind: type, field: attrs.Attribute[object]) -> str:
    """What may stand behind a key."""
    hint = typing.get_type_hints(kind)[field.name]
    bounds = _bounds(field.validator)
    return f"{_words(hint)}{bounds}"


def _words(hint: object) -> str:
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        (value,) = typing.get_args(hint)
        return f'`"{value}"`' if isinstance(value, str) else str(value)
    if origin is tuple:
        inner = typing.get_args(hint)[0]
        if _tables_of(hint):
            return "array of tables"
        return f"array of {_words(inner)}"
    if _is_union(hint):
        (inner,) = [each for each in typing.get_args(hint) if each is not type(None)]
        return _words(inner)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f'`"{each.value}"`' for each in hint)
    return "table" if attrs.has(typing.cast("type", hint)) else _WORDS[hint]


def _is_union(hint: object) -> bool:
    return typing.get_origin(hint) in {typing.Union, types.UnionType}


def _bounds(validator: object) -> str:
    """The numbers that a validator lets pass, in words."""
    low: object = None
    high: object = None
    for each in _flat(validator):
        if hasattr(each, "compare_op"):
            if each.compare_op == ">=":
                low = each.bound
            else:
                high = each.bound
        elif hasattr(each, "min_length"):
            return ", not empty"
        elif hasattr(each, "options"):
            return f": {', '.join(map(str, each.options))}"
    if high in {(1 << 32) - 1, (1 << 64) - 1}:
        return f" of {high.bit_length()} bits"
    if high is not None:
        return f", {low} to {high}"
    return "" if low is None else f", at least {low}"


def _flat(validator: typing.Any) -> list[typing.Any]:
    if hasattr(validator, "_validators"):
        return [each for part in validator._validators for each in _flat(part)]
    if hasattr(validator, "validator"):
        return _flat(validator.validator)
    return [validator]


def default_of(field: attrs.Attribute[object]) -> str:
    """What stands for a key that is left out."""
    default = field.default
    if default is attrs.NOTHING:
        return "required"
    if isinstance(default, Enum):
        return f'`"{default.value}"`'
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str) and default:
        return f'`"{default}"`'
    if isinstance(default, int):
        return str(default)
    return "none" if default is None else "empty" if default in {(), ""} else "as there"
