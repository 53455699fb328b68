"""Anyone may be next, with equal chance, and the same each time for the same seed."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import attrs
import pytest

from rcu.schedule.pool import open_pool
from rcu.schedule.task import Task
from scenarios.planner import plan_for
from scenarios.runner import run_in_trio
from scenarios.strategies.by_name import STRATEGIES
from scenarios.strategies.dice import Dice
from scenarios.strategies.pct import Pct
from scenarios.strategies.pos import Pos
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.round_robin import RoundRobin
from scenarios.strategies.urw import Urw
from tests.scenarios.strategies.idle import idle_tasks, never


def dice(walk: RandomWalk, faces: int) -> Dice:
    """What decides a walk of so many tasks."""
    walk.begin(idle_tasks(faces))
    assert walk.dice is not None
    return walk.dice


def throws(seed: int, faces: int, count: int) -> list[int]:
    return list(islice(dice(RandomWalk(seed), faces)[faces], count))


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
    everyone = idle_tasks(5)
    walk, twin = RandomWalk(3), dice(RandomWalk(3), 5)
    walk.begin(everyone)
    for size in [5, 1, 3, 3, 5, 2, 4] * 50:
        ready = everyone[:size]
        assert walk.pick(everyone[0], ready) is ready[next(twin[size])]


def plain_throws(seed: int, most: int, sizes: list[int]) -> list[int]:
    """What dice with up to so many faces show, said without haste."""
    generator = random.Random(seed)  # noqa: S311 - to be repeatable

    def draw(faces: int, count: int) -> list[int]:
        drawn = generator.randbytes(count)
        fair = [byte for byte in drawn if byte < 256 - 256 % faces]
        return [byte % faces for byte in reversed(fair)]

    left = {faces: draw(faces, 64) for faces in range(2, min(most, 256) + 1)}
    shown = []
    for size in sizes:
        if size == 1:
            shown.append(0)
        elif size > 256:
            shown.append(generator.randrange(size))
        else:
            while not left[size]:
                left[size] = draw(size, 4_096)
            shown.append(left[size].pop())
    return shown


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [2, 3, 7, 300])
def test_what_a_seed_means_stays_as_it_was(seed: int, most: int) -> None:
    """However often a die runs out, and whatever the walk has drawn before."""
    sizes = random.Random(seed).choices(range(1, most + 1), k=20_000)  # noqa: S311
    walk = RandomWalk(seed + 1)
    walk_dice = dice(walk, most)
    for size in sizes[: 50 * seed]:
        next(walk_dice[size])
    walk.reseed(seed)
    walk_dice = dice(walk, most)
    assert [next(walk_dice[size]) for size in sizes] == plain_throws(seed, most, sizes)


def test_a_sticky_walk_goes_on_as_often_as_it_is_told() -> None:
    everyone = idle_tasks(4)
    walk = RandomWalk(0, sticky=0.8)
    walk.begin(everyone)
    assert walk.dice is None
    picked = Counter(walk.pick(everyone[1], everyone).index for _ in range(4_000))
    # 0.8 of the time without a draw, and 1/4 of the rest: 200, 3400, 200, 200
    assert [picked[index] for index in range(4)] == [210, 3_383, 213, 194]
    assert walk.pick(everyone[0], everyone[1:2]) is everyone[1]


@pytest.mark.parametrize("sticky", [-0.1, 1, 2.5])
def test_a_stickiness_out_of_bounds_is_refused(sticky: float) -> None:
    text = f"sticky must be at least 0 and less than 1, got {sticky}"
    with pytest.raises(ValueError, match=text):
        RandomWalk(0, sticky)


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
    first, second, third = everyone = idle_tasks(3)
    robin.begin(everyone)
    assert robin.pick(first, everyone) is second
    assert robin.pick(second, everyone) is third
    assert robin.pick(third, everyone) is first
    assert robin.pick(first, [first, third]) is third
    assert robin.pick(third, [second]) is second
    nobody = Task("setup", -1, never)
    assert robin.pick(nobody, everyone) is first


def test_every_strategy_is_known_by_its_name() -> None:
    assert list(STRATEGIES) == ["random", "pct", "pos", "urw", "round-robin"]
    assert isinstance(STRATEGIES["random"](0), RandomWalk)
    assert isinstance(STRATEGIES["pct"](0), Pct)
    assert isinstance(STRATEGIES["pos"](0), Pos)
    assert isinstance(STRATEGIES["urw"](0), Urw)
    assert isinstance(STRATEGIES["round-robin"](0), RoundRobin)


async def test_round_robin_makes_one_run_whatever_the_seed() -> None:
    plan = attrs.evolve(plan_for("dual-set-swap"), strategy="round-robin")
    async with open_pool() as pool:
        first = await run_in_trio(plan, pool)
        second = await run_in_trio(attrs.evolve(plan, seed=1), pool)
    assert first.order == second.order
    assert first.judgement == second.judgement
    assert first.judgement.violations == ()
