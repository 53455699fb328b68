"""Calls that are made up: half of them succeed, and none is dangerous."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import attrs
import pytest

from memslots.profile import X86_64_LINUX_6_18
from memslots.region import Region
from memslots.slot import GUEST_MEMFD, LOG_DIRTY_PAGES
from memslots.units import PAGE_SIZE, Gpa, Hva
from rcu.schedule.pool import TaskPool
from scenarios.parity.calls import (
    MAX_LOGGED_PAGES,
    EnableCap,
    Features,
    GetDirtyLog,
    SetRegion,
)
from scenarios.parity.chance import Chance
from scenarios.parity.compare import Exchange
from scenarios.parity.generator import Generator, slots_in_play
from scenarios.parity.parity import Parity, Wanted, exchanges, vms
from scenarios.parity.requests import BACKED_HOST_MEMORY
from scenarios.parity.tracked import Bag, Tracked
from tests.scenarios.parity.plain_kernel import FEATURES, PlainKernel, PlainVm

LIMITS = FEATURES.profile


def made_up(wanted: Wanted) -> list[Exchange]:
    made: list[Exchange] = []
    for vm, generator, count in vms(PlainKernel(), wanted):
        made += exchanges(vm, generator, count)
    return made


@pytest.fixture(scope="module")
def made() -> list[Exchange]:
    return made_up(Wanted(calls=4_000, seed=5))


def regions(made: list[Exchange]) -> Iterator[tuple[Region, int]]:
    for exchange in made:
        if isinstance(exchange.call, SetRegion) and exchange.call.region is not None:
            yield exchange.call.region, exchange.kernel.result


@pytest.mark.slow
async def test_a_kernel_of_sets_and_dicts_agrees_with_the_model(pool: TaskPool) -> None:
    tally = await Parity(PlainKernel(), Wanted(calls=4_500, seed=2)).run(pool)
    assert (tally.agreed, tally.ended_by, tally.vms) == (4_500, "calls", 3)


def test_about_half_of_the_calls_succeed(made: list[Exchange]) -> None:
    succeeded = sum(each.kernel.result >= 0 for each in made)
    assert 0.45 < succeeded / len(made) < 0.6


def test_every_errno_comes_up(made: list[Exchange]) -> None:
    errnos = Counter(-each.kernel.result for each in made)
    assert set(errnos) == {0, 2, 6, 7, 9, 14, 17, 22}


def test_the_same_seed_makes_the_same_calls(made: list[Exchange]) -> None:
    assert made_up(Wanted(calls=4_000, seed=5)) == made
    assert made_up(Wanted(calls=500, seed=6)) != made[:500]


def test_no_slot_has_many_pages(made: list[Exchange]) -> None:
    for region, _ in regions(made):
        refused = region.npages > LIMITS.mem_max_nr_pages
        assert refused or region.npages <= 8192
        logged = region.flags & LOG_DIRTY_PAGES
        assert refused or not logged or region.npages <= MAX_LOGGED_PAGES


def test_a_request_without_file_never_equals_one_with(made: list[Exchange]) -> None:
    for region, _ in regions(made):
        hva = region.userspace_addr
        if hva < LIMITS.user_address_end:
            window = BACKED_HOST_MEMORY <= hva < BACKED_HOST_MEMORY + (1 << 32)
            assert window is bool(region.flags & GUEST_MEMFD)


def test_fields_fit_the_structs(made: list[Exchange]) -> None:
    for region, _ in regions(made):
        assert 0 <= region.slot < 1 << 32
        assert 0 <= region.flags < 1 << 32
        for field in (
            region.guest_phys_addr,
            region.memory_size,
            region.userspace_addr,
            region.guest_memfd_offset,
        ):
            assert 0 <= field < 1 << 64


def test_slots_rise_and_fall_like_a_tide() -> None:
    wanted = Wanted(calls=3_000, slots=100, one_vm=True, recordable=True)
    vm, generator, count = next(vms(PlainKernel(), wanted))
    levels = [len(generator.tracked.used) for _ in exchanges(vm, generator, count)]
    assert max(levels) >= 90
    assert min(levels[levels.index(max(levels)) :]) <= 30


def test_a_recording_can_hold_all_about_its_regions() -> None:
    made = made_up(Wanted(calls=3_000, one_vm=True, recordable=True))
    assert not any(region.flags & GUEST_MEMFD for region, _ in regions(made))
    assert SetRegion(None) not in [exchange.call for exchange in made]
    assert GetDirtyLog(None) in [exchange.call for exchange in made]


def test_an_old_kernel_is_asked_what_it_knows() -> None:
    profile = attrs.evolve(
        X86_64_LINUX_6_18, guest_memfd=False, readonly_mem=False, user_mem_slots=509
    )
    features = Features(profile, address_space_count=2, region2=False)
    chance = Chance(1)
    slots = slots_in_play(chance, features, 50)
    assert {slot >> 16 for slot in slots} == {0, 1}
    generator = Generator(chance, features, slots)
    vm = PlainVm(lambda call: None)
    made = [*exchanges(vm, generator, 500)]
    good = [region for region, result in regions(made) if result == 0]
    assert not any(region.v2 or region.flags & ~LOG_DIRTY_PAGES for region in good)


@pytest.mark.parametrize("count", [1, 2, 3, 64, 32764])
def test_so_many_ids_are_in_play(count: int) -> None:
    slots = slots_in_play(Chance(1), FEATURES, count)
    assert len(slots) == len(set(slots)) == count
    assert slots[0] == 0
    assert count == 1 or slots[-1] == 32763


def test_rings_are_for_some_vms_only() -> None:
    kernel = PlainKernel()
    with_rings = []
    for vm, generator, count in vms(kernel, Wanted(calls=6_500)):
        made = [*exchanges(vm, generator, count)]
        with_rings.append(
            any(
                isinstance(each.call, EnableCap)
                and each.call.capability in {192, 223}
                and not each.kernel.result
                for each in made
            )
        )
    assert with_rings == [False, True, False, False]


# What is tracked.


def region(slot: int, gfn: int, npages: int) -> Region:
    return Region(slot, 0, Gpa(gfn * PAGE_SIZE), npages * PAGE_SIZE, Hva(0))


def test_a_bag_gives_what_is_in_it() -> None:
    bag = Bag()
    for item in (1, 2, 3, 2):
        bag.add(item)
    bag.discard(1)
    bag.discard(9)
    assert len(bag) == 2
    assert {bag.draw(Chance(seed)) for seed in range(20)} == {2, 3}


def test_what_succeeded_is_tracked() -> None:
    tracked = Tracked([1, 2, 1 << 16])
    tracked.succeeded(region(1, 10, 4))
    tracked.succeeded(region(2, 20, 4))
    assert (len(tracked.used), len(tracked.free), tracked.most_used) == (2, 1, 2)
    assert tracked.is_free(0, 14, 6)
    assert not tracked.is_free(0, 13, 1)
    assert not tracked.is_free(0, 14, 7)
    assert tracked.is_free(0, 14, 7, but_for=2)
    assert tracked.is_free(0, 9, 7, but_for=1)
    assert not tracked.is_free(0, 0, 100, but_for=1)
    assert tracked.is_free(1, 10, 4)
    tracked.succeeded(region(1, 30, 4))
    assert tracked.is_free(0, 10, 4)
    tracked.succeeded(region(1, 0, 0))
    assert (len(tracked.used), len(tracked.free), tracked.most_used) == (1, 2, 2)
