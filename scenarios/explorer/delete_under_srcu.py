"""The smallest protocol with everything that matters: one DELETE under SRCU.

A writer marks a slot invalid in the inactive set, swaps, waits for readers, forgets
what readers had derived from the slot, takes it out, swaps and waits again, and frees
it. A reader makes one lookup in one read section. It is the protocol on which explorers
are compared: its sizes are known.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from rcu.errors import RuleBroken, UseAfterFree
from rcu.operation import Location, Operation
from rcu.schedule.scheduler import Scheduler
from scenarios.explorer.program import Program, SchedulerT, Watch
from scenarios.tracepoints import RuleHeld


class SetChanged(RuleBroken):
    """A set was changed while a reader used it."""

    checker = "retired-set-quiet"
    why = "a set is edited only when everybody who may use it has left his section"


class TranslationKept(RuleBroken):
    """What was derived from a slot outlives it."""

    checker = "no-stale-translation"
    why = (
        "translations are taken away only when everybody who may still add one has left"
        " his section"
    )


class Slot(IntEnum):
    """What a set holds where the slot is, or was."""

    VALID = 0
    INVALID = 1
    NONE = 2


class Shared:
    """What the writer and the readers share.

    Attributes:
        active: The set that readers find.
        srcu_idx: The rank that new sections are counted on.
        readers: Sections by rank.
        generation, slot: Of each set.
        spte: Whether a translation derived from the slot is kept.
        freed: Whether the slot has been freed.
    """

    def __init__(self) -> None:
        self.active = 0
        self.srcu_idx = 0
        self.readers = [0, 0]
        self.generation = [0, 0]
        self.slot = [Slot.VALID, Slot.VALID]
        self.spte = False
        self.freed = False


class DeleteUnderSrcu(Program):
    """One writer that deletes, and readers.

    Args:
        readers: How many.
        budget: Steps after which a run is stopped.
    """

    name = "delete-under-srcu"
    interchangeable = True

    def __init__(self, readers: int = 2, budget: int = 10_000_000) -> None:
        self.readers = readers
        self.budget = budget

    def build(self, make: Callable[..., SchedulerT]) -> tuple[SchedulerT, Watch]:
        """See `Program.build`."""
        scheduler = make(cpus=1, budget=self.budget)
        self.protocol(scheduler, self.readers)
        return scheduler, Watch()

    def protocol(self, scheduler: Scheduler, readers: int) -> Protocol:
        """Add the tasks."""
        return Protocol(scheduler, readers)


class Protocol:
    """The steps of writer and readers; a changed protocol overrides one of them."""

    def __init__(self, scheduler: Scheduler, readers: int) -> None:
        self.shared = Shared()
        self.point, self.emit = scheduler.point, scheduler.emit
        self.tracing = scheduler.tracing
        self.active = Location("active set")
        self.idx = Location("srcu_idx")
        self.counts = [Location(f"readers of rank {rank}") for rank in (0, 1)]
        self.sets = [Location(f"set {index}") for index in (0, 1)]
        spte, freed = Location("spte"), Location("slot")
        self.flush = spte.write
        self.free_slot = Operation("free", reads=(spte,), writes=(freed,))
        self.use = (
            Operation("map", reads=(freed,), writes=(spte,)),
            Operation("look at", reads=(freed,)),
            Operation("find nothing"),
        )
        for reader in range(readers):
            scheduler.task(f"reader{reader}", self.read)
        scheduler.task("writer", self.delete)

    async def read(self) -> None:
        """One lookup in one read section."""
        shared, point = self.shared, self.point
        await point(self.idx.read)
        idx = shared.srcu_idx
        await point(self.counts[idx].write)
        shared.readers[idx] += 1
        await point(self.active.read)
        active = shared.active
        await point(self.sets[active].read)
        generation = shared.generation[active]
        slot = shared.slot[active]
        await point(self.use[slot])
        if slot is not Slot.NONE and shared.freed:
            raise UseAfterFree("a reader uses a slot that was freed")
        if self.tracing and slot is not Slot.NONE:
            self.emit(RuleHeld(UseAfterFree.checker))
        if slot is Slot.VALID:
            shared.spte = True
        await point(self.sets[active].read)
        if shared.generation[active] != generation:
            raise SetChanged("a set changed while in use")
        if self.tracing:
            self.emit(RuleHeld(SetChanged.checker))
        await point(self.counts[idx].write)
        shared.readers[idx] -= 1

    async def delete(self) -> None:
        """Delete the slot."""
        await self.edit(Slot.INVALID)
        await self.swap()
        await self.synchronize_invalid()
        await self.flush_translations()
        await self.edit(Slot.NONE)
        await self.swap()
        await self.retire()

    async def edit(self, slot: Slot) -> None:
        """Change the inactive set."""
        inactive = 1 - self.shared.active
        await self.point(self.sets[inactive].write)
        self.shared.slot[inactive] = slot
        self.shared.generation[inactive] += 1

    async def swap(self) -> None:
        """Let readers find the other set."""
        await self.point(self.active.write)
        self.shared.active = 1 - self.shared.active

    async def synchronize_invalid(self) -> None:
        """Wait until nobody uses the set without the mark."""
        await self.synchronize()

    async def flush_translations(self) -> None:
        """Forget what was derived from the slot."""
        await self.point(self.flush)
        self.shared.spte = False

    async def retire(self) -> None:
        """Wait until nobody uses the set with the slot, and free it."""
        await self.synchronize()
        await self.edit(Slot.NONE)
        await self.free()

    async def free(self) -> None:
        """Free the slot."""
        await self.point(self.free_slot)
        if self.shared.spte:
            raise TranslationKept("a translation of a freed slot is kept")
        if self.tracing:
            self.emit(RuleHeld(TranslationKept.checker))
        self.shared.freed = True

    async def synchronize(self) -> None:
        """Scan the rank that is not current, flip, scan again."""
        await self.scan()
        await self.flip()
        await self.scan()

    async def scan(self) -> None:
        """Wait until nobody is counted on the rank that is not current."""
        rank = 1 - self.shared.srcu_idx
        await self.point(self.counts[rank].read, self.is_quiet[rank])

    async def flip(self) -> None:
        """Let new sections be counted on the other rank."""
        await self.point(self.idx.write)
        self.shared.srcu_idx = 1 - self.shared.srcu_idx

    @property
    def is_quiet(self) -> tuple[Callable[[], bool], Callable[[], bool]]:
        """Whether nobody is counted on a rank, by rank."""
        return self._rank_0_is_quiet, self._rank_1_is_quiet

    def _rank_0_is_quiet(self) -> bool:
        return not self.shared.readers[0]

    def _rank_1_is_quiet(self) -> bool:
        return not self.shared.readers[1]
