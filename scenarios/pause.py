"""Keeps all vCPUs out of KVM while several slots change that should change at once."""

from __future__ import annotations

from collections.abc import Sequence

from rcu.operation import Location, Operation
from rcu.schedule.scheduler import Scheduler
from vcpus.vcpu import Access, Vcpu


class Pause:
    """What the VMM's threads agree on.

    Args:
        scheduler: Whose tasks they are.
        vcpus: All vCPUs of the VM.

    Attributes:
        on: Whether vCPUs must stay out of KVM.
        location: Where that, and who is in KVM, is read and written.
    """

    def __init__(self, scheduler: Scheduler, vcpus: Sequence[Vcpu]) -> None:
        self.on = False
        self.vcpus = vcpus
        self.location = Location("pause of all vCPUs")
        self._scheduler = scheduler
        self._inside: list[int] = []
        self._enter = Operation("wait for the end of", writes=(self.location,))
        self._wait = Operation("wait for", reads=(self.location,))

    async def run(
        self, vcpu: Vcpu, accesses: Sequence[Access], times: int | None
    ) -> None:
        """What the thread of a vCPU does: it runs the guest, but for pauses.

        Args:
            vcpu: Which.
            accesses: What the guest does, over and over.
            times: How many of them it makes; see `Vcpu.run`.
        """
        while True:
            await self._scheduler.point(self._enter, self._is_off)
            self._inside.append(vcpu.index)
            await vcpu.run(accesses, times)
            await self._scheduler.point(self.location.write)
            self._inside.remove(vcpu.index)
            if not self.on:
                break

    async def begin(self) -> None:
        """Tell all vCPUs to leave, and wait until they have."""
        await self._scheduler.point(self.location.write)
        self.on = True
        for vcpu in self.vcpus:
            await vcpu.kick_out()
        await self._scheduler.point(self._wait, self._nobody_is_inside)

    async def end(self) -> None:
        """Let the vCPUs run again."""
        for vcpu in self.vcpus:
            await self._scheduler.point(vcpu.immediate_exit.write)
            vcpu.must_exit = False
        await self._scheduler.point(self.location.write)
        self.on = False

    def _is_off(self) -> bool:
        return not self.on

    def _nobody_is_inside(self) -> bool:
        return not self._inside
