"""Before a slot leaves or moves: INVALID, flush, arch data carried over, revert."""

from __future__ import annotations

from memslots.region import Change
from memslots.slot import MemorySlot
from memslots.update import Update
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step
from vcpus.arch_x86 import ArchX86


class MovesArraysAlong(ArchX86):
    """Lets a slot that moves keep the arrays that were made for its old place."""

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """See `ArchX86.prepare_memory_region`."""
        if change is Change.MOVE and old is not None and old.arch is not None:
            change = Change.FLAGS_ONLY
        await super().prepare_memory_region(old, new, change)


class MovesAtOnce(Update):
    """Moves a slot as if only its flags changed."""

    async def set_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """See `Update.set_memslot`."""
        if change is not Change.MOVE or old is None or new is None:
            await super().set_memslot(old, new, change)
            return
        await self.begin_change(old, new)
        await self.prepare_memory_region(old, new, change)
        await self.update_flags_memslot(old, new)
        await self.commit_memory_region(old, new, change)


class RevertsNothing(Update):
    """Gives up when preparing fails, and leaves the INVALID copy where it is."""

    async def revert(self, old: MemorySlot | None, invalid: MemorySlot | None) -> None:
        """See `Update.revert`."""
        await self.vm.slots_arch_lock.release()


class FlushesTheInvalidCopy(Update):
    """Names the INVALID copy when it asks for the flush, not the slot."""

    async def flush_invalidated(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """See `Update.flush_invalidated`."""
        await self.vm.arch.flush_shadow_memslot(invalid)


class DeletesLikeFlags(Update):
    """Deletes a slot in the branch of those of which only the flags change."""

    async def delete_memslot(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """See `Update.delete_memslot`."""
        await self.replace_memslot(old, None)
        await self.activate_memslot(old, None)


class FlushesFirst(Update):
    """Flushes a slot before its INVALID copy is published."""

    async def invalidate_memslot(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """See `Update.invalidate_memslot`."""
        await super().flush_invalidated(old, invalid)
        await super().invalidate_memslot(old, invalid)

    async def flush_invalidated(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """That has been done."""


class FlushesBeforeReadersLeave(Update):
    """Flushes a slot between the publishing of its INVALID copy and the wait."""

    leaving: tuple[MemorySlot, MemorySlot] | None = None

    async def invalidate_memslot(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """See `Update.invalidate_memslot`."""
        self.leaving = old, invalid
        await super().invalidate_memslot(old, invalid)

    async def wait_for_readers(self) -> None:
        """See `Update.wait_for_readers`."""
        if self.leaving is not None:
            await super().flush_invalidated(*self.leaving)
            self.leaving = None
        await super().wait_for_readers()

    async def flush_invalidated(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """That has been done."""


MUTANTS = (
    Mutant(
        id="26",
        title="a slot that moves keeps the arrays of its old place",
        step=Step.CALL_ALLOCATES,
        why=(
            "Which large pages a slot can have depends on where it begins, so its"
            " arrays fit one place only. Those of the old place belong to the old slot,"
            " which takes them with it when it is freed."
        ),
        provenance=Provenance(
            kind="fix",
            subject=(
                "KVM: x86: Allocate new rmap and large page tracking when moving"
                " memslot"
            ),
            commit="edd4fa37baa6",
            release="5.7",
        ),
        scenario="lookup-and-move",
        checker="arch-data-kept",
        parts=Parts(arch=MovesArraysAlong),
        preemptions=0,
    ),
    Mutant(
        id="27a",
        title="a slot moves without being INVALID first",
        step=Step.INVALID_IS_PUBLISHED,
        why=(
            "Translations of the old place are still there when the slot is in its new"
            " one, and nobody flushes them. While it is INVALID no new ones can be"
            " made, so that a flush is enough."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: perform an invalid memslot step for gpa base change",
        ),
        scenario="lookup-and-move",
        checker="invalid-is-seen",
        parts=Parts(update=MovesAtOnce),
        preemptions=0,
    ),
    Mutant(
        id="27b",
        title="a move that fails leaves the INVALID copy in the active set",
        step=Step.INVALID_REVERTS,
        why=(
            "Whoever looks the slot up is to wait until the change is over, and that"
            " change will never be. A call that is refused must leave the slot as it"
            " was."
        ),
        provenance=Provenance(
            kind="rule", subject="a change that fails goes back to the old slot"
        ),
        scenario="shadow-root-and-failed-move",
        checker="sets-converge",
        parts=Parts(update=RevertsNothing),
        preemptions=0,
    ),
    Mutant(
        id="35",
        title="the INVALID copy is flushed in place of the slot",
        step=Step.INVALID_FLUSHES,
        why=(
            "Translations were made from the slot, and the copy is another object of"
            " which nothing was ever made. Who looks for what belongs to the copy finds"
            " nothing to flush."
        ),
        provenance=Provenance(
            kind="review",
            subject="the architecture should be given the slot, not its INVALID copy",
        ),
        scenario="delete-unseen",
        checker="invalid-is-seen",
        parts=Parts(update=FlushesTheInvalidCopy),
        preemptions=0,
    ),
    Mutant(
        id="36",
        title="a deletion falls through to the branch for changes of flags",
        step=Step.SWAP_PROPAGATES,
        why=(
            "The set from before holds the INVALID copy by then, and only where flags"
            " change the old slot itself. Each kind of change has a branch of its own"
            " because the sets differ in another way."
        ),
        provenance=Provenance(
            kind="review",
            subject="a draft sent some kinds of change into the wrong branch",
        ),
        scenario="delete-unseen",
        checker="sets-converge",
        parts=Parts(update=DeletesLikeFlags),
        preemptions=0,
    ),
    Mutant(
        id="47a",
        title="the slot is flushed before its INVALID copy is published",
        step=Step.INVALID_FLUSHES,
        why=(
            "As long as readers find the slot valid they make new translations from it."
            " A flush is of use only when nobody can make what it has removed again."
        ),
        provenance=Provenance(
            kind="rule", subject="the slot is flushed when it can only be found INVALID"
        ),
        scenario="delete-unseen",
        checker="invalid-is-seen",
        parts=Parts(update=FlushesFirst),
        preemptions=0,
    ),
    Mutant(
        id="47b",
        title="the slot is flushed before the readers from before have gone",
        step=Step.INVALID_FLUSHES,
        why=(
            "A reader who found the slot before its INVALID copy was published may"
            " still make a translation from it. When the grace period is over there is"
            " no such reader."
        ),
        provenance=Provenance(
            kind="rule", subject="the slot is flushed when the grace period is over"
        ),
        scenario="lookup-and-delete",
        checker="invalid-is-seen",
        parts=Parts(update=FlushesBeforeReadersLeave),
        preemptions=0,
    ),
)
