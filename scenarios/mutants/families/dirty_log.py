"""Dirty logging: who marks, who takes marks away, and when it is switched."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from memslots.dirty_bitmap import ALL_ONES, BITS_PER_LONG, DirtyBitmap, Words
from memslots.dirty_log import DirtyLog
from memslots.dirty_ring import ResetBatch
from memslots.dirty_tracking import Writer, refuse
from memslots.region import Change
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot, SlotId
from memslots.units import Gfn
from memslots.update import Update
from memslots.vm import Vm
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step
from vcpus.arch_x86 import ArchX86
from vcpus.guest_memory import GuestMemory
from vcpus.lookup import Looker

# Who marks.


class TestsTheFlagFirst(DirtyLog):
    """Tests the flag of the slot that was found, and marks in the one found then."""

    async def mark_page_dirty_in_slot(
        self, vcpu: Writer | None, slot: MemorySlot, gfn: Gfn
    ) -> None:
        """See `DirtyTracking.mark_page_dirty_in_slot`."""
        await self._scheduler.point(self.vm.slot_memory.read)
        if slot.flags & LOG_DIRTY_PAGES:
            now = await self.id_to_memslot(SlotId(slot.as_id, slot.id))
            if now is not None:
                await self.set_dirty_bit(now, gfn - now.base_gfn)


class WritesUnseenForTheGuest(GuestMemory):
    """Does not mark what it writes because a guest could not."""

    async def mark_page_dirty_in_slot(
        self, vcpu: Looker | None, slot: MemorySlot, gfn: Gfn
    ) -> None:
        """See `GuestMemory.mark_page_dirty_in_slot`."""
        if vcpu is None:
            await super().mark_page_dirty_in_slot(vcpu, slot, gfn)


# Who takes marks away.


class ClearsBehindTheSlot(DirtyLog):
    """Lets a range go on behind its slot."""

    def check_range(self, slot: MemorySlot, first_page: int, num_pages: int) -> None:
        """See `DirtyLog.check_range`."""


class RefusesTheLastPages(DirtyLog):
    """Takes whole words only, even where the slot ends."""

    def check_range(self, slot: MemorySlot, first_page: int, num_pages: int) -> None:
        """See `DirtyLog.check_range`."""
        if num_pages % BITS_PER_LONG:
            refuse(f"num_pages must be a multiple of 64, got {num_pages}")
        super().check_range(slot, first_page, num_pages)


class CopiesBeforeItTakes(DirtyLog):
    """Returns the marks that it saw before it took them."""

    async def get_dirty_log_protect(self, call: int, number: int) -> Words:
        """See `DirtyLog.get_dirty_log_protect`."""
        _, bitmap = await self.logged_slot(self.check_slot_number(number))
        words = await self.read_bitmap(bitmap)
        await super().get_dirty_log_protect(call, number)
        return words


class ProtectsBeforeItTakes(DirtyLog):
    """Write-protects pages, and only then takes their marks."""

    async def fetch_and_clear(
        self,
        call: int,
        slot: MemorySlot,
        bitmap: DirtyBitmap,
        index: int,
        mask: int = ALL_ONES,
    ) -> int:
        """See `DirtyLog.fetch_and_clear`."""
        await super().write_protect(slot, index, bitmap.word(index) & mask)
        return await super().fetch_and_clear(call, slot, bitmap, index, mask)

    async def write_protect(self, slot: MemorySlot, index: int, mask: int) -> None:
        """That has been done."""


class WrapsOffsets(DirtyLog):
    """Adds in 64 bits where the offset may be any number of them."""

    def is_inside(self, slot: MemorySlot, batch: ResetBatch) -> bool:
        """See `RingReset.is_inside`."""
        last = (batch.offset + batch.mask.bit_length() - 1) % (1 << 64)
        return last < slot.npages


# Switching.


class FlushesIfSomethingChanged(ArchX86):
    """Flushes TLBs when logging is switched on only if it had to protect a page."""

    async def flush_protected(self, *, changed: bool) -> None:
        """See `ArchX86.flush_protected`."""
        if changed:
            await super().flush_protected(changed=changed)


class FreesTheBitmapAtOnce(Update):
    """Frees the bitmap of a slot that is not logged any more, and then publishes."""

    async def update_flags_memslot(self, old: MemorySlot, new: MemorySlot) -> None:
        """See `Update.update_flags_memslot`."""
        bitmap = old.dirty_bitmap
        if bitmap is not None and new.dirty_bitmap is None:
            old.dirty_bitmap = None
            await self.free_dirty_bitmap(bitmap, old)
        await super().update_flags_memslot(old, new)


class KeepsTheBitmap(Update):
    """Lets a slot that is not logged any more have the bitmap of the old one."""

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """See `SlotResources.prepare_memory_region`."""
        await super().prepare_memory_region(old, new, change)
        if old is not None and new is not None:
            new.dirty_bitmap = new.dirty_bitmap or old.dirty_bitmap
            self.vm.tell_held(new)


def logging_by(dirty_log: Callable[[Vm], DirtyLog]) -> Parts:
    """A machine whose dirty log is of another class."""
    return Parts(vm=partial(Vm, dirty_log=dirty_log))


MUTANTS = (
    Mutant(
        id="51",
        title="switching logging on flushes TLBs only if it changed a page table",
        step=Step.LOG_SWITCHES,
        why=(
            "A page whose age was asked for cannot be written through page tables any"
            " more, but still through a TLB. Nothing has to be changed when logging is"
            " switched on, and the guest goes on writing unseen."
        ),
        provenance=Provenance(
            kind="fix",
            subject="kvm: x86: mmu: Always flush TLBs when enabling dirty logging",
            release="5.19.10",
        ),
        scenario="log-on-after-aging",
        checker="no-dirty-page-lost",
        parts=Parts(arch=FlushesIfSomethingChanged),
        preemptions=1,
    ),
    Mutant(
        id="55a",
        title="a range to be cleared may go on behind its slot",
        step=Step.LOG_TAKES,
        why=(
            "The range comes from user space, and the bitmap ends with the slot."
            " Words behind it belong to something else."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: validate userspace input in kvm_clear_dirty_log_protect()",
            commit="98938aa8edd6",
        ),
        scenario="clear-to-the-end",
        checker="results-match",
        parts=logging_by(ClearsBehindTheSlot),
        preemptions=0,
    ),
    Mutant(
        id="55b",
        title="the last pages of a slot cannot be cleared",
        step=Step.LOG_TAKES,
        why=(
            "A slot may end inside a word of its bitmap, and then so does the range"
            " that user space gives. If whole words are asked for, the last pages are"
            " marked for ever."
        ),
        provenance=Provenance(
            kind="rule",
            subject="a range may end inside a word where the slot ends there, too",
        ),
        scenario="clear-to-the-end",
        checker="results-match",
        parts=logging_by(RefusesTheLastPages),
        preemptions=0,
    ),
    Mutant(
        id="56",
        title="the last page of a reset is worked out in 64 bits, and wraps",
        step=Step.LOG_TAKES,
        why=(
            "The ring is memory of user space, and its offsets are whatever that has"
            " written. A batch that begins just below 2^64 seems to end inside the"
            " slot, and pages before it are looked up in its reverse maps."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Reject wrapped offset in kvm_reset_dirty_gfn()",
            commit="577a8d3bae05",
            release="6.1.175",
            cve="CVE-2026-52969",
        ),
        scenario="forged-ring-entries",
        checker="arch-data-kept",
        parts=logging_by(WrapsOffsets),
        preemptions=0,
    ),
    Mutant(
        id="57",
        title="the flag is tested in one set, the bitmap taken from the next",
        step=Step.LOG_MARKS,
        why=(
            "Logging may be switched off in between, and then there is no bitmap any"
            " more. The flag says something of the bitmap of the same slot object only."
        ),
        provenance=Provenance(
            kind="fix",
            subject="check dirty_bitmap before using it",
            release="5.2.16",
        ),
        scenario="log-off-during-a-write",
        checker="arch-data-kept",
        parts=logging_by(TestsTheFlagFirst),
        preemptions=1,
        unseen_in=("get-during-a-write",),
    ),
    Mutant(
        id="58",
        title="a write that KVM makes for the guest is not marked",
        step=Step.LOG_MARKS,
        why=(
            "The page has changed although no translation let the guest write to it."
            " A migration would leave the old content behind."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Mark target gfn of emulated atomic instruction as dirty",
            release="6.1 stable",
        ),
        scenario="emulated-write-and-get",
        checker="no-dirty-page-lost",
        parts=Parts(memory=WritesUnseenForTheGuest),
        preemptions=0,
    ),
    Mutant(
        id="59a",
        title="the log is copied before its marks are taken",
        step=Step.LOG_TAKES,
        why=(
            "A mark that is set in between is taken away and in no copy. Nobody ever"
            " hears of that page."
        ),
        provenance=Provenance(
            kind="rule", subject="what is returned are the marks that were taken away"
        ),
        scenario="get-during-a-write",
        checker="no-dirty-page-lost",
        parts=logging_by(CopiesBeforeItTakes),
        preemptions=1,
    ),
    Mutant(
        id="59b",
        title="pages are write-protected before their marks are taken",
        step=Step.LOG_TAKES,
        why=(
            "A guest that writes in between marks the page and makes it writable"
            " again. Then its mark is taken, and what it writes from then on is not"
            " marked."
        ),
        provenance=Provenance(
            kind="rule", subject="a mark is taken before its page is write-protected"
        ),
        scenario="guest-writes-and-get",
        checker="no-dirty-page-lost",
        parts=logging_by(ProtectsBeforeItTakes),
        preemptions=3,
        unseen_in=("get-during-a-write",),
    ),
    Mutant(
        id="59c",
        title="switching logging off frees the bitmap before readers have left",
        step=Step.LOG_SWITCHES,
        why=(
            "Whoever has found the slot with its bitmap may still be about to mark a"
            " page. Only the grace period tells that nobody is."
        ),
        provenance=Provenance(
            kind="rule", subject="the bitmap of the old slot goes after the readers"
        ),
        scenario="log-off-during-a-write",
        checker="no-use-after-free",
        parts=Parts(update=FreesTheBitmapAtOnce),
        preemptions=1,
    ),
    Mutant(
        id="59d",
        title="switching logging off leaves the slot its bitmap",
        step=Step.LOG_SWITCHES,
        why=(
            "Nobody marks pages of the slot any more, but whoever fetches the log still"
            " gets an answer. The pages that are missing there look clean."
        ),
        provenance=Provenance(
            kind="rule", subject="a slot has a dirty bitmap exactly if it is logged"
        ),
        scenario="log-off-during-a-write",
        checker="arch-data-kept",
        parts=Parts(update=KeepsTheBitmap),
        preemptions=0,
    ),
)
