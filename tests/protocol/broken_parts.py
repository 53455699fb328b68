"""Protocols with one step left out or exchanged, as a user would write them."""

from __future__ import annotations

from memslots.region import Change
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.units import Gpa
from memslots.update import Update
from scenarios.mutants.families.arch_data import TakesSlotsLock
from scenarios.mutants.families.sets import EditsTheActiveSet, ForgetsTheOtherSet
from scenarios.mutants.families.swap import (
    ForgetsTheMark,
    KeepsArchLock,
    WaitsForNobody,
)
from vcpus.guest_memory import GuestMemory, Reader
from vcpus.page_fault import FaultingVcpu, Outcome, PageFaults
from vcpus.vcpu import Vcpu

__all__ = [
    "EditsTheActiveSet",
    "FaultsOutsideTheSection",
    "ForgetsTheCache",
    "ForgetsTheMark",
    "ForgetsTheOtherSet",
    "FreesFirst",
    "KeepsArchLock",
    "ReadsFivePages",
    "ReadsTwentyPages",
    "TakesSlotsLock",
    "WaitsForNobody",
]

# The update.


class FreesFirst(Update):
    """Waits for the readers only when everything has been edited and freed."""

    async def wait_for_readers(self) -> None:
        await self.vm.slots_arch_lock.release()

    async def set_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        await super().set_memslot(old, new, change)
        await self.vm.srcu.synchronize_expedited()


class ForgetsTheCache(Update):
    """Lets a set's ``last_used_slot`` name a slot that leaves it."""

    async def edit(
        self, slots: Memslots, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        cached = slots.last_used_slot
        await super().edit(slots, old, new)
        slots.last_used_slot = cached


# Readers.


class FaultsOutsideTheSection(PageFaults):
    """Handles a page fault without the protection of a read section."""

    async def handle(self, vcpu: FaultingVcpu, gpa: Gpa, *, write: bool) -> Outcome:
        assert isinstance(vcpu, Vcpu)
        await vcpu.srcu_read_unlock()
        outcome = await super().handle(vcpu, gpa, write=write)
        await vcpu.srcu_read_lock()
        return outcome


# Nothing wrong with these: their sections are longer.


class ReadsFivePages(GuestMemory):
    """Reads a page five times, in one section."""

    times = 5

    async def read_guest_page(self, reader: Reader, gpa: Gpa, length: int) -> int:
        for _ in range(self.times - 1):
            await super().read_guest_page(reader, gpa, length)
        return await super().read_guest_page(reader, gpa, length)


class ReadsTwentyPages(ReadsFivePages):
    """Reads a page twenty times, in one section."""

    times = 20
