"""Conditions are asked again only after writes; nobody can tell the difference."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from rcu.locks import Mutex
from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.programs import opposite_locks, readers_and_writers
from tests.support.readiness import Suspicious
from tests.support.running import Run, run_controlled


@pytest.mark.parametrize("cpus", [1, 2])
async def test_who_is_ready_is_right_at_every_choice(pool: TaskPool, cpus: int) -> None:
    waits = 0
    for seed in range(60):
        strategy = Suspicious(RandomWalk(seed))
        run = await run_controlled(pool, strategy, readers_and_writers, cpus=cpus)
        assert run.report.ending is Ending.COMPLETED
        assert strategy.choices == run.report.steps
        waits += strategy.waits
    assert waits > 10_000  # there was something to be wrong about


async def test_who_is_ready_is_right_up_to_a_deadlock(pool: TaskPool) -> None:
    endings: Counter[Ending] = Counter()
    for seed in range(50):
        strategy = Suspicious(RandomWalk(seed))
        run = await run_controlled(pool, strategy, opposite_locks)
        endings[run.report.ending] += 1
    assert set(endings) == {Ending.COMPLETED, Ending.DEADLOCK}


async def test_the_suspicious_strategy_notices_a_stale_answer(pool: TaskPool) -> None:
    """A write that its operation does not declare: rule 2 of the scheduler."""

    def build(scheduler: Scheduler) -> None:
        shared = Location("shared")
        done: list[int] = []

        async def wait() -> None:
            await scheduler.point(shared.read, lambda: bool(done))

        async def cheat() -> None:
            for _ in range(3):
                await scheduler.point(shared.read)
                done.append(1)

        scheduler.task("wait", wait)
        scheduler.task("cheat", cheat)

    with pytest.raises(AssertionError):
        await run_controlled(pool, Suspicious(RoundRobin()), build)


async def test_a_condition_that_stops_holding_makes_the_task_wait_again(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> list[str]:
        order: list[str] = []
        lock = Mutex(scheduler, "lock")

        async def take(name: str) -> None:
            async with lock:
                order.append(name)

        for name in "abc":
            scheduler.task(name, partial(take, name))
        return order

    def judge(run: Run[list[str]]) -> tuple[Ending, str]:
        return run.report.ending, "".join(run.made)

    found = await in_every_order(pool, build, judge)
    assert found == Counter(
        {
            (Ending.COMPLETED, order): 1
            for order in ("abc", "acb", "bac", "bca", "cab", "cba")
        }
    )


async def test_conditions_are_not_asked_after_steps_that_only_read(
    pool: TaskPool,
) -> None:
    asked: list[int] = []

    def build(scheduler: Scheduler) -> None:
        shared = Location("shared")

        def never() -> bool:
            asked.append(scheduler.steps)
            return False

        async def wait() -> None:
            await scheduler.point(shared.read, never)

        async def go_on() -> None:
            for _ in range(3):
                await scheduler.point(shared.read)
            await scheduler.point(shared.write)
            await scheduler.point(shared.read)

        scheduler.task("wait", wait)
        scheduler.task("go on", go_on)

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.report.ending is Ending.DEADLOCK
    assert asked == [1, 5]
