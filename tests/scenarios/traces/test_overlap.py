"""Which calls overlap, and that the order of the others cannot be told."""

from collections.abc import Sequence
from itertools import combinations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traces.call import NEVER, RegionCall
from scenarios.traces.overlap import (
    Gate,
    order_matters,
    overlapping,
    predecessors,
)
from tests.scenarios.traces.histories import call, spans


def test_calls_that_follow_each_other_do_not_overlap() -> None:
    calls = [call(0, (1, 1), 0, (0, 4)), call(1, (2, 5), 1, (4, 8))]
    assert overlapping(calls) == ()


def test_call_overlaps_each_call_entered_before_it_returned() -> None:
    calls = [
        call(0, (1, 6), 0, (0, 1)),
        call(1, (2, 4), 1, (1, 2)),
        call(2, (3, 7), 2, (2, 3)),
        call(3, (5, 8), 3, (3, 4)),
    ]
    assert set(overlapping(calls)) == {(0, 1), (0, 2), (1, 2), (0, 3), (2, 3)}
    assert order_matters(calls) == ()


def test_calls_on_different_vms_do_not_overlap() -> None:
    first = call(0, (1, 3), 0, (0, 4))
    second = attrs.evolve(call(1, (2, 4), 0, (0, 4)), vm="fd10")
    assert overlapping([first, second]) == ()
    assert predecessors([first, call(1, (4, 5), 0, (0, 4))]) == [[], [0]]


@pytest.mark.parametrize(
    ("second", "matters"),
    [
        (call(2, (3, 5), 0, (9, 10)), True),  # one slot
        (call(2, (3, 5), 1, (5, 8)), True),  # asks for common pages
        (call(2, (3, 5), 1, (6, 8)), False),
        (call(2, (3, 5), 1, (0, 1), -17), True),  # refused for what the slot held
        (call(2, (3, 5), 65536, (4, 6)), False),  # another address space
    ],
)
def test_order_matters_for_one_slot_and_for_common_pages(
    second: RegionCall,
    matters: bool,  # noqa: FBT001 - a column of the table
) -> None:
    filled = call(0, (1, 1), 0, (0, 4))
    moved = call(1, (2, 4), 0, (4, 6))
    calls = [filled, moved, second]
    assert overlapping(calls) == ((1, 2),)
    assert order_matters(calls) == (((1, 2),) if matters else ())


def test_range_that_an_overlapping_call_gave_the_slot_counts() -> None:
    create = call(0, (1, 4), 0, (0, 4))
    delete = call(1, (2, 5), 0, (0, 0))
    other = call(2, (3, 6), 1, (3, 5), -17)
    assert set(order_matters([create, delete, other])) == {(0, 1), (0, 2), (1, 2)}
    early = call(0, (1, 1), 0, (0, 4))
    replaced = call(1, (2, 2), 0, (8, 12))
    delete = call(2, (3, 5), 0, (0, 0))
    other = call(3, (4, 6), 1, (0, 4))
    assert order_matters([early, replaced, delete, other]) == ()
    other = call(3, (4, 6), 1, (11, 12))
    assert order_matters([early, replaced, delete, other]) == ((2, 3),)


def test_range_that_a_later_entered_call_gave_the_slot_counts() -> None:
    early = call(0, (1, 1), 0, (8, 10))
    delete = call(1, (2, 7), 0, (0, 0))
    move = call(2, (3, 6), 0, (0, 2))  # may have come before the deletion
    other = call(3, (4, 8), 1, (1, 2), -17)
    assert set(order_matters([early, delete, move, other])) == {(1, 2), (1, 3), (2, 3)}


def test_either_of_two_overlapping_successes_may_be_the_last() -> None:
    slow = call(0, (1, 4), 0, (0, 2))
    fast = call(1, (2, 3), 0, (8, 10))
    delete = call(2, (5, 7), 0, (0, 0))
    for pages in ((1, 2), (9, 10)):
        other = call(3, (6, 8), 1, pages)
        assert order_matters([slow, fast, delete, other]) == ((0, 1), (2, 3))


def test_deleted_slot_that_nobody_filled_may_have_been_anywhere() -> None:
    delete = call(0, (1, 3), 0, (0, 0))
    create = call(1, (2, 4), 1, (100, 200))
    assert order_matters([delete, create]) == ((0, 1),)
    refused = attrs.evolve(delete, result=-22)
    assert order_matters([refused, create]) == ()


def test_one_guest_memfd_links_address_spaces() -> None:
    first = attrs.evolve(call(0, (1, 3), 0, (0, 4)), guest_memfd=7)
    second = attrs.evolve(call(1, (2, 4), 65536, (8, 9)), guest_memfd=7)
    assert order_matters([first, second]) == ((0, 1),)
    assert order_matters([first, attrs.evolve(second, guest_memfd=8)]) == ()


def test_guest_memfd_that_the_slot_was_bound_to_counts() -> None:
    bound = attrs.evolve(call(0, (1, 1), 0, (0, 4)), guest_memfd=7)
    deleted = call(1, (2, 4), 0, (0, 0))
    other = attrs.evolve(call(2, (3, 5), 65536, (8, 9), -22), guest_memfd=7)
    assert order_matters([bound, deleted, other]) == ((1, 2),)


def test_call_without_an_answer_may_have_succeeded() -> None:
    silent = call(0, (1, NEVER), 0, (0, 4), None)
    refused = call(1, (2, 3), 1, (2, 6), -17)
    gone = call(2, (4, 5), 0, (0, 0))
    other = call(3, (4, 6), 1, (3, 4), -17)
    assert set(order_matters([silent, refused, gone, other])) == {
        (0, 1),
        (0, 2),
        (0, 3),
        (2, 3),
    }


def closure(needed: Sequence[Sequence[int]], place: int) -> set[int]:
    """All predecessors of a call, also those of its predecessors."""
    before: set[int] = set()
    todo = [place]
    for each in todo:
        todo += [first for first in needed[each] if first not in before]
        before.update(needed[each])
    return before


@given(spans(8))
def test_overlap_and_predecessors_follow_from_their_definitions(
    drawn: list[tuple[int, int]],
) -> None:
    calls = [call(index, span, index, (0, 1)) for index, span in enumerate(drawn)]
    assert set(overlapping(calls)) == {
        (a.index, b.index)
        for a, b in combinations(calls, 2)
        if not (a.returned < b.entered or b.returned < a.entered)
    }
    needed = predecessors(calls)
    for b in calls:
        before = {a.index for a in calls if a.returned < b.entered}
        assert closure(needed, b.index) == before
        # None of them is said twice: each is under way with all the others.
        assert not set(combinations(sorted(needed[b.index]), 2)) - set(
            overlapping(calls)
        )


@given(spans(8), st.data())
def test_gate_lets_a_call_begin_exactly_when_its_predecessors_are_done(
    drawn: list[tuple[int, int]], data: st.DataObject
) -> None:
    calls = [call(index, span, index, (0, 1)) for index, span in enumerate(drawn)]
    pairs = overlapping(calls)
    also = data.draw(st.sets(st.sampled_from(pairs)) if pairs else st.just(set()))
    gate = Gate(predecessors(calls, also))
    done: set[int] = set()
    while len(done) < len(calls):
        free = [
            b.index
            for b in calls
            if all(a.index in done for a in calls if a.returned < b.entered)
            and all(first in done for first, second in also if second == b.index)
        ]
        assert free == [c.index for c in calls if gate.may_begin(c.index)]
        chosen = data.draw(st.sampled_from([who for who in free if who not in done]))
        gate.done(chosen)
        done.add(chosen)


def answered(calls: list[RegionCall]) -> tuple[list[int], dict[int, range]]:
    """Run calls one after the other on empty slots, as KVM's rules have it."""
    slots: dict[int, range] = {}
    results = []
    for asked in calls:
        pages = range(asked.guest_phys_addr, asked.guest_phys_end)
        old = slots.get(asked.slot)
        others = [
            held
            for slot, held in slots.items()
            if slot != asked.slot and slot >> 16 == asked.as_id
        ]
        if not pages:
            results.append(0 if old else -22)
            slots.pop(asked.slot, None)
        elif old and len(old) != len(pages):
            results.append(-22)
        elif any(
            held.start < pages.stop and pages.start < held.stop for held in others
        ):
            results.append(-17)
        else:
            results.append(0)
            slots[asked.slot] = pages
    return results, slots


@st.composite
def histories(draw: st.DrawFn) -> list[RegionCall]:
    """Draw what a kernel could have recorded, in the order it really ran."""
    count = draw(st.integers(2, 8))
    asked = []
    for index in range(count):
        # The call runs at its own moment, somewhere between entry and return.
        moment = 100 * (index + 1)
        entered = moment - draw(st.integers(1, 250))
        returned = moment + draw(st.integers(1, 250))
        start = draw(st.integers(0, 4))
        size = draw(st.sampled_from([0, 1, 1, 2]))
        slot = draw(st.sampled_from([0, 1, 2, 65536]))
        asked.append(call(index, (entered, returned), slot, (start, start + size)))
    results, _ = answered(asked)
    return [
        attrs.evolve(one, result=result)
        for one, result in zip(asked, results, strict=True)
    ]


@given(histories())
def test_exchanging_neighbours_whose_order_does_not_matter_changes_nothing(
    history: list[RegionCall],
) -> None:
    matters = set(order_matters(history))
    results, slots = answered(history)
    for pair in set(overlapping(history)) - matters:
        first, second = pair
        if second != first + 1:
            continue
        exchanged = [*history]
        exchanged[first], exchanged[second] = exchanged[second], exchanged[first]
        new_results, new_slots = answered(exchanged)
        new_results[first], new_results[second] = (
            new_results[second],
            new_results[first],
        )
        assert (new_results, new_slots) == (results, slots)


def test_functions_take_calls_in_any_order_and_selection() -> None:
    calls = [call(index, (index + 1, index + 4), index, (0, 1)) for index in range(6)]
    backwards = calls[:1:-1]
    assert set(overlapping(backwards)) == set(overlapping(calls[2:]))
    assert set(order_matters(backwards)) == set(order_matters(calls[2:]))
    places = predecessors(calls[2:])
    assert predecessors(backwards) == [
        [3 - place for place in needed] for needed in places[::-1]
    ]
