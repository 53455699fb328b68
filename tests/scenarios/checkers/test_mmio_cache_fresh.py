"""Who remembers that a page has no slot is right."""

from __future__ import annotations

from memslots.tracepoints import SetsSwapped, SlotReplaced
from rcu.trace import Event
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.mmio_cache_fresh import MmioCacheFresh
from tests.scenarios.checkers.story import (
    INVALID_X,
    X,
    Y,
    enter,
    get_hold,
    leave,
    outcome,
    space,
    story,
)
from vcpus.tracepoints import MmioCacheHit


def hit(gfn: int, as_id: int = 0, found_in: str = "spte") -> tuple[str, Event]:
    return "vcpu0", MmioCacheHit(0, as_id, gfn, found_in)


COMES = (
    ("writer", SlotReplaced(0, 1, None, Y)),
    ("writer", SetsSwapped(0, 1, 1 << 63)),
)


def test_a_page_without_a_slot_may_be_remembered() -> None:
    lines = story(
        enter("vcpu0"), get_hold("vcpu0", 0), hit(0x14), hit(0xF, found_in="vcpu")
    )
    assert outcome(MmioCacheFresh, space(X) + lines) == (2, [])


def test_a_page_with_a_slot_may_not() -> None:
    lines = story(enter("vcpu0"), get_hold("vcpu0", 0), hit(0x13, found_in="vcpu"))
    seen = (
        "vcpu0 took gfn 0x13 of address space 0 for a page without a slot (found in"
        " vcpu), but set 0, which it holds, has slot 1 #1 there"
    )
    assert outcome(MmioCacheFresh, space(X) + lines) == (1, [(3, "vcpu0", seen)])


def test_an_invalid_slot_is_a_slot() -> None:
    lines = story(enter("vcpu0"), get_hold("vcpu0", 0), hit(0x10))
    exercised, found = outcome(MmioCacheFresh, space(INVALID_X) + lines)
    assert (exercised, len(found)) == (1, 1)


def test_what_counts_is_the_set_that_the_reader_holds() -> None:
    before = story(enter("vcpu0"), get_hold("vcpu0", 0), *COMES, hit(0x20))
    assert outcome(MmioCacheFresh, space(X) + before) == (1, [])
    after = story(enter("vcpu0"), *COMES, get_hold("vcpu0", 1), hit(0x20))
    exercised, found = outcome(MmioCacheFresh, space(X) + after)
    assert (exercised, [step for step, *_ in found]) == (1, [5])


def test_what_counts_is_what_it_held_then() -> None:
    lines = story(
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        ("writer", SlotReplaced(0, 0, X.serial, None)),
        hit(0x10),
    )
    exercised, found = outcome(MmioCacheFresh, space(X) + lines)
    assert (exercised, [step for step, *_ in found]) == (1, [4])


def test_another_section_holds_nothing_of_the_last() -> None:
    lines = story(
        enter("vcpu0"), get_hold("vcpu0", 0), leave("vcpu0"), *COMES, enter("vcpu0")
    )
    exercised, found = outcome(MmioCacheFresh, space(X) + lines + story(hit(0x20)))
    assert (exercised, len(found)) == (1, 1)
    assert "but set 1, which it holds, has slot 1 #2 there" in found[0].seen


def test_who_asked_for_the_wrong_address_space_holds_nothing_of_its_own() -> None:
    records = space(of=2) + space(X, as_id=1, of=2)
    lines = story(enter("vcpu0"), get_hold("vcpu0", 0), hit(0x10, as_id=1), hit(0x10))
    seen = (
        "vcpu0 took gfn 0x10 of address space 1 for a page without a slot (found in"
        " spte), but set 0, which it holds, has slot 1 #1 there"
    )
    assert outcome(MmioCacheFresh, records + lines) == (2, [(3, "vcpu0", seen)])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("vcpu0", RuleWasBroken("mmio-cache-fresh", "Stale", "x")))
    assert outcome(MmioCacheFresh, lines) == (1, [(1, "vcpu0", "Stale: x")])
