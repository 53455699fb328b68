"""Under Trio's own scheduling the same holds, and what happened can be replayed."""

from __future__ import annotations

import pytest

from rcu.errors import RuleBroken, SimulatorBug
from rcu.locks import Mutex
from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending, Report, Stuck
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.trio_driven import TrioScheduler
from rcu.srcu.domain import SrcuDomain
from tests.support.grace_periods import overlooked
from tests.support.programs import (
    ROUNDS,
    WRITERS,
    opposite_locks,
    readers_and_writers,
)
from tests.support.running import run_again, run_trio


@pytest.mark.parametrize("cpus", [1, 2])
async def test_readers_and_writers_keep_their_invariants(cpus: int) -> None:
    for _ in range(5):
        run = await run_trio(readers_and_writers, cpus=cpus)
        assert run.report.ending is Ending.COMPLETED
        assert (run.made.count, run.made.called) == (WRITERS * ROUNDS, 1)
        assert overlooked(run.records, "srcu") == []
        run.made.domain.cleanup()


@pytest.mark.parametrize("cpus", [1, 2])
async def test_what_trio_did_replays_under_control(pool: TaskPool, cpus: int) -> None:
    for _ in range(5):
        first = await run_trio(readers_and_writers, cpus=cpus)
        second = await run_again(pool, first.order, readers_and_writers, cpus=cpus)
        assert second.told == first.told
        assert second.steps == first.steps
        assert second.report == first.report


async def test_a_deadlock_is_found_and_replays(pool: TaskPool) -> None:
    """Trio decides who is first; whoever it is, tasks take turns at checkpoints."""
    run = await run_trio(opposite_locks)
    assert run.report == Report(
        Ending.DEADLOCK,
        steps=2,
        stuck=(
            Stuck("a", "acquire right", held_by="b", holds=("left",), sections=()),
            Stuck("b", "acquire left", held_by="a", holds=("right",), sections=()),
        ),
    )
    again = await run_again(pool, run.order, opposite_locks)
    assert again.report == run.report


async def test_unwinding_bodies_release_as_themselves() -> None:
    """A deadlock stays one, though each body releases its lock in a finally."""

    def build(scheduler: Scheduler) -> None:
        left, right = Mutex(scheduler, "left"), Mutex(scheduler, "right")

        async def take(first: Mutex, second: Mutex) -> None:
            await first.acquire()
            try:
                await second.acquire()
            finally:
                await first.release()

        scheduler.task("a", lambda: take(left, right))
        scheduler.task("b", lambda: take(right, left))

    run = await run_trio(build)
    assert (run.report.ending, run.report.steps) == (Ending.DEADLOCK, 2)
    assert [stuck.waits_for for stuck in run.report.stuck] == [
        "acquire right",
        "acquire left",
    ]


@pytest.mark.parametrize("budget", [0, 1, 999, 2_500])
async def test_the_budget_is_the_number_of_steps_made(budget: int) -> None:
    def build(scheduler: Scheduler) -> None:
        shared = Location("shared")

        async def spin() -> None:
            while True:
                await scheduler.point(shared.read)

        scheduler.task("a", spin)
        scheduler.task("b", spin)

    run = await run_trio(build, budget=budget)
    assert (run.report.ending, run.report.steps) == (Ending.BUDGET, budget)
    assert [stuck.task for stuck in run.report.stuck] == ["a", "b"]
    assert len(run.order) == budget


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("error", [ValueError("v"), RuleBroken("r")])
async def test_a_body_that_raises_ends_the_run_and_is_reported(
    after: int, error: Exception
) -> None:
    unwound: list[str] = []

    def build(scheduler: Scheduler) -> None:
        shared = Location("shared")

        async def fail() -> None:
            for _ in range(after):
                await scheduler.point(shared.write)
            raise error

        async def wait() -> None:
            try:
                await scheduler.point(shared.read, lambda: False)
            finally:
                unwound.append("waiting")
                raise ValueError("while unwinding")

        scheduler.task("waiting", wait)
        scheduler.task("failing", fail)

    run = await run_trio(build)
    assert run.report == Report(
        Ending.FAILED, steps=after, failed="failing", error=error
    )
    assert unwound == ["waiting"]


async def test_a_bug_of_ours_is_raised_not_reported() -> None:
    def build(scheduler: Scheduler) -> None:
        async def fail() -> None:
            raise SimulatorBug("ours")

        scheduler.task("a", fail)

    with pytest.raises(SimulatorBug, match="ours"):
        await run_trio(build)


async def test_a_scheduler_can_run_again_after_a_reset() -> None:
    scheduler = TrioScheduler()
    SrcuDomain(scheduler, "srcu")
    lock = Mutex(scheduler, "lock")

    async def body() -> None:
        async with lock:
            pass

    scheduler.task("a", body)
    scheduler.task("b", body)
    for _ in range(3):
        assert await scheduler.run() == Report(Ending.COMPLETED, steps=4)
        scheduler.reset()
