"""Whoever asks something of vCPUs can rely on it when the request has returned."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from memslots.units import Gfn
from rcu.reclaim import reclaim
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from tests.support.exploring import in_every_order, in_random_orders
from tests.support.running import Run
from tests.vcpus.world import HVA, Kind, World, access, region
from vcpus.host_memory import HostPage
from vcpus.mmu_lock import Request
from vcpus.page_tables import Root, Spte
from vcpus.shadow_mmu import ShadowMmu
from vcpus.vcpu import Access, AccessKind, Vcpu
from vcpus.vcpu_requests import Mode

READ = access(AccessKind.READ, 0x10)


class Quiet(Vcpu):
    """A vCPU with few steps: its faults lead nowhere, and its sections take no part."""

    async def handle_exit(self, access: Access) -> None:
        self.made += 1

    async def srcu_read_lock(self) -> None:
        pass

    async def srcu_read_unlock(self) -> None:
        pass


class EntersBlindly(Quiet):
    """Looks for requests before each access but the first one after it has entered."""

    entered = False

    async def set_mode(self, mode: Mode) -> None:
        await super().set_mode(mode)
        self.entered = mode is Mode.IN_GUEST_MODE

    async def is_interrupted(self) -> bool:
        if self.entered:
            self.entered = False
            return False
        return await super().is_interrupted()


class LooksBeforeAsking(ShadowMmu):
    """Waits for the vCPUs that are in the guest, and only then asks."""

    async def make_all_requests(self, request: Request) -> None:
        for vcpu in self.vcpus:
            await vcpu.wait_for_exit()
        for vcpu in self.vcpus:
            await vcpu.make_request(request)


class WaitsForNobody(ShadowMmu):
    """Asks, and goes on while the guest still runs."""

    async def make_all_requests(self, request: Request) -> None:
        for vcpu in self.vcpus:
            await vcpu.make_request(request)


def a_page(world: World) -> HostPage:
    return HostPage(HVA, 0, world.host.location(HVA))


def verdict(run: Run[World]) -> str:
    error = run.report.error
    return run.report.ending.value if error is None else type(error).__name__


async def flush_then_free(
    pool: TaskPool, kind: type[Vcpu], mmu: type[ShadowMmu]
) -> Counter[str]:
    """A guest uses what its TLB holds while somebody flushes it and frees the page."""

    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind(mmu=mmu), region(1, 0x10))
        vcpu = world.vcpu(kind=kind)
        page = a_page(world)
        vcpu.root = Root(0, 0, 0, shadow=False)
        vcpu.tlb[Gfn(0x10)] = Spte(1, page, writable=True)

        async def run() -> None:
            await vcpu.run([READ], 2)

        async def free() -> None:
            await world.mmu.flush_remote_tlbs()
            await scheduler.point(page.location.write)
            reclaim(scheduler, page, "page")

        scheduler.task("vcpu0", run)
        scheduler.task("host", free)
        return world

    return await in_every_order(pool, build, verdict)


@pytest.mark.slow
async def test_a_flush_is_over_when_no_guest_can_use_what_was_flushed(
    pool: TaskPool,
) -> None:
    assert await flush_then_free(pool, Quiet, ShadowMmu) == {"completed": 955}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mmu", "failures", "orders"),
    [
        (EntersBlindly, ShadowMmu, 2, 234),
        (Quiet, LooksBeforeAsking, 22, 543),
        (Quiet, WaitsForNobody, 2, 65),
    ],
)
async def test_no_step_of_a_flush_can_be_left_out(
    pool: TaskPool,
    kind: type[Vcpu],
    mmu: type[ShadowMmu],
    failures: int,
    orders: int,
) -> None:
    assert await flush_then_free(pool, kind, mmu) == {
        "UseAfterFree": failures,
        "completed": orders - failures,
    }


async def test_a_guest_that_never_exits_by_itself_is_made_to(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind(), region(1, 0x10))
        vcpu = world.vcpu(kind=Quiet)
        root = vcpu.root = Root(0, 0, 0, shadow=False)
        root.entries[Gfn(0x10)] = Spte(1, a_page(world), writable=True)

        async def run() -> None:
            await vcpu.run([READ], None)

        async def flush_and_stop() -> None:
            await world.mmu.flush_remote_tlbs()
            await vcpu.kick_out()

        scheduler.task("vcpu0", run)
        scheduler.task("host", flush_and_stop)
        return world

    # In some orders it has flushed its TLB when it enters, and is waited for then.
    verdicts = await in_random_orders(pool, build, verdict, range(200))
    assert verdicts == {"completed": 200}


async def test_two_waiters_for_one_vcpu_are_both_told(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind())
        vcpu = world.vcpu(kind=Quiet)

        async def enter_twice() -> None:
            for _ in range(2):
                await vcpu.set_mode(Mode.IN_GUEST_MODE)
                await vcpu.set_mode(Mode.OUTSIDE_GUEST_MODE)

        scheduler.task("vcpu0", enter_twice)
        scheduler.task("one", vcpu.wait_for_exit)
        scheduler.task("two", vcpu.wait_for_exit)
        return world

    assert await in_every_order(pool, build, verdict) == {"completed": 80}


async def test_a_vcpu_that_reads_page_tables_is_waited_for(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind())
        vcpu = world.vcpu(kind=Quiet)

        async def read() -> None:
            await vcpu.begin_reading_page_tables()
            await scheduler.point(world.mmu.roots_location.read)
            await vcpu.end_reading_page_tables()

        scheduler.task("vcpu0", read)
        scheduler.task("flusher", world.mmu.flush_remote_tlbs)
        return world

    def told(run: Run[World]) -> str:
        waited = "flusher: wait for exit of mode of vcpu0" in run.steps
        return f"{verdict(run)}, waited" if waited else verdict(run)

    assert await in_every_order(pool, build, told) == {
        "completed": 5,
        "completed, waited": 5,
    }


async def test_requests_are_collected_and_done_together(pool: TaskPool) -> None:
    both = Request.TLB_FLUSH | Request.FREE_OBSOLETE_ROOTS

    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind(), region(1, 0x10))
        vcpu = world.vcpu(kind=Quiet)
        root = vcpu.root = Root(0, 0, 0, shadow=False)
        root.invalid = True
        vcpu.tlb[Gfn(0x10)] = Spte(1, a_page(world), writable=True)
        for request in both:
            scheduler.task(str(request), partial(vcpu.make_request, request))
        scheduler.task("vcpu0", vcpu.handle_requests)
        return world

    def left(run: Run[World]) -> tuple[Request, bool, bool]:
        (vcpu,) = run.made.vcpus
        return vcpu.requests, vcpu.root is None, not vcpu.tlb

    assert await in_every_order(pool, build, left) == {
        (Request(0), True, True): 2,
        (Request.TLB_FLUSH, True, False): 2,
        (Request.FREE_OBSOLETE_ROOTS, False, True): 1,
        (both, False, False): 2,
    }
