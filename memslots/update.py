"""The protocol by which one region changes: the one place where a set changes.

A change is made in the inactive set, published by swapping the sets, and made again in
the set that was active before, once no reader can be inside it. In between the sets
differ in exactly one slot. DELETE and MOVE do it twice: first the slot becomes an
INVALID copy of itself, so that nobody can build new translations from it while the old
ones are flushed.

`Update` is made of small methods on purpose: a changed protocol is a subclass that
leaves one out or exchanges two.

KVM: kvm_set_memory_region and below, virt/kvm/kvm_main.c
"""

from __future__ import annotations

import errno

from memslots.errors import MemoryRegionError
from memslots.generation import advanced, in_progress
from memslots.region import Change, Region, check_before_lock, check_request, classify
from memslots.slot import INVALID, MemorySlot
from memslots.slot_set import Memslots
from memslots.teardown import Teardown
from memslots.tracepoints import (
    GenerationAdvanced,
    RegionRequested,
    RegionReturned,
    SetsSwapped,
    SlotData,
    SlotReplaced,
)
from rcu.errors import SimulatorBug


class Update(Teardown):
    """Creates, deletes, moves slots and changes their flags.

    Args:
        vm: The VM whose slots change.
    """

    # The ioctl.

    async def set_memory_region(
        self, region: Region | None, *, call: int | None = None
    ) -> Change | None:
        """What ``KVM_SET_USER_MEMORY_REGION`` does.

        Args:
            region: The request; None if the caller's memory could not be read.
            call: Its number in the trace; by default the next of the VM.

        Returns:
            The change that was made; None if the slot was already as requested.

        Raises:
            MemoryRegionError: The request was refused; nothing has changed but the
                generation, if a MOVE failed half-way.

        Locks:
            Acquires: ``slots_lock`` for the whole call.

        KVM: kvm_vm_ioctl_set_memory_region, virt/kvm/kvm_main.c
        """
        if call is None:
            call = self.vm.next_call()
        tracing = self._scheduler.tracing
        if tracing:
            wanted = region or _UNREADABLE
            self._scheduler.emit(
                RegionRequested(
                    call,
                    wanted.slot,
                    wanted.flags,
                    wanted.guest_phys_addr,
                    wanted.memory_size,
                    wanted.userspace_addr,
                )
            )
        try:
            change = await self._set_memory_region(region)
        except MemoryRegionError as error:
            if tracing:
                self._scheduler.emit(RegionReturned(call, "", error.result))
            raise
        if tracing:
            self._scheduler.emit(
                RegionReturned(call, change.value if change else "", 0)
            )
        return change

    async def _set_memory_region(self, region: Region | None) -> Change | None:
        if self.vm.dead:
            raise MemoryRegionError(errno.EIO, "the VM is dead")
        if region is None:
            raise MemoryRegionError(errno.EFAULT, "the argument cannot be read")
        check_before_lock(region, self.vm.profile)
        async with self.vm.slots_lock:
            return await self.set_memory_region_locked(region)

    async def set_memory_region_locked(self, region: Region) -> Change | None:
        """Check a request against the active set and make the change it asks for.

        Raises:
            MemoryRegionError: The request was refused.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_set_memory_region, virt/kvm/kvm_main.c
        """
        self.vm.slots_lock.assert_held()
        self.check_request(region)
        as_id, slot_id = region.slot_id
        active = await self.active_memslots(as_id)
        old = self.current_memslot(active, slot_id)
        change = self.classify(region, old)
        if change is Change.DELETE:
            await self.set_memslot(old, None, change)
        if change is None or change is Change.DELETE:
            return change
        if change in {Change.CREATE, Change.MOVE}:
            self.check_overlap(active, region)
        new = self.allocate_slot(region)
        try:
            self.bind_guest_memfd(new, region)
            await self.set_memslot(old, new, change)
        except MemoryRegionError:
            self.unbind_guest_memfd(new)
            await self.vm.free_slot(new)
            raise
        return change

    def check_request(self, region: Region) -> None:
        """See `memslots.region.check_request`."""
        check_request(region, self.vm.profile, self.vm.address_space_count)

    def classify(self, region: Region, old: MemorySlot | None) -> Change | None:
        """See `memslots.region.classify`."""
        return classify(region, old, self.vm.nr_memslot_pages)

    async def active_memslots(self, as_id: int) -> Memslots:
        """The active set, its indexes about to be read.

        Locks:
            Holds on entry: ``slots_lock``.
        """
        active = await self.vm.active(as_id).dereference()
        await self._scheduler.point(active.lookup)
        return active

    def current_memslot(self, active: Memslots, slot_id: int) -> MemorySlot | None:
        """The slot that a change is about, as it is now."""
        return active.id_to_memslot(slot_id)

    def check_overlap(self, active: Memslots, region: Region) -> None:
        """Refuse a range that another slot occupies.

        Raises:
            MemoryRegionError: EEXIST.

        KVM: kvm_check_memslot_overlap, virt/kvm/kvm_main.c
        """
        slot_id = region.slot_id.id
        other = active.overlaps(region.base_gfn, region.end_gfn, but_for=slot_id)
        if other is not None:
            raise MemoryRegionError(
                errno.EEXIST,
                f"gfn {region.base_gfn:#x}..{region.end_gfn:#x} meets slot {other.id}"
                f" at {other.base_gfn:#x}..{other.end_gfn:#x}",
            )

    # One slot, all kinds of change.

    async def set_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """Make one change, in both sets.

        Raises:
            MemoryRegionError: Preparing failed; the sets are as before.

        Locks:
            Holds on entry: ``slots_lock``.
            Acquires: ``slots_arch_lock``, released by each swap.

        KVM: kvm_set_memslot, virt/kvm/kvm_main.c
        """
        vm = self.vm
        await self.begin_change(old, new)
        invalid = None
        if old is not None and change in {Change.DELETE, Change.MOVE}:
            invalid = await self.invalidated(old)
        try:
            await self.prepare_memory_region(old, new, change)
        except MemoryRegionError:
            await self.revert(old, invalid)
            raise
        match change, old, new, invalid:
            case Change.CREATE, None, MemorySlot(), None:
                await self.create_memslot(new)
            case Change.DELETE, MemorySlot(), None, MemorySlot():
                await self.delete_memslot(old, invalid)
            case Change.MOVE, MemorySlot(), MemorySlot(), MemorySlot():
                await self.move_memslot(old, new, invalid)
            case Change.FLAGS_ONLY, MemorySlot(), MemorySlot(), None:
                await self.update_flags_memslot(old, new)
            case _:
                raise SimulatorBug(f"{change} of {old} to {new} by way of {invalid}")
        if invalid is not None:
            await vm.free_slot(invalid)
        await self.commit_memory_region(old, new, change)

    async def begin_change(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """Take ``slots_arch_lock`` before anything is copied from ``old``.

        So no arch data that is allocated meanwhile is lost.

        Locks:
            Holds on entry: ``slots_lock``.
            Acquires: ``slots_arch_lock``.
        """
        await self.vm.slots_arch_lock.acquire()

    async def invalidated(self, old: MemorySlot) -> MemorySlot:
        """Allocate an INVALID copy of ``old`` and let readers see it.

        Raises:
            MemoryRegionError: ENOMEM; nothing has changed.

        Locks:
            Holds on entry: ``slots_lock``, ``slots_arch_lock``.
            Releases and acquires again: ``slots_arch_lock``; not held after an error.
        """
        await self._scheduler.point(self.vm.arch_data.read)
        try:
            invalid = self.allocate_invalid(old)
        except MemoryRegionError:
            await self.vm.slots_arch_lock.release()
            raise
        await self.invalidate_memslot(old, invalid)
        return invalid

    async def revert(self, old: MemorySlot | None, invalid: MemorySlot | None) -> None:
        """Go back to ``old`` after preparing has failed.

        Locks:
            Holds on entry: ``slots_lock``, ``slots_arch_lock``.
            Releases: ``slots_arch_lock``.
        """
        if invalid is None:
            await self.vm.slots_arch_lock.release()
        else:
            await self.activate_memslot(invalid, old)
            await self.vm.free_slot(invalid)

    # Each kind of change: replace in the inactive set, swap, replace in the other.
    # All hold slots_lock and slots_arch_lock on entry; the swap releases the latter.

    async def create_memslot(self, new: MemorySlot) -> None:
        """Put ``new`` into both sets.

        KVM: kvm_create_memslot, virt/kvm/kvm_main.c
        """
        await self.replace_memslot(None, new)
        await self.activate_memslot(None, new)

    async def delete_memslot(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """Take ``old`` out of the inactive set and ``invalid`` out of the active one.

        KVM: kvm_delete_memslot, virt/kvm/kvm_main.c
        """
        await self.replace_memslot(old, None)
        await self.activate_memslot(invalid, None)

    async def move_memslot(
        self, old: MemorySlot, new: MemorySlot, invalid: MemorySlot
    ) -> None:
        """Put ``new`` in place of ``old``, and then of ``invalid``.

        KVM: kvm_move_memslot, virt/kvm/kvm_main.c
        """
        await self.replace_memslot(old, new)
        await self.activate_memslot(invalid, new)

    async def update_flags_memslot(self, old: MemorySlot, new: MemorySlot) -> None:
        """Put ``new`` in place of ``old`` in both sets; the pages stay where they are.

        KVM: kvm_update_flags_memslot, virt/kvm/kvm_main.c
        """
        await self.replace_memslot(old, new)
        await self.activate_memslot(old, new)

    async def invalidate_memslot(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """Let readers see an INVALID copy of ``old`` and flush what they built from it.

        Afterwards the active set holds ``invalid`` and the inactive one ``old``.

        Locks:
            Holds on entry: ``slots_lock``, ``slots_arch_lock``.
            Releases and acquires again: ``slots_arch_lock``.

        KVM: kvm_invalidate_memslot, virt/kvm/kvm_main.c
        """
        vm = self.vm
        invalid.flags |= INVALID
        await self.replace_memslot(old, invalid)
        await self.swap_active_memslots(old.as_id)
        # Nobody can build translations from the slot any more: flush what there is.
        await self.flush_invalidated(old, invalid)
        await vm.slots_arch_lock.acquire()
        await self._scheduler.point(vm.arch_data.write)
        self.resync_arch(old, invalid)
        vm.tell_held(old)

    async def flush_invalidated(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """Leave no translation that was made from ``old``."""
        await self.vm.arch.flush_shadow_memslot(old)

    def resync_arch(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """Take over arch data that was allocated while ``slots_arch_lock`` was free.

        Locks:
            Holds on entry: ``slots_arch_lock``.
        """
        old.arch = invalid.arch.copy() if invalid.arch else None

    async def activate_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """Publish the inactive set and bring the other one up to it.

        Locks:
            Holds on entry: ``slots_lock``, ``slots_arch_lock``.
            Releases: ``slots_arch_lock``.

        KVM: kvm_activate_memslot, virt/kvm/kvm_main.c
        """
        slot = new or old
        if slot is not None:
            await self.swap_active_memslots(slot.as_id)
            await self.replace_memslot(old, new)

    async def replace_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """Edit the inactive set.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_replace_memslot, virt/kvm/kvm_main.c
        """
        self.vm.slots_lock.assert_held()
        slot = new or old
        if slot is not None:
            await self.edit(self.vm.inactive_memslots(slot.as_id), old, new)

    async def edit(
        self, slots: Memslots, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """Edit one set, whichever it is."""
        await self._scheduler.point(slots.edit)
        left = None if old is None else old.serial
        slots.replace(old, new)
        if self._scheduler.tracing:
            entered = None if new is None else SlotData.of(new)
            self._scheduler.emit(
                SlotReplaced(slots.as_id, slots.node_idx, left, entered)
            )

    # The swap.

    async def swap_active_memslots(self, as_id: int) -> None:
        """Make the inactive set of one address space the one that readers find.

        Returns once no reader can still hold the old set, so the caller may edit the
        old set at once.

        Args:
            as_id: Address space, ``0 <= as_id < vm.address_space_count``.

        Raises:
            LockNotHeld: A lock listed below is not held by this task.

        Locks:
            Holds on entry: ``slots_lock``, ``slots_arch_lock``.
            Releases: ``slots_arch_lock``, before the grace period.
            Waits for: MMU-notifier sections to end; one SRCU grace period.

        KVM: kvm_swap_active_memslots, virt/kvm/kvm_main.c
        """
        vm = self.vm
        vm.slots_lock.assert_held()
        vm.slots_arch_lock.assert_held()
        slots = vm.inactive_memslots(as_id)
        # The active set's number, not the inactive one's: that is two updates old.
        generation = vm.active(as_id).peek().generation
        await self.mark_in_progress(slots, generation)
        await self.publish(as_id, slots)
        await self.wait_for_readers()
        await self.advance_generation(slots, advanced(generation, len(vm.sets)))

    async def mark_in_progress(self, slots: Memslots, generation: int) -> None:
        """Number the set that is about to be published.

        Args:
            slots: The inactive set.
            generation: What the active set has.
        """
        await self._scheduler.point(slots.generation_location.write)
        slots.generation = in_progress(generation)

    async def publish(self, as_id: int, slots: Memslots) -> None:
        """Swap the pointer while no MMU-notifier section is open."""
        vm = self.vm
        await vm.invalidations.wait_until_none()
        await self.assign_active(as_id, slots)
        await vm.invalidations.lock.release()

    async def assign_active(self, as_id: int, slots: Memslots) -> None:
        """Let readers find ``slots`` from now on."""
        await self.vm.active(as_id).assign(slots)
        if self._scheduler.tracing:
            self._scheduler.emit(SetsSwapped(as_id, slots.node_idx, slots.generation))

    async def wait_for_readers(self) -> None:
        """Wait until nobody can hold the set that was active before.

        A reader may wait for ``slots_arch_lock`` inside its section: holding the lock
        through the grace period would deadlock with it.
        """
        await self.vm.slots_arch_lock.release()
        await self.vm.srcu.synchronize_expedited()

    async def advance_generation(self, slots: Memslots, generation: int) -> None:
        """Give the active set its own number; the architecture hears of it first."""
        await self.vm.arch.memslots_updated(generation)
        await self._scheduler.point(slots.generation_location.write)
        slots.generation = generation
        if self._scheduler.tracing:
            self._scheduler.emit(
                GenerationAdvanced(slots.as_id, slots.node_idx, generation)
            )


_UNREADABLE = Region(0, 0, 0, 0, 0)  # type: ignore[arg-type]
