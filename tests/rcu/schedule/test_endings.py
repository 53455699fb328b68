"""Why a run stops, and what the report says of those who were left."""

from __future__ import annotations

from collections import Counter

import pytest

from rcu.errors import LockHeld, RuleBroken, SimulatorBug
from rcu.locks import Mutex
from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending, Report, Stuck
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from rcu.srcu.domain import SrcuDomain
from scenarios.strategies.replay import Replay
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.programs import opposite_locks
from tests.support.running import Build, run_controlled

CROSSED = (
    Stuck("a", "acquire right", held_by="b", holds=("left",), sections=()),
    Stuck("b", "acquire left", held_by="a", holds=("right",), sections=()),
)


async def test_locks_in_opposite_order_deadlock_where_both_hold_one(
    pool: TaskPool,
) -> None:
    found = await in_every_order(
        pool, opposite_locks, lambda run: (run.report.ending, run.report.stuck)
    )
    # One takes both before the other begins, or after its first release the other
    # begins before or after the last one: 2 x 2. Else each takes one: 2.
    assert found == Counter({(Ending.DEADLOCK, CROSSED): 2, (Ending.COMPLETED, ()): 4})


async def test_a_deadlock_says_who_waits_for_what_and_who_holds_it(
    pool: TaskPool,
) -> None:
    run = await run_controlled(pool, RoundRobin(), opposite_locks)
    assert run.report == Report(Ending.DEADLOCK, steps=2, stuck=CROSSED)
    assert str(CROSSED[0]) == "a waits to acquire right (held by b), holds left"


async def test_a_report_tells_the_read_sections_of_a_stuck_task(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> None:
        domain = SrcuDomain(scheduler, "srcu")
        lock = Mutex(scheduler, "slots_lock")

        async def writer() -> None:
            async with lock:
                await domain.synchronize_expedited()

        async def reader() -> None:
            async with domain.reading(), lock:
                pass

        scheduler.task("writer", writer)
        scheduler.task("reader", reader)

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.report.ending is Ending.DEADLOCK
    writer, reader = map(str, run.report.stuck)
    assert writer == "writer waits to wait for synchronize of writer, holds slots_lock"
    assert reader == (
        "reader waits to acquire slots_lock (held by writer),"
        " inside a read section of srcu"
    )


@pytest.mark.parametrize("trailing", ["release", "raise", "swallow"])
async def test_what_bodies_do_while_they_unwind_changes_no_report(
    pool: TaskPool, trailing: str
) -> None:
    def build(scheduler: Scheduler) -> None:
        left, right = Mutex(scheduler, "left"), Mutex(scheduler, "right")

        async def take(first: Mutex, second: Mutex) -> None:
            await first.acquire()
            try:
                await second.acquire()
            except BaseException:
                if trailing != "swallow":
                    raise
            finally:
                if trailing == "release":
                    await first.release()
                if trailing == "raise":
                    raise ValueError("while unwinding")

        scheduler.task("a", lambda: take(left, right))
        scheduler.task("b", lambda: take(right, left))

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.report == Report(Ending.DEADLOCK, steps=2, stuck=CROSSED)


async def test_a_lock_taken_twice_is_a_finding_not_a_hang(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        lock = Mutex(scheduler, "lock")

        async def body() -> None:
            async with lock, lock:
                pass

        scheduler.task("a", body)

    run = await run_controlled(pool, RoundRobin(), build)
    assert (run.report.ending, run.report.failed) == (Ending.FAILED, "a")
    assert isinstance(run.report.error, LockHeld)
    assert str(run.report.error) == "a acquires lock, which it holds already"


def forever(scheduler: Scheduler) -> None:
    shared = Location("shared")

    async def spin() -> None:
        while True:
            await scheduler.point(shared.read)

    scheduler.task("a", spin)
    scheduler.task("b", spin)


@pytest.mark.parametrize("budget", [0, 1, 2, 7, 20_000, 50_001])
async def test_the_budget_is_the_number_of_steps_made(
    pool: TaskPool, budget: int
) -> None:
    run = await run_controlled(pool, RoundRobin(), forever, budget=budget)
    assert run.report == Report(
        Ending.BUDGET,
        steps=budget,
        stuck=tuple(
            Stuck(name, "read shared", held_by=None, holds=(), sections=())
            for name in "ab"
        ),
    )
    assert len(run.order) == budget


def lingering(scheduler: Scheduler) -> list[str]:
    """Two tasks that make one more step while they unwind, or try to."""
    log: list[str] = []
    shared = Location("shared")

    async def spin(name: str) -> None:
        try:
            while True:
                await scheduler.point(shared.read)
        finally:
            log.append(f"{name} unwinds")
            await scheduler.point(shared.write)
            log.append("not reached")

    scheduler.task("a", lambda: spin("a"))
    scheduler.task("b", lambda: spin("b"))
    return log


@pytest.mark.parametrize("budget", [0, 1, 2, 7, 20_000])
async def test_nobody_makes_a_step_beyond_the_budget_while_unwinding(
    pool: TaskPool, budget: int
) -> None:
    """A lane whose body is left in the middle would keep the pool from closing."""
    for _ in range(2):
        run = await run_controlled(pool, RoundRobin(), lingering, budget=budget)
        assert (run.report.ending, run.report.steps) == (Ending.BUDGET, budget)
        assert run.made == ["a unwinds", "b unwinds"]
        assert len(run.order) == budget


def failing_with_the_last_step(scheduler: Scheduler) -> list[str]:
    """A task fails when the budget is used up; others linger."""
    log = lingering(scheduler)
    shared = Location("shared")

    async def fail() -> None:
        await scheduler.point(shared.write)
        raise ValueError("v")

    scheduler.task("c", fail)
    return log


async def test_a_failure_in_the_last_step_of_the_budget_stays_one(
    pool: TaskPool,
) -> None:
    run = await run_controlled(pool, RoundRobin(), failing_with_the_last_step, budget=3)
    assert (run.report.ending, run.report.steps) == (Ending.FAILED, 3)
    assert run.made == ["a unwinds", "b unwinds"]


async def test_a_budget_of_just_enough_steps_suffices(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        shared = Location("shared")

        async def body() -> None:
            for _ in range(5):
                await scheduler.point(shared.read)

        scheduler.task("a", body)

    enough = await run_controlled(pool, RoundRobin(), build, budget=5)
    assert enough.report == Report(Ending.COMPLETED, steps=5)
    short = await run_controlled(pool, RoundRobin(), build, budget=4)
    assert (short.report.ending, short.report.steps) == (Ending.BUDGET, 4)


def failing_after(steps: int, error: BaseException) -> Build[list[str]]:
    """Task b raises after that many steps; a and c would go on for ever."""

    def build(scheduler: Scheduler) -> list[str]:
        unwound: list[str] = []
        shared = Location("shared")

        async def go_on(name: str) -> None:
            try:
                while True:
                    await scheduler.point(shared.read)
            finally:
                unwound.append(name)

        async def fail() -> None:
            for _ in range(steps):
                await scheduler.point(shared.write)
            raise error

        scheduler.task("a", lambda: go_on("a"))
        scheduler.task("b", fail)
        scheduler.task("c", lambda: go_on("c"))
        return unwound

    return build


@pytest.mark.parametrize("error", [ValueError("v"), RuleBroken("r")])
@pytest.mark.parametrize(
    ("after", "steps", "unwound"), [(0, 0, ["a"]), (1, 2, ["a", "c"])]
)
async def test_a_body_that_raises_ends_the_run_and_is_reported(
    pool: TaskPool, error: Exception, after: int, steps: int, unwound: list[str]
) -> None:
    run = await run_controlled(pool, RoundRobin(), failing_after(after, error))
    assert run.report == Report(Ending.FAILED, steps=steps, failed="b", error=error)
    assert run.made == unwound


@pytest.mark.parametrize("after", [0, 1, 5])
async def test_a_bug_of_ours_is_raised_not_reported(pool: TaskPool, after: int) -> None:
    with pytest.raises(SimulatorBug, match="ours"):
        await run_controlled(
            pool, RoundRobin(), failing_after(after, SimulatorBug("ours"))
        )


async def test_the_first_error_counts(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        shared = Location("shared")

        async def fail() -> None:
            await scheduler.point(shared.write)
            raise ValueError("first")

        async def fail_too() -> None:
            try:
                await scheduler.point(shared.write)
            finally:
                raise ValueError("second")

        scheduler.task("a", fail)
        scheduler.task("b", fail_too)

    run = await run_controlled(pool, Replay([0]), build)
    assert str(run.report.error) == "first"
    assert run.report.failed == "a"


class Confused:
    """Lets the first ready task go on, and raises when asked for a certain step."""

    patience = 0

    def __init__(self, step: int, error: BaseException) -> None:
        self._steps_left = step
        self._error = error

    def begin(self, tasks: list[Task]) -> None:
        if not self._steps_left:
            raise self._error

    def pick(self, current: Task, ready: list[Task]) -> Task:
        self._steps_left -= 1
        if not self._steps_left:
            raise self._error
        return ready[0]


@pytest.mark.parametrize("error", [LookupError("lost"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", range(6))
async def test_an_error_of_the_strategy_is_raised_and_not_blamed_on_a_body(
    pool: TaskPool, step: int, error: BaseException
) -> None:
    """Steps 2 and 4 are asked for at a point, 3 and 5 as a body ends or at a point."""
    caught: list[BaseException] = []

    def build(scheduler: Scheduler) -> None:
        shared = Location("shared")

        async def body() -> None:
            for _ in range(2):
                try:
                    await scheduler.point(shared.read)
                except Exception as seen:  # noqa: BLE001 - as a roll-back does
                    caught.append(seen)

        for name in "abc":
            scheduler.task(name, body)

    with pytest.raises(type(error)) as raised:
        await run_controlled(pool, Confused(step, error), build)
    assert raised.value is error
    assert not caught
    again = await run_controlled(pool, RoundRobin(), build)
    assert again.report == Report(Ending.COMPLETED, steps=6)
