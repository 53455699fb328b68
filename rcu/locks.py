"""Mutex, spin lock and reader-writer lock.

Waiting is a schedule point whose condition is that the lock is free; who gets it next
is the strategy's choice. Each release is a point of its own: the last access under a
lock and its release are two shared accesses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

from rcu.errors import LockHeld, LockNotHeld, goes_on
from rcu.operation import Location, Operation
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task
from rcu.tracepoints import LockAcquired, LockReleased


class Lock(ABC):
    """What all locks share: a name, a location, who holds it.

    Args:
        scheduler: Whose tasks take it.
        name: The kernel's name for it.

    Attributes:
        location: The shared state that acquiring and releasing change.
        spins: Whether its holder must not sleep.
    """

    spins = False

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.location = Location(name)
        self._scheduler = scheduler
        self._acquire = Operation(
            "acquire", writes=(self.location,), needs=self.holders
        )
        self._release = Operation("release", writes=(self.location,))

    @abstractmethod
    def holders(self) -> list[Task]:
        """The tasks that hold it."""

    def _got(self, task: Task, *, shared: bool) -> None:
        task.locks.append(self)
        if self._scheduler.tracing:
            self._scheduler.emit(LockAcquired(self.name, shared))

    def _gave(self, task: Task) -> None:
        task.locks.remove(self)
        if self._scheduler.tracing:
            self._scheduler.emit(LockReleased(self.name))

    def held(self) -> bool:
        """Whether the current task holds it, in whatever mode."""
        return self in self._scheduler.current.locks

    def assert_held(self) -> None:
        """Refuse to go on without it.

        Raises:
            LockNotHeld: The current task does not hold it.
        """
        if self not in self._scheduler.current.locks:
            raise LockNotHeld(
                f"{self._scheduler.current.name} does not hold {self.name}"
            )

    def _assert_not_held(self) -> None:
        if self in self._scheduler.current.locks:
            raise LockHeld(
                f"{self._scheduler.current.name} acquires {self.name},"
                " which it holds already"
            )


class Mutex(Lock):
    """A lock with one holder, who may sleep.

    Example:
        ``async with vm.slots_lock: ...``

    Linux: struct mutex, kernel/locking/mutex.c
    """

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        super().__init__(scheduler, name)
        self.owner: Task | None = None

    def holders(self) -> list[Task]:
        """See `Lock.holders`."""
        return [] if self.owner is None else [self.owner]

    def is_free(self) -> bool:
        """Whether nobody holds it."""
        return self.owner is None

    async def acquire(self) -> None:
        """Wait until it is free and take it.

        Raises:
            LockHeld: The current task holds it already.
            SleepInAtomic: The current task holds a spin lock and this is none.
        """
        scheduler = self._scheduler
        self._assert_not_held()
        if not self.spins:
            scheduler.assert_may_sleep(f"acquiring {self.name}")
        await scheduler.point(self._acquire, self.is_free)
        task = self.owner = scheduler.current
        self._got(task, shared=False)

    async def release(self) -> None:
        """Give it back.

        Raises:
            LockNotHeld: The current task does not hold it.
        """
        self.assert_held()
        await self._scheduler.point(self._release)
        self.owner = None
        self._gave(self._scheduler.current)

    async def __aenter__(self) -> None:
        """Acquire it."""
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it, unless the run is over anyway."""
        if error is None or goes_on(error):
            await self.release()


class SpinLock(Mutex):
    """A lock with one holder, who must not sleep.

    Linux: spinlock_t
    """

    spins = True


class RwLock(Lock):
    """A spin lock that readers share.

    Linux: rwlock_t
    """

    spins = True

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        super().__init__(scheduler, name)
        self.writer: Task | None = None
        self.readers: list[Task] = []

    def holders(self) -> list[Task]:
        """See `Lock.holders`."""
        return self.readers if self.writer is None else [self.writer]

    def _is_readable(self) -> bool:
        return self.writer is None

    def _is_free(self) -> bool:
        return self.writer is None and not self.readers

    async def acquire_read(self) -> None:
        """Wait until no writer holds it and share it.

        Raises:
            LockHeld: The current task holds it already.
        """
        self._assert_not_held()
        await self._scheduler.point(self._acquire, self._is_readable)
        task = self._scheduler.current
        self.readers.append(task)
        self._got(task, shared=True)

    async def acquire_write(self) -> None:
        """Wait until nobody holds it and take it.

        Raises:
            LockHeld: The current task holds it already.
        """
        self._assert_not_held()
        await self._scheduler.point(self._acquire, self._is_free)
        task = self.writer = self._scheduler.current
        self._got(task, shared=False)

    async def release(self) -> None:
        """Give it back, in whichever mode it is held.

        Raises:
            LockNotHeld: The current task does not hold it.
        """
        self.assert_held()
        await self._scheduler.point(self._release)
        task = self._scheduler.current
        if self.writer is task:
            self.writer = None
        else:
            self.readers.remove(task)
        self._gave(task)

    def assert_held_for_write(self) -> None:
        """Refuse to go on without it in write mode.

        Raises:
            LockNotHeld: The current task does not hold it for writing.
        """
        if self.writer is not self._scheduler.current:
            raise LockNotHeld(
                f"{self._scheduler.current.name} does not hold {self.name} for writing"
            )
