"""A VM that keeps its slots in arrays: made for each change, freed after it.

At rest each address space has one array. While a slot is being changed it has two: the
one that readers find, and a working copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from memslots.arrays.array_set import ArrayMemslots
from memslots.arrays.slot_array import Cost
from memslots.generation import advanced
from memslots.region import Region
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots
from memslots.tracepoints import ArchDataCopied, SetCopied, SetFreed
from memslots.vm import Vm
from rcu.errors import SimulatorBug
from rcu.reclaim import reclaim


class ArrayVm(Vm):
    """A VM without slots, which will be in arrays.

    Args: See `Vm`.

    Attributes:
        memslots: Of which class its sets are.
        sets: The arrays of each address space that have not been freed.
        cost: What copying, shifting and visiting slots has cost.
    """

    memslots: ClassVar[type[ArrayMemslots]] = ArrayMemslots

    def make_sets(self) -> Sequence[Sequence[Memslots]]:
        """See `Vm.make_sets`."""
        self.cost = Cost()
        self._arrays: list[list[ArrayMemslots]] = [
            [] for _ in range(self.address_space_count)
        ]
        self._numbers = [0] * self.address_space_count
        for as_id in range(self.address_space_count):
            self._allocate(as_id)
        return self._arrays

    def _allocate(self, as_id: int) -> ArrayMemslots:
        slots = self.memslots(
            as_id,
            self._numbers[as_id],
            self.profile.mem_slots_num,
            self.cost,
            self.slot_memory,
            self.arch_data,
        )
        self._numbers[as_id] += 1
        self._arrays[as_id].append(slots)
        return slots

    def active_array(self, as_id: int) -> ArrayMemslots:
        """The array that readers find, for whoever keeps it from changing."""
        active = self.active(as_id).peek()
        if not isinstance(active, ArrayMemslots):
            raise SimulatorBug(f"{active.name} is no array")
        return active

    def inactive_memslots(self, as_id: int) -> ArrayMemslots:
        """The working copy.

        Locks:
            Holds on entry: ``slots_lock``.
        """
        active = self.active(as_id).peek()
        for slots in reversed(self._arrays[as_id]):
            if slots is not active:
                return slots
        raise SimulatorBug(f"address space {as_id} has no working copy of {active!r}")

    def duplicate(self, source: ArrayMemslots, *, extra: int) -> ArrayMemslots:
        """A copy of ``source`` with room for ``extra`` slots more.

        Complexity: O(n) slots and O(m) table entries, m being all ids
        """
        slots = self._allocate(source.as_id)
        slots.copy_from(source, extra=extra)
        if self.scheduler.tracing:
            self.scheduler.emit(SetCopied(slots.as_id, slots.node_idx, source.node_idx))
        return slots

    def copy_arch(self, as_id: int) -> None:
        """Let the array that is to be used again have the arch data of the active one.

        Complexity: O(n)
        """
        source, slots = self.active_array(as_id), self.inactive_memslots(as_id)
        slots.copy_arch_from(source)
        if self.scheduler.tracing:
            self.scheduler.emit(ArchDataCopied(as_id, slots.node_idx, source.node_idx))

    async def retire(self, slots: ArrayMemslots) -> None:
        """Let no pointer into ``slots`` be used any more; the array may be used again.

        Complexity: O(k), k being the slots that were ever found in it
        """
        await self.scheduler.point(self.slot_memory.write)
        self._poison_pointers(slots)

    async def free_array(self, slots: ArrayMemslots) -> None:
        """Free an array with all its slots.

        KVM: kvm_free_memslots, virt/kvm/kvm_main.c
        """
        await self.scheduler.point(slots.release)
        self._poison_pointers(slots)
        self._arrays[slots.as_id].remove(slots)
        as_id, number = slots.as_id, slots.node_idx
        reclaim(self.scheduler, slots, slots.name)
        if self.scheduler.tracing:
            self.scheduler.emit(SetFreed(as_id, number))

    def _poison_pointers(self, slots: ArrayMemslots) -> None:
        for slot in slots.take_pointers():
            name = f"slot {slot.id} #{slot.serial} in {slots.name}"
            reclaim(self.scheduler, slot, name)

    async def free_working_copies(self) -> None:
        """Free every array that readers do not find."""
        for arrays in self._arrays:
            for slots in arrays[:]:
                if slots is not self.active(slots.as_id).peek():
                    await self.free_array(slots)

    def install(self, regions: Iterable[Region]) -> None:
        """See `Vm.install`.

        Complexity: O(n log n)
        """
        super().install(regions)
        for as_id in range(self.address_space_count):
            self.active_array(as_id).array.sort()

    def install_slot(self, slot: MemorySlot) -> None:
        """Append a slot to the array that is sorted at the end."""
        slots = self.active_array(slot.as_id)
        slots.array.capacity += 1
        slots.array.append(slot)
        slots.generation = advanced(slots.generation, self.address_space_count)
