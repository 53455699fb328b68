"""Whatever there is no memory for: what a failed update leaves, x86 arrays included."""

from __future__ import annotations

import errno
from collections.abc import Callable

import attrs
import pytest

from memslots.allocator import Allocation
from memslots.dirty_bitmap import Words
from memslots.profile import X86_64_LINUX_6_18
from memslots.region import Change, Region
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.tracepoints import (
    MemoryAllocated,
    MemoryFreed,
    PagesCounted,
    SlotFreed,
)
from memslots.update import Update
from memslots.vm import Vm
from rcu.reclaim import is_reclaimed
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from rcu.trace import Event
from tests.memslots.world import (
    answer,
    assert_at_rest,
    content,
    deletion,
    region,
    run_writer,
    the_slot,
)
from tests.support.running import Run
from vcpus.arch_x86 import ArchX86
from vcpus.shadow_roots import SlotArchX86

LOG = LOG_DIRTY_PAGES
MAX_GFN = X86_64_LINUX_6_18.max_gfn

SLOT = Allocation.SLOT
INVALID_SLOT = Allocation.INVALID_SLOT
DIRTY_BITMAP = Allocation.DIRTY_BITMAP
RMAP = Allocation.RMAP
LPAGE_INFO = Allocation.LPAGE_INFO
GFN_TRACK = Allocation.GFN_TRACK

CREATE = region(2, 0x20, flags=LOG)
MOVE = region(gfn=0x20, flags=LOG)
MOVE_PLAIN = region(gfn=0x20)
FLAGS_ONLY = region(flags=LOG)
TOO_FAR = region(gfn=MAX_GFN - 2)


def x86_of(vm: Vm) -> ArchX86:
    assert isinstance(vm.arch, ArchX86)
    return vm.arch


def arrays(slot: MemorySlot) -> tuple[object, object, object]:
    assert isinstance(slot.arch, SlotArchX86)
    return slot.arch.rmaps, slot.arch.lpage_info, slot.arch.gfn_track


def with_slot(flags: int) -> Callable[[Scheduler], Update]:
    """Slot 1 at gfn 0x10 is object #1; the generation is 1; 4 pages are counted."""

    def build(scheduler: Scheduler) -> Update:
        vm = Vm(scheduler, arch=ArchX86)
        vm.install([region(flags=flags)])
        return Update(vm)

    return build


def told(event: Event) -> str:
    """What was allocated for which slot object (+), or freed (-), in a word."""
    match event:
        case MemoryAllocated(kind=kind, slot=serial):
            return f"+{kind}#{serial}"
        case MemoryFreed(kind=kind, slot=serial):
            return f"-{kind}#{serial}"
        case SlotFreed(serial=serial):
            return f"-slot#{serial}"
        case _:
            return ""


def memory(run: Run[Update]) -> str:
    """What the writer allocated and freed, in this order."""
    lines = (told(event) for _, actor, event in run.records if actor == "writer")
    return " ".join(filter(None, lines))


async def need_shadow_roots(vm: Vm) -> None:
    async with vm.srcu.reading():
        await x86_of(vm).shadow_roots.first_alloc()


# Arrays of slot #1 that `need_shadow_roots` allocates before each call.
ROOTS = "+rmap#1 +gfn-track#1"


@attrs.frozen
class Cell:
    """One way to fail, for one kind of change.

    Attributes:
        missing: What there is no memory for; None if something else is wrong.
        request: What is asked of a VM with slot 1 at gfn 0x10.
        memory: What is allocated and freed on the way.
        swaps: By how much the generation advances.
        result: The errno.
        flags: Flags of slot 1.
    """

    missing: Allocation | None
    request: Region
    memory: str = ""
    swaps: int = 0
    result: int = errno.ENOMEM
    flags: int = 0


CELLS = {
    "slot, create": Cell(SLOT, CREATE),
    "slot, move": Cell(SLOT, MOVE),
    "slot, flags": Cell(SLOT, FLAGS_ONLY),
    "invalid slot, delete": Cell(INVALID_SLOT, deletion(), flags=LOG),
    "invalid slot, move": Cell(INVALID_SLOT, MOVE, "+slot#2 -slot#2"),
    "dirty bitmap, create": Cell(DIRTY_BITMAP, CREATE, "+slot#2 -slot#2"),
    "dirty bitmap, move": Cell(
        DIRTY_BITMAP, MOVE, "+slot#2 +invalid-slot#3 -slot#3 -slot#2", swaps=2
    ),
    "dirty bitmap, flags": Cell(DIRTY_BITMAP, FLAGS_ONLY, "+slot#2 -slot#2"),
    "rmap, create": Cell(
        RMAP, CREATE, "+slot#2 +dirty-bitmap#2 -dirty-bitmap#2 -slot#2"
    ),
    "rmap, move": Cell(
        RMAP,
        MOVE,
        "+slot#2 +invalid-slot#3 +dirty-bitmap#2 -dirty-bitmap#2 -slot#3 -slot#2",
        swaps=2,
    ),
    "lpage info, create": Cell(
        LPAGE_INFO,
        CREATE,
        "+slot#2 +dirty-bitmap#2 +rmap#2 -rmap#2 -dirty-bitmap#2 -slot#2",
    ),
    "lpage info, move": Cell(
        LPAGE_INFO,
        MOVE_PLAIN,
        "+slot#2 +invalid-slot#3 +rmap#2 -rmap#2 -slot#3 -slot#2",
        swaps=2,
    ),
    "lpage info, move of a logged slot": Cell(
        LPAGE_INFO,
        MOVE,
        "+slot#2 +invalid-slot#3 +rmap#2 -rmap#2 -slot#3 -slot#2",
        swaps=2,
        flags=LOG,
    ),
    "lpage info, move and log off": Cell(
        LPAGE_INFO,
        MOVE_PLAIN,
        "+slot#2 +invalid-slot#3 +rmap#2 -rmap#2 -slot#3 -slot#2",
        swaps=2,
        flags=LOG,
    ),
    "gfn track, create": Cell(
        GFN_TRACK,
        CREATE,
        "+slot#2 +dirty-bitmap#2 +rmap#2 +lpage-info#2 -rmap#2 -lpage-info#2"
        " -dirty-bitmap#2 -slot#2",
    ),
    "gfn track, move": Cell(
        GFN_TRACK,
        MOVE_PLAIN,
        "+slot#2 +invalid-slot#3 +rmap#2 +lpage-info#2 -rmap#2 -lpage-info#2 -slot#3"
        " -slot#2",
        swaps=2,
    ),
    "behind the last gfn, create": Cell(
        None,
        region(2, MAX_GFN - 2, flags=LOG),
        "+slot#2 +dirty-bitmap#2 -dirty-bitmap#2 -slot#2",
        result=errno.EINVAL,
    ),
    "behind the last gfn, move": Cell(
        None,
        TOO_FAR,
        "+slot#2 +invalid-slot#3 -slot#3 -slot#2",
        swaps=2,
        result=errno.EINVAL,
        flags=LOG,
    ),
}


@pytest.mark.parametrize("name", CELLS)
async def test_a_failure_leaves_everything_as_it_was(pool: TaskPool, name: str) -> None:
    cell = CELLS[name]

    async def write(update: Update) -> None:
        vm = update.vm
        await need_shadow_roots(vm)
        slot, before = the_slot(vm), content(vm.active(0).peek())
        bitmap, owned = slot.dirty_bitmap, arrays(slot)
        if bitmap is not None:
            bitmap.set_bit(1)
        if cell.missing is not None:
            vm.allocator.fail(cell.missing)
        assert await answer(update, cell.request) == cell.result
        assert the_slot(vm) is slot
        assert content(vm.active(0).peek()) == before
        assert slot.dirty_bitmap is bitmap
        words: Words | None = None if bitmap is None else bitmap.words()
        assert words == (((0, 0b10),) if cell.flags else None)
        assert arrays(slot) == owned
        assert not any(map(is_reclaimed, owned))

    run = await run_writer(pool, write, with_slot(cell.flags))
    vm = run.made.vm
    assert_at_rest(vm)
    assert memory(run) == f"{ROOTS} {cell.memory}".strip()
    assert vm.active(0).peek().generation == 1 + cell.swaps
    assert vm.nr_memslot_pages == 4
    assert not any(isinstance(event, PagesCounted) for _, _, event in run.records)


@pytest.mark.parametrize("name", [name for name in CELLS if CELLS[name].missing])
async def test_the_same_call_succeeds_once_there_is_memory(
    pool: TaskPool, name: str
) -> None:
    cell = CELLS[name]

    async def write(update: Update) -> None:
        await need_shadow_roots(update.vm)
        assert cell.missing is not None
        update.vm.allocator.fail(cell.missing)
        assert await answer(update, cell.request) == errno.ENOMEM
        assert isinstance(await answer(update, cell.request), Change)

    assert_at_rest((await run_writer(pool, write, with_slot(cell.flags))).made.vm)


@pytest.mark.parametrize("kind", [SLOT, DIRTY_BITMAP, RMAP, LPAGE_INFO, GFN_TRACK])
async def test_a_delete_needs_no_memory_but_for_the_invalid_slot(
    pool: TaskPool, kind: Allocation
) -> None:
    async def write(update: Update) -> None:
        await need_shadow_roots(update.vm)
        update.vm.allocator.fail(kind)
        assert await answer(update, deletion()) is Change.DELETE

    run = await run_writer(pool, write, with_slot(LOG))
    assert memory(run) == (
        f"{ROOTS} +invalid-slot#2 -slot#2 -dirty-bitmap#1 -rmap#1 -lpage-info#1"
        " -gfn-track#1 -slot#1"
    )
    assert run.made.vm.nr_memslot_pages == 0


@pytest.mark.parametrize("kind", [INVALID_SLOT, RMAP, LPAGE_INFO, GFN_TRACK])
async def test_a_change_of_flags_needs_no_arrays(
    pool: TaskPool, kind: Allocation
) -> None:
    async def write(update: Update) -> None:
        await need_shadow_roots(update.vm)
        owned = arrays(the_slot(update.vm))
        update.vm.allocator.fail(kind)
        assert await answer(update, FLAGS_ONLY) is Change.FLAGS_ONLY
        assert arrays(the_slot(update.vm)) == owned

    run = await run_writer(pool, write, with_slot(0))
    assert memory(run) == f"{ROOTS} +slot#2 +dirty-bitmap#2 -slot#1"


async def test_a_slot_cannot_move_while_its_pages_are_watched_from_outside(
    pool: TaskPool,
) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        slot, owned = the_slot(vm), arrays(the_slot(vm))
        x86_of(vm).external_write_tracking = True
        vm.allocator.fail(LPAGE_INFO)  # it is not even asked for
        assert await answer(update, MOVE) == errno.EINVAL
        assert the_slot(vm) is slot
        assert arrays(slot) == owned
        vm.allocator.forget()
        assert await answer(update, FLAGS_ONLY) is Change.FLAGS_ONLY
        assert await answer(update, CREATE) is Change.CREATE
        x86_of(vm).external_write_tracking = False
        assert await answer(update, region(gfn=0x30, flags=LOG)) is Change.MOVE

    run = await run_writer(pool, write, with_slot(0))
    assert memory(run).startswith(
        "+slot#2 +invalid-slot#3 +dirty-bitmap#2 -dirty-bitmap#2 -slot#3 -slot#2 +slot"
    )


@pytest.mark.parametrize("counted", [0, 3])
async def test_a_slot_with_more_pages_than_are_counted_is_not_deleted(
    pool: TaskPool, counted: int
) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        slot = the_slot(vm)
        vm.nr_memslot_pages = counted
        assert await answer(update, deletion()) == errno.EIO
        assert the_slot(vm) is slot
        assert vm.nr_memslot_pages == counted
        assert vm.active(0).peek().generation == 1
        vm.nr_memslot_pages = 4

    run = await run_writer(pool, write, with_slot(0))
    assert memory(run) == ""
    assert_at_rest(run.made.vm)
