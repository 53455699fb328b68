"""Every write of the guest is in the log when somebody has asked for it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from memslots.dirty_log import DirtyLog
from memslots.dirty_tracking import INITIALLY_SET, MANUAL_PROTECT_ENABLE
from memslots.slot import LOG_DIRTY_PAGES, READONLY, MemorySlot
from memslots.units import Gfn
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from tests.support.exploring import in_every_order
from tests.support.running import Run
from tests.vcpus.world import (
    HVA,
    Kind,
    World,
    fault,
    gfns,
    gpa,
    guest,
    region,
    run_alone,
)
from vcpus.lpage_info import OutsideArray
from vcpus.mmu_lock import Request
from vcpus.page_fault import FaultingVcpu, PageFaults
from vcpus.page_tables import Spte
from vcpus.shadow_mmu import ShadowMmu
from vcpus.vcpu import Access, AccessKind, Vcpu
from vcpus.vcpu_requests import Mode

OFF, ON = region(1, 0x10, 4), region(1, 0x10, 4, LOG_DIRTY_PAGES)
ROM_OFF = region(1, 0x10, 4, READONLY)
ROM_ON = region(1, 0x10, 4, READONLY | LOG_DIRTY_PAGES)
BOTH = MANUAL_PROTECT_ENABLE | INITIALLY_SET


def slot_of(world: World) -> MemorySlot:
    slot = world.vm.active(0).peek().id_to_memslot(1)
    assert slot is not None
    return slot


def dirty(world: World) -> int:
    """The first word of the bitmap."""
    bitmap = slot_of(world).dirty_bitmap
    assert bitmap is not None
    return bitmap.word(0)


async def test_only_pages_of_the_slot_can_be_protected(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        protect = world.arch.enable_log_dirty_pt_masked
        await protect(slot_of(world), 0, 0b1111)
        with pytest.raises(OutsideArray, match="page 0x4 of <slot 1 "):
            await protect(slot_of(world), 0, 0b10000)
        with pytest.raises(OutsideArray, match="page 0xffffffffffffffff of <slot 1 "):
            await protect(slot_of(world), (1 << 64) - 1, 1)

    await run_alone(pool, body, ON)


# Switching it on.


@pytest.mark.parametrize("nested", [False, True])
async def test_a_page_that_was_writable_is_protected_when_logging_begins(
    pool: TaskPool, *, nested: bool
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu(nested=nested)
        await fault(world, vcpu, 0x11)
        assert await guest(vcpu, 0x11, write=True)
        await world.update.set_memory_region(ON)
        assert dirty(world) == 0
        assert vcpu.requests == Request.TLB_FLUSH
        await vcpu.handle_requests()
        assert await guest(vcpu, 0x11)
        assert not await guest(vcpu, 0x11, write=True)
        await fault(world, vcpu, 0x11, write=True)
        assert await guest(vcpu, 0x11, write=True)
        assert dirty(world) == 0b10

    await run_alone(pool, body, OFF)


@pytest.mark.parametrize(
    ("before", "after", "manual", "protects", "flushes"),
    [
        (OFF, ON, 0, True, True),
        (OFF, ON, MANUAL_PROTECT_ENABLE, True, True),
        # All pages count as dirty anyway.
        (OFF, ON, BOTH, False, False),
        (ON, OFF, 0, False, False),
        # Nobody can write; there is nothing to protect.
        (ROM_OFF, ROM_ON, 0, False, False),
        (ROM_ON, ROM_OFF, 0, False, False),
    ],
)
async def test_who_is_protected_and_flushed(
    pool: TaskPool,
    before: object,
    after: object,
    manual: int,
    *,
    protects: bool,
    flushes: bool,
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        await fault(world, vcpu, 0x10)
        assert vcpu.root is not None
        (entry,) = vcpu.root.entries.values()
        await world.update.set_memory_region(after)  # type: ignore[arg-type]
        assert (list(vcpu.root.entries.values()) != [entry]) is protects
        assert vcpu.requests == (Request.TLB_FLUSH if flushes else Request(0))

    await run_alone(pool, body, before, manual=manual)  # type: ignore[arg-type]


class NeverFlushes(ShadowMmu):
    """Leaves in TLBs what was writable."""

    async def flush_remote_tlbs(self) -> None:
        pass


@pytest.mark.parametrize(("mmu", "unseen"), [(ShadowMmu, False), (NeverFlushes, True)])
async def test_tlbs_are_flushed_even_if_nothing_was_left_to_protect(
    pool: TaskPool, mmu: type[ShadowMmu], *, unseen: bool
) -> None:
    """Somebody else may have protected it, and not have flushed yet."""

    async def body(world: World) -> None:
        vcpu = world.vcpu()
        await fault(world, vcpu, 0x10)
        assert await guest(vcpu, 0x10, write=True)
        await world.mmu.write_protect(slot_of(world), *gfns(0x10, 0x14))
        assert await guest(vcpu, 0x10, write=True)
        await world.update.set_memory_region(ON)
        await vcpu.handle_requests()
        assert await guest(vcpu, 0x10, write=True) is unseen
        assert dirty(world) == 0

    await run_alone(pool, body, OFF, mmu=mmu)


async def test_pages_count_as_dirty_from_the_start_if_user_space_wants_that(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        await fault(world, vcpu, 0x10)
        await world.update.set_memory_region(ON)
        assert dirty(world) == 0b1111
        # What is cleared is protected then, and not before.
        assert await guest(vcpu, 0x10, write=True)
        words = await world.vm.dirty_log.clear_dirty_log(1, 0, 4, {0: 0b1})
        assert words == ((0, 0b1),)
        await vcpu.handle_requests()
        assert not await guest(vcpu, 0x10, write=True)

    await run_alone(pool, body, OFF, manual=BOTH)


# Asking for it, while the guest writes.


class ReturnsFirst(DirtyLog):
    """Takes the bits and leaves the pages writable."""

    async def write_protect(self, slot: MemorySlot, index: int, mask: int) -> None:
        pass


class WritesUnmarked(PageFaults):
    """Makes a page writable without lock, and forgets to mark it."""

    async def mark_page_dirty(
        self, vcpu: FaultingVcpu, slot: MemorySlot, gfn: Gfn
    ) -> None:
        assert isinstance(vcpu, Vcpu)
        if vcpu.mode is Mode.OUTSIDE_GUEST_MODE:
            await super().mark_page_dirty(vcpu, slot, gfn)


async def write_while_user_space_asks(
    pool: TaskPool, preemptions: int, **kind: Any
) -> Counter[str]:
    """The guest writes to a page twice while user space asks whether it is dirty.

    User space copies the page if it is told to. In the end it has what the page holds,
    or will be told to copy it again.
    """

    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind(**kind), ON)
        vcpu = world.vcpu()
        vcpu.root = world.mmu._valid_root(0, shadow=False)
        page = world.host._page(HVA)
        vcpu.root.entries[Gfn(0x10)] = Spte(1, page, writable=True)
        bitmap = slot_of(world).dirty_bitmap
        assert bitmap is not None
        bitmap.set_bit(0)
        copy.value = 0
        writes = [Access(AccessKind.WRITE, gpa(0x10), value=each) for each in (7, 8)]

        async def write() -> None:
            await vcpu.run(writes, len(writes))

        async def ask() -> None:
            if await world.vm.dirty_log.get_dirty_log(1):
                copy.value = await world.host.read(HVA)

        scheduler.task("vcpu0", write)
        scheduler.task("user", ask)
        return world

    def verdict(run: Run[World]) -> str:
        assert run.report.ending is Ending.COMPLETED, run.report
        if dirty(run.made):
            return "will be told"
        return "copied" if run.made.host._page(HVA).value == copy.value else "lost"

    copy = SimpleNamespace(value=0)
    return await in_every_order(pool, build, verdict, preemptions=preemptions)


@pytest.mark.slow
async def test_no_write_is_lost_while_user_space_asks(pool: TaskPool) -> None:
    seen = await write_while_user_space_asks(pool, 2)
    assert seen == {"copied": 241, "will be told": 475}


@pytest.mark.parametrize(
    ("part", "counts"),
    [
        ({"mmu": NeverFlushes}, {"lost": 3, "copied": 15, "will be told": 11}),
        ({"dirty_log": ReturnsFirst}, {"lost": 4, "copied": 26}),
        ({"faults": WritesUnmarked}, {"lost": 4, "copied": 27}),
    ],
)
async def test_no_step_of_asking_can_be_left_out(
    pool: TaskPool, part: dict[str, Any], counts: dict[str, int]
) -> None:
    assert await write_while_user_space_asks(pool, 1, **part) == counts
