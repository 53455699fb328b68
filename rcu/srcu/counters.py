"""What each processor keeps for a domain, and the conditions that read it."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from rcu.operation import Location, Operation


@attrs.define(eq=False)
class Callback:
    """Something to be called after a grace period.

    Attributes:
        name: How the trace calls it.
        func: Called in the worker's step; must not wait.
        writes: Locations that it changes.
        cookie: Sequence number that must be reached first; 0 while not queued.
    """

    name: str
    func: Callable[[], None]
    writes: tuple[Location, ...] = ()
    cookie: int = 0
    _invoke: dict[Location, Operation] = attrs.field(factory=dict, init=False)

    def invoke_from(self, queue: Location) -> Operation:
        """The operation of the worker who takes it off ``queue`` and calls it."""
        if queue not in self._invoke:
            writes = (queue, *self.writes)
            self._invoke[queue] = Operation("invoke", writes=writes)
        return self._invoke[queue]


@attrs.define(eq=False)
class Cpu:
    """What one processor keeps for a domain.

    Attributes:
        lock_count: Sections entered on this processor, by rank.
        unlock_count: Sections left on this processor, by rank.
        callbacks: Callbacks queued here, oldest first.
        lock: Operations that increment ``lock_count``, by rank.
        unlock: Operations that increment ``unlock_count``, by rank.
        read_lock, read_unlock: Operations with which a scan reads them.
        queue: Operation that changes ``callbacks``.
    """

    lock_count: list[int]
    unlock_count: list[int]
    callbacks: list[Callback]
    lock: tuple[Operation, Operation]
    unlock: tuple[Operation, Operation]
    read_lock: tuple[Operation, Operation]
    read_unlock: tuple[Operation, Operation]
    queue: Location

    @classmethod
    def of(cls, domain: str, cpu: int) -> Cpu:
        """Make the counters of one processor."""
        locks = [Location(f"{domain} lock_count[{i}] of CPU {cpu}") for i in (0, 1)]
        unlocks = [Location(f"{domain} unlock_count[{i}] of CPU {cpu}") for i in (0, 1)]
        return cls(
            lock_count=[0, 0],
            unlock_count=[0, 0],
            callbacks=[],
            lock=(locks[0].write, locks[1].write),
            unlock=(unlocks[0].write, unlocks[1].write),
            read_lock=(locks[0].read, locks[1].read),
            read_unlock=(unlocks[0].read, unlocks[1].read),
            queue=Location(f"{domain} callbacks of CPU {cpu}"),
        )


@attrs.frozen
class CountersChanged:
    """Condition of a failed scan: reading again would give other numbers.

    Attributes:
        cpus: The processors of the domain.
        rank: The rank that was scanned.
        unlocks, locks: What the scan read, by processor.
    """

    cpus: tuple[Cpu, ...]
    rank: int
    unlocks: tuple[int, ...]
    locks: tuple[int, ...]

    def __call__(self) -> bool:
        """Whether any counter differs from what the scan read."""
        rank = self.rank
        return any(
            cpu.unlock_count[rank] != unlock or cpu.lock_count[rank] != lock
            for cpu, unlock, lock in zip(
                self.cpus, self.unlocks, self.locks, strict=True
            )
        )
