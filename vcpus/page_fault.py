"""What KVM does when the guest touches a page that its root does not map.

The page is resolved without locks, since that may sleep; whether it may still be mapped
is asked again with ``mmu_lock`` held. Whatever was missed in between is retried.

KVM: direct_page_fault, arch/x86/kvm/mmu/mmu.c
"""

from __future__ import annotations

import errno
from enum import Enum
from typing import Protocol

import attrs

from memslots.errors import MemoryRegionError
from memslots.slot import INVALID, LOG_DIRTY_PAGES, READONLY, MemorySlot
from memslots.units import PAGE_SHIFT, Gfn, Gpa, Hva
from memslots.vm import Vm
from vcpus.host_memory import HostMemory, HostPage
from vcpus.lookup import Looker, SlotLookup
from vcpus.mmio_cache import MmioCache, MmioUser
from vcpus.mmu_lock import MmuUser
from vcpus.page_tables import MmioSpte, Root, Spte
from vcpus.shadow_mmu import ShadowMmu
from vcpus.tracepoints import PageFaulted


class Outcome(Enum):
    """What became of a page fault.

    KVM: RET_PF_*, arch/x86/kvm/mmu/mmu_internal.h
    """

    FIXED = "fixed"
    RETRY = "retry"
    MMIO = "mmio"


@attrs.define(eq=False)
class Fault:
    """What is known of a page fault so far.

    Attributes:
        gfn: The page.
        write: Whether the guest writes.
        slot: The slot that contains it, if any.
        seq: ``mmu_invalidate_seq`` from before the page was resolved.
        hva: Where the host has the page, if it was resolved.
        page: The host's page.

    KVM: struct kvm_page_fault, arch/x86/kvm/mmu/mmu_internal.h
    """

    gfn: Gfn
    write: bool
    slot: MemorySlot | None = None
    seq: int = 0
    hva: Hva | None = None
    page: HostPage | None = None


class FaultingVcpu(Looker, MmioUser, MmuUser, Protocol):
    """A vCPU as far as its page faults go; see `vcpus.vcpu.Vcpu`."""

    async def begin_reading_page_tables(self) -> None:
        """Keep zapped page tables from being freed."""

    async def end_reading_page_tables(self) -> None:
        """Nothing read from page tables is used any more."""

    async def load_root(self) -> None:
        """Find page tables to run on."""


class PageFaults:
    """Handles the page faults of a VM's vCPUs.

    Args:
        vm: The VM.
        lookup: Finds its slots.
        host: What is behind the slots.
        mmu: Gets the translations.
        mmio: Remembers pages without a slot.
    """

    def __init__(
        self,
        vm: Vm,
        lookup: SlotLookup,
        host: HostMemory,
        mmu: ShadowMmu,
        mmio: MmioCache,
    ) -> None:
        self.vm = vm
        self.lookup = lookup
        self.host = host
        self.mmu = mmu
        self.mmio = mmio
        self._scheduler = vm.scheduler

    async def handle(self, vcpu: FaultingVcpu, gpa: Gpa, *, write: bool) -> Outcome:
        """Resolve what the guest touched.

        Returns:
            ``FIXED`` if the guest can go on, ``RETRY`` if it must fault again, ``MMIO``
            if a device must answer.

        Locks:
            Holds on entry: a read section of ``kvm->srcu``.

        KVM: kvm_mmu_page_fault, arch/x86/kvm/mmu/mmu.c
        """
        outcome = None
        if await self.is_mmio_spte(vcpu, gpa):
            outcome = await self.handle_mmio(vcpu, gpa)
        if outcome is None:
            fault = Fault(Gfn(gpa >> PAGE_SHIFT), write)
            outcome = await self.direct_page_fault(vcpu, fault)
        if self._scheduler.tracing:
            self._scheduler.emit(
                PageFaulted(vcpu.index, vcpu.as_id, gpa, write, outcome.value)
            )
        return outcome

    async def is_mmio_spte(self, vcpu: FaultingVcpu, gpa: Gpa) -> bool:
        """Whether the root notes that the page has no slot."""
        root, gfn = _root_of(vcpu), Gfn(gpa >> PAGE_SHIFT)
        await self._scheduler.point(root.location(gfn).read)
        return isinstance(root.entries.get(gfn), MmioSpte)

    async def handle_mmio(self, vcpu: FaultingVcpu, gpa: Gpa) -> Outcome | None:
        """Answer from what was noted, if it is still true.

        Returns:
            None if the page must be looked up.

        KVM: handle_mmio_page_fault, arch/x86/kvm/mmu/mmu.c
        """
        root, gfn = _root_of(vcpu), Gfn(gpa >> PAGE_SHIFT)
        if await self.mmio.is_cached(vcpu, gfn):
            return Outcome.MMIO
        await self._scheduler.point(root.location(gfn).read)
        entry = root.entries.get(gfn)
        if not isinstance(entry, MmioSpte):
            return Outcome.RETRY
        if not await self.mmio.is_fresh(vcpu, gfn, entry.generation):
            return None
        await self.mmio.remember(vcpu, gfn)
        return Outcome.MMIO

    async def direct_page_fault(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome:
        """Look the page up, resolve it and map it.

        KVM: direct_page_fault, arch/x86/kvm/mmu/mmu.c
        """
        fault.slot = await self.lookup.vcpu_gfn_to_memslot(vcpu, fault.gfn)
        if await self.fast_page_fault(vcpu, fault):
            return Outcome.FIXED
        fault.seq = await self.mmu.snapshot_seq()
        outcome = await self.faultin(vcpu, fault)
        if outcome is not None:
            return outcome
        await self.lock(vcpu)
        outcome = await self.map_locked(vcpu, fault)
        await self.mmu.lock.release()
        return outcome

    async def lock(self, vcpu: FaultingVcpu) -> None:
        """Take ``mmu_lock`` as the kind of root wants it."""
        if vcpu.nested:
            await self.mmu.lock.acquire_write()
        else:
            await self.mmu.lock.acquire_read()

    async def faultin(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome | None:
        """Find the host's page.

        Returns:
            None if there is something to map: a page, or the note that there is none.

        KVM: kvm_faultin_pfn, arch/x86/kvm/mmu/mmu.c
        """
        slot = fault.slot
        if slot is None:
            # Already now, whether or not the page tables can be told, too.
            await self.mmio.remember(vcpu, fault.gfn)
            return None
        await self._scheduler.point(self.vm.slot_memory.read)
        if slot.flags & INVALID:
            # Not "no slot": translations of it may be there until they are flushed.
            return Outcome.RETRY
        if fault.write and slot.flags & READONLY:
            return Outcome.MMIO
        fault.hva = slot.hva_of(fault.gfn)
        fault.page = await self.host.page(fault.hva)
        return None

    async def map_locked(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome:
        """Map what was found, unless it may have become wrong.

        Locks:
            Holds on entry: ``mmu_lock``.
        """
        if vcpu.nested:
            # May zap the very root that this vCPU runs on: ask only afterwards.
            await self.mmu.make_pages_available()
        if await self.is_stale(vcpu, fault):
            return Outcome.RETRY
        return await self.map(vcpu, fault)

    async def is_stale(self, vcpu: FaultingVcpu, fault: Fault) -> bool:
        """Whether the root is obsolete, or an invalidation may have been missed.

        KVM: is_page_fault_stale, arch/x86/kvm/mmu/mmu.c
        """
        await self._scheduler.point(self.mmu.invalidate_location.read)
        if self.mmu.is_obsolete(_root_of(vcpu)):
            return True
        if fault.hva is None:
            return False
        return self.mmu.must_retry(fault.seq, fault.hva)

    async def map(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome:
        """Put the translation into the root; a writable one marks its page dirty.

        KVM: make_spte, arch/x86/kvm/mmu/spte.c
        """
        root, slot, page = _root_of(vcpu), fault.slot, fault.page
        if slot is None or page is None:
            generation = await self.mmio.generation(vcpu)
            await self.mmu.install_mmio(root, fault.gfn, self.mmio.low_bits(generation))
            return Outcome.MMIO
        await self._scheduler.point(self.vm.slot_memory.read)
        spte = Spte(slot.serial, page, writable=not slot.flags & READONLY)
        if spte.writable and slot.flags & LOG_DIRTY_PAGES:
            await self.mark_page_dirty(vcpu, slot, fault.gfn)
        await self.mmu.install(root, fault.gfn, slot, spte)
        return Outcome.FIXED

    async def mark_page_dirty(
        self, vcpu: FaultingVcpu, slot: MemorySlot, gfn: Gfn
    ) -> None:
        """The guest can write to the page from now on, unseen."""
        await self.vm.dirty_log.mark_page_dirty_in_slot(vcpu, slot, gfn)

    async def fast_page_fault(self, vcpu: FaultingVcpu, fault: Fault) -> bool:
        """Make a write-protected translation writable without ``mmu_lock``.

        Whoever removes translations waits until no vCPU reads page tables. So it does
        not matter whether the slot is INVALID or the root obsolete: a translation that
        is on its way out may be used until it is flushed.

        Returns:
            Whether the guest can go on; also if somebody else has seen to it.

        KVM: fast_page_fault, arch/x86/kvm/mmu/mmu.c
        """
        root, gfn, slot = _root_of(vcpu), fault.gfn, fault.slot
        if slot is None or not fault.write or vcpu.nested:
            return False
        await self._scheduler.point(self.vm.slot_memory.read)
        if slot.flags & READONLY:
            return False
        await vcpu.begin_reading_page_tables()
        await self._scheduler.point(root.location(gfn).read)
        entry = root.entries.get(gfn)
        fixed = isinstance(entry, Spte)
        if isinstance(entry, Spte) and not entry.writable:
            await self._scheduler.point(root.location(gfn).write)
            fixed = root.entries.get(gfn) is entry
            if fixed:
                accessed = entry.accessed or not self.mmu.ad_enabled
                spte = attrs.evolve(entry, writable=True, accessed=accessed)
                root.entries[gfn] = spte
                self.mmu.tell_installed(root, gfn, spte)
                await self.mark_page_dirty(vcpu, slot, gfn)
        await vcpu.end_reading_page_tables()
        return fixed

    async def prefault(self, vcpu: FaultingVcpu, gpa: Gpa) -> Outcome:
        """Map a page before the guest touches it.

        Raises:
            MemoryRegionError: EAGAIN; the slot is being deleted or moved. To wait for
                that inside the read section would be to wait for oneself.

        KVM: kvm_arch_vcpu_pre_fault_memory, arch/x86/kvm/mmu/mmu.c
        """
        while True:
            outcome = await self.handle(vcpu, gpa, write=False)
            if outcome is not Outcome.RETRY:
                return outcome
            slot = await self.lookup.vcpu_gfn_to_memslot(vcpu, Gfn(gpa >> PAGE_SHIFT))
            if slot is not None and slot.flags & INVALID:
                raise MemoryRegionError(
                    errno.EAGAIN, f"the slot of {gpa:#x} is being deleted or moved"
                )
            await self._scheduler.point(self.mmu.roots_location.read)
            if self.mmu.is_obsolete(_root_of(vcpu)):
                await vcpu.load_root()


def _root_of(vcpu: FaultingVcpu) -> Root:
    if vcpu.root is None:
        raise RuntimeError(f"vcpu{vcpu.index} runs without a root")
    return vcpu.root
