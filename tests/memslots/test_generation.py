"""The arithmetic of generations; how they move is told in test_update.py."""

from __future__ import annotations

import pytest

from memslots.generation import UPDATE_IN_PROGRESS, advanced, in_progress, settled


def test_the_mark_is_bit_63() -> None:
    assert UPDATE_IN_PROGRESS == 0x8000_0000_0000_0000
    assert in_progress(6) == 0x8000_0000_0000_0006


def test_a_number_keeps_everything_but_the_mark() -> None:
    assert settled(in_progress(6)) == 6
    assert settled(6) == 6
    assert in_progress(in_progress(6)) == in_progress(6)


@pytest.mark.parametrize(
    ("generation", "address_space_count", "after"), [(0, 1, 1), (0, 2, 2), (7, 2, 9)]
)
def test_a_swap_advances_by_the_number_of_address_spaces(
    generation: int, address_space_count: int, after: int
) -> None:
    assert advanced(generation, address_space_count) == after
    assert advanced(in_progress(generation), address_space_count) == after


def test_no_number_is_used_twice_in_any_address_space() -> None:
    seen = []
    for as_id in (0, 1):
        generation = as_id
        for _ in range(10):
            seen += [generation, in_progress(generation)]
            assert generation % 2 == as_id
            generation = advanced(in_progress(generation), 2)
    assert len(set(seen)) == len(seen)
