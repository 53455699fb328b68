"""The grace periods of a domain, driven by a worker task.

One grace period scans the rank that is not current, flips the index, and scans the
rank that was current before. A scan sums all unlock counters before all lock counters,
one processor after the other: it is no snapshot. Both scans are needed, and so is that
order; docs/explanation/srcu.md says why.
"""

from __future__ import annotations

from functools import partial

from rcu.operation import Location, Operation
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from rcu.srcu.counters import Callback, CountersChanged, Cpu
from rcu.tracepoints import (
    CallbackInvoked,
    GracePeriodEnded,
    GracePeriodStarted,
    IndexFlipped,
    RankScanned,
)

STATE_MASK = 3
IDLE, SCAN1, SCAN2 = 0, 1, 2
"""State of the running grace period: the low two bits of ``gp_seq``."""


class GracePeriods:
    """The updaters' side of a domain: counters, sequence number, worker.

    Adds a daemon task to the scheduler, named after the domain.

    Args:
        scheduler: Whose tasks are readers and updaters.
        name: The kernel's name for the domain.

    Attributes:
        srcu_idx: The low bit is the rank that new sections use.
        gp_seq: Counter of grace periods; the low two bits say what it is doing.
        gp_seq_needed: The number that somebody waits for.
        gp_seq_needed_exp: The same, of those in a hurry.
        cpus: Counters and callbacks by processor.
        worker: The task that drives its grace periods.

    Linux: struct srcu_struct, include/linux/srcutree.h
    """

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.srcu_idx = 0
        self.gp_seq = 0
        self.gp_seq_needed = 0
        self.gp_seq_needed_exp = 0
        self.cpus = tuple(Cpu.of(name, cpu) for cpu in range(scheduler.cpus))
        self.idx_location = Location(f"{name} srcu_idx")
        self.seq_location = Location(f"{name} gp_seq")
        self.needed_location = Location(f"{name} gp_seq_needed")
        self._scheduler = scheduler
        self._wait_for_work = Operation(
            "wait for work", reads=(self.needed_location, self.seq_location)
        )
        # The scan that follows either step sees in it whether somebody is in a hurry.
        self._set_state = Operation(
            "write", reads=(self.needed_location,), writes=(self.seq_location,)
        )
        self._delay = Operation("let a jiffy pass")
        self._rescan = tuple(
            Operation(
                "wait to rescan",
                reads=[
                    self.needed_location,
                    *(
                        location
                        for cpu in self.cpus
                        for location in (
                            *cpu.read_unlock[rank].reads,
                            *cpu.read_lock[rank].reads,
                        )
                    ),
                ],
                needs=partial(self._inside, rank),
            )
            for rank in (0, 1)
        )
        self.worker = scheduler.task(f"{name}-gp", self.work, cpu=0, daemon=True)

    def _inside(self, rank: int) -> list[Task]:
        """The tasks in sections that are counted on ``rank``."""
        here = (self, rank)
        return [task for task in self._scheduler.tasks if here in task.sections]

    def _has_work(self) -> bool:
        return self.gp_seq < self.gp_seq_needed

    async def work(self) -> None:
        """Drive one grace period after the other, as they are needed."""
        while True:
            await self._scheduler.point(self._wait_for_work, self._has_work)
            await self.grace_period()
            await self.invoke_callbacks()

    async def grace_period(self) -> None:
        """One grace period: scan, flip, scan.

        Linux: srcu_advance_state, kernel/rcu/srcutree.c
        """
        await self.start()
        await self.scan(self.other_rank())
        await self.flip()
        await self.set_state(SCAN2)
        await self.scan(self.other_rank())
        await self.end()

    async def start(self) -> None:
        """Begin a grace period.

        Linux: srcu_gp_start, kernel/rcu/srcutree.c
        """
        await self.set_state(SCAN1)
        if self._scheduler.tracing:
            self._scheduler.emit(GracePeriodStarted(self.name, self.gp_seq))

    async def set_state(self, state: int) -> None:
        """Say what the running grace period does."""
        await self._scheduler.point(self._set_state)
        self.gp_seq = self.gp_seq & ~STATE_MASK | state

    def other_rank(self) -> int:
        """The rank that new sections do not use; only the worker may ask."""
        return 1 - (self.srcu_idx & 1)

    async def scan(self, rank: int) -> None:
        """Wait until the counters of ``rank`` are found equal.

        Linux: try_check_zero, kernel/rcu/srcutree.c
        """
        scheduler = self._scheduler
        while True:
            if self.gp_seq_needed_exp <= self.gp_seq:
                await scheduler.point(self._delay)
            unlocks, locks = await self.read_counters(rank)
            if self.balanced(unlocks, locks):
                break
            changed = CountersChanged(self.cpus, rank, unlocks, locks)
            await scheduler.point(self._rescan[rank], changed)
        if scheduler.tracing:
            scheduler.emit(RankScanned(self.name, rank))

    async def read_counters(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Read the unlock counters, and only then the lock counters.

        Linux: srcu_readers_active_idx_check, kernel/rcu/srcutree.c
        """
        unlocks = await self.sum_unlocks(rank)
        return unlocks, await self.sum_locks(rank)

    def balanced(self, unlocks: tuple[int, ...], locks: tuple[int, ...]) -> bool:
        """Whether as many sections were left as entered, on all processors together."""
        return sum(unlocks) == sum(locks)

    async def sum_unlocks(self, rank: int) -> tuple[int, ...]:
        """Read the unlock counters, one processor after the other.

        Linux: srcu_readers_unlock_idx, kernel/rcu/srcutree.c
        """
        counts = []
        for cpu in self.cpus:
            await self._scheduler.point(cpu.read_unlock[rank])
            counts.append(cpu.unlock_count[rank])
        return tuple(counts)

    async def sum_locks(self, rank: int) -> tuple[int, ...]:
        """Read the lock counters, one processor after the other.

        Linux: srcu_readers_lock_idx, kernel/rcu/srcutree.c
        """
        counts = []
        for cpu in self.cpus:
            await self._scheduler.point(cpu.read_lock[rank])
            counts.append(cpu.lock_count[rank])
        return tuple(counts)

    async def flip(self) -> None:
        """Let new sections use the other rank.

        Linux: srcu_flip, kernel/rcu/srcutree.c
        """
        await self._scheduler.point(self.idx_location.write)
        self.srcu_idx += 1
        if self._scheduler.tracing:
            self._scheduler.emit(IndexFlipped(self.name, self.srcu_idx))

    async def end(self) -> None:
        """End the grace period.

        Linux: srcu_gp_end, kernel/rcu/srcutree.c
        """
        await self._scheduler.point(self.seq_location.write)
        self.gp_seq = (self.gp_seq | STATE_MASK) + 1
        if self._scheduler.tracing:
            self._scheduler.emit(GracePeriodEnded(self.name, self.gp_seq))

    async def invoke_callbacks(self) -> None:
        """Call what is due on every processor."""
        for cpu in self.cpus:
            await self.invoke_callbacks_of(cpu)

    async def invoke_callbacks_of(self, cpu: Cpu) -> None:
        """Call what is due on one processor.

        Linux: srcu_invoke_callbacks, kernel/rcu/srcutree.c
        """
        scheduler = self._scheduler
        await scheduler.point(cpu.queue.read)
        callbacks = cpu.callbacks
        while callbacks and self.is_due(callbacks[0]):
            callback = callbacks[0]
            # It stays queued until it has been called: a barrier waits for it.
            await scheduler.point(callback.invoke_from(cpu.queue))
            del callbacks[0]
            callback.cookie = 0
            callback.func()
            if scheduler.tracing:
                scheduler.emit(CallbackInvoked(self.name, callback.name))

    def is_due(self, callback: Callback) -> bool:
        """Whether the grace period that a callback waits for is over."""
        return callback.cookie <= self.gp_seq
