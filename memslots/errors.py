"""What KVM refuses, and the rules of its own that only this room knows."""

from __future__ import annotations

import errno
from typing import ClassVar

from rcu.errors import RuleBroken


class MemoryRegionError(Exception):
    """A request that KVM answers with an errno; nothing is broken.

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


class UnbalancedNotifier(RuleBroken):
    """An MMU-notifier section was ended more often than begun."""

    checker: ClassVar[str] = "notifier-balanced"
