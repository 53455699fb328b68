"""Try every order of a tiny program, or many orders of a small one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from rcu.schedule.pool import TaskPool
from scenarios.explorer.runs import EveryOrder
from scenarios.strategies.random_walk import RandomWalk
from tests.support.running import Build, Run, run_controlled

T = TypeVar("T")
V = TypeVar("V", bound=Hashable)


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
