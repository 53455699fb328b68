"""What the events of a step touch, in the eyes of the checkers.

Two steps on different locations may be exchanged, unless a checker asks which was
first. So what a step says counts as an access, too: to the *places* below, which stand
for the questions that checkers ask. What is not listed touches everything: no event
that is listed may then be exchanged with it.
"""

from __future__ import annotations

from memslots.tracepoints import (
    ArchDataCopied,
    GenerationAdvanced,
    InvalidationsForgotten,
    MemoryAllocated,
    MemoryFreed,
    MemoryHeld,
    PageMarkedDirty,
    PagesCounted,
    RegionRequested,
    RegionReturned,
    SetGivenUp,
    SetsSwapped,
    SlotFreed,
    SlotReplaced,
)
from rcu.trace import Event
from rcu.tracepoints import (
    CallbackInvoked,
    CallbackQueued,
    GracePeriodEnded,
    GracePeriodStarted,
    IndexFlipped,
    LockAcquired,
    LockReleased,
    RankScanned,
    SectionBegan,
    SectionEnded,
    SynchronizeBegan,
    SynchronizeEnded,
)
from scenarios.checkers.history import Section
from scenarios.tracepoints import ResultCompared
from vcpus.tracepoints import (
    GfnRangeZapBegan,
    GfnRangeZapped,
    GuestAccessed,
    GuestMemoryAccessed,
    GuestMemoryCopied,
    InvalidationBegan,
    InvalidationEnded,
    MmioCacheHit,
    MmuPagesChanged,
    PageFaulted,
    RootZapped,
    SetDereferenced,
    ShadowFlushed,
    ShadowRootAllocated,
    SlotLookedUp,
    SpteInstalled,
    SpteZapped,
)

EVERYTHING = "everything"
BEGUN = "which sections had begun"
ENDED = "which sections had ended"
FREED = "what was freed"
WAITED = "which grace periods were over"
DONE = "what updates and faults had done"

Names = tuple[str, ...]

TOUCHED: dict[type[Event], tuple[Names, Names]] = {
    LockAcquired: ((), ()),
    RankScanned: ((), ()),
    IndexFlipped: ((), ()),
    SectionBegan: ((BEGUN,), ()),
    SectionEnded: ((ENDED,), ()),
    SynchronizeBegan: ((), (BEGUN,)),
    CallbackQueued: ((), (BEGUN,)),
    SynchronizeEnded: ((), (ENDED,)),
    CallbackInvoked: ((), (ENDED,)),
    GracePeriodStarted: ((), (WAITED,)),
    GracePeriodEnded: ((), (WAITED,)),
    SetDereferenced: ((), ()),
    SlotLookedUp: ((), ()),
    SlotReplaced: ((), (DONE,)),
    SetsSwapped: ((WAITED,), (DONE,)),
    GenerationAdvanced: ((), (DONE,)),
    SlotFreed: ((), (FREED, DONE)),
    SetGivenUp: ((), (FREED, DONE)),
    MemoryAllocated: ((), (DONE,)),
    MemoryHeld: ((), (DONE,)),
    MemoryFreed: ((), (DONE,)),
    PagesCounted: ((), (DONE,)),
    MmuPagesChanged: ((), (DONE,)),
    ArchDataCopied: ((), (DONE,)),
    ShadowRootAllocated: ((), (DONE,)),
    ShadowFlushed: ((WAITED,), (DONE,)),
    RegionRequested: ((), (DONE,)),
    RegionReturned: ((), (DONE,)),
    ResultCompared: ((), (DONE,)),
    InvalidationBegan: ((), (DONE,)),
    InvalidationEnded: ((), (DONE,)),
    InvalidationsForgotten: ((), (DONE,)),
    GfnRangeZapBegan: ((), (DONE,)),
    GfnRangeZapped: ((), (DONE,)),
    RootZapped: ((), (DONE,)),
    # vCPUs meet each other in the page tables and in memory, which are locations.
    PageFaulted: ((DONE,), ()),
    SpteInstalled: ((DONE,), ()),
    SpteZapped: ((DONE,), ()),
    MmioCacheHit: ((DONE,), ()),
    GuestAccessed: ((DONE,), ()),
    GuestMemoryAccessed: ((), ()),
    GuestMemoryCopied: ((DONE,), ()),
    PageMarkedDirty: ((DONE,), ()),
}
"""Places that an event reads and writes, whatever it says."""


class Places:
    """Collects the places that the events of a step touch.

    Attributes:
        reads, writes: Their names.
    """

    def __init__(self) -> None:
        self.reads: set[str] = set()
        self.writes: set[str] = set()

    def add(self, event: Event, ended: Section | None = None) -> None:
        """Add those of an event.

        Args:
            event: What was said.
            ended: The section that ends with it, as the checkers know it.
        """
        read, written = TOUCHED.get(type(event), ((), (EVERYTHING,)))
        self.reads.update((EVERYTHING, *read))
        self.writes.update(written)
        self._add_of_update(event)
        self._add_of_reader(event, ended)

    def _add_of_update(self, event: Event) -> None:
        match event:
            case LockReleased():
                self.writes.discard(EVERYTHING)
                if event.lock == "slots_lock":
                    self.reads.add(WAITED)
                    self.writes.add(DONE)
            case SlotReplaced() | SetGivenUp():
                self.writes.add(_edits(event.as_id, event.set))
            case SetsSwapped() | GenerationAdvanced():
                self.writes.add(_generations(event.as_id))

    def _add_of_reader(self, event: Event, ended: Section | None) -> None:
        match event:
            case SectionEnded() if ended is not None:
                self.reads.update(_edits(*held) for held in ended.ever_held)
                if ended.found:
                    self.reads.add(FREED)
            case SetDereferenced():
                self.reads.add(_edits(event.as_id, event.set))
            case SlotLookedUp():
                self.reads.add(_edits(event.as_id, event.set))
                if event.slot is not None:
                    self.reads.add(FREED)
                if event.generation is not None:
                    self.reads.add(_generations(event.as_id))
            case GuestAccessed() | GuestMemoryCopied() if event.write:
                # Who was inside is remembered for each page that is not marked yet.
                self.writes.update((BEGUN, ENDED))


def _edits(as_id: int, index: int) -> str:
    return f"what set {index} of address space {as_id} held"


def _generations(as_id: int) -> str:
    return f"what generations of address space {as_id} stood for"
