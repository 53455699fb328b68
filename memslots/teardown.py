"""The end of a VM: its last user gives it back, and everything is freed once.

`Teardown` is made of small methods on purpose: a changed end is a subclass that leaves
one out.

KVM: kvm_destroy_vm, virt/kvm/kvm_main.c
"""

from __future__ import annotations

from memslots.internal_slots import InternalSlot, InternalSlots
from memslots.slot_set import Memslots
from memslots.tracepoints import SetGivenUp, VmDestroyed
from memslots.units import Gpa


class Teardown(InternalSlots):
    """Counts the users of a VM, and destroys it when there are none.

    Args:
        vm: The VM.
    """

    async def get(self) -> None:
        """Use the VM, too.

        KVM: kvm_get_kvm, virt/kvm/kvm_main.c
        """
        await self._scheduler.point(self.vm.users_location.write)
        self.vm.users_count += 1

    async def put(self) -> None:
        """Use it no more; the last user destroys it.

        KVM: kvm_put_kvm, virt/kvm/kvm_main.c
        """
        await self._scheduler.point(self.vm.users_location.write)
        self.vm.users_count -= 1
        if not self.vm.users_count:
            await self.destroy()

    async def destroy(self) -> None:
        """Free everything that belongs to the VM.

        Nobody else uses it: no vCPU runs, no ioctl is under way or will be made.

        Raises:
            UpdateDuringDestruction: A task changes slots.
            DomainBusy: A task is in a read section, or a grace period is under way.

        Locks:
            Acquires: ``slots_lock``, to delete internal slots.
            Waits for: SRCU grace periods, to delete internal slots; callbacks that are
                queued.

        KVM: kvm_destroy_vm, virt/kvm/kvm_main.c
        """
        vm = self.vm
        vm.users_count = 0
        vm.dead = True
        await vm.arch.unregister_notifier()
        await self.forget_open_invalidations()
        async with vm.slots_lock:
            await self.delete_internal_slots()
        for pair in vm.sets:
            for slots in pair:
                await self.free_memslots(slots)
        await self.wait_for_callbacks()
        await self.cleanup_srcu()
        if self._scheduler.tracing:
            self._scheduler.emit(VmDestroyed())

    async def forget_open_invalidations(self) -> None:
        """Let no swap wait for the end of an invalidation that never comes."""
        await self.vm.invalidations.forget_open()

    async def delete_internal_slots(self) -> None:
        """Delete what the kernel has made for itself, through the protocol.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_arch_destroy_vm, arch/x86/kvm/x86.c
        """
        for which in (
            InternalSlot.APIC_ACCESS_PAGE,
            InternalSlot.IDENTITY_PAGETABLE,
            InternalSlot.TSS,
        ):
            await self.set_internal_memory_region(which, Gpa(0), 0)

    async def free_memslots(self, slots: Memslots) -> None:
        """Free the slots of a set, which nobody looks into any more.

        KVM: kvm_free_memslots, virt/kvm/kvm_main.c
        """
        if self._scheduler.tracing:
            self._scheduler.emit(SetGivenUp(slots.as_id, slots.node_idx))
        if slots.node_idx:  # both sets have the same slots: free them with one of them
            for slot in list(slots):
                await self.free_memslot(slot)

    async def wait_for_callbacks(self) -> None:
        """Let whatever is to be freed after a grace period be freed."""
        await self.vm.srcu.barrier()

    async def cleanup_srcu(self) -> None:
        """Give the SRCU domain up.

        Raises:
            DomainBusy: Readers, a grace period or callbacks remain.
        """
        await self._scheduler.point(self.vm.srcu.seq_location.read)
        self.vm.srcu.cleanup()
