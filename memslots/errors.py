"""What KVM refuses, and the rules of its own that only this room knows."""

from __future__ import annotations

import errno
from typing import ClassVar

from rcu.errors import RuleBroken


class IoctlError(Exception):
    """A call that KVM answers with an errno; nothing is broken.

    Attributes:
        errno: The positive number, ``errno.EINVAL`` and so on.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.errno = number

    @property
    def result(self) -> int:
        """What the ioctl returns in the kernel: the negative number."""
        return -self.errno

    def __str__(self) -> str:
        return f"{errno.errorcode[self.errno]}: {self.args[0]}"


class MemoryRegionError(IoctlError):
    """A change of a memory region that is refused, or an access to guest memory."""


class DirtyLogError(IoctlError):
    """A call about the dirty log that is refused."""


class DirtyRingOverflow(RuleBroken):
    """A page was written while every entry of the vCPU's dirty ring was in use."""

    checker: ClassVar[str] = "no-dirty-page-lost"


class NoDirtyBitmap(RuleBroken):
    """A page was to be marked in the bitmap of a slot that has none."""

    checker: ClassVar[str] = "arch-data-kept"


class UnbalancedNotifier(RuleBroken):
    """An MMU-notifier section was ended more often than begun."""

    checker: ClassVar[str] = "notifier-balanced"


class UpdateDuringDestruction(RuleBroken):
    """The VM was destroyed while a task was still changing its slots."""

    checker: ClassVar[str] = "no-use-after-free"
