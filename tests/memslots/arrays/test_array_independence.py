"""Steps of arrays that are said to be independent can be exchanged."""

from __future__ import annotations

import pytest

from memslots.arrays.array_update import ArrayUpdate
from memslots.arrays.array_vm import ArrayVm
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from scenarios.machine import Machine, Parts
from scenarios.strategies.random_walk import RandomWalk
from tests.memslots.arrays.scenarios import copied_arrays
from tests.support.exchanging import difference, exchangeable
from tests.support.running import run_controlled


def build(scheduler: Scheduler) -> Machine:
    parts = Parts(vm=ArrayVm, update=ArrayUpdate)
    return Machine(copied_arrays(repeat=2), scheduler, parts=parts)


@pytest.mark.slow
async def test_exchanging_independent_neighbours_changes_nothing(
    pool: TaskPool,
) -> None:
    tried = 0
    for seed in range(5):
        run = await run_controlled(pool, RandomWalk(seed), build, cpus=2)
        for place in exchangeable(run):
            assert await difference(pool, run, place, build, cpus=2) is None
            tried += 1
    assert tried > 180
