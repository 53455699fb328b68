"""Which large pages may be mapped as one, against the kernel's array of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memslots.slot import MemorySlot
from memslots.units import PAGE_SHIFT, Gfn, Hva, Pages
from vcpus.lpage_info import (
    PG_LEVEL_1G,
    PG_LEVEL_2M,
    PG_LEVEL_4K,
    LpageInfo,
    OutsideArray,
    hpage_gfn_shift,
)

MIB_2 = 1 << 9
GIB_1 = 1 << 18


def info(gfn: int, npages: int, host_gfn: int) -> LpageInfo:
    hva = Hva(host_gfn << PAGE_SHIFT)
    return LpageInfo(MemorySlot(1, 0, 1, Gfn(gfn), Pages(npages), hva))


def kernel_array(gfn: int, npages: int, host_gfn: int, level: int) -> list[bool]:
    """Entry by entry, as the kernel fills it."""
    pages = 1 << hpage_gfn_shift(level)
    first, last = gfn // pages, (gfn + npages - 1) // pages
    disallowed = [False] * (last - first + 1)
    if gfn % pages:
        disallowed[0] = True
    if (gfn + npages) % pages:
        disallowed[-1] = True
    if gfn % pages != host_gfn % pages:
        disallowed = [True] * len(disallowed)
    return disallowed


def test_levels_are_4_kib_2_mib_and_1_gib() -> None:
    levels = (PG_LEVEL_4K, PG_LEVEL_2M, PG_LEVEL_1G)
    assert [1 << hpage_gfn_shift(level) for level in levels] == [1, MIB_2, GIB_1]


@given(
    gfn=st.integers(0, 3 * MIB_2) | st.sampled_from([0, MIB_2, 2 * MIB_2]),
    npages=st.integers(1, 4 * MIB_2),
    shift=st.sampled_from([0, 0, MIB_2, 1, 511]),
)
def test_each_large_page_is_as_the_kernel_notes_it(
    gfn: int, npages: int, shift: int
) -> None:
    made = info(gfn, npages, gfn + shift)
    for level in (PG_LEVEL_2M, PG_LEVEL_1G):
        expected = kernel_array(gfn, npages, gfn + shift, level)
        assert made.lpages(level) == len(expected)
        large = 1 << hpage_gfn_shift(level)
        pages = {gfn, gfn + npages - 1} | set(
            range(gfn // large * large + large, gfn + npages, large)
        )
        first = gfn // large
        assert [made.disallows(Gfn(page), level) for page in sorted(pages)] == [
            expected[page // large - first] for page in sorted(pages)
        ]


def test_a_gigabyte_that_is_aligned_on_both_sides_is_one_page() -> None:
    made = info(GIB_1, 2 * GIB_1, 5 * GIB_1)
    for level in (PG_LEVEL_2M, PG_LEVEL_1G):
        assert not made.disallows(Gfn(2 * GIB_1 + 77), level)


def test_only_what_is_aligned_differently_in_the_host_is_broken_up() -> None:
    made = info(GIB_1, 2 * GIB_1, 5 * GIB_1 + MIB_2)
    assert not made.disallows(Gfn(2 * GIB_1), PG_LEVEL_2M)
    assert made.disallows(Gfn(2 * GIB_1), PG_LEVEL_1G)


def test_the_largest_slot_costs_no_more_than_the_smallest() -> None:
    npages = (1 << 31) - 1
    made = info(0, npages, 0)
    assert made.lpages(PG_LEVEL_2M) == (1 << 22)
    assert not made.disallows(Gfn(npages - MIB_2), PG_LEVEL_2M)
    assert made.disallows(Gfn(npages - 1), PG_LEVEL_2M)


@pytest.mark.parametrize("gfn", [MIB_2 - 1, 3 * MIB_2, 0x100000])
def test_what_was_made_for_another_place_is_not_asked(gfn: int) -> None:
    made = info(MIB_2, 2 * MIB_2, 0)
    with pytest.raises(OutsideArray, match=f"gfn {gfn:#x} has index"):
        made.disallows(Gfn(gfn), PG_LEVEL_2M)
