"""A pointer that one writer assigns and many readers dereference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from rcu.errors import NotProtected
from rcu.locks import Lock
from rcu.operation import Location
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import SrcuDomain

T = TypeVar("T")


class Published(Generic[T]):
    """A pointer protected by an SRCU domain.

    Args:
        scheduler: Whose tasks use it.
        name: The kernel's name for it.
        value: What it points to at first.
        domain: Readers dereference it inside a section of this domain,
        locks: or while they hold one of these,
        exempt: or while this says that nobody can change it.

    Linux: rcu_assign_pointer, include/linux/rcupdate.h
    """

    def __init__(
        self,
        scheduler: Scheduler,
        name: str,
        value: T,
        *,
        domain: SrcuDomain,
        locks: tuple[Lock, ...] = (),
        exempt: Callable[[], bool] | None = None,
    ) -> None:
        self.name = name
        self.location = Location(name)
        self._scheduler = scheduler
        self._value = value
        self._domain = domain
        self._locks = locks
        self._exempt = exempt

    async def assign(self, value: T) -> None:
        """Let readers see ``value`` from now on."""
        await self._scheduler.point(self.location.write)
        self._value = value

    async def dereference(self) -> T:
        """Read the pointer.

        Raises:
            NotProtected: The current task is in no section of the domain, holds none
                of the locks, and is not exempt.

        Linux: srcu_dereference_check, include/linux/srcu.h
        """
        self.assert_protected()
        await self._scheduler.point(self.location.read)
        return self._value

    def peek(self) -> T:
        """The value, for whoever keeps it from changing or only looks on."""
        return self._value

    def assert_protected(self) -> None:
        """Refuse to read the pointer where it may change under the reader.

        Raises:
            NotProtected: See `dereference`.
        """
        task = self._scheduler.current
        for domain, _ in task.sections:
            if domain is self._domain:
                return
        if any(lock in task.locks for lock in self._locks):
            return
        if self._exempt is None or not self._exempt():
            raise NotProtected(
                f"{task.name} dereferences {self.name} outside a read section of"
                f" {self._domain.name}"
            )
