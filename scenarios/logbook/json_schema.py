"""The log's format as a JSON Schema, made from the typed events."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Collection
from typing import Any, Union

from memslots.tracepoints import SlotData
from rcu.trace import EVENT_TYPES, Event
from scenarios.logbook.schema import (
    FIRST,
    LAST,
    SCHEMA,
    field_names,
    needed_fields,
)
from scenarios.logbook.writer import Header

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_PLAIN: dict[object, str] = {
    bool: "boolean",
    int: "integer",
    str: "string",
    type(None): "null",
}

Table = dict[str, Any]

_ENDING: Table = {
    "ending": {"type": "string"},
    "crc32": {"type": "integer", "minimum": 0, "maximum": (1 << 32) - 1},
}
_OPTIONAL = {"op", "crc32"}


def log_schema() -> Table:
    """What each line of a log may be.

    The first line is the header, the last says how the run ended; a log that was cut
    off has none.
    """
    kinds = {kind.name: kind for kind in sorted(EVENT_TYPES.values(), key=_name)}
    return {
        "$schema": DIALECT,
        "$id": f"memslots-log-{SCHEMA}",
        "title": f"A line of a log of memslots, version {SCHEMA}",
        "oneOf": [
            _line(FIRST, "The first line.", {"schema": {"const": SCHEMA}}, Header),
            _line(LAST, "The last line.", _ENDING, None),
            *(_line(name, _sentence(kind), {}, kind) for name, kind in kinds.items()),
        ],
        "$defs": {
            "slot": _object(_fields(SlotData)) | {"description": _sentence(SlotData)}
        },
    }


def _line(name: str, text: str, more: Table, kind: type | None) -> Table:
    place: Table = {
        "seq": {"type": "integer", "minimum": 0},
        "step": {"type": "integer", "minimum": 0},
        "actor": {"type": "string"},
        "op": {"type": "integer", "minimum": 0},
        "event": {"const": name},
    }
    fields = {} if kind is None else _fields(kind)
    optional = _OPTIONAL | (set() if kind is None else _with_default(kind))
    return {"title": name, "description": text} | _object(
        place | more | fields, optional
    )


def _object(properties: Table, optional: Collection[str] = ()) -> Table:
    """An object; logs of older writers may lack what is optional."""
    return {
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key not in optional],
        "additionalProperties": False,
    }


def _fields(kind: type) -> Table:
    hints = typing.get_type_hints(kind)
    return {name: _type(hints[name]) for name in field_names(kind)}


def _with_default(kind: type) -> set[str]:
    return set(field_names(kind)) - set(needed_fields(kind))


def _type(hint: Any) -> Table:
    if hint is SlotData:
        return {"$ref": "#/$defs/slot"}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    inner = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is tuple and inner[-1] is ...:
        return {"type": "array", "items": _type(inner[0])}
    if origin is tuple:
        items = [_type(each) for each in inner]
        size = len(items)
        return {
            "type": "array",
            "prefixItems": items,
            "minItems": size,
            "maxItems": size,
        }
    if origin in {types.UnionType, Union}:
        return {"anyOf": [_type(each) for each in inner]}
    raise TypeError(f"no JSON type is known for {hint}")


def _sentence(kind: type) -> str:
    """The first sentence of a class."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
    return " ".join(text.replace("``", "").replace("`", "").split())


def _name(kind: type[Event]) -> str:
    return kind.name
