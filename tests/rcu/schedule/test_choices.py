"""Between two points one task runs, and the strategy alone decides which is next."""

from __future__ import annotations

from collections import Counter
from functools import partial
from math import comb

import attrs
import pytest

from rcu.operation import Location
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.round_robin import RoundRobin
from tests.support.exploring import in_every_order
from tests.support.programs import readers_and_writers
from tests.support.running import Build, Run, run_controlled


def walkers(*steps: int) -> Build[list[str]]:
    """One task for each number, making that many steps; tells who made them."""

    def build(scheduler: Scheduler) -> list[str]:
        made: list[str] = []
        shared = Location("shared")

        async def walk(name: str, count: int) -> None:
            for _ in range(count):
                await scheduler.point(shared.write)
                made.append(name)

        for name, count in zip("abcd", steps, strict=False):
            scheduler.task(name, partial(walk, name, count))
        return made

    return build


@attrs.define
class Sum:
    value: int = 0


def two_adders(scheduler: Scheduler) -> Sum:
    total = Sum()
    location = Location("sum")

    async def add() -> None:
        await scheduler.point(location.read)
        seen = total.value
        await scheduler.point(location.write)
        total.value = seen + 1

    scheduler.task("a", add)
    scheduler.task("b", add)
    return total


async def test_two_tasks_of_two_steps_have_six_orders(pool: TaskPool) -> None:
    orders = await in_every_order(pool, walkers(2, 2), lambda run: "".join(run.made))
    assert orders == Counter(["aabb", "abab", "abba", "baab", "baba", "bbaa"])


@pytest.mark.parametrize(
    ("steps", "orders"),
    [
        ((0,), 1),
        ((3,), 1),
        ((1, 1, 1), 6),
        ((3, 3), comb(6, 3)),
        ((2, 2, 2), comb(6, 2) * comb(4, 2)),
        ((5, 3, 1), comb(9, 5) * comb(4, 3)),
    ],
)
async def test_every_order_comes_up_exactly_once(
    pool: TaskPool, steps: tuple[int, ...], orders: int
) -> None:
    found = await in_every_order(pool, walkers(*steps), lambda run: run.order)
    assert len(found) == orders
    assert set(found.values()) == {1}


@pytest.mark.parametrize(
    ("preemptions", "orders"),
    [
        (0, {"aabb", "bbaa"}),
        (1, {"aabb", "bbaa", "abba", "baab"}),
        (2, {"aabb", "bbaa", "abba", "baab", "abab", "baba"}),
    ],
)
async def test_bounded_exploration_leaves_out_what_needs_more_preemptions(
    pool: TaskPool, preemptions: int, orders: set[str]
) -> None:
    found = await in_every_order(
        pool, walkers(2, 2), lambda run: "".join(run.made), preemptions=preemptions
    )
    assert found == Counter(orders)


async def test_a_lost_update_is_found_in_four_of_six_orders(pool: TaskPool) -> None:
    sums = await in_every_order(pool, two_adders, lambda run: run.made.value)
    assert sums == Counter({1: 4, 2: 2})


async def test_each_access_is_one_step(pool: TaskPool) -> None:
    def judge(run: Run[list[str]]) -> tuple[int, int, Ending]:
        return len(run.made), run.report.steps, run.report.ending

    found = await in_every_order(pool, walkers(3, 1, 2), judge)
    assert list(found) == [(6, 6, Ending.COMPLETED)]


async def test_the_record_says_who_made_each_step_and_what_it_did(
    pool: TaskPool,
) -> None:
    run = await run_controlled(pool, RoundRobin(), two_adders)
    assert run.order == (0, 1, 0, 1)
    assert run.steps == ("a: read sum", "b: read sum", "a: write sum", "b: write sum")


async def test_the_record_matches_what_really_happened(pool: TaskPool) -> None:
    def judge(run: Run[list[str]]) -> bool:
        return "".join(run.made) == "".join("abc"[index] for index in run.order)

    assert list(await in_every_order(pool, walkers(2, 2, 2), judge)) == [True]


async def test_without_a_record_there_is_no_order(pool: TaskPool) -> None:
    scheduler = ControlledScheduler(RoundRobin())
    walkers(1)(scheduler)
    await pool.run(scheduler)
    with pytest.raises(ValueError, match="no record was kept"):
        scheduler.order()


async def test_a_run_without_tasks_completes(pool: TaskPool) -> None:
    run = await run_controlled(pool, RoundRobin(), lambda scheduler: None)
    assert (run.report.ending, run.report.steps) == (Ending.COMPLETED, 0)


async def test_round_robin_gives_everyone_a_step_in_turn(pool: TaskPool) -> None:
    run = await run_controlled(pool, RoundRobin(), walkers(3, 1, 2))
    assert "".join(run.made) == "abcaca"


async def test_the_same_seed_makes_the_same_run(pool: TaskPool) -> None:
    build = walkers(6, 6, 6)
    first, second = [
        [(await run_controlled(pool, RandomWalk(seed), build)).order for seed in seeds]
        for seeds in (range(20), range(20))
    ]
    assert first == second
    assert len(set(first)) == 20


class Asked:
    """A random walk whose dice the scheduler does not know of."""

    patience = 0

    def __init__(self, seed: int) -> None:
        self._walk = RandomWalk(seed)

    def begin(self, tasks: list[Task]) -> None:
        self._walk.begin(tasks)

    def pick(self, current: Task, ready: list[Task]) -> Task:
        return self._walk.pick(current, ready)


async def test_dice_choose_like_the_strategy_that_holds_them(pool: TaskPool) -> None:
    for seed in range(10):
        thrown = await run_controlled(pool, RandomWalk(seed), readers_and_writers)
        asked = await run_controlled(pool, Asked(seed), readers_and_writers)
        assert thrown.order == asked.order


async def test_dice_are_fair(pool: TaskPool) -> None:
    """Each of two tasks makes about half of the first steps, whatever the seed."""
    first = Counter(
        [
            (await run_controlled(pool, RandomWalk(seed), walkers(1, 1))).order[0]
            for seed in range(1_000)
        ]
    )
    assert abs(first[0] - first[1]) < 200


async def test_tasks_are_spread_over_the_processors_in_turn() -> None:
    async def body() -> None: ...

    scheduler = ControlledScheduler(RoundRobin(), cpus=2)
    tasks = [scheduler.task(name, body) for name in "abc"]
    tasks.append(scheduler.task("d", body, cpu=0))
    assert [task.cpu for task in tasks] == [0, 1, 0, 0]


async def test_a_task_that_cannot_be_is_refused() -> None:
    async def body() -> None: ...

    scheduler = ControlledScheduler(RoundRobin(), cpus=2)
    scheduler.task("a", body)
    with pytest.raises(ValueError, match="there is a task named 'a' already"):
        scheduler.task("a", body)
    with pytest.raises(ValueError, match=r"cpu must be in 0\.\.1, got 2"):
        scheduler.task("b", body, cpu=2)
    with pytest.raises(ValueError, match="cpus must be at least 1, got 0"):
        ControlledScheduler(RoundRobin(), cpus=0)
