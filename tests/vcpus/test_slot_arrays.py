"""Arrays of x86: shared by copies, fresh after a move, some of them late."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from memslots.allocator import Allocation
from memslots.errors import MemoryRegionError
from memslots.region import Change, Region
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot
from memslots.units import Gfn
from memslots.update import Update
from memslots.vm import Vm
from rcu.reclaim import is_reclaimed
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import (
    answer,
    assert_at_rest,
    deletion,
    region,
    run_writer,
    the_slot,
)
from vcpus.arch_x86 import ArchX86
from vcpus.lpage_info import PG_LEVEL_2M
from vcpus.shadow_roots import SlotArchX86
from vcpus.tracepoints import ShadowRootAllocated

LOG = LOG_DIRTY_PAGES
MIB_2 = 512


def arch_of(slot: MemorySlot) -> SlotArchX86:
    assert isinstance(slot.arch, SlotArchX86)
    return slot.arch


def x86_of(vm: Vm) -> ArchX86:
    assert isinstance(vm.arch, ArchX86)
    return vm.arch


def with_slots(*regions: Region) -> Callable[[Scheduler], Update]:
    def build(scheduler: Scheduler) -> Update:
        vm = Vm(scheduler, arch=ArchX86)
        vm.install(regions)
        return Update(vm)

    return build


async def need_shadow_roots(vm: Vm) -> int:
    """The errno of a vCPU that needs the first shadow root."""
    try:
        async with vm.srcu.reading():
            await x86_of(vm).shadow_roots.first_alloc()
    except MemoryRegionError as error:
        return error.errno
    return 0


# Shared or fresh.


async def test_a_change_of_flags_shares_all_arrays(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        await need_shadow_roots(update.vm)
        before = the_slot(update.vm)
        owned = arch_of(before).arrays()
        assert await answer(update, region(flags=LOG)) is Change.FLAGS_ONLY
        after = the_slot(update.vm)
        assert after is not before
        assert arch_of(after).arrays() == owned
        assert not any(map(is_reclaimed, owned.values()))

    await run_writer(pool, write, with_slots(region()))


async def test_a_move_takes_fresh_arrays_and_frees_the_old(pool: TaskPool) -> None:
    async def write(update: Update) -> None:
        await need_shadow_roots(update.vm)
        owned = arch_of(the_slot(update.vm)).arrays()
        assert await answer(update, region(gfn=0x20)) is Change.MOVE
        fresh = arch_of(the_slot(update.vm)).arrays()
        assert fresh.keys() == owned.keys()
        assert not any(fresh[kind] is owned[kind] for kind in fresh)
        assert all(map(is_reclaimed, owned.values()))
        assert not any(map(is_reclaimed, fresh.values()))

    await run_writer(pool, write, with_slots(region()))


async def test_a_move_asks_anew_which_large_pages_are_whole(pool: TaskPool) -> None:
    request = region(gfn=MIB_2, npages=2 * MIB_2)
    moved = region(gfn=4 * MIB_2 + 1, npages=2 * MIB_2)

    async def write(update: Update) -> None:
        large = arch_of(the_slot(update.vm)).lpage_info
        assert large is not None
        assert not large.disallows(Gfn(MIB_2), PG_LEVEL_2M)
        assert await answer(update, moved) is Change.MOVE
        large = arch_of(the_slot(update.vm)).lpage_info
        assert large is not None
        assert large.disallows(Gfn(5 * MIB_2), PG_LEVEL_2M)

    await run_writer(pool, write, with_slots(request))


# Some of them late.


@pytest.mark.parametrize(
    ("kind", "after", "rmaps", "tracks"),
    [
        (Allocation.RMAP, 0, [False, False], [False, False]),
        (Allocation.GFN_TRACK, 0, [True, False], [False, False]),
        (Allocation.RMAP, 1, [True, False], [True, False]),
        (Allocation.GFN_TRACK, 1, [True, True], [True, False]),
    ],
)
async def test_what_some_slots_have_got_is_kept_and_the_rest_tried_again(
    pool: TaskPool,
    kind: Allocation,
    after: int,
    rmaps: list[bool],
    tracks: list[bool],
) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        roots = x86_of(vm).shadow_roots
        slots = [arch_of(the_slot(vm, slot_id)) for slot_id in (1, 2)]
        vm.allocator.fail(kind, after=after)
        assert await need_shadow_roots(vm) == errno.ENOMEM
        assert not roots.allocated
        assert vm.slots_arch_lock.is_free()
        assert [slot.rmaps is not None for slot in slots] == rmaps
        assert [slot.gfn_track is not None for slot in slots] == tracks
        kept = [slot.arrays() for slot in slots]
        assert await need_shadow_roots(vm) == 0
        for slot, before in zip(slots, kept, strict=True):
            for which, array in slot.arrays().items():
                assert array is not None
                assert before[which] in {None, array}

    run = await run_writer(pool, write, with_slots(region(1), region(2, 0x20)))
    told = [
        event for *_, event in run.records if isinstance(event, ShadowRootAllocated)
    ]
    assert len(told) == 1
    assert_at_rest(run.made.vm)


async def test_what_was_got_before_the_memory_ran_out_lives_as_long_as_the_slot(
    pool: TaskPool,
) -> None:
    async def write(update: Update) -> None:
        vm = update.vm
        vm.allocator.fail(Allocation.GFN_TRACK)
        assert await need_shadow_roots(vm) == errno.ENOMEM
        maps = arch_of(the_slot(vm)).rmaps
        assert await answer(update, region(flags=LOG)) is Change.FLAGS_ONLY
        assert arch_of(the_slot(vm)).rmaps is maps
        assert await answer(update, region(gfn=0x20)) is Change.MOVE
        assert is_reclaimed(maps)
        assert arch_of(the_slot(vm)).rmaps is None  # there are no shadow roots yet
        assert await answer(update, deletion()) is Change.DELETE

    await run_writer(pool, write, with_slots(region()))
