"""Which operation a record belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from memslots.tracepoints import RegionRequested, RegionReturned
from rcu.trace import Event
from rcu.tracepoints import (
    GracePeriodEnded,
    GracePeriodStarted,
    LockAcquired,
    SectionBegan,
    SectionEnded,
    SynchronizeBegan,
    SynchronizeEnded,
)
from scenarios.errors import InputError
from scenarios.logbook.check import check_log
from scenarios.logbook.operations import Operations, turn_of
from tests.scenarios.logbook.runs import lines_of, logged, plans, write_lines
from vcpus.tracepoints import InvalidationBegan, InvalidationEnded

PLANS = plans()

lock = LockAcquired("slots_lock", shared=False)
asked = RegionRequested(1, 0, 0, 0, 4096, 0)
answered = RegionReturned(1, "create", 0)


def ops(*records: tuple[str, Event]) -> list[int]:
    operations = Operations()
    return [operations.of(actor, turn_of(event)) for actor, event in records]


def test_a_record_belongs_to_the_innermost_operation_of_its_actor() -> None:
    assert ops(
        ("vmm", lock),
        ("vmm", asked),
        ("vcpu0", SectionBegan("srcu", 0)),
        ("vmm", lock),
        ("vmm", SynchronizeBegan("srcu", expedited=True)),
        ("gp", GracePeriodStarted("srcu", 1)),
        ("vcpu0", lock),
        ("vcpu0", SectionBegan("srcu", 1)),
        ("vcpu0", SectionEnded("srcu", 0)),
        ("vcpu0", lock),
        ("vcpu0", SectionEnded("srcu", 1)),
        ("vcpu0", lock),
        ("gp", GracePeriodEnded("srcu", 1)),
        ("gp", lock),
        ("vmm", SynchronizeEnded("srcu")),
        ("vmm", answered),
        ("vmm", lock),
    ) == [0, 1, 2, 1, 3, 4, 2, 5, 2, 5, 5, 0, 4, 0, 3, 1, 0]


def test_an_end_without_a_beginning_begins_nothing() -> None:
    assert ops(
        ("a", SectionEnded("srcu", 0)),
        ("a", asked),
        ("a", SectionEnded("srcu", 0)),
        ("a", RegionReturned(2, "", 0)),
        ("a", lock),
    ) == [0, 1, 1, 1, 1]


def test_an_invalidation_may_be_ended_by_another_task() -> None:
    began = InvalidationBegan(0, 4096, (0,), 1, 1)
    ended = InvalidationEnded(0, 4096, (0,), 1, 0)
    assert ops(("a", began), ("b", began), ("b", ended), ("b", ended)) == [1, 2, 2, 1]


@pytest.mark.parametrize("name", PLANS)
def test_operations_are_numbered_from_1_as_they_begin(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "log.jsonl"
    logged(PLANS[name], path)
    numbers = [line["op"] for line in lines_of(path)]
    assert (numbers[0], numbers[-1]) == (0, 0)
    first = list(dict.fromkeys(number for number in numbers if number))
    assert first == list(range(1, len(first) + 1))
    assert len(first) > 2


def test_a_wrong_operation_is_noticed_on_every_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logged(PLANS["holds in a small scenario"], path)
    lines = lines_of(path)
    for place in range(1, len(lines) - 1):
        right = lines[place]["op"]
        changed = lines[place] | {"op": right + 1}
        write_lines(path, [*lines[:place], changed, *lines[place + 1 :]])
        told = f":{place + 1}: op must be {right}, got {right + 1}$"
        with pytest.raises(InputError, match=told):
            check_log(path)
    without = {key: value for key, value in lines[5].items() if key != "op"}
    write_lines(path, [*lines[:5], without, *lines[6:]])
    with pytest.raises(InputError, match=r":6: op must be 0, got none$"):
        check_log(path)
