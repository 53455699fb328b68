"""The sets: their edits, their caches, their ranges, and the slots that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.units import Gfn
from memslots.update import Update
from memslots.vm import Vm
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step
from vcpus.guest_memory import GuestMemory, Reader
from vcpus.lookup import SlotLookup


class VmOfSets(Vm):
    """A VM whose sets are of another class."""

    def __init__(self, *args: Any, kind: type[Memslots], **kwargs: Any) -> None:
        self.kind = kind
        super().__init__(*args, **kwargs)

    def make_sets(self) -> Sequence[Sequence[Memslots]]:
        """See `Vm.make_sets`."""
        return tuple(
            tuple(self.kind(as_id, idx, self.slot_memory) for idx in range(2))
            for as_id in range(self.address_space_count)
        )


def sets_of(kind: type[Memslots]) -> Callable[..., Vm]:
    """Makes a VM whose sets are of this class."""
    return partial(VmOfSets, kind=kind)


class ForgetsTheCache(Memslots):
    """Lets ``last_used_slot`` name a slot that leaves the set."""

    def replace(self, old: MemorySlot | None, new: MemorySlot | None) -> None:
        """See `Memslots.replace`."""
        cached = self.last_used_slot
        super().replace(old, new)
        self.last_used_slot = cached


class KeepsTheSlot(GuestMemory):
    """Looks a slot up once, and uses it in later sections, too."""

    kept: MemorySlot | None = None

    async def gfn_to_memslot(self, reader: Reader, gfn: Gfn) -> MemorySlot | None:
        """See `GuestMemory.gfn_to_memslot`."""
        if self.kept is None:
            self.kept = await super().gfn_to_memslot(reader, gfn)
        return self.kept


class KeepsTheAnswer(SlotLookup):
    """Searches once, and gives the same answer in later sections, too."""

    kept: tuple[MemorySlot | None] | None = None

    async def search(self, slots: Memslots, gfn: Gfn) -> MemorySlot | None:
        """See `SlotLookup.search`."""
        if self.kept is None:
            self.kept = (await super().search(slots, gfn),)
        return self.kept[0]


class CopiesTheNodes(Update):
    """Copies the slot with its place in the trees."""

    def allocate_invalid(self, old: MemorySlot) -> MemorySlot:
        """See `SlotResources.allocate_invalid`."""
        invalid = super().allocate_invalid(old)
        for node, of_old in zip(invalid.gfn_node, old.gfn_node, strict=True):
            node.parent, node.red = of_old.parent, of_old.red
            node.left, node.right = of_old.left, of_old.right
        return invalid


class SetsNoHvaRange(Memslots):
    """Links a slot by host address without saying where it stands."""

    def set_hva_range(self, new: MemorySlot) -> None:
        """Leave it as it is."""


class YieldsTheSlotBefore(Memslots):
    """Begins a range with the slot below its start, also if that ends before."""

    def in_gfn_range(self, start: Gfn, end: Gfn) -> Iterator[MemorySlot]:
        """See `Memslots.in_gfn_range`."""
        before = [slot for slot in self if slot.base_gfn < start]
        yield from before[-1:]
        yield from (slot for slot in self if start <= slot.base_gfn < end)


class ForgetsTheOtherSet(Update):
    """Publishes the edited set and leaves the other as it was."""

    async def activate_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """See `Update.activate_memslot`."""
        slot = new or old
        if slot is not None:
            await self.swap_active_memslots(slot.as_id)


class TakesTheOthersNodes(Memslots):
    """Replaces a slot in a set by way of the nodes that are the other set's."""

    def replace(self, old: MemorySlot | None, new: MemorySlot | None) -> None:
        """See `Memslots.replace`."""
        if old is not None:
            self.node_idx ^= 1
        super().replace(old, new)
        if old is not None:
            self.node_idx ^= 1


class EditsTheActiveSet(Update):
    """Takes the wrong one of the two sets."""

    async def replace_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """See `Update.replace_memslot`."""
        slot = new or old
        if slot is not None:
            await self.edit(self.vm.active(slot.as_id).peek(), old, new)


MUTANTS = (
    Mutant(
        id="29",
        title="the set's last used slot may name a slot that has left",
        step=Step.SET_CACHES,
        why=(
            "Readers look there first, and nothing but the writer's care says that the"
            " slot is still in the set. Who follows it then follows a pointer to what"
            " was freed."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: Fix out of range accesses to memslots",
            commit="0774a964ef56",
            release="5.6",
        ),
        scenario="two-lookups-and-delete",
        checker="consistent-set",
        parts=Parts(vm=sets_of(ForgetsTheCache)),
        preemptions=1,
        unseen_in=("lookup-and-delete",),
    ),
    Mutant(
        id="30a",
        title="a slot that was found is used beyond the section it was found in",
        step=Step.READ_SECTION,
        why=(
            "Nobody waits for who is in no section, so an update may replace and free"
            " the slot. Sets may be kept in hand no longer than their section either."
        ),
        provenance=Provenance(
            kind="review",
            subject="a pointer to a slot is stale when the slots have been replaced",
        ),
        scenario="two-lookups-and-flags",
        checker="no-use-after-free",
        parts=Parts(memory=KeepsTheSlot),
        preemptions=1,
        unseen_in=("lookup-and-delete",),
    ),
    Mutant(
        id="30b",
        title="a page without a slot is taken for one in later sections, too",
        step=Step.READ_SECTION,
        why=(
            "Another section may get hold of another set, in which there is a slot. An"
            " answer is true for the set that was asked, as long as that is held."
        ),
        provenance=Provenance(
            kind="review",
            subject="what was found in the slots is stale when they are replaced",
        ),
        scenario="two-lookups-of-a-new-slot",
        checker="consistent-set",
        parts=Parts(lookup=KeepsTheAnswer),
        preemptions=1,
    ),
    Mutant(
        id="31a",
        title="a copy of a slot takes the nodes in the trees along",
        step=Step.SET_COPIES,
        why=(
            "The nodes say where the old slot is linked, in both sets. A copy that has"
            " them is taken for linked where it never was, and its neighbours know"
            " nothing of it."
        ),
        provenance=Provenance(
            kind="review", subject="copying nodes would corrupt the trees"
        ),
        scenario="lookup-and-delete",
        checker="sets-converge",
        parts=Parts(update=CopiesTheNodes),
        preemptions=0,
    ),
    Mutant(
        id="31b",
        title="a slot enters the tree of hvas without its range",
        step=Step.SET_EDITS,
        why=(
            "The MMU notifier finds slots by host address only. Of one that it does not"
            " find nothing is unmapped, and the guest goes on with a page that the host"
            " has given to somebody else."
        ),
        provenance=Provenance(
            kind="review",
            subject="the ranges of both hva nodes of a slot are always initialized",
        ),
        scenario="unmap-during-fault",
        checker="no-stale-translation",
        parts=Parts(vm=sets_of(SetsNoHvaRange)),
        preemptions=None,
        seeds=range(20),
    ),
    Mutant(
        id="33",
        title="a range of gfns begins with a slot that ends before it",
        step=Step.CALL_CHECKS,
        why=(
            "A slot next to the new one does not overlap it. Who takes it for one that"
            " does refuses what user space may ask for."
        ),
        provenance=Provenance(
            kind="review",
            subject="the iterator may yield a first slot that ends before the range",
        ),
        scenario="lookup-and-create",
        checker="results-match",
        parts=Parts(vm=sets_of(YieldsTheSlotBefore)),
        preemptions=0,
    ),
    Mutant(
        id="64",
        title="the change is not made in the other set",
        step=Step.SWAP_PROPAGATES,
        why=(
            "The set that was active before is the one that is edited and published"
            " next. Every second update would bring the old slots back."
        ),
        provenance=Provenance(
            kind="rule", subject="both sets are equal when the call returns"
        ),
        scenario="lookup-and-create",
        checker="sets-converge",
        parts=Parts(update=ForgetsTheOtherSet),
        preemptions=0,
    ),
    Mutant(
        id="65a",
        title="a slot is replaced in a set by way of the other set's nodes",
        step=Step.SET_EDITS,
        why=(
            "Each slot has a node for each set, so that the set that readers find stays"
            " as it is while the other one is edited. With the wrong node it is theirs"
            " that changes, and under their eyes."
        ),
        provenance=Provenance(
            kind="rule", subject="a set is edited by the nodes of its own index"
        ),
        scenario="lookup-and-delete-of-two",
        checker="consistent-set",
        parts=Parts(vm=sets_of(TakesTheOthersNodes)),
        preemptions=0,
        unseen_in=("lookup-and-delete",),
    ),
    Mutant(
        id="65b",
        title="the active set is edited in place of the inactive one",
        step=Step.SET_EDITS,
        why=(
            "Readers are in the active set at any time, and wait for nobody. The"
            " inactive set is there so that they need not."
        ),
        provenance=Provenance(kind="rule", subject="only the inactive set is modified"),
        scenario="lookup-and-create",
        checker="retired-set-quiet",
        parts=Parts(update=EditsTheActiveSet),
        preemptions=0,
    ),
)
