"""Page tables: who shares them, what a zap leaves, and the maps that lead to them."""

from __future__ import annotations

import pytest

from memslots.slot import INVALID, MemorySlot
from memslots.units import Gfn, Hva
from rcu.errors import LockNotHeld
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from tests.support.exploring import in_every_order
from tests.support.running import Run
from tests.vcpus.world import (
    HVA,
    Kind,
    World,
    deletion,
    fault,
    gfns,
    guest,
    region,
    run_alone,
)
from vcpus.mmu_lock import HVA_MAX, Request
from vcpus.page_fault import Outcome
from vcpus.page_tables import MmioSpte, Root, Spte
from vcpus.reverse_maps import NoReverseMap
from vcpus.shadow_mmu import ShadowMmu
from vcpus.shadow_roots import SlotArchX86
from vcpus.tracepoints import SpteInstalled, SpteZapped
from vcpus.vcpu import Vcpu

FIRST = region(1, 0x10, 4)
SECOND = region(2, 0x20, 4, hva=Hva(HVA + 0x10000))
SMM = region(0x10001, 0x10, 4)


def slot_of(world: World, slot_id: int = 1, as_id: int = 0) -> MemorySlot:
    slot = world.vm.active(as_id).peek().id_to_memslot(slot_id)
    assert slot is not None
    return slot


def mapped(vcpu: Vcpu) -> list[int]:
    """Pages that the root of a vCPU maps."""
    assert vcpu.root is not None
    entries = vcpu.root.entries
    return sorted(gfn for gfn, entry in entries.items() if isinstance(entry, Spte))


def noted(vcpu: Vcpu) -> list[int]:
    """Pages of which its root notes that they have no slot."""
    assert vcpu.root is not None
    entries = vcpu.root.entries
    return sorted(gfn for gfn, entry in entries.items() if isinstance(entry, MmioSpte))


async def map_all(world: World, vcpu: Vcpu, *pages: int) -> None:
    for page in pages:
        await fault(world, vcpu, page)


# Roots.


async def test_vcpus_share_a_root_if_they_see_the_same(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        kinds = [(0, False), (0, False), (1, False), (0, True), (0, True), (1, True)]
        vcpus = [world.vcpu(as_id=as_id, nested=nested) for as_id, nested in kinds]
        for vcpu in vcpus:
            await fault(world, vcpu, 0x10)
        roots = [vcpu.root for vcpu in vcpus]
        assert [root and root.number for root in roots] == [0, 0, 1, 2, 2, 3]
        assert [root.shadow for root in world.mmu.roots] == [False, False, True, True]
        assert [root.as_id for root in world.mmu.roots] == [0, 1, 0, 1]

    run = await run_alone(pool, body, FIRST, SMM, address_spaces=2)
    told = [event for _, _, event in run.records if isinstance(event, SpteInstalled)]
    assert [event.root for event in told] == [0, 0, 1, 2, 2, 3]


async def test_a_shadow_root_needs_reverse_maps_and_a_direct_one_does_not(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        await fault(world, world.vcpu(), 0x10)
        assert not world.mmu.shadow_roots.allocated
        await fault(world, world.vcpu(nested=True), 0x10)
        assert world.mmu.shadow_roots.allocated

    await run_alone(pool, body, FIRST)


async def test_zap_all_leaves_nothing_and_sends_every_vcpu_to_another_root(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        vcpus = [world.vcpu(), world.vcpu(), world.vcpu(nested=True)]
        for vcpu in vcpus:
            await map_all(world, vcpu, 0x10, 0x11, 0x14)
            await guest(vcpu, 0x10)
        old = list(world.mmu.roots)
        assert [len(root.entries) for root in old] == [3, 3]
        async with world.vm.slots_lock:
            await world.mmu.zap_all_fast()
        assert world.mmu.roots == []
        assert [(len(root.entries), root.invalid) for root in old] == [(0, True)] * 2
        for vcpu in vcpus:
            assert vcpu.requests & Request.FREE_OBSOLETE_ROOTS
            assert vcpu.tlb  # but it cannot be used without entering the guest
            await fault(world, vcpu, 0x11)
            assert vcpu.tlb == {}
            assert mapped(vcpu) == [0x11]
        assert [root.number for root in world.mmu.roots] == [2, 3]

    run = await run_alone(pool, body, FIRST)
    zapped = [event for _, _, event in run.records if isinstance(event, SpteZapped)]
    # Shadow roots first, under the lock for writing.
    assert [(event.root, event.gfn) for event in zapped] == [
        (1, 0x10),
        (1, 0x11),
        (0, 0x10),
        (0, 0x11),
    ]


async def test_only_who_changes_slots_zaps_all(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        with pytest.raises(LockNotHeld, match="slots_lock"):
            await world.mmu.zap_all_fast()

    await run_alone(pool, body)


@pytest.mark.parametrize(("nested", "valid", "asked"), [(False, 44, 5), (True, 218, 6)])
async def test_a_vcpu_never_enters_the_guest_on_an_obsolete_root_unasked(
    pool: TaskPool, *, nested: bool, valid: int, asked: int
) -> None:
    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind())
        vcpu = world.vcpu(nested=nested)
        world.mmu.shadow_roots.allocated = True

        async def load() -> None:
            await vcpu.handle_requests()
            await vcpu.load_root()

        async def zap() -> None:
            async with world.vm.slots_lock:
                await world.mmu.zap_all_fast()

        scheduler.task("vcpu0", load)
        scheduler.task("writer", zap)
        return world

    def verdict(run: Run[World]) -> str:
        assert run.report.ending is Ending.COMPLETED
        (vcpu,) = run.made.vcpus
        assert vcpu.root is not None
        if not run.made.mmu.is_obsolete(vcpu.root):
            assert run.made.mmu.roots == [vcpu.root]
            return "valid"
        assert vcpu.requests & Request.FREE_OBSOLETE_ROOTS
        return "asked"

    seen = await in_every_order(pool, build, verdict)
    assert seen == {"valid": valid, "asked": asked}


async def test_the_end_of_the_vm_leaves_no_translation(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        for nested in (False, True):
            await map_all(world, world.vcpu(nested=nested), 0x10, 0x20, 0x30)
        await world.update.destroy()
        assert world.mmu.roots == []

    run = await run_alone(pool, body, FIRST, SECOND)
    zapped = [event for _, _, event in run.records if isinstance(event, SpteZapped)]
    assert len(zapped) == 4


# One slot, or a range.


@pytest.mark.parametrize("nested", [False, True])
async def test_a_zap_of_a_slot_leaves_everything_else(
    pool: TaskPool, *, nested: bool
) -> None:
    async def body(world: World) -> None:
        vcpu, other = world.vcpu(nested=nested), world.vcpu(nested=not nested)
        smm = world.vcpu(as_id=1, nested=nested)
        for each in (vcpu, other, smm):
            await map_all(world, each, 0x10, 0x13, 0x15)
        await map_all(world, vcpu, 0x20, 0x23)
        root = vcpu.root
        await world.update.set_memory_region(deletion())
        assert vcpu.root is root
        assert (mapped(vcpu), noted(vcpu)) == ([0x20, 0x23], [0x15])
        assert (mapped(other), noted(other)) == ([], [0x15])
        assert (mapped(smm), noted(smm)) == ([0x10, 0x13], [0x15])
        assert not vcpu.requests & Request.FREE_OBSOLETE_ROOTS
        assert await fault(world, vcpu, 0x10) is Outcome.MMIO
        assert await fault(world, vcpu, 0x15) is Outcome.MMIO

    await run_alone(pool, body, FIRST, SECOND, SMM, address_spaces=2, zap_all=False)


@pytest.mark.parametrize("nested", [False, True])
async def test_a_range_is_zapped_in_every_address_space(
    pool: TaskPool, *, nested: bool
) -> None:
    async def body(world: World) -> None:
        vcpu, smm = world.vcpu(nested=nested), world.vcpu(as_id=1, nested=nested)
        for each in (vcpu, smm):
            await map_all(world, each, 0x10, 0x11, 0x12, 0x13, 0x20)
        slot_of(world).flags |= INVALID
        async with world.vm.srcu.reading():
            await world.mmu.zap_gfn_range(*gfns(0x11, 0x13))
        assert mapped(vcpu) == [0x10, 0x13, 0x20]
        assert mapped(smm) == [0x10, 0x13]
        assert noted(smm) == [0x20]
        mmu = world.mmu
        assert (mmu.invalidate_seq, mmu.invalidate_in_progress) == (1, 0)

    await run_alone(pool, body, FIRST, SECOND, SMM, address_spaces=2)


@pytest.mark.parametrize(("start", "end"), [(0x11, 0x11), (0x12, 0x11)])
async def test_an_empty_range_is_not_looked_for(
    pool: TaskPool, start: int, end: int
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        await map_all(world, vcpu, 0x11)
        async with world.vm.srcu.reading():
            await world.mmu.zap_gfn_range(*gfns(start, end))
        assert mapped(vcpu) == [0x11]
        assert world.mmu.invalidate_seq == 0

    await run_alone(pool, body, FIRST)


class BlocksGuestPages(ShadowMmu):
    """Gives guest pages where host addresses are wanted."""

    async def zap_gfn_range(self, start: Gfn, end: Gfn) -> None:
        self.wrong = Hva(start), Hva(end)
        await super().zap_gfn_range(start, end)

    async def invalidate_begin(self, start: Hva, end: Hva) -> None:
        await super().invalidate_begin(*self.wrong)


AROUND = {"zapped": 57, "mapped afterwards": 119}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mmu", "verdicts"),
    [
        (ShadowMmu, {"retried": 131, **AROUND}),
        (BlocksGuestPages, {"retried": 98, "mapped during the zap": 33, **AROUND}),
    ],
)
async def test_a_fault_during_a_zap_of_a_range_is_retried(
    pool: TaskPool, mmu: type[ShadowMmu], verdicts: dict[str, int]
) -> None:
    """The lock is dropped between slots: what was zapped could be mapped again."""

    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind(mmu=mmu), FIRST, SECOND)
        vcpu = world.vcpu()
        vcpu.root = world.mmu._valid_root(0, shadow=False)

        async def touch() -> None:
            outcomes.append(await fault(world, vcpu, 0x10))

        async def zap() -> None:
            async with world.vm.srcu.reading():
                await world.mmu.zap_gfn_range(*gfns(0, 0x100))
            outcomes.append(None)

        outcomes.clear()
        scheduler.task("vcpu0", touch)
        scheduler.task("mtrr", zap)
        return world

    def verdict(run: Run[World]) -> str:
        assert run.report.ending is Ending.COMPLETED
        (vcpu,) = run.made.vcpus
        if Outcome.RETRY in outcomes:
            return "retried"
        if not mapped(vcpu):
            return "zapped"
        # The read of the number that would tell comes before, or after all.
        began = run.steps.index("vcpu0: read mmu_invalidate_seq")
        ended = max(
            place
            for place, step in enumerate(run.steps)
            if step == "mtrr: write mmu_invalidate_seq"
        )
        return "mapped afterwards" if began > ended else "mapped during the zap"

    outcomes: list[Outcome | None] = []
    assert await in_every_order(pool, build, verdict, preemptions=2) == verdicts


# Write protection and age.


@pytest.mark.parametrize("nested", [False, True])
async def test_what_is_protected_can_still_be_read(
    pool: TaskPool, *, nested: bool
) -> None:
    async def body(world: World) -> None:
        vcpu, slot = world.vcpu(nested=nested), slot_of(world)
        await map_all(world, vcpu, 0x10, 0x11)
        assert await world.mmu.write_protect(slot, *gfns(0x10, 0x11))
        # Nothing is left to protect, and nothing was mapped there: nothing to flush.
        assert not await world.mmu.write_protect(slot, *gfns(0x10, 0x11))
        assert not await world.mmu.write_protect(slot, *gfns(0x12, 0x14))
        assert await guest(vcpu, 0x10)
        assert not await guest(vcpu, 0x10, write=True)
        assert await guest(vcpu, 0x11, write=True)

    await run_alone(pool, body, FIRST)


@pytest.mark.parametrize("nested", [False, True])
async def test_a_page_is_young_again_when_a_processor_has_walked_to_it(
    pool: TaskPool, *, nested: bool
) -> None:
    async def body(world: World) -> None:
        vcpu, slot = world.vcpu(nested=nested), slot_of(world)
        await map_all(world, vcpu, 0x10)
        ages = []
        for touches in (False, False, True, False, True):
            if touches:
                assert await guest(vcpu, 0x10)
                vcpu.tlb.clear()
            ages.append(await world.mmu.age_gfn_range(slot, *gfns(0x10, 0x14)))
        assert ages == [True, False, True, False, True]
        # Who still has it in its TLB does not walk, and is not seen.
        await guest(vcpu, 0x10)
        await world.mmu.age_gfn_range(slot, *gfns(0x10, 0x14))
        await guest(vcpu, 0x10)
        assert not await world.mmu.age_gfn_range(slot, *gfns(0x10, 0x14))

    await run_alone(pool, body, FIRST)


async def test_without_accessed_bits_a_page_that_was_aged_faults(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        world.mmu.ad_enabled = False
        vcpu, slot = world.vcpu(), slot_of(world)
        await map_all(world, vcpu, 0x10)
        assert await guest(vcpu, 0x10, write=True)
        assert await world.mmu.age_gfn_range(slot, *gfns(0x10, 0x14))
        assert await guest(vcpu, 0x10, write=True)  # through the TLB
        assert not await world.mmu.write_protect(slot, *gfns(0x10, 0x14))
        vcpu.tlb.clear()
        assert not await guest(vcpu, 0x10)
        await fault(world, vcpu, 0x10, write=True)
        assert await guest(vcpu, 0x10, write=True)
        assert await world.mmu.age_gfn_range(slot, *gfns(0x10, 0x14))

    await run_alone(pool, body, FIRST)


async def test_a_walk_neither_loses_nor_revives_what_others_change(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> World:
        world = World(scheduler, Kind(), FIRST)
        vcpu = world.vcpu()
        root = vcpu.root = world.mmu._valid_root(0, shadow=False)
        page = world.host._page(HVA)
        root.entries[Gfn(0x10)] = Spte(1, page, writable=True, accessed=False)

        async def walk() -> None:
            vcpu.made = int(await vcpu.walk(Gfn(0x10), write=True) is not None)

        async def change() -> None:
            await world.mmu.write_protect_entry(root, Gfn(0x10))

        async def zap() -> None:
            await world.mmu.zap(root, Gfn(0x10))

        for name, body in (("walk", walk), ("protect", change), ("zap", zap)):
            scheduler.task(name, body)
        return world

    def verdict(run: Run[World]) -> str:
        (vcpu,) = run.made.vcpus
        assert vcpu.root is not None
        assert vcpu.root.entries == {}
        return "used" if vcpu.made else "not allowed"

    seen = await in_every_order(pool, build, verdict)
    assert seen == {"used": 2, "not allowed": 8}


# Reverse maps.


def users(world: World, slot_id: int = 1) -> dict[int, list[int]]:
    """Roots by the offset of the page that they map."""
    arch = slot_of(world, slot_id).arch
    assert isinstance(arch, SlotArchX86)
    assert arch.rmaps is not None
    return {offset: roots for offset, roots in arch.rmaps.entries.items() if roots}


async def test_a_slot_knows_the_shadow_roots_that_map_it(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        vcpu, smm = world.vcpu(nested=True), world.vcpu(as_id=1, nested=True)
        await map_all(world, vcpu, 0x12, 0x10, 0x10, 0x21)
        await map_all(world, smm, 0x10)
        assert users(world) == {0: [0], 2: [0]}
        assert users(world, 2) == {1: [0]}
        roots = world.mmu.roots
        found = world.mmu.mapped(slot_of(world), *gfns(0x10, 0x14))
        assert found == [(roots[0], 0x10), (roots[0], 0x12)]
        assert world.mmu.mapped(slot_of(world), *gfns(0x11, 0x12)) == []
        assert world.mmu.mapped(slot_of(world, as_id=1), *gfns(0x10, 0x14)) == [
            (roots[1], 0x10)
        ]
        async with world.vm.srcu.reading():
            await world.mmu.unmap_gfn_range(slot_of(world), *gfns(0x10, 0x12))
        assert users(world) == {2: [0]}

    await run_alone(pool, body, FIRST, SECOND, SMM, address_spaces=2)


async def test_the_map_is_found_through_a_slot_that_is_invalid(pool: TaskPool) -> None:
    """The INVALID copy, which readers find, shares the maps of the old slot."""

    async def body(world: World) -> None:
        vcpu, old = world.vcpu(nested=True), slot_of(world)
        await map_all(world, vcpu, 0x10, 0x13)
        async with world.vm.slots_lock:
            await world.vm.slots_arch_lock.acquire()
            invalid = await world.update.invalidated(old)
            assert slot_of(world) is invalid
            assert isinstance(old.arch, SlotArchX86)
            assert isinstance(invalid.arch, SlotArchX86)
            assert old.arch is not invalid.arch
            assert old.arch.rmaps is invalid.arch.rmaps
            assert invalid.flags & INVALID
            assert users(world) == {}
            assert world.mmu.roots == []

    await run_alone(pool, body, FIRST)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("no maps", r"gfn 0x10 is shadowed, but <slot 1 #1 .*> has no rmaps"),
        ("no slot", r"gfn 0x10 is mapped, and no slot contains it"),
        (
            "no entry",
            r"gfn 0x10 is mapped in root 0, which <slot 1 #1 .*> does not know",
        ),
    ],
)
async def test_a_mapping_without_its_reverse_map_is_a_finding(
    pool: TaskPool, change: str, text: str
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu(nested=True)
        await map_all(world, vcpu, 0x10)
        slot = slot_of(world)
        match change:
            case "no maps":
                slot.arch = None
            case "no slot":
                world.vm.active(0).peek().replace(slot, None)
            case "no entry":
                users(world)[0].clear()
        async with world.vm.srcu.reading():
            assert vcpu.root is not None
            with pytest.raises(NoReverseMap, match=f"^{text}$"):
                await world.mmu.zap(vcpu.root, Gfn(0x10))

    await run_alone(pool, body, FIRST)


async def test_a_slot_without_maps_cannot_be_shadowed(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        slot = slot_of(world)
        slot.arch = None
        world.mmu.shadow_roots.allocated = True
        with pytest.raises(NoReverseMap):
            await fault(world, world.vcpu(nested=True), 0x10)

    await run_alone(pool, body, FIRST)


# Room for shadow pages.


async def test_the_oldest_shadow_root_makes_room(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        first, second = world.vcpu(nested=True), world.vcpu(as_id=1, nested=True)
        direct = world.vcpu()
        await map_all(world, direct, 0x10, 0x11)
        await map_all(world, first, 0x10)
        await map_all(world, second, 0x10)
        assert [root.pages for root in world.mmu.roots] == [2, 2, 2]
        assert await fault(world, second, 0x11) is Outcome.FIXED
        assert [root.number for root in world.mmu.roots] == [0, 2]
        assert mapped(direct) == [0x10, 0x11]
        assert mapped(first) == []
        assert first.requests == Request.FREE_OBSOLETE_ROOTS | Request.TLB_FLUSH
        assert await fault(world, first, 0x11) is Outcome.FIXED

    await run_alone(pool, body, FIRST, SMM, address_spaces=2, max_pages=4)


def test_a_root_takes_a_page_for_512_entries() -> None:
    root = Root(0, 0, 0, shadow=True)
    sizes = []
    for gfn in gfns(0, 1, 511, 512, 1024, 1025):
        root.entries[gfn] = MmioSpte(0)
        sizes.append(root.pages)
    assert sizes == [2, 2, 2, 3, 4, 4]


# Invalidations.


async def test_the_range_under_way_is_the_hull_of_all(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        mmu = world.mmu

        def retries(seq: int) -> list[int]:
            return [hva for hva in range(8) if mmu.must_retry(seq, Hva(hva))]

        assert retries(0) == []
        await mmu.invalidate_begin(Hva(2), Hva(4))
        assert retries(0) == [2, 3]
        await mmu.invalidate_begin(Hva(5), Hva(6))
        assert retries(0) == [2, 3, 4, 5]
        await mmu.invalidate_end()
        # The other one is still under way, and who was before the end must retry.
        assert retries(1) == [2, 3, 4, 5]
        assert retries(0) == list(range(8))
        await mmu.invalidate_end()
        assert retries(2) == []
        await mmu.invalidate_begin(Hva(0), HVA_MAX)
        assert mmu.must_retry(2, Hva(HVA_MAX - 1))

    await run_alone(pool, body)
