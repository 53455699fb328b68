"""One pool serves any number of runs, whatever happened in the one before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from rcu.errors import SimulatorBug
from rcu.locks import Mutex
from rcu.operation import Location
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool, open_pool
from rcu.schedule.report import Ending, Report
from rcu.schedule.scheduler import Abandoned, Scheduler
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.round_robin import RoundRobin
from tests.support.programs import readers_and_writers
from tests.support.running import run_controlled

Nasty = Callable[[Scheduler, Mutex, list[str]], Awaitable[None]]


async def _raises(scheduler: Scheduler, lock: Mutex, log: list[str]) -> None:
    async with lock:
        log.append("in")
        raise ValueError("on purpose")


async def _waits_for_ever(scheduler: Scheduler, lock: Mutex, log: list[str]) -> None:
    nothing = Location("nothing")
    try:
        async with lock:
            log.append("in")
            await scheduler.point(nothing.read, lambda: False)
    finally:
        log.append("out")


async def _releases_in_finally(
    scheduler: Scheduler, lock: Mutex, log: list[str]
) -> None:
    nothing = Location("nothing")
    await lock.acquire()
    try:
        log.append("in")
        await scheduler.point(nothing.read, lambda: False)
    finally:
        log.append("out")
        await lock.release()
        log.append("not reached")


async def _waits_in_finally(scheduler: Scheduler, lock: Mutex, log: list[str]) -> None:
    nothing = Location("nothing")
    try:
        log.append("in")
        await scheduler.point(nothing.read, lambda: False)
    finally:
        try:
            await scheduler.point(nothing.read, lambda: False)
        except Abandoned:
            log.append("out")


async def _swallows(scheduler: Scheduler, lock: Mutex, log: list[str]) -> None:
    nothing = Location("nothing")
    try:
        await scheduler.point(nothing.read, lambda: False)
    except BaseException:  # noqa: BLE001 - a body must not, but may
        log.append("in")
    try:
        await scheduler.point(nothing.read)
    except BaseException:  # noqa: BLE001 - once more
        log.append("out")


@pytest.mark.parametrize(
    ("body", "ending", "log"),
    [
        (_raises, Ending.FAILED, ["in"]),
        (_waits_for_ever, Ending.DEADLOCK, ["in", "out"]),
        (_releases_in_finally, Ending.DEADLOCK, ["in", "out"]),
        (_waits_in_finally, Ending.DEADLOCK, ["in", "out"]),
        (_swallows, Ending.DEADLOCK, ["in", "out"]),
    ],
)
async def test_a_run_is_the_same_after_any_other(
    pool: TaskPool, body: Nasty, ending: Ending, log: list[str]
) -> None:
    before = await run_controlled(pool, RandomWalk(1), readers_and_writers)
    for _ in range(3):
        seen: list[str] = []

        def build(scheduler: Scheduler, seen: list[str] = seen) -> None:
            lock = Mutex(scheduler, "lock")
            scheduler.task("a", lambda: body(scheduler, lock, seen))

        nasty = await run_controlled(pool, RoundRobin(), build)
        assert nasty.report.ending is ending
        assert seen == log
        after = await run_controlled(pool, RandomWalk(1), readers_and_writers)
        assert after.told == before.told
        assert after.order == before.order


async def test_a_scheduler_can_run_again_after_a_reset(pool: TaskPool) -> None:
    scheduler = ControlledScheduler(RandomWalk(3), cpus=2)
    scheduler.keep_record()
    shared = Location("shared")
    places: list[int] = []

    async def wander() -> None:
        for _ in range(3):
            await scheduler.point(shared.write)
            places.append(scheduler.current.cpu)
            scheduler.current.cpu = 1

    scheduler.task("a", wander)
    scheduler.task("b", wander)
    runs = []
    for _ in range(3):
        scheduler.strategy = RandomWalk(3)
        report = await pool.run(scheduler)
        runs.append((report, scheduler.order(), tuple(places)))
        scheduler.reset()
        places.clear()
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0] == Report(Ending.COMPLETED, steps=6)


async def test_a_run_that_nobody_listens_to_takes_the_same_order(
    pool: TaskPool,
) -> None:
    for seed in range(10):
        quiet = ControlledScheduler(RandomWalk(seed), cpus=2)
        quiet.keep_record()
        readers_and_writers(quiet)
        report = await pool.run(quiet)
        heard = await run_controlled(
            pool, RandomWalk(seed), readers_and_writers, cpus=2
        )
        assert (report, quiet.order()) == (heard.report, heard.order)


async def test_a_finding_does_not_survive_a_reset(pool: TaskPool) -> None:
    scheduler = ControlledScheduler(RoundRobin())
    shared = Location("shared")
    fails = [True, False]

    async def body() -> None:
        await scheduler.point(shared.write)
        if fails.pop(0):
            raise ValueError("only once")

    scheduler.task("a", body)
    assert (await pool.run(scheduler)).failed == "a"
    scheduler.reset()
    assert await pool.run(scheduler) == Report(Ending.COMPLETED, steps=1)


async def test_the_pool_grows_with_the_run(pool: TaskPool) -> None:
    for count in (1, 3, 2, 40):
        done: list[int] = []

        def build(
            scheduler: Scheduler, count: int = count, done: list[int] = done
        ) -> None:
            shared = Location("shared")

            async def body() -> None:
                await scheduler.point(shared.write)
                done.append(1)

            for index in range(count):
                scheduler.task(f"task{index}", body)

        run = await run_controlled(pool, RoundRobin(), build)
        assert (run.report.ending, len(done)) == (Ending.COMPLETED, count)


async def test_the_bodies_are_real_trio_tasks(pool: TaskPool) -> None:
    counts: list[int] = []

    def build(scheduler: Scheduler) -> None:
        shared = Location("shared")

        async def body() -> None:
            await scheduler.point(shared.write)
            counts.append(trio.lowlevel.current_statistics().tasks_living)

        scheduler.task("a", body)
        scheduler.task("b", body)

    before = trio.lowlevel.current_statistics().tasks_living
    async with open_pool() as own:
        await run_controlled(own, RoundRobin(), build)
        assert counts == [before + 2, before + 2]
    assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize(
    "error", [ValueError("v"), SimulatorBug("b"), KeyboardInterrupt()]
)
async def test_what_is_raised_in_the_block_leaves_it_as_it_is(
    error: BaseException,
) -> None:
    async def fail() -> None:
        async with open_pool() as own:
            await run_controlled(own, RandomWalk(0), readers_and_writers)
            raise error

    with pytest.raises(type(error)) as raised:
        await fail()
    assert raised.value is error


async def test_leaving_a_pool_in_a_cancelled_scope_is_quiet() -> None:
    with trio.CancelScope() as scope:
        async with open_pool() as own:
            await run_controlled(own, RandomWalk(0), readers_and_writers)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
