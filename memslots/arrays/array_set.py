"""A set that keeps its slots in an array, behind the interface of one with trees.

A pointer to a slot is a pointer into the array that holds it. It goes stale with the
array: when another one is published, it must not be used any more. So each set gives
out slot objects of its own, made when somebody asks for one.

KVM before Linux 5.17: struct kvm_memslots, include/linux/kvm_host.h
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from memslots.arrays.slot_array import ABSENT, Cost, SlotArray
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SIZE, Gfn, Hva
from rcu.errors import RuleBroken
from rcu.operation import Location, Operation


class OutOfArray(RuleBroken):
    """An entry was read behind the end of its array."""

    checker: ClassVar[str] = "no-use-after-free"


class ArrayMemslots(Memslots):
    """A set of slots in one array.

    Args:
        as_id: Address space.
        number: Which set of the address space, from 0, as the trace calls it.
        ids: Number of slot ids, used or not.
        cost: What all arrays of the VM have cost.
        slot_memory: Location of the data of slots.
        arch_data: Location of their arch data.

    Attributes:
        node_idx: The number of the set.
        array: Its slots; those that were given out may have newer arch data.
        last_used_index: ``last_used_slot`` of the kernel, which was an index then.
        duplicate: Operation that copies the whole set.
        release: Operation that frees it.

    KVM before Linux 5.17: struct kvm_memslots, include/linux/kvm_host.h
    """

    kind: ClassVar[str] = "array"

    __slots__ = (
        "_cost",
        "_pointers",
        "array",
        "duplicate",
        "last_used_index",
        "release",
    )

    def __init__(
        self,
        as_id: int,
        number: int,
        ids: int,
        cost: Cost,
        slot_memory: Location,
        arch_data: Location,
    ) -> None:
        super().__init__(as_id, number, slot_memory)
        self.array = SlotArray(self.name, ids, cost)
        self._cost = cost
        everything = (
            *self.lookup.reads,
            self.last_used_location,
            self.generation_location,
            arch_data,
        )
        self.duplicate = Operation("copy", reads=everything)
        self.release = Operation("free", writes=everything)

    def make_indexes(self) -> None:
        """See `Memslots.make_indexes`."""
        self.last_used_index = 0
        self._pointers: dict[int, MemorySlot] = {}

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[MemorySlot]:
        """The slots by ascending gfn, though the array goes the other way."""
        return map(self.slot_at, reversed(range(len(self.array))))

    def __repr__(self) -> str:
        return f"<{self.name}: {self.array.entries[::-1]}>"

    # The set as a whole.

    def copy_from(self, source: ArrayMemslots, *, extra: int) -> None:
        """Become a copy of ``source`` with room for ``extra`` slots more.

        Complexity: O(n) slots and O(m) table entries, m being all ids

        KVM before Linux 5.17: kvm_dup_memslots, virt/kvm/kvm_main.c
        """
        self.generation = source.generation
        self.last_used_index = source.last_used_index
        source.settle()
        self.array.copy_from(source.array, extra=extra)

    def copy_arch_from(self, source: ArrayMemslots) -> None:
        """Take over the arch data of ``source``, and nothing else of its slots.

        Complexity: O(n)

        KVM before Linux 5.17: kvm_copy_memslots_arch, virt/kvm/kvm_main.c
        """
        for slot in source._pointers.values():  # no other can have changed
            index = self.array.id_to_index[slot.id]
            entry = self.array.entries[index].copy(self.array.entries[index].serial)
            entry.arch = slot.arch.copy() if slot.arch else None
            self.array.store(index, entry)
        self._cost.arch_copied += len(self.array)

    def settle(self) -> None:
        """Bring the array up to what was changed through pointers, which is arch data.

        Complexity: O(k), k being the slots that were given out
        """
        for slot in self._pointers.values():
            self.array.store(self.array.id_to_index[slot.id], slot)

    def take_pointers(self) -> list[MemorySlot]:
        """The slot objects that were given out; new ones take their places.

        Complexity: O(k), k being those
        """
        self.settle()
        pointers = list(self._pointers.values())
        self._pointers.clear()
        return pointers

    def slot_at(self, index: int) -> MemorySlot:
        """A pointer to an entry of the array: always the same object.

        Raises:
            OutOfArray: There is no such entry.
        """
        if index >= len(self.array):
            raise OutOfArray(
                f"entry {index} of {self.name} was read, which has {len(self.array)}"
            )
        entry = self.array.entries[index]
        slot = self._pointers.get(entry.id)
        if slot is None:
            slot = self._pointers[entry.id] = entry.copy(entry.serial)
        return slot

    # Lookups.

    def id_to_memslot(self, slot_id: int) -> MemorySlot | None:
        """See `Memslots.id_to_memslot`.

        Complexity: O(1), by way of a table of all ids
        """
        self._cost.slots_visited += 1
        index = self.array.id_to_index[slot_id]
        return None if index == ABSENT else self.slot_at(index)

    def search_memslots(self, gfn: Gfn) -> MemorySlot | None:
        """See `Memslots.search_memslots`.

        Complexity: O(log n)
        """
        index = self.array.find(gfn)
        # Below the lowest slot the search ends behind the array.
        if index == len(self.array) or not self.array.entries[index].contains(gfn):
            return None
        return self.slot_at(index)

    def search_memslots_approx(self, gfn: Gfn) -> MemorySlot | None:
        """See `Memslots.search_memslots_approx`.

        Complexity: O(log n)
        """
        last = len(self.array) - 1
        return None if last < 0 else self.slot_at(min(self.array.find(gfn), last))

    def walk(self, gfn: Gfn) -> Iterator[MemorySlot]:
        """See `Memslots.walk`; the last one is the answer, if it contains ``gfn``."""
        start, end = 0, len(self.array)
        while start < end:
            self._cost.slots_visited += 1
            middle = (start + end) // 2
            yield self.slot_at(middle)
            if gfn >= self.array.entries[middle].base_gfn:
                end = middle
            else:
                start = middle + 1
        if start < len(self.array):
            yield self.slot_at(start)

    def in_gfn_range(self, start: Gfn, end: Gfn) -> Iterator[MemorySlot]:
        """See `Memslots.in_gfn_range`.

        Complexity: O(n)
        """
        self._cost.slots_visited += len(self.array)
        met = [
            index
            for index, slot in enumerate(self.array.entries)
            if slot.base_gfn < end and start < slot.base_gfn + slot.npages
        ]
        return map(self.slot_at, reversed(met))

    def in_hva_range(self, start: Hva, last: Hva) -> Iterator[MemorySlot]:
        """See `Memslots.in_hva_range`.

        Complexity: O(n)
        """
        self._cost.slots_visited += len(self.array)
        entries = self.array.entries
        met = [
            index
            for index, slot in enumerate(entries)
            if slot.userspace_addr <= last
            and start < slot.userspace_addr + slot.npages * PAGE_SIZE
        ]
        met.sort(key=lambda index: entries[index].userspace_addr)
        return map(self.slot_at, met)

    def last_gfn_end(self) -> Gfn:
        """See `Memslots.last_gfn_end`.

        Complexity: O(1)
        """
        return self.array.entries[0].end_gfn if len(self.array) else Gfn(0)

    # The mini-cache.

    def cached(self) -> MemorySlot | None:
        """See `Memslots.cached`.

        Raises:
            OutOfArray: The index was not reset when the array became shorter.
        """
        return self.slot_at(self.last_used_index) if len(self.array) else None

    def remember(self, slot: MemorySlot) -> None:
        """See `Memslots.remember`."""
        self.last_used_index = self.array.id_to_index[slot.id]

    def reset_last_used(self) -> None:
        """Let ``last_used_index`` stay inside an array that has become shorter."""
        if self.last_used_index >= len(self.array):
            self.last_used_index = 0

    # The one change.

    def replace(self, old: MemorySlot | None, new: MemorySlot | None) -> None:
        """See `Memslots.replace`; ``old`` and ``new`` are copies, not pointers.

        Raises:
            StructureBroken: ``old`` is not in the set, or ``new`` does not fit.

        Complexity: O(n)

        KVM before Linux 5.17: update_memslots, virt/kvm/kvm_main.c
        """
        if old is not None:
            self.array.assert_has(old)
            self._pointers.pop(old.id, None)
        if new is not None:
            if old is None:
                self.array.append(new)
            self.array.place(new)
        elif old is not None:
            self.array.delete(old.id)
            self.reset_last_used()

    def check(self) -> None:
        """Walk the whole set.

        Raises:
            StructureBroken: The array is broken, or the cache names no entry.

        Complexity: O(n + m), m being all ids
        """
        self.array.check()
        index, count = self.last_used_index, len(self.array)
        if index and index >= count:
            raise self.array.broken(f"last_used_slot is entry {index} of {count}")
