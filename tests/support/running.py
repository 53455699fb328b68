"""Run a small program under a scheduler and keep what it left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs

from rcu.operation import Operation
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Report
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Strategy, Task
from rcu.schedule.trio_driven import TrioScheduler
from rcu.trace import Record, Trace
from scenarios.strategies.replay import Replay

T = TypeVar("T")

Build = Callable[[Scheduler], T]
"""Adds shared objects and tasks to a scheduler, and returns what a test looks at."""

BUDGET = 100_000
"""Enough for every program here; a test that runs into it has found a livelock."""


@attrs.define(eq=False)
class Run(Generic[T]):
    """What a run left behind.

    Attributes:
        made: What the program's builder returned.
        report: How it ended.
        records: Every event with its place.
    """

    made: T
    report: Report
    records: list[Record]
    _who_and_what: list[Task | Operation]

    @property
    def order(self) -> tuple[int, ...]:
        """Task index of each step."""
        who = self._who_and_what[::2]
        return tuple(task.index for task in who if isinstance(task, Task))

    @property
    def operations(self) -> list[Operation]:
        """What each step did."""
        return [op for op in self._who_and_what[1::2] if isinstance(op, Operation)]

    @property
    def steps(self) -> tuple[str, ...]:
        """Task name and operation of each step."""
        who, what = self._who_and_what[::2], self._who_and_what[1::2]
        return tuple(
            f"{task.name}: {op}"
            for task, op in zip(who, what, strict=True)
            if isinstance(task, Task)
        )

    @property
    def told(self) -> list[tuple[int, str, str]]:
        """The records as plain values, to be compared between runs."""
        return [(step, actor, repr(event)) for step, actor, event in self.records]


async def run_controlled(
    pool: TaskPool,
    strategy: Strategy,
    build: Build[T],
    *,
    cpus: int = 1,
    budget: int = BUDGET,
) -> Run[T]:
    """Run the program in the order that ``strategy`` chooses."""
    records: list[Record] = []
    scheduler = ControlledScheduler(
        strategy, Trace(records.extend), cpus=cpus, budget=budget
    )
    scheduler.keep_record()
    made = build(scheduler)
    report = await pool.run(scheduler)
    return Run(made, report, records, scheduler.record or [])


async def run_trio(build: Build[T], *, cpus: int = 1, budget: int = BUDGET) -> Run[T]:
    """Run the program as Trio schedules it."""
    records: list[Record] = []
    scheduler = TrioScheduler(Trace(records.extend), cpus=cpus, budget=budget)
    scheduler.keep_record()
    made = build(scheduler)
    report = await scheduler.run()
    return Run(made, report, records, scheduler.record or [])


async def run_again(
    pool: TaskPool, order: Sequence[int], build: Build[T], *, cpus: int = 1
) -> Run[T]:
    """Run the program in a recorded order."""
    return await run_controlled(pool, Replay(order), build, cpus=cpus)
