"""What is left of a change that fails, and what is freed: each thing exactly once."""

from __future__ import annotations

import errno
from collections.abc import Callable

import attrs
import pytest

from memslots.allocator import Allocation
from memslots.guest_memfd import GuestMemfd
from memslots.region import Change, Region
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.tracepoints import MemoryAllocated, MemoryFreed, SlotFreed
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


def starve(update: Update, missing: str) -> None:
    """Let there be no memory for one kind of thing; empty for nothing."""
    arch_of(update).exhausted = missing == "arrays"
    if missing not in {"arrays", ""}:
        update.vm.allocator.fail(Allocation(missing))


def freed(run: Run[Update]) -> list[int]:
    return [event.serial for _, _, event in run.records if isinstance(event, SlotFreed)]


def bitmaps(run: Run[Update], kind: type[MemoryAllocated | MemoryFreed]) -> list[int]:
    """For which slot objects the writer allocated bitmaps, or freed theirs."""
    return [
        event.slot
        for _, actor, event in run.records
        if isinstance(event, kind) and event.kind == "dirty-bitmap"
        if actor == "writer"
    ]


def one_slot(flags: int) -> Callable[[Scheduler], Update]:
    """Slot 1 at gfn 0x10 is object #1; the generation is 1."""

    def build(scheduler: Scheduler) -> Update:
        vm = Vm(scheduler, arch=AllocatingArch)
        vm.install([region(flags=flags)])
        return Update(vm)

    return build


@attrs.frozen
class Failure:
    """One cell of the table of failures.

    Attributes:
        missing: What there is no memory for: an `Allocation`, or ``arrays``.
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
    "invalid, delete": Failure("invalid-slot", deletion()),
    "invalid, move": Failure("invalid-slot", MOVE, freed=(2,)),
    "bitmap, create": Failure("dirty-bitmap", CREATE, freed=(2,)),
    "bitmap, move": Failure("dirty-bitmap", MOVE, freed=(3, 2), swaps=2),
    "bitmap, flags": Failure("dirty-bitmap", FLAGS_ONLY, freed=(2,)),
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
            bitmap.set_bit(1)
            bitmap.set_bit(2)
        starve(update, failure.missing)
        assert await answer(update, failure.request) == failure.result
        assert the_slot(vm) is slot
        assert slot.dirty_bitmap is bitmap
        assert bitmap is None or bitmap.words() == ((0, 0b0110),)
        assert content(vm.active(0).peek()) == before

    run = await run_writer(pool, write, one_slot(failure.flags))
    update = run.made
    assert_at_rest(update.vm)
    assert freed(run) == [*failure.freed]
    allocated = bitmaps(run, MemoryAllocated)
    assert len(allocated) == failure.bitmaps
    assert bitmaps(run, MemoryFreed) == allocated
    arch_of(update).assert_arrays_belong_to_slots()
    assert update.vm.active(0).peek().generation == 1 + failure.swaps


@pytest.mark.parametrize("cell", FAILURES)
async def test_the_same_call_succeeds_once_there_is_memory(
    pool: TaskPool, cell: str
) -> None:
    failure = FAILURES[cell]
    changes: list[object] = []

    async def write(update: Update) -> None:
        starve(update, failure.missing)
        await answer(update, failure.request)
        starve(update, "")
        changes.append(await answer(update, failure.request))

    run = await run_writer(pool, write, one_slot(failure.flags))
    assert isinstance(changes[0], Change)
    assert_at_rest(run.made.vm)
    arch_of(run.made).assert_arrays_belong_to_slots()


async def test_a_failed_move_still_occupies_its_old_range_alone(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        starve(update, "arrays")
        assert await answer(update, MOVE) == ENOMEM
        starve(update, "")
        assert await answer(update, region(2, 0x13)) == errno.EEXIST
        assert await answer(update, region(2, 0x20)) is Change.CREATE

    run = await run_writer(pool, write, one_slot(0))
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

    run = await run_writer(pool, write, one_slot(0))
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

    await run_writer(pool, write, one_slot(0))


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


def with_file(scheduler: Scheduler) -> Update:
    """A VM without slots and a file of 8 pages with descriptor 7."""
    vm = Vm(scheduler, arch=AllocatingArch)
    vm.guest_memfds[7] = GuestMemfd(8 * PAGE_SIZE)
    return Update(vm)


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
