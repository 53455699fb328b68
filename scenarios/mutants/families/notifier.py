"""The host's MMU notifier: what it holds up, and which slots it touches."""

from __future__ import annotations

from typing import Any

from memslots.invalidations import Invalidations
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.units import Hva
from memslots.update import Update
from memslots.vm import Vm
from rcu.locks import RwLock
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step
from vcpus.mmu_notifier import MmuNotifier


class PublishesAtOnce(Update):
    """Does not wait for the end of invalidations."""

    async def publish(self, as_id: int, slots: Memslots) -> None:
        """See `Update.publish`."""
        await self.assign_active(as_id, slots)


class FairSemaphore(RwLock):
    """Lets nobody share it any more once a writer waits for it."""

    spins = False

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        super().__init__(scheduler, name)
        self._writer_waits = False

    def _assert_not_held(self) -> None:
        """Who shares it may do so once more."""

    def _got(self, task: Task, *, shared: bool) -> None:
        if self in task.locks:
            task.locks.append(self)
        else:
            super()._got(task, shared=shared)

    def _gave(self, task: Task) -> None:
        if task.locks.count(self) > 1:
            task.locks.remove(self)
        else:
            super()._gave(task)

    def _is_readable(self) -> bool:
        return not self._writer_waits and super()._is_readable()

    async def acquire_write(self) -> None:
        """See `RwLock.acquire_write`."""
        await self._scheduler.point(self.location.write)
        self._writer_waits = True
        await super().acquire_write()
        self._writer_waits = False


class HeldFromStartToEnd(Invalidations):
    """A semaphore that invalidations share from start to end, and a swap has alone."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self.semaphore = FairSemaphore(scheduler, "mmu_notifier_slots_lock")

    async def begin(self) -> None:
        """See `Invalidations.begin`."""
        await self.semaphore.acquire_read()

    async def end(self) -> None:
        """See `Invalidations.end`."""
        await self.semaphore.release()

    async def wait_until_none(self) -> None:
        """See `Invalidations.wait_until_none`."""
        await self.semaphore.acquire_write()
        await self.lock.acquire()
        await self.semaphore.release()


class VmWithSemaphore(Vm):
    """Keeps invalidations and swaps apart by a semaphore."""

    def __init__(self, scheduler: Scheduler, **options: Any) -> None:
        super().__init__(scheduler, **options)
        self.invalidations = HeldFromStartToEnd(scheduler)


class TakesTheEndForTheLast(MmuNotifier):
    """Takes the first address behind a range for the last one of it."""

    def slots_in(self, slots: Memslots, start: Hva, end: Hva) -> list[MemorySlot]:
        """See `MmuNotifier.slots_in`."""
        return list(slots.in_hva_range(start, end))


MUTANTS = (
    Mutant(
        id="8",
        title="a set is published during an invalidation",
        step=Step.SWAP_WAITS,
        why=(
            "An invalidation counts itself only if a slot is in its range, at its start"
            " and again at its end. If they see different sets, the count is wrong for"
            " ever: all faults are retried, or none is."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: Block memslot updates across range_start() and range_end()",
            commit="52ac8b358b0c",
            release="5.15",
        ),
        scenario="unmap-beside-a-create",
        checker="notifier-balanced",
        parts=Parts(update=PublishesAtOnce),
        preemptions=1,
    ),
    Mutant(
        id="9",
        title="a semaphore is held from the start of an invalidation to its end",
        step=Step.SWAP_WAITS,
        why=(
            "Whoever begins an invalidation may have to wait before it ends, and so"
            " behind a writer who waits for that end. A count can be raised again"
            " instead, whoever waits for it to be 0."
        ),
        provenance=Provenance(
            kind="fix",
            subject=("KVM: Block memslot updates across range_start() and range_end()"),
            commit="52ac8b358b0c",
            release="5.15",
        ),
        scenario="nested-invalidations",
        checker="deadlock",
        parts=Parts(vm=VmWithSemaphore),
        preemptions=1,
    ),
    Mutant(
        id="32",
        title="the end of a range of hvas is taken for its last address",
        step=Step.NOTIFIER_FINDS,
        why=(
            "Callers name the first address behind a range, and the tree takes the last"
            " one of it. The slot that begins where the range ends is touched, too."
        ),
        provenance=Provenance(
            kind="rule", subject="the range of the hva tree is inclusive"
        ),
        scenario="nested-invalidations",
        checker="notifier-balanced",
        parts=Parts(notifier=TakesTheEndForTheLast),
        preemptions=0,
    ),
)
