"""From slot to host address, and the reads and writes that go through it.

What an INVALID slot means depends on who asks: a page fault is retried, since the
translation is only on its way out; KVM's own access to guest memory fails.
"""

from __future__ import annotations

import errno
from enum import Enum

from memslots.errors import MemoryRegionError
from memslots.slot import INVALID, READONLY, MemorySlot
from memslots.units import PAGE_SHIFT, Gfn, Gpa, Hva
from memslots.vm import Vm
from vcpus.host_memory import HostMemory
from vcpus.lookup import Looker, SlotLookup
from vcpus.tracepoints import GuestMemoryAccessed


class Outcome(Enum):
    """What became of an access to guest memory."""

    RAM = "ram"
    MMIO = "mmio"
    RETRY = "retry"
    BAD = "bad"
    READ_ONLY = "read-only"


class GuestMemory:
    """Guest memory as KVM accesses it.

    Args:
        vm: Whose memory.
        lookup: Finds its slots.
        host: What is behind the slots.
    """

    def __init__(self, vm: Vm, lookup: SlotLookup, host: HostMemory) -> None:
        self.vm = vm
        self.lookup = lookup
        self.host = host
        self._scheduler = vm.scheduler

    async def gfn_to_hva(
        self, slot: MemorySlot | None, gfn: Gfn, *, write: bool
    ) -> tuple[Outcome, Hva | None]:
        """Where the host has ``gfn``, if it may be accessed.

        Args:
            slot: What a lookup of ``gfn`` returned.
            gfn: The page.
            write: Whether it is to be written.

        Returns:
            ``RAM`` and the address, or why there is none.

        KVM: __gfn_to_hva_many, virt/kvm/kvm_main.c
        """
        if slot is None:
            return Outcome.MMIO, None
        await self._scheduler.point(self.vm.slot_memory.read)
        if slot.flags & INVALID:
            return Outcome.BAD, None
        if write and slot.flags & READONLY:
            return Outcome.READ_ONLY, None
        return Outcome.RAM, slot.hva_of(gfn)

    async def fault_in(self, vcpu: Looker, gpa: Gpa, *, write: bool) -> Outcome:
        """Resolve what the guest touched.

        Returns:
            ``RAM`` if the guest can go on, ``RETRY`` if it must fault again, ``MMIO``
            if a device must answer.

        KVM: kvm_faultin_pfn, arch/x86/kvm/mmu/mmu.c
        """
        gfn = Gfn(gpa >> PAGE_SHIFT)
        slot = await self.lookup.vcpu_gfn_to_memslot(vcpu, gfn)
        outcome, hva = await self.gfn_to_hva(slot, gfn, write=write)
        if outcome is Outcome.BAD:
            outcome = Outcome.RETRY
        if outcome is Outcome.READ_ONLY:
            outcome = Outcome.MMIO
        self._tell(vcpu.as_id, gpa, outcome, hva, write=write)
        if hva is not None:
            if write:
                await self.host.write(hva, vcpu.index + 1)
            else:
                await self.host.read(hva)
        return outcome

    async def read_guest(self, vcpu: Looker, gpa: Gpa) -> int:
        """Read the page of ``gpa`` on behalf of ``vcpu``.

        Raises:
            MemoryRegionError: EFAULT; there is no slot, or it is INVALID.

        KVM: kvm_vcpu_read_guest_page, virt/kvm/kvm_main.c
        """
        gfn = Gfn(gpa >> PAGE_SHIFT)
        slot = await self.lookup.vcpu_gfn_to_memslot(vcpu, gfn)
        return await self.host.read(await self._hva(slot, vcpu.as_id, gpa, write=False))

    async def write_guest(self, vcpu: Looker, gpa: Gpa, value: int) -> None:
        """Write the page of ``gpa`` on behalf of ``vcpu``.

        Raises:
            MemoryRegionError: EFAULT; there is no slot, it is INVALID or read-only.

        KVM: kvm_vcpu_write_guest_page, virt/kvm/kvm_main.c
        """
        gfn = Gfn(gpa >> PAGE_SHIFT)
        slot = await self.lookup.vcpu_gfn_to_memslot(vcpu, gfn)
        hva = await self._hva(slot, vcpu.as_id, gpa, write=True)
        await self.host.write(hva, value)

    async def read_guest_without_vcpu(self, as_id: int, gpa: Gpa) -> int:
        """Read the page of ``gpa`` on behalf of no vCPU.

        Raises:
            MemoryRegionError: EFAULT; there is no slot, or it is INVALID.

        KVM: kvm_read_guest_page, virt/kvm/kvm_main.c
        """
        slot = await self.lookup.gfn_to_memslot(as_id, Gfn(gpa >> PAGE_SHIFT))
        return await self.host.read(await self._hva(slot, as_id, gpa, write=False))

    async def _hva(
        self, slot: MemorySlot | None, as_id: int, gpa: Gpa, *, write: bool
    ) -> Hva:
        gfn = Gfn(gpa >> PAGE_SHIFT)
        outcome, hva = await self.gfn_to_hva(slot, gfn, write=write)
        self._tell(as_id, gpa, outcome, hva, write=write)
        if hva is None:
            raise MemoryRegionError(
                errno.EFAULT, f"guest address {gpa:#x}: {outcome.value}"
            )
        return hva

    def _tell(
        self, as_id: int, gpa: Gpa, outcome: Outcome, hva: Hva | None, *, write: bool
    ) -> None:
        if self._scheduler.tracing:
            self._scheduler.emit(
                GuestMemoryAccessed(as_id, gpa, write, outcome.value, hva)
            )
