"""What this room tells the trace."""

from __future__ import annotations

import attrs

from memslots.slot import MemorySlot
from rcu.trace import Event


@attrs.frozen
class SlotData:
    """What a slot is, as the trace shows it.

    Attributes:
        serial: Which object.
        id: Slot id.
        base_gfn: First page.
        npages: Number of pages.
        userspace_addr: Where the host has it, in bytes.
        flags: `MemFlag` as an integer.
    """

    serial: int
    id: int
    base_gfn: int
    npages: int
    userspace_addr: int
    flags: int

    @classmethod
    def of(cls, slot: MemorySlot) -> SlotData:
        """Describe ``slot`` as it is now."""
        return cls(
            slot.serial,
            slot.id,
            slot.base_gfn,
            slot.npages,
            slot.userspace_addr,
            slot.flags,
        )

    @property
    def end_gfn(self) -> int:
        """First gfn behind the slot."""
        return self.base_gfn + self.npages


@attrs.define(eq=False)
class AddressSpaceMade(Event):
    """A VM got an address space; its set 0 is active, all its sets are empty.

    Attributes:
        as_id: Address space.
        generation: First generation of its sets.
        generation_step: By how much the generation grows with each swap.
        sets: How many sets it has at rest: 2 that share their slots, or 1 that is
            copied for each change.
    """

    as_id: int
    generation: int
    generation_step: int
    sets: int = 2


@attrs.define(eq=False)
class SlotInstalled(Event):
    """A slot was in both sets before anybody ran."""

    as_id: int
    slot: SlotData


@attrs.define(eq=False)
class RegionRequested(Event):
    """A writer called ``KVM_SET_USER_MEMORY_REGION``.

    Attributes:
        call: Number of the call in the run, from 1.
        slot: Slot id in the low 16 bits, address space above.
        flags: `MemFlag` as an integer.
        guest_phys_addr: In bytes.
        memory_size: In bytes.
        userspace_addr: In bytes.
    """

    call: int
    slot: int
    flags: int
    guest_phys_addr: int
    memory_size: int
    userspace_addr: int


@attrs.define(eq=False)
class RegionReturned(Event):
    """The call came back.

    Attributes:
        call: Number of the call.
        change: ``create``, ``delete``, ``move``, ``flags-only``; empty if none.
        result: 0 or a negative errno.
    """

    call: int
    change: str
    result: int


@attrs.define(eq=False)
class SlotReplaced(Event):
    """One set was edited: ``old`` left it, ``new`` entered it.

    Attributes:
        as_id: Address space.
        set: Which of its two sets.
        old: Serial of the slot that left; None if none did.
        new: The slot that entered; None if none did.
    """

    as_id: int
    set: int
    old: int | None
    new: SlotData | None


@attrs.define(eq=False)
class SetsSwapped(Event):
    """A set was published.

    Attributes:
        as_id: Address space.
        set: The set that readers find from now on.
        generation: Its generation, with the in-progress bit.
    """

    as_id: int
    set: int
    generation: int


@attrs.define(eq=False)
class GenerationAdvanced(Event):
    """A swap is complete: the active set has its own number.

    Attributes:
        as_id: Address space.
        set: The active set.
        generation: Its generation, without the in-progress bit.
    """

    as_id: int
    set: int
    generation: int


@attrs.define(eq=False)
class SlotFreed(Event):
    """A slot object was freed.

    Attributes:
        as_id: Address space.
        serial: Which object.
    """

    as_id: int
    serial: int


@attrs.define(eq=False)
class MemoryAllocated(Event):
    """Something was allocated for a slot object, or the object itself.

    Attributes:
        kind: ``slot``, ``invalid-slot``, ``dirty-bitmap``, ``rmap``, ``lpage-info`` or
            ``gfn-track``.
        slot: Serial of the slot object; it and the kind name the allocation.
    """

    kind: str
    slot: int


@attrs.define(eq=False)
class AllocationFailed(Event):
    """There was no memory, as was planned.

    Attributes:
        kind: What could not be allocated; see `MemoryAllocated`.
    """

    kind: str


@attrs.define(eq=False)
class MemoryHeld(Event):
    """A slot object was given its pointers.

    Each names what it points to by the slot object for which that was allocated.

    Attributes:
        slot: Serial of the slot object.
        dirty_bitmap: Serial; None if it has none.
        rmap: Serial; None if it has none.
        lpage_info: Serial; None if it has none.
        gfn_track: Serial; None if it has none.
        ring: Whether the VM logs dirty pages in rings, so that it needs no bitmap.
        initially_set: Whether every page counted as written in the bitmap at first.
    """

    slot: int
    dirty_bitmap: int | None
    rmap: int | None
    lpage_info: int | None
    gfn_track: int | None
    ring: bool
    initially_set: bool = False


@attrs.define(eq=False)
class MemoryFreed(Event):
    """Something was freed that a slot pointed to.

    Attributes:
        kind: What it was; see `MemoryAllocated`.
        slot: Serial of the slot object for which it was allocated.
    """

    kind: str
    slot: int


@attrs.define(eq=False)
class PagesCounted(Event):
    """A slot was created or deleted, and the pages of all slots were counted anew.

    Attributes:
        nr_memslot_pages: Pages of all slots of the VM.
    """

    nr_memslot_pages: int


@attrs.define(eq=False)
class SetGivenUp(Event):
    """Nobody can look into a set any more; the VM is being destroyed.

    Attributes:
        as_id: Address space.
        set: Which of its two sets.
    """

    as_id: int
    set: int


@attrs.define(eq=False)
class InvalidationsForgotten(Event):
    """Nobody will end the invalidations that are under way; the VM is being destroyed.

    Attributes:
        active_count: How many there were.
    """

    active_count: int


@attrs.define(eq=False)
class VmDestroyed(Event):
    """Everything that belonged to the VM must have been freed."""


@attrs.define(eq=False)
class PageMarkedDirty(Event):
    """A page of a logged slot was marked as written.

    Emitted in the step that set its bit, or that published its entry in the ring: from
    this step on whoever looks finds it.

    Attributes:
        as_id: Address space.
        slot: Slot id.
        serial: Which slot object the writer held; a moved slot shares its bitmap.
        offset: The page's place in the slot.
        where: ``bitmap`` or ``ring``.
    """

    as_id: int
    slot: int
    serial: int
    offset: int
    where: str


@attrs.define(eq=False)
class DirtyLogRequested(Event):
    """User space made a call about the dirty log.

    Emitted on entry, before any check and before ``slots_lock``.

    Attributes:
        call: Number of the call in the run; memory-region calls are counted, too.
        kind: ``get``, ``clear`` or ``reset``.
        as_id: Address space; None for ``reset`` and for an unreadable argument.
        slot: Slot id; None likewise.
    """

    call: int
    kind: str
    as_id: int | None
    slot: int | None


@attrs.define(eq=False)
class DirtyBitsCleared(Event):
    """A call took bits of one word of a bitmap.

    Emitted in the step that cleared them, before their pages are write-protected. A get
    has taken them to return them; a clear takes what an earlier get has returned.

    Attributes:
        call: Number of the call.
        as_id: Address space.
        slot: Slot id.
        serial: Which slot object.
        offset: Place of the word's first page in the slot; a multiple of 64.
        mask: The bits that were set and now are not.
    """

    call: int
    as_id: int
    slot: int
    serial: int
    offset: int
    mask: int


@attrs.define(eq=False)
class DirtyLogReturned(Event):
    """A call about the dirty log came back.

    Emitted after everything that the call does, ``slots_lock`` released: from now on
    user space may rely on what it was told.

    Attributes:
        call: Number of the call.
        result: 0, for ``reset`` the number of entries, or a negative errno.
        words: For ``get`` the words that user space was given, for ``clear`` those that
            were cleared: place of the word in the slot's bitmap, and its bits; words
            that are 0 are left out. Empty on failure, even if bits were cleared.
    """

    call: int
    result: int
    words: tuple[tuple[int, int], ...]


@attrs.define(eq=False)
class DirtyRingCollected(Event):
    """User space took the dirty entries of a vCPU's ring and marked them to be reset.

    Emitted in the step in which it did.

    Attributes:
        vcpu: Index of the vCPU.
        entries: Slot field (address space in bits 16 and up) and the page's place in
            the slot, of each.
    """

    vcpu: int
    entries: tuple[tuple[int, int], ...]


@attrs.define(eq=False)
class DirtyRingReset(Event):
    """Neighbouring entries of a ring were taken back together.

    Emitted once the slot was looked up, before its pages are write-protected.

    Attributes:
        call: Number of the call.
        as_id: Address space.
        slot: Slot id.
        offset: The page of bit 0, by its place in the slot.
        mask: Which of the 64 pages from there on.
        protected: Whether they are to be write-protected; not if there is no such slot
            or a page lies behind its end.
    """

    call: int
    as_id: int
    slot: int
    offset: int
    mask: int
    protected: bool


@attrs.define(eq=False)
class SetCopied(Event):
    """A set was allocated and became a copy of another, which has another number.

    A slot keeps its serial when it is copied; its objects in two sets are told apart by
    the set.

    Attributes:
        as_id: Address space.
        set: The new set; no set of the address space had this number before.
        from_set: The set that was copied.
    """

    as_id: int
    set: int
    from_set: int


@attrs.define(eq=False)
class SetFreed(Event):
    """A set was freed, and with it its copies of all slots.

    Attributes:
        as_id: Address space.
        set: Which set.
    """

    as_id: int
    set: int


@attrs.define(eq=False)
class ArchDataCopied(Event):
    """A set took over the arch data of another's slots once more, and nothing else.

    Attributes:
        as_id: Address space.
        set: The set that took it over.
        from_set: The set that has the same slots.
    """

    as_id: int
    set: int
    from_set: int
