"""Slots by value, highest gfn first, and a table that says where each id is.

Nobody has a pointer to an entry: entries never change, so that a copy of the array may
share them. What has cost the kernel a copy, a shift or a visit of a slot is counted.

KVM before Linux 5.17: struct kvm_memslots, include/linux/kvm_host.h
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

import attrs

from memslots.indexes.errors import StructureBroken
from memslots.slot import MemorySlot
from memslots.units import Gfn

ABSENT = -1
"""Index of an id that no slot has."""


@attrs.define
class Cost:
    """What the arrays of a VM have cost so far.

    Attributes:
        arrays_allocated: Arrays, the first of each address space included.
        slots_copied: Slots that were copied into new arrays.
        ids_copied: Entries of tables of ids that were copied: all of them, each time.
        arch_copied: Slots whose arch data was copied once more, into a used array.
        slots_shifted: Slots that made room for another, or closed a gap.
        slots_visited: Slots that lookups read, by id, gfn, hva or range.
    """

    arrays_allocated: int = 0
    slots_copied: int = 0
    ids_copied: int = 0
    arch_copied: int = 0
    slots_shifted: int = 0
    slots_visited: int = 0


class SlotArray:
    """An array of slots.

    Args:
        name: What errors call it.
        ids: Number of slot ids, used or not.
        cost: Where it counts.

    Attributes:
        capacity: How many slots it has memory for.
        entries: The slots by descending gfn.
        ids: Their ids.
        id_to_index: Where each id is; `ABSENT` for those that no slot has.
    """

    __slots__ = ("capacity", "cost", "entries", "id_to_index", "ids", "name")

    def __init__(self, name: str, ids: int, cost: Cost) -> None:
        self.name = name
        self.cost = cost
        self.capacity = 0
        self.entries: list[MemorySlot] = []
        self.ids = array("h")
        self.id_to_index = array("h", [ABSENT]) * ids
        cost.arrays_allocated += 1

    def __len__(self) -> int:
        return len(self.entries)

    def copy_from(self, source: SlotArray, *, extra: int) -> None:
        """Become a copy of ``source`` with room for ``extra`` slots more.

        Complexity: O(n) slots and O(m) table entries, m being all ids
        """
        self.capacity = len(source) + extra
        self.entries = source.entries[:]
        self.ids = source.ids[:]
        self.id_to_index = source.id_to_index[:]
        self.cost.slots_copied += len(self.entries)
        self.cost.ids_copied += len(self.id_to_index)

    def find(self, gfn: Gfn) -> int:
        """Index of the first slot that does not begin above ``gfn``.

        It is the length of the array if all do.

        Complexity: O(log n)
        """
        count = len(self.entries)
        self.cost.slots_visited += count.bit_length()
        return self._first_from(gfn, 0, count)

    def _first_from(self, gfn: Gfn, start: int, end: int) -> int:
        return bisect_left(self.entries, -gfn, start, end, key=_descending)

    # Changes.

    def store(self, index: int, slot: MemorySlot) -> None:
        """Let a copy of ``slot`` be the entry with this index."""
        self.entries[index] = slot.copy(slot.serial)

    def append(self, new: MemorySlot) -> None:
        """Put a slot behind the last one, whatever its gfn.

        Raises:
            StructureBroken: It is empty, its id is taken, or there is no memory.

        Complexity: O(1)

        KVM before Linux 5.17: kvm_memslot_insert_back, virt/kvm/kvm_main.c
        """
        if new.npages <= 0:
            raise self.broken(f"{new!r} is empty")
        if self.id_to_index[new.id] != ABSENT:
            raise self.broken(f"id of {new!r} is taken")
        if len(self.entries) == self.capacity:
            raise self.broken(f"no memory for {new!r} behind {self.capacity} slots")
        self.id_to_index[new.id] = len(self.entries)
        self.entries.append(new.copy(new.serial))
        self.ids.append(new.id)

    def place(self, new: MemorySlot) -> None:
        """Bring the entry with the id of ``new`` to its place, and store ``new`` there.

        Raises:
            StructureBroken: Another slot begins at the same gfn.

        Complexity: O(n)

        KVM before Linux 5.17: update_memslots, virt/kvm/kvm_main.c
        """
        index = self.move_forward(new, self.move_backward(new))
        self.store(index, new)

    def delete(self, slot_id: int) -> None:
        """Shift all later slots one place forward.

        Complexity: O(n)

        KVM before Linux 5.17: kvm_memslot_delete, virt/kvm/kvm_main.c
        """
        self._shift(self.id_to_index[slot_id], len(self.entries) - 1)
        self.id_to_index[slot_id] = ABSENT
        del self.entries[-1], self.ids[-1]

    def move_backward(self, new: MemorySlot) -> int:
        """Make room for ``new`` behind every slot with a higher gfn.

        Returns:
            The index of the room; what is there is to be replaced.

        KVM before Linux 5.17: kvm_memslot_move_backward, virt/kvm/kvm_main.c
        """
        first = self.id_to_index[new.id]
        behind = self._first_from(new.base_gfn, first + 1, len(self.entries))
        if behind < len(self.entries):
            self._assert_other_gfn(new, self.entries[behind])
        self._shift(first, behind - 1)
        return behind - 1

    def move_forward(self, new: MemorySlot, start: int) -> int:
        """Make room for ``new`` before every slot with a lower gfn.

        Args:
            new: What is to be placed.
            start: The index of the room that it has now.

        Returns:
            The index of the room.

        KVM before Linux 5.17: kvm_memslot_move_forward, virt/kvm/kvm_main.c
        """
        index = self._first_from(new.base_gfn, 0, start)
        if index < start:
            self._assert_other_gfn(new, self.entries[index])
        self._shift(start, index)
        return index

    def _shift(self, source: int, target: int) -> None:
        """Move an entry, and all between there and its target by one place."""
        self.entries.insert(target, self.entries.pop(source))
        self.ids.insert(target, self.ids.pop(source))
        first, last = min(source, target), max(source, target)
        id_to_index = self.id_to_index
        for index, slot_id in enumerate(self.ids[first : last + 1], first):
            id_to_index[slot_id] = index
        self.cost.slots_shifted += last - first

    def sort(self) -> None:
        """Bring appended slots into their order.

        Raises:
            StructureBroken: Two begin at the same gfn.

        Complexity: O(n log n)
        """
        self.entries.sort(key=_descending)
        self.ids = array("h", [slot.id for slot in self.entries])
        for index, slot in enumerate(self.entries):
            self.id_to_index[slot.id] = index
            if index:
                self._assert_other_gfn(slot, self.entries[index - 1])

    # What must hold.

    def _assert_other_gfn(self, new: MemorySlot, slot: MemorySlot) -> None:
        if new.base_gfn == slot.base_gfn:
            raise self.broken(f"{new!r} begins where {slot!r} does")

    def assert_has(self, old: MemorySlot) -> None:
        """Refuse to change what is not there.

        Raises:
            StructureBroken: The entry with the id of ``old`` is no copy of it.
        """
        index = self.id_to_index[old.id]
        if index == ABSENT or self.entries[index].serial != old.serial:
            raise self.broken(f"{old!r} is not in it")

    def broken(self, rule: str) -> StructureBroken:
        """The error that says so, with the slots by ascending gfn."""
        return StructureBroken(f"{self.name}: {rule}", self.entries[::-1])

    def check(self) -> None:
        """Walk the whole array.

        Raises:
            StructureBroken: It is out of order, two slots meet in guest memory, the
                table of ids disagrees, or it holds more than there is memory for.

        Complexity: O(n + m), m being all ids
        """
        entries = self.entries
        for index, slot in enumerate(entries):
            if index and slot.end_gfn > entries[index - 1].base_gfn:
                raise self.broken(f"{slot!r} meets {entries[index - 1]!r}")
            if self.id_to_index[slot.id] != index:
                said = self.id_to_index[slot.id]
                raise self.broken(f"index of {slot!r} is {said}, not {index}")
        if self.ids.tolist() != [slot.id for slot in entries]:
            raise self.broken("ids are out of order")
        if len(self.id_to_index) - self.id_to_index.count(ABSENT) != len(entries):
            raise self.broken("an id names no slot")
        if len(entries) > self.capacity:
            raise self.broken(f"there is memory for {self.capacity} slots only")


def _descending(slot: MemorySlot) -> int:
    return -slot.base_gfn
