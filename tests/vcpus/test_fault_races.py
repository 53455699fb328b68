"""A fault that is overtaken, by the host or by the writer, maps nothing that is gone.

All orders with at most two preemptions are tried. For each rule a twin that breaks it
is caught, and the model survives the same orders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from memslots.slot import INVALID
from memslots.units import PAGE_SIZE, Gfn, Hva
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
    guest,
    region,
    run_alone,
)
from vcpus.mmu_notifier import HvaWalk, MmuNotifier
from vcpus.page_fault import Fault, FaultingVcpu, Outcome, PageFaults
from vcpus.page_tables import MmioSpte, Spte
from vcpus.shadow_mmu import ShadowMmu
from vcpus.vcpu import Vcpu
from vcpus.vcpu_requests import Mode

RAM = region(1, 0x10, 4)

Other = Callable[[World], Awaitable[None]]
"""What overtakes the fault."""


async def fault_and_touch(world: World, vcpu: Vcpu) -> None:
    """Fault, and if the page was mapped let the guest read it."""
    outcome = await fault(world, vcpu, 0x10)
    assert outcome in {Outcome.FIXED, Outcome.RETRY}
    await vcpu.set_mode(Mode.IN_GUEST_MODE)
    if not await vcpu.is_interrupted():
        await guest(vcpu, 0x10)
    await vcpu.set_mode(Mode.OUTSIDE_GUEST_MODE)
    vcpu.made += outcome is Outcome.FIXED


async def race(
    pool: TaskPool,
    other: Other,
    *,
    preemptions: int = 2,
    nested: bool = False,
    **kind: Any,
) -> Counter[str]:
    """A vCPU faults on a page and touches it while something else happens."""

    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind(**kind), RAM)
        vcpu = world.vcpu(nested=nested)
        world.mmu.shadow_roots.allocated = nested
        for slot in world.vm.active(0).peek():
            world.arch.allocate(slot)
        vcpu.root = world.mmu._valid_root(0, shadow=nested)

        async def touch() -> None:
            await fault_and_touch(world, vcpu)

        async def overtake() -> None:
            await other(world)

        scheduler.task("vcpu0", touch)
        scheduler.task("other", overtake)
        return world

    return await in_every_order(pool, build, verdict, preemptions=preemptions)


def verdict(run: Run[World]) -> str:
    """What went wrong, or whether the page was mapped."""
    if run.report.error is not None:
        return type(run.report.error).__name__
    assert run.report.ending is Ending.COMPLETED
    (vcpu,) = run.made.vcpus
    mmu, root = run.made.mmu, vcpu.root
    if root is not None and root not in mmu.roots:
        left = [each for each in root.entries.values() if isinstance(each, Spte)]
        if left:
            return "mapped in a root that was zapped"
    return "mapped" if vcpu.made else "retried"


# The host takes the page back.


async def unmap(world: World) -> None:
    await world.notifier.unmap(HVA, Hva(HVA + PAGE_SIZE))


class AsksLate(PageFaults):
    """Reads how many invalidations have ended when the page is resolved already."""

    async def direct_page_fault(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome:
        fault.slot = await self.lookup.vcpu_gfn_to_memslot(vcpu, fault.gfn)
        outcome = await self.faultin(vcpu, fault)
        assert outcome is None
        fault.seq = await self.mmu.snapshot_seq()
        await self.lock(vcpu)
        outcome = await self.map_locked(vcpu, fault)
        await self.mmu.lock.release()
        return outcome


class AsksWithoutLock(PageFaults):
    """Asks whether the page may still be mapped, and only then takes the lock."""

    async def direct_page_fault(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome:
        fault.slot = await self.lookup.vcpu_gfn_to_memslot(vcpu, fault.gfn)
        fault.seq = await self.mmu.snapshot_seq()
        outcome = await self.faultin(vcpu, fault)
        assert outcome is None
        stale = await self.is_stale(vcpu, fault)
        await self.lock(vcpu)
        outcome = Outcome.RETRY if stale else await self.map(vcpu, fault)
        await self.mmu.lock.release()
        return outcome


class OverlooksWhatIsUnderWay(ShadowMmu):
    """Retries for invalidations that have ended, but not for those under way."""

    def must_retry(self, seq: int, hva: Hva) -> bool:
        return self.invalidate_seq != seq


class OverlooksWhatHasEnded(ShadowMmu):
    """Retries for invalidations that are under way, but not for those that ended."""

    def must_retry(self, seq: int, hva: Hva) -> bool:
        return super().must_retry(self.invalidate_seq, hva)


class FlushesNot(MmuNotifier):
    """Leaves TLBs as they are."""

    async def handle_hva_range(self, *args: Any, **how: Any) -> HvaWalk:
        return await super().handle_hva_range(*args, flush=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nested", "preemptions", "mapped", "retried"),
    [(False, 2, 714, 284), (True, 1, 36, 14)],
)
async def test_a_page_that_is_taken_back_is_not_mapped(
    pool: TaskPool, *, nested: bool, preemptions: int, mapped: int, retried: int
) -> None:
    seen = await race(pool, unmap, nested=nested, preemptions=preemptions)
    assert seen == {"mapped": mapped, "retried": retried}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "preemptions", "counts"),
    [
        ({"faults": AsksLate}, 1, (1, 36, 12)),
        ({"faults": AsksWithoutLock}, 1, (2, 34, 13)),
        ({"mmu": OverlooksWhatHasEnded}, 1, (4, 38, 7)),
        ({"notifier": FlushesNot}, 1, (1, 34, 14)),
        ({"mmu": OverlooksWhatIsUnderWay}, 2, (38, 840, 139)),
    ],
)
async def test_a_fault_that_asks_otherwise_maps_a_page_that_is_gone(
    pool: TaskPool,
    part: dict[str, Any],
    preemptions: int,
    counts: tuple[int, int, int],
) -> None:
    seen = await race(pool, unmap, preemptions=preemptions, **part)
    gone, mapped, retried = counts
    assert seen == {"UseAfterFree": gone, "mapped": mapped, "retried": retried}


# The writer zaps all roots.


async def zap_all(world: World) -> None:
    async with world.vm.slots_lock:
        await world.mmu.zap_all_fast()


class ForgetsTheRoot(PageFaults):
    """Does not ask whether the root is obsolete."""

    async def is_stale(self, vcpu: FaultingVcpu, fault: Fault) -> bool:
        await self._scheduler.point(self.mmu.invalidate_location.read)
        assert fault.hva is not None
        return self.mmu.must_retry(fault.seq, fault.hva)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nested", "mapped", "retried"), [(False, 179, 104), (True, 216, 112)]
)
async def test_nothing_is_mapped_in_a_root_that_was_zapped(
    pool: TaskPool, *, nested: bool, mapped: int, retried: int
) -> None:
    seen = await race(pool, zap_all, nested=nested)
    assert seen == {"mapped": mapped, "retried": retried}


@pytest.mark.slow
async def test_a_fault_that_forgets_the_root_maps_in_one_that_was_zapped(
    pool: TaskPool,
) -> None:
    seen = await race(pool, zap_all, faults=ForgetsTheRoot)
    assert seen == {"mapped": 189, "mapped in a root that was zapped": 94}


# The fault itself zaps a root, to make room.


class AsksBeforeItMakesRoom(PageFaults):
    """Asks whether the root is obsolete, and then zaps it."""

    async def map_locked(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome:
        if await self.is_stale(vcpu, fault):
            return Outcome.RETRY
        await self.mmu.make_pages_available()
        return await self.map(vcpu, fault)


@pytest.mark.parametrize(
    ("faults", "outcome", "left"),
    [(PageFaults, Outcome.RETRY, 0), (AsksBeforeItMakesRoom, Outcome.FIXED, 1)],
)
async def test_a_fault_asks_for_its_root_when_it_has_made_room(
    pool: TaskPool, faults: type[PageFaults], outcome: Outcome, left: int
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu(nested=True)
        assert await fault(world, vcpu, 0x10) is Outcome.FIXED
        root = vcpu.root
        assert root is not None
        assert root.pages == 2
        assert await fault(world, vcpu, 0x11) is outcome
        assert len(root.entries) == left
        assert world.mmu.roots == []
        # With a new root, there is room for one page again.
        assert await fault(world, vcpu, 0x11) is Outcome.FIXED
        assert vcpu.root is not root

    await run_alone(pool, body, RAM, faults=faults, max_pages=2)


# An INVALID slot.


class TakesInvalidForNone(PageFaults):
    """Takes a slot that is on its way out for none."""

    async def faultin(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome | None:
        if fault.slot is not None and fault.slot.flags & INVALID:
            fault.slot = None
        return await super().faultin(vcpu, fault)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("faults", "outcome"),
    [(PageFaults, Outcome.RETRY), (TakesInvalidForNone, Outcome.MMIO)],
)
async def test_a_translation_of_an_invalid_slot_is_left_to_whoever_flushes_it(
    pool: TaskPool, faults: type[PageFaults], outcome: Outcome, *, nested: bool
) -> None:
    """What overwrites it all the same drops it properly, with map and TLBs."""

    async def body(world: World) -> None:
        first, second = world.vcpu(nested=nested), world.vcpu(nested=nested)
        assert await fault(world, first, 0x10) is Outcome.FIXED
        assert await guest(first, 0x10)
        (root,) = world.mmu.roots
        slot = world.vm.active(0).peek().id_to_memslot(1)
        assert slot is not None
        slot.flags |= INVALID
        assert await fault(world, second, 0x10) is outcome
        overwritten = isinstance(root.entries[Gfn(0x10)], MmioSpte)
        assert overwritten is (outcome is Outcome.MMIO)
        await first.handle_requests()
        assert bool(first.tlb) is not overwritten
        assert bool(world.mmu.mapped(slot, Gfn(0x10), Gfn(0x11))) is not overwritten

    await run_alone(pool, body, RAM, faults=faults)
