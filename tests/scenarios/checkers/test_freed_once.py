"""What is allocated is freed once, neither too late nor too early."""

from __future__ import annotations

import pytest

from memslots.allocator import Allocation
from memslots.region import Region
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.tracepoints import (
    MemoryAllocated,
    MemoryFreed,
    MemoryHeld,
    SlotData,
    SlotFreed,
    SlotReplaced,
    VmDestroyed,
)
from memslots.update import Update
from rcu.schedule.pool import TaskPool
from rcu.trace import Event, Record
from rcu.tracepoints import LockReleased, RuleWasBroken
from scenarios.checkers.freed_once import FreedOnce
from tests.memslots.world import deletion, region
from tests.scenarios.checkers.story import X, Y, outcome, space, story
from tests.scenarios.checkers.twins import (
    CALLS,
    AllocatesMeanwhile,
    DoesNotResync,
    MovesTheArrays,
    judged,
    seen_by,
    unbroken,
)
from vcpus.arch_x86 import ArchX86

LOG = LOG_DIRTY_PAGES
UNLOCK = ("writer", LockReleased("slots_lock"))


def allocate(kind: str, serial: int) -> tuple[str, Event]:
    return "writer", MemoryAllocated(kind, serial)


def free(kind: str, serial: int) -> tuple[str, Event]:
    return "writer", MemoryFreed(kind, serial)


def free_slot(serial: int) -> tuple[str, Event]:
    return "writer", SlotFreed(0, serial)


def hold(
    serial: int, bitmap: int | None = None, rmap: int | None = None
) -> tuple[str, Event]:
    return "writer", MemoryHeld(serial, bitmap, rmap, None, None, ring=False)


def edit(index: int, old: int | None, new: SlotData | None) -> tuple[str, Event]:
    return "writer", SlotReplaced(0, index, old, new)


# X is in both sets and has a bitmap.
OWNED = [
    *space(X),
    *(
        Record(0, "setup", event)
        for event in (
            MemoryAllocated("slot", 1),
            MemoryAllocated("dirty-bitmap", 1),
            MemoryHeld(1, 1, None, None, None, ring=False),
        )
    ),
]


def told(*lines: tuple[str, Event]) -> tuple[int, list[tuple[int, str]]]:
    exercised, found = outcome(FreedOnce, OWNED + story(*lines))
    return exercised, [(each.step, each.seen) for each in found]


def test_what_a_slot_of_a_set_has_is_its_own() -> None:
    assert told(UNLOCK, UNLOCK) == (2, [])


def test_a_slot_may_hand_what_it_has_on() -> None:
    change = (
        allocate("slot", 2),
        hold(2, bitmap=1),
        edit(1, 1, Y),
        edit(0, 1, Y),
        free_slot(1),
        UNLOCK,
    )
    assert told(*change) == (1 + 3, [])


def test_a_call_that_fails_may_free_what_it_has_allocated() -> None:
    call = (
        allocate("slot", 2),
        allocate("dirty-bitmap", 2),
        free("dirty-bitmap", 2),
        free_slot(2),
        UNLOCK,
    )
    assert told(*call) == (2 + 4, [])


def test_what_is_left_over_is_a_leak() -> None:
    call = (
        allocate("slot", 2),
        allocate("dirty-bitmap", 2),
        free_slot(2),
        UNLOCK,
        UNLOCK,
    )
    leak = (
        "slots_lock was released while the dirty-bitmap of slot #2, which writer"
        " allocated in step 2, is not freed and belongs to no slot of a set"
    )
    assert told(*call)[1] == [(4, leak)]


def test_an_invalid_slot_that_is_left_over_is_a_leak() -> None:
    leak = (
        "slots_lock was released while slot #2, which writer allocated in step 1, is"
        " not freed and belongs to no slot of a set"
    )
    assert told(allocate("invalid-slot", 2), UNLOCK)[1] == [(2, leak)]


def test_what_a_slot_of_a_set_still_has_must_not_be_freed() -> None:
    seen = (
        "slots_lock was released while slot #1, which is in a set, points to the"
        " dirty-bitmap of slot #1, which writer freed in step 1"
    )
    assert told(free("dirty-bitmap", 1), UNLOCK)[1] == [(2, seen)]


def test_a_slot_of_a_set_must_not_be_freed_itself() -> None:
    leak = (
        "slots_lock was released while the dirty-bitmap of slot #1, which setup"
        " allocated in step 0, is not freed and belongs to no slot of a set"
    )
    assert told(free_slot(1), UNLOCK)[1] == [(2, leak)]


def test_what_a_slot_points_to_no_more_is_looked_at_again() -> None:
    leak = (
        "slots_lock was released while the dirty-bitmap of slot #1, which setup"
        " allocated in step 0, is not freed and belongs to no slot of a set"
    )
    assert told(UNLOCK, hold(1), UNLOCK) == (2 + 2, [(3, leak)])


def test_a_slot_that_leaves_the_sets_is_looked_at_again() -> None:
    leave = (UNLOCK, edit(0, 1, None), edit(1, 1, None), UNLOCK)
    released = "slots_lock was released while "
    left_over = (
        "which setup allocated in step 0, is not freed and belongs to no slot of a set"
    )
    assert told(*leave) == (
        2 + 2,
        [
            (4, f"{released}slot #1, {left_over}"),
            (4, f"{released}the dirty-bitmap of slot #1, {left_over}"),
        ],
    )


def test_a_slot_that_enters_a_set_is_looked_at_again() -> None:
    leave = (edit(0, 1, None), edit(1, 1, None), free("dirty-bitmap", 1), UNLOCK)
    points = (
        "slots_lock was released while slot #1, which is in a set, points to the"
        " dirty-bitmap of slot #1, which writer freed in step 3"
    )
    assert told(*leave, edit(0, None, X), UNLOCK)[1][1:] == [(6, points)]


def test_what_is_freed_after_slots_lock_was_released_is_looked_at_again() -> None:
    exercised, found = told(UNLOCK, free("dirty-bitmap", 1), UNLOCK)
    assert (exercised, [step for step, _ in found]) == (2 + 1 + 1, [3])


def test_what_a_slot_points_to_no_more_may_be_freed() -> None:
    assert told(hold(1), free("dirty-bitmap", 1), UNLOCK) == (1 + 2, [])


def test_what_a_slot_points_to_is_looked_at_whenever_it_is_told() -> None:
    assert told(UNLOCK, hold(1, bitmap=1), UNLOCK) == (2 + 2, [])


@pytest.mark.parametrize("lock", ["mmu_lock", "vcpu->mutex"])
def test_other_locks_say_nothing(lock: str) -> None:
    assert told(("writer", LockReleased(lock))) == (0, [])


def test_nothing_is_freed_twice() -> None:
    change = (edit(0, 1, None), edit(1, 1, None), free("dirty-bitmap", 1), free_slot(1))
    again = (free("dirty-bitmap", 1), free_slot(1), UNLOCK)
    twice = "is freed a second time, after writer in step"
    assert told(*change, *again)[1] == [
        (5, f"the dirty-bitmap of slot #1 {twice} 3"),
        (6, f"slot #1 {twice} 4"),
    ]


def test_somebody_may_allocate_late_for_a_slot_that_is_handed_on() -> None:
    change = (
        allocate("slot", 2),
        hold(2, bitmap=1),
        edit(1, 1, Y),
        ("vcpu0", MemoryAllocated("rmap", 2)),
        edit(0, 1, Y),
        free_slot(1),
        UNLOCK,
    )
    assert told(*change)[1] == []


def test_what_was_allocated_for_a_slot_that_nobody_finds_any_more_is_lost() -> None:
    change = (
        allocate("slot", 2),
        hold(2, bitmap=1),
        edit(1, 1, Y),
        ("vcpu0", MemoryAllocated("rmap", 1)),
        edit(0, 1, Y),
        free_slot(1),
        UNLOCK,
    )
    leak = (
        "slots_lock was released while the rmap of slot #1, which vcpu0 allocated in"
        " step 4, is not freed and belongs to no slot of a set"
    )
    assert told(*change)[1] == [(7, leak)]


def test_a_vm_that_is_destroyed_leaves_nothing() -> None:
    rest = (free_slot(1), ("writer", VmDestroyed()))
    leak = (
        "the VM is destroyed, but the dirty-bitmap of slot #1, which setup allocated in"
        " step 0, was never freed"
    )
    assert told(*rest)[1] == [(2, leak)]
    assert told(free("dirty-bitmap", 1), *rest) == (3, [])


def test_a_double_free_that_the_model_finds_is_told_here_too() -> None:
    broken = ("writer", RuleWasBroken("no-use-after-free", "DoubleFree", "twice"))
    assert told(broken) == (1, [(1, "DoubleFree: twice")])
    for rule in ("AccessFree", "UseAfterFree"):
        other = ("writer", RuleWasBroken("no-use-after-free", rule, "late"))
        assert told(other) == (0, [])


# The unbroken protocol, and some that forget or repeat a free.


@pytest.mark.parametrize("arch", [ArchX86, AllocatesMeanwhile])
@pytest.mark.parametrize("name", CALLS)
async def test_the_unbroken_protocol_frees_each_thing_once(
    pool: TaskPool, name: str, arch: type[ArchX86]
) -> None:
    judgement = await unbroken(pool, name, arch)
    assert judgement.violations == ()
    assert judgement.checkers["freed-once"].exercised > 0


class LeaksTheBitmap(Update):
    """Frees the bitmap of a call that fails only if there was a slot before."""

    async def free_new_bitmap(self, old: MemorySlot | None, new: MemorySlot) -> None:
        if old is not None:
            await super().free_new_bitmap(old, new)


class FreesAnyBitmap(Update):
    """Frees the bitmap of a call that fails, whoever has it."""

    async def free_new_bitmap(self, old: MemorySlot | None, new: MemorySlot) -> None:
        if new.dirty_bitmap is not None:
            await self.free_dirty_bitmap(new.dirty_bitmap, new)


class ForgetsTheOldArrays(Update):
    """Frees a slot, and not what the architecture has for it."""

    async def free_arch(self, slot: MemorySlot) -> None:
        pass


@pytest.mark.parametrize(
    ("update", "arch", "request_", "fail", "seen"),
    [
        (
            LeaksTheBitmap,
            ArchX86,
            region(2, 0x20, flags=LOG),
            Allocation.LPAGE_INFO,
            "the dirty-bitmap of slot #2, which writer allocated in step",
        ),
        (
            FreesAnyBitmap,
            ArchX86,
            region(gfn=0x20, flags=LOG),
            Allocation.LPAGE_INFO,
            "slot #1, which is in a set, points to the dirty-bitmap of slot #1, which",
        ),
        (
            ForgetsTheOldArrays,
            ArchX86,
            region(gfn=0x20),
            None,
            "the lpage-info of slot #1, which setup allocated in step 0, is not freed",
        ),
        (
            DoesNotResync,
            AllocatesMeanwhile,
            deletion(),
            None,
            "the rmap of slot #2, which writer allocated in step",
        ),
        (
            Update,
            MovesTheArrays,
            region(gfn=0x20, flags=LOG),
            None,
            "slot #2, which is in a set, points to the lpage-info of slot #1, which",
        ),
    ],
)
async def test_a_broken_one_is_caught(
    pool: TaskPool,
    update: type[Update],
    arch: type[ArchX86],
    request_: Region,
    fail: Allocation | None,
    seen: str,
) -> None:
    judgement = await judged(
        pool, request_, update=update, arch=arch, flags=LOG, fail=fail
    )
    found = seen_by("freed-once", judgement)
    assert found
    assert seen in found[0]
