"""What a slot owns: allocated before a change, freed after it or when it fails."""

from __future__ import annotations

import errno

from memslots.allocator import Allocation
from memslots.dirty_bitmap import DirtyBitmap
from memslots.errors import MemoryRegionError
from memslots.guest_memfd import GuestMemfd
from memslots.region import Change, Region
from memslots.slot import GUEST_MEMFD, LOG_DIRTY_PAGES, MemorySlot
from memslots.tracepoints import PagesCounted
from memslots.vm import Vm
from rcu.errors import DoubleFree
from rcu.reclaim import is_reclaimed


class SlotResources:
    """Allocates, prepares, commits and frees.

    Args:
        vm: The VM whose slots change.
    """

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self._scheduler = vm.scheduler

    def allocate_slot(self, region: Region) -> MemorySlot:
        """A slot for ``region``.

        Raises:
            MemoryRegionError: ENOMEM.
        """
        return self.vm.allocate_slot(region)

    def allocate_invalid(self, old: MemorySlot) -> MemorySlot:
        """A copy of ``old``, to be marked INVALID.

        Raises:
            MemoryRegionError: ENOMEM.

        Locks:
            Holds on entry: ``slots_arch_lock``, so that the arch data is current.
        """
        vm = self.vm
        vm.slots_arch_lock.assert_held()
        vm.allocator.check(Allocation.INVALID_SLOT)
        invalid = old.copy(vm.next_serial())
        vm.allocator.tell_allocated(Allocation.INVALID_SLOT, invalid.serial)
        vm.tell_held(invalid)
        return invalid

    def allocate_dirty_bitmap(self, new: MemorySlot) -> DirtyBitmap:
        """A dirty bitmap for ``new``.

        Raises:
            MemoryRegionError: ENOMEM.
        """
        bitmap = self.vm.dirty_log.new_bitmap(new.npages)
        return self.vm.allocator.allocate(Allocation.DIRTY_BITMAP, bitmap, new)

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """Make everything that ``new`` needs; the last step that may fail.

        Raises:
            MemoryRegionError: Nothing is left behind.

        KVM: kvm_prepare_memory_region, virt/kvm/kvm_main.c
        """
        if new is not None:
            if not new.flags & LOG_DIRTY_PAGES:
                new.dirty_bitmap = None
            elif old is not None and old.dirty_bitmap is not None:
                new.dirty_bitmap = old.dirty_bitmap
            elif await self.vm.dirty_log.uses_bitmaps():
                new.dirty_bitmap = self.allocate_dirty_bitmap(new)
        try:
            await self.vm.arch.prepare_memory_region(old, new, change)
        except MemoryRegionError:
            if new is not None:
                await self.free_new_bitmap(old, new)
            raise
        if new is not None:
            self.vm.tell_held(new)

    async def free_new_bitmap(self, old: MemorySlot | None, new: MemorySlot) -> None:
        """Free the bitmap of ``new`` after preparing has failed.

        Only one that was allocated in this call: that of ``old`` is still in use.
        """
        had_bitmap = old is not None and old.dirty_bitmap is not None
        if new.dirty_bitmap is not None and not had_bitmap:
            await self.free_dirty_bitmap(new.dirty_bitmap, new)

    async def commit_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """Count pages, finish the architecture's part, free what is left of ``old``.

        KVM: kvm_commit_memory_region, virt/kvm/kvm_main.c
        """
        vm = self.vm
        if change is Change.CREATE and new is not None:
            self.count_pages(new.npages)
        if change is Change.DELETE and old is not None:
            self.count_pages(-old.npages)
        if vm.scheduler.tracing and change in {Change.CREATE, Change.DELETE}:
            vm.scheduler.emit(PagesCounted(vm.nr_memslot_pages))
        await vm.arch.commit_memory_region(old, new, change)
        if old is None:
            return
        if new is None:
            await self.free_memslot(old)
            return
        if old.dirty_bitmap is not None and new.dirty_bitmap is None:
            await self.free_dirty_bitmap(old.dirty_bitmap, old)
        # With MOVE the architecture has made new arrays; otherwise new has taken them.
        if change is Change.MOVE:
            await self.free_arch(old)
        await vm.free_slot(old)

    def count_pages(self, npages: int) -> None:
        """Add to the pages of all slots; less than 0 takes away.

        Locks:
            Holds on entry: ``slots_lock``.
        """
        self.vm.nr_memslot_pages += npages

    async def free_memslot(self, slot: MemorySlot) -> None:
        """Free a slot and everything that it points to.

        Raises:
            DoubleFree: It has been freed before.

        KVM: kvm_free_memslot, virt/kvm/kvm_main.c
        """
        if is_reclaimed(slot):
            who = self._scheduler.current.name
            raise DoubleFree(f"{who} frees {slot!r}, a second time")
        if slot.dirty_bitmap is not None:
            await self.free_dirty_bitmap(slot.dirty_bitmap, slot)
        await self.free_arch(slot)
        self.unbind_guest_memfd(slot)
        await self.vm.free_slot(slot)

    async def free_arch(self, slot: MemorySlot) -> None:
        """Free the arrays that the architecture keeps for ``slot``."""
        if slot.arch is not None:
            await self._scheduler.point(self.vm.arch_data.write)
            self.vm.arch.free_memslot(slot.arch)

    async def free_dirty_bitmap(self, bitmap: DirtyBitmap, slot: MemorySlot) -> None:
        """Free a dirty bitmap that ``slot`` owned."""
        await self._scheduler.point(self.vm.slot_memory.write)
        name = f"dirty bitmap of slot {slot.id}"
        self.vm.allocator.free(Allocation.DIRTY_BITMAP, bitmap, name)

    def bind_guest_memfd(self, new: MemorySlot, region: Region) -> None:
        """Back ``new`` with the guest_memfd of the request, if it names one.

        Raises:
            MemoryRegionError: EBADF or EINVAL.
        """
        if not region.flags & GUEST_MEMFD:
            return
        file = self._guest_memfd(region.guest_memfd)
        file.bind(region.guest_memfd_offset, new.npages)
        new.guest_memfd = (file, region.guest_memfd_offset)

    def _guest_memfd(self, descriptor: int) -> GuestMemfd:
        if descriptor not in self.vm.guest_memfds:
            raise MemoryRegionError(
                errno.EBADF, f"{descriptor} is no descriptor of a guest_memfd"
            )
        return self.vm.guest_memfds[descriptor]

    def unbind_guest_memfd(self, slot: MemorySlot) -> None:
        """Give back the range of a guest_memfd that backs ``slot``."""
        if slot.guest_memfd is not None:
            file, offset = slot.guest_memfd
            file.unbind(offset, slot.npages)
