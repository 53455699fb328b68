"""A vCPU that sleeps is in no section, and is woken by whoever has something for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from memslots.slot import LOG_DIRTY_PAGES
from memslots.units import PAGE_SIZE, Hva
from rcu.operation import Operation
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.random_walk import RandomWalk
from tests.support.exploring import in_every_order
from tests.support.running import Run
from tests.vcpus.world import (
    HVA,
    Kind,
    Populate,
    World,
    access,
    deletion,
    region,
    run_world,
)
from vcpus.vcpu import Access, AccessKind, Vcpu
from vcpus.vcpu_requests import Asleep, Mode

SLOT = region(1, 0x10, 4)
HALT = access(AccessKind.HALT, 0)
READ = access(AccessKind.READ, 0x10)


def runs(vcpu: Vcpu, accesses: list[Access], times: int | None = None) -> Callable:  # type: ignore[type-arg]
    async def run() -> None:
        await vcpu.run(accesses, times)

    return run


def when_idle(scheduler: Scheduler, vcpu: Vcpu) -> Callable:  # type: ignore[type-arg]
    """Wait until a vCPU sleeps."""
    asleep = Operation("wait for", reads=(vcpu.progress_location,))

    async def wait() -> None:
        await scheduler.point(asleep, lambda: vcpu.is_idle)
        for _ in range(10):  # until it has left its section, too
            await scheduler.point(Operation("watch"))

    return wait


# Halting.


async def test_a_vcpu_sleeps_in_no_section_and_outside_the_guest(
    pool: TaskPool,
) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()
        wait = when_idle(scheduler, vcpu)

        async def watch() -> None:
            await wait()
            assert scheduler.tasks[1].sections == []
            assert (vcpu.mode, vcpu.srcu_idx) == (Mode.OUTSIDE_GUEST_MODE, None)
            assert vcpu.made == 1
            await vcpu.kick()

        scheduler.task("vcpu0", runs(vcpu, [READ, HALT], 2))
        scheduler.task("main", watch)

    run = await run_world(pool, populate, SLOT)
    assert run.report.ending is Ending.COMPLETED, run.report
    (vcpu,) = run.made.vcpus
    assert (vcpu.made, vcpu.is_idle) == (2, False)


class SleepsInItsSection(Vcpu):
    """Does not leave its section before it sleeps."""

    async def halt(self) -> None:
        await self._scheduler.point(self._fall_asleep)
        self.is_idle = True
        await self._scheduler.point(self._block, Asleep(self, self._kicks).is_over)
        await self.wake_up()


def delete_while_asleep(kind: type[Vcpu]) -> Populate:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu(kind=kind)
        wait = when_idle(scheduler, vcpu)

        async def delete() -> None:
            await wait()
            await world.update.set_memory_region(deletion())

        scheduler.task("vcpu0", runs(vcpu, [HALT], 1))
        scheduler.task("writer", delete)

    return populate


async def test_an_update_passes_a_vcpu_that_sleeps_and_wakes_it(pool: TaskPool) -> None:
    for seed in range(30):
        run = await run_world(
            pool, delete_while_asleep(Vcpu), SLOT, strategy=RandomWalk(seed)
        )
        assert run.report.ending is Ending.COMPLETED, run.report
        # One kick for each swap; the first one is enough.
        assert run.made.vcpus[0]._kicks == 2


async def test_a_vcpu_that_sleeps_in_its_section_holds_up_the_writer_who_would_wake_it(
    pool: TaskPool,
) -> None:
    run = await run_world(pool, delete_while_asleep(SleepsInItsSection), SLOT)
    assert run.report.ending is Ending.DEADLOCK
    stuck = {each.task: each for each in run.report.stuck}
    assert set(stuck) == {"vcpu0", "writer"}
    assert stuck["vcpu0"].sections == ("kvm->srcu",)
    assert str(stuck["vcpu0"].waits_for).startswith("block on ")
    assert stuck["writer"].holds == ("slots_lock",)


@pytest.mark.parametrize(
    ("wake", "before"), [("kick", "deadlock"), ("kick_out", "completed")]
)
async def test_a_kick_is_not_lost_once_the_vcpu_falls_asleep(
    pool: TaskPool, wake: str, before: str
) -> None:
    """One that comes before wakes nobody; being told to leave is remembered."""

    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind())
        vcpu = world.vcpu()
        vcpu.srcu_idx = 0

        async def halt() -> None:
            vcpu.srcu_idx = await world.vm.srcu.read_lock()
            await vcpu.halt()

        scheduler.task("vcpu0", halt)
        scheduler.task("other", getattr(vcpu, wake))
        return world

    def verdict(run: Run[World]) -> str:
        kicked = next(
            place for place, step in enumerate(run.steps) if step.startswith("other")
        )
        fell = next(
            place for place, step in enumerate(run.steps) if "fall asleep" in step
        )
        when = "before" if kicked < fell else "after"
        return f"{when}: {run.report.ending.value}"

    assert await in_every_order(pool, build, verdict) == {
        f"before: {before}": 3,
        "after: completed": 2,
    }


async def test_a_vcpu_that_sleeps_leaves_when_it_is_told_to(pool: TaskPool) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()
        wait = when_idle(scheduler, vcpu)

        async def leave() -> None:
            await wait()
            await vcpu.kick_out()

        scheduler.task("vcpu0", runs(vcpu, [HALT]))
        scheduler.task("main", leave)

    run = await run_world(pool, populate, SLOT)
    assert run.report.ending is Ending.COMPLETED
    assert run.made.vcpus[0].made == 1


# A dirty ring that is full.

RING = 128
LOGGED = region(1, 0x10, 128, LOG_DIRTY_PAGES)


@pytest.mark.parametrize("resets", [0, 1])
async def test_a_vcpu_whose_ring_is_full_waits_outside_its_section(
    pool: TaskPool, resets: int
) -> None:
    """It may fill the ring up to the entries reserved for what hardware has logged."""

    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()
        ring = vcpu.dirty_ring
        assert ring is not None
        wait = when_idle(scheduler, vcpu)
        reserved = world.vm.profile.dirty_ring_reserved_entries
        assert ring.soft_limit == RING - reserved == 64

        async def harvest() -> None:
            await wait()
            assert (ring.used, vcpu.made) == (64, 63)
            assert scheduler.tasks[1].sections == []
            for _ in range(resets):
                collected = await world.vm.dirty_log.collect_dirty_ring(0)
                assert collected == [(1, page) for page in range(64)]
                assert await world.vm.dirty_log.reset_dirty_rings() == 64

        writes = [access(AccessKind.WRITE, 0x10 + page) for page in range(100)]
        scheduler.task("vcpu0", runs(vcpu, writes, 100))
        scheduler.task("main", harvest)

    run = await run_world(pool, populate, LOGGED, ring_entries=RING)
    (vcpu,) = run.made.vcpus
    assert vcpu.dirty_ring is not None
    if resets:
        assert run.report.ending is Ending.COMPLETED, run.report
        assert (vcpu.made, vcpu.dirty_ring.used) == (100, 36)
        assert values(run) == [1] * 100
    else:
        assert run.report.ending is Ending.DEADLOCK
        (stuck,) = run.report.stuck
        assert stuck.waits_for == (
            "wait for room in dirty ring of vcpu0, immediate_exit of vcpu0"
        )
        assert stuck.sections == ()


def values(run: Run[World]) -> list[int]:
    """What the pages of the slot hold."""
    host = run.made.host
    return [host._page(Hva(HVA + page * PAGE_SIZE)).value for page in range(100)]


async def test_a_vcpu_whose_ring_is_full_leaves_when_it_is_told_to(
    pool: TaskPool,
) -> None:
    def populate(scheduler: Scheduler, world: World) -> None:
        vcpu = world.vcpu()
        wait = when_idle(scheduler, vcpu)

        async def leave() -> None:
            await wait()
            await vcpu.kick_out()

        writes = [access(AccessKind.WRITE, 0x10 + page) for page in range(100)]
        scheduler.task("vcpu0", runs(vcpu, writes))
        scheduler.task("main", leave)

    run = await run_world(pool, populate, LOGGED, ring_entries=RING)
    assert run.report.ending is Ending.COMPLETED
    # The page that filled the ring was mapped; the guest has not written it yet.
    assert run.made.vcpus[0].made == 63
