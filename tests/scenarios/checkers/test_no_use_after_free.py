"""A slot is freed once, when nobody can reach it, and never found again."""

from __future__ import annotations

import pytest

from memslots.tracepoints import SetFreed, SetsSwapped, SlotFreed, SlotReplaced
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.no_use_after_free import NoUseAfterFree
from tests.scenarios.checkers.story import (
    X,
    Y,
    enter,
    leave,
    look,
    outcome,
    space,
    story,
)

OUT_OF_0 = ("writer", SlotReplaced(0, 0, 1, None))
OUT_OF_1 = ("writer", SlotReplaced(0, 1, 1, None))
FREED = ("writer", SlotFreed(0, 1))


def test_a_slot_that_nobody_can_reach_may_be_freed() -> None:
    lines = story(
        enter("vcpu0"),
        look("vcpu0", 0, 0x10, X),
        OUT_OF_1,
        leave("vcpu0"),
        OUT_OF_0,
        FREED,
        enter("vcpu0"),
        look("vcpu0", 0, 0x10, None),
        look("vcpu0", 0, 0x20, Y),
    )
    assert outcome(NoUseAfterFree, space(X, Y) + lines) == (1, [])


def test_a_slot_that_was_in_no_set_may_be_freed() -> None:
    assert outcome(NoUseAfterFree, space() + story(FREED)) == (1, [])


def test_lookups_alone_exercise_nothing() -> None:
    lines = story(enter("vcpu0"), look("vcpu0", 0, 0x10, X))
    assert outcome(NoUseAfterFree, space(X) + lines) == (0, [])


def test_a_slot_that_a_set_holds_must_not_be_freed() -> None:
    seen = [
        "slot #1 is freed while set 0 has it",
        "slot #1 is freed while set 1 has it",
    ]
    both = space(X) + story(FREED)
    assert outcome(NoUseAfterFree, both) == (1, [(1, "writer", each) for each in seen])
    one = space(X) + story(OUT_OF_0, FREED)
    assert outcome(NoUseAfterFree, one) == (1, [(2, "writer", seen[1])])


def test_a_slot_of_an_open_section_must_not_be_freed() -> None:
    lines = story(
        enter("vcpu0"),
        enter("vcpu1"),
        look("vcpu0", 0, 0x10, X),
        look("vcpu1", 0, 0x20, Y),
        OUT_OF_0,
        OUT_OF_1,
        FREED,
    )
    seen = (
        "slot #1 is freed while vcpu0, who found it, is in the section that began in"
        " step 1"
    )
    assert outcome(NoUseAfterFree, space(X, Y) + lines) == (1, [(7, "writer", seen)])


def test_what_an_outer_section_found_is_kept_until_it_ends() -> None:
    found = (
        enter("vcpu0", 0),
        enter("vcpu0", 1),
        look("vcpu0", 0, 0x10, X),
        leave("vcpu0", 1),
        OUT_OF_0,
        OUT_OF_1,
    )
    _, early = outcome(NoUseAfterFree, space(X) + story(*found, FREED))
    assert [(step, actor) for step, actor, _ in early] == [(7, "writer")]
    late = space(X) + story(*found, leave("vcpu0", 0), FREED)
    assert outcome(NoUseAfterFree, late) == (1, [])


def test_a_freed_slot_must_not_be_found() -> None:
    lines = story(OUT_OF_0, OUT_OF_1, FREED, enter("vcpu0"), look("vcpu0", 0, 0x11, X))
    seen = "a lookup of gfn 0x11 found slot 1 #1, which writer freed in step 3"
    assert outcome(NoUseAfterFree, space(X) + lines) == (1, [(5, "vcpu0", seen)])


def test_a_slot_must_not_be_freed_twice() -> None:
    lines = story(FREED, ("other", SlotFreed(0, 2)), ("other", SlotFreed(0, 1)))
    seen = "slot #1 is freed a second time, after writer in step 1"
    assert outcome(NoUseAfterFree, space() + lines) == (3, [(3, "other", seen)])


@pytest.mark.parametrize("index", [0, 1])
def test_only_the_active_set_must_stay(index: int) -> None:
    swapped = SetsSwapped(0, 1 - index, 1 << 63)
    freed = SetFreed(0, index)
    lines = story(("writer", swapped), ("writer", freed))
    assert outcome(NoUseAfterFree, space() + lines) == (1, [])
    lines = story(("writer", swapped), ("writer", SetFreed(0, 1 - index)))
    seen = f"set {1 - index} is freed while it is active"
    assert outcome(NoUseAfterFree, space() + lines) == (1, [(2, "writer", seen)])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("vcpu0", RuleWasBroken("no-use-after-free", "UseAfterFree", "x")))
    found = [(1, "vcpu0", "UseAfterFree: x")]
    assert outcome(NoUseAfterFree, lines) == (1, found)
