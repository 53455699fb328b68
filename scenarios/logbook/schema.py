"""How an event becomes a line of the log, and a line an event again.

A line has the keys ``seq`` (dense, from 0), ``step``, ``actor``, ``event``, and then
the event's own fields. Addresses are integers; there is no wall clock.
"""

from __future__ import annotations

from typing import Any

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

import memslots.tracepoints
import rcu.tracepoints
import scenarios.tracepoints
import vcpus.tracepoints
from rcu.trace import EVENT_TYPES, Event

SCHEMA = 1
"""Version of the log; the header names it."""

FIRST = "run_began"
LAST = "run_ended"

# Imported for their events: whoever reads a log must know them all.
TRACEPOINTS = (
    rcu.tracepoints,
    memslots.tracepoints,
    vcpus.tracepoints,
    scenarios.tracepoints,
)

_PLACE = frozenset({"seq", "step", "actor", "event"})
_converter = cattrs.Converter()
_structure: dict[str, Any] = {}


def field_names(kind: type[Event]) -> tuple[str, ...]:
    """The names of an event's own fields, in order."""
    fields: tuple[attrs.Attribute[Any], ...] = getattr(kind, "__attrs_attrs__", ())
    return tuple(field.name for field in fields)


def event_of(line: dict[str, Any]) -> Event:
    """The event that a line of the log describes.

    Raises:
        KeyError: This version knows no such event.
        TypeError, ValueError: Its fields are not those of the event.
    """
    name = line["event"]
    if name not in _structure:
        kind = EVENT_TYPES[name]
        _structure[name] = make_dict_structure_fn(
            kind,
            _converter,
            _cattrs_forbid_extra_keys=True,
            _cattrs_detailed_validation=False,
        )
    fields = {key: value for key, value in line.items() if key not in _PLACE}
    try:
        event: Event = _structure[name](fields, EVENT_TYPES[name])
    except KeyError as error:
        raise ValueError(f"{name} lacks {error}") from error
    except cattrs.ForbiddenExtraKeysError as error:
        extra = ", ".join(sorted(error.extra_fields))
        raise ValueError(f"{name} has no {extra}") from error
    return event
