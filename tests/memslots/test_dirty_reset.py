"""Rings of several vCPUs, and what a reset makes of what user space left in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import pytest

from memslots.arch import PlainArch
from memslots.dirty_log import DirtyLog
from memslots.dirty_ring import ResetBatch
from memslots.dirty_tracking import Capability, LoggedVm
from memslots.errors import DirtyRingOverflow
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.tracepoints import DirtyRingCollected, DirtyRingReset, PageMarkedDirty
from memslots.units import Gfn
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import answer, deletion, region, run_writer, the_slot
from tests.support.running import Run

TOP = 1 << 64
PAGES = 100


@attrs.frozen
class Cpu:
    """A vCPU, as far as its ring goes."""

    index: int


class Protecting(PlainArch):
    """Keeps what it was asked to protect and to flush."""

    def __init__(self, vm: Vm) -> None:
        self.done: list[object] = []

    async def enable_log_dirty_pt_masked(
        self, slot: MemorySlot, gfn_offset: int, mask: int
    ) -> None:
        self.done.append((slot.id, gfn_offset, mask))

    async def flush_remote_tlbs_memslot(self, slot: MemorySlot) -> None:
        self.done.append(f"flush {slot.id}")


def done_by(vm: Vm) -> list[object]:
    assert isinstance(vm.arch, Protecting)
    return vm.arch.done


Body = Callable[[Update], Awaitable[None]]


async def with_rings(
    pool: TaskPool,
    body: Body,
    *,
    size: int = 4096,
    log: Callable[[LoggedVm], DirtyLog] = DirtyLog,
) -> Run[Update]:
    """A VM with two vCPUs and their rings, and two slots that are logged."""

    def build(scheduler: Scheduler) -> Update:
        vm = Vm(scheduler, arch=Protecting, dirty_log=log)
        return Update(vm)

    async def write(update: Update) -> None:
        vm = update.vm
        await vm.dirty_log.enable_cap(Capability.DIRTY_LOG_RING, 0, size)
        vm.install(
            [
                region(1, 0x100, PAGES, LOG_DIRTY_PAGES),
                region(2, 0x200, PAGES, LOG_DIRTY_PAGES),
            ]
        )
        for index in range(2):
            assert vm.dirty_log.vcpu_created(index) is vm.dirty_log.rings[index]
        await body(update)

    return await run_writer(pool, write, build)


async def dirty(vm: Vm, cpu: int, slot: int, *offsets: int) -> None:
    for offset in offsets:
        gfn = Gfn(the_slot(vm, slot).base_gfn + offset)
        await vm.dirty_log.mark_page_dirty_in_slot(Cpu(cpu), the_slot(vm, slot), gfn)


async def test_each_vcpu_fills_its_own_ring(pool: TaskPool) -> None:
    async def body(update: Update) -> None:
        log = update.vm.dirty_log
        await dirty(update.vm, 0, 1, 5)
        await dirty(update.vm, 1, 2, 6)
        assert await log.collect_dirty_ring(0) == [(1, 5)]
        assert await log.collect_dirty_ring(1) == [(2, 6)]

    run = await with_rings(pool, body)
    assert [
        attrs.astuple(record.event)
        for record in run.records
        if isinstance(record.event, PageMarkedDirty)
    ] == [(0, 1, 1, 5, "ring"), (0, 2, 2, 6, "ring")]
    assert [
        attrs.astuple(record.event)
        for record in run.records
        if isinstance(record.event, DirtyRingCollected)
    ] == [(0, ((1, 5),)), (1, ((2, 6),))]


@pytest.mark.parametrize(("size", "entries"), [(4096, 256), (1 << 20, 65536)])
async def test_a_ring_has_an_entry_for_16_bytes(
    pool: TaskPool, size: int, entries: int
) -> None:
    async def body(update: Update) -> None:
        ring = update.vm.dirty_log.rings[0]
        assert (ring.size, ring.soft_limit) == (entries, entries - 64)

    await with_rings(pool, body, size=size)


async def test_a_write_without_a_vcpu_finds_no_place(pool: TaskPool) -> None:
    async def body(update: Update) -> None:
        vm = update.vm
        slot = the_slot(vm)
        await vm.dirty_log.mark_page_dirty_in_slot(None, slot, slot.base_gfn)
        assert [ring.used for ring in vm.dirty_log.rings.values()] == [0, 0]

    run = await with_rings(pool, body)
    assert not any(isinstance(each.event, PageMarkedDirty) for each in run.records)


async def test_a_full_ring_is_a_finding(pool: TaskPool) -> None:
    async def body(update: Update) -> None:
        for count in range(256):
            assert update.vm.dirty_log.rings[0].is_soft_full is (count >= 192)
            await dirty(update.vm, 0, 1, count % PAGES)
        with pytest.raises(DirtyRingOverflow):
            await dirty(update.vm, 0, 1, 0)

    await with_rings(pool, body)


async def test_collected_pages_are_protected_together(pool: TaskPool) -> None:
    async def body(update: Update) -> None:
        log = update.vm.dirty_log
        await dirty(update.vm, 0, 1, 3, 5, 4, 70)
        await dirty(update.vm, 0, 2, 71)
        await dirty(update.vm, 1, 1, 99)
        assert await log.reset_dirty_rings() == 0
        await log.collect_dirty_ring(0)
        assert await log.reset_dirty_rings() == 5
        await log.collect_dirty_ring(1)
        assert await log.reset_dirty_rings() == 1
        assert await log.reset_dirty_rings() == 0

    assert done_by((await with_rings(pool, body)).made.vm) == [
        *[(1, 3, 0b111), (1, 70, 1), (2, 71, 1), "flush 1", "flush 2"],
        *[(1, 99, 1), "flush 1"],
    ]


@pytest.mark.parametrize(
    ("slot", "offset"),
    [
        (1, PAGES),
        (1, 1 << 40),
        (1, TOP - 1),
        (1, TOP - 64),
        (7, 0),
        (1 << 16 | 1, 0),
        (32764, 0),
        (0xFFFF_FFFF, 0),
    ],
)
async def test_entries_that_name_no_page_are_ignored(
    pool: TaskPool, slot: int, offset: int
) -> None:
    async def body(update: Update) -> None:
        log = update.vm.dirty_log
        await dirty(update.vm, 0, 1, 0)
        await log.collect_dirty_ring(0)
        entry = log.rings[0].entry(0)
        entry.slot, entry.offset = slot, offset
        assert await log.reset_dirty_rings() == 1

    run = await with_rings(pool, body)
    assert done_by(run.made.vm) == []
    told = [e.event for e in run.records if isinstance(e.event, DirtyRingReset)]
    assert [attrs.astuple(event) for event in told] == [
        (1, slot >> 16, slot & 0xFFFF, offset, 1, False)
    ]


async def test_user_space_may_make_entries_up(pool: TaskPool) -> None:
    async def body(update: Update) -> None:
        log = update.vm.dirty_log
        await dirty(update.vm, 0, 1, 7)
        await log.collect_dirty_ring(0)
        await log.forge_dirty_entry(0, 5)
        assert await log.reset_dirty_rings() == 2

    run = await with_rings(pool, body)
    assert done_by(run.made.vm) == [(1, 7, 1), "flush 1"]
    told = [e.event for e in run.records if isinstance(e.event, DirtyRingReset)]
    assert [(event.slot, event.offset) for event in told] == [(1, 7), (0, 5)]


async def test_one_page_behind_the_end_spoils_its_batch(pool: TaskPool) -> None:
    async def body(update: Update) -> None:
        log = update.vm.dirty_log
        await dirty(update.vm, 0, 1, 98, 99)
        await log.collect_dirty_ring(0)
        log.rings[0].entry(0).offset = 100
        assert await log.reset_dirty_rings() == 2

    assert done_by((await with_rings(pool, body)).made.vm) == []


async def test_a_slot_may_be_gone_or_another_by_the_time_of_the_reset(
    pool: TaskPool,
) -> None:
    async def body(update: Update) -> None:
        log = update.vm.dirty_log
        await dirty(update.vm, 0, 1, 2, 60)
        await dirty(update.vm, 0, 2, 9)
        await log.collect_dirty_ring(0)
        await answer(update, deletion(2))
        await answer(update, deletion(1))
        await answer(update, region(1, 0x500, 61, LOG_DIRTY_PAGES))
        assert await log.reset_dirty_rings() == 3

    assert done_by((await with_rings(pool, body)).made.vm) == [
        (1, 2, 1 << 58 | 1),
        "flush 1",
    ]


class WrappingCheck(DirtyLog):
    """Adds in 64 bits, as the kernel did before the check was mended."""

    def is_inside(self, slot: MemorySlot, batch: ResetBatch) -> bool:
        last = (batch.offset + batch.mask.bit_length() - 1) % TOP
        return last < slot.npages


async def test_a_check_that_wraps_protects_pages_that_do_not_exist(
    pool: TaskPool,
) -> None:
    async def body(update: Update) -> None:
        log = update.vm.dirty_log
        await dirty(update.vm, 0, 1, 0, 5)
        await log.collect_dirty_ring(0)
        log.rings[0].entry(0).offset = TOP - 2
        await log.reset_dirty_rings()

    wrapped = await with_rings(pool, body, log=WrappingCheck)
    assert done_by(wrapped.made.vm) == [(1, TOP - 2, 1 << 7 | 1), "flush 1"]
    assert done_by((await with_rings(pool, body)).made.vm) == []
