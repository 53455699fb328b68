"""Readers, and what they rely on, with one step left out or exchanged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from memslots.dirty_bitmap import ALL_ONES, DirtyBitmap, Words
from memslots.dirty_log import DirtyLog
from memslots.dirty_ring import DirtyRing, ResetBatch
from memslots.generation import advanced, settled
from memslots.region import Change
from memslots.slot import INVALID, LOG_DIRTY_PAGES, MemorySlot
from memslots.slot_set import Memslots
from memslots.units import Gfn, Hva
from memslots.update import Update
from memslots.vm import Vm
from scenarios.machine import Parts
from vcpus.arch_x86 import ArchX86
from vcpus.guest_memory import GuestMemory
from vcpus.lookup import Looker, dereference
from vcpus.mmio_cache import MmioCache, MmioUser
from vcpus.mmu_lock import HVA_MAX, Request
from vcpus.mmu_notifier import MmuNotifier
from vcpus.page_fault import Fault, FaultingVcpu, Outcome, PageFaults
from vcpus.page_tables import Root
from vcpus.shadow_mmu import ShadowMmu
from vcpus.tracepoints import ShadowFlushed

# INVALID is seen.


class MovesAtOnce(Update):
    """Moves a slot as if only its flags changed."""

    async def set_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        if change is not Change.MOVE or old is None or new is None:
            await super().set_memslot(old, new, change)
            return
        await self.begin_change(old, new)
        await self.prepare_memory_region(old, new, change)
        await self.update_flags_memslot(old, new)
        await self.commit_memory_region(old, new, change)


class FlushesBeforeReadersLeave(Update):
    """Flushes a slot between the publishing of its INVALID copy and the wait."""

    leaving: MemorySlot | None = None

    async def invalidate_memslot(self, old: MemorySlot, invalid: MemorySlot) -> None:
        invalid.flags |= INVALID
        await self.replace_memslot(old, invalid)
        self.leaving = old
        await self.swap_active_memslots(old.as_id)
        await self.vm.slots_arch_lock.acquire()
        await self._scheduler.point(self.vm.arch_data.write)
        self.resync_arch(old, invalid)
        self.vm.tell_held(old)

    async def wait_for_readers(self) -> None:
        if self.leaving is not None:
            await self.vm.arch.flush_shadow_memslot(self.leaving)
            self.leaving = None
        await super().wait_for_readers()


class FlushesTheInvalidCopy(Update):
    """Names the INVALID copy when it asks for the flush, not the slot."""

    async def invalidate_memslot(self, old: MemorySlot, invalid: MemorySlot) -> None:
        invalid.flags |= INVALID
        await self.replace_memslot(old, invalid)
        await self.swap_active_memslots(old.as_id)
        await self.vm.arch.flush_shadow_memslot(invalid)
        await self.vm.slots_arch_lock.acquire()
        await self._scheduler.point(self.vm.arch_data.write)
        self.resync_arch(old, invalid)
        self.vm.tell_held(old)


class FlushesNothing(ArchX86):
    """Leaves translations to whoever may find them."""

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        """Nothing to be done, it thinks."""


# No stale translation.


class MapsIntoObsoleteRoots(PageFaults):
    """Does not ask whether its root is still in use."""

    async def is_stale(self, vcpu: FaultingVcpu, fault: Fault) -> bool:
        await self._scheduler.point(self.mmu.invalidate_location.read)
        if fault.slot is None or fault.page is None:
            return False
        return self.mmu.must_retry(fault.seq, fault.slot.hva_of(fault.gfn))


class ReclaimsAfterItHasAsked(PageFaults):
    """Makes room for page tables when the root has been found valid."""

    async def map_locked(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome:
        if await self.is_stale(vcpu, fault):
            return Outcome.RETRY
        if vcpu.nested:
            await self.mmu.make_pages_available()
        return await self.map(vcpu, fault)


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


class PassesGfns(ShadowMmu):
    """Takes a range of gfns for one of host addresses."""

    zapped = (Hva(0), HVA_MAX)

    async def zap_gfn_range(self, start: Gfn, end: Gfn) -> None:
        self.zapped = Hva(start), Hva(end)
        await super().zap_gfn_range(start, end)

    async def invalidate_begin(self, start: Hva, end: Hva) -> None:
        if end == HVA_MAX:
            start, end = self.zapped
        await super().invalidate_begin(start, end)


class ZapsLater(ArchX86):
    """Marks all page tables obsolete; what they hold is zapped by the next flush."""

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        mmu = self.mmu
        await mmu.lock.acquire_write()
        await mmu.zap_invalid_roots(shadow=True)
        await mmu.zap_invalid_roots(shadow=False)
        for root in mmu.roots:
            root.invalid = True
        await mmu.make_all_requests(Request.FREE_OBSOLETE_ROOTS)
        await mmu.lock.release()
        self.vm.scheduler.emit(ShadowFlushed(slot.as_id, slot.serial))


class SkipsInvalidSlots(ShadowMmu):
    """Does not unmap pages of slots that are on their way out."""

    async def unmap_gfn_range(self, slot: MemorySlot, start: Gfn, end: Gfn) -> bool:
        if slot.flags & INVALID:
            return False
        return await super().unmap_gfn_range(slot, start, end)


# MMIO caches.


class HitsInAnyGeneration(MmioCache):
    """Does not ask how old the vCPU's own knowledge is."""

    async def is_cached(self, vcpu: MmioUser, gfn: Gfn) -> bool:
        if vcpu.mmio_gfn != gfn:
            return False
        await self.generation(vcpu)
        self._tell(vcpu, gfn, "vcpu")
        return True


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


class LooksAtAddressSpaceZero(MmioCache):
    """Takes the generation of address space 0, wherever the vCPU is."""

    async def generation(self, vcpu: MmioUser) -> int:
        slots = await dereference(self.vm, 0)
        await self._scheduler.point(slots.generation_location.read)
        return slots.generation


class CountsOnce(Update):
    """Publishes a set under its own number, without one for the time in between."""

    async def mark_in_progress(self, slots: Memslots, generation: int) -> None:
        await self._scheduler.point(slots.generation_location.write)
        slots.generation = advanced(generation, len(self.vm.sets))


class NeverWraps(MmioCache):
    """Lets old entries be, when their number comes again."""

    def has_wrapped(self, generation: int) -> bool:
        return False


class WrapsAtZeroOnly(MmioCache):
    """Does not know that numbers may skip 0."""

    def has_wrapped(self, generation: int) -> bool:
        return not self.low_bits(generation)


# The notifier.


class PublishesAtOnce(Update):
    """Does not wait for the end of invalidations."""

    async def publish(self, as_id: int, slots: Memslots) -> None:
        await self.assign_active(as_id, slots)


class PublishesOutsideTheLock(Update):
    """Waits until no invalidation is under way, and lets the next one begin."""

    async def publish(self, as_id: int, slots: Memslots) -> None:
        await self.vm.invalidations.wait_until_none()
        await self.vm.invalidations.lock.release()
        await self.assign_active(as_id, slots)


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


class CopiesBeforeItTakes(DirtyLog):
    """Returns the bits that it saw before it took them."""

    async def get_dirty_log_protect(self, call: int, number: int) -> Words:
        _, bitmap = await self.logged_slot(self.check_slot_number(number))
        words = await self.read_bitmap(bitmap)
        await super().get_dirty_log_protect(call, number)
        return words


class ProtectsBeforeItTakes(DirtyLog):
    """Write-protects pages, and only then takes their bits."""

    async def fetch_and_clear(
        self,
        call: int,
        slot: MemorySlot,
        bitmap: DirtyBitmap,
        index: int,
        mask: int = ALL_ONES,
    ) -> int:
        await super().write_protect(slot, index, bitmap.word(index) & mask)
        return await super().fetch_and_clear(call, slot, bitmap, index, mask)

    async def write_protect(self, slot: MemorySlot, index: int, mask: int) -> None:
        """That has been done."""


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
