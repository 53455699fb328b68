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
        outcome: ``ram``; ``mmio`` without a slot; ``bad`` with an INVALID one;
            ``read-only``.
        hva: The host address, if it was RAM.
    """

    as_id: int
    gpa: int
    write: bool
    outcome: str
    hva: int | None


@attrs.define(eq=False)
class ShadowRootAllocated(Event):
    """There may be shadow roots: every slot that readers find has reverse maps."""


@attrs.define(eq=False)
class MmuPagesChanged(Event):
    """The bound on shadow pages was worked out from the pages of all slots.

    Attributes:
        n_max_mmu_pages: Shadow pages that there may be at once.
    """

    n_max_mmu_pages: int


@attrs.define(eq=False)
class SpteInstalled(Event):
    """A page was mapped for the guest, or its translation was changed.

    Attributes:
        root: Number of the page tables.
        as_id: Address space.
        gfn: The page.
        slot: Serial of the slot object from which the translation was made.
        hva: The host's page, in bytes.
        writable: Whether the guest may write through it.
    """

    root: int
    as_id: int
    gfn: int
    slot: int
    hva: int
    writable: bool


@attrs.define(eq=False)
class SpteZapped(Event):
    """A translation was removed from page tables; TLBs may still have it.

    Attributes:
        root: Number of the page tables.
        as_id: Address space.
        gfn: The page.
        slot: Serial of the slot object from which it was made.
    """

    root: int
    as_id: int
    gfn: int
    slot: int


@attrs.define(eq=False)
class RootZapped(Event):
    """Page tables were given up: no translation is left in them, nor may one be made.

    Attributes:
        root: Number of the page tables.
    """

    root: int


@attrs.define(eq=False)
class ShadowFlushed(Event):
    """No translation made from a slot is left, in page tables or TLBs.

    Attributes:
        as_id: Address space.
        slot: Serial of the slot object.
    """

    as_id: int
    slot: int


@attrs.define(eq=False)
class PageFaulted(Event):
    """A fault of a guest was handled.

    Attributes:
        vcpu: Which vCPU.
        as_id: Address space.
        gpa: Where, in bytes.
        write: Whether the guest wrote.
        outcome: ``fixed``; ``retry`` if the guest must fault again; ``mmio`` if a
            device must answer.
    """

    vcpu: int
    as_id: int
    gpa: int
    write: bool
    outcome: str


@attrs.define(eq=False)
class MmioCacheHit(Event):
    """That a page has no slot was taken from a cache, without a lookup.

    Attributes:
        vcpu: Which vCPU.
        as_id: Address space.
        gfn: The page.
        found_in: ``spte`` or ``vcpu``.
    """

    vcpu: int
    as_id: int
    gfn: int
    found_in: str


@attrs.define(eq=False)
class GuestAccessed(Event):
    """The guest itself read or wrote memory through a translation.

    Attributes:
        vcpu: Which vCPU.
        as_id: Address space.
        gpa: Where, in bytes.
        write: Whether it wrote.
        slot: Serial of the slot object from which the translation was made.
        hva: The host's page, in bytes.
        value: What the page holds.
    """

    vcpu: int
    as_id: int
    gpa: int
    write: bool
    slot: int
    hva: int
    value: int


@attrs.define(eq=False)
class InvalidationBegan(Event):
    """The host is about to change pages: ``invalidate_range_start`` has returned.

    Attributes:
        start: First host address, in bytes.
        end: First host address behind.
        sets: Set of each address space that it saw.
        slots: How many slots it touched.
        in_progress: ``mmu_invalidate_in_progress`` afterwards.
    """

    start: int
    end: int
    sets: tuple[int, ...]
    slots: int
    in_progress: int


@attrs.define(eq=False)
class InvalidationEnded(Event):
    """The host has changed pages: ``invalidate_range_end`` is about to return.

    Attributes:
        start: First host address, in bytes.
        end: First host address behind.
        sets: Set of each address space that it saw.
        slots: How many slots it touched.
        in_progress: ``mmu_invalidate_in_progress`` afterwards.
    """

    start: int
    end: int
    sets: tuple[int, ...]
    slots: int
    in_progress: int


@attrs.define(eq=False)
class GfnRangeZapBegan(Event):
    """KVM itself is about to zap guest pages, and lets every fault retry meanwhile.

    Attributes:
        start: First page.
        end: First page behind.
    """

    start: int
    end: int


@attrs.define(eq=False)
class GfnRangeZapped(Event):
    """No translation of these pages is left, and faults need not retry any more.

    Attributes:
        start: First page.
        end: First page behind.
    """

    start: int
    end: int


@attrs.define(eq=False)
class GuestMemoryCopied(Event):
    """KVM itself has read or written bytes of guest memory.

    Attributes:
        as_id: Address space.
        gpa: Where, in bytes.
        write: Whether it wrote.
        hva: The host address, in bytes.
        length: How many bytes from there on.
        through: Where the host address is from: ``slot``, ``hva-cache`` or
            ``pfn-cache``.
    """

    as_id: int
    gpa: int
    write: bool
    hva: int
    length: int
    through: str


@attrs.define(eq=False)
class HvaCacheFilled(Event):
    """A guest address was translated, to be used as long as the generation stays.

    Attributes:
        gpa: Guest address in address space 0, in bytes.
        length: How many bytes from there on.
        generation: Generation under which it was stored.
        hva: The host address; None if there is none.
    """

    gpa: int
    length: int
    generation: int
    hva: int | None


@attrs.define(eq=False)
class PfnCacheRefreshed(Event):
    """A host page was cached, to be used until it is invalidated.

    Attributes:
        cache: Which cache.
        gpa: Guest address in address space 0, in bytes.
        generation: Generation under which it was stored.
        hva: The host address, in bytes.
    """

    cache: str
    gpa: int
    generation: int
    hva: int


@attrs.define(eq=False)
class PfnCacheInvalidated(Event):
    """The MMU notifier took a page from a cache.

    Attributes:
        cache: Which cache.
        hva: The host address, in bytes.
    """

    cache: str
    hva: int
