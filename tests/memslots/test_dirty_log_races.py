"""No write is lost while user space copies guest memory; each step is needed.

The guest writes a page of a logged slot several times; user space gets the log, copies
what it names, and does so again once the guest has stopped. Then the copy must be equal
to the page.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from memslots.arch import PlainArch
from memslots.dirty_bitmap import DirtyBitmap, Words
from memslots.dirty_log import DirtyLog
from memslots.dirty_tracking import LoggedVm
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.units import Gfn
from memslots.update import Update
from memslots.vm import Vm
from rcu.errors import UseAfterFree
from rcu.locks import SpinLock
from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import region, the_slot
from tests.support.exploring import in_every_order
from tests.support.running import Run

GFN = Gfn(0x100)


class TinyMmu(PlainArch):
    """Page table and TLB of a guest that has one CPU and one page.

    Attributes:
        writable: Whether the page table lets it write.
        cached: Whether its TLB does.
        memory: What the page holds.
    """

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.lock = SpinLock(vm.scheduler, "mmu_lock")
        self.entry = Location("page-table entry")
        self.tlb = Location("TLB entry")
        self.page = Location("guest page")
        self.writable = False
        self.cached = False
        self.memory = 0

    async def mmu_lock(self) -> None:
        await self.lock.acquire()

    async def mmu_unlock(self) -> None:
        await self.lock.release()

    async def enable_log_dirty_pt_masked(
        self, slot: MemorySlot, gfn_offset: int, mask: int
    ) -> None:
        await self.vm.scheduler.point(self.entry.write)
        self.writable = False

    async def flush_remote_tlbs_memslot(self, slot: MemorySlot) -> None:
        await self.vm.scheduler.point(self.tlb.write)
        self.cached = False

    async def guest_writes(self, value: int) -> None:
        """Write through the TLB; fault first if it does not let through."""
        scheduler = self.vm.scheduler
        while True:
            await scheduler.point(self.tlb.write)
            if self.cached:
                self.memory = value  # the write and the look are one step of a CPU
                return
            await self.lock.acquire()
            await scheduler.point(self.entry.write)
            if not self.writable:
                slot = the_slot(self.vm)
                await self.vm.dirty_log.mark_page_dirty_in_slot(None, slot, GFN)
                self.writable = True
            await scheduler.point(self.tlb.write)
            self.cached = self.writable
            await self.lock.release()


@attrs.define
class Migration:
    """A VM and what user space has copied of it."""

    vm: Vm
    mmu: TinyMmu
    copy: int = 0
    guest_done: bool = False
    stopped: Location = attrs.field(factory=lambda: Location("guest stopped"))

    async def guest(self) -> None:
        for value in (1, 2, 3):
            await self.mmu.guest_writes(value)
        await self.vm.scheduler.point(self.stopped.write)
        self.guest_done = True

    async def round(self) -> None:
        for index, word in await self.vm.dirty_log.get_dirty_log(1):
            assert (index, word) == (0, 1)
            await self.vm.scheduler.point(self.mmu.page.read)
            self.copy = self.mmu.memory

    async def user_space(self) -> None:
        await self.round()
        await self.vm.scheduler.point(self.stopped.read, lambda: self.guest_done)
        await self.round()


class ManualMigration(Migration):
    """Gets, clears, and copies only then."""

    async def round(self) -> None:
        log = self.vm.dirty_log
        words = await log.get_dirty_log(1)
        if words:
            await log.clear_dirty_log(1, 0, 4, dict(words))
            await self.vm.scheduler.point(self.mmu.page.read)
            self.copy = self.mmu.memory


class CopyBeforeClear(Migration):
    """Copies first: what is written in between is cleared unseen."""

    async def round(self) -> None:
        log = self.vm.dirty_log
        words = await log.get_dirty_log(1)
        if words:
            await self.vm.scheduler.point(self.mmu.page.read)
            self.copy = self.mmu.memory
            await log.clear_dirty_log(1, 0, 4, dict(words))


async def lost(
    pool: TaskPool,
    log: Callable[[LoggedVm], DirtyLog] = DirtyLog,
    migration: Callable[[Vm, TinyMmu], Migration] = Migration,
    manual: int = 0,
    preemptions: int = 2,
) -> dict[str, int]:
    """How many orders end how."""

    def build(scheduler: Scheduler) -> Migration:
        vm = Vm(scheduler, arch=TinyMmu, dirty_log=log)
        vm.install([region(1, GFN, 4, LOG_DIRTY_PAGES)])
        vm.dirty_log.manual_protect = manual
        assert isinstance(vm.arch, TinyMmu)
        made = migration(vm, vm.arch)
        scheduler.task("guest", made.guest)
        scheduler.task("user", made.user_space)
        return made

    def judge(run: Run[Migration]) -> str:
        if run.report.error is not None:
            return type(run.report.error).__name__
        assert run.report.ending is Ending.COMPLETED, run.report
        assert run.made.mmu.memory == 3
        return "kept" if run.made.copy == 3 else "lost"

    return dict(await in_every_order(pool, build, judge, preemptions=preemptions))


class FlushNothing(DirtyLog):
    """Leaves the TLB as it is."""

    async def write_protect(self, slot: MemorySlot, index: int, mask: int) -> None:
        await super().write_protect(slot, index, mask)
        assert isinstance(self.vm.arch, TinyMmu)
        self.vm.arch.flush_remote_tlbs_memslot = flush_nothing  # type: ignore[method-assign]


async def flush_nothing(slot: MemorySlot) -> None:
    """Does not flush."""


class ProtectNothing(DirtyLog):
    """Takes bits and lets the guest write on."""

    async def write_protect(self, slot: MemorySlot, index: int, mask: int) -> None:
        pass


class ProtectFirst(DirtyLog):
    """Protects, unlocked, before it takes the bits."""

    async def first_dirty(self, bitmap: DirtyBitmap, index: int) -> int | None:
        found = await super().first_dirty(bitmap, index)
        if found is not None:
            await super().write_protect(the_slot(self.the_vm), found, 1)
            await self.the_vm.arch.mmu_unlock()
            await self.the_vm.arch.flush_remote_tlbs_memslot(the_slot(self.the_vm))
            await self.the_vm.arch.mmu_lock()
        return found

    async def write_protect(self, slot: MemorySlot, index: int, mask: int) -> None:
        pass

    @property
    def the_vm(self) -> Vm:
        assert isinstance(self.vm, Vm)
        return self.vm


class ClearAfterReturn(DirtyLog):
    """Returns what is set, and clears it once the caller has it."""

    async def get_dirty_log_protect(self, call: int, number: int) -> Words:
        slot = the_slot(self.the_vm)
        assert slot.dirty_bitmap is not None
        words = await self.read_bitmap(slot.dirty_bitmap)
        await self.the_vm.arch.mmu_lock()
        for index, word in words:
            await self.write_protect(slot, index, word)
        await self.the_vm.arch.mmu_unlock()
        await self.the_vm.arch.flush_remote_tlbs_memslot(slot)
        for index, word in words:
            await self.fetch_and_clear(call, slot, slot.dirty_bitmap, index, word)
        return words

    @property
    def the_vm(self) -> Vm:
        assert isinstance(self.vm, Vm)
        return self.vm


async def test_no_write_is_lost_in_any_order(pool: TaskPool) -> None:
    assert set(await lost(pool)) == {"kept"}


@pytest.mark.parametrize("manual", [1, 3])
async def test_nor_in_manual_mode(pool: TaskPool, manual: int) -> None:
    assert set(await lost(pool, migration=ManualMigration, manual=manual)) == {"kept"}


async def test_whoever_copies_before_the_clear_loses_writes(pool: TaskPool) -> None:
    verdicts = await lost(pool, migration=CopyBeforeClear, manual=1)
    assert set(verdicts) == {"kept", "lost"}


@pytest.mark.parametrize(
    ("log", "preemptions"),
    [
        (FlushNothing, 1),
        (ProtectNothing, 1),
        (ProtectFirst, 3),
        (ClearAfterReturn, 3),
    ],
)
async def test_every_step_of_a_get_is_needed(
    pool: TaskPool, log: Callable[[LoggedVm], DirtyLog], preemptions: int
) -> None:
    verdicts = await lost(pool, log, preemptions=preemptions)
    assert set(verdicts) == {"kept", "lost"}
    fewer = await lost(pool, log, preemptions=preemptions - 1)
    assert set(fewer) == {"kept"}


# A bitmap is freed only when nobody can mark a page in it.


class NoGracePeriod(Update):
    async def wait_for_readers(self) -> None:
        await self.vm.slots_arch_lock.release()


async def endings(pool: TaskPool, make: Callable[[Vm], Update]) -> set[str]:
    """How a reader marks a page while logging is switched off."""

    def build(scheduler: Scheduler) -> Vm:
        vm = Vm(scheduler)
        vm.install([region(1, GFN, 4, LOG_DIRTY_PAGES)])
        update = make(vm)

        async def read() -> None:
            async with vm.srcu.reading():
                active = await vm.active(0).dereference()
                await scheduler.point(active.lookup)
                slot = active.id_to_memslot(1)
                assert slot is not None
                await vm.dirty_log.mark_page_dirty_in_slot(None, slot, GFN)

        async def write() -> None:
            await update.set_memory_region(region(1, GFN, 4))

        scheduler.task("reader", read)
        scheduler.task("writer", write)
        return vm

    def judge(run: Run[Vm]) -> str:
        error = run.report.error
        return run.report.ending.value if error is None else type(error).__name__

    return set(await in_every_order(pool, build, judge, preemptions=2))


async def test_a_bitmap_outlives_those_who_mark_pages_in_it(pool: TaskPool) -> None:
    assert await endings(pool, Update) == {Ending.COMPLETED.value}
    broken = await endings(pool, NoGracePeriod)
    assert broken == {Ending.COMPLETED.value, UseAfterFree.__name__}
