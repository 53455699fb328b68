"""What one change of an array does, and what is left of one that fails."""

from __future__ import annotations

import errno

import pytest

from memslots.allocator import Allocation
from memslots.arrays.array_update import ArrayUpdate
from memslots.arrays.array_vm import ArrayVm
from memslots.errors import MemoryRegionError
from memslots.indexes.errors import StructureBroken
from memslots.region import Change, Region
from memslots.slot import INVALID, LOG_DIRTY_PAGES
from memslots.tracepoints import (
    ArchDataCopied,
    SetCopied,
    SetFreed,
    SetsSwapped,
    SlotFreed,
    SlotReplaced,
)
from memslots.update import Update
from memslots.vm import Vm
from rcu.errors import SimulatorBug, UseAfterFree
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from rcu.trace import Event
from scenarios.strategies.round_robin import RoundRobin
from tests.memslots.arrays.world import assert_at_rest, entries
from tests.memslots.world import (
    answer,
    content,
    deletion,
    region,
    run_writer,
    the_slot,
)
from tests.support.running import Run
from vcpus.arch_x86 import ArchX86

LOG = LOG_DIRTY_PAGES
CREATE, MOVE, FLAGS = region(2, 0x20, flags=LOG), region(gfn=0x20), region(flags=LOG)
DELETE = deletion()


def one_slot(scheduler: Scheduler) -> ArrayUpdate:
    """Slot 1 at gfn 0x10 is #1, in set 0; the generation is 1."""
    vm = ArrayVm(scheduler, arch=ArchX86)
    vm.install([region()])
    return ArrayUpdate(vm)


def array_vm(update: Update) -> ArrayVm:
    assert isinstance(update.vm, ArrayVm)
    return update.vm


# What is done to which array.


def told(event: Event) -> str:
    """One word and the numbers of sets and slots."""
    match event:
        case SetCopied() | ArchDataCopied():
            return f"{event.name} {event.from_set} to {event.set}"
        case SetsSwapped() | SetFreed():
            return f"{event.name} {event.set}"
        case SlotReplaced():
            new = event.new
            invalid = "" if new is None or not new.flags & INVALID else " invalid"
            entered = None if new is None else new.serial
            return f"{event.name} {event.set}: {event.old} by {entered}{invalid}"
        case SlotFreed():
            return f"{event.name} #{event.serial}"
        case _:
            return ""


def all_told(run: Run[Update]) -> list[str]:
    return [line for _, _, event in run.records if (line := told(event))]


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (
            CREATE,
            [
                "set_copied 0 to 1",
                "slot_replaced 1: None by 2",
                "sets_swapped 1",
                "set_freed 0",
            ],
        ),
        (
            FLAGS,
            [
                "set_copied 0 to 1",
                "slot_replaced 1: 1 by 2",
                "sets_swapped 1",
                "set_freed 0",
                "slot_freed #1",
            ],
        ),
        (
            MOVE,
            [
                "set_copied 0 to 1",
                "slot_replaced 1: 1 by 3 invalid",
                "sets_swapped 1",
                "arch_data_copied 1 to 0",
                "slot_replaced 0: 1 by 2",
                "sets_swapped 0",
                "set_freed 1",
                "slot_freed #3",
                "slot_freed #1",
            ],
        ),
        (
            DELETE,
            [
                "set_copied 0 to 1",
                "slot_replaced 1: 1 by 2 invalid",
                "sets_swapped 1",
                "arch_data_copied 1 to 0",
                "slot_replaced 0: 1 by None",
                "sets_swapped 0",
                "set_freed 1",
                "slot_freed #2",
                "slot_freed #1",
            ],
        ),
    ],
)
async def test_each_change_copies_once_and_installs_as_often_as_with_trees(
    pool: TaskPool, wanted: Region, lines: list[str]
) -> None:
    async def write(update: Update) -> None:
        assert isinstance(await answer(update, wanted), Change)

    run = await run_writer(pool, write, one_slot)
    assert all_told(run) == lines
    assert_at_rest(run.made.vm)


async def test_no_change_copies_nothing(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        assert await answer(update, region()) is None
        assert await answer(update, region(2, 0x10)) == errno.EEXIST
        assert await answer(update, deletion(7)) == errno.EINVAL

    run = await run_writer(pool, write, one_slot)
    assert "set_copied" not in " ".join(all_told(run))
    assert array_vm(run.made).cost.arrays_allocated == 1


# Failures.

REVERTED = [
    "set_copied 0 to 1",
    "slot_replaced 1: 1 by 3 invalid",
    "sets_swapped 1",
    "arch_data_copied 1 to 0",
    "sets_swapped 0",
    "set_freed 1",
    "slot_freed #3",
    "slot_freed #2",
]
GIVEN_UP = ["set_copied 0 to 1", "set_freed 1"]
FAILURES = {
    ("create", Allocation.SLOT): (CREATE, []),
    ("move", Allocation.SLOT): (MOVE, []),
    ("flags", Allocation.SLOT): (FLAGS, []),
    ("delete", Allocation.INVALID_SLOT): (DELETE, GIVEN_UP),
    ("move", Allocation.INVALID_SLOT): (MOVE, [*GIVEN_UP, "slot_freed #2"]),
    ("create", Allocation.DIRTY_BITMAP): (CREATE, [*GIVEN_UP, "slot_freed #2"]),
    ("flags", Allocation.DIRTY_BITMAP): (FLAGS, [*GIVEN_UP, "slot_freed #2"]),
    ("move", Allocation.DIRTY_BITMAP): (region(gfn=0x20, flags=LOG), REVERTED),
    ("create", Allocation.LPAGE_INFO): (CREATE, [*GIVEN_UP, "slot_freed #2"]),
    ("move", Allocation.LPAGE_INFO): (MOVE, REVERTED),
}


@pytest.mark.parametrize("cell", FAILURES, ids=lambda cell: f"{cell[0]}, {cell[1]}")
async def test_a_failure_leaves_everything_as_it_was(
    pool: TaskPool, cell: tuple[str, Allocation]
) -> None:
    wanted, lines = FAILURES[cell]

    async def write(update: Update) -> None:
        vm = update.vm
        before = content(vm.active(0).peek())
        vm.allocator.fail(cell[1])
        assert await answer(update, wanted) == errno.ENOMEM
        assert content(vm.active(0).peek()) == before
        assert the_slot(vm).serial == 1
        swaps = sum(line.startswith("sets_swapped") for line in lines)
        assert vm.active(0).peek().generation == 1 + swaps
        assert_at_rest(vm)
        assert isinstance(await answer(update, wanted), Change)

    run = await run_writer(pool, write, one_slot)
    assert all_told(run)[: len(lines)] == lines
    assert_at_rest(run.made.vm)


class NoMemoryForArrays(ArrayUpdate):
    """Finds no memory for a copy of the set."""

    async def dup_memslots(self, as_id: int, *, extra: bool) -> None:
        raise MemoryRegionError(errno.ENOMEM, "no memory for an array")


@pytest.mark.parametrize("wanted", [CREATE, MOVE, FLAGS, DELETE])
async def test_without_memory_for_a_copy_nothing_happens(
    pool: TaskPool, wanted: Region
) -> None:
    def build(scheduler: Scheduler) -> Update:
        return NoMemoryForArrays(one_slot(scheduler).vm)

    async def write(update: Update) -> None:
        assert await answer(update, wanted) == errno.ENOMEM
        assert_at_rest(update.vm)
        assert update.vm.active(0).peek().generation == 1

    await run_writer(pool, write, build)


# Pointers.


@pytest.mark.parametrize("wanted", [CREATE, MOVE, FLAGS, DELETE])
async def test_a_pointer_is_stale_after_any_update(
    pool: TaskPool, wanted: Region
) -> None:
    async def write(update: Update) -> None:
        slot = the_slot(update.vm)
        assert slot.base_gfn == 0x10
        assert isinstance(await answer(update, wanted), Change)
        with pytest.raises(
            UseAfterFree, match=r"slot 1 #1 in set 0 of address space 0"
        ):
            _ = slot.base_gfn

    await run_writer(pool, write, one_slot)


async def test_a_pointer_survives_a_call_that_changes_nothing(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        slot = the_slot(update.vm)
        update.vm.allocator.fail(Allocation.LPAGE_INFO)
        assert await answer(update, CREATE) == errno.ENOMEM
        assert await answer(update, region()) is None
        assert the_slot(update.vm) is slot

    await run_writer(pool, write, one_slot)


async def test_an_array_that_is_freed_must_not_be_touched(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        slots = update.vm.active(0).peek()
        await update.set_memory_region(CREATE)
        with pytest.raises(UseAfterFree, match=r"set 0 of address space 0 \(freed by"):
            slots.id_to_memslot(1)

    await run_writer(pool, write, one_slot)


# The VM.


def alone() -> ControlledScheduler:
    return ControlledScheduler(RoundRobin())


def test_slots_are_installed_in_any_order_and_numbered_as_created() -> None:
    vm = ArrayVm(alone(), address_space_count=2)
    vm.install([region(n, gfn) for n, gfn in enumerate((0x10, 0x30, 0x20))])
    vm.install([region(0x1_0000, 0x10), region(4, 0x28)])
    assert entries(vm.active_array(0)) == [(1, 0x30), (4, 0x28), (2, 0x20), (0, 0x10)]
    assert [slot.serial for slot in vm.active_array(0)] == [1, 3, 5, 2]
    assert [vm.active(n).peek().generation for n in (0, 1)] == [8, 3]
    vm.check()


@pytest.mark.parametrize(
    "regions",
    [
        [region(1, 0x10), region(1, 0x20)],
        [region(1, 0x10), region(2, 0x10)],
        [region(1, 0x10, npages=0)],
    ],
)
def test_slots_that_cannot_be_are_not_installed(regions: list[Region]) -> None:
    with pytest.raises(StructureBroken):
        ArrayVm(alone()).install(regions)


def test_there_is_a_working_copy_only_while_a_slot_is_changed() -> None:
    with pytest.raises(SimulatorBug, match="address space 0 has no working copy"):
        ArrayVm(alone()).inactive_memslots(0)


def test_the_protocol_needs_a_vm_with_arrays() -> None:
    with pytest.raises(TypeError, match="ArrayUpdate needs a VM with slots in arrays"):
        ArrayUpdate(Vm(alone()))


@pytest.mark.parametrize("spaces", [1, 2])
async def test_everything_is_freed_with_the_vm(pool: TaskPool, spaces: int) -> None:
    def build(scheduler: Scheduler) -> Update:
        vm = ArrayVm(scheduler, address_space_count=spaces, arch=ArchX86)
        update = ArrayUpdate(vm)
        update.install_internal_slots()
        vm.install([region(), region(2, 0x20, flags=LOG)])
        return update

    async def write(update: Update) -> None:
        await update.set_memory_region(region(gfn=0x40))
        await update.set_memory_region(region(3, 0x50))
        await update.put()

    run = await run_writer(pool, write, build)
    assert [list(arrays) for arrays in run.made.vm.sets] == [[]] * spaces


# What it costs.


async def cost_of(pool: TaskPool, count: int) -> tuple[tuple[int, ...], ...]:
    """Slots copied, shifted and visited by creating ``count``, and by one more MOVE."""
    numbers: list[tuple[int, ...]] = []

    async def write(update: Update) -> None:
        cost = array_vm(update).cost
        for n in range(count):
            await update.set_memory_region(region(n, 8 * n))
        numbers.append((cost.slots_copied, cost.slots_shifted, cost.slots_visited))
        await update.set_memory_region(region(0, 8 * count))
        numbers.append((cost.slots_copied, cost.slots_shifted, cost.slots_visited))
        assert cost.ids_copied == 32767 * (count + 1)

    await run_writer(pool, write, lambda scheduler: ArrayUpdate(ArrayVm(scheduler)))
    setup, whole = numbers
    return setup, tuple(b - a for a, b in zip(setup, whole, strict=True))


@pytest.mark.parametrize("count", [1, 10, 50])
async def test_setup_is_quadratic_and_a_move_linear(pool: TaskPool, count: int) -> None:
    setup, move = await cost_of(pool, count)
    pairs = count * (count - 1) // 2
    assert setup[:2] == (pairs, pairs)
    # By id twice: the slot, and what commit works on; by range once.
    assert setup[2] == pairs + 2 * count
    assert move[:2] == (count, count - 1)


async def test_a_copy_shares_the_bitmap(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        await update.set_memory_region(FLAGS)
        bitmap = the_slot(update.vm).dirty_bitmap
        await update.set_memory_region(CREATE)
        assert the_slot(update.vm).dirty_bitmap is bitmap
        assert the_slot(update.vm, 2).dirty_bitmap is not bitmap

    await run_writer(pool, write, one_slot)
