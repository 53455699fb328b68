"""The two halves of a slot's dirty bitmap.

The first half collects what the guest writes; the second is scratch space of the ioctls
that hand the bits to user space. Who sets and clears bits is in `memslots.dirty_log`;
it passes the schedule point before each access.

Only words that somebody has touched take memory: a slot may have 2^31 - 1 pages.
"""

from __future__ import annotations

from collections.abc import Iterator

from rcu.operation import Location
from rcu.reclaim import Reclaimable

BITS_PER_LONG = 64
ALL_ONES = (1 << BITS_PER_LONG) - 1

Words = tuple[tuple[int, int], ...]
"""Words of a bitmap that are not 0, in order: index and bits."""


class DirtyBitmap(Reclaimable):
    """One bit for each page of a slot, twice, in words of 64.

    Args:
        npages: Pages of the slot.
        initially_set: Whether every page counts as written from the start.

    Attributes:
        npages: Pages of the slot.
        initially_set: Whether every page counts as written from the start.
        location: Where every word of the first half is read and written.
        scratch: The second half; words that are 0 are left out. Protected by
            ``slots_lock``.

    KVM: kvm_alloc_dirty_bitmap, virt/kvm/kvm_main.c
    """

    __slots__ = ("_words", "initially_set", "location", "npages", "scratch")

    def __init__(self, npages: int, *, initially_set: bool = False) -> None:
        self.npages = npages
        self.location = Location("dirty bitmap")
        self.scratch: dict[int, int] = {}
        self._words: dict[int, int] = {}
        self.initially_set = initially_set

    @property
    def size_bytes(self) -> int:
        """Memory of both halves: whole longs, as in the kernel."""
        return 2 * self.nwords * BITS_PER_LONG // 8

    @property
    def nwords(self) -> int:
        """Words of one half."""
        return -(-self.npages // BITS_PER_LONG)

    def word(self, index: int) -> int:
        """One word of the first half."""
        return self._words.get(index, self._first_value(index))

    def _first_value(self, index: int) -> int:
        """What nobody has touched yet; bits behind the last page are 0."""
        if not self.initially_set:
            return 0
        return ALL_ONES >> max((index + 1) * BITS_PER_LONG - self.npages, 0)

    def first_dirty(self, index: int) -> int | None:
        """The first word from ``index`` on that is not 0.

        Cost: What was touched if bits are clear at first, else the words passed over.
        """
        if self.initially_set:
            later: Iterator[int] = iter(range(index, self.nwords))
            return next((each for each in later if self.word(each)), None)
        touched = (each for each, word in self._words.items() if word and each >= index)
        return min(touched, default=None)

    def words(self) -> Words:
        """The first half as it is now."""
        indexes = range(self.nwords) if self.initially_set else sorted(self._words)
        words = ((index, self.word(index)) for index in indexes)
        return tuple((index, word) for index, word in words if word)

    def set_bit(self, offset: int) -> None:
        """Mark a page.

        Args:
            offset: Its place in the slot, ``0 <= offset < npages``.

        KVM: set_bit_le, include/asm-generic/bitops/le.h
        """
        index, bit = divmod(offset, BITS_PER_LONG)
        self._words[index] = self.word(index) | 1 << bit

    def fetch_and_clear(self, index: int, mask: int = ALL_ONES) -> int:
        """Take bits of one word at once.

        Args:
            index: Which word.
            mask: Which of its bits.

        Returns:
            Those that were set.

        KVM: atomic_long_fetch_andnot, include/linux/atomic/atomic-instrumented.h
        """
        word = self.word(index)
        self._words[index] = word & ~mask
        return word & mask
