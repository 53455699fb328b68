"""What this room asks of the architecture.

Upward calls go through here only: the writer must have shadow pages zapped and arrays
allocated, and knows nothing of either.

KVM: kvm_arch_*, include/linux/kvm_host.h
"""

from __future__ import annotations

from typing import Protocol

from memslots.region import Change
from memslots.slot import ArchData, MemorySlot


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
