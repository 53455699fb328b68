"""Only the inactive set is edited, and nobody is inside it."""

from __future__ import annotations

from memslots.tracepoints import SetsSwapped, SlotReplaced
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.retired_set_quiet import RetiredSetQuiet
from tests.scenarios.checkers.story import (
    X,
    Y,
    enter,
    get_hold,
    leave,
    outcome,
    space,
    story,
)

EDIT_0 = ("writer", SlotReplaced(0, 0, None, Y))
EDIT_1 = ("writer", SlotReplaced(0, 1, None, Y))
TO_1 = ("writer", SetsSwapped(0, 1, 1 << 63))


def test_an_edit_of_the_inactive_set_is_accepted_beside_readers_of_the_other() -> None:
    lines = story(enter("vcpu0"), get_hold("vcpu0", 0), EDIT_1)
    assert outcome(RetiredSetQuiet, space(X) + lines) == (1, [])


def test_an_edit_with_no_section_open_exercises_nothing() -> None:
    lines = story(EDIT_1, TO_1, EDIT_0)
    assert outcome(RetiredSetQuiet, space(X) + lines) == (0, [])


def test_an_edit_of_the_active_set_is_refused() -> None:
    seen = "set 0 is edited while it is active"
    found = [(1, "writer", seen)]
    assert outcome(RetiredSetQuiet, space(X) + story(EDIT_0)) == (1, found)
    exercised, found_1 = outcome(RetiredSetQuiet, space(X) + story(TO_1, EDIT_1))
    assert (exercised, found_1) == (
        1,
        [(2, "writer", "set 1 is edited while it is active")],
    )


def test_an_edit_under_a_reader_is_refused() -> None:
    lines = story(enter("vcpu0"), get_hold("vcpu0", 0), TO_1, EDIT_0)
    seen = (
        "set 0 is edited while vcpu0, who got hold of it, is in the section that began"
        " in step 1"
    )
    assert outcome(RetiredSetQuiet, space(X) + lines) == (1, [(4, "writer", seen)])


def test_who_got_hold_of_both_sets_is_inside_both() -> None:
    lines = story(
        enter("vcpu0"), get_hold("vcpu0", 0), TO_1, get_hold("vcpu0", 1), EDIT_0
    )
    exercised, found = outcome(RetiredSetQuiet, space(X) + lines)
    assert (exercised, [step for step, *_ in found]) == (1, [5])


def test_a_reader_who_has_left_does_no_harm() -> None:
    lines = story(
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        enter("vcpu1"),
        TO_1,
        leave("vcpu0"),
        EDIT_0,
    )
    assert outcome(RetiredSetQuiet, space(X) + lines) == (1, [])


def test_the_same_set_of_another_address_space_is_another_set() -> None:
    records = space(X, of=2) + space(X, as_id=1, of=2)
    lines = story(
        enter("vcpu0"),
        get_hold("vcpu0", 0, as_id=1),
        ("writer", SetsSwapped(0, 1, 1 << 63)),
        EDIT_0,
    )
    assert outcome(RetiredSetQuiet, records + lines) == (1, [])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("writer", RuleWasBroken("retired-set-quiet", "Busy", "x")))
    assert outcome(RetiredSetQuiet, lines) == (1, [(1, "writer", "Busy: x")])
