"""Where two runs part."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import msgspec

from rcu.trace import Record
from scenarios.logbook.reader import LogReader
from scenarios.logbook.schema import field_names

FAR = 100_000
"""So many records further on it is looked for what the other run did first."""


@attrs.frozen
class Told:
    """A record, as it is shown.

    Attributes:
        seq: Number of its line.
        step: Its step.
        actor: Whose step.
        event: What happened.
        fields: The event's own.
    """

    seq: int
    step: int
    actor: str
    event: str
    fields: dict[str, Any]


@attrs.frozen
class Side:
    """One of the two runs.

    Attributes:
        log: Name of its log.
        goes_on: Its records from where they part.
        records: How many there are in all.
        steps: Step of the last one.
        ending: How it ended; empty if its log is cut off.
        later: How many records later it does what the other did instead; None if it
            does not, or far behind.
    """

    log: str
    goes_on: list[Told]
    records: int
    steps: int
    ending: str
    later: int | None


@attrs.frozen
class Parting:
    """What two runs have in common, and how each goes on.

    Attributes:
        equal: Whether records and endings are the same.
        seq: Number of the first record that differs; None if none does.
        common: The last records that they have in common.
        headers: What their first lines say differently, by key.
        a: The one run.
        b: The other.
    """

    equal: bool
    seq: int | None
    common: list[Told]
    headers: dict[str, tuple[Any, Any]]
    a: Side
    b: Side

    def as_dict(self) -> dict[str, Any]:
        """What ``--format json`` prints."""
        return attrs.asdict(self)


class _Run:
    """Reads one of the two."""

    def __init__(self, path: Path) -> None:
        self.reader = LogReader(path)
        self._records = self.reader.records()
        self.count = 0
        self.step = 0

    def next(self) -> Record | None:
        record = next(self._records, None)
        if record is not None:
            self.count += 1
            self.step = record.step
        return record

    def rest(self) -> Iterator[tuple[int, Record]]:
        while (record := self.next()) is not None:
            yield self.count, record


def part(a: Path, b: Path, context: int) -> Parting:
    """Compare two runs, record by record.

    Args:
        a: A log.
        b: Another.
        context: How many records before and behind are kept.

    Raises:
        InputError: One cannot be read, or is none.
    """
    runs = _Run(a), _Run(b)
    common: deque[tuple[int, Record]] = deque(maxlen=context)
    while True:
        pair = runs[0].next(), runs[1].next()
        if not _same(*pair):
            break
        if pair[0] is None:
            break
        common.append((runs[0].count, pair[0]))
    headers = _differing(runs[0].reader.header, runs[1].reader.header)
    seq = None if pair == (None, None) else max(run.count for run in runs)
    sides = [
        _side(run, first, other, context)
        for run, first, other in ((runs[0], *pair), (runs[1], pair[1], pair[0]))
    ]
    equal = seq is None and sides[0].ending == sides[1].ending
    told = [_told(number, record) for number, record in common]
    return Parting(equal, seq, told, headers, *sides)


def _same(a: Record | None, b: Record | None) -> bool:
    if a is None or b is None:
        return a is b
    if a.step != b.step or a.actor != b.actor:
        return False
    return a.event is b.event or _same_deed(a, b)


def _same_deed(a: Record, b: Record) -> bool:
    """Whether the same task did the same, whenever."""
    if a.actor != b.actor or type(a.event) is not type(b.event):
        return False
    return all(
        getattr(a.event, name) == getattr(b.event, name)
        for name in field_names(type(a.event))
    )


def _side(run: _Run, first: Record | None, other: Record | None, context: int) -> Side:
    """How a run goes on from its first record of its own."""
    goes_on = [] if first is None else [_told(run.count, first)]
    at, later = run.count, None
    for seq, record in run.rest():
        if len(goes_on) <= context:
            goes_on.append(_told(seq, record))
        near = other is not None and later is None and seq - at <= FAR
        if near and other is not None and _same_deed(record, other):
            later = seq - at
    reader = run.reader
    return Side(reader.name, goes_on, run.count, run.step, reader.ending, later)


def _told(seq: int, record: Record) -> Told:
    event = record.event
    fields = {
        name: msgspec.to_builtins(getattr(event, name), enc_hook=_plain)
        for name in field_names(type(event))
    }
    return Told(seq, record.step, record.actor, event.name, fields)


def _plain(value: object) -> Any:
    return attrs.asdict(value)  # type: ignore[arg-type]


def _differing(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        key: (a.get(key), b.get(key))
        for key in itertools.chain(a, b.keys() - a.keys())
        if a.get(key) != b.get(key)
    }
