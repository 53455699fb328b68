"""A guest address whose host address is remembered.

Only the generation tells whether it is still true: the slot that is remembered with it
may have been freed, and is not touched unless no set has been published since.

KVM: struct gfn_to_hva_cache, include/linux/kvm_types.h
"""

from __future__ import annotations

import errno

from memslots.errors import MemoryRegionError
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gfn, Gpa, Hva
from vcpus.guest_memory import GuestMemory, VmReader
from vcpus.lookup import Looker, dereference
from vcpus.tracepoints import HvaCacheFilled

U64_MAX = (1 << 64) - 1


class HvaCache:
    """A range of guest memory in address space 0, translated once.

    One thread uses it. Its methods are called inside a read section of ``kvm->srcu``.

    Args:
        memory: What it translates and accesses.
        vcpu: The vCPU whose thread it is, if any.

    Attributes:
        gpa: Where it begins, in bytes.
        length: How long it is, in bytes.
        hva: Where the host has it; None if nowhere.
        memslot: Its slot; None if it crosses pages and must be looked up each time.
        generation: Generation of the set in which it was looked up.
    """

    def __init__(self, memory: GuestMemory, vcpu: Looker | None = None) -> None:
        self.memory = memory
        self.vm = memory.vm
        self.reader = VmReader(0, vcpu)
        self.gpa = Gpa(0)
        self.length = 0
        self.hva: Hva | None = None
        self.memslot: MemorySlot | None = None
        self.generation = 0
        self._scheduler = memory.vm.scheduler

    async def init(self, gpa: Gpa, length: int) -> None:
        """Remember another range.

        Args:
            gpa: Where it begins.
            length: How long it is, in bytes.

        Raises:
            MemoryRegionError: EINVAL, it wraps; EFAULT, a page cannot be written.

        KVM: kvm_gfn_to_hva_cache_init, virt/kvm/kvm_main.c
        """
        slots = await dereference(self.vm, self.reader.as_id)
        await self.translate(slots, gpa, length)

    async def read(self, offset: int = 0, length: int | None = None) -> list[int]:
        """Read bytes of the range.

        Args:
            offset: From where in the range.
            length: How many; by default all that are left.

        Returns:
            What each page of them holds.

        Raises:
            MemoryRegionError: EINVAL, they are not in the range; EFAULT, they cannot
                be accessed any more.

        KVM: kvm_read_guest_offset_cached, virt/kvm/kvm_main.c
        """
        length = self.left(offset) if length is None else length
        gpa = Gpa(self.gpa + offset)
        hva = await self.valid_hva(offset, length)
        if self.memslot is None:
            return await self.memory.read_guest(self.reader, gpa, length)
        hva = Hva(hva + offset)
        value = await self.memory.copy_from_user(hva)
        self.memory.tell_copied(0, gpa, hva, length, "hva-cache", write=False)
        return [value]

    async def write(
        self, value: int, offset: int = 0, length: int | None = None
    ) -> None:
        """Write bytes of the range, and mark their page dirty.

        Args:
            value: What each page of them is to hold.
            offset: From where in the range.
            length: How many; by default all that are left.

        Raises:
            MemoryRegionError: See `read`.

        KVM: kvm_write_guest_offset_cached, virt/kvm/kvm_main.c
        """
        length = self.left(offset) if length is None else length
        gpa = Gpa(self.gpa + offset)
        hva = await self.valid_hva(offset, length)
        if self.memslot is None:
            await self.memory.write_guest(self.reader, gpa, value, length)
            return
        hva = Hva(hva + offset)
        await self.memory.copy_to_user(hva, value, length)
        self.memory.tell_copied(0, gpa, hva, length, "hva-cache", write=True)
        await self.mark_page_dirty(self.memslot, gpa)

    def left(self, offset: int) -> int:
        """How many bytes of the range lie behind ``offset``."""
        return max(self.length - offset, 0)

    async def valid_hva(self, offset: int, length: int) -> Hva:
        """Where the host has the range now.

        Raises:
            MemoryRegionError: See `read`.
        """
        if offset + length > self.length:
            raise MemoryRegionError(
                errno.EINVAL,
                f"{length} bytes at {offset} are not in a cached range of"
                f" {self.length} bytes",
            )
        slots = await dereference(self.vm, self.reader.as_id)
        if await self.is_stale(slots):
            await self.translate(slots, self.gpa, self.length)
        if self.hva is None:
            raise MemoryRegionError(
                errno.EFAULT, f"the cached range at {self.gpa:#x} has no memory"
            )
        return self.hva

    async def is_stale(self, slots: Memslots) -> bool:
        """Whether what is remembered was looked up in another content than this."""
        await self._scheduler.point(slots.generation_location.read)
        return slots.generation != self.generation

    async def translate(self, slots: Memslots, gpa: Gpa, length: int) -> None:
        """Look a range up, and remember it if every page of it can be written.

        Raises:
            MemoryRegionError: See `init`.

        KVM: __kvm_gfn_to_hva_cache_init, virt/kvm/kvm_main.c
        """
        # First of all: what is left behind by a failure must count as looked up in
        # this set, or the next use would translate the range from before.
        await self.store_generation(slots)
        await self.look_up(slots, gpa, length)
        self.gpa = gpa
        self.length = length

    async def store_generation(self, slots: Memslots) -> None:
        """From now on what is remembered counts as looked up in ``slots``."""
        await self._scheduler.point(slots.generation_location.read)
        self.generation = slots.generation

    async def look_up(self, slots: Memslots, gpa: Gpa, length: int) -> None:
        """Find the host address of a range, and check each page that it covers.

        Raises:
            MemoryRegionError: See `init`.
        """
        self.hva = None
        gfn = Gfn(gpa >> PAGE_SHIFT)
        last = Gfn(((gpa + length - 1) & U64_MAX) >> PAGE_SHIFT)
        if gfn > last:
            raise MemoryRegionError(
                errno.EINVAL, f"{length} bytes at {gpa:#x} are no range"
            )
        crosses = gfn < last
        while gfn <= last:
            slot = await self.memory.lookup.gfn_to_memslot_in(slots, gfn)
            self.memslot = slot
            outcome, self.hva = await self.memory.gfn_to_hva(slot, gfn, write=True)
            if slot is None or self.hva is None:
                self._tell(gpa, length)
                raise MemoryRegionError(
                    errno.EFAULT,
                    f"guest address {gfn << PAGE_SHIFT:#x}: {outcome.value}",
                )
            gfn = slot.end_gfn
        if crosses:
            self.memslot = None
        elif self.hva is not None:
            self.hva = Hva(self.hva + gpa % PAGE_SIZE)
        self._tell(gpa, length)

    async def mark_page_dirty(self, memslot: MemorySlot, gpa: Gpa) -> None:
        """Remember that the page of ``gpa`` was written; called after the write."""
        gfn = Gfn(gpa >> PAGE_SHIFT)
        await self.memory.mark_page_dirty_in_slot(self.reader.running, memslot, gfn)

    def _tell(self, gpa: Gpa, length: int) -> None:
        if self._scheduler.tracing:
            self._scheduler.emit(HvaCacheFilled(gpa, length, self.generation, self.hva))
