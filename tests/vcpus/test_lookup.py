"""From gfn to slot: which cache answers, and when it must not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from memslots.generation import UPDATE_IN_PROGRESS
from memslots.slot import INVALID, LOG_DIRTY_PAGES
from memslots.units import Gfn
from rcu.errors import NotProtected
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from rcu.trace import Record
from scenarios.strategies.random_walk import RandomWalk
from tests.vcpus.world import (
    Looker,
    World,
    gfns,
    lookups,
    region,
    run_alone,
    run_world,
)
from vcpus.lookup import Granularity
from vcpus.tracepoints import SetDereferenced, SlotLookedUp

FIRST = region(1, 0x10, 4)
SECOND = region(2, 0x20, 4)


async def look(world: World, looker: Looker | None, *numbers: int) -> None:
    """Look up, in one section; without a vCPU through the set's cache."""
    async with world.vm.srcu.reading():
        for gfn in gfns(*numbers):
            if looker is None:
                await world.lookup.gfn_to_memslot(0, gfn)
            else:
                await world.lookup.vcpu_gfn_to_memslot(looker, gfn)


async def test_a_vcpu_remembers_the_slot_that_it_found_last(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await look(world, Looker(), 0x10, 0x13, 0x20, 0x10, 0x12)

    assert lookups(await run_alone(pool, body, FIRST, SECOND)) == [
        ("tree", 1),
        ("vcpu", 1),
        ("tree", 2),
        ("tree", 1),
        ("vcpu", 1),
    ]


async def test_the_memory_of_a_vcpu_outlives_its_section(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        looker = Looker()
        await look(world, looker, 0x10)
        await look(world, looker, 0x11)

    run = await run_alone(pool, body, FIRST)
    assert lookups(run) == [("tree", 1), ("vcpu", 1)]


async def test_a_lookup_in_a_hole_finds_nothing_and_forgets_nothing(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        await look(world, Looker(), 0x14, 0x10, 0xF, 0x14, 0x10)
        await look(world, None, 0x14, 0x10, 0xF, 0x14, 0x10)

    run = await run_alone(pool, body, FIRST, SECOND)
    assert lookups(run) == [
        ("tree", None),
        ("tree", 1),
        ("tree", None),
        ("tree", None),
        ("vcpu", 1),
        ("tree", None),
        ("tree", 1),
        ("tree", None),
        ("tree", None),
        ("set", 1),
    ]


async def test_the_memory_of_a_set_is_everybodys(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await look(world, None, 0x10)
        await look(world, None, 0x13, 0x20, 0x23, 0x10)

    run = await run_alone(pool, body, FIRST, SECOND)
    assert lookups(run) == [
        ("tree", 1),
        ("set", 1),
        ("tree", 2),
        ("set", 2),
        ("tree", 1),
    ]
    assert run.made.vm.sets[0][0].last_used_slot is not None
    assert run.made.vm.sets[0][1].last_used_slot is None


async def test_vcpus_neither_use_nor_change_the_memory_of_the_set(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        one, other = Looker(0), Looker(1)
        await look(world, None, 0x10)
        await look(world, one, 0x11, 0x20)
        await look(world, other, 0x20)
        await look(world, None, 0x12)

    assert lookups(await run_alone(pool, body, FIRST, SECOND)) == [
        ("tree", 1),
        ("tree", 1),
        ("tree", 2),
        ("tree", 2),
        ("set", 1),
    ]


async def test_a_vcpu_forgets_when_the_generation_has_changed(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        looker = Looker()
        await look(world, looker, 0x10, 0x10)
        await world.update.set_memory_region(region(2, 0x20, flags=LOG_DIRTY_PAGES))
        await look(world, looker, 0x10, 0x10)
        assert looker.last_used_slot_gen == 3

    # Slot 2 is replaced by object 3; slot 1 stays what it was.
    assert lookups(await run_alone(pool, body, FIRST, SECOND)) == [
        ("tree", 1),
        ("vcpu", 1),
        ("tree", 1),
        ("vcpu", 1),
    ]


async def test_a_set_keeps_its_own_memory_over_swaps(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await look(world, None, 0x10)
        await world.update.set_memory_region(region(2, 0x20, flags=LOG_DIRTY_PAGES))
        await look(world, None, 0x10)
        await world.update.set_memory_region(region(2, 0x20))
        await look(world, None, 0x10)

    run = await run_alone(pool, body, FIRST, SECOND)
    assert lookups(run) == [("tree", 1), ("tree", 1), ("set", 1)]


async def test_the_memory_of_a_set_is_repaired_when_its_slot_leaves(
    pool: TaskPool,
) -> None:
    async def body(world: World) -> None:
        await look(world, None, 0x10)
        await world.update.set_memory_region(region(1, 0x10, flags=LOG_DIRTY_PAGES))
        await world.update.set_memory_region(region(2, 0x20))
        await look(world, None, 0x10)
        await world.update.set_memory_region(region(1, 0, 0))
        await look(world, None, 0x10)

    # Object 2 has taken the place of object 1, also in the memory of set 0.
    run = await run_alone(pool, body, FIRST)
    assert lookups(run) == [("tree", 1), ("set", 2), ("tree", None)]


async def test_an_update_is_seen_under_three_generations(pool: TaskPool) -> None:
    generations = set()
    for seed in range(30):

        def populate(scheduler: Scheduler, world: World) -> None:
            looker = Looker()

            async def read() -> None:
                for _ in range(12):
                    await look(world, looker, 0x10)

            async def write() -> None:
                await world.update.set_memory_region(region(2, 0x20))

            scheduler.task("reader", read)
            scheduler.task("writer", write)

        run = await run_world(pool, populate, FIRST, strategy=RandomWalk(seed))
        seen = [e.generation for e in events_of(run.records) if e.generation]
        order = [1, 1 | UPDATE_IN_PROGRESS, 2]
        assert [order.index(each) for each in seen] == sorted(map(order.index, seen))
        generations |= set(seen)
    assert generations == {1, 1 | UPDATE_IN_PROGRESS, 2}


def events_of(records: Iterable[Record]) -> list[SlotLookedUp]:
    return [event for *_, event in records if isinstance(event, SlotLookedUp)]


async def test_a_vcpu_in_another_address_space_does_not_take_what_it_remembers(
    pool: TaskPool,
) -> None:
    other = region(0x10001, 0x10, 4)

    async def body(world: World) -> None:
        looker = Looker()
        for as_id in (0, 1, 1, 0):
            looker.as_id = as_id
            await look(world, looker, 0x10)

    run = await run_alone(pool, body, FIRST, other, address_spaces=2)
    assert lookups(run) == [("tree", 1), ("tree", 2), ("vcpu", 2), ("tree", 1)]
    assert [event.as_id for event in events_of(run.records)] == [0, 1, 1, 0]
    assert [event.generation for event in events_of(run.records)] == [2, 3, 3, 2]


async def test_a_lookup_returns_invalid_slots_too(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await look(world, Looker(), 0x10, 0x10)
        await look(world, None, 0x10, 0x10)

    run = await run_alone(pool, body, region(1, 0x10, flags=INVALID))
    assert lookups(run) == [("tree", 1), ("vcpu", 1), ("tree", 1), ("set", 1)]
    assert {e.slot.flags for e in events_of(run.records) if e.slot} == {INVALID}


@pytest.mark.parametrize("who", ["a vcpu", "nobody"])
async def test_a_lookup_outside_every_section_is_a_finding(
    pool: TaskPool, who: str
) -> None:
    async def body(world: World) -> None:
        if who == "a vcpu":
            await world.lookup.vcpu_gfn_to_memslot(Looker(), Gfn(0x10))
        else:
            await world.lookup.gfn_to_memslot(0, Gfn(0x10))

    text = r"^alone dereferences memslots\[0\] outside a read section of kvm->srcu$"
    with pytest.raises(NotProtected, match=text):
        await run_alone(pool, body, FIRST)


async def test_slots_lock_protects_a_lookup_like_a_section(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        async with world.vm.slots_lock:
            await world.lookup.gfn_to_memslot(0, Gfn(0x10))

    assert lookups(await run_alone(pool, body, FIRST)) == [("tree", 1)]


async def test_every_lookup_tells_which_set_it_holds(pool: TaskPool) -> None:
    async def body(world: World) -> None:
        await look(world, None, 0x10)
        await world.update.set_memory_region(region(2, 0x20))
        await look(world, None, 0x10)

    run = await run_alone(pool, body, FIRST)
    told = [
        (type(event).__name__, event.set)
        for *_, event in run.records
        if isinstance(event, SetDereferenced | SlotLookedUp)
    ]
    assert told == [
        ("SetDereferenced", 0),
        ("SlotLookedUp", 0),
        ("SetDereferenced", 1),
        ("SlotLookedUp", 1),
    ]


MANY = [region(n, 0x10 * n, 8) for n in range(1, 40)]


@pytest.mark.parametrize("who", ["a vcpu", "nobody"])
async def test_both_granularities_find_the_same(pool: TaskPool, who: str) -> None:
    wanted = range(0x8, 0x290, 5)

    async def body(world: World) -> None:
        await look(world, Looker() if who == "a vcpu" else None, *wanted)

    by_operation = await run_alone(pool, body, *MANY)
    by_node = await run_alone(pool, body, *MANY, granularity=Granularity.NODE)
    assert lookups(by_node) == lookups(by_operation)
    assert len(lookups(by_node)) == len(wanted)
    assert len({serial for _, serial in lookups(by_node)}) == len(MANY) + 1


@pytest.mark.parametrize("gfn", [0x10, 0x88, 0x100, 0x18, 0x277])
async def test_node_granularity_makes_each_node_a_step(
    pool: TaskPool, gfn: int
) -> None:
    async def body(world: World) -> None:
        await look(world, Looker(), gfn)

    def steps(granularity: Granularity) -> int:
        run = runs[granularity]
        return run.steps.count(f"alone: {run.made.vm.sets[0][0].lookup}")

    runs = {
        granularity: await run_alone(pool, body, *MANY, granularity=granularity)
        for granularity in Granularity
    }
    tree = runs[Granularity.NODE].made.vm.sets[0][0]
    visited = len(list(tree.walk(Gfn(gfn))))
    assert 1 <= visited <= 8
    assert steps(Granularity.OPERATION) == 1
    assert steps(Granularity.NODE) == 1 + visited
