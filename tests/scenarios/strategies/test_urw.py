"""All interleavings have the same chance, if the lengths are right."""

from __future__ import annotations

from collections import Counter

import pytest

from rcu.schedule.pool import TaskPool
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.sampler import Sampler
from scenarios.strategies.urw import Urw
from tests.scenarios.strategies.idle import idle_tasks
from tests.scenarios.strategies.small_programs import Order, Runner, independent

RUNS_EACH = 100


async def interleavings(pool: TaskPool, strategy: Sampler) -> Counter[Order]:
    """How often each of 60 is drawn in 6,000 runs."""
    program = independent(3, 2, 1)
    strategy.learn(await Runner.measure(pool, program))
    runner = Runner(strategy, program)
    found: Counter[Order] = Counter()
    for seed in range(60 * RUNS_EACH):
        strategy.reseed(seed)
        found[await runner.run(pool)] += 1
    return found


@pytest.mark.slow
async def test_all_interleavings_are_equally_likely(pool: TaskPool) -> None:
    """A chance of 1/60 each: 100 of 6,000, give or take 10."""
    found = await interleavings(pool, Urw(0))
    assert len(found) == 60
    assert min(found.values()) >= 70
    assert max(found.values()) <= 130


@pytest.mark.slow
async def test_under_a_random_walk_they_are_not(pool: TaskPool) -> None:
    """From 1/162 to 1/12: 37 to 500 of 6,000."""
    found = await interleavings(pool, RandomWalk(0))
    assert len(found) == 60
    assert (min(found.values()), max(found.values())) == (32, 452)


def shares(strategy: Urw, count: int, draws: int = 2_000) -> list[int]:
    """How often each of so many tasks makes the first step."""
    tasks = idle_tasks(count)
    first: Counter[int] = Counter()
    for _ in range(draws):
        strategy.begin(tasks)
        first[strategy.pick(tasks[0], tasks).index] += 1
    return [first[index] for index in range(count)]


def test_the_chance_is_the_share_of_the_steps_that_are_left() -> None:
    strategy = Urw(0)
    strategy.learn(Lengths(choices=0, steps=(6, 3, 1)))
    assert shares(strategy, 3) == [1_194, 596, 210]  # of 1200, 600, 200


def test_before_anything_is_learnt_all_have_the_same_chance() -> None:
    assert shares(Urw(0), 4) == [487, 512, 489, 512]  # of 500 each


def test_a_task_without_steps_or_beyond_those_expected_keeps_the_weight_one() -> None:
    strategy = Urw(0)
    strategy.learn(Lengths(choices=0, steps=(2, 0)))
    assert shares(strategy, 3) == [999, 489, 512]  # of 1000, 500, 500
    tasks = idle_tasks(2)
    strategy.begin(tasks)
    for _ in range(5):
        assert strategy.pick(tasks[0], tasks[:1]) is tasks[0]
    first = Counter(strategy.pick(tasks[0], tasks).index for _ in range(2_000))
    assert first == {0: 965, 1: 1_035}  # of 1000 each
