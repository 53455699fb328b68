"""Events know their names; a trace hands them on in batches."""

from __future__ import annotations

import attrs
import pytest

from rcu import tracepoints
from rcu.operation import Location
from rcu.schedule.controlled import BREATH, ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.trace import EVENT_TYPES, Event, Record, Trace
from rcu.tracepoints import IndexFlipped, SectionBegan
from scenarios.strategies.round_robin import RoundRobin


def test_an_event_is_named_like_its_class_in_snake_case() -> None:
    assert SectionBegan.name == "section_began"
    assert SectionBegan("srcu", 0).name == "section_began"
    assert IndexFlipped.name == "index_flipped"


def test_each_event_is_found_by_its_name() -> None:
    own = [kind for kind in vars(tracepoints).values() if _is_event(kind)]
    assert len(own) == 14
    for kind in own:
        assert EVENT_TYPES[kind.name] is kind
        assert attrs.has(kind)


def _is_event(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Event) and kind is not Event


def test_events_have_slots() -> None:
    """Attrs builds such a class twice; the table holds the one that is used."""
    event = SectionBegan("srcu", 1)
    assert type(event) is EVENT_TYPES["section_began"]
    with pytest.raises(AttributeError):
        event.mistyped = 1  # type: ignore[attr-defined]


def _record(step: int) -> Record:
    return Record(step, "a", IndexFlipped("srcu", step))


def test_a_batch_goes_to_every_sink_in_order_and_only_once() -> None:
    heard: list[tuple[str, list[int]]] = []
    trace = Trace(
        lambda batch: heard.append(("first", [record.step for record in batch])),
        lambda batch: heard.append(("second", [record.step for record in batch])),
    )
    trace.flush()
    assert heard == []
    for step in (1, 2):
        trace.append(_record(step))
    trace.flush()
    trace.flush()
    trace.append(_record(3))
    trace.flush()
    assert heard == [
        ("first", [1, 2]),
        ("second", [1, 2]),
        ("first", [3]),
        ("second", [3]),
    ]


def test_a_sink_may_keep_its_batch() -> None:
    batches: list[object] = []
    trace = Trace(batches.append)
    trace.append(_record(1))
    trace.flush()
    trace.append(_record(2))
    trace.flush()
    assert batches == [[batches[0][0]], [batches[1][0]]]  # type: ignore[index]


def test_a_trace_without_sinks_says_that_nobody_listens() -> None:
    assert not Trace().on
    assert Trace(lambda batch: None).on
    assert not ControlledScheduler(RoundRobin()).tracing


async def test_a_long_run_hands_on_batches_while_it_runs(pool: TaskPool) -> None:
    sizes: list[int] = []
    scheduler = ControlledScheduler(
        RoundRobin(), Trace(lambda batch: sizes.append(len(batch)))
    )
    shared = Location("shared")

    async def walk() -> None:
        for _ in range(2 * BREATH):
            await scheduler.point(shared.write)
            scheduler.emit(IndexFlipped("srcu", 0))

    scheduler.task("a", walk)
    await pool.run(scheduler)
    assert sizes == [BREATH - 1, BREATH, 1]
