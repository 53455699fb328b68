"""Try every order of a tiny program, or many orders of a small one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from rcu.schedule.pool import TaskPool
from rcu.schedule.task import Task
from scenarios.strategies.random_walk import RandomWalk
from tests.support.running import Build, Run, run_controlled

T = TypeVar("T")
V = TypeVar("V", bound=Hashable)


class EveryOrder:
    """Depth first through all choices: one run takes the path, `advance` the next.

    Args:
        preemptions: How often a task that could go on may be interrupted; by default
            as often as it can be.
    """

    patience = 0

    def __init__(self, preemptions: int | None = None) -> None:
        self._preemptions = preemptions
        self._path: list[int] = []  # which of the options, by depth
        self._widths: list[int] = []  # how many there were
        self._depth = 0
        self._left = 0

    def begin(self, tasks: list[Task]) -> None:
        self._depth = 0
        self._left = -1 if self._preemptions is None else self._preemptions

    def pick(self, current: Task, ready: list[Task]) -> Task:
        may_stay = current in ready
        options = ready
        if may_stay and self._left >= 0:
            others = [task for task in ready if task is not current]
            options = [current, *others] if self._left else [current]
        depth = self._depth
        self._depth = depth + 1
        if depth == len(self._path):
            self._path.append(0)
            self._widths.append(len(options))
        assert self._widths[depth] == len(options), "the program is not deterministic"
        chosen = options[self._path[depth]]
        if may_stay and chosen is not current:
            self._left -= 1
        return chosen

    def advance(self) -> bool:
        """Turn to the next path; false if that was the last."""
        while self._path:
            if self._path[-1] + 1 < self._widths[-1]:
                self._path[-1] += 1
                return True
            self._path.pop()
            self._widths.pop()
        return False


async def in_every_order(
    pool: TaskPool,
    build: Build[T],
    judge: Callable[[Run[T]], V],
    *,
    cpus: int = 1,
    preemptions: int | None = None,
) -> Counter[V]:
    """How many orders of the program get which verdict; no order is left out."""
    verdicts: Counter[V] = Counter()
    strategy = EveryOrder(preemptions)
    while True:
        run = await run_controlled(pool, strategy, build, cpus=cpus)
        verdicts[judge(run)] += 1
        if not strategy.advance():
            return verdicts


async def in_random_orders(
    pool: TaskPool,
    build: Build[T],
    judge: Callable[[Run[T]], V],
    seeds: Iterable[int],
    *,
    cpus: int = 1,
) -> Counter[V]:
    """How many seeds of a random walk get which verdict."""
    verdicts: Counter[V] = Counter()
    for seed in seeds:
        run = await run_controlled(pool, RandomWalk(seed), build, cpus=cpus)
        verdicts[judge(run)] += 1
    return verdicts
