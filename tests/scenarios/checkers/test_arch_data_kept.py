"""What a slot points to goes on with it, and never with one that lies elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from memslots.allocator import Allocation
from memslots.region import Region
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.tracepoints import (
    MemoryAllocated,
    MemoryHeld,
    SetsSwapped,
    SlotData,
    SlotFreed,
    SlotReplaced,
)
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from rcu.trace import Event
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.arch_data_kept import ArchDataKept
from scenarios.checkers.judge import Judge
from tests.memslots.world import answer, expect_completed, region
from tests.scenarios.checkers.story import (
    INVALID_X,
    X,
    Y,
    outcome,
    slot,
    space,
    story,
)
from tests.scenarios.checkers.twins import (
    CALLS,
    AllocatesMeanwhile,
    DoesNotResync,
    MovesTheArrays,
    judged,
    seen_by,
    unbroken,
)
from tests.support.exploring import in_random_orders
from tests.support.running import Build, Run
from vcpus.arch_x86 import ArchX86
from vcpus.shadow_roots import ShadowRoots
from vcpus.tracepoints import ShadowRootAllocated

LOG = LOG_DIRTY_PAGES
ROOTS = ("vcpu0", ShadowRootAllocated())
TO_1 = ("writer", SetsSwapped(0, 1, 1 << 63))
LOGGED_X = slot(4, flags=LOG)


def hold(
    serial: int,
    bitmap: int | None = None,
    rmap: int | None = None,
    lpage: int | None = None,
    *,
    ring: bool = False,
) -> tuple[str, Event]:
    return "writer", MemoryHeld(serial, bitmap, rmap, lpage, rmap, ring)


def late(serial: int) -> tuple[str, Event]:
    return "vcpu0", MemoryAllocated("rmap", serial)


def edit(index: int, old: int | None, new: SlotData | None) -> tuple[str, Event]:
    return "writer", SlotReplaced(0, index, old, new)


def told(*lines: tuple[str, Event]) -> tuple[int, list[tuple[int, str]]]:
    exercised, found = outcome(ArchDataKept, space(X) + story(*lines))
    return exercised, [(each.step, each.seen) for each in found]


# One slot takes another's place.


def test_a_slot_that_takes_anothers_place_has_its_arrays() -> None:
    change = (hold(1, lpage=1), hold(4, 4, lpage=1), edit(1, 1, LOGGED_X))
    assert told(*change) == (1 + 1, [])


def test_one_that_lies_elsewhere_has_arrays_of_its_own() -> None:
    assert told(hold(1, lpage=1), hold(2, lpage=2), edit(1, 1, Y)) == (1, [])


def test_arrays_must_not_be_lost() -> None:
    change = (hold(1, lpage=1), hold(4, 4, lpage=1), late(1), edit(1, 1, LOGGED_X))
    seen = "slot 1 #4 took the place of slot #1 without the rmap of slot #1"
    assert told(*change) == (1 + 2, [(4, seen)])


def test_arrays_must_not_be_exchanged() -> None:
    change = (hold(1, rmap=1), hold(3, rmap=3), edit(1, 1, INVALID_X))
    assert told(*change)[1] == [
        (3, "slot 1 #3 took the place of slot #1 without the rmap of slot #1"),
        (3, "slot 1 #3 took the place of slot #1 without the gfn-track of slot #1"),
    ]


def test_what_was_allocated_for_the_new_slot_is_no_loss() -> None:
    change = (hold(1, lpage=1), hold(3, lpage=1), edit(1, 1, INVALID_X), late(3))
    assert told(*change, edit(0, 1, INVALID_X))[1] == []


def test_a_slot_that_moves_must_not_take_its_arrays_along() -> None:
    seen = "slot 1 #2 took the lpage-info of slot #1 along, which was made for gfn 0x10"
    assert told(hold(1, lpage=1), hold(2, lpage=1), edit(1, 1, Y)) == (1, [(3, seen)])


def test_nor_down_to_lower_pages() -> None:
    lower = slot(2, gfn=0x8)
    seen = "slot 1 #2 took the lpage-info of slot #1 along, which was made for gfn 0x10"
    change = (hold(1, lpage=1), hold(2, lpage=1), edit(1, 1, lower))
    assert told(*change) == (1, [(3, seen)])


def test_a_slot_that_comes_has_no_arrays_of_another() -> None:
    assert told(hold(1, lpage=1), hold(2), edit(1, None, Y)) == (0, [])


def test_what_was_freed_is_judged_no_more() -> None:
    freed = ("writer", SlotFreed(0, 4))
    assert told(hold(4), freed, edit(1, 1, LOGGED_X)) == (0, [])
    in_both = (hold(2), edit(0, None, Y), edit(1, None, Y))
    assert told(*in_both, ("writer", SlotFreed(0, 2)), ROOTS) == (1, [])


def test_a_slot_that_comes_or_goes_takes_nobodys_place() -> None:
    assert told(hold(2, lpage=2), edit(1, None, Y), edit(1, 1, None)) == (0, [])


# Shadow roots.


def test_before_there_are_shadow_roots_no_slot_needs_reverse_maps() -> None:
    assert told(hold(1, lpage=1), TO_1) == (0, [])


def test_then_every_slot_that_readers_find_needs_them() -> None:
    assert told(hold(1, lpage=1), late(1), ROOTS, TO_1) == (2, [])
    seen = "readers find slot 1 #1 without reverse maps although there may be shadow"
    lines = (hold(1, lpage=1), ROOTS, TO_1)
    exercised, found = told(*lines)
    assert exercised == 2
    assert found == [(2, f"{seen} roots")]  # told once


def test_a_slot_that_is_published_later_needs_them_too() -> None:
    lines = (hold(1, rmap=1), ROOTS, hold(2, lpage=2), edit(1, None, Y), TO_1)
    seen = (
        "readers find slot 1 #2 without reverse maps although there may be shadow roots"
    )
    assert told(*lines)[1] == [(5, seen)]


def test_a_slot_that_readers_do_not_find_needs_none() -> None:
    lines = (hold(1, rmap=1), hold(2), ROOTS, TO_1, ("w", SlotFreed(0, 2)))
    assert told(*lines) == (2, [])


# Dirty bitmaps.


@pytest.mark.parametrize(
    ("flags", "bitmap", "ring", "seen"),
    [
        (0, None, False, None),
        (LOG, 4, False, None),
        (LOG, None, True, None),
        (LOG, 4, True, None),  # it was there before the ring
        (LOG, None, False, "slot 1 #4 logs dirty pages without a bitmap"),
        (0, 4, False, "slot 1 #4 has a dirty bitmap and does not log"),
        (0, 4, True, "slot 1 #4 has a dirty bitmap and does not log"),
    ],
)
def test_a_bitmap_is_there_exactly_if_pages_are_logged_there(
    flags: int,
    bitmap: int | None,
    ring: bool,  # noqa: FBT001 - a column
    seen: str | None,
) -> None:
    change = (hold(4, bitmap, ring=ring), edit(1, 1, slot(4, flags=flags)))
    exercised = int(bool(flags) or bitmap is not None)
    assert told(*change) == (exercised, [] if seen is None else [(2, seen)])


def test_of_a_slot_whose_pointers_were_not_told_nothing_is_said() -> None:
    assert told(edit(1, 1, LOGGED_X), ROOTS, TO_1) == (2, [])


def test_a_finding_of_the_model_is_taken_over() -> None:
    broken = ("writer", RuleWasBroken("arch-data-kept", "Rule", "x"))
    assert told(broken) == (1, [(1, "Rule: x")])


# The unbroken protocol, and some that lose arrays.


@pytest.mark.parametrize("arch", [ArchX86, AllocatesMeanwhile])
@pytest.mark.parametrize("name", CALLS)
async def test_the_unbroken_protocol_keeps_arch_data(
    pool: TaskPool, name: str, arch: type[ArchX86]
) -> None:
    judgement = await unbroken(pool, name, arch)
    assert judgement.violations == ()
    publishes = name != "create without memory"
    assert bool(judgement.checkers["arch-data-kept"].exercised) is publishes


async def test_who_does_not_resync_is_caught(pool: TaskPool) -> None:
    judgement = await judged(
        pool,
        region(gfn=0x20),
        update=DoesNotResync,
        arch=AllocatesMeanwhile,
        fail=Allocation.LPAGE_INFO,
    )
    assert seen_by("arch-data-kept", judgement) == [
        (
            "readers find slot 1 #1 without reverse maps although there may be shadow"
            " roots"
        ),
        "slot 1 #1 took the place of slot #3 without the rmap of slot #3",
        "slot 1 #1 took the place of slot #3 without the gfn-track of slot #3",
    ]


async def test_who_moves_the_arrays_is_caught(pool: TaskPool) -> None:
    judgement = await judged(pool, region(gfn=0x20), arch=MovesTheArrays)
    seen = "slot 1 #2 took the lpage-info of slot #1 along, which was made for gfn 0x10"
    assert seen_by("arch-data-kept", judgement) == [seen, seen]  # in either set


# What only some orders show.


class CopiesTooEarly(Update):
    """Copies the pointers before it has ``slots_arch_lock``."""

    async def begin_change(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        await self._scheduler.point(self.vm.arch_data.read)
        early = old.arch.copy() if old is not None and old.arch is not None else None
        await super().begin_change(old, new)
        if old is not None:
            old.arch = early


class DereferencesEarly(ShadowRoots):
    """Reads the pointer to the set before it has ``slots_arch_lock``."""

    async def first_alloc(self) -> None:
        vm = self.vm
        slots = await vm.active(0).dereference()
        async with vm.slots_arch_lock:
            for slot_ in list(slots):
                await self._scheduler.point(vm.arch_data.write)
                self.allocate(slot_)
            await self._scheduler.point(self.location.write)
            self.allocated = True
            if self._scheduler.tracing:
                self._scheduler.emit(ShadowRootAllocated())


def beside_an_allocator(
    request: Region,
    update: Callable[[Vm], Update],
    roots: Callable[[Vm], ShadowRoots],
) -> Build[Update]:
    """One change beside a vCPU that needs the first shadow root."""

    def build(scheduler: Scheduler) -> Update:
        vm = Vm(scheduler, arch=lambda vm: ArchX86(vm, shadow_roots=roots(vm)))
        vm.install([region()])
        made = update(vm)
        arch = vm.arch
        assert isinstance(arch, ArchX86)

        async def allocate() -> None:
            async with vm.srcu.reading():
                await arch.shadow_roots.first_alloc()

        async def write() -> None:
            await answer(made, request)

        scheduler.task("writer", write)
        scheduler.task("vcpu0", allocate)
        return made

    return build


def finds(run: Run[Update]) -> bool:
    expect_completed(run)
    judge = Judge()
    judge.read(run.records)
    return bool(seen_by("arch-data-kept", judge.conclude()))


@pytest.mark.parametrize(
    ("request_", "update", "roots", "found"),
    [
        (region(flags=LOG), CopiesTooEarly, ShadowRoots, 26),
        (region(2, 0x20), Update, DereferencesEarly, 29),
    ],
)
async def test_in_some_orders_arrays_are_lost(
    pool: TaskPool,
    request_: Region,
    update: Callable[[Vm], Update],
    roots: Callable[[Vm], ShadowRoots],
    found: int,
) -> None:
    seeds = range(60)
    broken = beside_an_allocator(request_, update, roots)
    verdicts = await in_random_orders(pool, broken, finds, seeds, cpus=2)
    assert verdicts == Counter({True: found, False: 60 - found})
    whole = beside_an_allocator(request_, Update, ShadowRoots)
    verdicts = await in_random_orders(pool, whole, finds, seeds, cpus=2)
    assert verdicts == Counter({False: 60})
