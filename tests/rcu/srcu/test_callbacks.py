"""Callbacks come after a full grace period, once; a barrier waits for all of them."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from rcu.errors import DoubleCallback
from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.counters import Callback
from rcu.srcu.domain import SrcuDomain
from rcu.tracepoints import CallbackInvoked, CallbackQueued
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order, in_random_orders
from tests.support.running import Run, run_controlled


@pytest.mark.slow
async def test_a_callback_comes_once_and_after_the_sections_before_it(
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
            await domain.call(Callback("free", lambda: log.append("freed"), (shared,)))

        scheduler.task("reader", read)
        scheduler.task("updater", update)
        return log

    found = await in_every_order(pool, build, lambda run: " ".join(run.made))
    assert set(found) == {
        # It had begun: its end is awaited.
        "began removed ends freed",
        "began ends removed freed",
        # It began later: it may or may not be awaited.
        "removed began ends freed",
        "removed began freed ends",
        "removed freed began ends",
    }


async def test_queueing_and_calling_are_told(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> Callback:
        domain = SrcuDomain(scheduler, "srcu")
        callback = Callback("free", lambda: None)
        scheduler.task("updater", lambda: domain.call(callback))
        return callback

    run = await run_controlled(pool, RoundRobin(), build)
    told = [event for event in run.told if "Callback" in event[2]]
    assert told == [
        (1, "updater", repr(CallbackQueued("srcu", "free", cookie=4))),
        (run.report.steps, "srcu-gp", repr(CallbackInvoked("srcu", "free"))),
    ]
    assert run.made.cookie == 0


async def test_only_what_is_due_is_called_and_the_earlier_first(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> list[str]:
        called: list[str] = []
        domain = SrcuDomain(scheduler, "srcu")
        domain.gp_seq = 8
        for name, cookie in (("a", 4), ("b", 8), ("c", 12), ("d", 12)):
            callback = Callback(name, partial(called.append, name), cookie=cookie)
            domain.cpus[0].callbacks.append(callback)

        async def invoke() -> None:
            await domain.invoke_callbacks()
            called.extend(callback.name for callback in domain.cpus[0].callbacks)

        scheduler.task("worker", invoke)
        return called

    run = await run_controlled(pool, RoundRobin(), build)
    assert run.made == ["a", "b", "c", "d"]
    invoked = [event for _, _, event in run.told]
    assert invoked == [repr(CallbackInvoked("srcu", name)) for name in ("a", "b")]


async def test_a_callback_may_be_queued_again_once_it_was_called(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> list[int]:
        called: list[int] = []
        domain = SrcuDomain(scheduler, "srcu")
        callback = Callback("free", lambda: called.append(1))

        async def update() -> None:
            await domain.call(callback)
            await domain.barrier()
            await domain.call(callback)

        scheduler.task("updater", update)
        return called

    found = await in_every_order(
        pool, build, lambda run: (run.report.ending, len(run.made))
    )
    assert list(found) == [(Ending.COMPLETED, 2)]


async def test_queueing_what_is_queued_is_a_finding_in_any_order(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> list[int]:
        called: list[int] = []
        domain = SrcuDomain(scheduler, "srcu")
        callback = Callback("free", lambda: called.append(1))
        scheduler.task("a", lambda: domain.call(callback))
        scheduler.task("b", lambda: domain.call(callback))
        return called

    def judge(run: Run[list[int]]) -> tuple[int, str]:
        return len(run.made), str(run.report.error)

    found = await in_every_order(pool, build, judge)
    # Unless the first has been called before the second is queued.
    assert set(found) == {(2, "None"), (0, "free is queued on srcu already")}
    assert isinstance(
        (await run_controlled(pool, RoundRobin(), build)).report.error, DoubleCallback
    )


@pytest.mark.parametrize(("cpus", "preemptions"), [(1, None), (2, 2)])
async def test_a_barrier_waits_for_what_was_queued_before(
    pool: TaskPool, cpus: int, preemptions: int | None
) -> None:
    """In every order: also where the worker is just calling the callback."""

    def build(scheduler: Scheduler) -> list[str]:
        log: list[str] = []
        domain = SrcuDomain(scheduler, "srcu")
        shared = Location("shared")

        async def update() -> None:
            for name in ("first", "second"):
                await domain.call(Callback(name, partial(log.append, name), (shared,)))
            await domain.barrier()
            log.append("barrier")

        scheduler.task("updater", update, cpu=cpus - 1)
        return log

    found = await in_every_order(
        pool,
        build,
        lambda run: " ".join(run.made),
        cpus=cpus,
        preemptions=preemptions,
    )
    assert list(found) == ["first second barrier"]


async def test_a_barrier_waits_for_the_callbacks_of_every_processor(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> list[bool]:
        called: list[int] = []
        complete: list[bool] = []
        domain = SrcuDomain(scheduler, "srcu")

        async def update(cpu: int) -> None:
            for turn in range(3):
                scheduler.current.cpu = (cpu + turn) % scheduler.cpus
                await domain.call(Callback("c", lambda: called.append(1)))

        async def wait() -> None:
            for index in range(3):
                await update(index)
            await domain.barrier()
            complete.append(len(called) >= 9)

        scheduler.task("a", partial(update, 0))
        scheduler.task("b", partial(update, 1))
        scheduler.task("c", wait)
        return complete

    found = await in_random_orders(
        pool, build, lambda run: run.made[0], range(200), cpus=3
    )
    assert found == Counter({True: 200})


async def test_a_barrier_with_nothing_queued_starts_no_grace_period(
    pool: TaskPool,
) -> None:
    def build(scheduler: Scheduler) -> SrcuDomain:
        domain = SrcuDomain(scheduler, "srcu")
        scheduler.task("updater", domain.barrier)
        return domain

    run = await run_controlled(pool, RoundRobin(), build, cpus=3)
    assert (run.report.ending, run.report.steps) == (Ending.COMPLETED, 3)
    assert run.made.gp_seq == 0


async def test_concurrent_barriers_all_return(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        domain = SrcuDomain(scheduler, "srcu")

        async def update() -> None:
            await domain.call(Callback("c", lambda: None))
            await domain.barrier()

        for name in "abc":
            scheduler.task(name, update)

    found = await in_random_orders(
        pool, build, lambda run: run.report.ending, range(200), cpus=2
    )
    assert found == Counter({Ending.COMPLETED: 200})
