"""A domain is given up only when nobody uses it any more."""

from __future__ import annotations

from collections import Counter

import pytest

from rcu.errors import DomainBusy
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.counters import Callback
from rcu.srcu.domain import SrcuDomain
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.running import Run, run_controlled

READERS = "srcu is cleaned up with readers inside"
RUNNING = "srcu is cleaned up during a grace period"
QUEUED = "srcu is cleaned up with callbacks queued"


@pytest.mark.parametrize("cpus", [1, 2])
async def test_a_reader_inside_keeps_the_domain(pool: TaskPool, cpus: int) -> None:
    def build(scheduler: Scheduler) -> None:
        domain = SrcuDomain(scheduler, "srcu")

        async def body() -> None:
            idx = await domain.read_lock()
            scheduler.current.cpu = scheduler.cpus - 1
            await domain.read_lock()
            await domain.read_unlock(idx)
            domain.cleanup()

        scheduler.task("a", body)

    run = await run_controlled(pool, RoundRobin(), build, cpus=cpus)
    assert isinstance(run.report.error, DomainBusy)
    assert str(run.report.error) == READERS


async def test_work_that_is_left_keeps_the_domain_at_every_moment(
    pool: TaskPool,
) -> None:
    """Cleanup falls anywhere into a grace period and the callback after it."""

    def build(scheduler: Scheduler) -> list[str]:
        called: list[str] = []
        domain = SrcuDomain(scheduler, "srcu")

        async def body() -> None:
            await domain.call(Callback("c", lambda: called.append("called")))
            await scheduler.point(domain.seq_location.read)
            domain.cleanup()

        scheduler.task("a", body)
        return called

    def judge(run: Run[list[str]]) -> tuple[str, str]:
        return str(run.report.error), " ".join(run.made)

    found = await in_every_order(pool, build, judge)
    # Up to the step that ends the grace period; before the look at the queue and
    # before the call; after the call.
    assert found == Counter({(RUNNING, ""): 11, (QUEUED, ""): 2, ("None", "called"): 1})


async def test_a_grace_period_that_is_only_wanted_keeps_the_domain(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> None:
        domain = SrcuDomain(scheduler, "srcu")

        async def body() -> None:
            await domain.start_poll()
            domain.cleanup()

        scheduler.task("a", body)

    found = await in_every_order(pool, build, lambda run: str(run.report.error))
    assert found == Counter({RUNNING: 1})


async def test_an_idle_domain_can_be_cleaned_up(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")

        async def body() -> None:
            async with domain.reading():
                pass
            await domain.synchronize()
            await domain.barrier()
            domain.cleanup()

        scheduler.task("a", body)
        return domain

    found = await in_every_order(pool, build, lambda run: str(run.report.error))
    assert list(found) == ["None"]
