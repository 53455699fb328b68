"""What a fault finds, what it maps, and in which order it looks."""

from __future__ import annotations

import errno

import pytest

from memslots.errors import MemoryRegionError
from memslots.slot import INVALID, LOG_DIRTY_PAGES, READONLY
from memslots.tracepoints import PageMarkedDirty
from memslots.units import PAGE_SIZE, Gfn, Gpa, Hva
from rcu.reclaim import reclaim
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from tests.support.exploring import in_every_order
from tests.support.running import Run
from tests.vcpus.world import (
    HVA,
    Kind,
    World,
    deletion,
    fault,
    gpa,
    guest,
    region,
    run_alone,
    run_world,
)
from vcpus.host_memory import HostPage
from vcpus.page_fault import Fault, FaultingVcpu, Outcome, PageFaults
from vcpus.page_tables import MmioSpte, Root, Spte
from vcpus.tracepoints import PageFaulted, SpteInstalled
from vcpus.vcpu import Vcpu
from vcpus.vcpu_requests import Mode

RAM = region(1, 0x10, 4)
ROM = region(2, 0x20, 4, READONLY)
GOING = region(3, 0x30, 4, INVALID)
GOING_ROM = region(4, 0x40, 4, INVALID | READONLY)
LOGGED = region(5, 0x50, 4, LOG_DIRTY_PAGES, Hva(HVA + 0x10000))
LOGGED_ROM = region(6, 0x60, 4, LOG_DIRTY_PAGES | READONLY)
ALL = (RAM, ROM, GOING, GOING_ROM, LOGGED, LOGGED_ROM)

READ, WRITE = False, True


def installed(run: Run[World]) -> list[tuple[int, int, int, bool]]:
    """Page, slot, host page from the first on, and whether writable."""
    return [
        (event.gfn, event.slot, (event.hva - HVA) // PAGE_SIZE, event.writable)
        for _, _, event in run.records
        if isinstance(event, SpteInstalled)
    ]


def marked(run: Run[World]) -> list[int]:
    """Pages marked dirty, by their place in their slot."""
    return [
        event.offset
        for _, _, event in run.records
        if isinstance(event, PageMarkedDirty)
    ]


def root_of(vcpu: Vcpu) -> Root:
    assert vcpu.root is not None
    return vcpu.root


# What becomes of it.


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("gfn", "write", "outcome", "maps"),
    [
        # Whatever may be written is mapped writable, also for a read.
        (0x10, READ, Outcome.FIXED, [(0x10, 1, 0, True)]),
        (0x13, WRITE, Outcome.FIXED, [(0x13, 1, 3, True)]),
        (0x20, READ, Outcome.FIXED, [(0x20, 2, 0, False)]),
        (0x20, WRITE, Outcome.MMIO, []),
        (0x14, READ, Outcome.MMIO, []),
        (0x14, WRITE, Outcome.MMIO, []),
        (0x30, READ, Outcome.RETRY, []),
        (0x30, WRITE, Outcome.RETRY, []),
        (0x40, WRITE, Outcome.RETRY, []),
        (0x51, READ, Outcome.FIXED, [(0x51, 5, 17, True)]),
    ],
)
async def test_a_fault_maps_a_page_or_says_why_not(
    pool: TaskPool,
    gfn: int,
    outcome: Outcome,
    maps: list[tuple[int, int, int, bool]],
    *,
    write: bool,
    nested: bool,
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu(nested=nested)
        assert await fault(world, vcpu, gfn, write=write) is outcome
        # Only what has no slot is noted as such.
        noted = isinstance(root_of(vcpu).entries.get(Gfn(gfn)), MmioSpte)
        assert noted is (gfn == 0x14)

    run = await run_alone(pool, body, *ALL)
    assert installed(run) == maps
    told = [event for _, _, event in run.records if isinstance(event, PageFaulted)]
    assert [(each.gpa, each.write, each.outcome) for each in told] == [
        (gpa(gfn), write, outcome.value)
    ]


async def test_a_guest_reads_what_was_written_to_its_page(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        assert not await guest(vcpu, 0x11, write=True)
        await fault(world, vcpu, 0x11, write=True)
        assert await guest(vcpu, 0x11, write=True)
        assert await world.host.read(Hva(HVA + PAGE_SIZE)) == 1

    await run_alone(pool, body, *ALL)


# The order of its steps.

FAULT = """
read memslots[0]
read generation of set 0 of address space 0
look up in set 0 of address space 0, slot memory
read mmu_invalidate_seq
read slot memory
read host page 0x7f0000000000
acquire mmu_lock
read mmu_invalidate_seq
read slot memory
write spte of gfn 0x10 in root 0
release mmu_lock
"""

MMIO_FAULT = """
read memslots[0]
read generation of set 0 of address space 0
look up in set 0 of address space 0, slot memory
read mmu_invalidate_seq
read memslots[0]
read generation of set 0 of address space 0
acquire mmu_lock
read mmu_invalidate_seq
read memslots[0]
read generation of set 0 of address space 0
write spte of gfn 0x14 in root 0
release mmu_lock
"""

LOGGED_FAULT = """
acquire mmu_lock
read mmu_invalidate_seq
read slot memory
read slot memory
write dirty bitmap
write spte of gfn 0x50 in root 0
release mmu_lock
"""

FAST_FAULT = """
read memslots[0]
read generation of set 0 of address space 0
read slot memory
read slot memory
write mode of vcpu0
read spte of gfn 0x50 in root 0
write spte of gfn 0x50 in root 0
read slot memory
write dirty bitmap
write mode of vcpu0
"""


@pytest.mark.parametrize(
    ("gfn", "steps"), [(0x10, FAULT), (0x14, MMIO_FAULT), (0x50, LOGGED_FAULT)]
)
async def test_a_fault_looks_resolves_asks_again_and_maps(
    pool: TaskPool, gfn: int, steps: str
) -> None:
    async def body(world: World) -> None:
        await fault(world, world.vcpu(), gfn)

    run = await run_alone(pool, body, *ALL)
    assert steps in "\n".join(step.removeprefix("alone: ") for step in run.steps)


async def test_a_fast_fault_takes_no_lock(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        await fault(world, vcpu, 0x50)
        await world.mmu.write_protect_entry(root_of(vcpu), Gfn(0x50))
        assert await fault(world, vcpu, 0x50, write=True) is Outcome.FIXED

    run = await run_alone(pool, body, *ALL)
    assert FAST_FAULT in "\n".join(step.removeprefix("alone: ") for step in run.steps)


# Dirty pages.


@pytest.mark.parametrize("write", [READ, WRITE])
@pytest.mark.parametrize(("gfn", "marks"), [(0x10, []), (0x52, [2])])
async def test_a_page_is_dirty_as_soon_as_the_guest_may_write(
    pool: TaskPool, gfn: int, marks: list[int], *, write: bool
) -> None:
    async def body(world: World) -> None:
        await fault(world, world.vcpu(), gfn, write=write)

    assert marked(await run_alone(pool, body, *ALL)) == marks


async def test_a_page_that_nobody_may_write_is_not_dirty(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        assert await fault(world, vcpu, 0x60) is Outcome.FIXED
        assert await fault(world, vcpu, 0x60, write=True) is Outcome.MMIO

    assert marked(await run_alone(pool, body, *ALL)) == []


@pytest.mark.parametrize(
    ("nested", "fast"), [(False, True), (True, False)], ids=["direct", "nested"]
)
async def test_a_write_to_a_protected_page_marks_it_anew(
    pool: TaskPool, *, nested: bool, fast: bool
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu(nested=nested)
        root = None
        for _ in range(2):
            assert await fault(world, vcpu, 0x51, write=True) is Outcome.FIXED
            assert await guest(vcpu, 0x51, write=True)
            root = root_of(vcpu)
            assert await world.mmu.write_protect_entry(root, Gfn(0x51))
            vcpu.tlb.clear()
            assert await guest(vcpu, 0x51)
            assert not await guest(vcpu, 0x51, write=True)

    run = await run_alone(pool, body, *ALL)
    assert marked(run) == [1, 1]
    assert installed(run) == [(0x51, 5, 17, True)] * 2
    assert ("alone: write mode of vcpu0" in run.steps) is fast


async def test_a_fault_that_somebody_else_has_fixed_marks_nothing(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        for _ in range(2):
            assert await fault(world, vcpu, 0x51, write=True) is Outcome.FIXED

    run = await run_alone(pool, body, *ALL)
    assert marked(run) == [1]
    assert len(installed(run)) == 1


# The fast path.


async def test_the_fast_path_does_not_ask_whether_slot_or_root_are_on_their_way_out(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        await fault(world, vcpu, 0x50)
        root = root_of(vcpu)
        await world.mmu.write_protect_entry(root, Gfn(0x50))
        slot = world.vm.active(0).peek().id_to_memslot(5)
        assert slot is not None
        slot.flags |= INVALID
        root.invalid = True
        assert await fault(world, vcpu, 0x50, write=True) is Outcome.FIXED
        assert await fault(world, vcpu, 0x51, write=True) is Outcome.RETRY

    assert marked(await run_alone(pool, body, *ALL)) == [0, 0]


async def test_a_note_that_a_page_has_no_slot_is_not_made_writable(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        await fault(world, vcpu, 0x14)
        await world.update.set_memory_region(region(7, 0x14, 1))
        assert await fault(world, vcpu, 0x14, write=True) is Outcome.FIXED

    run = await run_alone(pool, body, *ALL)
    assert [gfn for gfn, *_ in installed(run)] == [0x14]
    assert "acquire mmu_lock" in " ".join(run.steps)


async def test_the_fast_path_never_brings_an_entry_back(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind(), RAM)
        vcpu = world.vcpu()
        (root,) = world.mmu.roots = [Root(0, 0, 0, shadow=False)]
        page = HostPage(HVA, 0, world.host.location(HVA))
        root.entries[Gfn(0x10)] = Spte(1, page, writable=False)
        vcpu.root = root
        slot = world.vm.active(0).peek().id_to_memslot(1)

        async def write() -> None:
            found = Fault(Gfn(0x10), write=True, slot=slot)
            vcpu.made = int(await world.faults.fast_page_fault(vcpu, found))

        async def free() -> None:
            await world.mmu.zap(root, Gfn(0x10))
            await world.mmu.flush_remote_tlbs()
            assert vcpu.mode is Mode.OUTSIDE_GUEST_MODE
            await scheduler.point(page.location.write)
            reclaim(scheduler, page, "page")

        scheduler.task("vcpu0", write)
        scheduler.task("host", free)
        return world

    def verdict(run: Run[World]) -> str:
        assert run.report.ending is Ending.COMPLETED, run.report
        (root,) = run.made.mmu.roots
        assert root.entries == {}
        waited = "host: wait for exit of mode of vcpu0" in run.steps
        how = "fixed" if run.made.vcpus[0].made else "too late"
        return f"{how}, waited" if waited else how

    assert await in_every_order(pool, build, verdict) == {
        "fixed": 6,
        "fixed, waited": 4,
        "too late": 32,
        "too late, waited": 18,
    }


# Prefault.


async def prefault(world: World, vcpu: Vcpu, gfn: int) -> Outcome | int:
    """What it answers: an outcome, or an errno."""
    await vcpu.srcu_read_lock()
    if vcpu.root is None:
        await vcpu.load_root()
    answer: Outcome | int
    try:
        answer = await world.faults.prefault(vcpu, gpa(gfn))
    except MemoryRegionError as refused:
        answer = refused.errno
    await vcpu.srcu_read_unlock()
    return answer


@pytest.mark.parametrize(
    ("gfn", "answer"),
    [
        (0x10, Outcome.FIXED),
        (0x20, Outcome.FIXED),
        (0x14, Outcome.MMIO),
        (0x30, errno.EAGAIN),
        (0x40, errno.EAGAIN),
    ],
)
async def test_a_page_can_be_mapped_before_it_is_touched(
    pool: TaskPool, gfn: int, answer: Outcome | int
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        assert await prefault(world, vcpu, gfn) == answer
        assert await guest(vcpu, gfn) is (answer is Outcome.FIXED)

    await run_alone(pool, body, *ALL)


async def test_a_prefault_finds_another_root_itself(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        assert await prefault(world, vcpu, 0x10) is Outcome.FIXED
        assert await guest(vcpu, 0x10)
        async with world.vm.slots_lock:
            await world.mmu.zap_all_fast()
        assert await prefault(world, vcpu, 0x11) is Outcome.FIXED
        # What the processor remembers of the old root is gone with it.
        assert list(vcpu.tlb) == []
        assert root_of(vcpu) is world.mmu.roots[0]
        assert root_of(vcpu).number == 1

    await run_alone(pool, body, *ALL)


class RetriesForEver(PageFaults):
    """Takes a slot that is being deleted for one that will soon be there."""

    async def prefault(self, vcpu: FaultingVcpu, gpa: Gpa) -> Outcome:
        outcome = Outcome.RETRY
        while outcome is Outcome.RETRY:
            outcome = await self.handle(vcpu, gpa, write=False)
        return outcome


@pytest.mark.parametrize(
    ("faults", "ending"),
    [(PageFaults, Ending.COMPLETED), (RetriesForEver, Ending.BUDGET)],
)
async def test_a_prefault_does_not_wait_for_the_writer_who_waits_for_it(
    pool: TaskPool, faults: type[PageFaults], ending: Ending
) -> None:
    """The vCPU enters its section when the INVALID slot is there, and stays in it."""

    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()

        async def touch() -> None:
            await scheduler.point(world.vm.active(0).location.read, is_going)
            answers.append(await prefault(world, vcpu, 0x10))

        async def write() -> None:
            await world.update.set_memory_region(deletion())

        def is_going() -> bool:
            slot = world.vm.active(0).peek().id_to_memslot(1)
            return slot is not None and bool(slot.flags & INVALID)

        scheduler.task("vcpu0", touch)
        scheduler.task("writer", write)

    answers: list[Outcome | int] = []
    run = await run_world(pool, populate, RAM, faults=faults, budget=3_000)
    assert run.report.ending is ending
    assert answers == ([errno.EAGAIN] if ending is Ending.COMPLETED else [])
