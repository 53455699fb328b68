"""Where the memory that slots own comes from and where it goes.

Every allocation of an update is made here, so that one can be made to fail from
outside, as the kernel's fault injection does, and so that the trace can tell what
became of it.

Linux: struct fault_attr, include/linux/fault-inject.h
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from memslots.dirty_bitmap import DirtyBitmap
from memslots.errors import MemoryRegionError
from memslots.slot import MemorySlot
from memslots.tracepoints import (
    AllocationFailed,
    MemoryAllocated,
    MemoryFreed,
    MemoryHeld,
)
from rcu.reclaim import Reclaimable, is_reclaimed, reclaim
from rcu.schedule.scheduler import Scheduler

T = TypeVar("T", bound=Reclaimable)


class Allocation(Enum):
    """What an update allocates, in the order of the kernel.

    KVM: kvm_set_memory_region, virt/kvm/kvm_main.c
    """

    SLOT = "slot"
    INVALID_SLOT = "invalid-slot"
    DIRTY_BITMAP = "dirty-bitmap"
    RMAP = "rmap"
    LPAGE_INFO = "lpage-info"
    GFN_TRACK = "gfn-track"


class Allocator:
    """Hands out memory, takes it back, and tells the trace of both.

    In the trace an allocation goes by its kind and by the serial of the slot object it
    was made for: no slot object gets two of a kind.

    Args:
        scheduler: Whose tasks allocate and free.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._planned: dict[str, tuple[Allocation, int]] = {}
        # Filled only while somebody reads the trace; nothing was made for nobody.
        self._made_for: dict[Reclaimable | None, int] = {}

    # Failures.

    def fail(self, kind: Allocation, *, after: int = 0) -> None:
        """Let a coming allocation of the current task find no memory.

        It replaces what the task has planned before.

        Args:
            kind: What it cannot get.
            after: How many of that kind it still gets.
        """
        self._planned[self._scheduler.current.name] = (kind, after)

    def forget(self) -> None:
        """Let every allocation of the current task succeed again."""
        self._planned.pop(self._scheduler.current.name, None)

    def check(self, kind: Allocation) -> None:
        """Find out whether there is memory.

        Raises:
            MemoryRegionError: ENOMEM; this allocation was planned to fail.
        """
        if self._planned:
            self._fail_if_planned(kind)

    def _fail_if_planned(self, kind: Allocation) -> None:
        task = self._scheduler.current.name
        planned, left = self._planned.get(task, (None, 0))
        if planned is not kind:
            return
        if left:
            self._planned[task] = (kind, left - 1)
            return
        del self._planned[task]
        if self._scheduler.tracing:
            self._scheduler.emit(AllocationFailed(kind.value))
        raise MemoryRegionError(errno.ENOMEM, f"no memory for {kind.value}")

    # Allocations.

    def allocate(self, kind: Allocation, thing: T, slot: MemorySlot) -> T:
        """Hand out ``thing``, which is to belong to ``slot``.

        Raises:
            MemoryRegionError: ENOMEM.
        """
        self.check(kind)
        if self._scheduler.tracing:
            self._made_for[thing] = slot.serial
            self.tell_allocated(kind, slot.serial)
        return thing

    def free(self, kind: Allocation, thing: Reclaimable, name: str) -> None:
        """Take ``thing`` back.

        Args:
            kind: What it is.
            thing: Something that `allocate` handed out.
            name: What findings call it.

        Raises:
            DoubleFree: It has been freed before.
        """
        reclaim(self._scheduler, thing, name)
        if self._scheduler.tracing:
            made_for = self._made_for.pop(thing)
            self._scheduler.emit(MemoryFreed(kind.value, made_for))

    # What only the trace wants to know.

    def tell_allocated(self, kind: Allocation, serial: int) -> None:
        """Tell of something that was allocated for the slot object ``serial``."""
        if self._scheduler.tracing:
            self._scheduler.emit(MemoryAllocated(kind.value, serial))

    def tell_held(
        self,
        slot: MemorySlot,
        arrays: Mapping[Allocation, Reclaimable | None],
        *,
        ring: bool,
    ) -> None:
        """Tell what ``slot`` points to.

        Args:
            slot: A slot whose pointers have just been set.
            arrays: Those of them that are the architecture's.
            ring: Whether the VM logs dirty pages in rings.
        """
        made_for = self._made_for
        bitmap = slot.dirty_bitmap
        self._scheduler.emit(
            MemoryHeld(
                slot.serial,
                made_for.get(bitmap),
                made_for.get(arrays.get(Allocation.RMAP)),
                made_for.get(arrays.get(Allocation.LPAGE_INFO)),
                made_for.get(arrays.get(Allocation.GFN_TRACK)),
                ring,
                _is_initially_set(bitmap),
            )
        )


def _is_initially_set(bitmap: DirtyBitmap | None) -> bool:
    """Whether a bitmap began with ones; one that was freed is the next user's find."""
    return bitmap is not None and not is_reclaimed(bitmap) and bitmap.initially_set
