"""A remembered host address is used as long as the generation stays, and no longer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import pytest

from memslots.region import Region
from memslots.slot import INVALID, LOG_DIRTY_PAGES, READONLY
from memslots.slot_set import Memslots
from memslots.tracepoints import PageMarkedDirty
from memslots.units import PAGE_SIZE, Gpa
from rcu.errors import UseAfterFree
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from tests.memslots.world import deletion
from tests.support.exploring import in_every_order, in_random_orders
from tests.support.running import Build, Run
from tests.vcpus.memory_world import (
    Guest,
    answer,
    copied,
    hva,
    looked_up,
    make_guest,
    run_alone,
    run_to_the_end,
)
from tests.vcpus.world import Looker, gpa, region
from vcpus.hva_cache import HvaCache
from vcpus.tracepoints import HvaCacheFilled

RAM = region(1, 0x10, 4, LOG_DIRTY_PAGES)
NEXT = region(2, 0x14, 4, LOG_DIRTY_PAGES, hva(8))
ELSEWHERE = region(5, 0x80, 1, hva=hva(16))
"""A slot that is in nobody's way."""

AWAY = region(1, 0x30, 4, LOG_DIRTY_PAGES)
"""A request that moves the first slot."""


# What is remembered.


async def test_a_cached_page_is_accessed_without_a_lookup(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        cache = HvaCache(guest.memory)
        await cache.init(gpa(0x11, 16), 64)
        await cache.write(7, 8, 4)
        assert await cache.read() == [7]
        assert await cache.read(60, 4) == [7]
        assert await guest.values(0, 1, 2) == [0, 7, 0]

    run = await run_alone(pool, body, RAM)
    assert looked_up(run) == [0x11]
    page = PAGE_SIZE + 16
    assert copied(run) == [
        ("hva-cache", True, page + 8, 4),
        ("hva-cache", False, page, 64),
        ("hva-cache", False, page + 60, 4),
    ]


@attrs.frozen
class Filled:
    """Guest address, length, generation and host page of a translation."""

    gpa: int
    length: int
    generation: int
    hva: int | None


def filled(run: Run[Guest]) -> list[Filled]:
    return [
        Filled(event.gpa, event.length, event.generation, event.hva)
        for _, _, event in run.records
        if isinstance(event, HvaCacheFilled)
    ]


Step = Callable[[Guest, HvaCache], Awaitable[None]]


def steps(*steps: Step | Region, kind: type[HvaCache] = HvaCache) -> Build[Guest]:
    """One task with a cache: it changes slots, and makes steps in a section each."""

    def build(scheduler: Scheduler) -> Guest:
        guest = make_guest(scheduler, RAM, NEXT)
        cache = kind(guest.memory)

        async def body() -> None:
            for step in steps:
                if isinstance(step, Region):
                    await guest.update.set_memory_region(step)
                else:
                    async with guest.vm.srcu.reading():
                        await step(guest, cache)

        scheduler.task("alone", body)
        return guest

    return build


async def init(guest: Guest, cache: HvaCache) -> None:
    await cache.init(gpa(0x11), 8)


async def init_in_vain(guest: Guest, cache: HvaCache) -> None:
    assert await answer(cache.init(gpa(0x99), 8)) == "EFAULT"


async def write(guest: Guest, cache: HvaCache) -> None:
    await cache.write(7)


async def read(guest: Guest, cache: HvaCache) -> None:
    assert await cache.read() == [7]


async def use_in_vain(guest: Guest, cache: HvaCache) -> None:
    assert await answer(cache.read()) == "EFAULT"
    assert await answer(cache.write(8)) == "EFAULT"
    assert await guest.values(1) == [7]


async def test_any_update_has_it_translated_anew(pool: TaskPool) -> None:
    run = await run_to_the_end(
        pool, steps(init, write, read, ELSEWHERE, read, read, write)
    )
    assert filled(run) == [
        Filled(gpa(0x11), 8, 2, hva(1)),
        Filled(gpa(0x11), 8, 3, hva(1)),
    ]


@pytest.mark.parametrize("change", [AWAY, deletion(1)])
async def test_what_has_gone_cannot_be_accessed(pool: TaskPool, change: Region) -> None:
    run = await run_to_the_end(
        pool, steps(init, write, change, use_in_vain, use_in_vain)
    )
    assert filled(run) == [
        Filled(gpa(0x11), 8, 2, hva(1)),
        Filled(gpa(0x11), 8, 4, None),
    ]


async def test_a_failure_lasts_until_the_next_update(pool: TaskPool) -> None:
    run = await run_to_the_end(
        pool,
        steps(
            init,
            write,
            ELSEWHERE,
            init_in_vain,
            use_in_vain,
            use_in_vain,
            deletion(5),
            read,
        ),
    )
    assert filled(run) == [
        Filled(gpa(0x11), 8, 2, hva(1)),
        Filled(gpa(0x99), 8, 3, None),
        Filled(gpa(0x11), 8, 5, hva(1)),
    ]


class StoresTheGenerationLast(HvaCache):
    """Stores the generation only once every check has been passed."""

    async def translate(self, slots: Memslots, gpa: Gpa, length: int) -> None:
        await self.look_up(slots, gpa, length)
        await self.store_generation(slots)
        self.gpa, self.length = gpa, length


async def test_who_stores_the_generation_last_accesses_what_nobody_asked_for(
    pool: TaskPool,
) -> None:
    run = await run_to_the_end(
        pool,
        steps(
            init,
            write,
            ELSEWHERE,
            init_in_vain,
            read,  # of the range before; EFAULT is right
            kind=StoresTheGenerationLast,
        ),
    )
    assert [each.gpa for each in filled(run)] == [gpa(0x11), gpa(0x99), gpa(0x11)]


# Ranges.


async def test_a_range_that_crosses_pages_is_looked_up_each_time(
    pool: TaskPool,
) -> None:
    async def body(guest: Guest) -> None:
        cache = HvaCache(guest.memory)
        await cache.init(gpa(0x13, 4000), 200)
        assert cache.memslot is None
        await cache.write(7)
        assert await cache.read() == [7, 7]
        assert await cache.read(96, 1) == [7]
        assert await guest.values(2, 3, 8, 9) == [0, 7, 7, 0]

    run = await run_alone(pool, body, RAM, NEXT)
    assert looked_up(run) == [0x13, 0x14, 0x13, 0x14, 0x13, 0x14, 0x14]
    assert {through for through, *_ in copied(run)} == {"slot"}


async def test_each_slot_of_a_range_is_looked_up_once(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        cache = HvaCache(guest.memory)
        await cache.init(gpa(0x10), 6 * PAGE_SIZE)
        assert len(await cache.read()) == 6

    run = await run_alone(pool, body, RAM, NEXT)
    assert looked_up(run) == [0x10, 0x14, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15]


@pytest.mark.parametrize(
    ("address", "length", "expected"),
    [
        (gpa(0x10), PAGE_SIZE, None),
        (gpa(0x10), 4 * PAGE_SIZE, None),
        (gpa(0x10), 4 * PAGE_SIZE + 1, "EFAULT"),
        (gpa(0x14), 8, "EFAULT"),
        (gpa(0x20), 8, "EFAULT"),
        (gpa(0x30), 8, "EFAULT"),
        (gpa(0x0F), 2 * PAGE_SIZE, "EFAULT"),
        (Gpa((1 << 64) - 8), 9, "EINVAL"),
        (Gpa((1 << 64) - 8), 8, "EFAULT"),
        (gpa(0x10), 0, "EINVAL"),
    ],
)
async def test_every_page_of_a_range_must_be_writable(
    pool: TaskPool, address: Gpa, length: int, expected: str | None
) -> None:
    rom = region(3, 0x20, 4, READONLY)
    going = region(4, 0x30, 4, INVALID)

    async def body(guest: Guest) -> None:
        cache = HvaCache(guest.memory)
        assert await answer(cache.init(address, length)) == expected
        if expected is not None:
            assert await answer(cache.read()) == "EFAULT"

    await run_alone(pool, body, RAM, rom, going)


@pytest.mark.parametrize(("offset", "length"), [(0, 65), (64, 1), (60, 5), (100, 0)])
async def test_only_bytes_of_the_range_are_accessed(
    pool: TaskPool, offset: int, length: int
) -> None:
    async def body(guest: Guest) -> None:
        cache = HvaCache(guest.memory)
        assert await answer(cache.read(0, 1)) == "EINVAL"
        await cache.init(gpa(0x10), 64)
        assert await answer(cache.read(offset, length)) == "EINVAL"
        assert await answer(cache.write(7, offset, length)) == "EINVAL"

    assert copied(await run_alone(pool, body, RAM)) == []


async def test_it_is_of_address_space_0_whoever_uses_it(pool: TaskPool) -> None:
    smm = region(1 << 16 | 1, 0x10, 4, hva=hva(16))

    async def body(guest: Guest) -> None:
        cache = HvaCache(guest.memory, Looker(0, as_id=1))
        await cache.init(gpa(0x10), 2 * PAGE_SIZE)
        await cache.write(7)
        await cache.init(gpa(0x12), 8)
        await cache.write(8)
        assert await guest.values(0, 1, 2, 16, 17, 18) == [7, 7, 8, 0, 0, 0]

    await run_alone(pool, body, RAM, smm, address_spaces=2)


@pytest.mark.parametrize("vcpu", [None, Looker(1)])
@pytest.mark.parametrize("length", [8, 2 * PAGE_SIZE])
async def test_a_write_marks_its_pages(
    pool: TaskPool, vcpu: Looker | None, length: int
) -> None:
    async def body(guest: Guest) -> None:
        log = guest.vm.dirty_log
        await log.enable_ring(PAGE_SIZE)
        log.vcpu_created(1)
        cache = HvaCache(guest.memory, vcpu)
        await cache.init(gpa(0x13), length)
        await cache.read()
        await cache.write(7)

    run = await run_alone(pool, body, RAM, NEXT)
    where = "bitmap" if vcpu is None else "ring"
    expected = [(1, 3, where), (2, 0, where)] if length > PAGE_SIZE else [(1, 3, where)]
    assert [
        (event.slot, event.offset, event.where)
        for _, _, event in run.records
        if isinstance(event, PageMarkedDirty)
    ] == expected


# While slots change.


class NeverStale(HvaCache):
    """Trusts what it remembers."""

    async def is_stale(self, slots: Memslots) -> bool:
        return False


@attrs.define
class Story:
    """What became of a cached reader while slots changed.

    Attributes:
        done: Whether every call has returned.
        afterwards: What accesses answered that began then.
    """

    done: bool = False
    afterwards: list[object] = attrs.field(factory=list)


def user_and_writer(kind: type[HvaCache], access: str, *calls: Region) -> Build[Story]:
    """One task uses a cached page twice while another changes its slot."""

    def build(scheduler: Scheduler) -> Story:
        guest = make_guest(scheduler, RAM)
        cache = kind(guest.memory)
        story = Story()

        async def use() -> None:
            async with guest.vm.srcu.reading():
                failed = await answer(cache.init(gpa(0x11), 8))
            for _ in range(0 if failed else 2):
                async with guest.vm.srcu.reading():
                    began = story.done
                    use = cache.read() if access == "read" else cache.write(7)
                    answered = await answer(use)
                    if began:
                        story.afterwards.append(answered)

        async def change() -> None:
            for call in calls:
                await guest.update.set_memory_region(call)
            story.done = True

        scheduler.task("user", use)
        scheduler.task("writer", change)
        return story

    return build


def judge(run: Run[Story]) -> str:
    """What was answered once every call had returned."""
    if isinstance(run.report.error, UseAfterFree):
        return "use after free"
    assert run.report.ending is Ending.COMPLETED, run.report.error
    return ", ".join(str(answered) for answered in run.made.afterwards)


CHANGES = pytest.mark.parametrize(
    "change", [pytest.param(AWAY, id="move"), pytest.param(deletion(1), id="delete")]
)


@pytest.mark.slow
@CHANGES
@pytest.mark.parametrize("access", ["read", "write"])
async def test_in_no_order_is_what_has_gone_accessed(
    pool: TaskPool, change: Region, access: str
) -> None:
    build = user_and_writer(HvaCache, access, change)
    verdicts = await in_every_order(pool, build, judge, preemptions=1)
    verdicts += await in_random_orders(pool, build, judge, range(300))
    assert set(verdicts) == {"", "EFAULT", "EFAULT, EFAULT"}


@pytest.mark.slow
@CHANGES
async def test_who_trusts_what_it_remembers_reads_what_has_gone(
    pool: TaskPool, change: Region
) -> None:
    build = user_and_writer(NeverStale, "read", change)
    verdicts = await in_every_order(pool, build, judge, preemptions=1)
    assert set(verdicts) >= {"[0]", "[0], [0]"}


@pytest.mark.slow
@CHANGES
async def test_who_trusts_what_it_remembers_touches_a_slot_that_was_freed(
    pool: TaskPool, change: Region
) -> None:
    build = user_and_writer(NeverStale, "write", change)
    verdicts = await in_every_order(pool, build, judge, preemptions=1)
    assert "use after free" in verdicts


@pytest.mark.slow
async def test_what_came_back_is_accessed_again(pool: TaskPool) -> None:
    build = user_and_writer(HvaCache, "read", AWAY, RAM)
    verdicts = await in_every_order(pool, build, judge, preemptions=1)
    assert set(verdicts) == {"", "[0]", "[0], [0]"}
