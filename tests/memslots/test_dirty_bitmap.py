"""A slot's dirty bitmap: two halves of whole longs, and atomic words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memslots.dirty_bitmap import ALL_ONES, DirtyBitmap

LARGEST = 2**31 - 1


@pytest.mark.parametrize(
    ("npages", "size_bytes"),
    [(1, 16), (63, 16), (64, 16), (65, 32), (128, 32), (LARGEST, 2**29)],
)
def test_both_halves_are_whole_longs(npages: int, size_bytes: int) -> None:
    assert DirtyBitmap(npages).size_bytes == size_bytes


def test_a_new_bitmap_is_clean() -> None:
    bitmap = DirtyBitmap(8)
    assert (bitmap.npages, bitmap.words(), bitmap.scratch) == (8, (), {})


@pytest.mark.parametrize(
    ("npages", "words"),
    [
        (1, ((0, 1),)),
        (63, ((0, ALL_ONES >> 1),)),
        (64, ((0, ALL_ONES),)),
        (65, ((0, ALL_ONES), (1, 1))),
        (100, ((0, ALL_ONES), (1, (1 << 36) - 1))),
        (128, ((0, ALL_ONES), (1, ALL_ONES))),
    ],
)
def test_an_initially_set_bitmap_has_a_one_for_each_page(
    npages: int, words: tuple[tuple[int, int], ...]
) -> None:
    bitmap = DirtyBitmap(npages, initially_set=True)
    assert bitmap.words() == words
    assert bitmap.word(len(words)) == 0


def test_the_largest_bitmap_costs_what_is_used_of_it() -> None:
    clear = DirtyBitmap(LARGEST)
    clear.set_bit(LARGEST - 1)
    assert clear.first_dirty(0) == clear.nwords - 1
    assert clear.words() == ((clear.nwords - 1, 1 << 62),)
    ones = DirtyBitmap(LARGEST, initially_set=True)
    assert ones.first_dirty(ones.nwords - 1) == ones.nwords - 1
    assert ones.fetch_and_clear(ones.nwords - 1) == ALL_ONES >> 1
    assert ones.first_dirty(ones.nwords - 1) is None


def test_bits_behind_the_last_page_are_never_set() -> None:
    bitmap = DirtyBitmap(3, initially_set=True)
    assert bitmap.fetch_and_clear(0, ALL_ONES ^ 1) == 0b110
    assert bitmap.words() == ((0, 1),)


PLACES = st.integers(0, 199)
ACTS = st.one_of(
    st.tuples(st.just("set"), PLACES),
    st.tuples(st.just("take"), st.integers(0, 3), st.integers(0, ALL_ONES)),
    st.tuples(st.just("find"), st.integers(0, 4)),
)


@given(npages=st.integers(1, 200), ones=st.booleans(), acts=st.lists(ACTS))
def test_it_is_a_set_of_pages(
    npages: int, acts: list[tuple[str, int] | tuple[str, int, int]], *, ones: bool
) -> None:
    bitmap = DirtyBitmap(npages, initially_set=ones)
    pages = set(range(npages)) if ones else set()
    for act in acts:
        match act:
            case "set", int(place) if place < npages:
                bitmap.set_bit(place)
                pages.add(place)
            case "take", int(index), int(mask):
                chosen = {64 * index + bit for bit in range(64) if mask >> bit & 1}
                taken = bitmap.fetch_and_clear(index, mask)
                assert pages_of(((index, taken),)) == pages & chosen
                pages -= chosen
            case "find", int(index):
                dirty = sorted({page // 64 for page in pages if page >= 64 * index})
                assert bitmap.first_dirty(index) == (dirty[0] if dirty else None)
        assert pages_of(bitmap.words()) == pages


def pages_of(words: tuple[tuple[int, int], ...]) -> set[int]:
    return {64 * i + bit for i, word in words for bit in range(64) if word >> bit & 1}
