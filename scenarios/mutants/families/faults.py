"""A page fault: note the sequence, resolve, check under the lock, map."""

from __future__ import annotations

from memslots.slot import INVALID, MemorySlot
from memslots.units import Gfn
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step
from vcpus.mmu_notifier import MmuNotifier
from vcpus.page_fault import Fault, FaultingVcpu, Outcome, PageFaults
from vcpus.page_tables import Root, Spte
from vcpus.shadow_mmu import ShadowMmu


class TakesInvalidForNoSlot(PageFaults):
    """Lets a device answer for a page whose slot is INVALID."""

    async def faultin(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome | None:
        """See `PageFaults.faultin`."""
        if fault.slot is not None:
            await self._scheduler.point(self.vm.slot_memory.read)
            if fault.slot.flags & INVALID:
                fault.slot = None
        return await super().faultin(vcpu, fault)


class MapsIntoObsoleteRoots(PageFaults):
    """Does not ask whether its root is still in use."""

    async def is_stale(self, vcpu: FaultingVcpu, fault: Fault) -> bool:
        """See `PageFaults.is_stale`."""
        await self._scheduler.point(self.mmu.invalidate_location.read)
        if fault.hva is None:
            return False
        return self.mmu.must_retry(fault.seq, fault.hva)


class ReclaimsAfterItHasAsked(PageFaults):
    """Makes room for page tables when the root has been found valid."""

    async def map_locked(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome:
        """See `PageFaults.map_locked`."""
        if await self.is_stale(vcpu, fault):
            return Outcome.RETRY
        if vcpu.nested:
            await self.mmu.make_pages_available()
        return await self.map(vcpu, fault)


class ExtendsTheSign(ShadowMmu):
    """Keeps the sequence number in so few bits that the highest is taken for a sign."""

    async def snapshot_seq(self) -> int:
        """See `ShadowMmu.snapshot_seq`."""
        return -(await super().snapshot_seq() & 1)


class SnapshotsTooLate(PageFaults):
    """Notes the invalidation sequence when the page has been resolved."""

    async def faultin(self, vcpu: FaultingVcpu, fault: Fault) -> Outcome | None:
        """See `PageFaults.faultin`."""
        outcome = await super().faultin(vcpu, fault)
        fault.seq = await self.mmu.snapshot_seq()
        return outcome


class MapsForInvalidSlots(MmuNotifier):
    """Maps the new page of a slot that is INVALID in the place of the old one."""

    async def change_spte_gfn(self, slot: MemorySlot, first: Gfn, behind: Gfn) -> bool:
        """See `MmuNotifier.change_spte_gfn`."""
        if slot.flags & INVALID:
            for root in [each for each in self.mmu.roots if each.as_id == slot.as_id]:
                page = await self.host.page(slot.hva_of(first))
                spte = Spte(slot.serial, page, writable=False)
                await self.mmu.install(root, first, slot, spte)
        return await super().change_spte_gfn(slot, first, behind)


class SharesTheLock(PageFaults):
    """Reclaims page tables under an ``mmu_lock`` that others hold, too."""

    async def lock(self, vcpu: FaultingVcpu) -> None:
        """See `PageFaults.lock`."""
        await self.mmu.lock.acquire_read()


class ComputesTheGfnAnew(ShadowMmu):
    """Takes an entry out of the reverse map of another page of the slot."""

    async def rmap_remove(self, root: Root, gfn: Gfn) -> None:
        """See `ShadowMmu.rmap_remove`."""
        await super().rmap_remove(root, Gfn(gfn ^ 1))


MUTANTS = (
    Mutant(
        id="1",
        title="a fault takes an INVALID slot for none",
        step=Step.FAULT_RESOLVES,
        why=(
            "Translations of an INVALID slot may be there until they are flushed, and"
            " the change may fail. Who takes it for no slot sends the guest to a device"
            " where it has memory."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: x86/mmu: Retry page faults that hit an invalid memslot",
            commit="e0c378684b65",
            release="5.10.37",
        ),
        scenario="prefault-and-failed-move",
        checker="guest-sees",
        parts=Parts(faults=TakesInvalidForNoSlot),
        preemptions=0,
    ),
    Mutant(
        id="2",
        title="a fault does not ask whether its root is obsolete",
        step=Step.FAULT_CHECKS,
        why=(
            "The page was resolved before an update gave all page tables up, and is"
            " mapped in one of them afterwards. Nobody looks there again, so the"
            " translation outlives its slot."
        ),
        provenance=Provenance(
            kind="fix",
            subject=(
                "KVM: x86/mmu: Retry page fault if root is invalidated by memslot"
                " update"
            ),
            commit="a955cad84cda",
            release="5.16/5.17",
        ),
        scenario="fault-beside-a-zap",
        checker="no-stale-translation",
        parts=Parts(faults=MapsIntoObsoleteRoots),
        preemptions=1,
    ),
    Mutant(
        id="3",
        title="a fault makes room when it has found its root valid",
        step=Step.FAULT_CHECKS,
        why=(
            "Making room may zap the very root that the vCPU runs on. What is asked"
            " before says nothing of the root into which the page is mapped."
        ),
        provenance=Provenance(
            kind="fix",
            subject=(
                "KVM: x86: Check for invalid/obsolete root *after* making MMU pages"
                " available"
            ),
            release="6.1.183, 6.18.42",
            cve="CVE-2026-64561",
        ),
        scenario="reclaim-under-a-fault",
        checker="no-stale-translation",
        parts=Parts(faults=ReclaimsAfterItHasAsked),
        preemptions=0,
    ),
    Mutant(
        id="23",
        title="the noted sequence is narrowed and its sign extended",
        step=Step.FAULT_SNAPSHOTS,
        why=(
            "After enough invalidations the noted number never equals the real one"
            " again. Every fault is retried for ever, and whoever waits for a retrying"
            " vCPU waits as long."
        ),
        provenance=Provenance(
            kind="fix",
            subject=(
                "KVM: x86/mmu: Fix an sign-extension bug with mmu_seq that hangs vCPUs"
            ),
            release="6.1.50",
        ),
        scenario="prefault-after-an-unmap",
        checker="starvation",
        parts=Parts(mmu=ExtendsTheSign),
        preemptions=None,
        seeds=range(10),
    ),
    Mutant(
        id="42",
        title="the sequence is noted when the page has been resolved",
        step=Step.FAULT_SNAPSHOTS,
        why=(
            "An invalidation may end between the two, and then the number says that"
            " nothing has happened. The page that the host has taken away is mapped."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Retry fault if vma_lookup() results become invalid",
            release="6.1.27",
        ),
        scenario="prefault-and-unmap",
        checker="no-use-after-free",
        parts=Parts(faults=SnapshotsTooLate),
        preemptions=1,
    ),
    Mutant(
        id="43",
        title="the notifier maps a new page for an INVALID slot",
        step=Step.FAULT_RESOLVES,
        why=(
            "An INVALID slot is on its way out, and will not be flushed once more."
            " What is mapped for it stays when it has gone."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Avoid illegal stage2 mapping on invalid memory slot",
            release="6.1.36",
        ),
        scenario="replace-and-delete",
        checker="no-stale-translation",
        parts=Parts(notifier=MapsForInvalidSlots),
        preemptions=0,
    ),
    Mutant(
        id="44",
        title="page tables are reclaimed under a lock that is only shared",
        step=Step.FAULT_MAPS,
        why=(
            "Two vCPUs that make room at the same time zap the same root."
            " Each takes out of the lists what the other has taken out already."
        ),
        provenance=Provenance(
            kind="fix",
            subject="race in direct_page_fault",
            cve="CVE-2022-45869",
        ),
        scenario="two-nested-faults",
        checker="arch-data-kept",
        parts=Parts(faults=SharesTheLock),
        preemptions=2,
    ),
    Mutant(
        id="48",
        title="a reverse map is left under a gfn that is computed anew",
        step=Step.FAULT_MAPS,
        why=(
            "An entry is recorded under one gfn, and its removal looks under another."
            " What is left there outlives the page tables, and the next walk of the"
            " slot goes through it."
        ),
        provenance=Provenance(
            kind="fix",
            subject=("Fix shadow paging use-after-free due to unexpected GFN / role"),
            cve="CVE-2026-46113, CVE-2026-53359",
        ),
        scenario="reclaim-under-a-fault",
        checker="arch-data-kept",
        parts=Parts(mmu=ComputesTheGfnAnew),
        preemptions=0,
    ),
)
