"""From slot to host address, and the reads and writes that go through it.

KVM accesses guest memory page by page: each page's slot is looked up anew, and the
first page that cannot be accessed ends it. What was written before stays written.

What an INVALID slot means depends on who asks: KVM's own access to guest memory fails,
while a page fault is retried (`vcpus.page_fault`), since the slot may come back.
"""

from __future__ import annotations

import errno
from enum import Enum

import attrs

from memslots.errors import MemoryRegionError
from memslots.slot import INVALID, READONLY, MemorySlot
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gfn, Gpa, Hva
from memslots.vm import Vm
from vcpus.host_memory import HostMemory
from vcpus.lookup import Looker, SlotLookup
from vcpus.tracepoints import GuestMemoryAccessed, GuestMemoryCopied


class Outcome(Enum):
    """What became of an access to guest memory."""

    RAM = "ram"
    MMIO = "mmio"
    BAD = "bad"
    READ_ONLY = "read-only"


@attrs.frozen
class VmReader:
    """Whoever accesses the memory of a VM, and not that which a vCPU is in.

    Attributes:
        as_id: Address space.
        running: The vCPU whose thread it is, if any; its dirty ring gets the marks.
    """

    as_id: int = 0
    running: Looker | None = None


Reader = Looker | VmReader
"""In whose name guest memory is accessed: a vCPU sees the address space it is in."""


def next_segment(gpa: Gpa, length: int) -> int:
    """How many of ``length`` bytes from ``gpa`` on lie in its page.

    KVM: next_segment, virt/kvm/kvm_main.c
    """
    return min(length, PAGE_SIZE - gpa % PAGE_SIZE)


class GuestMemory:
    """Guest memory as KVM accesses it.

    Everything that looks a slot up is called inside a read section of ``kvm->srcu``.

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

    # Translations.

    async def gfn_to_memslot(self, reader: Reader, gfn: Gfn) -> MemorySlot | None:
        """The slot of ``gfn``; it may be INVALID."""
        if isinstance(reader, VmReader):
            return await self.lookup.gfn_to_memslot(reader.as_id, gfn)
        return await self.lookup.vcpu_gfn_to_memslot(reader, gfn)

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

    async def is_visible_gfn(self, reader: Reader, gfn: Gfn) -> bool:
        """Whether ``gfn`` is memory that user space has given to the guest.

        False without a slot, for an INVALID one, and for one of the kernel's own.

        KVM: kvm_is_visible_memslot, include/linux/kvm_host.h
        """
        slot = await self.gfn_to_memslot(reader, gfn)
        if slot is None:
            return False
        await self._scheduler.point(self.vm.slot_memory.read)
        user_slot = slot.id < self.vm.profile.user_mem_slots
        return user_slot and not slot.flags & INVALID

    # Accesses of any length.

    async def read_guest(self, reader: Reader, gpa: Gpa, length: int = 1) -> list[int]:
        """Read guest memory.

        Args:
            reader: In whose name.
            gpa: From where.
            length: How much, in bytes.

        Returns:
            What each page of it holds.

        Raises:
            MemoryRegionError: EFAULT; a page has no slot, or an INVALID one.

        KVM: kvm_vcpu_read_guest, kvm_read_guest, virt/kvm/kvm_main.c
        """
        values = []
        while length:
            segment = next_segment(gpa, length)
            values.append(await self.read_guest_page(reader, gpa, segment))
            gpa = Gpa(gpa + segment)
            length -= segment
        return values

    async def write_guest(
        self, reader: Reader, gpa: Gpa, value: int, length: int = 1
    ) -> None:
        """Write guest memory.

        Args:
            reader: In whose name.
            gpa: From where.
            value: What each page of it is to hold.
            length: How much, in bytes.

        Raises:
            MemoryRegionError: EFAULT; a page has no slot, an INVALID one, or a
                read-only one. The pages before it are written.

        KVM: kvm_vcpu_write_guest, kvm_write_guest, virt/kvm/kvm_main.c
        """
        while length:
            segment = next_segment(gpa, length)
            await self.write_guest_page(reader, gpa, value, segment)
            gpa = Gpa(gpa + segment)
            length -= segment

    async def clear_guest(self, reader: Reader, gpa: Gpa, length: int = 1) -> None:
        """Write zeros to guest memory.

        Args:
            reader: In whose name.
            gpa: From where.
            length: How much, in bytes.

        Raises:
            MemoryRegionError: See `write_guest`.

        KVM: kvm_clear_guest, virt/kvm/kvm_main.c
        """
        while length:
            segment = next_segment(gpa, length)
            zeros = self.zeros_for(segment, length)
            await self.write_guest_page(reader, gpa, 0, zeros)
            gpa = Gpa(gpa + segment)
            length -= segment

    def zeros_for(self, segment: int, length: int) -> int:
        """How many zeros to write to the next page.

        Args:
            segment: How many bytes of what is left lie in the page.
            length: How many bytes are left.
        """
        return segment

    # Accesses to one page.

    async def read_guest_page(self, reader: Reader, gpa: Gpa, length: int) -> int:
        """Read bytes of one page.

        Raises:
            MemoryRegionError: EFAULT; see `read_guest`.

        KVM: kvm_vcpu_read_guest_page, kvm_read_guest_page, virt/kvm/kvm_main.c
        """
        slot = await self.gfn_to_memslot(reader, Gfn(gpa >> PAGE_SHIFT))
        hva = await self._hva(slot, reader.as_id, gpa, write=False)
        value = await self.copy_from_user(hva)
        self.tell_copied(reader.as_id, gpa, hva, length, "slot", write=False)
        return value

    async def write_guest_page(
        self, reader: Reader, gpa: Gpa, value: int, length: int
    ) -> None:
        """Write bytes of one page, and mark it dirty.

        Raises:
            MemoryRegionError: EFAULT; see `write_guest`.

        KVM: __kvm_write_guest_page, virt/kvm/kvm_main.c
        """
        gfn = Gfn(gpa >> PAGE_SHIFT)
        slot = await self.gfn_to_memslot(reader, gfn)
        hva = await self._hva(slot, reader.as_id, gpa, write=True)
        await self.copy_to_user(hva, value, length)
        self.tell_copied(reader.as_id, gpa, hva, length, "slot", write=True)
        if slot is not None:
            running = reader.running if isinstance(reader, VmReader) else reader
            await self.mark_page_dirty_in_slot(running, slot, gfn)

    async def mark_page_dirty_in_slot(
        self, vcpu: Looker | None, slot: MemorySlot, gfn: Gfn
    ) -> None:
        """Remember that a page was written; called after the write.

        KVM: mark_page_dirty_in_slot, virt/kvm/kvm_main.c
        """
        await self.vm.dirty_log.mark_page_dirty_in_slot(vcpu, slot, gfn)

    # Host memory; nothing here knows where a slot ends.

    async def copy_from_user(self, hva: Hva) -> int:
        """What the page of ``hva`` holds.

        Linux: __copy_from_user, include/linux/uaccess.h
        """
        return await self.host.read(hva)

    async def copy_to_user(self, hva: Hva, value: int, length: int) -> None:
        """Let every page that ``[hva, hva + length)`` touches hold ``value``.

        Linux: __copy_to_user, include/linux/uaccess.h
        """
        end = hva + length
        while hva < end:
            await self.host.write(hva, value)
            hva = Hva((hva // PAGE_SIZE + 1) * PAGE_SIZE)

    def tell_copied(
        self, as_id: int, gpa: Gpa, hva: Hva, length: int, through: str, *, write: bool
    ) -> None:
        """Tell the trace which bytes of host memory were accessed."""
        if self._scheduler.tracing:
            self._scheduler.emit(
                GuestMemoryCopied(as_id, gpa, write, hva, length, through)
            )

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
        return Hva(hva + gpa % PAGE_SIZE)

    def _tell(
        self, as_id: int, gpa: Gpa, outcome: Outcome, hva: Hva | None, *, write: bool
    ) -> None:
        if self._scheduler.tracing:
            self._scheduler.emit(
                GuestMemoryAccessed(as_id, gpa, write, outcome.value, hva)
            )
