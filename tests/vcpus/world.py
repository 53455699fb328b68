"""A VM with readers to try, and what they told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from memslots.dirty_log import DirtyLog
from memslots.dirty_ring import ENTRY_BYTES
from memslots.region import Region
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gfn, Gpa, Hva
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Strategy
from scenarios.strategies.round_robin import RoundRobin
from tests.support.running import Run, run_controlled
from vcpus.arch_x86 import ArchX86
from vcpus.guest_memory import GuestMemory
from vcpus.host_memory import HostMemory
from vcpus.lookup import Granularity, SlotLookup
from vcpus.mmio_cache import MMIO_SPTE_GEN_BITS, MmioCache
from vcpus.mmu_notifier import MmuNotifier
from vcpus.page_fault import Outcome, PageFaults
from vcpus.shadow_mmu import ShadowMmu
from vcpus.shadow_roots import ShadowRoots
from vcpus.tracepoints import GuestMemoryAccessed, SlotLookedUp
from vcpus.vcpu import Access, AccessKind, Vcpu

HVA = Hva(0x7F00_0000_0000)


def region(
    slot: int = 1, gfn: int = 0x10, npages: int = 4, flags: int = 0, hva: Hva = HVA
) -> Region:
    """A request in pages."""
    return Region(
        slot=slot,
        flags=flags,
        guest_phys_addr=Gpa(gfn << PAGE_SHIFT),
        memory_size=npages * PAGE_SIZE,
        userspace_addr=hva,
    )


def deletion(slot: int = 1) -> Region:
    """A request to delete a slot."""
    return region(slot, gfn=0, npages=0, hva=Hva(0))


def gpa(gfn: int, offset: int = 0) -> Gpa:
    """An address in a page."""
    return Gpa((gfn << PAGE_SHIFT) + offset)


def access(kind: AccessKind, gfn: int) -> Access:
    return Access(kind, gpa(gfn))


@attrs.define(eq=False)
class Looker:
    """A vCPU as far as lookups go."""

    index: int = 0
    as_id: int = 0
    last_used_slot: Any = None
    last_used_slot_gen: int = 0


@attrs.define(kw_only=True)
class Kind:
    """What a world is like, and of which classes it is built.

    Attributes:
        ring_entries: Entries of each vCPU's dirty ring; 0 for bitmaps.
        manual: Mode of manual dirty-log protection.
        bits: Bits of the generation that an MMIO entry keeps.
        max_pages: Pages that shadow page tables may take.
    """

    address_spaces: int = 1
    granularity: Granularity = Granularity.OPERATION
    zap_all: bool = True
    ring_entries: int = 0
    manual: int = 0
    bits: int = MMIO_SPTE_GEN_BITS
    max_pages: int | None = None
    update: Callable[[Vm], Update] = Update
    dirty_log: Callable[[Vm], DirtyLog] = DirtyLog
    mmu: Callable[[Vm, ShadowRoots], ShadowMmu] = ShadowMmu
    mmio: Callable[[Vm, int], MmioCache] = MmioCache
    faults: Callable[..., PageFaults] = PageFaults
    notifier: Callable[[Vm, ShadowMmu, HostMemory], MmuNotifier] = MmuNotifier


class World:
    """A VM, who changes it and who reads it.

    Args:
        scheduler: Whose tasks they are.
        kind: What the VM is like.
        regions: The slots that it has.
    """

    def __init__(self, scheduler: Scheduler, kind: Kind, *regions: Region) -> None:
        self._kind = kind
        self.vm = Vm(
            scheduler,
            arch=self._arch,
            address_space_count=kind.address_spaces,
            dirty_log=kind.dirty_log,
        )
        self.vm.dirty_log.ring_bytes = kind.ring_entries * ENTRY_BYTES
        self.vm.dirty_log.manual_protect = kind.manual
        self.vm.install(regions)
        self.update = kind.update(self.vm)
        self.lookup = SlotLookup(self.vm, kind.granularity)
        self.host = HostMemory(scheduler)
        self.memory = GuestMemory(self.vm, self.lookup, self.host)
        self.faults = kind.faults(self.vm, self.lookup, self.host, self.mmu, self.mmio)
        self.notifier = kind.notifier(self.vm, self.mmu, self.host)
        self.vcpus: list[Vcpu] = []

    def _arch(self, vm: Vm) -> ArchX86:
        roots = ShadowRoots(vm)
        self.mmu = self._kind.mmu(vm, roots)
        self.mmu.max_pages = self._kind.max_pages
        self.mmio = self._kind.mmio(vm, self._kind.bits)
        return ArchX86(
            vm,
            shadow_roots=roots,
            mmu=self.mmu,
            mmio=self.mmio,
            zap_all=self._kind.zap_all,
        )

    @property
    def arch(self) -> ArchX86:
        assert isinstance(self.vm.arch, ArchX86)
        return self.vm.arch

    def vcpu(
        self, as_id: int = 0, kind: type[Vcpu] = Vcpu, *, nested: bool = False
    ) -> Vcpu:
        """One vCPU more, without a task."""
        made = kind(
            self.vm,
            len(self.vcpus),
            self.memory,
            self.faults,
            as_id=as_id,
            nested=nested,
        )
        self.vcpus.append(made)
        return made


Populate = Callable[[Scheduler, World], None]
"""Adds the tasks of a test."""


async def run_world(
    pool: TaskPool,
    populate: Populate,
    *regions: Region,
    strategy: Strategy | None = None,
    cpus: int = 1,
    budget: int = 100_000,
    **kind: Any,
) -> Run[World]:
    """Run tasks in a VM that has these slots; by default everyone goes in turn."""

    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind(**kind), *regions)
        populate(scheduler, world)
        return world

    return await run_controlled(
        pool, strategy or RoundRobin(), build, cpus=cpus, budget=budget
    )


async def run_alone(
    pool: TaskPool,
    body: Callable[[World], Awaitable[None]],
    *regions: Region,
    **kind: Any,
) -> Run[World]:
    """Run one task, to its end."""

    def populate(scheduler: Scheduler, world: World) -> None:
        async def start() -> None:
            await scheduler.point(world.vm.slot_memory.read)
            await body(world)

        scheduler.task("alone", start)

    run = await run_world(pool, populate, *regions, **kind)
    if run.report.error is not None:
        raise run.report.error
    assert run.report.ending is Ending.COMPLETED
    return run


async def fault(world: World, vcpu: Vcpu, gfn: int, *, write: bool = False) -> Outcome:
    """Let a vCPU fault on a page, as one exit between two runs of its guest."""
    await vcpu.srcu_read_lock()
    await vcpu.handle_requests()
    if vcpu.root is None:
        await vcpu.load_root()
    outcome = await world.faults.handle(vcpu, gpa(gfn), write=write)
    await vcpu.srcu_read_unlock()
    return outcome


async def guest(vcpu: Vcpu, gfn: int, *, write: bool = False) -> bool:
    """Let the guest of a vCPU touch a page; false if it needs a fault for that."""
    kind = AccessKind.WRITE if write else AccessKind.READ
    spte = await vcpu.translate(gpa(gfn), write=write)
    if spte is not None:
        await vcpu.touch(spte, access(kind, gfn), write=write)
    return spte is not None


def lookups(run: Run[World]) -> list[tuple[str, int | None]]:
    """Where each lookup found its answer, and which slot object it was."""
    return [
        (event.found_in, None if event.slot is None else event.slot.serial)
        for _, _, event in run.records
        if isinstance(event, SlotLookedUp)
    ]


def accesses(run: Run[World]) -> list[tuple[int, bool, str, int | None]]:
    """Page, whether it was written, outcome and host address of each access."""
    return [
        (event.gpa >> PAGE_SHIFT, event.write, event.outcome, event.hva)
        for _, _, event in run.records
        if isinstance(event, GuestMemoryAccessed)
    ]


def gfns(*numbers: int) -> list[Gfn]:
    return [Gfn(number) for number in numbers]
