"""The smallest program that deletes a slot under SRCU, whole and broken.

A slot set is a version and what it says of the slot. Readers look the slot up and map
it, the writer deletes it: 7 and 13 steps. How often a strategy finds what is wrong with
the broken ones is known, so is the number of orders of the whole one.
"""

from __future__ import annotations

from rcu.operation import Location, Operation
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.task import Strategy
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.pilot import RUNS as PILOTS
from scenarios.strategies.pilot import Pilot
from scenarios.strategies.sampler import Sampler

VALID, INVALID, NONE = "valid", "invalid", "none"


class Broken(Exception):  # noqa: N818 - what a checker would say
    """The program has shown that it is broken."""


class Counter:
    """Readers that are inside under one index."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self.location = Location(name)
        own = (self.location,)
        self.change = Operation("change", reads=own, writes=own)

    def is_zero(self) -> bool:
        return self.count == 0


class DeleteProtocol:
    """Readers and the writer, each pass of which is one run.

    Args:
        strategy: Chooses who goes next.
        readers: How many; each looks the slot up once.
    """

    def __init__(self, strategy: Strategy, readers: int = 2) -> None:
        self.strategy = strategy
        self.scheduler = ControlledScheduler(strategy, cpus=1)
        self._point = self.scheduler.point
        self._counters = Counter("count[0]"), Counter("count[1]")
        self._index_at = Location("index")
        self._active_at = Location("active")
        self._set_at = Location("set[0]"), Location("set[1]")
        self._spte_at = Location("spte")
        self._freed_at = Location("freed")
        self._use = {
            VALID: Operation("map", reads=(self._freed_at,), writes=(self._spte_at,)),
            INVALID: Operation("use", reads=(self._freed_at,)),
            NONE: Operation("give up"),
        }
        self._free = Operation("free", reads=(self._spte_at,), writes=(self._freed_at,))
        for index in range(readers):
            self.scheduler.task(f"reader{index}", self._reader)
        self.scheduler.task("writer", self.writer)
        self._reset()

    def _reset(self) -> None:
        self.scheduler.reset()
        for counter in self._counters:
            counter.count = 0
        self._index = self._active = 0
        self._sets = [(0, VALID), (0, VALID)]
        self._mapped = self._freed = False

    @classmethod
    async def measure(cls, pool: TaskPool, readers: int = 2) -> Lengths:
        """How long its runs are."""
        pilot = Pilot()
        protocol = cls(pilot, readers)
        for _ in range(PILOTS):
            await protocol.run_on(pool)
        return pilot.lengths

    async def run(self, pool: TaskPool, seed: int) -> bool:
        """Run it in the order of a seed; whether it has shown that it is broken."""
        assert isinstance(self.strategy, Sampler)
        self.strategy.reseed(seed)
        return await self.run_on(pool)

    async def run_on(self, pool: TaskPool) -> bool:
        """Run it in the next order; whether it has shown that it is broken."""
        self._reset()
        report = await pool.run(self.scheduler)
        assert report.ending in {Ending.COMPLETED, Ending.FAILED}
        assert report.error is None or isinstance(report.error, Broken)
        return report.error is not None

    async def _reader(self) -> None:
        await self._point(self._index_at.read)
        counter = self._counters[self._index]
        await self._point(counter.change)
        counter.count += 1
        await self._point(self._active_at.read)
        active = self._active
        await self._point(self._set_at[active].read)
        version, slot = self._sets[active]
        await self._point(self._use[slot])
        if slot != NONE and self._freed:
            raise Broken("use after free")
        if slot == VALID:
            self._mapped = True
        await self._point(self._set_at[active].read)
        if self._sets[active][0] != version:
            raise Broken("the set was changed under its reader")
        await self._point(counter.change)
        counter.count -= 1

    async def writer(self) -> None:
        await self._edit(INVALID)
        await self._swap()
        await self.first_synchronize()
        await self._point(self._spte_at.write)
        self._mapped = False
        await self._edit(NONE)
        await self._swap()
        await self.synchronize_and_free()

    async def first_synchronize(self) -> None:
        await self.synchronize()

    async def synchronize_and_free(self) -> None:
        await self.synchronize()
        await self._edit(NONE)
        await self.free()

    async def synchronize(self) -> None:
        """Wait for the readers of either index."""
        await self.wait_for_other()
        await self.flip_and_wait()

    async def flip_and_wait(self) -> None:
        await self._point(self._index_at.write)
        self._index = 1 - self._index
        await self.wait_for_other()

    async def wait_for_other(self) -> None:
        other = self._counters[1 - self._index]
        await self._point(other.location.read, other.is_zero)

    async def free(self) -> None:
        await self._point(self._free)
        self._freed = True
        if self._mapped:
            raise Broken("a mapping outlives its slot")

    async def _edit(self, slot: str) -> None:
        inactive = 1 - self._active
        await self._point(self._set_at[inactive].write)
        self._sets[inactive] = self._sets[inactive][0] + 1, slot

    async def _swap(self) -> None:
        await self._point(self._active_at.write)
        self._active = 1 - self._active


class NoFirstSync(DeleteProtocol):
    """Edits the old set at once. Shown by 2 preemptions."""

    async def first_synchronize(self) -> None:
        pass


class NoSecondSync(DeleteProtocol):
    """Frees the slot at once. Shown by 3 preemptions."""

    async def synchronize_and_free(self) -> None:
        await self._edit(NONE)
        await self.free()


class FreeEarly(DeleteProtocol):
    """Frees the slot and then waits. Shown by 3 preemptions."""

    async def synchronize_and_free(self) -> None:
        await self.free()
        await self.synchronize()
        await self._edit(NONE)


class OneFlip(DeleteProtocol):
    """Waits for one index only. Shown by 4 preemptions."""

    async def synchronize(self) -> None:
        await self.flip_and_wait()
