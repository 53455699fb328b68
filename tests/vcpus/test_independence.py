"""Steps of readers that are said to be independent can be exchanged."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from memslots.errors import IoctlError
from memslots.slot import LOG_DIRTY_PAGES
from memslots.units import PAGE_SIZE, Hva
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.random_walk import RandomWalk
from tests.support.exchanging import difference, exchangeable
from tests.support.running import Build, run_controlled
from tests.vcpus.world import (
    HVA,
    Kind,
    World,
    access,
    gfns,
    region,
)
from vcpus.vcpu import AccessKind, Vcpu

KINDS = (
    AccessKind.READ,
    AccessKind.WRITE,
    AccessKind.PREFAULT,
    AccessKind.EMULATED_WRITE,
    AccessKind.HALT,
)


SHARE = 10
"""One in so many neighbours is exchanged; more take longer and have found no more."""


def everybody(scheduler: Scheduler, *, nested: bool, **kind: Any) -> World:
    """Two vCPUs, a writer, the host, and user space that asks what is dirty."""
    world = World(scheduler, Kind(**kind), region(1, 0x10, 2))
    first, second = world.vcpu(nested=nested), world.vcpu()
    changes = [region(1, 0x10, 2, LOG_DIRTY_PAGES), region(1, 0x30, 2)]

    async def run(vcpu: Vcpu) -> None:
        accesses = [access(each, gfn) for gfn in (0x10, 0x20, 0x30) for each in KINDS]
        turn = 4 * vcpu.index
        await vcpu.run(accesses[turn:] + accesses[:turn], None)

    async def write() -> None:
        for change in changes:
            await world.update.set_memory_region(change)
        for vcpu in world.vcpus:
            await vcpu.kick_out()

    async def change_pages() -> None:
        await world.notifier.unmap(HVA, Hva(HVA + PAGE_SIZE))
        await world.notifier.clear_young(HVA, Hva(HVA + 2 * PAGE_SIZE))
        await world.notifier.replace(HVA)

    async def ask() -> None:
        with suppress(IoctlError):
            await world.vm.dirty_log.get_dirty_log(1)
        async with world.vm.srcu.reading():
            await world.mmu.zap_gfn_range(*gfns(0, 0x100))

    scheduler.task("vcpu0", partial(run, first))
    scheduler.task("vcpu1", partial(run, second))
    scheduler.task("writer", write)
    scheduler.task("host", change_pages)
    scheduler.task("user", ask)
    return world


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "build"),
    [
        (0, partial(everybody, nested=False)),
        (1, partial(everybody, nested=True)),
        (2, partial(everybody, nested=True, zap_all=False, bits=2, max_pages=2)),
        (3, partial(everybody, nested=False, ring_entries=128)),
    ],
    ids=["direct", "nested", "per slot", "ring"],
)
async def test_exchanging_independent_neighbours_changes_nothing(
    pool: TaskPool, seed: int, build: Build[World]
) -> None:
    run = await run_controlled(pool, RandomWalk(seed), build, cpus=2)
    assert run.report.ending is Ending.COMPLETED, run.report
    places = list(exchangeable(run))[::SHARE]
    assert len(places) > 20
    for place in places:
        assert await difference(pool, run, place, build, cpus=2) is None
