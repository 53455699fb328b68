"""The two halves of a slot's dirty bitmap.

The first half collects what the guest writes; the second is scratch space of the ioctls
that hand the bits to user space. Who sets and clears bits lives with the readers.
"""

from __future__ import annotations

from rcu.reclaim import Reclaimable

BITS_PER_LONG = 64


class DirtyBitmap(Reclaimable):
    """One bit for each page of a slot, twice.

    Args:
        npages: Pages of the slot.

    Attributes:
        npages: Pages of the slot.
        live: Bits of pages written since they were last fetched.
        scratch: Bits on their way to user space.

    KVM: kvm_alloc_dirty_bitmap, virt/kvm/kvm_main.c
    """

    __slots__ = ("live", "npages", "scratch")

    def __init__(self, npages: int) -> None:
        self.npages = npages
        self.live = 0
        self.scratch = 0

    @property
    def size_bytes(self) -> int:
        """Memory of both halves: whole longs, as in the kernel."""
        longs = -(-self.npages // BITS_PER_LONG)
        return 2 * longs * BITS_PER_LONG // 8
