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
    """A VM got an address space; its set 0 is active, both sets are empty.

    Attributes:
        as_id: Address space.
        generation: First generation of both sets.
        generation_step: By how much the generation grows with each swap.
    """

    as_id: int
    generation: int
    generation_step: int


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
