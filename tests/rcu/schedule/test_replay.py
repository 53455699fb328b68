"""An order kept from one run makes the same run again, or says why it cannot."""

from __future__ import annotations

import pytest

from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.strategies.by_name import STRATEGIES
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.replay import Replay, ReplayDivergedError
from tests.support.programs import opposite_locks, readers_and_writers
from tests.support.running import run_again, run_controlled


@pytest.mark.parametrize("cpus", [1, 2])
async def test_the_same_order_makes_the_same_trace(pool: TaskPool, cpus: int) -> None:
    for seed in range(15):
        walk = RandomWalk(seed)
        first = await run_controlled(pool, walk, readers_and_writers, cpus=cpus)
        second = await run_again(pool, first.order, readers_and_writers, cpus=cpus)
        assert second.told == first.told
        assert second.steps == first.steps
        assert second.order == first.order
        assert second.report == first.report


@pytest.mark.parametrize("name", sorted(STRATEGIES))
async def test_a_named_strategy_repeats_itself(pool: TaskPool, name: str) -> None:
    runs = [
        await run_controlled(pool, STRATEGIES[name](7), readers_and_writers, cpus=2)
        for _ in range(2)
    ]
    assert runs[0].told == runs[1].told
    assert runs[0].order == runs[1].order


async def test_a_deadlock_replays(pool: TaskPool) -> None:
    run = await run_again(pool, (0, 1), opposite_locks)
    assert (run.report.ending, run.order) == (Ending.DEADLOCK, (0, 1))


def two_walkers(scheduler: Scheduler) -> None:
    shared = Location("shared")

    async def walk() -> None:
        for _ in range(2):
            await scheduler.point(shared.write)

    scheduler.task("a", walk)
    scheduler.task("b", walk)


@pytest.mark.parametrize(
    ("order", "step", "text"),
    [
        ((), 1, "the schedule ends after 0 steps, but a, b can go on"),
        ((0,), 2, "the schedule ends after 1 steps, but a, b can go on"),
        ((0, 0), 3, "the schedule ends after 2 steps, but b can go on"),
        ((2,), 1, "step 1 is made by task number 2, but the run has 2 tasks"),
        ((0, -1), 2, "step 2 is made by task number -1, but the run has 2 tasks"),
        (
            (0, 0, 0),
            3,
            "step 3 is made by a, which cannot write shared now; b can go on",
        ),
    ],
)
async def test_an_order_that_does_not_fit_is_refused(
    pool: TaskPool, order: tuple[int, ...], step: int, text: str
) -> None:
    with pytest.raises(ReplayDivergedError) as raised:
        await run_again(pool, order, two_walkers)
    assert (raised.value.step, str(raised.value)) == (step, text)


async def test_a_task_that_has_to_wait_cannot_be_replayed(pool: TaskPool) -> None:
    with pytest.raises(ReplayDivergedError) as raised:
        await run_again(pool, (0, 0, 1), opposite_locks)
    assert str(raised.value) == (
        "step 3 is made by b, which cannot acquire right now; a can go on"
    )


async def test_an_order_that_is_too_long_is_followed_and_then_refused(
    pool: TaskPool,
) -> None:
    replay = Replay((0, 0, 1, 1, 0, 0))
    run = await run_controlled(pool, replay, two_walkers)
    assert (run.report.ending, run.order) == (Ending.COMPLETED, (0, 0, 1, 1))
    with pytest.raises(ReplayDivergedError) as raised:
        replay.assert_used_up()
    assert (raised.value.step, str(raised.value)) == (
        5,
        "the run ended after 4 steps, but the schedule has 6",
    )


async def test_an_order_that_fits_is_used_up(pool: TaskPool) -> None:
    replay = Replay((0, 1, 1, 0))
    await run_controlled(pool, replay, two_walkers)
    replay.assert_used_up()


async def test_a_replay_can_be_used_again(pool: TaskPool) -> None:
    replay = Replay((0, 1, 1, 0))
    for _ in range(2):
        run = await run_controlled(pool, replay, two_walkers)
        assert run.order == (0, 1, 1, 0)
