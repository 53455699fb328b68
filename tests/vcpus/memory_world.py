"""A VM whose memory KVM itself accesses, and what that told.

It has no guests and no page tables: an update takes fewer steps, and there are fewer
orders to try.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from memslots.errors import MemoryRegionError
from memslots.region import Region
from memslots.units import PAGE_SIZE, Hva
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.round_robin import RoundRobin
from tests.support.running import Build, Run, run_controlled
from tests.vcpus.world import HVA
from vcpus.guest_memory import GuestMemory
from vcpus.host_memory import HostMemory
from vcpus.lookup import Granularity, SlotLookup
from vcpus.mmu_notifier import MmuNotifier
from vcpus.pfn_cache import PfnCaches
from vcpus.shadow_mmu import ShadowMmu
from vcpus.shadow_roots import ShadowRoots
from vcpus.tracepoints import GuestMemoryCopied, SlotLookedUp


def hva(page: int, offset: int = 0, base: Hva = HVA) -> Hva:
    """A host address, by its page from a base on."""
    return Hva(base + page * PAGE_SIZE + offset)


@attrs.define(eq=False)
class Guest:
    """A VM, who changes it, and how KVM accesses its memory."""

    vm: Vm
    update: Update
    memory: GuestMemory
    host: HostMemory
    mmu: ShadowMmu
    notifier: MmuNotifier

    @property
    def caches(self) -> PfnCaches:
        return self.notifier.pfn_caches

    async def values(self, *pages: int) -> list[int]:
        """What pages of the host hold."""
        return [await self.host.read(hva(page)) for page in pages]


def make_guest(
    scheduler: Scheduler,
    *regions: Region,
    address_spaces: int = 1,
    memory: type[GuestMemory] = GuestMemory,
    update: type[Update] = Update,
    granularity: Granularity = Granularity.OPERATION,
) -> Guest:
    """A VM that has these slots, and whose host memory changes."""
    vm = Vm(scheduler, address_space_count=address_spaces)
    vm.install(regions)
    host = HostMemory(scheduler)
    mmu = ShadowMmu(vm, ShadowRoots(vm))
    notifier = MmuNotifier(vm, mmu, host)
    accessed = memory(vm, SlotLookup(vm, granularity), host)
    return Guest(vm, update(vm), accessed, host, mmu, notifier)


async def run_alone(
    pool: TaskPool,
    body: Callable[[Guest], Awaitable[None]],
    *regions: Region,
    **parts: Any,
) -> Run[Guest]:
    """Run one task inside one read section, to its end."""

    def build(scheduler: Scheduler) -> Guest:
        guest = make_guest(scheduler, *regions, **parts)

        async def start() -> None:
            async with guest.vm.srcu.reading():
                await body(guest)

        scheduler.task("alone", start)
        return guest

    return await run_to_the_end(pool, build)


async def run_to_the_end(pool: TaskPool, build: Build[Guest]) -> Run[Guest]:
    """Everyone goes in turn; raise what a task raised."""
    run = await run_controlled(pool, RoundRobin(), build)
    if run.report.error is not None:
        raise run.report.error
    assert run.report.ending is Ending.COMPLETED, run.report.stuck
    return run


async def answer(access: Awaitable[object]) -> object:
    """What an access returns, or the name of the errno that it raises."""
    try:
        return await access
    except MemoryRegionError as refused:
        return errno.errorcode[refused.errno]


def copied(run: Run[Guest]) -> list[tuple[str, bool, int, int]]:
    """Through what, whether written, host address from the base on, and length."""
    return [
        (event.through, event.write, event.hva - HVA, event.length)
        for _, _, event in run.records
        if isinstance(event, GuestMemoryCopied)
    ]


def looked_up(run: Run[Guest]) -> list[int]:
    """The page of each lookup."""
    return [event.gfn for _, _, event in run.records if isinstance(event, SlotLookedUp)]
