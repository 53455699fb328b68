"""What is written is read again, event by event, field by field."""

from __future__ import annotations

from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcu.trace import EVENT_TYPES, Event, Record
from scenarios.logbook.reader import LogReader
from scenarios.logbook.schema import TRACEPOINTS, event_of, field_names
from scenarios.logbook.writer import Header, LogWriter

HEADER = Header(
    tool_version="0",
    scenario="by hand",
    scenario_digest="",
    strategy="random",
    seed=0,
    mode="controlled",
    vcpus=0,
    tasks=("a", "b"),
    must_exercise=(),
)
ROOMS = {room.__name__ for room in TRACEPOINTS}
OURS = {name: kind for name, kind in EVENT_TYPES.items() if kind.__module__ in ROOMS}

texts = st.text(st.characters(codec="utf-8"))
numbers = st.integers(-(1 << 63), (1 << 64) - 1)
plain: dict[Any, st.SearchStrategy[Any]] = {
    int: numbers,
    str: texts,
    bool: st.booleans(),
    type(None): st.none(),
}


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    if kind in plain:
        return plain[kind]
    inner = get_args(kind)
    if get_origin(kind) is tuple and inner[1:] == (...,):
        return st.lists(of_type(inner[0])).map(tuple)
    if get_origin(kind) is tuple:
        return st.tuples(*map(of_type, inner))
    if isinstance(kind, UnionType):
        return st.one_of(*map(of_type, inner))
    assert attrs.has(kind)
    return instances_of(kind)


def instances_of(kind: type) -> st.SearchStrategy[Any]:
    """Instances of an attrs class."""
    hints = get_type_hints(kind)
    names = [field.name for field in attrs.fields(kind)]
    return st.builds(kind, **{name: of_type(hints[name]) for name in names})


def sorted_by_step(records: list[Record]) -> list[Record]:
    """Steps never go back."""
    return sorted(records, key=lambda record: record.step)


events: st.SearchStrategy[Event] = st.one_of(*map(instances_of, OURS.values()))
records = st.lists(st.builds(Record, st.integers(0, 1 << 40), texts, events)).map(
    sorted_by_step
)


def plainly(record: Record) -> tuple[int, str, type[Event], dict[str, Any]]:
    """A record as values that can be compared."""
    event = record.event
    fields = {name: getattr(event, name) for name in field_names(type(event))}
    return record.step, record.actor, type(event), fields


@given(written=records)
def test_every_event_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, written: list[Record]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.jsonl"
    log = LogWriter(path)
    log.begin(HEADER)
    for start in range(0, len(written), 3):
        log.write(written[start : start + 3])
    log.end(7, "completed")
    reader = LogReader(path)
    read = list(reader.records())
    assert [plainly(each) for each in read] == [plainly(each) for each in written]
    assert reader.ending == "completed"
    assert reader.lines == len(written) + 2


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_event_has_no_field_that_a_line_has_anyway(name: str) -> None:
    kind = OURS[name]
    assert kind.name == name
    assert not {"seq", "step", "actor", "op", "event"} & set(field_names(kind))


@pytest.mark.parametrize("name", sorted(OURS))
@given(data=st.data())
def test_a_missing_field_and_one_too_many_are_named(
    name: str, data: st.DataObject
) -> None:
    event = data.draw(instances_of(OURS[name]))
    names = field_names(OURS[name])
    line = {"event": name} | {key: getattr(event, key) for key in names}
    # What has a default may be missing: older logs do not have it.
    kind: Any = OURS[name]
    fields = attrs.fields(kind)
    needed = [field.name for field in fields if field.default is attrs.NOTHING]
    for gone in needed and [data.draw(st.sampled_from(needed))]:
        with pytest.raises(ValueError, match=f"^{name} lacks '{gone}'$"):
            event_of({key: value for key, value in line.items() if key != gone})
    with pytest.raises(ValueError, match=f"^{name} has no weight$"):
        event_of(line | {"weight": 1})


def test_the_header_is_kept_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "header.jsonl"
    log = LogWriter(path)
    log.begin(HEADER)
    log.end(0, "completed")
    reader = LogReader(path)
    assert list(reader.records()) == []
    place = {"seq": 0, "step": 0, "actor": "", "op": 0, "event": "run_began"}
    expected = place | {"schema": 1}
    fields = attrs.asdict(HEADER) | {"tasks": ["a", "b"], "must_exercise": []}
    assert reader.header == expected | fields
