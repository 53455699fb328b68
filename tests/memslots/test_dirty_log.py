"""The ioctls of the dirty log: every errno in its order, every mode, what is told."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest

from memslots.arch import PlainArch
from memslots.dirty_bitmap import ALL_ONES
from memslots.dirty_log import DirtyLog
from memslots.dirty_tracking import Capability
from memslots.errors import DirtyLogError, NoDirtyBitmap
from memslots.profile import X86_64_LINUX_6_18, Profile
from memslots.region import Change
from memslots.slot import INVALID, LOG_DIRTY_PAGES, READONLY, MemorySlot
from memslots.tracepoints import (
    DirtyBitsCleared,
    DirtyLogRequested,
    DirtyLogReturned,
    PageMarkedDirty,
)
from memslots.units import Gfn
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.round_robin import RoundRobin
from tests.memslots.world import answer, assert_at_rest, deletion, region, run_writer
from tests.memslots.world import the_slot as slot_of

MANUAL = Capability.MANUAL_DIRTY_LOG_PROTECT2
RING = Capability.DIRTY_LOG_RING
RING_ACQ_REL = Capability.DIRTY_LOG_RING_ACQ_REL
PAGES = 100
"""Pages of slot 1: one whole word and a part of one."""

LAST_WORD = (1 << PAGES - 64) - 1


class Protecting(PlainArch):
    """Keeps what it was asked to do, in order."""

    def __init__(self, vm: Vm) -> None:
        self.done: list[object] = []

    async def sync_dirty_log(self, slot: MemorySlot) -> None:
        self.done.append("sync")

    async def mmu_lock(self) -> None:
        self.done.append("lock")

    async def mmu_unlock(self) -> None:
        self.done.append("unlock")

    async def enable_log_dirty_pt_masked(
        self, slot: MemorySlot, gfn_offset: int, mask: int
    ) -> None:
        self.done.append((slot.id, gfn_offset, mask))

    async def flush_remote_tlbs_memslot(self, slot: MemorySlot) -> None:
        self.done.append(f"flush {slot.id}")


def done_by(vm: Vm) -> list[object]:
    assert isinstance(vm.arch, Protecting)
    return vm.arch.done


def logged_vm(scheduler: Scheduler, profile: Profile = X86_64_LINUX_6_18) -> Vm:
    """Slot 1 is logged, slot 2 is not, slot 3 is of exactly one word."""
    vm = Vm(scheduler, arch=Protecting, profile=profile)
    vm.install(
        [
            region(1, 0x100, PAGES, LOG_DIRTY_PAGES),
            region(2, 0x200, PAGES),
            region(3, 0x300, 64, LOG_DIRTY_PAGES | READONLY),
        ]
    )
    return vm


async def result(call: Awaitable[Any]) -> Any:
    """What a call returns, or the positive errno."""
    try:
        return await call
    except DirtyLogError as refused:
        return refused.errno


def mark(vm: Vm, *offsets: int, slot: int = 1) -> None:
    bitmap = slot_of(vm, slot).dirty_bitmap
    assert bitmap is not None
    for offset in offsets:
        bitmap.set_bit(offset)


def words(vm: Vm, slot: int = 1) -> tuple[tuple[int, int], ...]:
    bitmap = slot_of(vm, slot).dirty_bitmap
    assert bitmap is not None
    return bitmap.words()


Body = Callable[[Vm], Awaitable[None]]


async def on_a_vm(pool: TaskPool, body: Body, profile: Profile | None = None) -> Vm:
    async def write(update: Update) -> None:
        await body(update.vm)

    def build(scheduler: Scheduler) -> Update:
        return Update(logged_vm(scheduler, profile or X86_64_LINUX_6_18))

    run = await run_writer(pool, write, build)
    assert run.made.vm.slots_lock.is_free()
    return run.made.vm


# Every errno.


@attrs.frozen
class Row:
    """A call and its answer.

    Attributes:
        title: What is asked.
        call: Makes the call.
        outcome: What it returns, or a positive errno.
        ring: Whether the VM has dirty rings.
        dead: Whether it is being destroyed.
        profile: Limits of the kernel.
    """

    title: str
    call: Callable[[DirtyLog], Awaitable[Any]]
    outcome: Any
    ring: bool = False
    dead: bool = False
    profile: Profile = X86_64_LINUX_6_18


def get(slot: int | None, *, copy_out: bool = True) -> Callable[[DirtyLog], Any]:
    return lambda log: log.get_dirty_log(slot, copy_out=copy_out)


def clear(
    slot: int | None, first: int = 0, count: int = 64, mask: object = "ones"
) -> Callable[[DirtyLog], Any]:
    bits: Any = {0: ALL_ONES, 1: ALL_ONES} if mask == "ones" else mask
    return lambda log: log.clear_dirty_log(slot, first, count, bits)


def enable(
    capability: int | None, value: int = 0, flags: int = 0
) -> Callable[[DirtyLog], Any]:
    return lambda log: log.enable_cap(capability, flags, value)


def reset(log: DirtyLog) -> Any:
    return log.reset_dirty_rings()


def profile(**fields: Any) -> Profile:
    return attrs.evolve(X86_64_LINUX_6_18, **fields)


NO_RING = profile(dirty_ring=False)
E = errno
ROWS = [
    # Get.
    Row("get, dead", get(None), E.EIO, dead=True),
    Row("get, unreadable", get(None), E.EFAULT),
    Row("get, unreadable before ring", get(None), E.EFAULT, ring=True),
    Row("get, ring", get(1), E.ENXIO, ring=True),
    Row("get, ring before slot number", get(1 << 16), E.ENXIO, ring=True),
    Row("get, space 1 of 1", get(1 << 16 | 1), E.EINVAL),
    Row("get, last user id", get(32763), E.ENOENT),
    Row("get, first internal id", get(32764), E.EINVAL),
    Row("get, highest id", get(0xFFFF), E.EINVAL),
    Row("get, no slot", get(7), E.ENOENT),
    Row("get, not logged", get(2), E.ENOENT),
    Row("get, no slot before unwritable", get(7, copy_out=False), E.ENOENT),
    Row("get, unwritable", get(1, copy_out=False), E.EFAULT),
    Row("get, clean", get(1), ()),
    # Clear.
    Row("clear, dead", clear(None), E.EIO, dead=True),
    Row("clear, unreadable", clear(None), E.EFAULT),
    Row("clear, unreadable before ring", clear(None), E.EFAULT, ring=True),
    Row("clear, ring", clear(1), E.ENXIO, ring=True),
    Row("clear, ring before slot number", clear(1 << 16), E.ENXIO, ring=True),
    Row("clear, space 1 of 1", clear(1 << 16 | 1), E.EINVAL),
    Row("clear, first internal id", clear(32764), E.EINVAL),
    Row("clear, unaligned before no slot", clear(7, first=1), E.EINVAL),
    Row("clear, no slot", clear(7), E.ENOENT),
    Row("clear, not logged", clear(2), E.ENOENT),
    Row("clear, no slot before range", clear(7, count=1), E.ENOENT),
    Row("clear, first page 63", clear(1, 63, 0), E.EINVAL),
    Row("clear, first page 64", clear(1, 64, 0), ()),
    Row("clear, first page behind the end", clear(1, 128, 0), E.EINVAL),
    Row("clear, first page at the end", clear(3, 64, 0), ()),
    Row("clear, first page far behind", clear(1, 1 << 63, 0), E.EINVAL),
    Row("clear, up to the end", clear(1, 64, 36), ()),
    Row("clear, one page too many", clear(1, 64, 37), E.EINVAL),
    Row("clear, one page less", clear(1, 64, 35), E.EINVAL),
    Row("clear, all", clear(1, 0, 100), ()),
    Row("clear, all but one", clear(1, 0, 99), E.EINVAL),
    Row("clear, more than all", clear(1, 0, 101), E.EINVAL),
    Row("clear, whole word", clear(1, 0, 64), ()),
    Row("clear, part of a word", clear(1, 0, 63), E.EINVAL),
    Row("clear, two words", clear(1, 0, 128), E.EINVAL),
    Row("clear, nothing", clear(1, 0, 0), ()),
    Row("clear, unreadable mask", clear(1, mask=None), E.EFAULT),
    Row("clear, range before mask", clear(1, count=63, mask=None), E.EINVAL),
    Row("clear, unreadable mask of nothing", clear(1, 0, 0, None), ()),
    # Modes.
    Row("cap, dead", enable(None), E.EIO, dead=True),
    Row("cap, unreadable", enable(None), E.EFAULT),
    Row("cap unknown", enable(10), E.EINVAL),
    Row("manual 0", enable(MANUAL, 0), None),
    Row("manual 1", enable(MANUAL, 1), None),
    Row("manual 2", enable(MANUAL, 2), E.EINVAL),
    Row("manual 3", enable(MANUAL, 3), None),
    Row("manual 4", enable(MANUAL, 4), E.EINVAL),
    Row("manual 5", enable(MANUAL, 5), E.EINVAL),
    Row("manual 2^32", enable(MANUAL, 1 << 32), E.EINVAL),
    Row("manual with flags", enable(MANUAL, 1, 1), E.EINVAL),
    Row(
        "manual 3, no initially set",
        enable(MANUAL, 3),
        E.EINVAL,
        profile=profile(manual_dirty_log_protect=1),
    ),
    Row(
        "manual 0, unknown",
        enable(MANUAL, 0),
        E.EINVAL,
        profile=profile(manual_dirty_log_protect=0),
    ),
    Row("ring 0", enable(RING, 0), E.EINVAL),
    Row("ring 1", enable(RING, 1), E.EINVAL),
    Row("ring 2048", enable(RING, 2048), E.EINVAL),
    Row("ring 4096", enable(RING, 4096), None),
    Row("ring 12288", enable(RING, 12288), E.EINVAL),
    Row("ring 1 MiB", enable(RING, 1 << 20), None),
    Row("ring 2 MiB", enable(RING, 1 << 21), E.E2BIG),
    Row("ring 2^32", enable(RING, 1 << 32), E.EINVAL),
    Row("ring 2^32 + 4096", enable(RING, 1 << 32 | 4096), None),
    Row("ring with flags", enable(RING, 4096, 5), None),
    Row("ring, other name", enable(RING_ACQ_REL, 4096), None),
    Row("ring again", enable(RING, 4096), E.EINVAL, ring=True),
    Row("ring again, too large", enable(RING, 1 << 21), E.E2BIG, ring=True),
    Row(
        "ring unknown", enable(RING, 4096), E.EINVAL, profile=profile(dirty_ring=False)
    ),
    Row(
        "other ring unknown",
        enable(RING_ACQ_REL, 4096),
        E.EINVAL,
        profile=profile(dirty_ring_acq_rel=False),
    ),
    Row(
        "ring below what is reserved",
        enable(RING, 8192),
        E.EINVAL,
        profile=profile(dirty_ring_reserved_entries=576),
    ),
    Row(
        "ring above what is reserved",
        enable(RING, 16384),
        None,
        profile=profile(dirty_ring_reserved_entries=576),
    ),
    Row("reset, dead", reset, E.EIO, dead=True, ring=True),
    Row("reset without rings", reset, E.EINVAL),
    Row("reset without vCPUs", reset, 0, ring=True),
]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.title) for row in ROWS])
async def test_the_answer_is_the_kernels(pool: TaskPool, row: Row) -> None:
    outcomes: list[Any] = []

    async def body(vm: Vm) -> None:
        if row.ring:
            await vm.dirty_log.enable_cap(RING, 0, 4096)
        vm.dead = row.dead
        outcomes.append(await result(row.call(vm.dirty_log)))

    await on_a_vm(pool, body, row.profile)
    assert outcomes == [row.outcome]


def test_a_refusal_reads_as_the_kernels_name_for_it() -> None:
    refusal = DirtyLogError(errno.ENOENT, "slot 2 has no dirty bitmap")
    assert str(refusal) == "ENOENT: slot 2 has no dirty bitmap"
    assert refusal.result == -errno.ENOENT


async def test_rings_come_before_the_first_vcpu(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        log = vm.dirty_log
        assert log.vcpu_created(0) is None
        assert await result(log.enable_cap(RING, 0, 2048)) == errno.EINVAL
        assert await result(log.enable_cap(RING, 0, 4096)) == errno.EINVAL
        assert await log.uses_bitmaps()

    await on_a_vm(pool, body)


# Get.


async def test_get_takes_the_bits_protects_their_pages_and_flushes(
    pool: TaskPool,
) -> None:
    async def body(vm: Vm) -> None:
        mark(vm, 0, 5, 99)
        assert await vm.dirty_log.get_dirty_log(1) == ((0, 0b100001), (1, 1 << 35))
        assert words(vm) == ()
        assert await vm.dirty_log.get_dirty_log(1) == ()

    vm = await on_a_vm(pool, body)
    first = ["sync", "lock", (1, 0, 0b100001), (1, 64, 1 << 35), "unlock", "flush 1"]
    assert done_by(vm) == [*first, "sync", "lock", "unlock"]


async def test_get_in_manual_mode_takes_nothing(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        await vm.dirty_log.enable_cap(MANUAL, 0, 1)
        mark(vm, 7)
        for _ in range(2):
            assert await vm.dirty_log.get_dirty_log(1) == ((0, 1 << 7),)

    assert done_by(await on_a_vm(pool, body)) == ["sync", "sync"]


async def test_a_get_that_cannot_be_written_has_taken_the_bits(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        mark(vm, 7)
        get = vm.dirty_log.get_dirty_log(1, copy_out=False)
        assert await result(get) == errno.EFAULT
        assert words(vm) == ()

    assert done_by(await on_a_vm(pool, body))[-1] == "flush 1"


async def test_the_mode_may_change_while_bits_are_set(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        log = vm.dirty_log
        mark(vm, 3)
        await log.enable_cap(MANUAL, 0, 3)
        assert await log.get_dirty_log(1) == ((0, 1 << 3),)
        await log.enable_cap(MANUAL, 0, 0)
        assert await log.get_dirty_log(1) == ((0, 1 << 3),)
        assert await log.get_dirty_log(1) == ()

    await on_a_vm(pool, body)


# Clear.


async def test_a_slot_without_a_bitmap_has_no_bits(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        with pytest.raises(NoDirtyBitmap, match="page 5 of <slot 2 #2"):
            await vm.dirty_log.set_dirty_bit(slot_of(vm, 2), 5)

    await on_a_vm(pool, body)


async def test_clear_takes_what_is_asked_for_and_was_set(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        mark(vm, 1, 2, 70)
        cleared = await vm.dirty_log.clear_dirty_log(
            1, 0, 100, {0: 0b1010, 1: ALL_ONES}
        )
        assert cleared == ((0, 0b10), (1, 1 << 6))
        assert words(vm) == ((0, 0b100),)

    vm = await on_a_vm(pool, body)
    pages = [(1, 0, 0b10), (1, 64, 1 << 6)]
    assert done_by(vm) == ["sync", "lock", *pages, "unlock", "flush 1"]


async def test_the_mask_begins_at_the_first_page(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        mark(vm, 0, 64, 99)
        masks = {0: 1, 1: ALL_ONES}
        assert await vm.dirty_log.clear_dirty_log(1, 64, 36, masks) == ((1, 1),)
        assert words(vm) == ((0, 1), (1, 1 << 35))

    await on_a_vm(pool, body)


async def test_a_clear_of_clean_pages_protects_nothing(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        assert await vm.dirty_log.clear_dirty_log(1, 0, 100, {0: ALL_ONES}) == ()

    assert done_by(await on_a_vm(pool, body)) == ["sync", "lock", "unlock"]


async def test_a_clear_that_is_refused_changes_nothing(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        mark(vm, 1)
        for first, count, mask in ((0, 63, {0: 2}), (1, 64, {0: 2}), (0, 64, None)):
            await result(vm.dirty_log.clear_dirty_log(1, first, count, mask))
        assert words(vm) == ((0, 2),)

    await on_a_vm(pool, body)


# Initially set.


@pytest.mark.parametrize(
    ("value", "word"), [(0, ()), (1, ()), (3, ((0, ALL_ONES), (1, LAST_WORD)))]
)
async def test_what_a_new_bitmap_holds(
    pool: TaskPool, value: int, word: tuple[tuple[int, int], ...]
) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        await vm.dirty_log.enable_cap(MANUAL, 0, value)
        assert await answer(update, region(5, 0x500, PAGES, 1)) is Change.CREATE
        assert words(vm, 5) == word
        assert await answer(update, region(6, 0x600, PAGES)) is Change.CREATE
        assert await answer(update, region(6, 0x600, PAGES, 1)) is Change.FLAGS_ONLY
        assert words(vm, 6) == word
        assert await answer(update, region(2, 0x700, PAGES, 1)) is Change.MOVE
        assert words(vm, 2) == word
        assert words(vm, 1) == ()  # it was there before

    run = await run_writer(pool, write, lambda scheduler: Update(logged_vm(scheduler)))
    assert_at_rest(run.made.vm)


async def test_initially_set_bits_survive_a_move_and_come_anew(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        log = vm.dirty_log
        await log.enable_cap(MANUAL, 0, 3)
        logged = region(5, 0x500, PAGES, 1)
        await answer(update, logged)
        await log.clear_dirty_log(5, 0, 64, {0: ALL_ONES})
        assert await answer(update, region(5, 0x900, PAGES, 1)) is Change.MOVE
        assert words(vm, 5) == ((1, LAST_WORD),)
        await answer(update, region(5, 0x900, PAGES))
        await answer(update, region(5, 0x900, PAGES, 1))
        assert words(vm, 5) == ((0, ALL_ONES), (1, LAST_WORD))
        assert await answer(update, deletion(5)) is Change.DELETE
        assert await result(log.get_dirty_log(5)) == errno.ENOENT

    run = await run_writer(pool, write, lambda scheduler: Update(logged_vm(scheduler)))
    assert_at_rest(run.made.vm)


async def test_slots_of_a_vm_with_rings_get_no_bitmap(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        await vm.dirty_log.enable_cap(RING, 0, 4096)
        assert await answer(update, region(5, 0x500, PAGES, 1)) is Change.CREATE
        assert slot_of(vm, 5).dirty_bitmap is None
        # A slot that had one before keeps it, also when it moves.
        bitmap = slot_of(vm, 1).dirty_bitmap
        assert await answer(update, region(1, 0x900, PAGES, 1)) is Change.MOVE
        assert slot_of(vm, 1).dirty_bitmap is bitmap is not None
        assert await answer(update, region(1, 0x900, PAGES)) is Change.FLAGS_ONLY
        assert await answer(update, region(1, 0x900, PAGES, 1)) is Change.FLAGS_ONLY
        assert slot_of(vm, 1).dirty_bitmap is None

    await run_writer(pool, write, lambda scheduler: Update(logged_vm(scheduler)))


def test_slots_that_are_there_from_the_start_get_what_the_mode_says() -> None:

    vm = Vm(ControlledScheduler(RoundRobin()))
    vm.dirty_log.manual_protect = 3
    vm.install([region(1, flags=1)])
    vm.dirty_log.ring_bytes = 4096
    vm.install([region(2, 0x20, flags=1)])
    assert words(vm) == ((0, 0b1111),)
    assert slot_of(vm, 2).dirty_bitmap is None


# Marking, and what is told.


async def test_only_logged_slots_are_marked(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        log = vm.dirty_log
        await log.mark_page_dirty_in_slot(None, slot_of(vm, 1), Gfn(0x105))
        await log.mark_page_dirty_in_slot(None, slot_of(vm, 2), Gfn(0x205))
        invalid = slot_of(vm, 3).copy(99)
        invalid.flags |= INVALID
        await log.mark_page_dirty_in_slot(None, invalid, Gfn(0x33F))
        assert words(vm, 1) == ((0, 1 << 5),)
        assert words(vm, 3) == ((0, 1 << 63),)

    await on_a_vm(pool, body)


async def told(pool: TaskPool, body: Body) -> list[object]:
    async def write(update: Update) -> None:
        await body(update.vm)

    run = await run_writer(pool, write, lambda scheduler: Update(logged_vm(scheduler)))
    kinds = (PageMarkedDirty, DirtyLogRequested, DirtyBitsCleared, DirtyLogReturned)
    return [
        (record.event.name, *attrs.astuple(record.event, recurse=False))
        for record in run.records
        if isinstance(record.event, kinds)
    ]


async def test_what_a_get_and_a_clear_tell(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        log = vm.dirty_log
        await log.mark_page_dirty_in_slot(None, slot_of(vm), Gfn(0x100 + 65))
        await log.get_dirty_log(1)
        await log.enable_cap(MANUAL, 0, 1)
        mark(vm, 2)
        await log.get_dirty_log(1)
        await log.clear_dirty_log(1, 0, 64, {0: 0b110})
        await result(log.get_dirty_log(2))

    assert await told(pool, body) == [
        ("page_marked_dirty", 0, 1, 1, 65, "bitmap"),
        ("dirty_log_requested", 1, "get", 0, 1),
        ("dirty_bits_cleared", 1, 0, 1, 1, 64, 2),
        ("dirty_log_returned", 1, 0, ((1, 2),)),
        ("dirty_log_requested", 2, "get", 0, 1),
        ("dirty_log_returned", 2, 0, ((0, 4),)),
        ("dirty_log_requested", 3, "clear", 0, 1),
        ("dirty_bits_cleared", 3, 0, 1, 1, 0, 4),
        ("dirty_log_returned", 3, 0, ((0, 4),)),
        ("dirty_log_requested", 4, "get", 0, 2),
        ("dirty_log_returned", 4, -errno.ENOENT, ()),
    ]


async def test_a_get_that_cannot_be_written_tells_what_was_lost(pool: TaskPool) -> None:
    async def body(vm: Vm) -> None:
        mark(vm, 0)
        await result(vm.dirty_log.get_dirty_log(1, copy_out=False))
        await result(vm.dirty_log.get_dirty_log(None))

    assert await told(pool, body) == [
        ("dirty_log_requested", 1, "get", 0, 1),
        ("dirty_bits_cleared", 1, 0, 1, 1, 0, 1),
        ("dirty_log_returned", 1, -errno.EFAULT, ()),
        ("dirty_log_requested", 2, "get", None, None),
        ("dirty_log_returned", 2, -errno.EFAULT, ()),
    ]
