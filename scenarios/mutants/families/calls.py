"""One call: its checks, what it allocates, and what it counts."""

from __future__ import annotations

from typing import Any

import attrs

from memslots.profile import Profile
from memslots.region import Change, Region
from memslots.slot import GUEST_MEMFD, READONLY, MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SIZE, Gpa, Hva
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.scheduler import Scheduler
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step

# Bitmaps of calls that fail.


class LeaksTheBitmap(Update):
    """Frees the new bitmap of a call that fails only if there was a slot before."""

    async def free_new_bitmap(self, old: MemorySlot | None, new: MemorySlot) -> None:
        """See `SlotResources.free_new_bitmap`."""
        if old is not None:
            await super().free_new_bitmap(old, new)


class FreesAnyBitmap(Update):
    """Frees the bitmap of a call that fails, whoever else has it."""

    async def free_new_bitmap(self, old: MemorySlot | None, new: MemorySlot) -> None:
        """See `SlotResources.free_new_bitmap`."""
        await super().free_new_bitmap(None, new)


# Checks.


class AcceptsAnyUserspaceAddr(Update):
    """Does not look where in the host's address space a slot is."""

    def check_request(self, region: Region) -> None:
        """See `memslots.region.check_request`."""
        super().check_request(attrs.evolve(region, userspace_addr=Hva(0)))


class CutsSizes(Update):
    """Counts the pages of a request in an unsigned long of 32 bits."""

    async def set_memory_region_locked(self, region: Region) -> Change | None:
        """See `Update.set_memory_region_locked`."""
        size = region.memory_size % (PAGE_SIZE << 32)
        return await super().set_memory_region_locked(
            attrs.evolve(region, memory_size=size)
        )


class IgnoresTags(Update):
    """Checks a host address without the tag in its top byte."""

    def check_request(self, region: Region) -> None:
        """See `memslots.region.check_request`."""
        untagged = Hva(region.userspace_addr & ~(0xFF << 56))
        super().check_request(attrs.evolve(region, userspace_addr=untagged))


class DeletesNothing(Update):
    """Takes the deletion of a slot that is not there for done."""

    def classify(self, region: Region, old: MemorySlot | None) -> Change | None:
        """See `memslots.region.classify`."""
        if old is None and not region.memory_size:
            return None
        return super().classify(region, old)


class RoundsGuestAddresses(Update):
    """Accepts a guest address inside a page."""

    def check_request(self, region: Region) -> None:
        """See `memslots.region.check_request`."""
        start = Gpa(region.guest_phys_addr // PAGE_SIZE * PAGE_SIZE)
        super().check_request(attrs.evolve(region, guest_phys_addr=start))


class GivesInternalSlotsAway(Vm):
    """Lets user space have the ids behind its own."""

    def __init__(self, scheduler: Scheduler, *, profile: Profile, **more: Any) -> None:
        wide = attrs.evolve(profile, user_mem_slots=profile.mem_slots_num)
        super().__init__(scheduler, profile=wide, **more)


class AllowsOverlap(Update):
    """Puts a slot where another one is."""

    def check_overlap(self, active: Memslots, region: Region) -> None:
        """Whatever is there."""


class TogglesReadonly(Update):
    """Lets a slot become read-only as it lets one be logged."""

    toggled = READONLY

    def classify(self, region: Region, old: MemorySlot | None) -> Change | None:
        """See `memslots.region.classify`."""
        if old is None:
            return super().classify(region, None)
        toggled = old.copy(old.serial)
        toggled.flags ^= (region.flags ^ old.flags) & self.toggled
        change = super().classify(region, toggled)
        if change is None and region.flags != old.flags:
            return Change.FLAGS_ONLY
        return change


class DropsTheGuestMemfd(TogglesReadonly):
    """Lets a slot lose its guest_memfd as it lets it lose its log."""

    toggled = GUEST_MEMFD


# The page count.


class CountsIn32Bits(Update):
    """Has a page count of 32 bits."""

    def count_pages(self, npages: int) -> None:
        """See `SlotResources.count_pages`."""
        super().count_pages(npages)
        self.vm.nr_memslot_pages %= 1 << 32


class NeverCountsDown(Update):
    """Goes on counting the pages of slots that are gone."""

    def count_pages(self, npages: int) -> None:
        """See `SlotResources.count_pages`."""
        if npages > 0:
            super().count_pages(npages)


def _unchecked(
    *, id_: str, title: str, why: str, provenance: Provenance, parts: Parts
) -> Mutant:
    """A mutant that leaves a check of `refused-requests` out."""
    return Mutant(
        id=id_,
        title=title,
        step=Step.CALL_CHECKS,
        why=why,
        provenance=provenance,
        scenario="refused-requests",
        checker="results-match",
        parts=parts,
        preemptions=0,
    )


MUTANTS = (
    Mutant(
        id="25a",
        title="the dirty bitmap of a slot that cannot be made is not freed",
        step=Step.CALL_FREES,
        why=(
            "Preparing fails after the bitmap was allocated, and the new slot is"
            " freed alone. Nothing points to the bitmap any more, so each failure"
            " leaks one."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: Free new dirty bitmap if creating a new memslot fails",
            release="5.17.10",
        ),
        scenario="failed-changes",
        checker="freed-once",
        parts=Parts(update=LeaksTheBitmap),
        preemptions=0,
    ),
    Mutant(
        id="25b",
        title="a call that fails frees the bitmap that the old slot still has",
        step=Step.CALL_FREES,
        why=(
            "A move takes the old slot's bitmap along, and the old slot comes back"
            " when it fails. Only a bitmap that this call has allocated is its to"
            " free."
        ),
        provenance=Provenance(
            kind="rule",
            subject="a call that fails frees what it has allocated, and only that",
        ),
        scenario="failed-changes",
        checker="freed-once",
        parts=Parts(update=FreesAnyBitmap),
        preemptions=0,
    ),
    Mutant(
        id="52",
        title="a slot may lose its guest_memfd while it is there",
        step=Step.CALL_CHECKS,
        why=(
            "The file keeps a binding to the slot, which nobody gives back when the"
            " flag is gone. In the kernel the file then uses a slot that was freed."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: Disallow toggling KVM_MEM_GUEST_MEMFD on an existing memslot",
            commit="9935df5333aa",
            release="6.19-rc",
        ),
        scenario="guest-memfd-stays",
        checker="results-match",
        parts=Parts(update=DropsTheGuestMemfd),
        preemptions=0,
    ),
    _unchecked(
        id_="53a",
        title="a slot may be anywhere in the host's address space",
        why=(
            "KVM accesses the memory of slots on behalf of the guest without asking"
            " again. With an address of the kernel a guest could read and write the"
            " kernel's own memory."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: Validate userspace_addr of memslot when registered",
            commit="fa3d315a4ce2",
            cve="CVE-2013-1943",
        ),
        parts=Parts(update=AcceptsAnyUserspaceAddr),
    ),
    _unchecked(
        id_="53b",
        title="pages of a request are counted in an unsigned long of 32 bits",
        why=(
            "What does not fit is cut off, so that a huge request looks like a small"
            " one. The slot that is made is not the one that was asked for."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Disallow user memslot with size that exceeds unsigned long",
            commit="6b285a558750",
            release="5.15.7",
        ),
        parts=Parts(update=CutsSizes),
    ),
    _unchecked(
        id_="53c",
        title="a host address may carry a tag in its top byte",
        why=(
            "The host's memory management tells of its changes without tags. A slot"
            " with a tagged address would not be found, and keep pages that are gone."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Forbid the use of tagged userspace addresses",
            release="5.10.13",
        ),
        parts=Parts(update=IgnoresTags),
    ),
    _unchecked(
        id_="53d",
        title="a slot that is not there can be deleted",
        why=(
            "A slot that does not exist can only be made. A VMM that deletes the"
            " wrong one must hear of it."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Restrict non-existing slot state transitions",
            commit="f0736cf0550b",
        ),
        parts=Parts(update=DeletesNothing),
    ),
    _unchecked(
        id_="53e",
        title="a slot may begin inside a page of the guest",
        why=(
            "Slots are looked up by page. The guest would find the memory somewhere"
            " else than the VMM has asked for."
        ),
        provenance=Provenance(
            kind="rule", subject="guest_phys_addr must be the start of a page"
        ),
        parts=Parts(update=RoundsGuestAddresses),
    ),
    _unchecked(
        id_="53f",
        title="user space may name slots that the kernel keeps for itself",
        why=(
            "The ids behind those of user space belong to the kernel, which makes and"
            " deletes its slots there. A VMM could put its own memory in their place."
        ),
        provenance=Provenance(
            kind="rule", subject="the last slot ids are the kernel's own"
        ),
        parts=Parts(vm=GivesInternalSlotsAway),
    ),
    _unchecked(
        id_="53g",
        title="a slot may lie where another one is",
        why=(
            "A page of the guest must have one slot at most. With two, it depends on"
            " the shape of the tree which one is found."
        ),
        provenance=Provenance(
            kind="rule", subject="slots of an address space never overlap"
        ),
        parts=Parts(update=AllowsOverlap),
    ),
    _unchecked(
        id_="53h",
        title="a slot may become read-only while it is there",
        why=(
            "Only when logging is switched on are translations protected against"
            " writing. The guest would go on writing to a slot that is read-only."
        ),
        provenance=Provenance(
            kind="rule", subject="whether a slot is read-only never changes"
        ),
        parts=Parts(update=TogglesReadonly),
    ),
    Mutant(
        id="54a",
        title="the pages of all slots are counted in 32 bits",
        step=Step.CALL_COMMITS,
        why=(
            "Three slots of the largest size have more pages than 32 bits can count."
            " The count wraps, and a slot that is to be deleted seems to have more"
            " pages than there are."
        ),
        provenance=Provenance(
            kind="review", subject="the page count must have 64 bits"
        ),
        scenario="pages-are-counted",
        checker="page-count",
        parts=Parts(update=CountsIn32Bits),
        preemptions=0,
    ),
    Mutant(
        id="54b",
        title="the pages of a slot that is deleted stay counted",
        step=Step.CALL_COMMITS,
        why=(
            "The bound on shadow pages follows the count. It would grow with every"
            " slot that comes and goes."
        ),
        provenance=Provenance(
            kind="rule", subject="creating and deleting slots changes the page count"
        ),
        scenario="pages-are-counted",
        checker="page-count",
        parts=Parts(update=NeverCountsDown),
        preemptions=0,
    ),
)
