"""Domains with one step of the grace period left out or exchanged.

Each overrides one small method; the numbers are those of the kernel facts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcu.srcu.domain import SrcuDomain
from rcu.srcu.grace_period import SCAN2
from rcu.tracepoints import SectionBegan

if TYPE_CHECKING:
    from rcu.schedule.task import Task


class WithoutFirstScan(SrcuDomain):
    """R1: a reader that read the index before the last flip is missed."""

    async def grace_period(self) -> None:
        await self.start()
        await self.flip()
        await self.set_state(SCAN2)
        await self.scan(self.other_rank())
        await self.end()


class WithoutSecondScan(SrcuDomain):
    """R2: nobody waits for the readers of the rank that was current."""

    async def grace_period(self) -> None:
        await self.start()
        await self.scan(self.other_rank())
        await self.flip()
        await self.set_state(SCAN2)
        await self.end()


class WithoutFlip(SrcuDomain):
    """R3: both scans look at the idle rank."""

    async def flip(self) -> None:
        """Leave the index as it is."""


class BothRanksWithoutFlip(SrcuDomain):
    """R3b: safe, but new readers keep the scanned rank busy."""

    async def grace_period(self) -> None:
        await self.start()
        await self.scan(self.other_rank())
        await self.set_state(SCAN2)
        await self.scan(1 - self.other_rank())
        await self.end()


class LocksFirst(SrcuDomain):
    """R4: a section that begins and ends between the sums hides an older one."""

    async def read_counters(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        locks = await self.sum_locks(rank)
        return await self.sum_unlocks(rank), locks


class FlipFirst(SrcuDomain):
    """R5: both scans look at the rank that was current."""

    async def grace_period(self) -> None:
        await self.start()
        await self.flip()
        await self.scan(self.other_rank())
        await self.set_state(SCAN2)
        await self.scan(self.other_rank())
        await self.end()


class OneProcessor(SrcuDomain):
    """R6: readers of the other processors do not count."""

    def balanced(self, unlocks: tuple[int, ...], locks: tuple[int, ...]) -> bool:
        return unlocks[0] == locks[0]


class UnlocksCurrentRank(SrcuDomain):
    """R7: a flip inside the section, and its rank never drains."""

    async def read_unlock(self, idx: int) -> None:
        await self._scheduler.point(self.idx_location.read)
        sections = self._scheduler.current.sections
        sections[sections.index((self, idx))] = (self, self.srcu_idx & 1)
        await super().read_unlock(self.srcu_idx & 1)


class KeepsIndex(SrcuDomain):
    """R8: a reader stays on the rank of its first section."""

    async def read_lock(self) -> int:
        scheduler = self._scheduler
        task = scheduler.current
        idx = self._kept().get(task)
        if idx is None:
            idx = self._kept()[task] = await super().read_lock()
            return idx
        cpu = self.cpus[task.cpu]
        await scheduler.point(cpu.lock[idx])
        cpu.lock_count[idx] += 1
        task.sections.append((self, idx))
        scheduler.emit(SectionBegan(self.name, idx))
        return idx

    def _kept(self) -> dict[Task, int]:
        kept: dict[Task, int] = self.__dict__.setdefault("kept", {})
        return kept
