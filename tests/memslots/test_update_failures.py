"""What is left of a change that fails, and what is freed: each thing exactly once."""

from __future__ import annotations

import errno
from collections.abc import Callable

import attrs
import pytest

from memslots.dirty_bitmap import DirtyBitmap
from memslots.errors import MemoryRegionError
from memslots.guest_memfd import GuestMemfd
from memslots.region import Change, Region
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.tracepoints import SlotFreed
from memslots.units import PAGE_SIZE
from memslots.update import Update
from memslots.vm import Vm
from rcu.reclaim import is_reclaimed
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import (
    AllocatingArch,
    Pointers,
    answer,
    arch_of,
    assert_at_rest,
    backed,
    content,
    deletion,
    region,
    run_writer,
    the_slot,
)
from tests.support.running import Run

LOG = LOG_DIRTY_PAGES
ENOMEM = errno.ENOMEM


class Poor(Update):
    """An update that finds no memory for one kind of thing.

    Attributes:
        missing: ``slot``, ``invalid``, ``bitmap`` or ``arrays``; empty for nothing.
        bitmaps: All that were allocated.
    """

    def __init__(self, vm: Vm, missing: str) -> None:
        super().__init__(vm)
        self.missing = missing
        self.bitmaps: list[DirtyBitmap] = []
        arch_of(self).exhausted = missing == "arrays"

    def need(self, what: str) -> None:
        if self.missing == what:
            raise MemoryRegionError(ENOMEM, f"no memory for {what}")

    def allocate_slot(self, region: Region) -> MemorySlot:
        self.need("slot")
        return super().allocate_slot(region)

    def allocate_invalid(self, old: MemorySlot) -> MemorySlot:
        self.need("invalid")
        return super().allocate_invalid(old)

    def allocate_dirty_bitmap(self, new: MemorySlot) -> DirtyBitmap:
        self.need("bitmap")
        self.bitmaps.append(super().allocate_dirty_bitmap(new))
        return self.bitmaps[-1]


def freed(run: Run[Update]) -> list[int]:
    return [event.serial for _, _, event in run.records if isinstance(event, SlotFreed)]


def one_slot(flags: int, missing: str) -> Callable[[Scheduler], Poor]:
    """Slot 1 at gfn 0x10 is object #1; the generation is 1."""

    def build(scheduler: Scheduler) -> Poor:
        vm = Vm(scheduler, arch=AllocatingArch)
        vm.install([region(flags=flags)])
        return Poor(vm, missing)

    return build


@attrs.frozen
class Failure:
    """One cell of the table of failures.

    Attributes:
        missing: What there is no memory for.
        request: What is asked of a VM with slot 1 at gfn 0x10.
        freed: Serials of the slot objects that are freed, in this order.
        bitmaps: How many bitmaps were allocated on the way, and are freed.
        swaps: By how much the generation advances.
        result: The errno.
        flags: Flags of slot 1.
    """

    missing: str
    request: Region
    freed: tuple[int, ...] = ()
    bitmaps: int = 0
    swaps: int = 0
    result: int = ENOMEM
    flags: int = 0


# The slot object of the request is #2; the INVALID one is #3, of a DELETE #2.
CREATE = region(2, 0x20, flags=LOG)
MOVE = region(gfn=0x20, flags=LOG)
MOVE_PLAIN = region(gfn=0x20)
FLAGS_ONLY = region(flags=LOG)
FAILURES = {
    "slot, create": Failure("slot", CREATE),
    "slot, move": Failure("slot", MOVE),
    "slot, flags": Failure("slot", FLAGS_ONLY),
    "invalid, delete": Failure("invalid", deletion()),
    "invalid, move": Failure("invalid", MOVE, freed=(2,)),
    "bitmap, create": Failure("bitmap", CREATE, freed=(2,)),
    "bitmap, move": Failure("bitmap", MOVE, freed=(3, 2), swaps=2),
    "bitmap, flags": Failure("bitmap", FLAGS_ONLY, freed=(2,)),
    "arrays, create": Failure("arrays", CREATE, freed=(2,), bitmaps=1),
    "arrays, create without log": Failure("arrays", region(2, 0x20), freed=(2,)),
    "arrays, move": Failure("arrays", MOVE, freed=(3, 2), bitmaps=1, swaps=2),
    "arrays, move without log": Failure("arrays", MOVE_PLAIN, freed=(3, 2), swaps=2),
    "arrays, move of a logged slot": Failure(
        "arrays", MOVE, freed=(3, 2), swaps=2, flags=LOG
    ),
    "arrays, move and log off": Failure(
        "arrays", MOVE_PLAIN, freed=(3, 2), swaps=2, flags=LOG
    ),
    "arch, delete": Failure(
        "arrays", deletion(), freed=(2,), swaps=2, result=errno.EIO, flags=LOG
    ),
}


@pytest.mark.parametrize("cell", FAILURES)
async def test_a_failure_leaves_everything_as_it_was(pool: TaskPool, cell: str) -> None:
    failure = FAILURES[cell]

    async def write(update: Update) -> None:
        vm = update.vm
        slot = the_slot(vm)
        bitmap, before = slot.dirty_bitmap, content(vm.active(0).peek())
        if bitmap is not None:
            bitmap.live = 0b0110
        assert await answer(update, failure.request) == failure.result
        assert the_slot(vm) is slot
        assert slot.dirty_bitmap is bitmap
        assert bitmap is None or bitmap.live == 0b0110
        assert content(vm.active(0).peek()) == before

    run = await run_writer(pool, write, one_slot(failure.flags, failure.missing))
    update = run.made
    assert_at_rest(update.vm)
    assert freed(run) == [*failure.freed]
    assert isinstance(update, Poor)
    assert len(update.bitmaps) == failure.bitmaps
    assert all(map(is_reclaimed, update.bitmaps))
    arch_of(update).assert_arrays_belong_to_slots()
    assert update.vm.active(0).peek().generation == 1 + failure.swaps


@pytest.mark.parametrize("cell", FAILURES)
async def test_the_same_call_succeeds_once_there_is_memory(
    pool: TaskPool, cell: str
) -> None:
    failure = FAILURES[cell]
    changes: list[object] = []

    async def write(update: Update) -> None:
        assert isinstance(update, Poor)
        await answer(update, failure.request)
        update.missing = ""
        arch_of(update).exhausted = False
        changes.append(await answer(update, failure.request))

    run = await run_writer(pool, write, one_slot(failure.flags, failure.missing))
    assert isinstance(changes[0], Change)
    assert_at_rest(run.made.vm)
    arch_of(run.made).assert_arrays_belong_to_slots()


async def test_a_failed_move_still_occupies_its_old_range_alone(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        assert await answer(update, MOVE) == ENOMEM
        arch_of(update).exhausted = False
        assert await answer(update, region(2, 0x13)) == errno.EEXIST
        assert await answer(update, region(2, 0x20)) is Change.CREATE

    run = await run_writer(pool, write, one_slot(0, "arrays"))
    assert_at_rest(run.made.vm)


# What success frees.


@pytest.mark.parametrize(
    ("wanted", "serials"),
    [
        (CREATE, []),
        (FLAGS_ONLY, [1]),
        (MOVE, [3, 1]),
        (deletion(), [2, 1]),
    ],
)
async def test_success_frees_what_was_replaced(
    pool: TaskPool, wanted: Region, serials: list[int]
) -> None:
    async def write(update: Update) -> None:
        assert isinstance(await answer(update, wanted), Change)

    run = await run_writer(pool, write, one_slot(0, ""))
    assert freed(run) == serials
    assert_at_rest(run.made.vm)
    arch_of(run.made).assert_arrays_belong_to_slots()


async def test_flags_keep_the_arrays_and_a_move_takes_fresh_ones(
    pool: TaskPool,
) -> None:
    async def write(update: Update) -> None:
        vm, arrays = update.vm, arch_of(update).arrays
        assert await answer(update, FLAGS_ONLY) is Change.FLAGS_ONLY
        assert len(arrays) == 1
        assert await answer(update, MOVE) is Change.MOVE
        assert [is_reclaimed(array) for array in arrays] == [True, False]
        pointers = the_slot(vm).arch
        assert isinstance(pointers, Pointers)
        assert pointers.array is arrays[1]

    await run_writer(pool, write, one_slot(0, ""))


# Arch data that somebody allocates while slots_arch_lock is free.


class LateArch(AllocatingArch):
    """Somebody replaces the array of the INVALID slot while its pages are flushed.

    Attributes:
        refuses: Whether preparing fails afterwards.
    """

    refuses = False

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        async with self.vm.slots_arch_lock:
            invalid = the_slot(self.vm)
            assert invalid is not slot
            assert isinstance(invalid.arch, Pointers)
            self.free_memslot(invalid.arch)
            invalid.arch.array = self.new_pointers().array

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        self.exhausted = self.refuses
        await super().prepare_memory_region(old, new, change)


def with_late_arrays(scheduler: Scheduler) -> Update:
    vm = Vm(scheduler, arch=LateArch)
    vm.install([region()])
    return Update(vm)


@pytest.mark.parametrize("wanted", [MOVE, deletion()])
async def test_late_arch_data_survives_a_change_that_fails(
    pool: TaskPool, wanted: Region
) -> None:
    async def write(update: Update) -> None:
        arch, slot = arch_of(update), the_slot(update.vm)
        assert isinstance(arch, LateArch)
        arch.refuses = True
        assert isinstance(await answer(update, wanted), int)
        assert the_slot(update.vm) is slot
        assert isinstance(slot.arch, Pointers)
        assert [is_reclaimed(array) for array in arch.arrays] == [True, False]
        assert slot.arch.array is arch.arrays[1]

    run = await run_writer(pool, write, with_late_arrays)
    assert_at_rest(run.made.vm)


@pytest.mark.parametrize("wanted", [MOVE, deletion()])
async def test_late_arch_data_is_freed_with_the_slot_that_got_it(
    pool: TaskPool, wanted: Region
) -> None:
    async def write(update: Update) -> None:
        assert isinstance(await answer(update, wanted), Change)

    run = await run_writer(pool, write, with_late_arrays)
    assert all(map(is_reclaimed, arch_of(run.made).arrays[:2]))
    arch_of(run.made).assert_arrays_belong_to_slots()
    assert_at_rest(run.made.vm)


# guest_memfd.


def with_file(scheduler: Scheduler) -> Poor:
    """A VM without slots and a file of 8 pages with descriptor 7."""
    vm = Vm(scheduler, arch=AllocatingArch)
    vm.guest_memfds[7] = GuestMemfd(8 * PAGE_SIZE)
    return Poor(vm, "")


async def test_a_range_is_bound_as_long_as_the_slot_lives(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        file = update.vm.guest_memfds[7]
        wanted = backed(region(), 7, 0x2000)
        assert await answer(update, wanted) is Change.CREATE
        assert file.bindings == [(0x2000, 0x6000)]
        assert the_slot(update.vm).guest_memfd == (file, 0x2000)
        assert await answer(update, backed(region(2, 0x20), 7, 0x5000)) == errno.EINVAL
        assert await answer(update, deletion()) is Change.DELETE
        assert file.bindings == []
        assert await answer(update, wanted) is Change.CREATE

    run = await run_writer(pool, write, with_file)
    assert_at_rest(run.made.vm)


@pytest.mark.parametrize(
    ("descriptor", "offset", "result"),
    [(8, 0, errno.EBADF), (-1, 0, errno.EBADF), (7, 0x5000, errno.EINVAL)],
)
async def test_a_slot_that_cannot_be_bound_is_freed(
    pool: TaskPool, descriptor: int, offset: int, result: int
) -> None:
    async def write(update: Update) -> None:
        assert await answer(update, backed(region(), descriptor, offset)) == result
        assert update.vm.guest_memfds[7].bindings == []

    run = await run_writer(pool, write, with_file)
    assert freed(run) == [1]
    assert_at_rest(run.made.vm)


async def test_a_create_that_fails_later_gives_its_range_back(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        arch_of(update).exhausted = True
        assert await answer(update, backed(region(), 7)) == ENOMEM
        assert update.vm.guest_memfds[7].bindings == []

    run = await run_writer(pool, write, with_file)
    assert freed(run) == [1]
    assert_at_rest(run.made.vm)
