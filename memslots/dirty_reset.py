"""The ioctl that takes back what user space has collected from the dirty rings.

A page may be collected long after it was written: by now its slot can be gone, or be
another one. And user space may have written anything into the ring.

KVM: virt/kvm/dirty_ring.c
"""

from __future__ import annotations

from memslots.dirty_ring import DirtyRing, ResetBatch
from memslots.dirty_tracking import DirtyTracking, refuse
from memslots.errors import DirtyLogError
from memslots.slot import MemorySlot, SlotId
from memslots.tracepoints import DirtyRingCollected, DirtyRingReset


class RingReset(DirtyTracking):
    """Resets the rings of all vCPUs."""

    async def collect_dirty_ring(self, index: int) -> list[tuple[int, int]]:
        """What user space does with the ring of a vCPU: take every dirty entry.

        Returns:
            Slot and offset of each page.
        """
        ring = self.rings[index]
        await self._scheduler.point(ring.location.write)
        collected = ring.collect()
        if self._scheduler.tracing:
            self._scheduler.emit(DirtyRingCollected(index, tuple(collected)))
        return collected

    async def forge_dirty_entry(self, index: int, offset: int) -> None:
        """What user space may do: make up an entry that it has collected, of slot 0.

        Args:
            index: Of whose ring, by vCPU.
            offset: The page's place in the slot; any u64.
        """
        ring = self.rings[index]
        await self._scheduler.point(ring.location.write)
        ring.forge(0, offset)

    async def reset_dirty_rings(self, *, call: int | None = None) -> int:
        """What ``KVM_RESET_DIRTY_RINGS`` does.

        Returns:
            How many entries were reset.

        Raises:
            DirtyLogError: EINVAL; the VM has no rings.

        Locks:
            Acquires: ``slots_lock`` for the whole call, ``mmu_lock`` in it.

        KVM: kvm_vm_ioctl_reset_dirty_pages, virt/kvm/kvm_main.c
        """
        call = self.tell_requested(call, "reset", None)
        count = 0
        try:
            self.check_alive()
            if await self.uses_bitmaps():
                refuse("the VM has no dirty rings")
            async with self.vm.slots_lock:
                touched: dict[int, MemorySlot] = {}
                for ring in self.rings.values():
                    count += await self.reset_ring(call, ring, touched)
                for slot in touched.values():
                    await self.vm.arch.flush_remote_tlbs_memslot(slot)
        except DirtyLogError as error:
            self.tell_returned(call, error.result)
            raise
        self.tell_returned(call, count)
        return count

    async def reset_ring(
        self, call: int, ring: DirtyRing, touched: dict[int, MemorySlot]
    ) -> int:
        """Take back what user space has collected from one ring.

        Args:
            call: Number of the call.
            ring: Whose entries are taken back.
            touched: Gets the slots whose pages were write-protected, by serial.

        Returns:
            How many entries there were.

        KVM: kvm_dirty_ring_reset, virt/kvm/dirty_ring.c
        """
        count = 0
        batch: ResetBatch | None = None
        while (entry := await self.next_harvested(ring)) is not None:
            count += 1
            if batch is not None and batch.merge(*entry):
                continue
            if batch is not None:
                await self.reset_dirty_gfn(call, batch, touched)
            batch = ResetBatch(*entry)
        if batch is not None:
            await self.reset_dirty_gfn(call, batch, touched)
        return count

    async def next_harvested(self, ring: DirtyRing) -> tuple[int, int] | None:
        """Take back one entry: slot and offset; None if there is no more."""
        await self._scheduler.point(ring.location.write)
        return ring.take_harvested()

    async def reset_dirty_gfn(
        self, call: int, batch: ResetBatch, touched: dict[int, MemorySlot]
    ) -> None:
        """Write-protect the pages of a batch, unless they are in no slot by now.

        Locks:
            Holds on entry: ``slots_lock``.
            Acquires: ``mmu_lock``.

        KVM: kvm_reset_dirty_gfn, virt/kvm/dirty_ring.c
        """
        slot_id = SlotId.of(batch.slot)
        slot = None
        profile = self.vm.profile
        if (
            slot_id.as_id < self.vm.address_space_count
            and slot_id.id < profile.user_mem_slots
        ):
            slot = await self.id_to_memslot(slot_id)
        protect = slot is not None and self.is_inside(slot, batch)
        if self._scheduler.tracing:
            self._scheduler.emit(
                DirtyRingReset(call, *slot_id, batch.offset, batch.mask, protect)
            )
        if slot is None or not protect:
            return
        touched[slot.serial] = slot
        await self.vm.arch.mmu_lock()
        await self.vm.arch.enable_log_dirty_pt_masked(slot, batch.offset, batch.mask)
        await self.vm.arch.mmu_unlock()

    def is_inside(self, slot: MemorySlot, batch: ResetBatch) -> bool:
        """Whether all pages of a batch are in the slot; the offset may be any u64."""
        return batch.offset + batch.mask.bit_length() <= slot.npages
