"""From one set to the other: mark, wait, publish, release, synchronize, settle."""

from __future__ import annotations

from memslots.generation import advanced
from memslots.slot import INVALID, MemorySlot
from memslots.slot_set import Memslots
from memslots.update import Update
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step


class KeepsArchLock(Update):
    """Releases ``slots_arch_lock`` only when the readers have gone."""

    async def wait_for_readers(self) -> None:
        """See `Update.wait_for_readers`."""
        await self.vm.srcu.synchronize_expedited()
        await self.vm.slots_arch_lock.release()


class PublishesOutsideTheLock(Update):
    """Waits until no invalidation is under way, and lets the next one begin."""

    async def publish(self, as_id: int, slots: Memslots) -> None:
        """See `Update.publish`."""
        await self.vm.invalidations.wait_until_none()
        await self.vm.invalidations.lock.release()
        await self.assign_active(as_id, slots)


class CountsOnce(Update):
    """Publishes a set under its own number, without one for the time in between."""

    async def mark_in_progress(self, slots: Memslots, generation: int) -> None:
        """See `Update.mark_in_progress`."""
        await self._scheduler.point(slots.generation_location.write)
        slots.generation = advanced(generation, len(self.vm.sets))


class NumbersTheActiveSet(Update):
    """Gives the set that readers still find the number of the one to come."""

    async def mark_in_progress(self, slots: Memslots, generation: int) -> None:
        """See `Update.mark_in_progress`."""
        active = self.vm.active(slots.as_id).peek()
        await self._scheduler.point(active.generation_location.write)
        active.generation = advanced(generation, len(self.vm.sets))
        await self._scheduler.point(slots.generation_location.write)
        slots.generation = active.generation


class ForgetsTheMark(Update):
    """Publishes a set that still has its number of two updates ago."""

    async def mark_in_progress(self, slots: Memslots, generation: int) -> None:
        """Leave it as it is."""


class WaitsForNobody(Update):
    """Leaves out synchronize."""

    async def wait_for_readers(self) -> None:
        """See `Update.wait_for_readers`."""
        await self.vm.slots_arch_lock.release()


class FreesTheInvalidCopyFirst(Update):
    """Frees the INVALID copy before it takes it out of the set that held it."""

    async def edit(
        self, slots: Memslots, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """See `Update.edit`."""
        if old is not None and old.flags & INVALID:
            await self.vm.free_slot(old)
        await super().edit(slots, old, new)


class PropagatesBeforeItWaits(Update):
    """Edits the set that was active, and waits for its readers afterwards."""

    pending: tuple[MemorySlot | None, MemorySlot | None] | None = None

    async def activate_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """See `Update.activate_memslot`."""
        slot = new or old
        if slot is not None:
            self.pending = old, new
            await self.swap_active_memslots(slot.as_id)

    async def wait_for_readers(self) -> None:
        """See `Update.wait_for_readers`."""
        if self.pending is not None:
            await self.replace_memslot(*self.pending)
            self.pending = None
        await super().wait_for_readers()


MUTANTS = (
    Mutant(
        id="5",
        title="slots_arch_lock is held until the readers have gone",
        step=Step.SWAP_RELEASES,
        why=(
            "A reader may wait for this lock inside its section, to allocate what the"
            " first shadow root needs. A writer who keeps it while he waits for that"
            " reader waits for ever."
        ),
        provenance=Provenance(
            kind="rule",
            subject="slots_arch_lock is dropped before the SRCU wait",
        ),
        scenario="shadow-root-and-delete",
        checker="lock-order",
        parts=Parts(update=KeepsArchLock),
        preemptions=0,
        unseen_in=("lookup-and-delete",),
    ),
    Mutant(
        id="10",
        title="the set is published when mn_invalidate_lock has been released",
        step=Step.SWAP_PUBLISHES,
        why=(
            "An invalidation may begin between the look at their count and the"
            " publishing, and end after it. Its start and its end then look into"
            " different sets, and may count differently."
        ),
        provenance=Provenance(
            kind="rule", subject="the set is published under mn_invalidate_lock"
        ),
        scenario="unmap-beside-a-create",
        checker="notifier-balanced",
        parts=Parts(update=PublishesOutsideTheLock),
        preemptions=2,
    ),
    Mutant(
        id="12",
        title="the set is published under its final number at once",
        step=Step.SWAP_MARKS,
        why=(
            "A vCPU may look into the old set, and then take the number from the new"
            " one. What it caches under that number is wrong, and is believed until the"
            " next update."
        ),
        provenance=Provenance(
            kind="fix",
            subject="kvm: fix potentially corrupt mmio cache",
            commit="ee3d1570b586",
        ),
        scenario="lookup-and-delete",
        checker="generation-unique",
        parts=Parts(update=CountsOnce),
        preemptions=0,
    ),
    Mutant(
        id="13",
        title="the new number is given out before the new set is published",
        step=Step.SWAP_SETTLES,
        why=(
            "Until the pointer changes, readers find the old slots under the number of"
            " the new ones. What they cache then is believed after the update, too."
        ),
        provenance=Provenance(
            kind="rule", subject="the generation advances after the set is published"
        ),
        scenario="lookup-and-delete",
        checker="generation-unique",
        parts=Parts(update=NumbersTheActiveSet),
        preemptions=0,
    ),
    Mutant(
        id="14",
        title="the generation is not marked before the set is published",
        step=Step.SWAP_MARKS,
        why=(
            "The set that becomes active still has the number of two updates ago."
            " Whatever was cached under that number would be believed again."
        ),
        provenance=Provenance(
            kind="rule", subject="the mark is written before the set is published"
        ),
        scenario="lookup-and-delete",
        checker="generation-unique",
        parts=Parts(update=ForgetsTheMark),
        preemptions=0,
    ),
    Mutant(
        id="62a",
        title="nobody waits for the readers of the set from before",
        step=Step.SWAP_SYNCHRONIZES,
        why=(
            "A reader may be in the old set until its section ends, with the old slot"
            " in its hand. The writer edits that set and frees that slot next."
        ),
        provenance=Provenance(
            kind="rule",
            subject="what readers may hold is edited or freed after a grace period",
        ),
        scenario="lookup-and-create",
        checker="retired-set-quiet",
        parts=Parts(update=WaitsForNobody),
        preemptions=1,
    ),
    Mutant(
        id="62b",
        title="the INVALID copy is freed before it has left both sets",
        step=Step.CALL_FREES,
        why=(
            "The copy is linked in the set that was active before, also when readers"
            " find it no more. Taking it out of there would touch memory that may have"
            " another owner by then."
        ),
        provenance=Provenance(
            kind="rule",
            subject="a slot is freed when it is in neither set",
        ),
        scenario="delete-unseen",
        checker="no-use-after-free",
        parts=Parts(update=FreesTheInvalidCopyFirst),
        preemptions=0,
    ),
    Mutant(
        id="63",
        title="the set from before is edited before its readers have gone",
        step=Step.SWAP_SYNCHRONIZES,
        why=(
            "Readers may be walking the trees of the set that was active until now."
            " Whoever relinks its nodes under them makes them lose their way, also to"
            " slots that do not change."
        ),
        provenance=Provenance(
            kind="rule",
            subject="the retired set is edited after synchronize",
        ),
        scenario="lookup-and-create",
        checker="retired-set-quiet",
        parts=Parts(update=PropagatesBeforeItWaits),
        preemptions=1,
    ),
)
