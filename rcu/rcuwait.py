"""Sleeping until another task says so: one waiter, and completions.

Both can lose a wake-up if they are used wrongly, as in the kernel: a waiter that checks
its condition before it is registered sleeps for ever.
"""

from __future__ import annotations

from rcu.errors import LockNotHeld
from rcu.operation import Location, Operation
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Task


class Rcuwait:
    """Lets one task sleep until another wakes it.

    The waiter calls `prepare`, checks its condition, and calls `sleep` if it does not
    hold; then `prepare` again, and `finish` at the end.

    Linux: struct rcuwait, include/linux/rcuwait.h
    """

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.location = Location(name)
        self.waiter: Task | None = None
        self.sleeping = False
        self._scheduler = scheduler
        self._sleep = Operation("sleep on", reads=(self.location,))

    def _is_awake(self) -> bool:
        return not self.sleeping

    async def prepare(self) -> None:
        """Register the current task; a wake-up from now on is not lost.

        Raises:
            LockNotHeld: Another task waits already; the caller lacks the lock that
                makes it the only one.
        """
        await self._scheduler.point(self.location.write)
        task = self._scheduler.current
        if self.waiter not in {None, task}:
            raise LockNotHeld(f"{task.name} waits on {self.name}, which has a waiter")
        self.waiter = task
        self.sleeping = True

    async def sleep(self) -> None:
        """Sleep until somebody has called `wake` since `prepare`.

        Raises:
            SleepInAtomic: The current task holds a spin lock.
        """
        self._scheduler.assert_may_sleep(f"waiting on {self.name}")
        await self._scheduler.point(self._sleep, self._is_awake)

    async def finish(self) -> None:
        """The condition holds: nobody waits any more."""
        await self._scheduler.point(self.location.write)
        self.waiter = None
        self.sleeping = False

    async def wake(self) -> None:
        """Wake the waiter, if there is one."""
        await self._scheduler.point(self.location.write)
        self.sleeping = False


class Completion:
    """Something that happens once; tasks wait until it has.

    Args:
        scheduler: Whose tasks wait.
        name: What it is.
        by: The task that lets it happen, if only one can.

    Linux: struct completion
    """

    def __init__(self, scheduler: Scheduler, name: str, by: Task | None = None) -> None:
        self.location = Location(name)
        self.done = False
        self._scheduler = scheduler
        self._by = () if by is None else (by,)
        self._wait = Operation(
            "wait for", reads=(self.location,), needs=self._whoever_completes
        )

    def _whoever_completes(self) -> tuple[Task, ...]:
        return self._by

    def _is_done(self) -> bool:
        return self.done

    async def wait(self) -> None:
        """Wait until `complete` has been called."""
        await self._scheduler.point(self._wait, self._is_done)

    def complete(self) -> None:
        """Let the waiters go on; the caller's step writes `location`."""
        self.done = True
