"""The picture as a Perfetto trace: tracks, slices, counters, and flows as arrows.

Each row of a lane is a track below the lane's: no two slices of a track overlap.
A flow is a chain that cannot fork, so there is one for each reader and grace period.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scenarios.report.picture import Picture
from scenarios.report.protobuf import Fixed64, Message
from scenarios.report.times import Times
from scenarios.report.words import GROUP_OF, SPAN_GROUPS, plain, words

SEQUENCE = 1
PROCESS = 1
ROOT = 1
"""Identity of the process' track; lanes follow."""

SLICE_BEGIN, SLICE_END, INSTANT, COUNTER = 1, 2, 3, 4
EXPLICIT = 3
"""Children of a track stay in the order of their ranks."""


class Trace(Message):
    """Numbers of its fields."""

    PACKET = 1


class Packet(Message):
    """Numbers of its fields."""

    TIMESTAMP, SEQUENCE_ID, TRACK_EVENT, SEQUENCE_FLAGS = 8, 10, 11, 13
    TRACK_DESCRIPTOR = 60


class Track(Message):
    """Numbers of its fields."""

    UUID, NAME, PROCESS, PARENT, COUNTER, ORDERING, RANK = 1, 2, 3, 5, 8, 11, 12


class TrackEvent(Message):
    """Numbers of its fields."""

    ANNOTATIONS, TYPE, TRACK, CATEGORIES, NAME = 4, 9, 11, 22, 23
    COUNTER_VALUE, FLOWS, TERMINATING = 30, 47, 48


class Annotation(Message):
    """Numbers of its fields."""

    INT, STRING, NAME = 4, 6, 10


def render(picture: Picture) -> bytes:
    """The trace of a picture."""
    out = bytearray()
    for packet in _packets(picture):
        out += Message({Trace.PACKET: packet}).encode()
    return bytes(out)


def _packets(picture: Picture) -> Iterator[Message]:
    yield from _tracks(picture)
    # In the order of time; what ends goes before what begins.
    events = sorted(_events(picture), key=lambda event: event[:2])
    for time, _, event in events:
        yield _packet({Packet.TIMESTAMP: time, Packet.TRACK_EVENT: event})


def _packet(fields: dict[int, object]) -> Message:
    return Message(fields | {Packet.SEQUENCE_ID: SEQUENCE})


def _tracks(picture: Picture) -> Iterator[Message]:
    process = Message({1: PROCESS, 6: f"memslots {picture.title}"})
    root = {Track.UUID: ROOT, Track.PROCESS: process, Track.ORDERING: EXPLICIT}
    yield _packet({Packet.TRACK_DESCRIPTOR: Message(root), Packet.SEQUENCE_FLAGS: 1})
    rows = sorted({(span.lane, span.row): span.kind for span in picture.spans}.items())
    for number, lane in enumerate(picture.lanes):
        yield _track(_lane(number), ROOT, lane.name, number)
    for (lane_number, row), kind in rows:
        yield _track(_row(lane_number, row), _lane(lane_number), kind, row)
    for lane_number, rank in sorted({(c.lane, c.rank) for c in picture.ranks}):
        uuid = _row(lane_number, 1_000 + rank)
        name = f"readers on rank {rank}"
        yield _track(uuid, _lane(lane_number), name, rank, counter=True)
    yield _track(_lane(len(picture.lanes)), ROOT, "swaps and violations", -1)


def _track(
    uuid: int, parent: int, name: str, rank: int, *, counter: bool = False
) -> Message:
    fields: dict[int, object] = {
        Track.UUID: uuid,
        Track.NAME: name,
        Track.PARENT: parent,
        Track.ORDERING: EXPLICIT,
        Track.RANK: rank,
    }
    if counter:
        fields[Track.COUNTER] = Message()
    return _packet({Packet.TRACK_DESCRIPTOR: Message(fields)})


def _events(picture: Picture) -> Iterator[tuple[int, int, Message]]:
    """Time, whether something begins, and the event."""
    times = Times(picture)
    starts: dict[int, list[Fixed64]] = {}
    ends: dict[int, list[Fixed64]] = {}
    for number, arrow in enumerate(picture.arrows, 1):
        starts.setdefault(arrow.section, []).append(Fixed64(number))
        ends.setdefault(arrow.grace_period, []).append(Fixed64(number))
    for place, span in enumerate(picture.spans):
        track = _row(span.lane, span.row)
        about: dict[str, Any] = {"step": span.start}
        if span.held:
            about["held"] = [f"step {s}: as {a} set {n}" for s, a, n in span.held]
        name = f"{span.kind} {span.label}".strip()
        event = _event(SLICE_BEGIN, track, name, SPAN_GROUPS[span.kind], about)
        event[TrackEvent.FLOWS] = starts.get(place)
        event[TrackEvent.TERMINATING] = ends.get(place)
        start, end = times.of(span.seq), times.of(span.end_seq)
        yield start, 1, event
        yield end, 0 if end > start else 2, _event(SLICE_END, track)
    for entry in picture.entries:
        group = GROUP_OF.get(type(entry.event), "outside the model")
        about = {"seq": entry.seq, "event": entry.event.name} | plain(entry.event)
        name = words(entry.event)
        event = _event(INSTANT, _lane(entry.lane), name, group, about)
        yield times.of(entry.seq), 1, event
    for count in picture.ranks:
        event = _event(COUNTER, _row(count.lane, 1_000 + count.rank))
        event[TrackEvent.COUNTER_VALUE] = count.locks - count.unlocks
        yield times.of(count.seq), 1, event
    yield from _marks(picture, times)


def _marks(picture: Picture, times: Times) -> Iterator[tuple[int, int, Message]]:
    """Swaps and violations on a track of their own."""
    track = _lane(len(picture.lanes))
    for swap in picture.swaps:
        name = f"set {swap.set} of as {swap.as_id} is published"
        yield times.of(swap.seq), 1, _event(INSTANT, track, name, "sets")
    seq_of = {entry.step: entry.seq for entry in picture.entries}
    for flag in picture.flags:
        if flag.step in seq_of:
            name = f"VIOLATION of {flag.checker}"
            causes = [str(step) for step in flag.causes]
            about = {"seen": flag.seen, "causes": causes}
            event = _event(INSTANT, track, name, "findings", about)
            yield times.of(seq_of[flag.step]), 1, event


def _event(
    kind: int,
    track: int,
    name: str | None = None,
    category: str | None = None,
    about: dict[str, Any] | None = None,
) -> TrackEvent:
    return TrackEvent(
        {
            TrackEvent.TYPE: kind,
            TrackEvent.TRACK: track,
            TrackEvent.NAME: name,
            TrackEvent.CATEGORIES: category,
            TrackEvent.ANNOTATIONS: [
                _annotation(key, value)
                for key, value in (about or {}).items()
                if value is not None
            ],
        }
    )


def _annotation(name: str, value: object) -> Message:
    small = isinstance(value, int) and abs(value) < 1 << 63
    text = value if isinstance(value, str) else str(value)
    fields: dict[int, object] = {Annotation.NAME: name}
    fields[Annotation.INT if small else Annotation.STRING] = value if small else text
    return Message(fields)


def _lane(number: int) -> int:
    return (number + 1) << 20


def _row(lane: int, row: int) -> int:
    return _lane(lane) + row + 1
