"""What a slot owns: allocated before a change, freed after it or when it fails."""

from __future__ import annotations

import errno

from memslots.dirty_bitmap import DirtyBitmap
from memslots.errors import MemoryRegionError
from memslots.guest_memfd import GuestMemfd
from memslots.region import Change, Region
from memslots.slot import GUEST_MEMFD, LOG_DIRTY_PAGES, MemorySlot
from memslots.vm import Vm
from rcu.reclaim import reclaim


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
        self.vm.slots_arch_lock.assert_held()
        return old.copy(self.vm.next_serial())

    def allocate_dirty_bitmap(self, new: MemorySlot) -> DirtyBitmap:
        """A dirty bitmap for ``new``.

        Raises:
            MemoryRegionError: ENOMEM.
        """
        return DirtyBitmap(new.npages)

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
            else:
                new.dirty_bitmap = self.allocate_dirty_bitmap(new)
        try:
            await self.vm.arch.prepare_memory_region(old, new, change)
        except MemoryRegionError:
            # Only a bitmap that was allocated in this call: old's is still in use.
            had_bitmap = old is not None and old.dirty_bitmap is not None
            if new is not None and new.dirty_bitmap is not None and not had_bitmap:
                await self.free_dirty_bitmap(new.dirty_bitmap, new)
            raise

    async def commit_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """Count pages, finish the architecture's part, free what is left of ``old``.

        KVM: kvm_commit_memory_region, virt/kvm/kvm_main.c
        """
        vm = self.vm
        if change is Change.CREATE and new is not None:
            vm.nr_memslot_pages += new.npages
        if change is Change.DELETE and old is not None:
            vm.nr_memslot_pages -= old.npages
        await vm.arch.commit_memory_region(old, new, change)
        if old is None:
            return
        bitmap = old.dirty_bitmap
        if bitmap is not None and (new is None or new.dirty_bitmap is None):
            await self.free_dirty_bitmap(bitmap, old)
        # With MOVE the architecture has made new arrays; otherwise new has taken them.
        if old.arch is not None and change in {Change.DELETE, Change.MOVE}:
            await self._scheduler.point(vm.arch_data.write)
            vm.arch.free_memslot(old.arch)
        if change is Change.DELETE:
            self.unbind_guest_memfd(old)
        await vm.free_slot(old)

    async def free_dirty_bitmap(self, bitmap: DirtyBitmap, slot: MemorySlot) -> None:
        """Free a dirty bitmap that ``slot`` owned."""
        await self._scheduler.point(self.vm.slot_memory.write)
        reclaim(self._scheduler, bitmap, f"dirty bitmap of slot {slot.id}")

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
