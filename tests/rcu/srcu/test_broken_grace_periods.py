"""Each step of a grace period is there for a reason: left out, some order shows it.

The smallest bounds that show it are known from a separate model; below them no order
does. Where all orders are too many, those with few preemptions are tried, and the
twin without the change gets through the same ones.
"""

from __future__ import annotations

from collections import Counter

import attrs
import pytest

from rcu.operation import Location
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from rcu.srcu.domain import SrcuDomain
from scenarios.mutants.families.srcu import (
    FlipsFirst,
    KeepsItsRank,
    LeavesTheCurrentRank,
    LooksAtOneCpu,
    NeverFlips,
    ScansBothWithoutFlip,
    SkipsTheFirstScan,
    SkipsTheSecondScan,
    SumsLocksFirst,
)
from tests.support.exploring import in_every_order
from tests.support.grace_periods import verdict
from tests.support.running import run_controlled
from tests.support.srcu_programs import sections_against_grace_periods

pytestmark = pytest.mark.slow


@attrs.frozen
class Bounds:
    """How much is tried."""

    grace_periods: int = 1
    readers: int = 1
    sections: int = 1
    cpus: int = 1
    preemptions: int | None = None


async def found(pool: TaskPool, kind: type[SrcuDomain], bounds: Bounds) -> Counter[str]:
    build = sections_against_grace_periods(
        kind,
        grace_periods=bounds.grace_periods,
        readers=bounds.readers,
        sections=bounds.sections,
    )
    return await in_every_order(
        pool, build, verdict, cpus=bounds.cpus, preemptions=bounds.preemptions
    )


TWO_GRACE_PERIODS = Bounds(grace_periods=2)
TWO_READERS = Bounds(readers=2, preemptions=3)
TWO_PROCESSORS = Bounds(readers=2, cpus=2, preemptions=1)


@pytest.mark.parametrize(
    ("kind", "bounds", "verdicts"),
    [
        pytest.param(
            SkipsTheFirstScan,
            TWO_GRACE_PERIODS,
            {"completed": 2441, "too short": 30},
            id="R1",
        ),
        pytest.param(
            SkipsTheSecondScan, Bounds(), {"completed": 559, "too short": 1}, id="R2"
        ),
        pytest.param(NeverFlips, Bounds(), {"completed": 679, "too short": 1}, id="R3"),
        pytest.param(
            SumsLocksFirst,
            TWO_READERS,
            {"completed": 13046, "too short": 6},
            id="R4",
        ),
        pytest.param(
            FlipsFirst,
            TWO_GRACE_PERIODS,
            {"completed": 3128, "too short": 30},
            id="R5",
        ),
        pytest.param(
            LooksAtOneCpu, TWO_PROCESSORS, {"completed": 364, "too short": 6}, id="R6"
        ),
        pytest.param(
            LeavesTheCurrentRank, Bounds(), {"completed": 1420, "hang": 512}, id="R7"
        ),
    ],
)
async def test_a_broken_grace_period_is_caught_at_the_smallest_bounds(
    pool: TaskPool, kind: type[SrcuDomain], bounds: Bounds, verdicts: dict[str, int]
) -> None:
    assert await found(pool, kind, bounds) == Counter(verdicts)


@pytest.mark.parametrize(
    ("kind", "bounds", "orders"),
    [
        pytest.param(SkipsTheFirstScan, Bounds(), 404, id="R1, one grace period"),
        pytest.param(SumsLocksFirst, Bounds(), 608, id="R4, one reader"),
        pytest.param(FlipsFirst, Bounds(), 513, id="R5, one grace period"),
        pytest.param(LooksAtOneCpu, Bounds(cpus=2), 2592, id="R6, one reader"),
        pytest.param(ScansBothWithoutFlip, TWO_GRACE_PERIODS, 2525, id="R3b"),
        pytest.param(
            KeepsItsRank,
            Bounds(grace_periods=2, sections=2, preemptions=2),
            617,
            id="R8",
        ),
    ],
)
async def test_below_these_bounds_no_order_shows_it(
    pool: TaskPool, kind: type[SrcuDomain], bounds: Bounds, orders: int
) -> None:
    assert await found(pool, kind, bounds) == Counter({"completed": orders})


@pytest.mark.parametrize(
    ("bounds", "orders"),
    [
        pytest.param(Bounds(), 576, id="R2, R3, R7"),
        pytest.param(TWO_GRACE_PERIODS, 2952, id="R1, R5"),
        pytest.param(TWO_READERS, 13024, id="R4"),
        pytest.param(TWO_PROCESSORS, 360, id="R6"),
        pytest.param(Bounds(grace_periods=2, sections=2, preemptions=2), 858, id="R8"),
    ],
)
async def test_the_unbroken_twin_passes_within_the_same_bounds(
    pool: TaskPool, bounds: Bounds, orders: int
) -> None:
    assert await found(pool, SrcuDomain, bounds) == Counter({"completed": orders})


class Relay:
    """Keeps one of two readers inside whenever anybody else makes a step."""

    patience = 0
    _LAP = ("r1", "r1", "r0", "other", "r0", "r0", "r1", "other")

    def __init__(self) -> None:
        self._turn = 0

    def begin(self, tasks: list[Task]) -> None: ...

    def pick(self, current: Task, ready: list[Task]) -> Task:
        readers = {task.name: task for task in ready if task.name in {"r0", "r1"}}
        others = [task for task in ready if task.name not in readers]
        if len(readers) < 2:
            return ready[0]
        while True:
            turn = self._turn
            self._turn += 1
            # Reader 0 enters first: an index read and an increment.
            wanted = "r0" if turn < 2 else self._LAP[(turn - 2) % len(self._LAP)]
            if wanted != "other":
                return readers[wanted]
            if others:
                return others[-1]


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        (SrcuDomain, Ending.COMPLETED),
        (ScansBothWithoutFlip, Ending.BUDGET),
        (KeepsItsRank, Ending.BUDGET),
    ],
)
async def test_without_the_flip_a_stream_of_readers_starves_the_updater(
    pool: TaskPool, kind: type[SrcuDomain], ending: Ending
) -> None:
    """R3b and R8 let no grace period be too short; it never ends instead."""

    def build(scheduler: Scheduler) -> None:
        domain = kind(scheduler, "srcu")
        pointer = Location("pointer")
        done: list[bool] = []

        async def read() -> None:
            while not done:
                await domain.read_unlock(await domain.read_lock())

        async def update() -> None:
            await scheduler.point(pointer.write)
            await domain.synchronize_expedited()
            done.append(True)

        scheduler.task("r0", read)
        scheduler.task("r1", read)
        scheduler.task("updater", update)

    run = await run_controlled(pool, Relay(), build, budget=3_000)
    assert run.report.ending is ending
    assert verdict(run) == ending.value
