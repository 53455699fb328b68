"""A slot's dirty bitmap: two halves of whole longs."""

from __future__ import annotations

import pytest

from memslots.dirty_bitmap import DirtyBitmap


@pytest.mark.parametrize(
    ("npages", "size_bytes"),
    [(1, 16), (63, 16), (64, 16), (65, 32), (128, 32), (2**31 - 1, 2**29)],
)
def test_both_halves_are_whole_longs(npages: int, size_bytes: int) -> None:
    assert DirtyBitmap(npages).size_bytes == size_bytes


def test_a_new_bitmap_is_clean() -> None:
    bitmap = DirtyBitmap(8)
    assert (bitmap.npages, bitmap.live, bitmap.scratch) == (8, 0, 0)
