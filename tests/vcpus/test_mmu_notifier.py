"""What the host tells KVM, which pages it is about, and that both ends agree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memslots.slot import INVALID, MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SIZE, Gfn, Hva, Pages
from rcu.reclaim import is_reclaimed
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.random_walk import RandomWalk
from tests.vcpus.world import (
    HVA,
    World,
    fault,
    guest,
    region,
    run_alone,
    run_world,
)
from vcpus.mmu_notifier import HvaWalk, MmuNotifier, NothingToHandle, gfn_range
from vcpus.page_fault import Outcome
from vcpus.page_tables import Spte
from vcpus.tracepoints import InvalidationBegan, InvalidationEnded
from vcpus.vcpu import Vcpu

FAR = Hva(HVA + 0x100_0000)
FIRST = region(1, 0x10, 4)
NEXT = region(2, 0x20, 4, hva=Hva(HVA + 4 * PAGE_SIZE))
ALIAS = region(3, 0x30, 2, hva=Hva(HVA + PAGE_SIZE))
SMM = region(0x10001, 0x10, 1)
ALL = (FIRST, NEXT, ALIAS, SMM)


def hva(page: int, offset: int = 0) -> Hva:
    return Hva(HVA + page * PAGE_SIZE + offset)


def mapped(vcpu: Vcpu) -> list[int]:
    assert vcpu.root is not None
    entries = vcpu.root.entries
    return sorted(gfn for gfn, entry in entries.items() if isinstance(entry, Spte))


# From host addresses to guest pages.


@pytest.mark.parametrize(
    ("start", "end", "pages"),
    [
        (hva(0), hva(4), (0x10, 0x14)),
        (hva(1), hva(2), (0x11, 0x12)),
        # A page that is touched at all counts, at both ends.
        (hva(1, 1), hva(2), (0x11, 0x12)),
        (hva(1, 0xFFF), hva(2, 1), (0x11, 0x13)),
        (hva(1), hva(1, 1), (0x11, 0x12)),
        # What lies outside the slot does not.
        (hva(-9), hva(1), (0x10, 0x11)),
        (hva(3, 8), hva(99), (0x13, 0x14)),
        (Hva(0), Hva(1 << 64), (0x10, 0x14)),
    ],
)
def test_a_range_becomes_the_pages_that_it_touches(
    start: Hva, end: Hva, pages: tuple[int, int]
) -> None:
    slot = MemorySlot(1, 0, 1, Gfn(0x10), Pages(4), HVA)
    assert gfn_range(slot, start, end) == pages


@given(first=st.integers(0, 5 * PAGE_SIZE - 1), length=st.integers(1, 6 * PAGE_SIZE))
def test_every_page_with_a_byte_of_the_range_and_no_other(
    first: int, length: int
) -> None:
    slot = MemorySlot(1, 0, 1, Gfn(7), Pages(5), HVA)
    start, end = Hva(HVA + first), Hva(HVA + first + length)
    touched = [
        7 + page for page in range(5) if start < hva(page + 1) and hva(page) < end
    ]
    assert list(range(*gfn_range(slot, start, end))) == touched


# Which slots.


@pytest.mark.parametrize(
    ("start", "end", "met"),
    [
        # One page of the host, and all who see it, in both address spaces.
        (hva(0), hva(1), [(0, 1, 0x10, 0x11), (1, 1, 0x10, 0x11)]),
        (hva(2), hva(3), [(0, 1, 0x12, 0x13), (0, 3, 0x31, 0x32)]),
        # The end is not part of the range: the next slot begins there.
        (hva(3), hva(4), [(0, 1, 0x13, 0x14)]),
        (hva(3), hva(4, 1), [(0, 1, 0x13, 0x14), (0, 2, 0x20, 0x21)]),
        (hva(4), hva(5), [(0, 2, 0x20, 0x21)]),
        (hva(8), hva(9), []),
        (hva(2), hva(2), []),
        (hva(3), hva(2), []),
    ],
)
async def test_every_slot_that_meets_the_range_is_told(
    pool: TaskPool, start: Hva, end: Hva, met: list[tuple[int, int, int, int]]
) -> None:
    seen: list[tuple[int, int, int, int]] = []

    async def note(slot: MemorySlot, first: Gfn, behind: Gfn) -> bool:
        seen.append((slot.as_id, slot.id, first, behind))
        return False

    async def body(world: World) -> None:
        async with world.vm.srcu.reading():
            walk = await world.notifier.handle_hva_range(start, end, None, note)
        sets = (0, 0) if start < end else ()
        assert walk == HvaWalk(sets, len(met), found=False)

    run = await run_alone(pool, body, *ALL, address_spaces=2)
    assert seen == met
    assert ("alone: acquire mmu_lock" in run.steps) is bool(met)


class TakesTheEndForTheLast(MmuNotifier):
    """Takes the end of the range for its last address."""

    async def handle_hva_range(
        self, start: Hva, end: Hva, *args: Any, **how: Any
    ) -> HvaWalk:
        return await super().handle_hva_range(start, Hva(end + 1), *args, **how)


@pytest.mark.parametrize(
    ("notifier", "left"),
    [(MmuNotifier, [0x20, 0x21]), (TakesTheEndForTheLast, [0x21])],
)
async def test_the_neighbour_of_what_is_unmapped_stays(
    pool: TaskPool, notifier: type[MmuNotifier], left: list[int]
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        for page in (0x13, 0x20, 0x21):
            await fault(world, vcpu, page)
        await world.notifier.unmap(hva(3), hva(4))
        assert mapped(vcpu) == left

    await run_alone(pool, body, *ALL, address_spaces=2, notifier=notifier)


class AsksTheTreeForTheEnd(MmuNotifier):
    """Finds the slots of a range that includes its end."""

    def slots_in(self, slots: Memslots, start: Hva, end: Hva) -> list[MemorySlot]:
        return list(slots.in_hva_range(start, end))


async def test_a_slot_that_has_nothing_of_the_range_is_a_finding(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        await world.notifier.unmap(hva(3), hva(4))

    text = r"<slot 2 #2 gfn 0x20\.\.0x24> has nothing of 0x\w+3000\.\.0x\w+4000"
    with pytest.raises(NothingToHandle, match=text) as finding:
        await run_alone(
            pool, body, *ALL, address_spaces=2, notifier=AsksTheTreeForTheEnd
        )
    assert finding.value.checker == "notifier-balanced"


async def test_a_page_that_two_slots_show_goes_from_both(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        vcpu, nested = world.vcpu(), world.vcpu(nested=True)
        for page in (0x11, 0x12, 0x30, 0x31):
            await fault(world, vcpu, page)
            await fault(world, nested, page)
        await world.notifier.unmap(hva(1), hva(2))
        assert mapped(vcpu) == mapped(nested) == [0x12, 0x31]

    await run_alone(pool, body, *ALL, address_spaces=2)


# From start to end.


async def test_both_ends_count_and_the_page_is_freed_in_between(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        mmu, invalidations, vcpu = world.mmu, world.vm.invalidations, world.vcpu()

        def state() -> tuple[int, int, int]:
            return (
                invalidations.active_count,
                mmu.invalidate_in_progress,
                mmu.invalidate_seq,
            )

        await fault(world, vcpu, 0x10)
        await guest(vcpu, 0x10)
        page = vcpu.tlb[Gfn(0x10)].page
        assert state() == (0, 0, 0)
        await world.notifier.invalidate_range_start(hva(0), hva(1))
        assert state() == (1, 1, 0)
        assert mmu.invalidate_range == (hva(0), hva(1))
        assert (mapped(vcpu), is_reclaimed(page)) == ([], False)
        await world.host.unmap(hva(0))
        assert is_reclaimed(page)
        assert await fault(world, vcpu, 0x10) is Outcome.RETRY
        assert await fault(world, vcpu, 0x11) is Outcome.FIXED
        await world.notifier.invalidate_range_end(hva(0), hva(1))
        assert state() == (0, 0, 1)
        assert await fault(world, vcpu, 0x10) is Outcome.FIXED
        root = vcpu.root
        assert root is not None
        entry = root.entries[Gfn(0x10)]
        assert isinstance(entry, Spte)
        assert (entry.page.incarnation, entry.page.value) == (1, 0)

    await run_alone(pool, body, FIRST)


async def test_a_range_without_slots_holds_up_no_fault(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await world.notifier.invalidate_range_start(FAR, Hva(FAR + PAGE_SIZE))
        assert world.vm.invalidations.active_count == 1
        assert await fault(world, world.vcpu(), 0x10) is Outcome.FIXED
        await world.notifier.invalidate_range_end(FAR, Hva(FAR + PAGE_SIZE))
        assert (world.mmu.invalidate_seq, world.mmu.invalidate_in_progress) == (0, 0)

    run = await run_alone(pool, body, FIRST)
    told = [
        (event.slots, event.in_progress, event.sets)
        for _, _, event in run.records
        if isinstance(event, InvalidationBegan | InvalidationEnded)
    ]
    assert told == [(0, 0, (0,)), (0, 0, (0,))]


async def test_only_pages_that_were_there_are_freed(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await world.host.write(hva(2), 7)
        await world.notifier.unmap(hva(0), hva(4))
        assert await world.host.read(hva(2)) == 0
        incarnations = [
            (await world.host.page(hva(page))).incarnation for page in (1, 2)
        ]
        assert incarnations == [0, 1]

    await run_alone(pool, body, FIRST)


async def test_both_ends_see_the_same_slots_whatever_the_writer_does(
    pool: TaskPool,
) -> None:
    """A slot comes and goes while pages behind it are taken back, again and again."""

    def populate(scheduler: Scheduler, world: World) -> None:
        async def change() -> None:
            for npages in (4, 0, 4):
                await world.update.set_memory_region(region(1, 0x10, npages))

        async def unmap() -> None:
            for _ in range(3):
                await world.notifier.unmap(hva(0), hva(1))

        scheduler.task("writer", change)
        for name in ("one", "two"):
            scheduler.task(name, unmap)

    seen = set()
    for seed in range(100):
        run = await run_world(pool, populate, strategy=RandomWalk(seed))
        assert run.report.ending is Ending.COMPLETED, run.report
        mmu = run.made.mmu
        assert (mmu.invalidate_in_progress, run.made.vm.invalidations.active_count) == (
            0,
            0,
        )
        seen.add(mmu.invalidate_seq)
    assert len(seen) > 2


# Other pages in their place, and their age.


@pytest.mark.parametrize("flags", [0, INVALID])
async def test_a_page_that_was_replaced_is_mapped_for_no_invalid_slot(
    pool: TaskPool, flags: int
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        for page in (0x10, 0x11):
            await fault(world, vcpu, page)
        slot = world.vm.active(0).peek().id_to_memslot(1)
        assert slot is not None
        slot.flags |= flags
        await world.mmu.invalidate_begin(hva(0), hva(1))
        await world.notifier.change_pte(hva(0))
        # What was mapped for a slot on its way out is left to whoever flushes it.
        assert mapped(vcpu) == ([0x10, 0x11] if flags else [0x11])

    await run_alone(pool, body, FIRST)


async def test_who_replaces_a_page_tells_before_and_after(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        for page in (0x10, 0x11):
            await fault(world, vcpu, page)
            assert await guest(vcpu, page, write=True)
        await world.notifier.replace(hva(0, 0x123))
        assert mapped(vcpu) == [0x11]
        assert await world.host.read(hva(0)) == 0
        assert await world.host.read(hva(1)) == 1
        assert (world.mmu.invalidate_seq, world.mmu.invalidate_in_progress) == (1, 0)

    await run_alone(pool, body, FIRST)


async def test_who_asks_for_the_age_flushes_no_tlb(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        await fault(world, vcpu, 0x11)
        await fault(world, vcpu, 0x31)
        young = world.notifier.clear_young
        assert await young(hva(2), hva(3))
        assert not await young(hva(2), hva(3))
        assert await young(hva(0), hva(2))
        assert not await young(hva(0), hva(9))
        assert mapped(vcpu) == [0x11, 0x31]
        assert not vcpu.requests

    await run_alone(pool, body, *ALL, address_spaces=2)
