"""What is remembered of a page without a slot is forgotten when it may have one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memslots.generation import in_progress
from memslots.region import Region
from memslots.slot import LOG_DIRTY_PAGES
from memslots.slot_set import Memslots
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.round_robin import RoundRobin
from tests.support.running import Run
from tests.vcpus.world import (
    World,
    access,
    deletion,
    fault,
    gfns,
    region,
    run_alone,
    run_world,
)
from vcpus.mmio_cache import MmioCache, MmioUser
from vcpus.page_fault import Outcome
from vcpus.page_tables import MmioSpte
from vcpus.tracepoints import GuestAccessed, MmioCacheHit, PageFaulted
from vcpus.vcpu import AccessKind

SLOT = region(1, 0x10, 1)
HOLE, OTHER_HOLE = gfns(0x20, 0x30)
FILLED = region(2, 0x20, 1)
LOGGED = region(1, 0x10, 1, LOG_DIRTY_PAGES)


def hits(run: Run[World]) -> list[tuple[int, int, str]]:
    """vCPU, page and cache of each hit."""
    return [
        (event.vcpu, event.gfn, event.found_in)
        for _, _, event in run.records
        if isinstance(event, MmioCacheHit)
    ]


class Watched(Update):
    """Lets a vCPU look just before the new number can be seen.

    Attributes:
        look: What it does; called once.
    """

    look: Callable[[], Awaitable[None]] | None = None

    async def advance_generation(self, slots: Memslots, generation: int) -> None:
        await self.vm.arch.memslots_updated(generation)
        await self.let_look()
        await self._scheduler.point(slots.generation_location.write)
        slots.generation = generation

    async def let_look(self) -> None:
        look, self.look = self.look, None
        if look is not None:
            await look()


# The bits of the generation.


def cache(bits: int, address_spaces: int) -> MmioCache:
    scheduler = ControlledScheduler(RoundRobin())
    return MmioCache(Vm(scheduler, address_space_count=address_spaces), bits)


@pytest.mark.parametrize(
    ("bits", "generation", "low"),
    [(19, 5, 5), (19, (1 << 19) + 5, 5), (2, 7, 3), (3, 8, 0), (4, 0xFE, 0xE)],
)
def test_an_entry_keeps_the_low_bits_and_never_the_mark(
    bits: int, generation: int, low: int
) -> None:
    assert cache(bits, 1).low_bits(generation) == low
    assert cache(bits, 1).low_bits(in_progress(generation)) == low


@pytest.mark.parametrize(
    ("bits", "address_spaces", "wraps"),
    [
        (2, 1, [4, 8, 12, 16]),
        (3, 1, [8, 16]),
        (2, 2, [4, 5, 8, 9, 12, 13, 16, 17]),
        (3, 2, [8, 9, 16, 17]),
        (4, 2, [16, 17]),
    ],
)
def test_it_wraps_in_each_address_space(
    bits: int, address_spaces: int, wraps: list[int]
) -> None:
    mmio = cache(bits, address_spaces)
    # Address space 1 begins with 1: only what follows is the number of an update.
    numbers = range(address_spaces, 18)
    assert [number for number in numbers if mmio.has_wrapped(number)] == wraps


class LooksForZero(MmioCache):
    """Forgets that the numbers of address space 1 are odd."""

    def has_wrapped(self, generation: int) -> bool:
        return not self.low_bits(generation)


def mistaken(mmio: MmioCache, updates: list[int]) -> bool:
    """Whether an old entry is ever taken for one of the newest set."""
    count = mmio.vm.address_space_count
    generations = list(range(count))
    labels: list[set[int]] = [{mmio.low_bits(number)} for number in generations]
    for as_id in updates:
        generations[as_id] += count
        new = generations[as_id]
        if mmio.has_wrapped(new):
            labels = [set() for _ in labels]
        if mmio.low_bits(new) in labels[as_id]:
            return True
        labels[as_id].add(mmio.low_bits(new))
    return False


@given(
    bits=st.integers(2, 4),
    spaces=st.integers(1, 2),
    updates=st.lists(st.integers(0, 1), max_size=40),
)
def test_no_old_entry_is_taken_for_a_new_one(
    bits: int, spaces: int, updates: list[int]
) -> None:
    mmio = cache(bits, spaces)
    assert not mistaken(mmio, [as_id % spaces for as_id in updates])


def test_an_old_entry_of_address_space_1_is_taken_for_a_new_one_without_its_bit() -> (
    None
):
    broken = LooksForZero(cache(2, 2).vm, 2)
    assert not mistaken(broken, [0] * 20)
    assert mistaken(broken, [1] * 2)
    assert not mistaken(cache(2, 2), [1] * 20)


# Two caches: the page tables, and the vCPU's own.


async def test_a_page_without_a_slot_is_looked_up_once(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        first, second = world.vcpu(), world.vcpu()
        for gfn in (HOLE, HOLE, OTHER_HOLE, OTHER_HOLE, HOLE):
            assert await fault(world, first, gfn) is Outcome.MMIO
        # The page tables are shared; what a vCPU remembers itself is not.
        assert await fault(world, second, HOLE) is Outcome.MMIO
        assert await fault(world, second, HOLE) is Outcome.MMIO

    run = await run_alone(pool, body, SLOT)
    assert hits(run) == [
        (0, HOLE, "vcpu"),
        (0, OTHER_HOLE, "vcpu"),
        (0, HOLE, "spte"),
        (1, HOLE, "spte"),
        (1, HOLE, "vcpu"),
    ]


@pytest.mark.parametrize("zap_all", [False, True])
async def test_a_slot_that_fills_the_hole_is_found(
    pool: TaskPool, *, zap_all: bool
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()
        assert await fault(world, vcpu, HOLE) is Outcome.MMIO
        await world.update.set_memory_region(FILLED)
        assert await fault(world, vcpu, HOLE) is Outcome.FIXED
        await world.update.set_memory_region(deletion(2))
        assert await fault(world, vcpu, HOLE) is Outcome.MMIO

    run = await run_alone(pool, body, SLOT, zap_all=zap_all)
    assert hits(run) == []


@pytest.mark.parametrize("nested", [False, True])
async def test_what_is_noted_during_an_update_dies_with_it(
    pool: TaskPool, *, nested: bool
) -> None:
    """With the old number, since the new one is not known; the vCPU notes nothing."""

    async def body(world: World) -> None:
        vcpu = world.vcpu(nested=nested)

        async def look() -> None:
            for _ in range(2):
                assert await fault(world, vcpu, HOLE) is Outcome.MMIO
            (root,) = world.mmu.roots
            entry = root.entries[HOLE]
            assert isinstance(entry, MmioSpte)
            assert (entry.generation, vcpu.mmio_gfn) == (1, None)

        assert isinstance(world.update, Watched)
        world.update.look = look
        await world.update.set_memory_region(LOGGED)
        assert world.vm.active(0).peek().generation == 2
        assert await fault(world, vcpu, HOLE) is Outcome.MMIO
        assert vcpu.mmio_gfn == HOLE

    run = await run_alone(pool, body, SLOT, update=Watched)
    assert hits(run) == []


async def test_a_vcpu_remembers_by_the_generation_of_its_own_address_space(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        smm = world.vcpu(as_id=1)
        assert await fault(world, smm, HOLE) is Outcome.MMIO
        await world.update.set_memory_region(LOGGED)
        assert await fault(world, smm, HOLE) is Outcome.MMIO
        await world.update.set_memory_region(region(0x10002, HOLE, 1))
        assert await fault(world, smm, HOLE) is Outcome.FIXED
        # And what was noted for the other one is not looked at.
        assert await fault(world, world.vcpu(), HOLE) is Outcome.MMIO

    run = await run_alone(pool, body, SLOT, address_spaces=2)
    assert hits(run) == [(0, HOLE, "vcpu")]


class AsksAddressSpace0(MmioCache):
    """Takes the generation of address space 0, wherever the vCPU is."""

    async def generation(self, vcpu: MmioUser) -> int:
        as_id, vcpu.as_id = vcpu.as_id, 0
        generation = await super().generation(vcpu)
        vcpu.as_id = as_id
        return generation


async def test_a_vcpu_that_asks_address_space_0_overlooks_a_new_slot(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        smm = world.vcpu(as_id=1)
        assert await fault(world, smm, HOLE) is Outcome.MMIO
        await world.update.set_memory_region(region(0x10002, HOLE, 1))
        assert await fault(world, smm, HOLE) is Outcome.MMIO

    run = await run_alone(pool, body, SLOT, address_spaces=2, mmio=AsksAddressSpace0)
    assert hits(run) == [(0, HOLE, "vcpu")]


# While a hole is filled.


def fill_while_touched(scheduler: Scheduler, world: World) -> None:
    vcpu = world.vcpu()

    async def run() -> None:
        await vcpu.run([access(AccessKind.READ, HOLE)], None)

    async def fill() -> None:
        await world.update.set_memory_region(FILLED)
        await vcpu.kick_out()

    scheduler.task("vcpu0", run)
    scheduler.task("writer", fill)


async def test_a_hole_that_is_filled_is_never_a_hole_again(pool: TaskPool) -> None:
    seen: Counter[str] = Counter()
    for seed in range(100):
        run = await run_world(
            pool, fill_while_touched, SLOT, strategy=RandomWalk(seed), bits=2
        )
        assert run.report.ending is Ending.COMPLETED
        told = [
            "READ" if isinstance(event, GuestAccessed) else event.outcome
            for _, _, event in run.records
            if isinstance(event, GuestAccessed | PageFaulted)
        ]
        order = ["mmio", "fixed", "READ"]
        assert told == sorted(told, key=order.index)
        seen.update(told)
    assert seen["fixed"] == 100
    assert min(seen["mmio"], seen["READ"]) > 20


# The wrap. In two bits, every fourth number is like another.


class TellsTooLate(Watched):
    """Lets the architecture hear of the new number when readers see it already."""

    async def advance_generation(self, slots: Memslots, generation: int) -> None:
        await self._scheduler.point(slots.generation_location.write)
        slots.generation = generation
        await self.let_look()
        await self.vm.arch.memslots_updated(generation)


def slots(count: int) -> list[Region]:
    """That many slots of a page; the generation is their number then."""
    return [region(slot + 3, 0x100 + slot, 1) for slot in range(count)]


ON, OFF = region(3, 0x100, 1, LOG_DIRTY_PAGES), region(3, 0x100, 1)


@pytest.mark.parametrize(
    ("update", "seen"), [(Watched, Outcome.FIXED), (TellsTooLate, Outcome.MMIO)]
)
async def test_a_number_that_wraps_is_told_before_it_is_seen(
    pool: TaskPool, update: type[Watched], seen: Outcome
) -> None:
    async def body(world: World) -> None:
        vcpu = world.vcpu()

        async def look() -> None:
            assert await fault(world, vcpu, HOLE) is seen

        assert world.vm.active(0).peek().generation == 4
        assert await fault(world, vcpu, HOLE) is Outcome.MMIO
        for change in (FILLED, ON, OFF):
            await world.update.set_memory_region(change)
        assert isinstance(world.update, Watched)
        world.update.look = look
        await world.update.set_memory_region(ON)
        assert world.vm.active(0).peek().generation == 8

    await run_alone(pool, body, *slots(4), bits=2, update=update)


async def test_what_is_noted_between_the_zap_and_the_number_lasts_a_round(
    pool: TaskPool,
) -> None:
    """So it does in the kernel: with 19 bits, until half a million updates later."""

    async def body(world: World) -> None:
        vcpu = world.vcpu()

        async def look() -> None:
            assert await fault(world, vcpu, HOLE) is Outcome.MMIO

        assert isinstance(world.update, Watched)
        world.update.look = look
        assert world.vm.active(0).peek().generation == 3
        for change in (ON, FILLED, OFF, ON):
            await world.update.set_memory_region(change)
        assert world.vm.active(0).peek().generation == 7
        assert await fault(world, vcpu, HOLE) is Outcome.MMIO

    run = await run_alone(pool, body, *slots(3), bits=2, update=Watched)
    assert hits(run) == [(0, HOLE, "spte")]
