"""A thread that calls into KVM: one method for each kind of call of a scenario."""

from __future__ import annotations

from typing import Protocol

from memslots.dirty_bitmap import BITS_PER_LONG
from memslots.errors import IoctlError
from memslots.region import Region
from memslots.slot import SlotId
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gfn, Gpa, Hva, Pages
from memslots.update import Update
from memslots.vm import Vm
from scenarios.calls import (
    AgePageSpec,
    ClearDirtyLogSpec,
    DestroyVmSpec,
    GetDirtyLogSpec,
    OtherCall,
    PauseVcpusSpec,
    RegisterDeviceSpec,
    ResetDirtyRingsSpec,
    ResumeVcpusSpec,
    StopVcpusSpec,
    UnregisterDevicesSpec,
    WriteMemorySpec,
    ZapGfnRangeSpec,
)
from scenarios.pause import Pause
from scenarios.scenario import (
    ReadKind,
    ReadSpec,
)
from vcpus.cached_reader import CachedReader
from vcpus.cmma import Cmma
from vcpus.guest_memory import GuestMemory, VmReader
from vcpus.host_memory import HostMemory
from vcpus.mmu_notifier import MmuNotifier
from vcpus.pfn_cache import PfnCache
from vcpus.shadow_mmu import ShadowMmu
from vcpus.vcpu import Vcpu


class CalledVm(Protocol):
    """A VM and its vCPUs, as far as threads call into them.

    See `scenarios.machine.Machine`.
    """

    vm: Vm
    update: Update
    mmu: ShadowMmu
    host: HostMemory
    memory: GuestMemory
    notifier: MmuNotifier
    vcpus: list[Vcpu]
    pause: Pause
    pfn_cache: PfnCache
    cmma: Cmma

    async def stop_vcpus(self) -> None:
        """Tell the vCPUs to leave, and wait until they have."""

    async def wait_until_alone(self) -> None:
        """Wait until every other task has ended."""


class KvmThread:
    """What a thread of the VMM, or of KVM, remembers between its calls.

    Args:
        machine: Whose thread it is.
    """

    def __init__(self, machine: CalledVm) -> None:
        self.machine = machine
        self.vm = machine.vm
        self._cached = CachedReader(machine.memory, machine.pfn_cache)
        self._reader = VmReader(as_id=0)
        self._got: dict[int, dict[int, int]] = {}

    async def perform(self, what: Region | OtherCall, number: int) -> int:
        """Make one call.

        Args:
            what: Which.
            number: Its number in the trace.

        Returns:
            0 or a negative errno.
        """
        try:
            await self._perform(what, number)
        except IoctlError as error:
            return error.result
        return 0

    async def _perform(self, what: Region | OtherCall, number: int) -> None:
        match what:
            case Region():
                await self.machine.update.set_memory_region(what, call=number)
            case GetDirtyLogSpec(slot=slot, copy_out=copy_out):
                words = await self.vm.dirty_log.get_dirty_log(
                    slot, copy_out=copy_out, call=number
                )
                self._got[slot] = dict(words)
            case ClearDirtyLogSpec():
                await self.clear_dirty_log(what, number)
            case ResetDirtyRingsSpec(forged=forged):
                for index in self.vm.dirty_log.rings:
                    await self.vm.dirty_log.collect_dirty_ring(index)
                    for offset in forged:
                        await self.vm.dirty_log.forge_dirty_entry(index, offset)
                await self.vm.dirty_log.reset_dirty_rings(call=number)
            case ZapGfnRangeSpec(start=start, end=end):
                async with self.vm.srcu.reading():
                    first, behind = start >> PAGE_SHIFT, end >> PAGE_SHIFT
                    await self.machine.mmu.zap_gfn_range(Gfn(first), Gfn(behind))
            case RegisterDeviceSpec(expedited=expedited):
                await self.register_device(number, expedited=expedited)
            case UnregisterDevicesSpec(fail=fail):
                async with self.vm.slots_lock:
                    await self.vm.buses.unregister_all(shrinks=not fail)
            case _:
                await self._perform_in_vmm(what)

    async def _perform_in_vmm(self, what: OtherCall) -> None:
        """Do what the VMM does without calling into KVM, or at its very end."""
        match what:
            case WriteMemorySpec(hva=hva, value=value, pages=pages):
                for page in range(pages):
                    await self.machine.host.write(Hva(hva + page * PAGE_SIZE), value)
            case AgePageSpec(hva=hva):
                await self.machine.notifier.clear_young(Hva(hva), Hva(hva + PAGE_SIZE))
            case PauseVcpusSpec():
                await self.machine.pause.begin()
            case ResumeVcpusSpec():
                await self.machine.pause.end()
            case StopVcpusSpec():
                await self.machine.stop_vcpus()
            case DestroyVmSpec():
                await self.machine.wait_until_alone()
                await self.machine.update.destroy()

    async def register_device(self, number: int, *, expedited: bool) -> None:
        """Put a device on the bus, as making an eventfd for it does.

        Raises:
            IoctlError: ENOMEM; there is no bus any more.

        Locks:
            Acquires: ``slots_lock``.

        KVM: kvm_assign_ioeventfd_idx, virt/kvm/eventfd.c
        """
        async with self.vm.slots_lock:
            await self.vm.buses.register(
                f"device of call {number}",
                f"freeing of the I/O bus of call {number}",
                expedited=expedited,
            )

    async def clear_dirty_log(self, what: ClearDirtyLogSpec, number: int) -> None:
        """Clear the bits that this thread last got of the slot.

        Raises:
            IoctlError: The range is refused.
        """
        first = what.first_page
        place = first // BITS_PER_LONG
        got = self._got.get(what.slot, {})
        mask = {index - place: bits for index, bits in got.items() if index >= place}
        pages = what.num_pages
        if pages is None:
            pages = max(0, await self._npages(what.slot) - first)
        await self.vm.dirty_log.clear_dirty_log(
            what.slot, first, pages, mask, call=number
        )

    async def _npages(self, slot: int) -> Pages:
        """How many pages user space knows the slot to have; 0 if there is none."""
        as_id, slot_id = SlotId.of(slot)
        if as_id >= self.vm.address_space_count:
            return Pages(0)
        async with self.vm.slots_lock:
            found = self.vm.active(as_id).peek().id_to_memslot(slot_id)
        return Pages(0) if found is None else found.npages

    async def access(self, spec: ReadSpec) -> None:
        """Access guest memory; a bad address is the caller's problem.

        Locks:
            Holds on entry: a read section of ``kvm->srcu``.
        """
        try:
            await self._access(spec, Gpa(spec.gpa))
        except IoctlError:
            return

    async def _access(self, spec: ReadSpec, gpa: Gpa) -> None:
        memory, reader = self.machine.memory, self._reader
        match spec.kind:
            case ReadKind.READ:
                await memory.read_guest(reader, gpa, spec.length)
            case ReadKind.WRITE:
                await memory.write_guest(reader, gpa, spec.value, spec.length)
            case ReadKind.CLEAR:
                await memory.clear_guest(reader, gpa, spec.length)
            case ReadKind.CMMA_READ:
                await self.machine.cmma.read_next(Gfn(gpa >> PAGE_SHIFT))
            case ReadKind.DEVICE_READ:
                await self.vm.buses.read()
            case _:
                await self._access_cached(spec, gpa)

    async def _access_cached(self, spec: ReadSpec, gpa: Gpa) -> None:
        match spec.kind:
            case ReadKind.HVA_CACHE_READ:
                await self._cached.hva_cache_read(gpa, spec.length)
            case ReadKind.HVA_CACHE_WRITE:
                await self._cached.hva_cache_write(gpa, spec.value, spec.length)
            case ReadKind.PFN_CACHE_READ:
                await self._cached.pfn_cache_read(gpa, spec.length)
            case ReadKind.PFN_CACHE_WRITE:
                await self._cached.pfn_cache_write(gpa, spec.value, spec.length)
            case ReadKind.PFN_CACHE_TRY_READ:
                await self._cached.pfn_cache_try_read(gpa, spec.length)
