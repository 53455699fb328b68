"""How an event becomes a line of the log, and a line an event again.

A line has the keys ``seq`` (dense, from 0), ``step``, ``actor``, ``op``, ``event``, and
then the event's own fields. Addresses are integers; there is no wall clock.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Literal

import attrs
import msgspec

import memslots.tracepoints
import rcu.tracepoints
import scenarios.tracepoints
import vcpus.tracepoints
from memslots.tracepoints import SlotData
from rcu.trace import EVENT_TYPES, Event

SCHEMA = 1
"""Version of the log; the header names it."""

FIRST = "run_began"
LAST = "run_ended"

CHECKSUM = b',"crc32":'
"""Stands before the last value of the last line: the CRC-32 of all before this."""

WITHOUT_OP = -1
"""Stands for the operation in a line of an older log, which names none."""

# Imported for their events: whoever reads a log must know them all.
TRACEPOINTS = (
    rcu.tracepoints,
    memslots.tracepoints,
    vcpus.tracepoints,
    scenarios.tracepoints,
)

PLACE = ("seq", "step", "actor", "event")
"""The keys that every line has."""

KEPT_SLOTS = 4_096
"""So many different slots are remembered, since lines have the same over and over."""


class Head(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What every line begins with.

    Attributes:
        seq: Number of the line, from 0.
        step: Step in which it happened.
        actor: Whose step it was.
        op: Number of the operation it belongs to; see `scenarios.logbook.operations`.
    """

    seq: int
    step: int
    actor: str
    op: int = WITHOUT_OP


class Kind:
    """What the lines of one kind of event hold behind their heads.

    Args:
        event: The kind.

    Attributes:
        event: The kind.
    """

    def __init__(self, event: type[Event]) -> None:
        self.event = event
        self._fields = _structure(event)
        self._decode = msgspec.json.Decoder(self._fields).decode
        self._make = _maker(event, _hints(event))

    def decode(self, text: bytes) -> Event:
        """Make the event of a JSON object.

        Raises:
            msgspec.MsgspecError, ValueError: It is none, or not of this event.
        """
        return self._make(self._decode(text))

    def convert(self, line: dict[str, Any]) -> Event:
        """Make the event of a line.

        Raises:
            ValueError: Its fields are not those of the event.
        """
        name = self.event.name
        fields = {key: value for key, value in line.items() if key not in _HEAD}
        for needed in needed_fields(self.event):
            if needed not in fields:
                raise ValueError(f"{name} lacks '{needed}'")
        extra = sorted(fields.keys() - {"event", *field_names(self.event)})
        if extra:
            raise ValueError(f"{name} has no {', '.join(extra)}")
        try:
            return self._make(msgspec.convert(fields, self._fields))
        except msgspec.ValidationError as error:
            raise ValueError(f"{name}: {error}") from error


_HEAD = frozenset(Head.__struct_fields__)
Maker = Callable[[Any], Event]

_kinds: dict[str, Kind] = {}
_slots: dict[Any, SlotData] = {}


def kind_of(name: str) -> Kind:
    """What lines of an event look like.

    Raises:
        KeyError: This version knows no such event.
    """
    kind = _kinds.get(name)
    if kind is None or kind.event is not EVENT_TYPES[name]:
        kind = _kinds[name] = Kind(EVENT_TYPES[name])
    return kind


def field_names(kind: type) -> tuple[str, ...]:
    """The names of an event's own fields, in order."""
    return tuple(field.name for field in _fields(kind))


def needed_fields(kind: type) -> tuple[str, ...]:
    """Those without a default: the others may be missing, as older logs lack them."""
    return tuple(f.name for f in _fields(kind) if f.default is attrs.NOTHING)


def event_of(line: dict[str, Any]) -> Event:
    """The event that a line of the log describes, whatever its place.

    Raises:
        KeyError: This version knows no such event.
        ValueError: Its fields are not those of the event.
    """
    return kind_of(line["event"]).convert(line)


def _fields(kind: type) -> tuple[attrs.Attribute[Any], ...]:
    fields: tuple[attrs.Attribute[Any], ...] = getattr(kind, "__attrs_attrs__", ())
    return fields


# Lines as msgspec's structures.


def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {name: hints[name] for name in field_names(kind)}


def _typed_fields(kind: type) -> list[Any]:
    hints = _hints(kind)
    return [
        (field.name, _type(hints[field.name]))
        if field.default is attrs.NOTHING
        else (field.name, _type(hints[field.name]), field.default)
        for field in _fields(kind)
    ]


def _type(hint: Any) -> Any:
    """A field's type, with slots as msgspec reads them."""
    if hint is SlotData:
        return _Slot
    if SlotData in typing.get_args(hint):
        return _Slot | None
    return hint


_Slot = msgspec.defstruct(
    "Slot", _typed_fields(SlotData), frozen=True, forbid_unknown_fields=True, gc=False
)
_slot_fields = attrgetter(*field_names(SlotData))


def _slot_of(slot: Any) -> SlotData | None:
    """The slot; the same object for the same values, as far as they are remembered."""
    if slot is None:
        return None
    known = _slots.get(slot)
    if known is None:
        if len(_slots) >= KEPT_SLOTS:
            _slots.clear()
        known = _slots[slot] = SlotData(*_slot_fields(slot))
    return known


def _structure(kind: type[Event]) -> Any:
    return msgspec.defstruct(
        kind.__name__,
        [("event", Literal[kind.name]), *_typed_fields(kind)],
        forbid_unknown_fields=True,
        gc=False,
    )


def _maker(kind: Callable[..., Event], hints: dict[str, Any]) -> Maker:
    """What makes an event of its fields, by how many there are and which are slots."""
    names = tuple(hints)
    if not names:
        return lambda _: kind()
    values = attrgetter(*names)
    if len(names) == 1:
        return lambda fields: kind(values(fields))
    slots = [place for place, hint in enumerate(hints.values()) if _has_slot(hint)]
    if not slots:
        return lambda fields: kind(*values(fields))
    (place,) = slots

    def with_slot(fields: Any) -> Event:
        own = [*values(fields)]
        own[place] = _slot_of(own[place])
        return kind(*own)

    return with_slot


def _has_slot(hint: Any) -> bool:
    return _type(hint) is not hint
