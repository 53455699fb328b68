"""The number that tells one content of a set from the next.

It starts at the address space's id and grows by the number of address spaces, so that
it is unique across them. While a swap is under way the published set carries the old
number with `UPDATE_IN_PROGRESS` set: the pointer and the number cannot change at once,
and whoever caches under a number must be able to tell that it is neither the old nor
the new one.

KVM: KVM_MEMSLOT_GEN_UPDATE_IN_PROGRESS, include/linux/kvm_host.h
"""

from __future__ import annotations

UPDATE_IN_PROGRESS = 1 << 63


def in_progress(generation: int) -> int:
    """``generation`` as readers see it between a publish and the end of the swap."""
    return generation | UPDATE_IN_PROGRESS


def is_in_progress(generation: int) -> bool:
    """Whether ``generation`` was read between a publish and the end of the swap."""
    return bool(generation & UPDATE_IN_PROGRESS)


def settled(generation: int) -> int:
    """``generation`` without the mark."""
    return generation & ~UPDATE_IN_PROGRESS


def advanced(generation: int, address_space_count: int) -> int:
    """The generation after a swap that started at ``generation``."""
    return settled(generation) + address_space_count
