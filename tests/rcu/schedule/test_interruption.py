"""Cancellation and Ctrl-C reach a run from outside and leave nothing behind."""

from __future__ import annotations

import signal

import pytest
import trio

from rcu.locks import Mutex
from rcu.operation import Location
from rcu.schedule.controlled import BREATH, ControlledScheduler
from rcu.schedule.pool import TaskPool, open_pool
from rcu.schedule.report import Ending, Report
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.trio_driven import TrioScheduler
from rcu.trace import Record, Trace
from rcu.tracepoints import LockReleased
from scenarios.strategies.round_robin import RoundRobin
from tests.support.running import run_controlled


def endless(scheduler: Scheduler, unwound: list[str]) -> None:
    """Two tasks that take turns with a mutex for ever."""
    lock = Mutex(scheduler, "lock")

    async def body(name: str) -> None:
        try:
            while True:
                async with lock:
                    pass
        finally:
            unwound.append(name)

    scheduler.task("a", lambda: body("a"))
    scheduler.task("b", lambda: body("b"))


def complete(scheduler: Scheduler) -> None:
    shared = Location("shared")

    async def body() -> None:
        await scheduler.point(shared.write)

    scheduler.task("a", body)
    scheduler.task("b", body)


class Watched:
    """A sink that sets a Trio event with the first batch."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.seen = trio.Event()

    def __call__(self, batch: object) -> None:
        assert isinstance(batch, list)
        self.records += batch
        self.seen.set()

    async def cancel(self, scope: trio.CancelScope) -> None:
        await self.seen.wait()
        scope.cancel()


async def test_cancellation_from_outside_ends_a_long_run(pool: TaskPool) -> None:
    unwound: list[str] = []
    watched = Watched()
    scheduler = ControlledScheduler(RoundRobin(), Trace(watched))
    endless(scheduler, unwound)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(watched.cancel, scope)
            await pool.run(scheduler)
    assert scope.cancelled_caught
    assert unwound == ["a", "b"]
    after = await run_controlled(pool, RoundRobin(), complete)
    assert after.report == Report(Ending.COMPLETED, steps=2)


async def test_a_cancelled_run_has_told_everything_it_did(pool: TaskPool) -> None:
    watched = Watched()
    scheduler = ControlledScheduler(RoundRobin(), Trace(watched))
    endless(scheduler, [])
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(watched.cancel, scope)
            await pool.run(scheduler)
    # Each step is an event. The driver breathes before step n * BREATH is made, and
    # Trio decides whether this task is cancelled in its first breath or its second.
    steps = [record.step for record in watched.records]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) in {BREATH - 1, 2 * BREATH - 1}


async def test_a_run_in_a_cancelled_scope_is_wound_down(pool: TaskPool) -> None:
    """The pool has no lanes yet: opening them must survive the scope, too."""
    unwound: list[str] = []
    scheduler = ControlledScheduler(RoundRobin())
    endless(scheduler, unwound)
    with trio.CancelScope() as scope:
        scope.cancel()
        await pool.run(scheduler)
    assert scope.cancelled_caught
    assert unwound == ["a", "b"]
    after = await run_controlled(pool, RoundRobin(), complete)
    assert after.report == Report(Ending.COMPLETED, steps=2)


async def test_many_short_runs_let_trio_run_others(pool: TaskPool) -> None:
    turns: list[int] = []
    stop = trio.Event()

    async def bystander() -> None:
        while not stop.is_set():
            turns.append(1)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bystander)
        for _ in range(4_000):  # 12 steps each as the pool counts
            await run_controlled(pool, RoundRobin(), complete)
        stop.set()
    assert len(turns) >= 2


def interrupting(scheduler: Scheduler, unwound: list[str], *, after: int) -> None:
    shared = Location("shared")

    async def interrupt() -> None:
        for _ in range(after):
            await scheduler.point(shared.write)
        raise KeyboardInterrupt

    async def other() -> None:
        try:
            while True:
                await scheduler.point(shared.read)
        finally:
            unwound.append("other")

    scheduler.task("other", other)
    scheduler.task("interrupt", interrupt)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_ctrl_c_in_a_body_leaves_trio(after: int) -> None:
    unwound: list[str] = []

    async def main() -> None:
        async with open_pool() as pool:
            scheduler = ControlledScheduler(RoundRobin())
            interrupting(scheduler, unwound, after=after)
            await pool.run(scheduler)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert unwound == ["other"]


def test_ctrl_c_in_the_driver_leaves_trio() -> None:
    unwound: list[str] = []

    def sink(batch: object) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        async with open_pool() as pool:
            scheduler = ControlledScheduler(RoundRobin(), Trace(sink))
            endless(scheduler, unwound)
            await pool.run(scheduler)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert unwound == ["a", "b"]


def test_ctrl_c_while_tasks_are_lent_leaves_trio() -> None:
    """It comes when nobody has stepped out of Trio yet, and somebody is about to."""

    async def main() -> None:
        async with open_pool() as pool:
            scheduler = ControlledScheduler(RoundRobin())
            complete(scheduler)
            signal.raise_signal(signal.SIGINT)
            await pool.run(scheduler)
            await trio.lowlevel.checkpoint()

    # A shell that starts tests in the background may have the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(main, restrict_keyboard_interrupt_to_checkpoints=True)
    finally:
        signal.signal(signal.SIGINT, before)


async def test_ctrl_c_while_others_unwind_is_not_lost(pool: TaskPool) -> None:
    def build(scheduler: Scheduler) -> None:
        shared = Location("shared")

        async def fail() -> None:
            await scheduler.point(shared.write)
            raise ValueError("first")

        async def interrupted() -> None:
            try:
                await scheduler.point(shared.read, lambda: False)
            finally:
                raise KeyboardInterrupt

        scheduler.task("a", fail)
        scheduler.task("b", interrupted)

    with pytest.raises(KeyboardInterrupt):
        await run_controlled(pool, RoundRobin(), build)
    again = await run_controlled(pool, RoundRobin(), complete)
    assert again.report == Report(Ending.COMPLETED, steps=2)


async def test_cancellation_from_outside_ends_a_trio_driven_run() -> None:
    unwound: list[str] = []
    watched = Watched()
    scheduler = TrioScheduler(Trace(watched))
    endless(scheduler, unwound)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(watched.cancel, scope)
            await scheduler.run()
    assert scope.cancelled_caught
    assert sorted(unwound) == ["a", "b"]
    steps = [record.step for record in watched.records]
    assert steps == list(range(1, len(steps) + 1))
    assert isinstance(watched.records[-1].event, LockReleased) is (len(steps) % 2 == 0)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_ctrl_c_in_a_trio_driven_body_leaves_trio(after: int) -> None:
    unwound: list[str] = []

    async def main() -> None:
        scheduler = TrioScheduler()
        interrupting(scheduler, unwound, after=after)
        await scheduler.run()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert unwound == ["other"]
