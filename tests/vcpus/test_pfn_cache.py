"""A remembered host page is touched only as long as the notifier has not taken it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import pytest

from memslots.region import Region
from memslots.slot import INVALID, LOG_DIRTY_PAGES, READONLY
from memslots.tracepoints import PageMarkedDirty
from memslots.units import PAGE_SIZE, Gpa, Hva
from rcu.errors import NotProtected, SleepInAtomic
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.round_robin import RoundRobin
from tests.memslots.world import deletion
from tests.support.exchanging import difference, exchangeable
from tests.support.exploring import in_every_order, in_random_orders
from tests.support.running import Build, Run, run_controlled
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
from vcpus.cached_reader import CachedReader
from vcpus.host_memory import HostPage
from vcpus.pfn_cache import PfnCache
from vcpus.tracepoints import PfnCacheInvalidated, PfnCacheRefreshed

RAM = region(1, 0x10, 4, LOG_DIRTY_PAGES)
ELSEWHERE = region(5, 0x80, 1, hva=hva(16))
AWAY = region(1, 0x30, 4, LOG_DIRTY_PAGES)

X, Y = gpa(0x11), gpa(0x12)
PAGE_X, PAGE_Y = hva(1), hva(2)


def make_cache(guest: Guest, kind: type[PfnCache] = PfnCache) -> PfnCache:
    return kind(guest.memory, guest.mmu, guest.caches)


def unmap(guest: Guest, page: Hva) -> Awaitable[None]:
    """What the host does to take a page back."""
    return guest.notifier.unmap(page, Hva(page + PAGE_SIZE))


Step = Callable[[Guest, PfnCache], Awaitable[None]]


def steps(*steps: Step | Region | Hva) -> Build[Guest]:
    """One task with a cache: it changes slots, unmaps pages, and makes steps."""

    def build(scheduler: Scheduler) -> Guest:
        guest = make_guest(scheduler, RAM)
        cache = make_cache(guest)

        async def body() -> None:
            for step in steps:
                if isinstance(step, Region):
                    await guest.update.set_memory_region(step)
                elif isinstance(step, int):
                    await unmap(guest, step)
                else:
                    async with guest.vm.srcu.reading():
                        await step(guest, cache)

        scheduler.task("alone", body)
        return guest

    return build


async def activate(guest: Guest, cache: PfnCache) -> None:
    await cache.activate(X, 8)


async def write(guest: Guest, cache: PfnCache) -> None:
    await cache.write(X, 7, 8)


async def read_7(guest: Guest, cache: PfnCache) -> None:
    assert await cache.read(X, 8) == 7


async def read_0(guest: Guest, cache: PfnCache) -> None:
    assert await cache.read(X, 8) == 0


async def read_in_vain(guest: Guest, cache: PfnCache) -> None:
    assert await answer(cache.read(X, 8)) == "EFAULT"
    assert (cache.page, cache.uhva, cache.valid) == (None, None, False)


def refreshed(run: Run[Guest]) -> list[tuple[int, int, int]]:
    """Guest address, generation and host address of each refresh."""
    return [
        (event.gpa, event.generation, event.hva)
        for _, _, event in run.records
        if isinstance(event, PfnCacheRefreshed)
    ]


def invalidated(run: Run[Guest]) -> list[int]:
    """The host address of each page that was taken from the cache."""
    return [e.hva for _, _, e in run.records if isinstance(e, PfnCacheInvalidated)]


# One thread.


async def test_a_cached_page_is_accessed_without_a_lookup(pool: TaskPool) -> None:
    run = await run_to_the_end(pool, steps(activate, write, read_7, read_7))
    assert looked_up(run) == [0x11]
    assert refreshed(run) == [(X, 1, PAGE_X)]
    assert copied(run) == [
        ("pfn-cache", True, PAGE_SIZE, 8),
        ("pfn-cache", False, PAGE_SIZE, 8),
        ("pfn-cache", False, PAGE_SIZE, 8),
    ]


async def test_a_page_that_was_unmapped_is_resolved_anew(pool: TaskPool) -> None:
    run = await run_to_the_end(
        pool, steps(activate, write, PAGE_X, read_0, write, read_7)
    )
    assert looked_up(run) == [0x11]  # the address is still known
    assert invalidated(run) == [PAGE_X]
    assert refreshed(run) == [(X, 1, PAGE_X), (X, 1, PAGE_X)]


async def test_an_update_elsewhere_has_the_address_looked_up_but_keeps_the_page(
    pool: TaskPool,
) -> None:
    run = await run_to_the_end(pool, steps(activate, write, ELSEWHERE, read_7))
    assert looked_up(run) == [0x11, 0x11]
    assert refreshed(run) == [(X, 1, PAGE_X)]


@pytest.mark.parametrize("change", [AWAY, deletion(1)])
async def test_what_has_gone_cannot_be_accessed(pool: TaskPool, change: Region) -> None:
    run = await run_to_the_end(pool, steps(activate, write, change, read_in_vain))
    assert refreshed(run) == [(X, 1, PAGE_X)]


async def test_what_came_back_is_accessed_again(pool: TaskPool) -> None:
    back = steps(activate, write, AWAY, read_in_vain, RAM, read_7)
    assert refreshed(await run_to_the_end(pool, back)) == [
        (X, 1, PAGE_X),
        (X, 5, PAGE_X),
    ]


async def test_another_address_has_another_page(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        cache = make_cache(guest)
        await cache.activate(X)
        await cache.write(X, 7)
        await cache.write(Y, 8)
        await cache.write(gpa(0x12, 100), 9, 4)
        assert await cache.read(X) == 7
        assert await guest.values(0, 1, 2, 3) == [0, 7, 9, 0]

    run = await run_alone(pool, body, RAM)
    assert refreshed(run) == [
        (X, 1, PAGE_X),
        (Y, 1, PAGE_Y),
        (X, 1, PAGE_X),
    ]


@pytest.mark.parametrize(
    ("start", "end", "taken"),
    [
        (hva(1), hva(2), True),
        (hva(0), hva(4), True),
        (hva(0), hva(1), False),
        (hva(2), hva(3), False),
        (hva(0), Hva(PAGE_X + 1), True),
    ],
)
async def test_only_a_page_of_the_range_is_taken_away(
    pool: TaskPool,
    start: Hva,
    end: Hva,
    taken: bool,  # noqa: FBT001
) -> None:
    async def body(guest: Guest) -> None:
        cache = make_cache(guest)
        await cache.activate(X)
        await guest.caches.invalidate(start, end)
        assert cache.valid is not taken
        await guest.caches.invalidate(start, end)

    run = await run_alone(pool, body, RAM)
    assert invalidated(run) == ([PAGE_X] if taken else [])


ROM = region(3, 0x20, 4, READONLY)
GOING = region(4, 0x30, 4, INVALID)


@pytest.mark.parametrize(
    ("address", "length", "expected"),
    [
        (gpa(0x10), PAGE_SIZE, None),
        (gpa(0x13, 4095), 1, None),
        (gpa(0x10), PAGE_SIZE + 1, "EINVAL"),
        (gpa(0x13, 4095), 2, "EINVAL"),
        (gpa(0x14), 1, "EFAULT"),
        (gpa(0x20), 1, "EFAULT"),
        (gpa(0x30), 1, "EFAULT"),
    ],
)
async def test_the_bytes_must_be_in_one_page_that_can_be_written(
    pool: TaskPool, address: Gpa, length: int, expected: str | None
) -> None:
    async def body(guest: Guest) -> None:
        cache = make_cache(guest)
        assert await answer(cache.activate(address, length)) == expected
        assert cache.active is (expected != "EINVAL")
        assert cache.valid is (expected is None)
        await cache.activate(X)
        assert await answer(cache.refresh(address, length)) == expected
        read = await answer(cache.read(address, length))
        assert read == (0 if expected is None else expected)

    await run_alone(pool, body, RAM, ROM, GOING)


async def test_who_must_not_sleep_reads_a_page_only_if_it_is_valid(
    pool: TaskPool,
) -> None:
    async def body(guest: Guest) -> None:
        cache = make_cache(guest)
        assert await cache.try_read(X) is None
        await cache.activate(X)
        await cache.write(X, 7)
        assert await cache.try_read(X) == 7
        assert await cache.try_read(Y) is None
        await guest.caches.invalidate(hva(0), hva(4))
        assert await cache.try_read(X) is None

    run = await run_alone(pool, body, RAM)
    assert [write for _, write, *_ in copied(run)] == [True, False]


async def test_a_cache_that_is_not_active_is_not_used(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        cache = make_cache(guest)
        assert await answer(cache.read(X)) == "EINVAL"
        assert await answer(cache.refresh(X)) == "EINVAL"
        await cache.deactivate()
        await cache.activate(X)
        await cache.activate(Y)
        assert guest.caches.active == [cache]
        await cache.deactivate()
        assert guest.caches.active == []
        assert (cache.page, cache.valid) == (None, False)
        assert await answer(cache.write(X, 7)) == "EINVAL"
        await cache.activate(X)
        assert await cache.read(X) == 0

    await run_alone(pool, body, RAM)


async def check(guest: Guest, cache: PfnCache, gpa: Gpa, length: int = 1) -> bool:
    await cache.lock.acquire_read()
    valid = await cache.check(gpa, length)
    await cache.lock.release()
    return valid


async def test_it_is_valid_for_one_address_in_one_generation(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        cache = make_cache(guest)
        assert not await check(guest, cache, X)
        await cache.activate(X)
        assert await check(guest, cache, X)
        assert await check(guest, cache, X, PAGE_SIZE)
        assert not await check(guest, cache, X, PAGE_SIZE + 1)
        assert not await check(guest, cache, gpa(0x11, 1))
        assert not await check(guest, cache, Y)
        cache.generation += 1
        assert not await check(guest, cache, X)
        cache.generation -= 1
        await guest.caches.invalidate(hva(0), hva(4))
        assert not await check(guest, cache, X)
        await cache.refresh(X)
        assert await check(guest, cache, X)
        cache.uhva = None
        assert not await check(guest, cache, X)

    await run_alone(pool, body, RAM)


@pytest.mark.parametrize("vcpu", [None, Looker(1)])
async def test_a_write_marks_its_page(pool: TaskPool, vcpu: Looker | None) -> None:
    async def body(guest: Guest) -> None:
        log = guest.vm.dirty_log
        await log.enable_ring(PAGE_SIZE)
        log.vcpu_created(1)
        cache = make_cache(guest)
        await cache.activate(X)
        await cache.read(X)
        await cache.write(X, 7, 8, vcpu)

    run = await run_alone(pool, body, RAM)
    assert [
        (event.slot, event.offset, event.where)
        for _, _, event in run.records
        if isinstance(event, PageMarkedDirty)
    ] == [(1, 1, "bitmap" if vcpu is None else "ring")]


async def test_a_thread_keeps_its_caches_from_one_access_to_the_next(
    pool: TaskPool,
) -> None:
    async def body(guest: Guest) -> None:
        reader = CachedReader(guest.memory, make_cache(guest))
        await reader.hva_cache_write(X, 7, 8)
        assert await reader.hva_cache_read(X, 8) == [7]
        assert await reader.hva_cache_read(gpa(0x12, 4095), 2) == [0, 0]
        await reader.pfn_cache_write(X, 8, 8)
        assert await reader.pfn_cache_read(X, 8) == 8
        assert await reader.pfn_cache_read(Y) == 0
        assert await answer(reader.hva_cache_read(gpa(0x99))) == "EFAULT"
        assert await answer(reader.pfn_cache_read(gpa(0x99))) == "EFAULT"

    run = await run_alone(pool, body, RAM)
    assert [through for through, *_ in copied(run)] == [
        "hva-cache",
        "hva-cache",
        "slot",
        "slot",
        "pfn-cache",
        "pfn-cache",
        "pfn-cache",
    ]


# Several threads.


class KeepsValid(PfnCache):
    """Drops the lock before it takes back that the old page may be touched."""

    async def clear_valid(self) -> None:
        pass


class AsksWhatIsInProgress(PfnCache):
    """Looks at the count that goes up only after the notifier looked at caches."""

    async def is_invalidation_active(self) -> bool:
        await self._scheduler.point(self.mmu.invalidate_location.read)
        return self.mmu.invalidate_in_progress > 0


class ChecksBeforeItResolves(PfnCache):
    """Asks whether an invalidation was missed when nothing is there to miss it."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]
        self._missed = False

    async def resolve(self) -> HostPage:
        seq = await self.snapshot_seq()
        self._missed = await super().must_retry(seq)
        return await super().resolve()

    async def must_retry(self, seq: int) -> bool:
        return self._missed


class LosesSightFirst(PfnCache):
    """Leaves the notifier's list while its page may still be touched."""

    async def end_use(self) -> None:
        await self.caches.remove(self)
        await self.set_active(active=False)


class ResolvesUnderTheLock(PfnCache):
    """Sleeps with a spin lock held."""

    async def resolve(self) -> HostPage:
        await self.lock.acquire_write()
        page = await super().resolve()
        await self.lock.release()
        return page


@attrs.define
class Story:
    """What threads that share a cache saw."""

    guest: Guest
    cache: PfnCache
    seen: list[str] = attrs.field(factory=list)


Body = Callable[[Story], Awaitable[None]]


def sharing(kind: type[PfnCache], **bodies: Body) -> Build[Story]:
    """Threads that share a cache; pages X and Y hold 1 and 2 at first."""

    def build(scheduler: Scheduler) -> Story:
        guest = make_guest(scheduler, RAM)
        for page, value in ((PAGE_X, 1), (PAGE_Y, 2)):
            guest.host._page(page).value = value
        story = Story(guest, make_cache(guest, kind))
        for name, body in bodies.items():
            scheduler.task(name, partial(body, story))
        return story

    return build


async def use(story: Story, address: Gpa, name: str) -> None:
    async with story.guest.vm.srcu.reading():
        story.seen.append(f"{name}={await answer(story.cache.read(address))}")


async def activate_x(story: Story) -> None:
    async with story.guest.vm.srcu.reading():
        await answer(story.cache.activate(X))


async def use_x(story: Story) -> None:
    await use(story, X, "X")


async def use_y(story: Story) -> None:
    await use(story, Y, "Y")


async def activate_and_use_x(story: Story) -> None:
    await activate_x(story)
    await use_x(story)


async def activate_x_and_use_y(story: Story) -> None:
    await activate_x(story)
    await use_y(story)


async def unmap_x(story: Story) -> None:
    await unmap(story.guest, PAGE_X)


async def deactivate(story: Story) -> None:
    await story.cache.deactivate()


async def move_away(story: Story) -> None:
    await story.guest.update.set_memory_region(AWAY)


def judge(run: Run[Story]) -> str:
    """What was seen, or the rule that was broken."""
    if run.report.error is not None:
        return type(run.report.error).__name__
    assert run.report.ending is Ending.COMPLETED, run.report.stuck
    return " ".join(sorted(run.made.seen))


@attrs.frozen
class Trial:
    """A small program, the orders in which it is run, and what may be seen in it."""

    bodies: dict[str, Body]
    preemptions: int
    allowed: set[str]


USER_AND_HOST = Trial({"user": activate_and_use_x, "host": unmap_x}, 2, {"X=0", "X=1"})
TWO_PAGES = Trial(
    {"user": activate_x_and_use_y, "other": use_y}, 2, {"Y=2 Y=2", "Y=2 Y=EINVAL"}
)
TWO_PAGES_AND_HOST = Trial(
    {"user": activate_x_and_use_y, "other": use_y, "host": unmap_x},
    1,
    {"Y=2 Y=2", "Y=2 Y=EINVAL"},
)
END_OF_USE = Trial(
    {"user": activate_and_use_x, "owner": deactivate, "host": unmap_x},
    1,
    {"X=0", "X=1", "X=EINVAL"},
)
USER_AND_WRITER = Trial(
    {"user": activate_and_use_x, "writer": move_away}, 1, {"X=1", "X=EFAULT"}
)
EVERYBODY: dict[str, Body] = {
    "user": activate_and_use_x,
    "other": use_y,
    "owner": deactivate,
    "host": unmap_x,
    "writer": move_away,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "trial", [USER_AND_HOST, TWO_PAGES, TWO_PAGES_AND_HOST, END_OF_USE, USER_AND_WRITER]
)
async def test_in_no_order_is_a_page_touched_that_is_not_there(
    pool: TaskPool, trial: Trial
) -> None:
    build = sharing(PfnCache, **trial.bodies)
    bound = trial.preemptions
    verdicts = await in_every_order(pool, build, judge, preemptions=bound)
    assert set(verdicts) == trial.allowed


@pytest.mark.slow
async def test_all_of_them_get_along(pool: TaskPool) -> None:
    build = sharing(PfnCache, **EVERYBODY)
    verdicts = await in_random_orders(pool, build, judge, range(700))
    of_x = {"X=0", "X=1", "X=EFAULT", "X=EINVAL"}
    of_y = {"Y=2", "Y=EFAULT", "Y=EINVAL"}
    assert set(verdicts) <= {f"{x} {y}" for x in of_x for y in of_y}
    assert len(verdicts) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "trial", "wrong"),
    [
        (KeepsValid, TWO_PAGES, {"WrongPage"}),
        (KeepsValid, TWO_PAGES_AND_HOST, {"WrongPage", "UseAfterFree"}),
        (AsksWhatIsInProgress, USER_AND_HOST, {"UseAfterFree"}),
        (ChecksBeforeItResolves, USER_AND_HOST, {"UseAfterFree"}),
        (LosesSightFirst, END_OF_USE, {"UseAfterFree"}),
    ],
)
async def test_a_cache_that_leaves_a_step_out_is_caught(
    pool: TaskPool, kind: type[PfnCache], trial: Trial, wrong: set[str]
) -> None:
    build = sharing(kind, **trial.bodies)
    bound = trial.preemptions
    verdicts = await in_every_order(pool, build, judge, preemptions=bound)
    assert set(verdicts) - trial.allowed == wrong


async def test_to_resolve_a_page_may_sleep(pool: TaskPool) -> None:
    run = await run_controlled(
        pool, RoundRobin(), sharing(ResolvesUnderTheLock, user=activate_x)
    )
    assert isinstance(run.report.error, SleepInAtomic)
    assert str(run.report.error) == (
        "user may sleep in hva_to_pfn while it holds the spin lock gpc->lock"
    )


async def test_a_cache_is_used_in_a_section_only(pool: TaskPool) -> None:
    async def read(story: Story) -> None:
        await story.cache.read(X)

    run = await run_controlled(pool, RoundRobin(), sharing(PfnCache, user=read))
    assert isinstance(run.report.error, NotProtected)


async def test_who_resolves_a_page_waits_until_the_notifier_is_done(
    pool: TaskPool,
) -> None:
    async def begin(story: Story) -> None:
        await story.guest.notifier.invalidate_range_start(hva(0), hva(1))

    def stuck(run: Run[Story]) -> str:
        assert run.report.ending is Ending.DEADLOCK
        (left,) = run.report.stuck
        return str(left)

    build = sharing(PfnCache, user=activate_x, host=begin)
    assert stuck(await run_controlled(pool, RoundRobin(), build)) == (
        "user waits to wait for mn_active_invalidate_count, holds gpc->refresh_lock,"
        " inside a read section of kvm->srcu"
    )


@pytest.mark.slow
async def test_exchanging_independent_steps_changes_nothing(pool: TaskPool) -> None:
    build = sharing(PfnCache, **EVERYBODY)
    tried = 0
    for seed in range(6):
        run = await run_controlled(pool, RandomWalk(seed), build)
        for place in exchangeable(run):
            assert await difference(pool, run, place, build) is None
            tried += 1
    assert tried > 300
