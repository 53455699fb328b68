"""Cookies: what they say of a grace period that nobody waits for."""

from __future__ import annotations

import pytest

from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import GracePeriodDone, SrcuDomain
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.running import run_controlled


@pytest.mark.parametrize(
    ("gp_seq", "cookie"),
    [(0, 4), (1, 8), (2, 8), (4, 8), (5, 12), (6, 12), (400, 404), (401, 408)],
)
async def test_a_cookie_asks_for_a_full_grace_period_from_now(
    pool: TaskPool, gp_seq: int, cookie: int
) -> None:
    """Idle: the next one; in progress: not the running one but the one after it."""

    def build(scheduler: Scheduler) -> list[int]:
        taken: list[int] = []
        domain = SrcuDomain(scheduler, "srcu")
        domain.gp_seq = gp_seq

        async def take() -> None:
            taken.append(await domain.get_state())

        scheduler.task("a", take)
        return taken

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.made == [cookie]


@pytest.mark.parametrize("gp_seq", range(10))
async def test_a_cookie_is_reached_and_stays_reached(
    pool: TaskPool, gp_seq: int
) -> None:
    def build(scheduler: Scheduler) -> list[bool]:
        domain = SrcuDomain(scheduler, "srcu")
        domain.gp_seq = gp_seq
        answers = [GracePeriodDone(domain, 4)()]

        async def ask() -> None:
            answers.append(await domain.poll(4))

        scheduler.task("a", ask)
        return answers

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.made == [gp_seq >= 4, gp_seq >= 4]
    asked = [step for step in run.steps if step.startswith("a: ")]
    assert asked == ["a: read srcu gp_seq"]


async def test_a_cookie_taken_in_a_section_is_not_done_inside_it(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> list[bool]:
        answers: list[bool] = []
        domain = SrcuDomain(scheduler, "srcu")

        async def read() -> None:
            async with domain.reading():
                cookie = await domain.get_state()
                answers.append(await domain.poll(cookie))
            await domain.synchronize_expedited()
            answers.append(await domain.poll(cookie))

        scheduler.task("reader", read)
        scheduler.task("updater", domain.synchronize_expedited)
        return answers

    found = await in_every_order(pool, build, lambda run: str(run.made), preemptions=2)
    assert list(found) == ["[False, True]"]


async def test_looking_at_the_state_starts_nothing(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")

        async def look() -> None:
            await domain.get_state()

        scheduler.task("a", look)
        return domain

    run = await run_controlled(pool, RoundRobin(), build)
    assert (run.report.steps, run.made.gp_seq) == (1, 0)


async def test_waiting_for_a_cookie_nobody_asked_for_is_a_deadlock(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> None:
        domain = SrcuDomain(scheduler, "srcu")

        async def wait() -> None:
            await domain.wait_for(await domain.get_state())

        scheduler.task("a", wait)

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.report.ending is Ending.DEADLOCK
    assert [str(stuck) for stuck in run.report.stuck] == [
        "a waits to wait for srcu gp_seq"
    ]


async def test_start_poll_sees_to_it_that_the_grace_period_comes(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> list[bool]:
        answers: list[bool] = []
        domain = SrcuDomain(scheduler, "srcu")

        async def wait() -> None:
            cookie = await domain.start_poll()
            await domain.wait_for(cookie)
            answers.append(await domain.poll(cookie))
            answers.append(await domain.poll(cookie + 1))

        scheduler.task("a", wait)
        return answers

    found = await in_every_order(
        pool, build, lambda run: (run.report.ending, *run.made)
    )
    assert list(found) == [(Ending.COMPLETED, True, False)]


@pytest.mark.slow
async def test_a_polled_grace_period_waits_for_the_sections_before_it(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> list[str]:
        log: list[str] = []
        domain = SrcuDomain(scheduler, "srcu")
        shared = Location("shared")

        async def read() -> None:
            idx = await domain.read_lock()
            log.append("began")
            await scheduler.point(shared.read)
            log.append("ends")
            await domain.read_unlock(idx)

        async def update() -> None:
            await scheduler.point(shared.write)
            log.append("removed")
            await domain.wait_for(await domain.start_poll())
            log.append("freed")

        scheduler.task("reader", read)
        scheduler.task("updater", update)
        return log

    found = await in_every_order(pool, build, lambda run: " ".join(run.made))
    assert "began removed ends freed" in found
    too_short = [log for log in found if log.startswith("began removed freed")]
    assert too_short == []
