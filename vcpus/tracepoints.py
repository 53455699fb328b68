"""What this room tells the trace."""

from __future__ import annotations

import attrs

from memslots.tracepoints import SlotData
from rcu.trace import Event


@attrs.define(eq=False)
class SetDereferenced(Event):
    """A reader got hold of the active set.

    Attributes:
        as_id: Address space.
        set: Which of its two sets.
    """

    as_id: int
    set: int


@attrs.define(eq=False)
class SlotLookedUp(Event):
    """A reader asked for the slot of a page.

    Attributes:
        as_id: Address space.
        set: The set that it holds.
        generation: The set's generation as the reader saw it; None if it did not look.
        gfn: The page.
        found_in: ``vcpu`` or ``set`` for the mini-caches, else ``tree``.
        slot: The answer; None if no slot contains the page.
    """

    as_id: int
    set: int
    generation: int | None
    gfn: int
    found_in: str
    slot: SlotData | None


@attrs.define(eq=False)
class GuestMemoryAccessed(Event):
    """An access to guest memory was resolved.

    Attributes:
        as_id: Address space.
        gpa: Where, in bytes.
        write: Whether it was a write.
        outcome: ``ram``; ``mmio`` without a slot; ``retry`` or ``bad`` with an INVALID
            one; ``read-only``.
        hva: The host address, if it was RAM.
    """

    as_id: int
    gpa: int
    write: bool
    outcome: str
    hva: int | None


@attrs.define(eq=False)
class RmapsAllocated(Event):
    """A slot got the arrays that were left out when it was created.

    Attributes:
        as_id: Address space.
        slot: Serial of the slot object.
    """

    as_id: int
    slot: int
