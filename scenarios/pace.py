"""Keeps vCPUs from taking nearly all steps of a long run.

A vCPU that goes on until the writers return makes many accesses for each of their
calls. Paced, it leaves the run loop when it has made its share, as if user space had
something to do, and comes back when enough calls have returned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rcu.operation import Location, Operation
from rcu.schedule.scheduler import Scheduler
from vcpus.vcpu import Access, Vcpu

BURST = 8
"""Accesses that a vCPU makes at least when it comes back."""


class Pace:
    """How far vCPUs may go before calls return.

    Args:
        scheduler: Whose tasks they are.
        per_call: Accesses that each vCPU may make for a call.

    Attributes:
        returned: How many calls have returned.
        location: Where that is read and written.
    """

    def __init__(self, scheduler: Scheduler, per_call: float) -> None:
        self.returned = 0
        self.location = Location("calls that returned so far")
        self._per_call = per_call
        self._scheduler = scheduler

    async def run(self, vcpu: Vcpu, accesses: Sequence[Access], first: int) -> None:
        """What the thread of a vCPU does until it is told to leave for good.

        Args:
            vcpu: Which.
            accesses: What its guest does, over and over.
            first: How many accesses it makes before any call returns.
        """
        wait = Operation("wait for", reads=(self.location, vcpu.immediate_exit))
        await vcpu.run(accesses, first)
        while True:
            await self._scheduler.point(vcpu.progress_location.write)
            vcpu.progress = vcpu.made
            missing = vcpu.made + BURST - first
            due = Due(self, vcpu, math.ceil(missing / self._per_call))
            await self._scheduler.point(wait, due.has_come)
            if vcpu.must_exit:
                break
            await vcpu.run(accesses, first + int(self._per_call * self.returned))


class Due:
    """Condition: a vCPU may make accesses again, or is to leave for good.

    Args:
        pace: Its pace.
        vcpu: The vCPU.
        returned: How many calls must have returned.
    """

    __slots__ = ("_pace", "_returned", "_vcpu")

    def __init__(self, pace: Pace, vcpu: Vcpu, returned: int) -> None:
        self._pace = pace
        self._vcpu = vcpu
        self._returned = returned

    def has_come(self) -> bool:
        """Whether it may, or is."""
        return self._pace.returned >= self._returned or self._vcpu.must_exit
