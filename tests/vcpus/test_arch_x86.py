"""What x86 adds to an update: reverse maps, the last gfn, a bound on shadow pages."""

from __future__ import annotations

import errno

import pytest

from memslots.errors import MemoryRegionError
from memslots.profile import X86_64_LINUX_6_18
from memslots.region import Region
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.tracepoints import MemoryAllocated
from rcu.reclaim import is_reclaimed
from rcu.schedule.pool import TaskPool
from rcu.tracepoints import LockAcquired
from tests.support.running import Run
from tests.vcpus.world import World, region, run_alone
from vcpus.arch_x86 import ArchX86, default_mmu_pages
from vcpus.shadow_mmu import ShadowMmu
from vcpus.shadow_roots import Rmaps, ShadowRoots, SlotArchX86
from vcpus.tracepoints import MmuPagesChanged

MAX_GFN = X86_64_LINUX_6_18.max_gfn
SLOT = region(1, 0x10, 4)


def the_slot(world: World, slot_id: int = 1) -> MemorySlot | None:
    return world.vm.active(0).peek().id_to_memslot(slot_id)


def rmaps(slot: MemorySlot | None) -> Rmaps | None:
    assert slot is not None
    assert isinstance(slot.arch, SlotArchX86)
    return slot.arch.rmaps


async def answer(world: World, request: Region) -> int:
    try:
        await world.update.set_memory_region(request)
    except MemoryRegionError as refused:
        return refused.errno
    return 0


async def need_shadow_roots(world: World) -> None:
    async with world.vm.srcu.reading():
        await world.arch.shadow_roots.first_alloc()


@pytest.mark.parametrize(
    ("first", "npages", "result"),
    [
        (MAX_GFN, 1, 0),
        (MAX_GFN - 3, 4, 0),
        (MAX_GFN - 3, 5, errno.EINVAL),
        (MAX_GFN + 1, 1, errno.EINVAL),
    ],
)
async def test_a_slot_must_not_reach_behind_the_last_gfn(
    pool: TaskPool, first: int, npages: int, result: int
) -> None:
    async def body(world: World) -> None:
        assert await answer(world, region(1, first, npages)) == result
        assert (the_slot(world) is None) is bool(result)

    await run_alone(pool, body)


async def test_a_move_behind_the_last_gfn_leaves_the_slot_where_it_was(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        await need_shadow_roots(world)
        before, maps = the_slot(world), rmaps(the_slot(world))
        assert await answer(world, region(1, MAX_GFN - 2, 4)) == errno.EINVAL
        assert the_slot(world) is before
        assert rmaps(before) is maps
        assert maps is not None
        assert not is_reclaimed(maps)
        # Two swaps were made for nothing.
        assert world.vm.active(0).peek().generation == 3
        world.vm.check()

    await run_alone(pool, body, SLOT)


async def test_slots_are_created_without_reverse_maps_until_they_are_needed(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        assert rmaps(the_slot(world)) is None
        await answer(world, region(2, 0x20))
        assert rmaps(the_slot(world, 2)) is None
        await need_shadow_roots(world)
        for slot_id in (1, 2):
            maps = rmaps(the_slot(world, slot_id))
            assert maps is not None
            assert maps.npages == 4
        await answer(world, region(3, 0x30, 2))
        maps = rmaps(the_slot(world, 3))
        assert maps is not None
        assert maps.npages == 2

    run = await run_alone(pool, body, SLOT)
    told = [e for *_, e in run.records if isinstance(e, MemoryAllocated)]
    assert [each.slot for each in told if each.kind == "rmap"] == [1, 2, 3]


async def test_reverse_maps_are_allocated_once(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await need_shadow_roots(world)
        maps = rmaps(the_slot(world))
        await need_shadow_roots(world)
        assert rmaps(the_slot(world)) is maps

    run = await run_alone(pool, body, SLOT)
    locks = [step for step in run.steps if step == "alone: acquire slots_arch_lock"]
    assert len(locks) == 1


async def test_a_change_of_flags_hands_the_reverse_maps_on(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await need_shadow_roots(world)
        before, maps = the_slot(world), rmaps(the_slot(world))
        await answer(world, region(1, 0x10, flags=LOG_DIRTY_PAGES))
        after = the_slot(world)
        assert after is not before
        assert rmaps(after) is maps
        assert maps is not None
        assert not is_reclaimed(maps)

    await run_alone(pool, body, SLOT)


async def test_a_slot_that_moves_gets_new_reverse_maps(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await need_shadow_roots(world)
        old = rmaps(the_slot(world))
        await answer(world, region(1, 0x20))
        new = rmaps(the_slot(world))
        assert new is not old
        assert new is not None
        assert old is not None
        assert (is_reclaimed(old), is_reclaimed(new)) == (True, False)

    await run_alone(pool, body, SLOT)


async def test_a_slot_that_is_deleted_takes_its_reverse_maps_with_it(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        await need_shadow_roots(world)
        maps = rmaps(the_slot(world))
        assert maps is not None
        await answer(world, region(1, 0, 0))
        assert is_reclaimed(maps)

    await run_alone(pool, body, SLOT)


async def test_every_address_space_gets_its_reverse_maps(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await need_shadow_roots(world)
        for as_id in (0, 1):
            slot = world.vm.active(as_id).peek().id_to_memslot(1)
            assert rmaps(slot) is not None

    await run_alone(pool, body, SLOT, region(0x10001, 0x10), address_spaces=2)


@pytest.mark.parametrize(
    ("pages", "bound"),
    [(0, 64), (3249, 64), (3250, 65), (50_000, 1000), ((1 << 46) - 1, 1407374883553)],
)
def test_two_percent_of_the_pages_but_at_least_64_may_be_shadow_pages(
    pages: int, bound: int
) -> None:
    assert default_mmu_pages(pages) == bound


def bounds(run: Run[World]) -> list[int]:
    events = (event for *_, event in run.records)
    return [e.n_max_mmu_pages for e in events if isinstance(e, MmuPagesChanged)]


async def test_the_budget_is_recomputed_only_if_the_count_has_changed(
    pool: TaskPool,
) -> None:
    seen: list[int | None] = []

    async def body(world: World) -> None:
        for request in (
            region(2, 0x1000, npages=5000),
            region(2, 0x1000, npages=5000, flags=LOG_DIRTY_PAGES),
            region(2, 0x3000, npages=5000, flags=LOG_DIRTY_PAGES),
            region(3, 0x100, npages=40),
            region(2, 0, npages=0),
        ):
            assert await answer(world, request) == 0
            seen.append(world.arch.mmu.max_pages)

    run = await run_alone(pool, body, region(npages=10))
    assert seen == [100, 100, 100, 101, 64]
    assert bounds(run) == [64, 100, 101, 64]
    locks = [e.lock for *_, e in run.records if isinstance(e, LockAcquired)]
    # Each time the bound changed; twice for each flush; once to write-protect.
    assert locks.count("mmu_lock") == 3 + 2 * 2 + 1


async def test_installed_slots_count_for_the_bound(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        assert world.arch.mmu.max_pages == 200

    assert bounds(await run_alone(pool, body, region(npages=10_000))) == [200]


async def test_a_bound_that_user_space_has_set_stays(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        mmu = ShadowMmu(world.vm, ShadowRoots(world.vm))
        mmu.max_pages = 3
        world.vm.arch = ArchX86(world.vm, shadow_roots=mmu.shadow_roots, mmu=mmu)
        assert await answer(world, region(2, 0x10_000, npages=10_000)) == 0
        assert mmu.max_pages == 3

    assert bounds(await run_alone(pool, body, region(npages=10_000))) == [200]
