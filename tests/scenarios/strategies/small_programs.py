"""Programs of a few steps, as data, and what tells their orders apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

from hypothesis import strategies as st

from rcu.locks import Mutex
from rcu.operation import Location, Operation
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.task import Strategy, Task
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.pilot import RUNS as PILOTS
from scenarios.strategies.pilot import Pilot

Access = tuple[str, int]
"""``read``, ``write``, ``acquire`` or ``release``, and the number of the location."""

Program = Sequence[Sequence[Access]]
"""What each task does."""

Order = tuple[int, ...]
"""Task index of each step."""

Trace = frozenset[tuple[tuple[int, int], tuple[int, int]]]
"""Pairs of steps that depend on each other, in their order: task index, place in it.

Two orders with the same pairs differ in the exchange of independent neighbours only.
"""


def independent(*lengths: int) -> Program:
    """Tasks of so many steps that have nothing to do with each other."""
    return [[("write", index)] * length for index, length in enumerate(lengths)]


class Runner:
    """Runs a program in many orders."""

    def __init__(self, strategy: Strategy, program: Program) -> None:
        self.scheduler = ControlledScheduler(strategy, cpus=1)
        self.scheduler.keep_record()
        self._locations = [Location(f"location{number}") for number in range(3)]
        self._mutex = Mutex(self.scheduler, "mutex")
        for index, accesses in enumerate(program):
            self.scheduler.task(f"task{index}", partial(self._body, accesses))

    @classmethod
    async def measure(cls, pool: TaskPool, program: Program) -> Lengths:
        """How long the program's runs are."""
        pilot = Pilot()
        runner = cls(pilot, program)
        for _ in range(PILOTS):
            await runner.run(pool)
        return pilot.lengths

    async def run(self, pool: TaskPool) -> Order:
        self.scheduler.reset()
        report = await pool.run(self.scheduler)
        assert report.ending is Ending.COMPLETED
        return self.scheduler.order()

    @property
    def trace(self) -> Trace:
        """Of the last run."""
        return trace_of(self.scheduler.record or [])

    async def _body(self, accesses: Sequence[Access]) -> None:
        for verb, number in accesses:
            match verb:
                case "read":
                    await self.scheduler.point(self._locations[number].read)
                case "write":
                    await self.scheduler.point(self._locations[number].write)
                case "acquire":
                    await self._mutex.acquire()
                case "release":
                    await self._mutex.release()


def trace_of(record: Sequence[Task | Operation]) -> Trace:
    """The trace of a run, from who made which step."""
    before: list[tuple[tuple[int, int], Operation]] = []
    pairs: set[tuple[tuple[int, int], tuple[int, int]]] = set()
    made: dict[int, int] = {}
    for task, op in zip(record[::2], record[1::2], strict=True):
        assert isinstance(task, Task)
        assert isinstance(op, Operation)
        place = made[task.index] = made.get(task.index, 0) + 1
        event = task.index, place
        pairs |= {(other, event) for other, their in before if _depends_on(their, op)}
        before.append((event, op))
    return frozenset(pairs)


_depends_on = lru_cache(10_000)(Operation.depends_on)


def _locked(accesses: list[Access]) -> list[Access]:
    return [("acquire", 0), *accesses, ("release", 0)]


_access = st.tuples(st.sampled_from(["read", "write"]), st.integers(0, 2))
_accesses = st.lists(_access, min_size=1, max_size=3)
_body = _accesses | _accesses.map(_locked)


def programs(steps: int) -> st.SearchStrategy[Program]:
    """Two or three tasks, with so many steps at most."""
    return st.lists(_body, min_size=2, max_size=3).filter(
        lambda bodies: sum(map(len, bodies)) <= steps
    )
