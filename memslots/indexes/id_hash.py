"""Slot id to owner: a table of 128 buckets, as the kernel's.

KVM: id_to_memslot, include/linux/kvm_host.h
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from memslots.indexes.errors import StructureBroken

HASH_BITS = 7
BUCKETS = 1 << HASH_BITS

# 2**32 divided by the golden ratio: neighbouring ids land far apart.
_GOLDEN_RATIO_32 = 0x61C88647


class HasId(Protocol):
    """What the table must know of an owner."""

    @property
    def id(self) -> int:
        """The key; must not change while the owner is in a table."""


OwnerT = TypeVar("OwnerT", bound=HasId)


def bucket_of(slot_id: int) -> int:
    """Return the bucket of an id: the top bits of a 32-bit product.

    >>> [bucket_of(slot_id) for slot_id in range(5)]
    [0, 48, 97, 18, 67]

    Complexity: O(1)

    Linux: hash_min, include/linux/hashtable.h
    """
    return (slot_id * _GOLDEN_RATIO_32 & 0xFFFF_FFFF) >> (32 - HASH_BITS)


class IdHash(Generic[OwnerT]):
    """Owners by id.

    The kernel chains all ids of one bucket, so its lookup costs O(1 + n/128). A
    dict gives O(1) at any n. What can be seen of the chains from outside, the
    order of a whole pass, is kept: a dict remembers the order of insertion.

    >>> from types import SimpleNamespace
    >>> table = IdHash()
    >>> for slot_id in (4, 1, 3):
    ...     table.add(SimpleNamespace(id=slot_id))
    >>> table.find(3).id, table.find(2)
    (3, None)
    >>> [owner.id for owner in table.in_bucket_order()]
    [3, 1, 4]
    """

    __slots__ = ("_owners",)

    def __init__(self) -> None:
        """Start empty."""
        self._owners: dict[int, OwnerT] = {}

    def add(self, owner: OwnerT) -> None:
        """Put an owner at the head of its bucket.

        Raises:
            StructureBroken: Its id is taken.

        Complexity: O(1)

        Linux: hash_add, include/linux/hashtable.h
        """
        slot_id = owner.id
        if slot_id in self._owners:
            rule = f"id {slot_id} of {owner!r} is taken by {self._owners[slot_id]!r}"
            raise StructureBroken(rule, list(self._owners))
        self._owners[slot_id] = owner

    def remove(self, owner: OwnerT) -> None:
        """Take an owner out.

        Raises:
            StructureBroken: It is not the one that is stored for its id.

        Complexity: O(1)

        Linux: hash_del, include/linux/hashtable.h
        """
        stored = self._owners.get(owner.id)
        if stored is not owner:
            rule = f"id {owner.id} belongs to {stored!r}, not to {owner!r}"
            raise StructureBroken(rule, list(self._owners))
        del self._owners[owner.id]

    def find(self, slot_id: int) -> OwnerT | None:
        """Return the owner of an id, or None.

        Complexity: O(1)

        KVM: id_to_memslot, include/linux/kvm_host.h
        """
        return self._owners.get(slot_id)

    def in_bucket_order(self) -> Iterator[OwnerT]:
        """Yield all owners as a pass over the kernel's table meets them.

        Buckets ascend; inside a bucket the owner added last comes first.

        Complexity: O(n)

        KVM: kvm_for_each_memslot, include/linux/kvm_host.h
        """
        chains: list[list[OwnerT]] = [[] for _ in range(BUCKETS)]
        for slot_id, owner in reversed(self._owners.items()):
            chains[bucket_of(slot_id)].append(owner)
        for chain in chains:
            yield from chain

    def __len__(self) -> int:
        """Return how many owners are in the table. Complexity: O(1)."""
        return len(self._owners)

    def check(self) -> None:
        """Verify that each owner still has the id it was added under.

        Raises:
            StructureBroken: One does not.

        Complexity: O(n)
        """
        for position, (slot_id, owner) in enumerate(self._owners.items()):
            if owner.id != slot_id:
                rule = f"{owner!r} has id {owner.id}, was added under id {slot_id}"
                raise StructureBroken(rule, list(self._owners), position)
