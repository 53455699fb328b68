"""What happens before the first choice, and what daemons do after the last."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending, Report, Stuck
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.counters import Callback
from rcu.srcu.domain import SrcuDomain
from rcu.tracepoints import IndexFlipped
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.running import run_controlled, run_trio


def announcing(scheduler: Scheduler) -> list[str]:
    """Each task says something before its first point and after it."""
    said: list[str] = []
    shared = Location("shared")

    async def body(name: str) -> None:
        said.append(f"{name} comes")
        scheduler.emit(IndexFlipped(name, 0))
        await scheduler.point(shared.write)
        said.append(f"{name} goes")
        scheduler.emit(IndexFlipped(name, 1))

    for name in "abc":
        scheduler.task(name, partial(body, name))
    return said


async def test_code_before_the_first_point_runs_in_index_order(
    pool: TaskPool,
) -> None:
    found = await in_every_order(pool, announcing, lambda run: str(run.made[:3]))
    assert found == Counter({"['a comes', 'b comes', 'c comes']": 6})


async def test_code_before_the_first_point_belongs_to_step_zero(
    pool: TaskPool,
) -> None:
    run = await run_controlled(pool, RoundRobin(), announcing)
    assert [(step, actor) for step, actor, _ in run.records] == [
        *[(0, "a"), (0, "b"), (0, "c")],
        *[(1, "a"), (2, "b"), (3, "c")],
    ]


async def test_a_trio_driven_run_begins_the_same_way() -> None:
    run = await run_trio(announcing)
    assert run.made[:3] == ["a comes", "b comes", "c comes"]
    assert [(step, actor) for step, actor, _ in run.records[:3]] == [
        *[(0, "a"), (0, "b"), (0, "c")]
    ]


async def test_a_body_without_points_ends_before_the_first_choice(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> None:
        async def body() -> None: ...

        scheduler.task("a", body)
        scheduler.task("b", body)

    for run in (
        await run_controlled(pool, RoundRobin(), build),
        await run_trio(build),
    ):
        assert run.report == Report(Ending.COMPLETED, steps=0)


async def test_a_task_may_wait_at_its_first_point(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> list[str]:
        done: list[str] = []
        shared = Location("shared")

        async def second() -> None:
            await scheduler.point(shared.read, lambda: bool(done))
            done.append("second")

        async def first() -> None:
            await scheduler.point(shared.write)
            done.append("first")

        scheduler.task("a", second)
        scheduler.task("b", first)
        return done

    found = await in_every_order(pool, build, lambda run: " ".join(run.made))
    assert found == Counter({"first second": 1})


async def test_nobody_ready_at_the_start_is_a_deadlock(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        shared = Location("shared")

        async def wait() -> None:
            await scheduler.point(shared.read, lambda: False)

        scheduler.task("a", wait)
        scheduler.task("b", wait, daemon=True)

    report = Report(
        Ending.DEADLOCK,
        steps=0,
        stuck=(Stuck("a", "read shared", held_by=None, holds=(), sections=()),),
    )
    assert (await run_controlled(pool, RoundRobin(), build)).report == report
    assert (await run_trio(build)).report == report


async def test_a_waiting_daemon_does_not_keep_the_run_alive(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")

        async def read() -> None:
            async with domain.reading():
                pass

        scheduler.task("a", read)
        return domain

    for run in (
        await run_controlled(pool, RoundRobin(), build),
        await run_trio(build),
    ):
        assert run.report == Report(Ending.COMPLETED, steps=3)


@pytest.mark.parametrize("trio_driven", [False, True])
async def test_what_a_daemon_can_still_do_it_does_first(
    pool: TaskPool, *, trio_driven: bool
) -> None:
    """The caller does not wait; the callback comes nevertheless."""

    def build(scheduler: Scheduler) -> list[str]:
        called: list[str] = []
        domain = SrcuDomain(scheduler, "srcu")

        async def call() -> None:
            await domain.call(Callback("c", lambda: called.append("c")))

        scheduler.task("a", call)
        return called

    if trio_driven:
        run = await run_trio(build)
        assert (run.report.ending, run.made) == (Ending.COMPLETED, ["c"])
    else:
        found = await in_every_order(
            pool, build, lambda run: (run.report.ending, *run.made)
        )
        assert list(found) == [(Ending.COMPLETED, "c")]
