"""Readers, and what they rely on, with one step left out or exchanged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from memslots.dirty_bitmap import DirtyBitmap, Words
from memslots.dirty_log import DirtyLog
from memslots.dirty_ring import DirtyRing, ResetBatch
from memslots.generation import settled
from memslots.slot import INVALID, LOG_DIRTY_PAGES, MemorySlot
from memslots.units import Gfn, Hva
from memslots.vm import Vm
from scenarios.machine import Parts
from scenarios.mutants.families.dirty_log import (
    CopiesBeforeItTakes,
    ProtectsBeforeItTakes,
)
from scenarios.mutants.families.faults import (
    MapsIntoObsoleteRoots,
    ReclaimsAfterItHasAsked,
)
from scenarios.mutants.families.flush import PassesGfns, ZapsLater
from scenarios.mutants.families.invalid import (
    FlushesBeforeReadersLeave,
    FlushesTheInvalidCopy,
    MovesAtOnce,
)
from scenarios.mutants.families.mmio_cache import (
    HitsInAnyGeneration,
    LooksAtAddressSpaceZero,
    WrapsAtZeroOnly,
)
from scenarios.mutants.families.notifier import PublishesAtOnce
from scenarios.mutants.families.swap import CountsOnce, PublishesOutsideTheLock
from vcpus.arch_x86 import ArchX86
from vcpus.guest_memory import GuestMemory
from vcpus.lookup import Looker
from vcpus.mmio_cache import MmioCache, MmioUser
from vcpus.mmu_notifier import MmuNotifier
from vcpus.page_fault import Fault, FaultingVcpu, Outcome, PageFaults
from vcpus.page_tables import Root
from vcpus.shadow_mmu import ShadowMmu

__all__ = [
    "CopiesBeforeItTakes",
    "CountsOnce",
    "FindsBySlotObject",
    "FixesUnseen",
    "FlushesBeforeReadersLeave",
    "FlushesNothing",
    "FlushesTheInvalidCopy",
    "ForgetsTheTlbs",
    "HitsInAnyGeneration",
    "IgnoresInvalidations",
    "LeavesTheLastBatchOut",
    "LogsWithoutFlush",
    "LooksAtAddressSpaceZero",
    "MapsIntoObsoleteRoots",
    "MapsInvalidSlots",
    "MovesAtOnce",
    "NeverCountsDown",
    "NeverWraps",
    "PassesGfns",
    "ProtectsBeforeItTakes",
    "ProtectsNothing",
    "PublishesAtOnce",
    "PublishesOutsideTheLock",
    "ReclaimsAfterItHasAsked",
    "RemembersInFlux",
    "ReturnsWithoutFlush",
    "SkipsInvalidSlots",
    "TellsOfTheFirstPageOnly",
    "WrapsAtZeroOnly",
    "WritesUnseen",
    "ZapsLater",
    "logging_by",
]

# INVALID is seen.


class FlushesNothing(ArchX86):
    """Leaves translations to whoever may find them."""

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        """Nothing to be done, it thinks."""


# No stale translation.


class MapsInvalidSlots(PageFaults):
    """Takes an INVALID slot for one like any other."""

    async def faultin(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome | None:
        if fault.slot is None:
            return None
        fault.page = await self.host.page(fault.slot.hva_of(fault.gfn))
        return None


class FindsBySlotObject(ShadowMmu):
    """Finds only what was made from the very object that is flushed."""

    def mapped(self, slot: MemorySlot, start: Gfn, end: Gfn) -> list[tuple[Root, Gfn]]:
        found = super().mapped(slot, start, end)
        return [
            (root, gfn)
            for root, gfn in found
            if getattr(root.entries[gfn], "slot", None) == slot.serial
        ]


class ForgetsTheTlbs(ShadowMmu):
    """Zaps a slot and lets processors go on with what they remember."""

    async def zap_slot(self, slot: MemorySlot) -> None:
        await self.lock.acquire_write()
        await self.unmap_gfn_range(slot, slot.base_gfn, slot.end_gfn)
        await self.lock.release()


class IgnoresInvalidations(ShadowMmu):
    """Maps what it has resolved, whatever has happened to the page meanwhile."""

    def must_retry(self, seq: int, hva: Hva) -> bool:
        return False


class SkipsInvalidSlots(ShadowMmu):
    """Does not unmap pages of slots that are on their way out."""

    async def unmap_gfn_range(self, slot: MemorySlot, start: Gfn, end: Gfn) -> bool:
        if slot.flags & INVALID:
            return False
        return await super().unmap_gfn_range(slot, start, end)


# MMIO caches.


class RemembersInFlux(MmioCache):
    """Remembers what it sees during an update under the number without the mark."""

    async def remember(self, vcpu: MmioUser, gfn: Gfn) -> None:
        vcpu.mmio_gfn = gfn
        vcpu.mmio_gen = settled(await self.generation(vcpu))

    async def is_cached(self, vcpu: MmioUser, gfn: Gfn) -> bool:
        if vcpu.mmio_gfn != gfn:
            return False
        cached = vcpu.mmio_gen == settled(await self.generation(vcpu))
        if cached:
            self._tell(vcpu, gfn, "vcpu")
        return cached


class NeverWraps(MmioCache):
    """Lets old entries be, when their number comes again."""

    def has_wrapped(self, generation: int) -> bool:
        return False


# The notifier.


class NeverCountsDown(MmuNotifier):
    """Forgets that an invalidation has ended."""

    async def end(self, start: Hva, end: Hva) -> None:
        """Nothing to be done, it thinks."""


# The dirty log.


class WritesUnseen(GuestMemory):
    """Does not mark what KVM itself has written."""

    async def mark_page_dirty_in_slot(
        self, vcpu: Looker | None, slot: MemorySlot, gfn: Gfn
    ) -> None:
        """Nothing to be done, it thinks."""


class FixesUnseen(PageFaults):
    """Does not mark a page that it makes writable."""

    async def mark_page_dirty(
        self, vcpu: FaultingVcpu, slot: MemorySlot, gfn: Gfn
    ) -> None:
        """Nothing to be done, it thinks."""


class LogsWithoutFlush(ArchX86):
    """Write-protects when logging is switched on, and leaves TLBs alone."""

    async def apply_flags(self, old: MemorySlot, new: MemorySlot) -> None:
        if new.flags & ~old.flags & LOG_DIRTY_PAGES:
            await self.mmu.lock.acquire_write()
            await self.mmu.write_protect(new, new.base_gfn, new.end_gfn)
            await self.mmu.lock.release()


class ReturnsWithoutFlush(ArchX86):
    """Write-protects what a call has taken, and leaves TLBs alone."""

    async def flush_remote_tlbs_memslot(self, slot: MemorySlot) -> None:
        """Nothing to be done, it thinks."""


class ProtectsNothing(ArchX86):
    """Lets the guest go on writing to pages whose marks were taken."""

    async def enable_log_dirty_pt_masked(
        self, slot: MemorySlot, gfn_offset: int, mask: int
    ) -> None:
        """Nothing to be done, it thinks."""


class TellsOfTheFirstPageOnly(DirtyLog):
    """Reads the bits, and hands on the first of each word."""

    async def read_bitmap(self, bitmap: DirtyBitmap) -> Words:
        words = await super().read_bitmap(bitmap)
        return tuple((index, word & -word) for index, word in words)


class LeavesTheLastBatchOut(DirtyLog):
    """Takes all entries back, and protects all but the last."""

    async def reset_ring(
        self, call: int, ring: DirtyRing, touched: dict[int, MemorySlot]
    ) -> int:
        count = 0
        batch: ResetBatch | None = None
        while (entry := await self.next_harvested(ring)) is not None:
            count += 1
            if batch is not None and batch.merge(*entry):
                continue
            if batch is not None:
                await self.reset_dirty_gfn(call, batch, touched)
            batch = ResetBatch(*entry)
        return count


def logging_by(dirty_log: Callable[[Vm], DirtyLog]) -> Parts:
    """A machine whose dirty log is of another class."""
    return Parts(vm=partial(Vm, dirty_log=dirty_log))
