"""A priority for each pending step; those that race draw again."""

from __future__ import annotations

from collections import Counter

import pytest

from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.task import Task
from scenarios.strategies.pos import KEPT, Pos
from tests.scenarios.strategies.idle import pending
from tests.support.programs import opposite_locks, readers_and_writers
from tests.support.readiness import Suspicious
from tests.support.running import run_controlled

X, Y = Location("x"), Location("y")


def redrawn(strategy: Pos, tasks: list[Task], ready: list[Task]) -> set[Task]:
    """Who has another priority after a choice."""
    before = dict(strategy._priorities)
    strategy.pick(tasks[0], ready)
    return {task for task in tasks if strategy._priorities[task] != before[task]}


def test_only_steps_that_race_with_the_one_made_draw_again() -> None:
    writer, reader, other, writer2 = tasks = pending(X.write, X.read, Y.write, X.write)
    expected = {
        writer: {writer, reader, writer2},
        reader: {reader, writer, writer2},
        other: {other},
        writer2: {writer, reader, writer2},
    }
    seen: Counter[Task] = Counter()
    for seed in range(100):
        strategy = Pos(seed)
        strategy.begin(tasks)
        chosen = max(tasks, key=strategy._priorities.__getitem__)
        assert redrawn(strategy, tasks, tasks) == expected[chosen]
        seen[chosen] += 1
    assert min(seen[task] for task in tasks) > 10


def test_two_reads_do_not_race() -> None:
    tasks = pending(X.read, X.read, X.read)
    strategy = Pos(0)
    strategy.begin(tasks)
    assert len(redrawn(strategy, tasks, tasks)) == 1


def test_a_task_that_waits_is_neither_chosen_nor_drawn() -> None:
    first, second, waiting = tasks = pending(X.write, X.write, X.write)
    for seed in range(100):
        strategy = Pos(seed)
        strategy.begin(tasks)
        assert redrawn(strategy, tasks, [first, second]) == {first, second}
        assert strategy.pick(first, [first, second]) in {first, second}
        assert strategy.pick(first, [waiting]) is waiting


def test_a_priority_is_kept_until_the_step_is_made() -> None:
    """Who is the lowest is so until something races with it."""
    strategy = Pos(0)
    tasks = pending(X.write, Y.write)
    last = 0
    for _ in range(2_000):
        strategy.begin(tasks)
        steps = [strategy.pick(tasks[0], tasks) for _ in range(4)]
        last += tasks[0] not in steps
    assert last == 385  # a chance of 1/5: 400; a random walk has 1/16: 125


async def test_whoever_it_chooses_can_go(pool: TaskPool) -> None:
    waits = 0
    for seed in range(10):
        strategy = Suspicious(Pos(seed))
        run = await run_controlled(pool, strategy, readers_and_writers, cpus=2)
        assert run.report.ending is Ending.COMPLETED
        waits += strategy.waits
    assert waits > 1_000


async def test_it_runs_into_a_deadlock_as_often_as_chance_says(pool: TaskPool) -> None:
    """Both take their first lock before either takes its second."""
    endings: Counter[Ending] = Counter()
    for seed in range(300):
        run = await run_controlled(pool, Pos(seed), opposite_locks)
        endings[run.report.ending] += 1
    # It is lower than the first step of the other, and so is what comes next: 1/3.
    assert endings == {Ending.COMPLETED: 209, Ending.DEADLOCK: 91}


def test_it_does_not_remember_operations_for_ever() -> None:
    strategy = Pos(0)
    tasks = pending(X.write, Y.write)
    strategy.begin(tasks)
    for number in range(3 * KEPT):
        tasks[number % 2].op = Location(f"new {number}").write
        strategy.pick(tasks[0], tasks)
    assert len(strategy._depends) <= KEPT
    assert max(map(len, strategy._depends.values())) <= KEPT


@pytest.mark.parametrize("count", [1, 2, 5])
def test_independent_first_steps_have_the_same_chance(count: int) -> None:
    tasks = pending(*(Location(f"own {index}").write for index in range(count)))
    strategy = Pos(0)
    first: Counter[int] = Counter()
    for _ in range(200 * count):
        strategy.begin(tasks)
        first[strategy.pick(tasks[0], tasks).index] += 1
    assert sorted(first) == list(range(count))
    assert min(first.values()) > 150
