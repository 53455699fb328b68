"""Steps that are said to be independent can be exchanged: searches rely on it."""

from __future__ import annotations

from functools import partial

import pytest

from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.counters import Callback
from rcu.srcu.domain import SrcuDomain
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exchanging import difference, exchangeable
from tests.support.programs import readers_and_writers
from tests.support.running import Build, run_controlled


def updaters(scheduler: Scheduler) -> SrcuDomain:
    """Every way to ask for a grace period, at the same time."""
    domain = SrcuDomain(scheduler, "srcu")

    async def poll() -> None:
        await domain.wait_for(await domain.start_poll())

    scheduler.task("call", lambda: domain.call(Callback("c", lambda: None)))
    scheduler.task("expedited", domain.synchronize_expedited)
    scheduler.task("normal", domain.synchronize)
    scheduler.task("poll", poll)
    scheduler.task("barrier", domain.barrier)
    return domain


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "seeds"),
    [
        pytest.param(readers_and_writers, 12, id="readers and writers"),
        pytest.param(updaters, 80, id="updaters"),
    ],
)
async def test_exchanging_independent_neighbours_changes_nothing(
    pool: TaskPool, build: Build[object], seeds: int
) -> None:
    tried = 0
    for seed in range(seeds):
        run = await run_controlled(pool, RandomWalk(seed), build, cpus=2)
        for place in exchangeable(run):
            assert await difference(pool, run, place, build, cpus=2) is None
            tried += 1
    assert tried > 800


async def test_an_access_that_is_not_declared_shows(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        counter, nothing = Location("counter"), Location("nothing")
        value: list[str] = []

        async def count(declared: Location, name: str) -> None:
            await scheduler.point(declared.write)
            value.append(name)
            if value == ["b"]:
                await scheduler.point(declared.write)

        scheduler.task("a", partial(count, counter, "a"))
        scheduler.task("b", partial(count, nothing, "b"))

    run = await run_controlled(pool, RoundRobin(), build)
    (place,) = exchangeable(run)
    assert await difference(pool, run, place, build) == (
        "a: write counter / b: write nothing:"
        " the schedule ends after 2 steps, but b can go on"
    )
