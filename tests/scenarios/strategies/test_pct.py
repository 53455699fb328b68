"""The highest priority goes on, and falls at the steps that were drawn."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from rcu.operation import Location
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.pct import Pct
from tests.scenarios.strategies.idle import idle_tasks
from tests.scenarios.strategies.small_programs import Runner, independent


def changes(order: tuple[int, ...]) -> int:
    return sum(one != other for one, other in pairwise(order))


async def test_without_demotion_each_task_runs_to_its_end(pool: TaskPool) -> None:
    runner = Runner(Pct(0, depth=1), independent(3, 3, 3))
    orders = Counter([await runner.run(pool) for _ in range(300)])
    assert len(orders) == 6
    assert {changes(order) for order in orders} == {2}
    assert min(orders.values()) > 30


async def test_depth_three_changes_twice_more_at_most(pool: TaskPool) -> None:
    strategy = Pct(0)
    strategy.learn(Lengths(choices=6, steps=(3, 3, 3)))
    runner = Runner(strategy, independent(3, 3, 3))
    found = Counter([changes(await runner.run(pool)) for _ in range(300)])
    assert set(found) == {2, 3, 4}


def test_demotions_are_distinct_and_in_no_order() -> None:
    strategy = Pct(0, depth=4)
    strategy.learn(Lengths(choices=20, steps=(20,)))
    in_time: Counter[tuple[int, ...]] = Counter()
    steps: Counter[int] = Counter()
    for _ in range(1_200):
        demotions = strategy.demotions(3)
        steps.update(demotions.keys())
        in_time[tuple(demotions[step] for step in sorted(demotions))] += 1
    assert sorted(steps) == list(range(1, 21))
    assert min(steps.values()) > 120  # of 180
    assert len(in_time) == 6
    assert {value for order in in_time for value in order} == {-1, -2, -3}
    assert min(in_time.values()) > 150  # of 200


def test_a_task_falls_below_all_that_has_not_fallen() -> None:
    strategy = Pct(0, depth=2)
    strategy.learn(Lengths(choices=1, steps=(2, 2)))
    tasks = idle_tasks(2)
    strategy.begin(tasks)
    first = strategy.pick(tasks[0], tasks)
    (other,) = (task for task in tasks if task is not first)
    assert strategy.pick(first, tasks) is other
    assert strategy.pick(other, [first]) is first


def test_a_step_without_a_choice_is_no_step() -> None:
    strategy = Pct(0, depth=2)
    strategy.learn(Lengths(choices=1, steps=(9, 9)))
    tasks = idle_tasks(2)
    strategy.begin(tasks)
    for task in tasks * 10:
        assert strategy.pick(task, [task]) is task
    first = strategy.pick(tasks[0], tasks)
    assert strategy.pick(first, tasks) is not first  # the demotion was still to come


@pytest.mark.parametrize("depth", [1, 2, 5, 100])
def test_a_run_may_be_shorter_than_it_is_deep(depth: int) -> None:
    strategy = Pct(0, depth)
    strategy.learn(Lengths(choices=0, steps=(1,)))
    tasks = idle_tasks(1)
    strategy.begin(tasks)
    assert strategy.pick(tasks[0], tasks) is tasks[0]


@pytest.mark.parametrize("depth", [0, -1])
def test_a_depth_below_one_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"depth must be at least 1, got {depth}"):
        Pct(0, depth)


class Polling:
    """A task that asks again and again whether another has made its only step."""

    def __init__(self, strategy: Pct) -> None:
        self.scheduler = ControlledScheduler(strategy, cpus=1, budget=1_000)
        self._done_at = Location("done")
        self.done = False
        self.scheduler.task("poller", self._poll)
        self.scheduler.task("writer", self._write)

    async def _poll(self) -> None:
        while not self.done:
            await self.scheduler.point(self._done_at.read)

    async def _write(self) -> None:
        await self.scheduler.point(self._done_at.write)
        self.done = True


async def test_a_task_that_polls_does_not_starve_the_other(pool: TaskPool) -> None:
    strategy = Pct(0, depth=1)
    strategy.learn(Lengths(choices=10, steps=(10, 1)))
    program = Polling(strategy)
    steps = []
    for _ in range(100):
        program.done = False
        program.scheduler.reset()
        report = await pool.run(program.scheduler)
        assert report.ending is Ending.COMPLETED
        steps.append(report.steps)
    # In half of the runs the writer is first; else it waits for chance to begin.
    assert sum(made > 20 for made in steps) in range(30, 71)
    assert max(steps) < 40
