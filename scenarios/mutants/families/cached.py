"""Cached translations, and what KVM writes to guest memory itself."""

from __future__ import annotations

from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.units import Gfn
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step
from vcpus.cmma import Cmma
from vcpus.guest_memory import GuestMemory
from vcpus.host_memory import HostPage
from vcpus.pfn_cache import PfnCache


class KeepsValid(PfnCache):
    """Drops the lock before it takes back that the old page may be touched."""

    async def clear_valid(self) -> None:
        """Nobody looks now, it thinks."""


class AsksWhatIsInProgress(PfnCache):
    """Looks at the count that goes up only after the notifier looked at caches."""

    async def is_invalidation_active(self) -> bool:
        """See `RefreshedPage.is_invalidation_active`."""
        await self._scheduler.point(self.mmu.invalidate_location.read)
        return self.mmu.invalidate_in_progress > 0


class AsksBeforeItResolves(PfnCache):
    """Asks whether an invalidation was missed when there is nothing to miss it."""

    missed = False

    async def resolve(self) -> HostPage:
        """See `RefreshedPage.resolve`."""
        self.missed = await super().must_retry(await self.snapshot_seq())
        return await super().resolve()

    async def must_retry(self, seq: int) -> bool:
        """See `RefreshedPage.must_retry`."""
        return self.missed


class TakesItForTheSlot(Cmma):
    """Believes that the slot contains the page."""

    def first_page(
        self, slots: Memslots, near: MemorySlot, gfn: Gfn
    ) -> tuple[MemorySlot, Gfn]:
        """See `Cmma.first_page`."""
        return near, gfn


class ClearsAllAtOnce(GuestMemory):
    """Writes all zeros that are left to each page."""

    def zeros_for(self, segment: int, length: int) -> int:
        """See `GuestMemory.zeros_for`."""
        return length


MUTANTS = (
    Mutant(
        id="41a",
        title="a cache stays valid while its page is looked up anew",
        step=Step.READ_CACHED,
        why=(
            "The address is the new one already and the page still the old one, and"
            " the lock is dropped to look it up. Another thread takes the old page for"
            " that of the new address."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: Fix multiple races in gfn=>pfn cache refresh",
            commit="58cd407ca4c6",
        ),
        scenario="pfn-cache-of-two-threads",
        checker="no-stale-translation",
        parts=Parts(pfn_cache=KeepsValid),
        preemptions=1,
        unseen_in=("pfn-cache-and-unmap",),
    ),
    Mutant(
        id="41b",
        title="a refresh asks for invalidations that page tables know of",
        step=Step.READ_CACHED,
        why=(
            "The notifier looks through the caches first and counts the invalidation"
            " in the page tables afterwards. A page that is looked up in between is"
            " kept, and nobody takes it away any more."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: Fix multiple races in gfn=>pfn cache refresh",
            commit="58cd407ca4c6",
        ),
        scenario="pfn-cache-and-unmap",
        checker="no-stale-translation",
        parts=Parts(pfn_cache=AsksWhatIsInProgress),
        preemptions=1,
    ),
    Mutant(
        id="41c",
        title="a refresh asks for invalidations before it resolves the page",
        step=Step.READ_CACHED,
        why=(
            "The notifier may pass after the question and before the page is kept. It"
            " finds nothing in the cache that it could take away."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: Fix multiple races in gfn=>pfn cache refresh",
            commit="58cd407ca4c6",
        ),
        scenario="pfn-cache-and-unmap",
        checker="no-use-after-free",
        parts=Parts(pfn_cache=AsksBeforeItResolves),
        preemptions=1,
    ),
    Mutant(
        id="60",
        title="a slot that borders a hole is taken for the slot of a page in it",
        step=Step.READ_LOOKUP,
        why=(
            "An approximate lookup returns a slot near by if none contains the page."
            " The page then has no place in that slot, and what is kept for each page"
            " is read outside of its array."
        ),
        provenance=Provenance(
            kind="fix",
            subject="fix KVM_S390_GET_CMMA_BITS for GFNs in memslot holes",
            release="6.1.39",
        ),
        scenario="read-from-a-hole",
        checker="arch-data-kept",
        parts=Parts(cmma=TakesItForTheSlot),
        preemptions=0,
    ),
    Mutant(
        id="61",
        title="clearing across pages writes all that is left to each page",
        step=Step.READ_WRITES,
        why=(
            "What follows the page in the host's memory may belong to another slot, or"
            " not to the guest at all. It is overwritten with zeros."
        ),
        provenance=Provenance(
            kind="fix",
            subject=(
                'KVM: Write the per-page "segment" when clearing (part of) a guest page'
            ),
            commit="ec495f2ab122",
            release="6.12",
        ),
        scenario="clear-two-slots",
        checker="guest-sees",
        parts=Parts(memory=ClearsAllAtOnce),
        preemptions=1,
    ),
)
