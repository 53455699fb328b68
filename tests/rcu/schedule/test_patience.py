"""Not being asked and always answering "stay" come to the same."""

from __future__ import annotations

import random

import pytest

from rcu.operation import Location
from rcu.schedule.controlled import BREATH, ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Strategy, Task
from rcu.trace import Record, Trace
from tests.support.programs import readers_and_writers
from tests.support.running import Build, run_controlled


class StayPut:
    """Stays with the task while it can go on, then takes the first that is ready."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.asked = 0

    def begin(self, tasks: list[Task]) -> None: ...

    def pick(self, current: Task, ready: list[Task]) -> Task:
        self.asked += 1
        return current if current in ready else ready[0]


class Impatient:
    """Draws anew after so many points; keeps the count itself or leaves it.

    The count starts anew where the scheduler has to ask: at waits and ends.
    """

    def __init__(self, seed: int, stretch: int, *, counts: bool) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable
        self._stretch = stretch
        self._counts = counts
        self._left = 0
        self.patience = 0 if counts else stretch

    def begin(self, tasks: list[Task]) -> None: ...

    def pick(self, current: Task, ready: list[Task]) -> Task:
        must_ask = current.finished or current.until is not None
        if self._counts and self._left and not must_ask:
            self._left -= 1
            return current
        self._left = self._stretch
        return self._random.choice(ready)


async def _told(
    pool: TaskPool, strategy: Strategy, build: Build[object], *, cpus: int = 2
) -> list[tuple[int, str, str]]:
    """What a run without a record tells: then steps need not be decided at all."""
    records: list[Record] = []
    scheduler = ControlledScheduler(strategy, Trace(records.extend), cpus=cpus)
    build(scheduler)
    report = await pool.run(scheduler)
    assert report.ending is Ending.COMPLETED
    last = (report.steps, "", "end")
    return [(step, actor, repr(event)) for step, actor, event in records] + [last]


@pytest.mark.parametrize("patience", [1, 2, 5, 10_000_000])
async def test_staying_unasked_is_staying(pool: TaskPool, patience: int) -> None:
    asked = await _told(pool, StayPut(0), readers_and_writers)
    assert await _told(pool, StayPut(patience), readers_and_writers) == asked


@pytest.mark.parametrize("stretch", [1, 2, 5, 100])
async def test_patience_counts_the_points_between_two_questions(
    pool: TaskPool, stretch: int
) -> None:
    for seed in range(10):
        counting = Impatient(seed, stretch, counts=True)
        patient = Impatient(seed, stretch, counts=False)
        assert await _told(pool, patient, readers_and_writers) == await _told(
            pool, counting, readers_and_writers
        )


@pytest.mark.parametrize("stretch", [0, 1, 5, 100])
async def test_keeping_a_record_changes_nothing(pool: TaskPool, stretch: int) -> None:
    for seed in range(10):
        bare = await _told(
            pool, Impatient(seed, stretch, counts=False), readers_and_writers
        )
        kept = await run_controlled(
            pool, Impatient(seed, stretch, counts=False), readers_and_writers, cpus=2
        )
        assert [*kept.told, (kept.report.steps, "", "end")] == bare
        assert len(kept.order) == kept.report.steps


def long_walk(scheduler: Scheduler) -> None:
    shared = Location("shared")

    async def walk() -> None:
        for _ in range(BREATH + 10):
            await scheduler.point(shared.read)

    scheduler.task("a", walk)
    scheduler.task("b", walk)


@pytest.mark.parametrize("patience", [1, 3, 999, 10_000_000])
@pytest.mark.parametrize("kept", [False, True])
async def test_a_turn_of_the_driver_asks_nobody(
    pool: TaskPool, patience: int, *, kept: bool
) -> None:
    strategy = StayPut(patience)
    scheduler = ControlledScheduler(strategy)
    if kept:
        scheduler.keep_record()
    long_walk(scheduler)
    report = await pool.run(scheduler)
    assert report.steps == 2 * (BREATH + 10)
    # Each task: the first choice, then one after every `patience` further points.
    assert strategy.asked == 2 * (1 + (BREATH + 9) // (patience + 1))


async def test_the_budget_holds_for_the_patient(pool: TaskPool) -> None:
    for budget in (3, BREATH, BREATH + 3):
        scheduler = ControlledScheduler(StayPut(10_000_000), budget=budget)
        long_walk(scheduler)
        report = await pool.run(scheduler)
        assert (report.ending, report.steps) == (Ending.BUDGET, budget)
