"""What this room asks of the architecture.

Upward calls go through here only: the writer must have shadow pages zapped and arrays
allocated, and knows nothing of either.

KVM: kvm_arch_*, include/linux/kvm_host.h
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from memslots.allocator import Allocation
from memslots.region import Change
from memslots.slot import ArchData, MemorySlot
from rcu.reclaim import Reclaimable


class ArchHooks(Protocol):
    """One architecture's part in an update."""

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """Check and allocate what ``new`` needs; the last step that may fail.

        Raises:
            MemoryRegionError: EINVAL or ENOMEM; nothing is left behind.

        Locks:
            Holds on entry: ``slots_lock``, ``slots_arch_lock``.

        KVM: kvm_arch_prepare_memory_region, arch/x86/kvm/x86.c
        """

    def allocate(self, slot: MemorySlot) -> None:
        """Give a slot that nobody can reach yet the arrays it needs.

        Raises:
            MemoryRegionError: ENOMEM; nothing is left behind.

        KVM: kvm_alloc_memslot_metadata, arch/x86/kvm/x86.c
        """

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        """Leave no translation that goes through ``slot``.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_arch_flush_shadow_memslot, arch/x86/kvm/x86.c
        """

    async def memslots_updated(self, generation: int) -> None:
        """A swap is about to advance the generation to ``generation``.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_arch_memslots_updated, arch/x86/kvm/x86.c
        """

    async def commit_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """The change is visible to everybody; finish it. Cannot fail.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_arch_commit_memory_region, arch/x86/kvm/x86.c
        """

    def free_memslot(self, arch: ArchData) -> None:
        """Free the arrays that ``arch`` points to.

        KVM: kvm_arch_free_memslot, arch/x86/kvm/x86.c
        """

    def arrays_of(self, slot: MemorySlot) -> Mapping[Allocation, Reclaimable | None]:
        """The arrays that ``slot`` points to, for the trace."""

    def memslots_installed(self) -> None:
        """Slots have been put into both sets before anybody runs."""

    async def unregister_notifier(self) -> None:
        """The VM is being destroyed: drop all translations, hear of no page any more.

        When it returns, no callback of the MMU notifier runs, and none will; one that
        has told of the start of an invalidation will not tell of its end.

        KVM: kvm_mmu_notifier_release, virt/kvm/kvm_main.c
        """

    async def sync_dirty_log(self, slot: MemorySlot) -> None:
        """Have every page that hardware knows to be written marked.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_arch_sync_dirty_log, arch/x86/kvm/x86.c
        """

    async def mmu_lock(self) -> None:
        """Acquire ``mmu_lock`` for writing.

        KVM: KVM_MMU_LOCK, virt/kvm/kvm_mm.h
        """

    async def mmu_unlock(self) -> None:
        """Release ``mmu_lock``.

        KVM: KVM_MMU_UNLOCK, virt/kvm/kvm_mm.h
        """

    async def enable_log_dirty_pt_masked(
        self, slot: MemorySlot, gfn_offset: int, mask: int
    ) -> None:
        """Write-protect up to 64 pages, so that the next write to them is marked.

        Args:
            slot: Whose pages.
            gfn_offset: The page of bit 0, by its place in the slot.
            mask: Which of the 64 pages from there on.

        Locks:
            Holds on entry: ``slots_lock``, ``mmu_lock``.

        KVM: kvm_arch_mmu_enable_log_dirty_pt_masked, arch/x86/kvm/mmu/mmu.c
        """

    async def flush_remote_tlbs_memslot(self, slot: MemorySlot) -> None:
        """Return when no vCPU uses a translation that was write-protected before.

        Locks:
            Holds on entry: ``slots_lock``.

        KVM: kvm_flush_remote_tlbs_memslot, virt/kvm/kvm_main.c
        """


class PlainArch:
    """An architecture that keeps nothing for a slot."""

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """Nothing to prepare, but arch data goes on with a slot that stays."""
        if (
            change is Change.FLAGS_ONLY
            and new is not None
            and old is not None
            and old.arch is not None
        ):
            new.arch = old.arch.copy()

    def allocate(self, slot: MemorySlot) -> None:
        """Nothing to allocate."""

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        """Nothing to flush."""

    async def memslots_updated(self, generation: int) -> None:
        """Nobody caches."""

    async def commit_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """Nothing to finish."""

    def free_memslot(self, arch: ArchData) -> None:
        """Nothing to free."""

    def arrays_of(self, slot: MemorySlot) -> Mapping[Allocation, Reclaimable | None]:
        """There are none."""
        return {}

    def memslots_installed(self) -> None:
        """Nothing depends on how many there are."""

    async def unregister_notifier(self) -> None:
        """Nobody tells of changes."""

    async def sync_dirty_log(self, slot: MemorySlot) -> None:
        """Hardware logs nothing."""

    async def mmu_lock(self) -> None:
        """There are no shadow pages to be locked."""

    async def mmu_unlock(self) -> None:
        """Nor to be unlocked."""

    async def enable_log_dirty_pt_masked(
        self, slot: MemorySlot, gfn_offset: int, mask: int
    ) -> None:
        """Nobody can write."""

    async def flush_remote_tlbs_memslot(self, slot: MemorySlot) -> None:
        """Nobody caches."""
