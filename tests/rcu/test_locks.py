"""Who may hold a lock, who must, and what happens to it when a body ends badly."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from rcu.errors import LockHeld, LockNotHeld, RuleBroken, SleepInAtomic
from rcu.locks import Lock, Mutex, RwLock, SpinLock
from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending, Report
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import SrcuDomain
from rcu.tracepoints import LockAcquired, LockReleased
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.running import Build, Run, run_controlled

Act = Callable[[Scheduler], Awaitable[None]]


def one_task(act: Act) -> Build[None]:
    def build(scheduler: Scheduler) -> None:
        scheduler.task("a", lambda: act(scheduler))

    return build


async def error_of(pool: TaskPool, act: Act) -> Exception | None:
    """What ended the run of a single task that does ``act``."""
    run = await run_controlled(pool, RoundRobin(), one_task(act))
    assert run.report.ending in {Ending.COMPLETED, Ending.FAILED}
    return run.report.error


class Room:
    """Notes how many are inside at once."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.location = Location("room")
        self.inside: list[str] = []
        self.crowds: set[str] = set()

    async def visit(self) -> None:
        name = self.scheduler.current.name
        await self.scheduler.point(self.location.write)
        self.inside.append(name)
        self.crowds.add("".join(sorted(self.inside)))
        await self.scheduler.point(self.location.write)
        self.inside.remove(name)


@pytest.mark.parametrize("kind", [Mutex, SpinLock])
async def test_no_order_lets_two_tasks_into_one_lock(
    pool: TaskPool, kind: type[Mutex]
) -> None:
    def build(scheduler: Scheduler) -> Room:
        room, lock = Room(scheduler), kind(scheduler, "lock")

        async def visit() -> None:
            async with lock:
                await room.visit()

        scheduler.task("a", visit)
        scheduler.task("b", visit)
        return room

    def judge(run: Run[Room]) -> tuple[Ending, frozenset[str]]:
        return run.report.ending, frozenset(run.made.crowds)

    # The second task stands before its acquire until the first has released.
    found = await in_every_order(pool, build, judge)
    assert found == Counter({(Ending.COMPLETED, frozenset({"a", "b"})): 2})


async def test_without_the_lock_they_meet(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> Room:
        room = Room(scheduler)
        scheduler.task("a", room.visit)
        scheduler.task("b", room.visit)
        return room

    found = await in_every_order(pool, build, lambda run: "ab" in run.made.crowds)
    assert found == Counter({True: 4, False: 2})


def rooms_behind_a_rwlock(*modes: str) -> Build[Room]:
    def build(scheduler: Scheduler) -> Room:
        room, lock = Room(scheduler), RwLock(scheduler, "mmu_lock")

        async def visit(mode: str) -> None:
            await (lock.acquire_read() if mode == "read" else lock.acquire_write())
            await room.visit()
            await lock.release()

        for name, mode in zip("abc", modes, strict=False):
            scheduler.task(name, partial(visit, mode))
        return room

    return build


async def test_readers_share_a_rwlock_and_writers_do_not(pool: TaskPool) -> None:
    async def crowds(*modes: str) -> set[str]:
        seen: set[str] = set()

        def judge(run: Run[Room]) -> Ending:
            seen.update(run.made.crowds)
            return run.report.ending

        endings = await in_every_order(pool, rooms_behind_a_rwlock(*modes), judge)
        assert list(endings) == [Ending.COMPLETED]
        return seen

    assert await crowds("read", "read") == {"a", "b", "ab"}
    assert await crowds("read", "write") == {"a", "b"}
    assert await crowds("write", "write") == {"a", "b"}
    assert await crowds("read", "write", "read") == {"a", "b", "c", "ac"}


async def test_taking_and_giving_back_are_told_in_their_steps(pool: TaskPool) -> None:
    async def act(scheduler: Scheduler) -> None:
        mutex, rwlock = Mutex(scheduler, "mutex"), RwLock(scheduler, "rwlock")
        async with mutex:
            await rwlock.acquire_read()
            await rwlock.release()
            await rwlock.acquire_write()
            await rwlock.release()

    run = await run_controlled(pool, RoundRobin(), one_task(act))
    assert run.told == [
        (1, "a", repr(LockAcquired("mutex", shared=False))),
        (2, "a", repr(LockAcquired("rwlock", shared=True))),
        (3, "a", repr(LockReleased("rwlock"))),
        (4, "a", repr(LockAcquired("rwlock", shared=False))),
        (5, "a", repr(LockReleased("rwlock"))),
        (6, "a", repr(LockReleased("mutex"))),
    ]


def test_every_kind_of_lock_must_know_its_holders() -> None:
    assert inspect.isabstract(Lock)


@pytest.mark.parametrize("kind", [Mutex, SpinLock])
async def test_a_lock_names_its_holder(pool: TaskPool, kind: type[Mutex]) -> None:
    holders: list[list[str]] = []

    async def act(scheduler: Scheduler) -> None:
        lock = kind(scheduler, "lock")
        holders.append([task.name for task in lock.holders()])
        async with lock:
            holders.append([task.name for task in lock.holders()])
        holders.append([task.name for task in lock.holders()])

    assert await error_of(pool, act) is None
    assert holders == [[], ["a"], []]


async def test_a_rwlock_names_its_readers_or_its_writer(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> set[str]:
        lock, shared = RwLock(scheduler, "mmu_lock"), Location("shared")
        holders: set[str] = set()

        async def read() -> None:
            await lock.acquire_read()
            await scheduler.point(shared.read)
            holders.add("".join(sorted(task.name for task in lock.holders())))
            await lock.release()

        async def write() -> None:
            await lock.acquire_write()
            holders.add("".join(task.name for task in lock.holders()))
            await lock.release()

        scheduler.task("a", read)
        scheduler.task("b", read)
        scheduler.task("w", write)
        return holders

    seen: set[str] = set()
    await in_every_order(pool, build, lambda run: seen.update(run.made))
    assert seen == {"a", "b", "ab", "w"}


async def test_only_the_holder_passes_assert_held(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        lock, shared = Mutex(scheduler, "slots_lock"), Location("shared")

        async def holder() -> None:
            async with lock:
                lock.assert_held()
                assert lock.held()
                await scheduler.point(shared.read)
            assert not lock.held()

        async def other() -> None:
            await scheduler.point(shared.read)
            lock.assert_held()

        scheduler.task("holder", holder)
        scheduler.task("other", other)

    found = await in_every_order(
        pool, build, lambda run: (run.report.failed, str(run.report.error))
    )
    assert list(found) == [("other", "other does not hold slots_lock")]


async def test_a_shared_rwlock_is_held_but_not_for_writing(pool: TaskPool) -> None:
    passed: list[str] = []

    async def act(scheduler: Scheduler) -> None:
        lock = RwLock(scheduler, "mmu_lock")
        await lock.acquire_write()
        lock.assert_held_for_write()
        passed.append("as a writer")
        await lock.release()
        await lock.acquire_read()
        lock.assert_held()
        passed.append("as a reader")
        lock.assert_held_for_write()

    error = await error_of(pool, act)
    assert passed == ["as a writer", "as a reader"]
    assert isinstance(error, LockNotHeld)
    assert str(error) == "a does not hold mmu_lock for writing"


async def _take_mutex_twice(scheduler: Scheduler) -> None:
    lock = Mutex(scheduler, "lock")
    async with lock, lock:
        pass


async def _read_twice(scheduler: Scheduler) -> None:
    lock = RwLock(scheduler, "lock")
    await lock.acquire_read()
    await lock.acquire_read()


async def _read_then_write(scheduler: Scheduler) -> None:
    lock = RwLock(scheduler, "lock")
    await lock.acquire_read()
    await lock.acquire_write()


@pytest.mark.parametrize("act", [_take_mutex_twice, _read_twice, _read_then_write])
async def test_taking_what_one_holds_is_a_finding(pool: TaskPool, act: Act) -> None:
    error = await error_of(pool, act)
    assert isinstance(error, LockHeld)
    assert str(error) == "a acquires lock, which it holds already"


@pytest.mark.parametrize("kind", [Mutex, SpinLock, RwLock])
async def test_giving_back_what_one_does_not_hold_is_a_finding(
    pool: TaskPool, kind: type[Mutex | RwLock]
) -> None:
    error = await error_of(pool, lambda scheduler: kind(scheduler, "lock").release())
    assert isinstance(error, LockNotHeld)
    assert str(error) == "a does not hold lock"


async def _mutex_under_spin_lock(scheduler: Scheduler) -> None:
    async with SpinLock(scheduler, "spin"), Mutex(scheduler, "mutex"):
        pass


async def test_a_mutex_under_a_spin_lock_is_a_finding(pool: TaskPool) -> None:
    error = await error_of(pool, _mutex_under_spin_lock)
    assert isinstance(error, SleepInAtomic)
    assert str(error) == (
        "a may sleep in acquiring mutex while it holds the spin lock spin"
    )


async def test_a_mutex_under_a_rwlock_is_a_finding(pool: TaskPool) -> None:
    async def act(scheduler: Scheduler) -> None:
        await RwLock(scheduler, "mmu_lock").acquire_read()
        await Mutex(scheduler, "mutex").acquire()

    error = await error_of(pool, act)
    assert isinstance(error, SleepInAtomic)


async def test_a_grace_period_under_a_spin_lock_is_a_finding(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        domain, lock = SrcuDomain(scheduler, "srcu"), SpinLock(scheduler, "spin")

        async def body() -> None:
            async with lock:
                await domain.synchronize_expedited()

        scheduler.task("a", body)

    run = await run_controlled(pool, RoundRobin(), build)
    assert str(run.report.error) == (
        "a may sleep in synchronize of srcu while it holds the spin lock spin"
    )


async def test_spin_locks_nest_and_may_stand_inside_a_mutex(pool: TaskPool) -> None:
    async def act(scheduler: Scheduler) -> None:
        async with (
            Mutex(scheduler, "mutex"),
            SpinLock(scheduler, "outer"),
            SpinLock(scheduler, "inner"),
        ):
            pass

    assert await error_of(pool, act) is None


async def test_an_ordinary_exception_releases_the_lock(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> Mutex:
        lock = Mutex(scheduler, "lock")

        async def body() -> None:
            with pytest.raises(OSError, match="refused"):
                async with lock:
                    raise OSError("refused")
            assert not lock.held()

        scheduler.task("a", body)
        return lock

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.report == Report(Ending.COMPLETED, steps=2)
    assert run.made.is_free()


async def test_a_finding_leaves_the_lock_as_it_was(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> Mutex:
        lock = Mutex(scheduler, "lock")

        async def body() -> None:
            async with lock:
                raise RuleBroken("found")

        scheduler.task("a", body)
        return lock

    run = await run_controlled(pool, RoundRobin(), build)
    assert (run.report.ending, run.report.steps) == (Ending.FAILED, 1)
    assert run.made.owner is not None
    assert run.made.owner.name == "a"
