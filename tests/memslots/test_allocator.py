"""Memory that slots own can be made to run out, and the trace follows it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from memslots.allocator import Allocation, Allocator
from memslots.dirty_bitmap import DirtyBitmap
from memslots.errors import MemoryRegionError
from memslots.slot import MemorySlot
from memslots.units import Gfn, Hva, Pages
from rcu.errors import DoubleFree
from rcu.operation import Location
from rcu.reclaim import is_reclaimed
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from rcu.trace import Record, Trace
from scenarios.strategies.round_robin import RoundRobin
from tests.memslots.world import expect_completed
from tests.support.running import run_controlled

RMAP, BITMAP = Allocation.RMAP, Allocation.DIRTY_BITMAP


def slot(serial: int) -> MemorySlot:
    return MemorySlot(serial, 0, 1, Gfn(0x10), Pages(4), Hva(0))


def outcomes(allocator: Allocator, *kinds: Allocation) -> list[bool]:
    """For which of the allocations there was memory."""
    found = []
    for kind in kinds:
        try:
            allocator.check(kind)
        except MemoryRegionError:
            found.append(False)
        else:
            found.append(True)
    return found


@pytest.fixture
def scheduler() -> Scheduler:
    return ControlledScheduler(RoundRobin())


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def traced(told: list[Any]) -> Allocator:
    def read(records: list[Record]) -> None:
        told.extend(record.event for record in records)

    trace = Trace(read)  # type: ignore[arg-type]
    return Allocator(ControlledScheduler(RoundRobin(), trace))


def test_there_is_memory_unless_somebody_plans_otherwise(scheduler: Scheduler) -> None:
    assert outcomes(Allocator(scheduler), *Allocation) == [True] * 6


def test_the_next_allocation_of_one_kind_fails_and_no_other(
    scheduler: Scheduler,
) -> None:
    allocator = Allocator(scheduler)
    allocator.fail(RMAP)
    assert outcomes(allocator, BITMAP, RMAP, RMAP) == [True, False, True]


def test_a_failure_says_what_there_is_no_memory_for(scheduler: Scheduler) -> None:
    allocator = Allocator(scheduler)
    allocator.fail(RMAP)
    with pytest.raises(MemoryRegionError, match=r"^ENOMEM: no memory for rmap$"):
        allocator.check(RMAP)


def test_some_allocations_may_succeed_before_one_fails(scheduler: Scheduler) -> None:
    allocator = Allocator(scheduler)
    allocator.fail(RMAP, after=2)
    tries = (RMAP, BITMAP, RMAP, RMAP, RMAP)
    assert outcomes(allocator, *tries) == [True, True, True, False, True]


def test_a_plan_replaces_the_one_before_and_can_be_forgotten(
    scheduler: Scheduler,
) -> None:
    allocator = Allocator(scheduler)
    allocator.fail(RMAP)
    allocator.fail(BITMAP)
    assert outcomes(allocator, RMAP, BITMAP) == [True, False]
    allocator.fail(RMAP)
    allocator.forget()
    allocator.forget()
    assert outcomes(allocator, RMAP) == [True]


async def test_a_plan_is_for_the_task_that_makes_it(pool: TaskPool) -> None:
    seen: dict[str, list[bool]] = {}

    def build(scheduler: Scheduler) -> None:
        allocator, somewhere = Allocator(scheduler), Location("somewhere")

        async def plan() -> None:
            await scheduler.point(somewhere.read)
            allocator.fail(RMAP)
            await scheduler.point(somewhere.read)
            seen["planner"] = outcomes(allocator, RMAP)

        async def allocate() -> None:
            await scheduler.point(somewhere.read)
            await scheduler.point(somewhere.read)
            seen["other"] = outcomes(allocator, RMAP)

        scheduler.task("planner", plan)
        scheduler.task("other", allocate)

    expect_completed(await run_controlled(pool, RoundRobin(), build))
    assert seen == {"planner": [False], "other": [True]}


def test_the_trace_follows_an_allocation_by_the_slot_it_was_made_for(
    traced: Allocator, told: list[Any]
) -> None:
    first, copy = slot(1), slot(2)
    bitmap = traced.allocate(BITMAP, DirtyBitmap(4), first)
    first.dirty_bitmap = copy.dirty_bitmap = bitmap
    traced.tell_held(first, {}, ring=False)
    traced.tell_held(copy, {RMAP: None}, ring=True)
    traced.free(BITMAP, bitmap, "bitmap")
    traced.fail(RMAP)
    assert outcomes(traced, RMAP) == [False]
    traced._scheduler.trace.flush()
    assert [(event.name, *attrs.astuple(event)) for event in told] == [
        ("memory_allocated", "dirty-bitmap", 1),
        ("memory_held", 1, 1, None, None, None, False, False),
        ("memory_held", 2, 1, None, None, None, True, False),
        ("memory_freed", "dirty-bitmap", 1),
        ("allocation_failed", "rmap"),
    ]
    assert is_reclaimed(bitmap)


def test_what_is_freed_twice_is_found(traced: Allocator) -> None:
    bitmap = traced.allocate(BITMAP, DirtyBitmap(4), slot(1))
    traced.free(BITMAP, bitmap, "dirty bitmap of slot 1")
    with pytest.raises(DoubleFree, match="dirty bitmap of slot 1"):
        traced.free(BITMAP, bitmap, "dirty bitmap of slot 1")


def test_where_nobody_listens_nothing_is_remembered(scheduler: Scheduler) -> None:
    allocator = Allocator(scheduler)
    bitmap = allocator.allocate(BITMAP, DirtyBitmap(4), slot(1))
    assert not allocator._made_for
    allocator.free(BITMAP, bitmap, "bitmap")
    assert is_reclaimed(bitmap)
