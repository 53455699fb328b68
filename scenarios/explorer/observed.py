"""What the events of a step touch, in the eyes of the checkers.

Two steps on different locations may be exchanged, unless a checker asks which was
first. So what a step says counts as an access, too: to the *places* below, which stand
for the questions that checkers ask. What is not listed touches all of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from memslots.tracepoints import (
    GenerationAdvanced,
    MemoryAllocated,
    MemoryFreed,
    MemoryHeld,
    PageMarkedDirty,
    PagesCounted,
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
from vcpus.tracepoints import (
    GuestAccessed,
    GuestMemoryAccessed,
    MmioCacheHit,
    MmuPagesChanged,
    PageFaulted,
    SetDereferenced,
    ShadowFlushed,
    SlotLookedUp,
    SpteInstalled,
    SpteZapped,
)

BEGUN = "which sections had begun"
ENDED = "which sections had ended"
EDITED = "what a set held"
FREED = "what was freed"
WAITED = "which grace periods were over"
DONE = "what updates and faults had done"

PLACES = (BEGUN, ENDED, EDITED, FREED, WAITED, DONE)

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
    SetDereferenced: ((EDITED,), ()),
    SlotLookedUp: ((EDITED, FREED), ()),
    SlotReplaced: ((), (EDITED, ENDED, DONE)),
    SetsSwapped: ((WAITED,), (EDITED, DONE)),
    GenerationAdvanced: ((), (EDITED, DONE)),
    SlotFreed: ((), (FREED, ENDED, DONE)),
    SetGivenUp: ((), (FREED, ENDED, DONE)),
    MemoryAllocated: ((), (DONE,)),
    MemoryHeld: ((), (DONE,)),
    MemoryFreed: ((), (DONE,)),
    PagesCounted: ((), (DONE,)),
    MmuPagesChanged: ((), (DONE,)),
    ShadowFlushed: ((WAITED,), (DONE,)),
    # vCPUs meet each other in the page tables and in memory, which are locations.
    PageFaulted: ((DONE,), ()),
    SpteInstalled: ((DONE,), ()),
    SpteZapped: ((DONE,), ()),
    MmioCacheHit: ((DONE,), ()),
    GuestAccessed: ((DONE,), ()),
    GuestMemoryAccessed: ((DONE,), ()),
    PageMarkedDirty: ((DONE,), ()),
}
"""Places that an event reads and writes."""


def touched(events: Iterable[Event]) -> tuple[set[str], set[str]]:
    """The places that events read and write."""
    reads: set[str] = set()
    writes: set[str] = set()
    for event in events:
        if isinstance(event, LockReleased):
            if event.lock == "slots_lock":
                reads.add(WAITED)
                writes.add(DONE)
        else:
            read, written = TOUCHED.get(type(event), ((), PLACES))
            reads.update(read)
            writes.update(written)
    return reads, writes
