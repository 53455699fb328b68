"""Sleeping until another task says so, used rightly and wrongly."""

from __future__ import annotations

from collections import Counter

import attrs

from rcu.errors import LockNotHeld
from rcu.locks import SpinLock
from rcu.operation import Location
from rcu.rcuwait import Completion, Rcuwait
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.running import Build, run_controlled


@attrs.define(eq=False)
class Door:
    """A condition, and somebody who waits for it."""

    scheduler: Scheduler
    wait: Rcuwait
    location: Location
    is_open: bool = False

    async def check(self) -> bool:
        await self.scheduler.point(self.location.read)
        return self.is_open

    async def open(self) -> None:
        await self.scheduler.point(self.location.write)
        self.is_open = True
        await self.wait.wake()

    async def wait_rightly(self) -> None:
        while True:
            await self.wait.prepare()
            if await self.check():
                break
            await self.wait.sleep()
        await self.wait.finish()

    async def wait_wrongly(self) -> None:
        """Checks before it is registered: the wake-up may fall in between."""
        while not await self.check():
            await self.wait.prepare()
            await self.wait.sleep()
        await self.wait.finish()


def doors(*, rightly: bool, wakers: int = 1) -> Build[Door]:
    def build(scheduler: Scheduler) -> Door:
        door = Door(scheduler, Rcuwait(scheduler, "rcuwait"), Location("door"))
        scheduler.task("waiter", door.wait_rightly if rightly else door.wait_wrongly)
        for index in range(wakers):
            scheduler.task(f"waker{index}", door.open)
        return door

    return build


async def test_no_order_loses_a_wake_up_if_prepare_comes_first(
    pool: TaskPool,
) -> None:
    for wakers, orders in ((1, 8), (2, 230)):
        found = await in_every_order(
            pool, doors(rightly=True, wakers=wakers), lambda run: run.report.ending
        )
        assert found == Counter({Ending.COMPLETED: orders})


async def test_a_check_before_prepare_loses_the_wake_up(pool: TaskPool) -> None:
    """Lost where the door opens and the waker calls between check and prepare."""
    found = await in_every_order(
        pool, doors(rightly=False), lambda run: (run.report.ending, run.report.stuck)
    )
    lost = {stuck for ending, stuck in found if ending is Ending.DEADLOCK}
    assert [str(stuck) for (stuck,) in lost] == ["waiter waits to sleep on rcuwait"]
    assert Counter(ending for ending, _ in found.elements()) == Counter(
        {Ending.DEADLOCK: 1, Ending.COMPLETED: 5}
    )


async def test_nobody_waits_any_more_after_finish(pool: TaskPool) -> None:
    run = await run_controlled(pool, RoundRobin(), doors(rightly=True))
    assert run.made.wait.waiter is None


async def test_a_second_waiter_is_a_finding(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        wait = Rcuwait(scheduler, "rcuwait")
        scheduler.task("a", wait.prepare)
        scheduler.task("b", wait.prepare)

    run = await run_controlled(pool, RoundRobin(), build)
    assert isinstance(run.report.error, LockNotHeld)
    assert str(run.report.error) == "b waits on rcuwait, which has a waiter"


async def test_sleeping_under_a_spin_lock_is_a_finding(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        wait, lock = Rcuwait(scheduler, "rcuwait"), SpinLock(scheduler, "spin")

        async def body() -> None:
            async with lock:
                await wait.prepare()
                await wait.sleep()

        scheduler.task("a", body)

    run = await run_controlled(pool, RoundRobin(), build)
    assert str(run.report.error) == (
        "a may sleep in waiting on rcuwait while it holds the spin lock spin"
    )


async def test_a_completion_lets_everyone_go_on_and_stays_done(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> list[str]:
        order: list[str] = []
        done = Completion(scheduler, "done")

        async def wait(name: str) -> None:
            await done.wait()
            order.append(name)
            await done.wait()

        async def complete() -> None:
            await scheduler.point(done.location.write)
            order.append("complete")
            done.complete()

        scheduler.task("a", lambda: wait("a"))
        scheduler.task("b", lambda: wait("b"))
        scheduler.task("c", complete)
        return order

    found = await in_every_order(
        pool, build, lambda run: (run.report.ending, run.made[0])
    )
    assert found == Counter({(Ending.COMPLETED, "complete"): 6})
