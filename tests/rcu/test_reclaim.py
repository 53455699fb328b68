"""Whoever touches what was freed is told who freed it, and when."""

from __future__ import annotations

import copy

import attrs
import pytest

from rcu.errors import DoubleFree, UseAfterFree
from rcu.operation import Location
from rcu.reclaim import Reclaimable, is_reclaimed, reclaim
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.replay import Replay
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.running import run_controlled


@attrs.define(eq=False)
class Slot(Reclaimable):
    number: int
    npages: int = 8

    @property
    def size(self) -> int:
        return self.npages * 4096

    def grow(self) -> None:
        self.npages += 1


class WithoutSlots(Reclaimable):
    def __init__(self) -> None:
        self.number = 1


SETUP = ControlledScheduler(RoundRobin())
"""Frees outside any task."""


def freed() -> Slot:
    slot = Slot(3)
    reclaim(SETUP, slot, "slot 3")
    return slot


EPITAPH = "slot 3 (freed by setup in step 0)"


def test_a_freed_object_cannot_be_read() -> None:
    slot = freed()
    with pytest.raises(UseAfterFree) as raised:
        _ = slot.number
    assert str(raised.value) == f"number of {EPITAPH} was read"
    with pytest.raises(UseAfterFree, match="size of slot 3"):
        _ = slot.size
    with pytest.raises(UseAfterFree, match="grow of slot 3"):
        slot.grow()


def test_a_freed_object_cannot_be_written() -> None:
    slot = freed()
    with pytest.raises(UseAfterFree) as raised:
        slot.number = 4
    assert str(raised.value) == f"number of {EPITAPH} was written"


def test_a_freed_object_can_be_shown() -> None:
    assert repr(freed()) == f"<{EPITAPH}>"
    assert f"{freed()}" == f"<{EPITAPH}>"


def test_a_freed_object_can_be_compared_by_identity_and_kept_in_a_set() -> None:
    slot = freed()
    assert slot != freed()
    assert {slot: 1}[slot] == 1


def test_freeing_twice_is_a_finding() -> None:
    slot = freed()
    with pytest.raises(DoubleFree) as raised:
        reclaim(SETUP, slot, "slot 3")
    assert str(raised.value) == f"setup frees {EPITAPH}, a second time"


def test_who_lives_is_not_affected() -> None:
    alive, dead = Slot(1), freed()
    alive.grow()
    assert (alive.number, alive.size) == (1, 9 * 4096)
    assert (is_reclaimed(alive), is_reclaimed(dead)) == (False, True)
    later = Slot(2)
    assert later.number == 2
    assert type(later) is Slot


def test_copies_of_the_living_live_on() -> None:
    slot = Slot(5)
    twin = copy.copy(slot)
    reclaim(SETUP, slot, "slot 5")
    assert (twin.number, is_reclaimed(twin)) == (5, False)


def test_objects_without_slots_can_be_freed_too() -> None:
    thing = WithoutSlots()
    reclaim(SETUP, thing, "thing")
    with pytest.raises(UseAfterFree, match="number of thing"):
        _ = thing.number


async def test_the_finding_names_who_freed_it_and_in_which_step(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> None:
        slot = Slot(3)
        location = Location("slot 3")

        async def free() -> None:
            await scheduler.point(location.write)
            reclaim(scheduler, slot, "slot 3")

        async def use() -> None:
            await scheduler.point(location.read)
            assert slot.number == 3

        scheduler.task("writer", free)
        scheduler.task("reader", use)

    found = await in_every_order(pool, build, lambda run: run.report.failed)
    assert found == {"reader": 1, None: 1}
    run = await run_controlled(pool, Replay((0, 1)), build)
    assert (run.report.steps, str(run.report.error)) == (
        2,
        "number of slot 3 (freed by writer in step 1) was read",
    )
