"""Binding ranges of a guest_memfd; slots that are bound are in test_update.py."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memslots.errors import MemoryRegionError
from memslots.guest_memfd import GuestMemfd
from memslots.units import PAGE_SIZE

FILE_PAGES = 8


def new_file() -> GuestMemfd:
    return GuestMemfd(FILE_PAGES * PAGE_SIZE)


def test_a_range_that_ends_with_the_file_is_bound() -> None:
    file = new_file()
    file.bind(6 * PAGE_SIZE, 2)
    assert file.bindings == [(0x6000, 0x8000)]


def test_a_range_that_ends_one_page_behind_the_file_is_refused() -> None:
    file = new_file()
    with pytest.raises(MemoryRegionError, match="ends at 0x9000") as refused:
        file.bind(7 * PAGE_SIZE, 2)
    assert refused.value.errno == errno.EINVAL
    assert file.bindings == []


def test_a_bound_page_cannot_be_bound_again() -> None:
    file = new_file()
    file.bind(2 * PAGE_SIZE, 2)
    with pytest.raises(
        MemoryRegionError, match=r"meets the bound range 0x2000\.\.0x4000"
    ) as refused:
        file.bind(3 * PAGE_SIZE, 1)
    assert refused.value.errno == errno.EINVAL
    assert file.bindings == [(0x2000, 0x4000)]


def test_ranges_may_touch() -> None:
    file = new_file()
    file.bind(2 * PAGE_SIZE, 2)
    file.bind(0, 2)
    file.bind(4 * PAGE_SIZE, 1)
    assert sorted(file.bindings) == [(0, 0x2000), (0x2000, 0x4000), (0x4000, 0x5000)]


def test_an_unbound_range_can_be_bound_again() -> None:
    file = new_file()
    file.bind(0, 4)
    file.unbind(0, 4)
    file.bind(2 * PAGE_SIZE, 4)
    assert file.bindings == [(0x2000, 0x6000)]


@given(
    st.lists(
        st.tuples(st.integers(0, FILE_PAGES), st.integers(1, FILE_PAGES)), max_size=12
    )
)
def test_no_page_is_ever_bound_twice(wanted: list[tuple[int, int]]) -> None:
    file = new_file()
    bound: set[int] = set()
    for first, npages in wanted:
        pages = set(range(first, first + npages))
        if pages & bound or first + npages > FILE_PAGES:
            with pytest.raises(MemoryRegionError):
                file.bind(first * PAGE_SIZE, npages)
        else:
            file.bind(first * PAGE_SIZE, npages)
            bound |= pages
    assert {
        page
        for start, end in file.bindings
        for page in range(start // PAGE_SIZE, end // PAGE_SIZE)
    } == bound
