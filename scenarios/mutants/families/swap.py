"""From one set to the other: mark, wait, publish, release, synchronize, settle."""

from __future__ import annotations

from memslots.slot_set import Memslots
from memslots.update import Update
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step


class ForgetsTheMark(Update):
    """Publishes a set that still has its number of two updates ago."""

    async def mark_in_progress(self, slots: Memslots, generation: int) -> None:
        """Leave it as it is."""


MUTANTS = (
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
)
