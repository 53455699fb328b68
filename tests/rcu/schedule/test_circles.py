"""Tasks that wait for each other are found although others run on for ever."""

from __future__ import annotations

import pytest

from rcu.locks import Mutex
from rcu.operation import Location
from rcu.schedule.controlled import BREATH, ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending, Report
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.trio_driven import FLUSH_EVERY, TrioScheduler
from rcu.srcu.domain import SrcuDomain
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.replay import Replay
from scenarios.strategies.round_robin import RoundRobin


def add_spinner(scheduler: Scheduler) -> None:
    """A task that never waits and never ends."""
    clock = Location("clock")

    async def spin() -> None:
        while True:
            await scheduler.point(clock.write)

    scheduler.task("spinner", spin)


def add_two_locks(scheduler: Scheduler) -> None:
    """Two tasks that take two locks in opposite orders, and meet."""
    locks = [Mutex(scheduler, "first"), Mutex(scheduler, "second")]
    taken = Location("taken")
    count = 0

    def both() -> bool:
        return count == 2

    async def take(mine: Mutex, other: Mutex) -> None:
        nonlocal count
        await mine.acquire()
        await scheduler.point(taken.write)
        count += 1
        await scheduler.point(taken.read, both)
        await other.acquire()

    async def forwards() -> None:
        await take(locks[0], locks[1])

    async def backwards() -> None:
        await take(locks[1], locks[0])

    scheduler.task("forwards", forwards)
    scheduler.task("backwards", backwards)


def add_lock_across_grace_period(scheduler: Scheduler) -> None:
    """A lock is held through a grace period, and wanted inside a section."""
    domain = SrcuDomain(scheduler, "srcu")
    lock = Mutex(scheduler, "slots_arch_lock")
    entered = Location("entered")
    inside = False

    def is_inside() -> bool:
        return inside

    async def read() -> None:
        nonlocal inside
        async with domain.reading():
            await scheduler.point(entered.write)
            inside = True
            held = Location("held")
            await scheduler.point(held.read, lambda: lock.owner is not None)
            await lock.acquire()

    async def write() -> None:
        await scheduler.point(entered.read, is_inside)
        async with lock:
            await domain.synchronize_expedited()

    scheduler.task("reader", read)
    scheduler.task("writer", write)


LOCKS = {
    "forwards waits to acquire second (held by backwards), holds first",
    "backwards waits to acquire first (held by forwards), holds second",
}
GRACE_PERIOD = {
    (
        "reader waits to acquire slots_arch_lock (held by writer), inside a read"
        " section of srcu"
    ),
    "writer waits to wait for synchronize of writer, holds slots_arch_lock",
}


def assert_deadlock(report: Report, wanted: set[str], steps: int) -> None:
    """It was seen at the first look after it had come about."""
    assert report.ending is Ending.DEADLOCK
    told = {str(stuck) for stuck in report.stuck}
    assert wanted <= told
    assert not any("spinner" in text for text in told)
    assert report.steps == steps


@pytest.mark.parametrize(
    ("add", "wanted"),
    [(add_two_locks, LOCKS), (add_lock_across_grace_period, GRACE_PERIOD)],
)
async def test_a_circle_is_found_under_control_and_replays(
    pool: TaskPool, add: object, wanted: set[str]
) -> None:
    assert callable(add)
    scheduler = ControlledScheduler(RandomWalk(0))
    scheduler.keep_record()
    add_spinner(scheduler)
    add(scheduler)
    report = await pool.run(scheduler)
    assert_deadlock(report, wanted, BREATH - 1)
    again = ControlledScheduler(Replay(scheduler.order()))
    add_spinner(again)
    add(again)
    assert await pool.run(again) == report


@pytest.mark.parametrize(
    ("add", "wanted"),
    [(add_two_locks, LOCKS), (add_lock_across_grace_period, GRACE_PERIOD)],
)
async def test_a_circle_is_found_when_trio_decides(
    add: object, wanted: set[str]
) -> None:
    assert callable(add)
    scheduler = TrioScheduler()
    add_spinner(scheduler)
    add(scheduler)
    assert_deadlock(await scheduler.run(), wanted, FLUSH_EVERY - 1)


async def test_a_circle_is_found_when_the_budget_ends_earlier(pool: TaskPool) -> None:
    scheduler = ControlledScheduler(RoundRobin(), budget=100)
    add_spinner(scheduler)
    add_two_locks(scheduler)
    assert_deadlock(await pool.run(scheduler), LOCKS, 100)


async def test_waiting_for_somebody_who_runs_is_no_circle(pool: TaskPool) -> None:
    scheduler = ControlledScheduler(RoundRobin(), budget=3 * BREATH)
    lock = Mutex(scheduler, "lock")
    clock = Location("clock")

    async def hold() -> None:
        async with lock:
            while True:
                await scheduler.point(clock.write)

    scheduler.task("holder", hold)
    scheduler.task("waiter", lock.acquire)
    report = await pool.run(scheduler)
    assert (report.ending, report.steps) == (Ending.BUDGET, 3 * BREATH)
