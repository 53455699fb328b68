"""Each kind of change step by step, in the order of the kernel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import pytest

from memslots.arch import PlainArch
from memslots.errors import MemoryRegionError
from memslots.generation import UPDATE_IN_PROGRESS, settled
from memslots.region import Change, Region
from memslots.slot import INVALID, LOG_DIRTY_PAGES, MemorySlot
from memslots.tracepoints import (
    GenerationAdvanced,
    MemoryHeld,
    RegionReturned,
    SetsSwapped,
    SlotFreed,
    SlotReplaced,
)
from memslots.update import Update
from memslots.vm import Vm
from rcu.errors import LockNotHeld, SimulatorBug
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from rcu.trace import Event
from rcu.tracepoints import (
    LockAcquired,
    LockReleased,
    SynchronizeBegan,
    SynchronizeEnded,
)
from tests.memslots.world import (
    answer,
    assert_at_rest,
    deletion,
    region,
    run_writer,
    the_slot,
)
from tests.support.running import Run

LOG = LOG_DIRTY_PAGES


def serial(slot: MemorySlot | None) -> str:
    return "-" if slot is None else f"#{slot.serial}"


class TellingArch(PlainArch):
    """Notes each call with the step it was made in and the locks that were held.

    Refuses to prepare what ends behind ``vm.profile.max_gfn``.
    """

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.notes: list[tuple[int, str]] = []

    async def note(self, text: str) -> None:
        scheduler = self.vm.scheduler
        await scheduler.point(self.vm.slot_memory.read)
        locks = " and ".join(lock.name for lock in scheduler.current.locks)
        self.notes.append((scheduler.steps, f"  {text} with {locks}"))

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        await self.note(f"prepare {serial(old)} -> {serial(new)}")
        if new is not None and new.end_gfn > self.vm.profile.max_gfn:
            raise MemoryRegionError(12, "no memory for the arrays of so high a slot")
        await super().prepare_memory_region(old, new, change)

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        assert not slot.flags & INVALID
        await self.note(f"flush {serial(slot)}")

    async def memslots_updated(self, generation: int) -> None:
        await self.note(f"hear of generation {generation}")

    async def commit_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        pages = self.vm.nr_memslot_pages
        await self.note(f"commit {serial(old)} -> {serial(new)}, {pages} pages,")


def told(event: Event) -> str:
    """One line for an event of the update, nothing for any other."""
    text = ""
    match event:
        case LockAcquired(lock=lock):
            text = f"lock {lock}"
        case LockReleased(lock=lock):
            text = f"unlock {lock}"
        case SlotReplaced(set=idx, old=old, new=new):
            left = "-" if old is None else f"#{old}"
            entered = "-" if new is None else f"#{new.serial}"
            invalid = " INVALID" if new is not None and new.flags & INVALID else ""
            text = f"set {idx}: {left} -> {entered}{invalid}"
        case SetsSwapped(set=idx, generation=generation):
            assert generation & UPDATE_IN_PROGRESS
            text = f"publish set {idx}, update of {settled(generation)} in progress"
        case GenerationAdvanced(set=idx, generation=generation):
            text = f"set {idx} is generation {generation}"
        case SynchronizeBegan(expedited=True):
            text = "wait for readers"
        case SynchronizeEnded():
            text = "no reader is left"
        case SlotFreed(serial=number):
            text = f"free #{number}"
        case RegionReturned(change=change, result=result):
            text = f"return {result} {change}".strip()
    return text


def one_slot(flags: int = 0) -> Callable[[Scheduler], Update]:
    """A VM with slot 1 at gfn 0x10, which is object #1; the generation is 1."""

    def build(scheduler: Scheduler) -> Update:
        vm = Vm(scheduler, arch=TellingArch)
        vm.profile = attrs.evolve(vm.profile, max_gfn=0x1000)
        vm.install([region(flags=flags)])
        return Update(vm)

    return build


async def call(
    pool: TaskPool, request: Region, flags: int = 0
) -> tuple[Run[Update], TellingArch]:
    """Run one call on a VM with one slot."""

    async def write(update: Update) -> None:
        await answer(update, request)

    run = await run_writer(pool, write, one_slot(flags))
    assert_at_rest(run.made.vm)
    assert isinstance(run.made.vm.arch, TellingArch)
    return run, run.made.vm.arch


async def story(pool: TaskPool, request: Region, flags: int = 0) -> list[str]:
    """What the writer does, step by step."""
    run, arch = await call(pool, request, flags)
    lines = [
        (step, text)
        for step, actor, event in run.records
        if actor == "writer" and (text := told(event))
    ]
    # Each note has a step of its own.
    return [text for _, text in sorted(lines + arch.notes, key=lambda line: line[0])]


SWAP_TO_SET_1 = [
    "lock mn_invalidate_lock",
    "publish set 1, update of 1 in progress",
    "unlock mn_invalidate_lock",
    "unlock slots_arch_lock",
    "wait for readers",
    "no reader is left",
    "  hear of generation 2 with slots_lock",
    "set 1 is generation 2",
]
SWAP_BACK_TO_SET_0 = [
    "lock mn_invalidate_lock",
    "publish set 0, update of 2 in progress",
    "unlock mn_invalidate_lock",
    "unlock slots_arch_lock",
    "wait for readers",
    "no reader is left",
    "  hear of generation 3 with slots_lock",
    "set 0 is generation 3",
]


async def test_create_step_by_step(pool: TaskPool) -> None:
    assert await story(pool, region(2, 0x20)) == [
        "lock slots_lock",
        "lock slots_arch_lock",
        "  prepare - -> #2 with slots_lock and slots_arch_lock",
        "set 1: - -> #2",
        *SWAP_TO_SET_1,
        "set 0: - -> #2",
        "  commit - -> #2, 8 pages, with slots_lock",
        "unlock slots_lock",
        "return 0 create",
    ]


async def test_flags_only_step_by_step(pool: TaskPool) -> None:
    assert await story(pool, region(flags=LOG)) == [
        "lock slots_lock",
        "lock slots_arch_lock",
        "  prepare #1 -> #2 with slots_lock and slots_arch_lock",
        "set 1: #1 -> #2",
        *SWAP_TO_SET_1,
        "set 0: #1 -> #2",
        "  commit #1 -> #2, 4 pages, with slots_lock",
        "free #1",
        "unlock slots_lock",
        "return 0 flags-only",
    ]


async def test_delete_step_by_step(pool: TaskPool) -> None:
    assert await story(pool, deletion()) == [
        "lock slots_lock",
        "lock slots_arch_lock",
        "set 1: #1 -> #2 INVALID",
        *SWAP_TO_SET_1,
        "  flush #1 with slots_lock",
        "lock slots_arch_lock",
        "  prepare #1 -> - with slots_lock and slots_arch_lock",
        "set 0: #1 -> -",
        *SWAP_BACK_TO_SET_0,
        "set 1: #2 -> -",
        "free #2",
        "  commit #1 -> -, 0 pages, with slots_lock",
        "free #1",
        "unlock slots_lock",
        "return 0 delete",
    ]


async def test_move_step_by_step(pool: TaskPool) -> None:
    assert await story(pool, region(gfn=0x20)) == [
        "lock slots_lock",
        "lock slots_arch_lock",
        "set 1: #1 -> #3 INVALID",
        *SWAP_TO_SET_1,
        "  flush #1 with slots_lock",
        "lock slots_arch_lock",
        "  prepare #1 -> #2 with slots_lock and slots_arch_lock",
        "set 0: #1 -> #2",
        *SWAP_BACK_TO_SET_0,
        "set 1: #3 -> #2",
        "free #3",
        "  commit #1 -> #2, 4 pages, with slots_lock",
        "free #1",
        "unlock slots_lock",
        "return 0 move",
    ]


async def test_a_move_that_cannot_be_prepared_goes_back_step_by_step(
    pool: TaskPool,
) -> None:
    assert await story(pool, region(gfn=0x1000)) == [
        "lock slots_lock",
        "lock slots_arch_lock",
        "set 1: #1 -> #3 INVALID",
        *SWAP_TO_SET_1,
        "  flush #1 with slots_lock",
        "lock slots_arch_lock",
        "  prepare #1 -> #2 with slots_lock and slots_arch_lock",
        *SWAP_BACK_TO_SET_0,
        "set 1: #3 -> #1",
        "free #3",
        "free #2",
        "unlock slots_lock",
        "return -12",
    ]


async def test_a_create_that_cannot_be_prepared_stops_there(pool: TaskPool) -> None:
    assert await story(pool, region(2, gfn=0x1000)) == [
        "lock slots_lock",
        "lock slots_arch_lock",
        "  prepare - -> #2 with slots_lock and slots_arch_lock",
        "unlock slots_arch_lock",
        "free #2",
        "unlock slots_lock",
        "return -12",
    ]


@pytest.mark.parametrize(
    ("wanted", "returned"),
    [
        (region(), "return 0"),
        (region(npages=5), "return -22"),
        (region(2, gfn=0x11), "return -17"),
        (deletion(2), "return -22"),
    ],
)
async def test_a_refused_or_idle_call_takes_slots_lock_and_no_more(
    pool: TaskPool, wanted: Region, returned: str
) -> None:
    assert await story(pool, wanted) == [
        "lock slots_lock",
        "unlock slots_lock",
        returned,
    ]


async def test_a_call_that_is_refused_early_takes_no_lock(pool: TaskPool) -> None:
    assert await story(pool, region(40_000)) == ["return -22"]


@pytest.mark.parametrize(
    ("wanted", "swaps"),
    [
        (region(2, 0x20), 1),
        (region(flags=LOG), 1),
        (deletion(), 2),
        (region(gfn=0x20), 2),
        (region(gfn=0x1000), 2),
    ],
)
async def test_a_set_is_numbered_in_progress_before_it_is_published(
    pool: TaskPool, wanted: Region, swaps: int
) -> None:
    run, _ = await call(pool, wanted)
    number = "writer: write generation of set {} of address space 0"
    publish = "writer: write memslots[0]"
    assert [
        step for step in run.steps if "generation of set" in step or step == publish
    ] == [
        line
        for idx in (1, 0)[:swaps]
        for line in (number.format(idx), publish, number.format(idx))
    ]


SLOT_MEMORY = "slot memory"  # what the architecture of these tests looks at
BEGIN = (
    "acquire slots_lock",
    "read memslots[0]",
    f"look up in set 0 of address space 0, {SLOT_MEMORY}",
    "acquire slots_arch_lock",
    "read arch data of slots",
)
FLUSH = (
    f"read {SLOT_MEMORY}",
    "acquire slots_arch_lock",
    "write arch data of slots",
    f"read {SLOT_MEMORY}",
)


async def test_whatever_is_shared_is_looked_at_in_a_step(pool: TaskPool) -> None:
    run, _ = await call(pool, deletion())
    steps = [each.removeprefix("writer: ") for each in run.steps if "writer:" in each]
    assert tuple(steps[1:6]) == BEGIN
    flushed = steps.index("write generation of set 1 of address space 0", 9) + 1
    assert tuple(steps[flushed : flushed + 4]) == FLUSH
    assert steps[flushed + 4].startswith("edit set 0 of address space 0, ")


async def test_what_the_old_slot_has_is_told_again_behind_the_flush(
    pool: TaskPool,
) -> None:
    run, arch = await call(pool, deletion())
    (flushed,) = (step for step, note in arch.notes if note.startswith("  flush #1"))
    told_again = [
        step
        for step, _, event in run.records
        if isinstance(event, MemoryHeld) and event.slot == 1 and step > 0
    ]
    assert told_again == [flushed + 2]


async def test_a_dead_vm_refuses_every_request(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        update.vm.dead = True
        assert [await answer(update, each) for each in (deletion(), None)] == [5, 5]
        assert the_slot(update.vm).serial == 1

    run = await run_writer(pool, write, one_slot())
    assert run.report.steps == 1


# What the steps ask of their caller.


Step = Callable[[Update], Awaitable[object]]


async def request_locked(update: Update) -> None:
    await update.set_memory_region_locked(region())


async def replace(update: Update) -> None:
    await update.replace_memslot(the_slot(update.vm), None)


async def swap(update: Update) -> None:
    await update.swap_active_memslots(0)


async def copy_to_invalid(update: Update) -> None:
    update.allocate_invalid(the_slot(update.vm))


@pytest.mark.parametrize(
    ("step", "held", "missing"),
    [
        (request_locked, (), "slots_lock"),
        (replace, (), "slots_lock"),
        (replace, ("slots_arch_lock",), "slots_lock"),
        (swap, (), "slots_lock"),
        (swap, ("slots_lock",), "slots_arch_lock"),
        (swap, ("slots_arch_lock",), "slots_lock"),
        (copy_to_invalid, ("slots_lock",), "slots_arch_lock"),
    ],
)
async def test_a_step_without_its_lock_is_refused(
    pool: TaskPool, step: Step, held: tuple[str, ...], missing: str
) -> None:
    async def write(update: Update) -> None:
        for name in held:
            await getattr(update.vm, name).acquire()
        published = update.vm.active(0).peek()
        with pytest.raises(LockNotHeld, match=f"does not hold {missing}"):
            await step(update)
        assert update.vm.active(0).peek() is published

    await run_writer(pool, write, one_slot())


async def test_a_change_that_does_not_fit_its_slots_is_our_bug(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        async with update.vm.slots_lock:
            with pytest.raises(SimulatorBug, match="CREATE of <slot 1 #1"):
                await update.set_memslot(the_slot(update.vm), None, Change.CREATE)
            await update.vm.slots_arch_lock.release()

    await run_writer(pool, write, one_slot())
