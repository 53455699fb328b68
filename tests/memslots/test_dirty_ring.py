"""A vCPU's dirty ring as an array, and how entries are reset together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memslots.dirty_ring import DirtyGfn, DirtyRing, EntryState, ResetBatch
from memslots.errors import DirtyRingOverflow

TOP = 1 << 64


def ring(size: int = 8, reserved: int = 2) -> DirtyRing:
    return DirtyRing("vcpu0", size, reserved)


def test_what_is_pushed_is_collected_and_then_reset() -> None:
    dirty = ring()
    dirty.push(3, 5)
    dirty.push(1 << 16, 7)
    assert dirty.take_harvested() is None
    assert dirty.collect() == [(3, 5), (1 << 16, 7)]
    assert dirty.collect() == []
    assert dirty.used == 2
    assert [dirty.take_harvested() for _ in range(3)] == [(3, 5), (1 << 16, 7), None]
    assert dirty.used == 0


def test_it_is_soft_full_before_it_is_full() -> None:
    dirty = ring(size=8, reserved=2)
    fullness = []
    for offset in range(8):
        dirty.push(0, offset)
        fullness.append(dirty.is_soft_full)
    assert fullness == [False] * 5 + [True] * 3


def test_a_page_too_many_is_a_finding() -> None:
    dirty = ring(size=8)
    for offset in range(8):
        dirty.push(0, offset)
    dirty.collect()
    with pytest.raises(DirtyRingOverflow, match="vcpu0 is full: 8 entries in use"):
        dirty.push(0, 8)
    assert dirty.take_harvested() == (0, 0)
    dirty.push(0, 8)


def test_what_user_space_does_not_collect_is_not_reset() -> None:
    dirty = ring()
    dirty.push(0, 1)
    dirty.push(0, 2)
    dirty.entry(1).state = EntryState.RESET  # the second before the first
    assert dirty.take_harvested() is None
    assert dirty.collect() == [(0, 1)]
    assert dirty.take_harvested() == (0, 1)


def test_user_space_may_write_anything_into_an_entry() -> None:
    dirty = ring()
    dirty.push(0, 1)
    dirty.collect()
    dirty.entry(0).slot, dirty.entry(0).offset = 9, TOP - 1
    assert dirty.take_harvested() == (9, TOP - 1)
    assert dirty.entry(0) == DirtyGfn(EntryState.INVALID, 9, TOP - 1)


@given(st.lists(st.tuples(st.sampled_from(["push", "collect", "reset"]))))
def test_nothing_is_lost_or_invented_however_often_it_wraps(
    acts: list[tuple[str]],
) -> None:
    dirty = ring(size=4, reserved=1)
    pushed: list[tuple[int, int]] = []
    collected: list[tuple[int, int]] = []
    reset: list[tuple[int, int]] = []
    for (act,) in acts:
        if act == "push" and len(pushed) - len(reset) < 4:
            pushed.append((1, len(pushed)))
            dirty.push(*pushed[-1])
        elif act == "collect":
            collected += dirty.collect()
            assert collected == pushed
        elif act == "reset" and (entry := dirty.take_harvested()) is not None:
            reset.append(entry)
        assert reset == collected[: len(reset)]
        assert dirty.used == len(pushed) - len(reset)


# What is reset together.


@pytest.mark.parametrize(
    ("first", "then", "merged"),
    [
        ((1, 10), [(1, 10)], (10, 0b1)),
        ((1, 10), [(1, 11), (1, 13)], (10, 0b1011)),
        ((1, 10), [(1, 73)], (10, 1 << 63 | 1)),
        ((1, 10), [(1, 9)], (9, 0b11)),
        ((1, 10), [(1, 12), (1, 9)], (9, 0b1011)),
        ((1, 73), [(1, 10)], (10, 1 << 63 | 1)),
        ((1, TOP - 1), [(1, 2)], (TOP - 1, 0b1001)),
        ((1, 2), [(1, TOP - 1)], (TOP - 1, 0b1001)),
    ],
)
def test_neighbours_are_reset_together(
    first: tuple[int, int], then: list[tuple[int, int]], merged: tuple[int, int]
) -> None:
    batch = ResetBatch(*first)
    assert all(batch.merge(*each) for each in then)
    assert (batch.slot, batch.offset, batch.mask) == (1, *merged)


@pytest.mark.parametrize(
    ("first", "then", "refused"),
    [
        ((1, 10), [], (2, 11)),
        ((1, 10), [], (1, 74)),
        ((1, 74), [], (1, 10)),
        ((1, 10), [(1, 73)], (1, 9)),
        ((1, 10), [(1, 12)], (1, TOP - 100)),
    ],
)
def test_what_does_not_fit_into_64_bits_is_reset_apart(
    first: tuple[int, int], then: list[tuple[int, int]], refused: tuple[int, int]
) -> None:
    batch = ResetBatch(*first)
    assert all(batch.merge(*each) for each in then)
    before = (batch.offset, batch.mask)
    assert not batch.merge(*refused)
    assert (batch.offset, batch.mask) == before
