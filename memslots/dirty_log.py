"""The ioctls that tell user space which pages the guest has written.

No write is lost if whoever takes a mark away keeps to one order: take it, write-protect
the page, flush the TLBs, and only then return. A write before the protection is in what
is returned; a later one faults, and is marked anew.

`DirtyLog` is made of small methods on purpose: a changed protocol is a subclass that
leaves one out or exchanges two.

KVM: kvm_vm_ioctl_get_dirty_log, kvm_vm_ioctl_clear_dirty_log, virt/kvm/kvm_main.c
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from memslots.dirty_bitmap import ALL_ONES, BITS_PER_LONG, DirtyBitmap, Words
from memslots.dirty_reset import RingReset
from memslots.dirty_tracking import refuse
from memslots.errors import DirtyLogError
from memslots.slot import MemorySlot, SlotId
from memslots.tracepoints import DirtyBitsCleared


class DirtyLog(RingReset):
    """Marks pages, and answers the ioctls about them.

    Args:
        vm: The VM whose guest writes.
    """

    # Get.

    async def get_dirty_log(
        self, slot: int | None, *, copy_out: bool = True, call: int | None = None
    ) -> Words:
        """What ``KVM_GET_DIRTY_LOG`` does.

        Args:
            slot: Slot id in the low 16 bits, address space above; None if the argument
                cannot be read.
            copy_out: Whether the caller's bitmap can be written.
            call: Its number in the trace; by default the next of the VM.

        Returns:
            The words that user space gets, without those that are 0.

        Raises:
            DirtyLogError: It was refused. After EFAULT for the caller's bitmap the bits
                are gone all the same.

        Locks:
            Acquires: ``slots_lock`` for the whole call, ``mmu_lock`` in it.

        KVM: kvm_vm_ioctl_get_dirty_log, virt/kvm/kvm_main.c
        """
        call = self.tell_requested(call, "get", slot)
        try:
            self.check_alive()
            number = self.check_argument(slot)
            async with self.vm.slots_lock:
                words = await self.get_dirty_log_protect(call, number)
                self.check_copy_out(copy_out)
        except DirtyLogError as error:
            self.tell_returned(call, error.result)
            raise
        self.tell_returned(call, 0, words)
        return words

    async def get_dirty_log_protect(self, call: int, number: int) -> Words:
        """Read the bits of a slot; but in manual mode also take them away.

        Returns:
            What is to be copied to user space.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_get_dirty_log_protect, virt/kvm/kvm_main.c
        """
        await self.check_uses_bitmaps()
        slot_id = self.check_slot_number(number)
        slot, bitmap = await self.logged_slot(slot_id)
        await self.vm.arch.sync_dirty_log(slot)
        await self._scheduler.point(self.mode.read)
        if self.manual_protect:
            return await self.read_bitmap(bitmap)
        bitmap.scratch = {}
        await self.vm.arch.mmu_lock()
        index = await self.first_dirty(bitmap, 0)
        while index is not None:
            mask = await self.fetch_and_clear(call, slot, bitmap, index)
            bitmap.scratch[index] = mask
            await self.write_protect(slot, index, mask)
            index = await self.first_dirty(bitmap, index + 1)
        await self.vm.arch.mmu_unlock()
        if bitmap.scratch:
            await self.vm.arch.flush_remote_tlbs_memslot(slot)
        return tuple(bitmap.scratch.items())

    async def read_bitmap(self, bitmap: DirtyBitmap) -> Words:
        """Read the bits and leave them: in manual mode the caller clears them."""
        await self._scheduler.point(bitmap.location.read)
        return bitmap.words()

    async def first_dirty(self, bitmap: DirtyBitmap, index: int) -> int | None:
        """The first word from ``index`` on that is not 0."""
        await self._scheduler.point(bitmap.location.read)
        return bitmap.first_dirty(index)

    def check_copy_out(self, copy_out: bool) -> None:  # noqa: FBT001 - as it was told
        """Refuse what cannot be written.

        Raises:
            DirtyLogError: EFAULT.
        """
        if not copy_out:
            raise DirtyLogError(errno.EFAULT, "the bitmap cannot be written")

    # Clear.

    async def clear_dirty_log(
        self,
        slot: int | None,
        first_page: int = 0,
        num_pages: int = 0,
        mask: Mapping[int, int] | None = None,
        *,
        call: int | None = None,
    ) -> Words:
        """What ``KVM_CLEAR_DIRTY_LOG`` does.

        Args:
            slot: Slot id in the low 16 bits, address space above; None if the argument
                cannot be read.
            first_page: Where the range begins in the slot; a multiple of 64.
            num_pages: Pages in it; a multiple of 64, unless it ends with the slot.
            mask: The bits to be cleared, in words of 64 from the first page on; words
                left out are 0. None if it cannot be read.
            call: Its number in the trace; by default the next of the VM.

        Returns:
            The words that were cleared, by their index in the slot.

        Raises:
            DirtyLogError: It was refused; nothing has changed.

        Locks:
            Acquires: ``slots_lock`` for the whole call, ``mmu_lock`` in it.

        KVM: kvm_vm_ioctl_clear_dirty_log, virt/kvm/kvm_main.c
        """
        call = self.tell_requested(call, "clear", slot)
        try:
            self.check_alive()
            number = self.check_argument(slot)
            async with self.vm.slots_lock:
                cleared = await self.clear_dirty_log_protect(
                    call, number, first_page, num_pages, mask
                )
        except DirtyLogError as error:
            self.tell_returned(call, error.result)
            raise
        self.tell_returned(call, 0, cleared)
        return cleared

    async def clear_dirty_log_protect(
        self,
        call: int,
        number: int,
        first_page: int,
        num_pages: int,
        mask: Mapping[int, int] | None,
    ) -> Words:
        """Clear bits of a slot and write-protect their pages.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_clear_dirty_log_protect, virt/kvm/kvm_main.c
        """
        await self.check_uses_bitmaps()
        slot_id = self.check_slot_number(number)
        self.check_first_page(first_page)
        slot, bitmap = await self.logged_slot(slot_id)
        self.check_range(slot, first_page, num_pages)
        await self.vm.arch.sync_dirty_log(slot)
        nwords = -(-num_pages // BITS_PER_LONG)
        bitmap.scratch = self.copy_in(mask, nwords)
        cleared = []
        await self.vm.arch.mmu_lock()
        for place, wanted in bitmap.scratch.items():
            index = first_page // BITS_PER_LONG + place
            bits = await self.fetch_and_clear(call, slot, bitmap, index, wanted)
            if bits:
                cleared.append((index, bits))
                await self.write_protect(slot, index, bits)
        await self.vm.arch.mmu_unlock()
        if cleared:
            await self.vm.arch.flush_remote_tlbs_memslot(slot)
        return tuple(cleared)

    def copy_in(self, mask: Mapping[int, int] | None, nwords: int) -> dict[int, int]:
        """Copy the caller's mask, as far as it is needed.

        Raises:
            DirtyLogError: EFAULT; an empty mask is not even looked at.
        """
        if mask is None and nwords:
            raise DirtyLogError(errno.EFAULT, "the mask cannot be read")
        words = sorted((mask or {}).items())
        return {place: bits for place, bits in words if bits and 0 <= place < nwords}

    # What get and clear share.

    async def fetch_and_clear(
        self,
        call: int,
        slot: MemorySlot,
        bitmap: DirtyBitmap,
        index: int,
        mask: int = ALL_ONES,
    ) -> int:
        """Take bits of one word at once; they belong to this call then."""
        await self._scheduler.point(bitmap.location.write)
        bits = bitmap.fetch_and_clear(index, mask)
        if bits and self._scheduler.tracing:
            self._scheduler.emit(
                DirtyBitsCleared(
                    call, slot.as_id, slot.id, slot.serial, index * BITS_PER_LONG, bits
                )
            )
        return bits

    async def write_protect(self, slot: MemorySlot, index: int, mask: int) -> None:
        """See to it that the next write to the pages of a word is marked.

        Locks:
            Holds on entry: ``mmu_lock``.
        """
        offset = index * BITS_PER_LONG
        await self.vm.arch.enable_log_dirty_pt_masked(slot, offset, mask)

    async def check_uses_bitmaps(self) -> None:
        """Refuse if the VM has rings.

        Raises:
            DirtyLogError: ENXIO.
        """
        if not await self.uses_bitmaps():
            raise DirtyLogError(errno.ENXIO, "the VM has dirty rings in place of bits")

    def check_slot_number(self, number: int) -> SlotId:
        """Refuse what names no slot that user space can have.

        Raises:
            DirtyLogError: EINVAL.
        """
        slot_id = SlotId.of(number)
        if slot_id.as_id >= self.vm.address_space_count:
            refuse(
                f"address space must be below {self.vm.address_space_count}, got"
                f" {slot_id.as_id}"
            )
        if slot_id.id >= self.vm.profile.user_mem_slots:
            refuse(
                f"slot id must be below {self.vm.profile.user_mem_slots}, got"
                f" {slot_id.id}"
            )
        return slot_id

    def check_first_page(self, first_page: int) -> None:
        """Refuse to begin inside a word.

        Raises:
            DirtyLogError: EINVAL.
        """
        if first_page % BITS_PER_LONG:
            refuse(f"first_page must be a multiple of 64, got {first_page}")

    async def logged_slot(self, slot_id: SlotId) -> tuple[MemorySlot, DirtyBitmap]:
        """The slot with an id, and its bitmap.

        Raises:
            DirtyLogError: ENOENT.

        Locks:
            Holds on entry: ``slots_lock``.
        """
        self.vm.slots_lock.assert_held()
        slot = await self.id_to_memslot(slot_id)
        if slot is None:
            raise DirtyLogError(errno.ENOENT, f"there is no {slot_id}")
        if slot.dirty_bitmap is None:
            raise DirtyLogError(errno.ENOENT, f"{slot_id} has no dirty bitmap")
        return slot, slot.dirty_bitmap

    def check_range(self, slot: MemorySlot, first_page: int, num_pages: int) -> None:
        """Refuse a range that leaves the slot, or ends inside a word before its end.

        Raises:
            DirtyLogError: EINVAL.
        """
        if first_page + num_pages > slot.npages:
            refuse(
                f"pages {first_page}..{first_page + num_pages} are not in a slot of"
                f" {slot.npages} pages"
            )
        ends_with_slot = first_page + num_pages == slot.npages
        if num_pages % BITS_PER_LONG and not ends_with_slot:
            refuse(
                f"num_pages must be a multiple of 64 or reach the slot's end, got"
                f" {num_pages}"
            )
