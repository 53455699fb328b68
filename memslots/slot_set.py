"""One of the two sets of an address space: three indexes, a generation, a cache.

How it was before there were trees, one array of copies, is in `memslots.arrays`.

Everything here is synchronous and true with time standing still. The operations say
what a step does to the set; whoever calls a lookup or `replace` passes the schedule
point first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from memslots.indexes.errors import StructureBroken
from memslots.indexes.gfn_tree import GfnTree
from memslots.indexes.id_hash import IdHash
from memslots.indexes.interval_tree import IntervalTree
from memslots.slot import MemorySlot
from memslots.units import Gfn, Hva
from rcu.operation import Location, Operation
from rcu.reclaim import Reclaimable


class Memslots(Reclaimable):
    """A set of slots.

    Args:
        as_id: Address space.
        node_idx: 0 or 1: which node of each slot belongs to this set.
        slot_memory: Location of the data of slots, which lookups and edits read.

    Attributes:
        kind: What a search goes through, as the trace calls it.
        generation: See `memslots.generation`.
        last_used_slot: What the last lookup found; readers write it unlocked.
        gfn_tree: Slots by guest page; ranges are disjoint.
        hva_tree: Slots by host address; ranges may overlap.
        id_hash: Slots by id.
        lookup: Operation that reads the indexes.
        edit: Operation that changes the indexes and repairs ``last_used_slot``.
        generation_location: Where the generation is read and written.
        last_used_location: Where ``last_used_slot`` is read and written.

    KVM: struct kvm_memslots, include/linux/kvm_host.h
    """

    kind: ClassVar[str] = "tree"

    __slots__ = (
        "as_id",
        "edit",
        "generation",
        "generation_location",
        "gfn_tree",
        "hva_tree",
        "id_hash",
        "last_used_location",
        "last_used_slot",
        "lookup",
        "name",
        "node_idx",
    )

    def __init__(
        self, as_id: int, node_idx: int, slot_memory: Location | None = None
    ) -> None:
        self.as_id = as_id
        self.node_idx = node_idx
        self.name = f"set {node_idx} of address space {as_id}"
        self.generation = as_id
        self.make_indexes()
        content = Location(self.name)
        self.generation_location = Location(f"generation of {self.name}")
        self.last_used_location = Location(f"last_used_slot of {self.name}")
        slots = (slot_memory,) if slot_memory else ()
        self.lookup = Operation("look up in", reads=(content, *slots))
        self.edit = Operation(
            "edit", reads=slots, writes=(content, self.last_used_location)
        )

    def make_indexes(self) -> None:
        """Start without slots."""
        self.last_used_slot: MemorySlot | None = None
        self.gfn_tree: GfnTree[MemorySlot] = GfnTree()
        self.hva_tree: IntervalTree[MemorySlot] = IntervalTree()
        self.id_hash: IdHash[MemorySlot] = IdHash()

    def __len__(self) -> int:
        return len(self.id_hash)

    def __iter__(self) -> Iterator[MemorySlot]:
        """The slots by ascending gfn."""
        return (node.owner for node in self.gfn_tree)

    def __repr__(self) -> str:
        return f"<{self.name}: {list(self)}>"

    # Lookups. They return INVALID slots, too: what that means is the caller's to say.

    def id_to_memslot(self, slot_id: int) -> MemorySlot | None:
        """The slot with this id.

        Complexity: O(1)

        KVM: id_to_memslot, include/linux/kvm_host.h
        """
        return self.id_hash.find(slot_id)

    def search_memslots(self, gfn: Gfn) -> MemorySlot | None:
        """The slot that contains ``gfn``, without regard to the cache.

        Complexity: O(log n)

        KVM: search_memslots, include/linux/kvm_host.h
        """
        return self.gfn_tree.find(gfn)

    def walk(self, gfn: Gfn) -> Iterator[MemorySlot]:
        """The slots that `search_memslots` reads, for a point before each."""
        return (node.owner for node in self.gfn_tree.walk(gfn))

    def search_memslots_approx(self, gfn: Gfn) -> MemorySlot | None:
        """Like `search_memslots`; in a hole a slot that borders it.

        Complexity: O(log n)

        KVM: search_memslots with approx, include/linux/kvm_host.h
        """
        return self.gfn_tree.find_approx(gfn)

    def in_gfn_range(self, start: Gfn, end: Gfn) -> Iterator[MemorySlot]:
        """The slots that meet ``[start, end)``, by ascending gfn.

        Complexity: O(log n + k)

        KVM: kvm_for_each_memslot_in_gfn_range, include/linux/kvm_host.h
        """
        return self.gfn_tree.in_gfn_range(start, end)

    def in_hva_range(self, start: Hva, last: Hva) -> Iterator[MemorySlot]:
        """The slots that meet ``[start, last]``, an inclusive range, by their hva.

        Complexity: O(log n + k)

        KVM: kvm_for_each_memslot_in_hva_range, virt/kvm/kvm_main.c
        """
        return self.hva_tree.overlapping(start, last)

    def overlaps(self, start: Gfn, end: Gfn, but_for: int) -> MemorySlot | None:
        """A slot with another id than ``but_for`` that meets ``[start, end)``.

        Complexity: O(log n)

        KVM: kvm_check_memslot_overlap, virt/kvm/kvm_main.c
        """
        for slot in self.in_gfn_range(start, end):
            if slot.id != but_for:
                return slot
        return None

    def last_gfn_end(self) -> Gfn:
        """First gfn behind the highest slot, 0 without slots.

        Complexity: O(log n)
        """
        return self.gfn_tree.last_end()

    # The mini-cache.

    def cached(self) -> MemorySlot | None:
        """What ``last_used_slot`` names."""
        return self.last_used_slot

    def remember(self, slot: MemorySlot) -> None:
        """Let ``last_used_slot`` name ``slot``, which is in the set."""
        self.last_used_slot = slot

    # The one change.

    def replace(self, old: MemorySlot | None, new: MemorySlot | None) -> None:
        """Take ``old`` out and put ``new`` in; either may be missing.

        The data of both slots stays as it is: only nodes of this set are touched.

        Raises:
            StructureBroken: ``old`` is not in the set, or ``new`` does not fit.

        Complexity: O(log n)

        KVM: kvm_replace_memslot, virt/kvm/kvm_main.c
        """
        idx = self.node_idx
        if old is not None:
            self.id_hash.remove(old)
            self.hva_tree.erase(old.hva_node[idx])
            if self.last_used_slot is old:
                self.last_used_slot = new
        if new is None:
            if old is not None:
                self.gfn_tree.erase(old.gfn_node[idx])
            return
        self.set_hva_range(new)
        self.id_hash.add(new)
        self.hva_tree.insert(new.hva_node[idx])
        if old is not None and old.base_gfn == new.base_gfn:
            self.gfn_tree.replace(old.gfn_node[idx], new.gfn_node[idx])
        else:
            if old is not None:
                self.gfn_tree.erase(old.gfn_node[idx])
            self.gfn_tree.insert(new.gfn_node[idx])

    def set_hva_range(self, new: MemorySlot) -> None:
        """Say where this set's hva node of ``new``, not in the set yet, will stand."""
        node = new.hva_node[self.node_idx]
        node.set_range(new.userspace_addr, new.last_hva)

    def check(self) -> None:
        """Walk the whole set.

        Raises:
            StructureBroken: A tree is broken, a slot is in one index and not in
                another, two slots meet in guest memory, or the cache names a slot that
                is not in the set.

        Complexity: O(n)
        """
        self.gfn_tree.check()
        self.hva_tree.check()
        self.id_hash.check()
        by_gfn = list(self)
        by_hva = [node.owner for node in self.hva_tree]
        if set(map(id, by_gfn)) != set(map(id, by_hva)):
            raise StructureBroken(f"{self.name}: gfn and hva trees differ", by_gfn)
        if any(self.id_hash.find(slot.id) is not slot for slot in by_gfn):
            raise StructureBroken(f"{self.name}: gfn tree and ids differ", by_gfn)
        if len(self.id_hash) != len(by_gfn):
            raise StructureBroken(f"{self.name}: an id names no slot", by_gfn)
        for slot in by_gfn:
            node = slot.hva_node[self.node_idx]
            if (node.start, node.last) != (slot.userspace_addr, slot.last_hva):
                raise StructureBroken(f"{self.name}: hva range of {slot}", by_gfn)
        cached = self.last_used_slot
        if cached is not None and not any(slot is cached for slot in by_gfn):
            raise StructureBroken(f"{self.name}: last_used_slot {cached!r}", by_gfn)
