"""The end of a VM: invalidations that never end, and slots that are in two sets."""

from __future__ import annotations

from memslots.slot_set import Memslots
from memslots.update import Update
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step


class WaitsForLostEnds(Update):
    """Lets invalidations count that nobody is left to end."""

    async def forget_open_invalidations(self) -> None:
        """See `Teardown.forget_open_invalidations`."""


class FreesThroughBothSets(Update):
    """Frees the slots of each set, although both have the same."""

    async def free_memslots(self, slots: Memslots) -> None:
        """See `Teardown.free_memslots`."""
        for slot in list(slots):
            await self.free_memslot(slot)


MUTANTS = (
    Mutant(
        id="11",
        title="invalidations that were begun still count when the VM is destroyed",
        step=Step.TEARDOWN_FORCES,
        why=(
            "Once the notifier is unregistered nobody tells of the end of what it has"
            " begun. The deletion of the kernel's own slots would wait for that for"
            " ever."
        ),
        provenance=Provenance(
            kind="rule",
            subject="the count is forced to 0 when the notifier is unregistered",
        ),
        scenario="invalidation-and-destroy",
        checker="lost-wakeup",
        parts=Parts(update=WaitsForLostEnds),
        preemptions=0,
    ),
    Mutant(
        id="66",
        title="the slots of both sets are freed",
        step=Step.TEARDOWN_FREES,
        why=(
            "There is one copy of each slot, and it is linked in both sets. Who frees"
            " what he finds in each of them frees every slot twice."
        ),
        provenance=Provenance(
            kind="rule", subject="a slot is freed through one of its two sets"
        ),
        scenario="lookup-and-destroy",
        checker="no-use-after-free",
        parts=Parts(update=FreesThroughBothSets),
        preemptions=0,
    ),
)
