"""Anyone may be next, with equal chance, and the same each time for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import attrs
import pytest

from rcu.schedule.pool import open_pool
from rcu.schedule.task import Task
from scenarios.planner import plan_for
from scenarios.runner import run_in_trio
from scenarios.strategies.by_name import STRATEGIES
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.round_robin import RoundRobin


async def never() -> None:
    raise AssertionError("nobody runs here")


def tasks(count: int) -> list[Task]:
    return [Task(f"t{index}", index, never) for index in range(count)]


def throws(seed: int, faces: int, count: int) -> list[int]:
    walk = RandomWalk(seed)
    walk.begin(tasks(faces))
    return list(islice(walk.dice[faces], count))


@pytest.mark.parametrize("faces", [1, 2, 3, 7, 100, 255, 256, 257, 1_000])
def test_a_die_shows_every_face_equally_often_and_no_other(faces: int) -> None:
    thrown = Counter(throws(0, faces, 200 * faces))
    assert sorted(thrown) == list(range(faces))
    assert min(thrown.values()) > 130
    assert max(thrown.values()) < 270


@pytest.mark.parametrize("faces", [2, 6, 256, 300])
def test_the_same_seed_throws_the_same(faces: int) -> None:
    assert throws(5, faces, 10_000) == throws(5, faces, 10_000)
    assert throws(5, faces, 10_000) != throws(6, faces, 10_000)


def test_a_walk_chooses_by_its_dice() -> None:
    everyone = tasks(5)
    walk, twin = RandomWalk(3), RandomWalk(3)
    walk.begin(everyone)
    twin.begin(everyone)
    for size in [5, 1, 3, 3, 5, 2, 4] * 50:
        ready = everyone[:size]
        assert walk.pick(everyone[0], ready) is ready[next(twin.dice[size])]


class Asked:
    """The same walk, but it must be asked at every point."""

    patience = 0

    def __init__(self, seed: int) -> None:
        self._walk = RandomWalk(seed)

    def begin(self, tasks: list[Task]) -> None:
        self._walk.begin(tasks)

    def pick(self, current: Task, ready: list[Task]) -> Task:
        return self._walk.pick(current, ready)


async def test_a_scheduler_that_throws_itself_makes_the_same_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(STRATEGIES, "asked", Asked)
    async with open_pool() as pool:
        for seed in range(10):
            plan = attrs.evolve(plan_for("dual-set-swap"), seed=seed)
            thrown = await run_in_trio(plan, pool)
            asked = await run_in_trio(attrs.evolve(plan, strategy="asked"), pool)
            assert asked.order == thrown.order
            assert asked.judgement == thrown.judgement


def test_round_robin_goes_round() -> None:
    robin = RoundRobin()
    first, second, third = everyone = tasks(3)
    robin.begin(everyone)
    assert robin.pick(first, everyone) is second
    assert robin.pick(second, everyone) is third
    assert robin.pick(third, everyone) is first
    assert robin.pick(first, [first, third]) is third
    assert robin.pick(third, [second]) is second
    nobody = Task("setup", -1, never)
    assert robin.pick(nobody, everyone) is first


def test_every_strategy_is_known_by_its_name() -> None:
    assert list(STRATEGIES) == ["random", "round-robin"]
    assert isinstance(STRATEGIES["random"](0), RandomWalk)
    assert isinstance(STRATEGIES["round-robin"](0), RoundRobin)


async def test_round_robin_makes_one_run_whatever_the_seed() -> None:
    plan = attrs.evolve(plan_for("dual-set-swap"), strategy="round-robin")
    async with open_pool() as pool:
        first = await run_in_trio(plan, pool)
        second = await run_in_trio(attrs.evolve(plan, seed=1), pool)
    assert first.order == second.order
    assert first.judgement == second.judgement
    assert first.judgement.violations == ()
