"""What the writer asks of x86.

KVM: arch/x86/kvm/x86.c
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from memslots.allocator import Allocation
from memslots.arch import PlainArch
from memslots.errors import MemoryRegionError
from memslots.region import Change
from memslots.slot import LOG_DIRTY_PAGES, READONLY, ArchData, MemorySlot
from memslots.units import Gfn
from memslots.vm import Vm
from rcu.reclaim import Reclaimable
from vcpus.lpage_info import LpageInfo, OutsideArray
from vcpus.mmio_cache import MmioCache
from vcpus.shadow_mmu import ShadowMmu
from vcpus.shadow_roots import ShadowRoots, SlotArchX86
from vcpus.tracepoints import MmuPagesChanged, ShadowFlushed

MEMSLOT_PAGES_TO_MMU_PAGES_RATIO = 50
MIN_ALLOC_MMU_PAGES = 64


def default_mmu_pages(nr_memslot_pages: int) -> int:
    """How many shadow pages a VM may have if user space does not say.

    Args:
        nr_memslot_pages: Pages of all its slots.

    KVM: KVM_MEMSLOT_PAGES_TO_MMU_PAGES_RATIO, arch/x86/include/asm/kvm_host.h
    """
    share = nr_memslot_pages // MEMSLOT_PAGES_TO_MMU_PAGES_RATIO
    return max(share, MIN_ALLOC_MMU_PAGES)


class ArchX86(PlainArch):
    """The x86 part of an update.

    Args:
        vm: Whose slots change.
        shadow_roots: Whether slots need reverse maps.
        mmu: Page tables.
        mmio: Pages known to have no slot.
        zap_all: Whether deleting or moving a slot zaps all page tables; if not, only
            what maps the slot.

    Attributes:
        requested_mmu_pages: Whether user space has bounded the shadow pages itself.
        external_write_tracking: Whether somebody outside KVM watches guest pages, so
            that no slot can be moved.

    KVM: KVM_X86_QUIRK_SLOT_ZAP_ALL, arch/x86/include/uapi/asm/kvm.h
    """

    def __init__(
        self,
        vm: Vm,
        *,
        shadow_roots: ShadowRoots | None = None,
        mmu: ShadowMmu | None = None,
        mmio: MmioCache | None = None,
        zap_all: bool = True,
    ) -> None:
        self.vm = vm
        self.shadow_roots = shadow_roots or ShadowRoots(vm)
        self.mmu = mmu or ShadowMmu(vm, self.shadow_roots)
        self.mmio = mmio or MmioCache(vm)
        self.zap_all = zap_all
        self.requested_mmu_pages = self.mmu.max_pages is not None
        self.external_write_tracking = False
        if not self.requested_mmu_pages:
            self.mmu.max_pages = default_mmu_pages(0)

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """See `ArchHooks.prepare_memory_region`.

        Raises:
            MemoryRegionError: EINVAL; the range lies behind the last gfn, or a slot is
                to be moved that is watched from outside. ENOMEM.
        """
        if new is None:
            return
        if change is Change.MOVE and self.external_write_tracking:
            raise MemoryRegionError(
                errno.EINVAL,
                f"slot {new.id} cannot be moved: its pages are watched from outside",
            )
        if change is Change.FLAGS_ONLY and old is not None:
            await self.vm.scheduler.point(self.vm.arch_data.read)
            new.arch = old.arch.copy() if old.arch else None
            return
        max_gfn = self.vm.profile.max_gfn
        if new.end_gfn - 1 > max_gfn:
            raise MemoryRegionError(
                errno.EINVAL,
                f"gfn {new.end_gfn - 1:#x} lies behind the last one, {max_gfn:#x}",
            )
        # MOVE gets new arrays, too: they depend on where the slot lies.
        await self.shadow_roots.are_allocated()
        self.allocate(new)

    def allocate(self, slot: MemorySlot) -> None:
        """See `ArchHooks.allocate`.

        KVM: kvm_alloc_memslot_metadata, arch/x86/kvm/x86.c
        """
        arch = slot.arch = SlotArchX86()
        try:
            if self.shadow_roots.allocated:
                self.shadow_roots.allocate_rmaps(slot)
            arch.lpage_info = self.vm.allocator.allocate(
                Allocation.LPAGE_INFO, LpageInfo(slot), slot
            )
            if self.shadow_roots.allocated:
                self.shadow_roots.allocate_gfn_track(slot)
        except MemoryRegionError:
            self.free_memslot(arch)
            slot.arch = None
            raise

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        """See `ArchHooks.flush_shadow_memslot`."""
        if self.zap_all:
            await self.mmu.zap_all_fast()
        else:
            await self.mmu.zap_slot(slot)
        if self.vm.scheduler.tracing:
            self.vm.scheduler.emit(ShadowFlushed(slot.as_id, slot.serial))

    async def memslots_updated(self, generation: int) -> None:
        """See `ArchHooks.memslots_updated`.

        KVM: kvm_arch_memslots_updated, arch/x86/kvm/x86.c
        """
        if self.mmio.has_wrapped(generation):
            await self.mmu.zap_all_fast()
        for vcpu in self.mmu.vcpus:
            await vcpu.kick()

    async def unregister_notifier(self) -> None:
        """See `ArchHooks.unregister_notifier`."""
        async with self.vm.srcu.reading():
            await self.mmu.zap_all()

    async def commit_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """See `ArchHooks.commit_memory_region`."""
        if change in {Change.CREATE, Change.DELETE}:
            await self.change_mmu_pages()
        if change is Change.FLAGS_ONLY and old is not None and new is not None:
            await self.apply_flags(old, new)

    async def change_mmu_pages(self) -> None:
        """Bound the shadow pages anew, since the pages of all slots have changed.

        Locks:
            Holds on entry: ``slots_lock``.
            Acquires: ``mmu_lock`` for writing, if the bound changes.

        KVM: kvm_mmu_change_mmu_pages, arch/x86/kvm/mmu/mmu.c
        """
        if self.requested_mmu_pages:
            return
        pages = default_mmu_pages(self.vm.nr_memslot_pages)
        if pages != self.mmu.max_pages:
            await self.mmu.lock.acquire_write()
            self.mmu.max_pages = pages
            await self.mmu.make_pages_available()
            await self.mmu.lock.release()
        self._tell_mmu_pages(pages)

    def memslots_installed(self) -> None:
        """See `ArchHooks.memslots_installed`."""
        if not self.requested_mmu_pages:
            pages = default_mmu_pages(self.vm.nr_memslot_pages)
            self.mmu.max_pages = pages
            self._tell_mmu_pages(pages)

    def _tell_mmu_pages(self, pages: int) -> None:
        if self.vm.scheduler.tracing:
            self.vm.scheduler.emit(MmuPagesChanged(pages))

    async def apply_flags(self, old: MemorySlot, new: MemorySlot) -> None:
        """Let writes be seen from now on, if dirty pages are logged from now on.

        Locks:
            Acquires: ``mmu_lock`` for writing.

        KVM: kvm_mmu_slot_apply_flags, arch/x86/kvm/x86.c
        """
        if not new.flags & ~old.flags & LOG_DIRTY_PAGES or new.flags & READONLY:
            return
        await self.vm.scheduler.point(self.vm.dirty_log.mode.read)
        if self.vm.dirty_log.initially_set:
            return
        await self.mmu.lock.acquire_write()
        changed = await self.mmu.write_protect(new, new.base_gfn, new.end_gfn)
        await self.mmu.lock.release()
        await self.flush_protected(changed=changed)

    async def flush_protected(self, *, changed: bool) -> None:
        """Let TLBs forget what was writable before logging.

        Even if no translation had to change: somebody may have changed it and not
        flushed.
        """
        await self.mmu.flush_remote_tlbs()

    # What the dirty log needs.

    async def mmu_lock(self) -> None:
        """See `ArchHooks.mmu_lock`."""
        await self.mmu.lock.acquire_write()

    async def mmu_unlock(self) -> None:
        """See `ArchHooks.mmu_unlock`."""
        await self.mmu.lock.release()

    async def enable_log_dirty_pt_masked(
        self, slot: MemorySlot, gfn_offset: int, mask: int
    ) -> None:
        """See `ArchHooks.enable_log_dirty_pt_masked`.

        Raises:
            OutsideArray: Not all pages are in the slot.

        KVM: kvm_arch_mmu_enable_log_dirty_pt_masked, arch/x86/kvm/mmu/mmu.c
        """
        last = gfn_offset + mask.bit_length() - 1
        if last >= slot.npages:
            raise OutsideArray(f"page {last:#x} of {slot!r} has no reverse map")
        first = slot.base_gfn + gfn_offset
        for root, gfn in self.mmu.mapped(slot, Gfn(first), Gfn(first + 64)):
            if mask >> (gfn - first) & 1:
                await self.mmu.write_protect_entry(root, gfn)

    async def flush_remote_tlbs_memslot(self, slot: MemorySlot) -> None:
        """See `ArchHooks.flush_remote_tlbs_memslot`.

        KVM: kvm_arch_flush_remote_tlbs_memslot, arch/x86/kvm/x86.c
        """
        await self.mmu.flush_remote_tlbs()

    async def sync_dirty_log(self, slot: MemorySlot) -> None:
        """See `ArchHooks.sync_dirty_log`.

        KVM: kvm_arch_sync_dirty_log, arch/x86/kvm/x86.c
        """
        for vcpu in self.mmu.vcpus:
            await vcpu.kick()

    def free_memslot(self, arch: ArchData) -> None:
        """See `ArchHooks.free_memslot`."""
        if isinstance(arch, SlotArchX86):
            for kind, array in arch.arrays().items():
                if array is not None:
                    self.vm.allocator.free(kind, array, kind.value)

    def arrays_of(self, slot: MemorySlot) -> Mapping[Allocation, Reclaimable | None]:
        """See `ArchHooks.arrays_of`."""
        return slot.arch.arrays() if isinstance(slot.arch, SlotArchX86) else {}
