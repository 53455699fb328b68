"""What is counted in a log, by hand and in whole runs."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from memslots.tracepoints import AddressSpaceMade, SetsSwapped
from rcu.trace import Event, Record
from rcu.tracepoints import (
    GracePeriodEnded,
    GracePeriodStarted,
    LockAcquired,
    LockReleased,
    SectionBegan,
    SectionEnded,
    SynchronizeBegan,
    SynchronizeEnded,
    TaskStuck,
)
from scenarios.logbook.query import Database
from scenarios.logbook.statistics import (
    QUESTIONS,
    Bin,
    LockUse,
    LockWait,
    Statistics,
    Stuck,
    Wait,
    statistics,
)
from scenarios.logbook.writer import Header, LogWriter
from tests.scenarios.logbook.runs import logged, plans
from vcpus.tracepoints import SetDereferenced

HEADER = Header(
    tool_version="0",
    scenario="by hand",
    scenario_digest="",
    strategy="random",
    seed=0,
    mode="controlled",
    vcpus=1,
    tasks=("vcpu0", "writer"),
    must_exercise=(),
)
MADE = (0, "setup", AddressSpaceMade(0, 0, 1))


def counted(path: Path) -> Statistics:
    return statistics(Database.of(path, *QUESTIONS.values()))


def of(path: Path, *records: tuple[int, str, Event]) -> Statistics:
    """What is counted in a log of these records."""
    writer = LogWriter(path)
    writer.begin(HEADER)
    writer.write([Record(*each) for each in records])
    writer.end(records[-1][0], "completed")
    return counted(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def test_sections_and_their_bins(path: Path) -> None:
    found = of(
        path,
        (1, "a", SectionBegan("d", 0)),
        (1, "b", SectionBegan("d", 0)),
        (1, "a", SectionEnded("d", 0)),  # 0 steps
        (2, "a", SectionBegan("d", 0)),
        (3, "a", SectionBegan("d", 1)),  # in the one before
        (8, "b", SectionEnded("d", 0)),  # 7
        (9, "a", SectionEnded("d", 1)),  # 6
        (10, "a", SectionEnded("d", 0)),  # 8
        (11, "a", SectionBegan("d", 1)),  # goes on
    ).sections
    assert found.bins == [
        Bin(0, 0, 1),
        Bin(1, 1, 0),
        Bin(2, 3, 0),
        Bin(4, 7, 2),
        Bin(8, 15, 1),
    ]
    assert (found.count, found.unended) == (4, 1)
    assert (found.least, found.median, found.most) == (0, 6, 8)
    assert found.mean == 5.2


def test_who_waited_and_who_was_not_waited_for(path: Path) -> None:
    found = of(
        path,
        (1, "vcpu0", SectionBegan("d", 0)),
        (2, "vcpu1", SectionBegan("d", 0)),
        (3, "writer", SynchronizeBegan("d", expedited=True)),
        (3, "gp", GracePeriodStarted("d", 1)),
        (5, "vcpu2", SectionBegan("d", 0)),  # need not be waited for
        (6, "vcpu0", SectionEnded("d", 0)),
        (7, "gp", GracePeriodEnded("d", 4)),
        (8, "writer", SynchronizeEnded("d")),
        (9, "vcpu1", SectionEnded("d", 0)),
        (9, "gp", GracePeriodStarted("d", 5)),
    )
    assert found.waits == [
        Wait("writer", "vcpu0", 1, 3, 3, 0),
        Wait("writer", "vcpu1", 1, 6, 6, 1),
    ]
    assert (found.grace_periods.count, found.grace_periods.unended) == (1, 1)
    assert found.grace_periods.bins == [Bin(4, 7, 1)]
    assert found.grace_periods_with_readers == 1


def test_ages_of_sets(path: Path) -> None:
    found = of(
        path,
        MADE,
        (1, "a", SectionBegan("d", 0)),
        (1, "a", SetDereferenced(0, 0)),  # still active in the end
        (2, "a", SectionEnded("d", 0)),
        (3, "a", SectionBegan("d", 0)),
        (3, "a", SetDereferenced(0, 0)),  # replaced meanwhile
        (4, "w", SetsSwapped(0, 1, 1 << 63)),
        (5, "a", SectionEnded("d", 0)),
        (5, "b", SectionBegan("d", 0)),
        (6, "b", SetDereferenced(0, 1)),  # replaced twice
        (7, "w", SetsSwapped(0, 0, 1 << 63 | 1)),
        (8, "w", SetsSwapped(0, 1, 1 << 63 | 2)),
        (9, "b", SectionEnded("d", 0)),
    )
    assert found.ages == {0: 1, 1: 1, 2: 1}
    assert found.impossible_ages == 1
    assert (found.swaps, found.swaps_under_readers) == (3, 2)


def test_locks_and_who_may_have_waited(path: Path) -> None:
    found = of(
        path,
        (1, "a", LockAcquired("l", shared=False)),
        (2, "b", SectionBegan("d", 0)),
        (5, "a", LockReleased("l")),
        (6, "b", LockAcquired("l", shared=False)),  # since step 2, at most
        (7, "b", LockReleased("l")),
        (8, "a", LockAcquired("l", shared=True)),  # since step 5
        (8, "b", LockAcquired("l", shared=True)),
        (9, "a", LockReleased("l")),
        (11, "b", LockAcquired("m", shared=False)),
        (11, "a", TaskStuck("a", "lock m", "b", (), ())),
    )
    assert found.locks == [LockUse("l", 4, 4, 2, 4), LockUse("m", 1, None, 0, None)]
    assert found.lock_waits == [
        LockWait("l", "a", "b", 1, 3),
        LockWait("l", "b", "a", 1, 4),
    ]
    assert found.stuck == [Stuck("a", "lock m", "b")]


def test_nothing_is_counted_where_nothing_is(path: Path) -> None:
    found = of(path, MADE)
    assert (found.sections.count, found.sections.bins) == (0, [])
    assert found.sections.mean is found.sections.median is None
    assert found.ages == {}
    assert not found.waits
    assert not found.locks


def test_the_protocol_shows_no_impossible_age(path: Path) -> None:
    logged(plans()["holds"], path)
    found = counted(path)
    assert set(found.ages) == {0, 1}
    assert found.swaps_under_readers > 0
    assert not any(wait.not_waited_for for wait in found.waits)


def test_a_protocol_that_waits_for_nobody_shows_impossible_ages(path: Path) -> None:
    def shown(seed: int) -> int:
        logged(attrs.evolve(plans()["violation"], seed=seed), path)
        return counted(path).impossible_ages

    assert any(shown(seed) for seed in range(8))
