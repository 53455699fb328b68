"""Array protocols with one step left out or exchanged, as a user would write them."""

from __future__ import annotations

from typing import ClassVar

from memslots.arrays.array_set import ArrayMemslots
from memslots.arrays.array_update import ArrayUpdate
from memslots.arrays.array_vm import ArrayVm
from memslots.slot import MemorySlot
from memslots.slot_set import Memslots


class WaitsForNobody(ArrayUpdate):
    """Frees an array, or uses it again, while readers may be inside it."""

    async def wait_for_readers(self) -> None:
        await self.vm.slots_arch_lock.release()


class CopiesTooSoon(ArrayUpdate):
    """Copies the active array before ``slots_arch_lock`` is taken."""

    async def begin_change(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        slot = new or old
        assert slot is not None
        await self.dup_memslots(slot.as_id, extra=old is None)
        if old is not None:
            self.take_over_arch(old)
        await self.vm.slots_arch_lock.acquire()


class CopiesTooSoonUnseen(CopiesTooSoon):
    """And does not look whether it holds the lock."""

    async def dup_memslots(self, as_id: int, *, extra: bool) -> None:
        active = self.vm.active_array(as_id)
        await self._scheduler.point(active.duplicate)
        self.vm.duplicate(active, extra=int(extra))


class ResyncsNothing(ArrayUpdate):
    """Uses the old array again as it was before the slot became INVALID."""

    def resync_arch(self, old: MemorySlot, invalid: MemorySlot) -> None:
        pass


class FreesNothing(ArrayUpdate):
    """Leaves every array that has been replaced where it is."""

    async def activate_memslot(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        slot = new or old
        assert slot is not None
        await self.swap_active_memslots(slot.as_id)


class ForgetsTheMark(ArrayUpdate):
    """Publishes a copy under the number of the set that was copied."""

    async def mark_in_progress(self, slots: Memslots, generation: int) -> None:
        pass


class KeepsAPointer(ArrayUpdate):
    """Works on the slot in the array instead of a copy of it."""

    def current_memslot(self, active: Memslots, slot_id: int) -> MemorySlot | None:
        return active.id_to_memslot(slot_id)


class Forgetful(ArrayMemslots):
    """Lets the cache point behind the end of a shorter array."""

    __slots__ = ()

    def reset_last_used(self) -> None:
        pass


class ForgetfulVm(ArrayVm):
    """A VM with such arrays."""

    memslots: ClassVar[type[ArrayMemslots]] = Forgetful
