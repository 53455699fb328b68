"""A VM with readers to try, and what they told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

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
from vcpus.tracepoints import GuestMemoryAccessed, SlotLookedUp
from vcpus.vcpu import Access, Exit, Vcpu

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


def gpa(gfn: int, offset: int = 0) -> Gpa:
    """An address in a page."""
    return Gpa((gfn << PAGE_SHIFT) + offset)


def access(kind: Exit, gfn: int) -> Access:
    return Access(kind, gpa(gfn))


@attrs.define(eq=False)
class Looker:
    """A vCPU as far as lookups go."""

    index: int = 0
    as_id: int = 0
    last_used_slot: Any = None
    last_used_slot_gen: int = 0


@attrs.define(eq=False)
class World:
    """A VM, who changes it and who reads it."""

    vm: Vm
    update: Update
    lookup: SlotLookup
    memory: GuestMemory
    vcpus: list[Vcpu] = attrs.field(factory=list)

    @property
    def arch(self) -> ArchX86:
        assert isinstance(self.vm.arch, ArchX86)
        return self.vm.arch

    def vcpu(self, as_id: int = 0, kind: type[Vcpu] = Vcpu) -> Vcpu:
        """One vCPU more, without a task."""
        made = kind(self.vm, len(self.vcpus), self.memory, as_id=as_id)
        self.vcpus.append(made)
        return made


Populate = Callable[[Scheduler, World], None]
"""Adds the tasks of a test."""


async def run_world(
    pool: TaskPool,
    populate: Populate,
    *regions: Region,
    strategy: Strategy | None = None,
    granularity: Granularity = Granularity.OPERATION,
    address_spaces: int = 1,
    cpus: int = 1,
    budget: int = 100_000,
    update: Callable[[Vm], Update] = Update,
) -> Run[World]:
    """Run tasks in a VM that has these slots; by default everyone goes in turn."""

    def build(scheduler: Scheduler) -> World:
        vm = Vm(scheduler, arch=ArchX86, address_space_count=address_spaces)
        vm.install(regions)
        lookup = SlotLookup(vm, granularity)
        memory = GuestMemory(vm, lookup, HostMemory(scheduler))
        world = World(vm, update(vm), lookup, memory)
        populate(scheduler, world)
        return world

    return await run_controlled(
        pool, strategy or RoundRobin(), build, cpus=cpus, budget=budget
    )


async def run_alone(
    pool: TaskPool,
    body: Callable[[World], Awaitable[None]],
    *regions: Region,
    granularity: Granularity = Granularity.OPERATION,
    address_spaces: int = 1,
) -> Run[World]:
    """Run one task, to its end."""

    def populate(scheduler: Scheduler, world: World) -> None:
        async def start() -> None:
            await scheduler.point(world.vm.slot_memory.read)
            await body(world)

        scheduler.task("alone", start)

    run = await run_world(
        pool,
        populate,
        *regions,
        granularity=granularity,
        address_spaces=address_spaces,
    )
    if run.report.error is not None:
        raise run.report.error
    assert run.report.ending is Ending.COMPLETED
    return run


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
