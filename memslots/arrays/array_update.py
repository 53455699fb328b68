"""The protocol by which one region changes when slots are in an array.

The array that readers find cannot be changed, so a copy of the whole is changed and
published in its place; once no reader can be inside the old one, it is freed. DELETE
and MOVE do it twice: first a copy in which the slot is INVALID, then the old array
itself, which nobody uses any more, with the change made in it.

A pointer to a slot goes stale with its array. So the slot that is changed is copied
out. Of what readers remember the set's cache is an index; a vCPU's cache was one, too,
and is a pointer here that its generation protects, as it does with trees.

KVM before Linux 5.17: kvm_set_memslot and below, virt/kvm/kvm_main.c
"""

from __future__ import annotations

from memslots.arrays.array_vm import ArrayVm
from memslots.errors import MemoryRegionError
from memslots.region import Change
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.tracepoints import SetGivenUp
from memslots.update import Update
from memslots.vm import Vm


class ArrayUpdate(Update):
    """Creates, deletes, moves slots and changes their flags, in arrays.

    Args:
        vm: The VM whose slots change.

    Raises:
        TypeError: Its slots are not in arrays.
    """

    vm: ArrayVm

    def __init__(self, vm: Vm) -> None:
        if not isinstance(vm, ArrayVm):
            raise TypeError(f"{type(self).__name__} needs a VM with slots in arrays")
        super().__init__(vm)

    def current_memslot(self, active: Memslots, slot_id: int) -> MemorySlot | None:
        """A copy of the slot: a pointer would not outlive the array."""
        slot = active.id_to_memslot(slot_id)
        return None if slot is None else slot.copy(slot.serial)

    # The working copy.

    async def begin_change(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """Take ``slots_arch_lock`` and copy the active set.

        Raises:
            MemoryRegionError: ENOMEM; nothing has changed.

        Locks:
            Holds on entry: ``slots_lock``.
            Acquires: ``slots_arch_lock``; not held after an error.
        """
        await super().begin_change(old, new)
        slot = new or old
        if slot is None:
            return
        try:
            await self.dup_memslots(slot.as_id, extra=old is None)
        except MemoryRegionError:
            await self.vm.slots_arch_lock.release()
            raise
        if old is not None:
            self.take_over_arch(old)

    async def dup_memslots(self, as_id: int, *, extra: bool) -> None:
        """Copy the active set, with room for one slot more if need be.

        Raises:
            MemoryRegionError: ENOMEM.

        Locks:
            Holds on entry: ``slots_lock``; ``slots_arch_lock``, so that no arch data
                that is allocated meanwhile is lost.

        KVM before Linux 5.17: kvm_dup_memslots, virt/kvm/kvm_main.c
        """
        self.vm.slots_arch_lock.assert_held()
        active = self.vm.active_array(as_id)
        await self._scheduler.point(active.duplicate)
        self.vm.duplicate(active, extra=int(extra))

    def take_over_arch(self, old: MemorySlot) -> None:
        """Let a copy of a slot have the arch data that the active set has now.

        Locks:
            Holds on entry: ``slots_arch_lock``.
        """
        current = self.current_memslot(self.vm.active_array(old.as_id), old.id)
        old.arch = None if current is None else current.arch

    def resync_arch(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """Take over arch data into the array that is to be used again, and ``old``.

        Locks:
            Holds on entry: ``slots_arch_lock``.
        """
        self.vm.copy_arch(old.as_id)
        self.take_over_arch(old)

    # Publishing, and what is left then.

    async def swap_active_memslots(self, as_id: int) -> None:
        """Publish the working copy; afterwards nobody uses the array that was active.

        Locks:
            Holds on entry: ``slots_lock``, ``slots_arch_lock``.
            Releases: ``slots_arch_lock``, before the grace period.
            Waits for: MMU-notifier sections to end; one SRCU grace period.

        KVM before Linux 5.17: install_new_memslots, virt/kvm/kvm_main.c
        """
        replaced = self.vm.active_array(as_id)
        await super().swap_active_memslots(as_id)
        await self.vm.retire(replaced)

    async def activate_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """Publish the working copy and free the array that was active.

        Locks:
            Holds on entry: ``slots_lock``, ``slots_arch_lock``.
            Releases: ``slots_arch_lock``.
        """
        slot = new or old
        if slot is not None:
            await self.swap_active_memslots(slot.as_id)
            await self.vm.free_array(self.vm.inactive_memslots(slot.as_id))

    async def invalidated(self, old: MemorySlot) -> MemorySlot:
        """See `Update.invalidated`.

        Raises:
            MemoryRegionError: ENOMEM; nothing has changed.
        """
        try:
            return await super().invalidated(old)
        except MemoryRegionError:
            await self.vm.free_working_copies()
            raise

    async def revert(self, old: MemorySlot | None, invalid: MemorySlot | None) -> None:
        """See `Update.revert`: the old array is as it was, and published again."""
        await super().revert(old, invalid)
        await self.vm.free_working_copies()

    async def commit_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """See `Update.commit_memory_region`: for the slot that is in the array."""
        if new is not None:
            new = self.vm.active_array(new.as_id).id_to_memslot(new.id)
        await super().commit_memory_region(old, new, change)

    async def free_memslots(self, slots: Memslots) -> None:
        """See `Teardown.free_memslots`; an array is freed with the slots in it."""
        if self._scheduler.tracing:
            self._scheduler.emit(SetGivenUp(slots.as_id, slots.node_idx))
        for slot in [slot.copy(slot.serial) for slot in slots]:
            await self.free_memslot(slot)
        await self.vm.free_array(self.vm.active_array(slots.as_id))
