"""What the records say about sets and sections."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scenarios.checkers.history
from memslots.tracepoints import (
    AddressSpaceMade,
    SetFreed,
    SetGivenUp,
    SetsSwapped,
    SlotData,
    SlotReplaced,
)
from rcu.trace import Record
from scenarios.checkers.history import History, SetContent
from tests.scenarios.checkers.story import (
    X,
    Y,
    enter,
    get_hold,
    leave,
    slot,
    space,
    story,
)

PAGES = range(16)


def history_of(records: list[Record]) -> History:
    history = History()
    for record in records:
        history.handlers[type(record.event)](record, record.event)
    return history


def in_a(slots: dict[int, SlotData], gfn: int) -> SlotData | None:
    return next(
        (each for each in slots.values() if each.base_gfn <= gfn < each.end_gfn), None
    )


@given(st.data())
def test_every_earlier_content_can_be_asked(data: st.DataObject) -> None:
    content = SetContent()
    now: dict[int, SlotData] = {}
    before = [now]
    for serial in range(1, data.draw(st.integers(0, 12)) + 1):
        old = data.draw(st.sampled_from([None, *now]))
        now = {key: each for key, each in now.items() if key != old}
        free = [gfn for gfn in PAGES if in_a(now, gfn) is None]
        new = None
        if free and (old is None or data.draw(st.booleans())):
            first = data.draw(st.sampled_from(free))
            last = first
            while last + 1 in free and data.draw(st.booleans()):
                last += 1
            new = slot(serial, first, last + 1 - first)
            now = now | {serial: new}
        content.replace(old, new)
        before.append(now)
    assert content.version == len(before) - 1
    assert content.by_serial == now
    for gfn in PAGES:
        assert content.find(gfn) == in_a(now, gfn)
        for version, slots in enumerate(before):
            assert content.find_at(version, gfn) == in_a(slots, gfn)


def test_a_slot_that_was_never_there_leaves_nothing() -> None:
    content = SetContent()
    content.replace(7, X)
    assert content.edits == [(None, X)]
    assert content.find(0x10) is X


def test_installed_slots_are_in_both_sets_and_set_0_is_active() -> None:
    history = history_of(space(X, Y))
    (only,) = history.spaces.values()
    contents = only.sets.values()
    assert [content.by_gfn for content in contents] == [{0x10: X, 0x20: Y}] * 2
    assert (only.active, only.generation, only.generation_step) == (0, 0, 1)


def test_edits_and_swaps_touch_the_set_they_name() -> None:
    lines = story(
        ("writer", SlotReplaced(1, 1, 1, Y)), ("writer", SetsSwapped(1, 1, 1 << 63))
    )
    history = history_of(space(X, of=2) + space(X, as_id=1, of=2) + lines)
    assert [history.spaces[as_id].active for as_id in (0, 1)] == [0, 1]
    assert history.content(0, 1).by_serial == {1: X}
    assert history.content(1, 0).by_serial == {1: X}
    assert history.content(1, 1).by_serial == {2: Y}


def test_sections_nest_and_end_by_their_index() -> None:
    lines = story(
        enter("vcpu0", 0), enter("vcpu0", 1), enter("vcpu1", 1), leave("vcpu0", 0)
    )
    history = history_of(lines)
    left = [(section.actor, section.srcu_idx) for section in history.open_sections()]
    assert left == [("vcpu0", 1), ("vcpu1", 1)]
    assert [section.step for section in history.holding("vcpu0")] == [2]
    assert history.holding("nobody") == ()
    assert history.sections_ended == 1


def test_a_set_that_never_was_has_no_content() -> None:
    with pytest.raises(KeyError, match="2"):
        history_of(space(X)).content(0, 2)


@pytest.mark.parametrize("began", [0, 1])
def test_a_section_of_the_other_index_does_not_end(began: int) -> None:
    history = history_of(story(enter("vcpu0", began), leave("vcpu0", 1 - began)))
    assert [section.step for section in history.open_sections()] == [1]


def test_of_two_sections_with_one_index_the_inner_one_ends() -> None:
    lines = story(enter("vcpu0"), enter("vcpu0"), leave("vcpu0"))
    assert [section.step for section in history_of(lines).open_sections()] == [1]


@pytest.mark.parametrize("domain", ["irq_srcu", "track_srcu"])
def test_a_section_ends_by_its_domain(domain: str) -> None:
    lines = story(enter("vcpu0"), enter("vcpu0", domain=domain), leave("vcpu0"))
    (left,) = history_of(lines).open_sections()
    assert (left.domain, left.step) == (domain, 2)


@pytest.mark.parametrize("sets", [0, 3])
def test_an_address_space_has_one_set_or_two(sets: int) -> None:
    made = Record(0, "setup", AddressSpaceMade(0, 0, 1, sets))
    why = f"an address space has one set or two, not {sets}"
    with pytest.raises(ValueError, match=why):
        history_of([made])


def test_a_set_that_is_given_up_is_empty() -> None:
    history = history_of(space(X) + story(("writer", SetGivenUp(0, 1))))
    assert history.content(0, 0).by_serial == {1: X}
    assert history.content(0, 1).by_serial == {}


def test_a_set_that_is_freed_twice_is_still_what_its_reader_holds() -> None:
    freed = ("writer", SetFreed(0, 1))
    lines = story(enter("vcpu0"), get_hold("vcpu0", 1), freed, freed)
    assert history_of(space(X) + lines).content(0, 1).by_serial == {1: X}
    nobody = story(freed, freed)
    assert history_of(space(X) + nobody).content(0, 1).by_serial == {}


def test_an_actor_without_sections_is_forgotten() -> None:
    history = history_of(story(enter("vcpu0"), leave("vcpu0"), leave("vcpu0")))
    assert (history.sections, history.sections_ended) == ({}, 2)


def test_a_dereference_belongs_to_every_section_of_the_reader() -> None:
    edit = SlotReplaced(0, 1, None, Y)
    lines = story(
        enter("vcpu0"),
        get_hold("vcpu0", 0),
        enter("vcpu0"),
        ("writer", edit),
        get_hold("vcpu0", 1),
        enter("vcpu1"),
    )
    history = history_of(space(X) + lines)
    expected: list[Any] = [
        ({0: (1, 2)}, {(0, 0), (0, 1)}),
        ({0: (1, 2)}, {(0, 1)}),
        ({}, set()),
    ]
    sections = history.open_sections()
    assert [(each.held, {*each.ever_held}) for each in sections] == expected


def test_edits_that_nobody_can_ask_for_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scenarios.checkers.history, "MOST_EDITS", 4)
    there_and_back = [
        ("writer", SlotReplaced(0, 1, None, Y)),
        ("writer", SlotReplaced(0, 1, Y.serial, None)),
    ]
    lines = story(*there_and_back, enter("vcpu0"), get_hold("vcpu0", 1))
    edits = story(*there_and_back * 10)
    held = history_of(space(X) + lines + edits).content(0, 1)
    assert (held.version, len(held.edits)) == (23, 20)
    assert held.find_at(3, Y.base_gfn) is None
    assert held.find_at(4, Y.base_gfn) is Y
    left = lines + story(leave("vcpu0"))
    free = history_of(space(X) + left + edits).content(0, 1)
    assert (free.version, len(free.edits)) == (23, 3)
    assert free.find_at(22, Y.base_gfn) is Y
    other = story(enter("vcpu1"), get_hold("vcpu1", 0))
    assert len(history_of(space(X) + other + edits).content(0, 1).edits) < 4
