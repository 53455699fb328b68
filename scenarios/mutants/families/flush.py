"""A flush: find what was made from a slot or a range, remove it, be done, return."""

from __future__ import annotations

from memslots.slot import MemorySlot
from memslots.units import Gfn, Hva
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step
from vcpus.arch_x86 import ArchX86
from vcpus.mmu_lock import HVA_MAX, Request
from vcpus.shadow_mmu import ShadowMmu
from vcpus.tracepoints import ShadowFlushed


class PassesGfns(ShadowMmu):
    """Takes a range of gfns for one of host addresses."""

    zapped = (Hva(0), HVA_MAX)

    async def zap_gfn_range(self, start: Gfn, end: Gfn) -> None:
        """See `ShadowMmu.zap_gfn_range`."""
        self.zapped = Hva(start), Hva(end)
        await super().zap_gfn_range(start, end)

    async def invalidate_begin(self, start: Hva, end: Hva) -> None:
        """See `ShadowMmu.invalidate_begin`."""
        if end == HVA_MAX:
            start, end = self.zapped
        await super().invalidate_begin(start, end)


class ZapsLeavesOnly(ShadowMmu):
    """Zaps of a slot what page tables map directly, and leaves shadow page tables."""

    async def zap_slot(self, slot: MemorySlot) -> None:
        """See `ShadowMmu.zap_slot`."""
        await self.lock.acquire_write()
        for root, gfn in self.mapped(slot, slot.base_gfn, slot.end_gfn):
            if not root.shadow:
                await self.zap(root, gfn)
        await self.flush_remote_tlbs()
        await self.lock.release()


class ZapsLater(ArchX86):
    """Marks all page tables obsolete, and leaves the zapping to the next flush."""

    async def flush_shadow_memslot(self, slot: MemorySlot) -> None:
        """See `ArchX86.flush_shadow_memslot`."""
        mmu = self.mmu
        await mmu.lock.acquire_write()
        await mmu.zap_invalid_roots(shadow=True)
        await mmu.zap_invalid_roots(shadow=False)
        for root in mmu.roots:
            root.invalid = True
        await mmu.make_all_requests(Request.FREE_OBSOLETE_ROOTS)
        await mmu.lock.release()
        if self.vm.scheduler.tracing:
            self.vm.scheduler.emit(ShadowFlushed(slot.as_id, slot.serial))


class AdvancesTwice(ShadowMmu):
    """Goes on behind the next slot when it has let others have the lock."""

    yielded = False

    async def cond_resched(self) -> None:
        """See `ShadowMmu.cond_resched`."""
        await super().cond_resched()
        self.yielded = True

    async def unmap_gfn_range(self, slot: MemorySlot, start: Gfn, end: Gfn) -> bool:
        """See `ShadowMmu.unmap_gfn_range`."""
        if self.yielded:
            self.yielded = False
            return False
        return await super().unmap_gfn_range(slot, start, end)


MUTANTS = (
    Mutant(
        id="24",
        title="a zap of a guest range holds faults back by gfn, not by hva",
        step=Step.FAULT_CHECKS,
        why=(
            "A fault is held back if its host address is in the range of an"
            " invalidation, and no address of a slot is as low as a gfn. So a fault"
            " maps again what is being zapped."
        ),
        provenance=Provenance(
            kind="fix",
            subject=("KVM: x86/mmu: Block all page faults during kvm_zap_gfn_range()"),
            release="6.0.9",
        ),
        scenario="prefault-and-zap-range",
        checker="no-stale-translation",
        parts=Parts(mmu=PassesGfns),
        preemptions=1,
    ),
    Mutant(
        id="45",
        title="deleting a slot zaps its leaves and leaves shadow page tables",
        step=Step.INVALID_FLUSHES,
        why=(
            "Shadow page tables map pages of the slot, too, and are found through its"
            " reverse maps. When the slot has gone nobody finds them, and their"
            " accounting looks for a slot that is not there."
        ),
        provenance=Provenance(
            kind="fix", subject="Reintroduce fast invalidate/zap", release="5.2.16"
        ),
        scenario="guest-stops-and-delete",
        checker="no-stale-translation",
        parts=Parts(mmu=ZapsLeavesOnly),
        preemptions=0,
    ),
    Mutant(
        id="46",
        title="a flush marks page tables and lets somebody zap them later",
        step=Step.INVALID_FLUSHES,
        why=(
            "Once the slot has left the index of host addresses, the notifier does not"
            " find what still maps its pages. So the flush must be done before the slot"
            " goes."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Stop zapping invalidated TDP MMU roots asynchronously",
            release="6.1.60",
        ),
        scenario="guest-stops-and-delete",
        checker="no-stale-translation",
        parts=Parts(arch=ZapsLater),
        preemptions=0,
    ),
    Mutant(
        id="50",
        title="a zap skips the next entry when it has yielded",
        step=Step.INVALID_FLUSHES,
        why=(
            "Who lets others have the lock for a moment begins again where it stopped,"
            " and that entry has not been zapped yet. If it is skipped it stays mapped."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Don't advance iterator after restart due to yielding",
            release="5.15.12",
        ),
        scenario="guest-stops-and-zap",
        checker="no-stale-translation",
        parts=Parts(mmu=AdvancesTwice),
        preemptions=0,
    ),
)
