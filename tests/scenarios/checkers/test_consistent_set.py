"""Answers are compared with what the set held when the reader got hold of it."""

from __future__ import annotations

import pytest

from memslots.tracepoints import SetsSwapped, SlotReplaced
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.consistent_set import ConsistentSet
from tests.scenarios.checkers.story import (
    INVALID_X,
    X,
    Y,
    enter,
    get_hold,
    leave,
    look,
    outcome,
    space,
    story,
)


def test_what_the_set_holds_is_accepted() -> None:
    lines = story(
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        look("vcpu0", 0, 0x10, X),
        look("vcpu0", 0, 0x13, X),
        look("vcpu0", 0, 0x14, None),
        look("vcpu0", 0, 0xF, None),
        leave("vcpu0"),
    )
    assert outcome(ConsistentSet, space(X) + lines) == (4, [])


def test_a_lookup_that_finds_another_slot_is_refused() -> None:
    lines = story(
        enter("vcpu0"), get_hold("vcpu0", 0), look("vcpu0", 0, 0x12, Y, found_in="vcpu")
    )
    seen = (
        "set 0 answered slot 1 #2 (0x20..0x24, flags 0x0) for gfn 0x12 (found in vcpu),"
        " but held slot 1 #1 (0x10..0x14, flags 0x0) there when vcpu0 dereferenced it"
    )
    assert outcome(ConsistentSet, space(X, Y) + lines) == (1, [(3, "vcpu0", seen)])


def test_a_lookup_that_finds_nothing_where_a_slot_is_is_refused() -> None:
    lines = story(enter("vcpu0"), get_hold("vcpu0", 0), look("vcpu0", 0, 0x10, None))
    seen = (
        "set 0 answered no slot for gfn 0x10 (found in tree), but held slot 1 #1"
        " (0x10..0x14, flags 0x0) there when vcpu0 dereferenced it"
    )
    assert outcome(ConsistentSet, space(X) + lines) == (1, [(3, "vcpu0", seen)])


def test_a_lookup_that_finds_a_slot_in_a_hole_is_refused() -> None:
    lines = story(enter("vcpu0"), get_hold("vcpu0", 0), look("vcpu0", 0, 0x14, X))
    seen = (
        "set 0 answered slot 1 #1 (0x10..0x14, flags 0x0) for gfn 0x14 (found in tree),"
        " but held no slot there when vcpu0 dereferenced it"
    )
    assert outcome(ConsistentSet, space(X) + lines) == (1, [(3, "vcpu0", seen)])


def test_a_slot_with_other_data_is_another_slot() -> None:
    lines = story(
        enter("vcpu0"), get_hold("vcpu0", 0), look("vcpu0", 0, 0x10, INVALID_X)
    )
    exercised, found = outcome(ConsistentSet, space(X) + lines)
    assert (exercised, len(found)) == (1, 1)
    assert "answered slot 1 #3 (0x10..0x14, flags 0x10000) for" in found[0].seen


@pytest.mark.parametrize(("held", "asked"), [(0, 1), (1, 0)])
def test_a_lookup_in_the_other_set_is_told_once(held: int, asked: int) -> None:
    lines = story(
        enter("vcpu0"),
        enter("vcpu0"),
        get_hold("vcpu0", held),
        look("vcpu0", asked, 0x10, X),
    )
    seen = (
        f"a lookup of gfn 0x10 went to set {asked} although set {held} was dereferenced"
    )
    assert outcome(ConsistentSet, space(X) + lines) == (1, [(4, "vcpu0", seen)])


def test_a_set_that_was_edited_under_the_reader_must_answer_as_before() -> None:
    edited = (
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        ("writer", SlotReplaced(0, 0, 1, None)),
        ("writer", SlotReplaced(0, 0, None, Y)),
    )
    before = story(*edited, look("vcpu0", 0, 0x10, X), look("vcpu0", 0, 0x20, None))
    after = story(*edited, look("vcpu0", 0, 0x10, None), look("vcpu0", 0, 0x20, Y))
    assert outcome(ConsistentSet, space(X) + before) == (2, [])
    exercised, found = outcome(ConsistentSet, space(X) + after)
    assert (exercised, [step for step, *_ in found]) == (2, [5, 6])


def test_a_second_dereference_may_show_the_other_set() -> None:
    lines = story(
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        look("vcpu0", 0, 0x10, X),
        ("writer", SlotReplaced(0, 1, 1, INVALID_X)),
        ("writer", SetsSwapped(0, 1, 1 << 63)),
        look("vcpu0", 0, 0x10, X),
        get_hold("vcpu0", 1),
        look("vcpu0", 1, 0x10, INVALID_X),
    )
    assert outcome(ConsistentSet, space(X) + lines) == (3, [])


def test_a_lookup_in_a_set_that_was_not_dereferenced_is_refused() -> None:
    lines = story(enter("vcpu0"), get_hold("vcpu0", 0), look("vcpu0", 1, 0x10, X))
    seen = "a lookup of gfn 0x10 went to set 1 although set 0 was dereferenced"
    assert outcome(ConsistentSet, space(X) + lines) == (1, [(3, "vcpu0", seen)])


def test_another_readers_dereference_does_not_count() -> None:
    lines = story(
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        ("writer", SlotReplaced(0, 0, 1, None)),
        enter("vcpu1"),
        get_hold("vcpu1", 0),
        look("vcpu0", 0, 0x10, X),
        look("vcpu1", 0, 0x10, None),
    )
    assert outcome(ConsistentSet, space(X) + lines) == (2, [])


def test_a_new_section_begins_with_nothing_held() -> None:
    lines = story(
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        leave("vcpu0"),
        ("writer", SlotReplaced(0, 0, 1, None)),
        enter("vcpu0", 1),
        get_hold("vcpu0", 0),
        look("vcpu0", 0, 0x10, None),
    )
    assert outcome(ConsistentSet, space(X) + lines) == (1, [])


def test_outside_any_section_the_present_counts() -> None:
    lines = story(
        look("writer", 0, 0x10, X),
        ("writer", SlotReplaced(0, 0, 1, None)),
        look("writer", 0, 0x10, None),
        look("writer", 0, 0x10, X),
    )
    exercised, found = outcome(ConsistentSet, space(X) + lines)
    assert (exercised, [step for step, *_ in found]) == (3, [4])


def test_address_spaces_are_kept_apart() -> None:
    records = space(X, of=2) + space(Y, as_id=1, of=2)
    lines = story(
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        get_hold("vcpu0", 1, as_id=1),
        look("vcpu0", 0, 0x10, X),
        look("vcpu0", 1, 0x20, Y, as_id=1),
        look("vcpu0", 1, 0x10, None, as_id=1),
        look("vcpu0", 0, 0x20, None),
    )
    assert outcome(ConsistentSet, records + lines) == (4, [])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(
        ("vcpu0", RuleWasBroken("consistent-set", "Mixed", "two answers")),
        ("vcpu0", RuleWasBroken("grace-period", "WrongUnlock", "not mine")),
    )
    found = [(1, "vcpu0", "Mixed: two answers")]
    assert outcome(ConsistentSet, space() + lines) == (1, found)
