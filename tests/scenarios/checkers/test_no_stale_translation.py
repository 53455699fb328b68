"""What is gone is mapped no more, and no guest goes there."""

from __future__ import annotations

import pytest

from memslots.tracepoints import SetsSwapped, SlotData, SlotReplaced
from rcu.trace import Event
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.no_stale_translation import NoStaleTranslation
from tests.scenarios.checkers.story import INVALID_X, X, outcome, slot, space, story
from vcpus.tracepoints import (
    GfnRangeZapBegan,
    GfnRangeZapped,
    GuestAccessed,
    GuestMemoryCopied,
    InvalidationBegan,
    InvalidationEnded,
    RootZapped,
    ShadowFlushed,
    SpteInstalled,
    SpteZapped,
)

Line = tuple[str, Event]

HVA = 0x7F00_0000_0000
LOGGED_X = slot(4, flags=1)
MOVED_X = slot(5, gfn=0x30)


def install(gfn: int = 0x10, made_from: int = 1, hva: int = HVA, root: int = 0) -> Line:
    return "vcpu0", SpteInstalled(root, 0, gfn, made_from, hva, writable=True)


def zap(gfn: int = 0x10, made_from: int = 1, root: int = 0) -> Line:
    return "writer", SpteZapped(root, 0, gfn, made_from)


def access(made_from: int = 1, hva: int = HVA, *, write: bool = True) -> Line:
    event = GuestAccessed(0, 0, 0x10008, write, made_from, hva, value=1)
    return "vcpu0", event


def flush(serial: int = 1) -> Line:
    return "writer", ShadowFlushed(0, serial)


def replace(old: SlotData, new: SlotData | None, index: int = 1) -> Line:
    return "writer", SlotReplaced(0, index, old.serial, new)


def swap(index: int) -> Line:
    return "writer", SetsSwapped(0, index, 1 << 63)


def began(start: int = HVA, end: int = HVA + 0x1000) -> Line:
    return "ksm", InvalidationBegan(start, end, (0,), 1, 1)


def ended(start: int = HVA, end: int = HVA + 0x1000) -> Line:
    return "ksm", InvalidationEnded(start, end, (0,), 1, 0)


def told(*lines: Line) -> tuple[int, list[tuple[int, str]]]:
    """How often it was exercised; step and text of what was found."""
    exercised, found = outcome(NoStaleTranslation, space(X) + story(*lines))
    return exercised, [(step, seen) for step, _, seen in found]


# A slot that is flushed.


def test_what_was_zapped_before_the_flush_was_over_is_accepted() -> None:
    lines = (install(), install(0x11), access(), zap(), zap(0x11), flush())
    assert told(*lines) == (1, [])


def test_a_flush_that_finds_nothing_exercises_nothing() -> None:
    assert told(flush()) == (0, [])
    assert told(install(), zap(), flush(), flush()) == (1, [])


def test_what_was_not_zapped_is_told_once() -> None:
    seen = (
        "slot #1 was flushed, but gfn 0x10 in root 3 is still mapped to 0x7f0000000000"
        " through slot #1"
    )
    lines = (install(root=3), install(root=4), zap(root=4), flush(), flush())
    assert told(*lines) == (1, [(4, seen)])


def test_what_was_made_from_another_slot_may_stay() -> None:
    assert told(install(made_from=9), install(0x11), zap(0x11), flush()) == (1, [])


def test_nothing_may_be_made_from_a_slot_that_was_flushed() -> None:
    seen = (
        "gfn 0x10 in root 0 was mapped to 0x7f0000000000 through slot #1, which writer"
        " flushed in step 1"
    )
    assert told(flush(), install()) == (1, [(2, seen)])


@pytest.mark.parametrize(("write", "did"), [(True, "wrote"), (False, "read")])
def test_no_guest_may_go_through_it(*, write: bool, did: str) -> None:
    seen = (
        f"the guest {did} 0x10008 at 0x7f0000000000 through slot #1, which writer"
        " flushed in step 3"
    )
    lines = (install(), zap(), flush(), access(write=write))
    assert told(*lines) == (2, [(4, seen)])


def test_what_was_made_before_the_flags_changed_goes_with_the_slot() -> None:
    changed = (install(), replace(X, LOGGED_X), swap(1), replace(X, LOGGED_X, 0))
    assert told(*changed, zap(), flush(4), access(4)) == (2, [(7, _gone(4, 6))])
    assert told(*changed, zap(), flush(4), access(1)) == (2, [(7, _gone(1, 6))])
    seen = (
        "slot #4 was flushed, but gfn 0x10 in root 0 is still mapped to 0x7f0000000000"
        " through slot #1"
    )
    assert told(*changed, flush(4)) == (1, [(5, seen)])


@pytest.mark.parametrize(("first", "then"), [(X, LOGGED_X), (LOGGED_X, X)])
def test_flags_may_change_either_way(first: SlotData, then: SlotData) -> None:
    changed = (
        install(made_from=first.serial),
        replace(first, then),
        swap(1),
        replace(first, then, 0),
        zap(made_from=first.serial),
        flush(then.serial),
        access(first.serial),
    )
    exercised, found = outcome(NoStaleTranslation, space(first) + story(*changed))
    seen = _gone(first.serial, 6)
    assert (exercised, [(step, seen) for step, _, seen in found]) == (2, [(7, seen)])


@pytest.mark.parametrize("gfn", [0x8, 0x30])
def test_what_lies_elsewhere_is_another_slot(gfn: int) -> None:
    moved = slot(5, gfn=gfn)
    lines = (flush(), replace(X, moved), install(gfn, made_from=5), access(5))
    assert told(*lines) == (0, [])


def test_a_slot_that_takes_the_place_of_an_invalid_one_is_new() -> None:
    again = slot(6)
    lines = (
        replace(X, INVALID_X),
        swap(1),
        flush(),
        replace(INVALID_X, again),
        install(made_from=6),
        access(6),
    )
    assert told(*lines) == (0, [])


def test_a_slot_that_comes_is_new() -> None:
    come = ("writer", SlotReplaced(0, 1, None, slot(6, gfn=0x40)))
    assert told(flush(), come, install(0x40, made_from=6)) == (0, [])


def _gone(serial: int, step: int) -> str:
    return (
        f"the guest wrote 0x10008 at 0x7f0000000000 through slot #{serial}, which"
        f" writer flushed in step {step}"
    )


def test_what_is_made_from_a_slot_that_was_moved_is_new() -> None:
    lines = (
        replace(X, INVALID_X),
        swap(1),
        flush(),
        replace(X, MOVED_X, 0),
        swap(0),
        replace(INVALID_X, MOVED_X),
        install(0x30, made_from=5),
        access(5),
    )
    assert told(*lines) == (0, [])


def test_a_slot_that_comes_back_may_be_mapped_again() -> None:
    lines = (replace(X, INVALID_X), swap(1), flush(), swap(0), install(), access())
    assert told(*lines) == (0, [])


def test_a_slot_that_does_not_come_back_may_not() -> None:
    lines = (replace(X, INVALID_X), swap(1), flush(), replace(X, None, 0), swap(0))
    exercised, found = told(*lines, install())
    assert (exercised, [step for step, _ in found]) == (1, [6])


def test_nothing_is_made_from_an_invalid_copy() -> None:
    seen = (
        "gfn 0x10 in root 0 was mapped to 0x7f0000000000 through slot #3, which is an"
        " INVALID copy"
    )
    assert told(replace(X, INVALID_X), install(made_from=3)) == (1, [(2, seen)])


# Host pages that are invalidated.


def test_what_was_unmapped_before_the_start_was_over_is_accepted() -> None:
    lines = (install(), zap(), began(), ended(), install(), access())
    assert told(*lines) == (1, [])


def test_an_invalidation_that_finds_nothing_exercises_nothing() -> None:
    assert told(install(hva=HVA + 0x1000), began(), ended()) == (0, [])
    assert told(ended(), access()) == (0, [])


@pytest.mark.parametrize("pages", [1, 1 << 20])
def test_what_was_not_unmapped_is_told(pages: int) -> None:
    end = HVA + pages * 0x1000
    seen = (
        f"the invalidation of 0x7f0000000000..{end:#x} has begun, but gfn 0x10 in root"
        " 0 is still mapped to 0x7f0000000000 through slot #1"
    )
    lines = (install(), install(0x11, hva=HVA - 0x1000), began(end=end))
    assert told(*lines) == (1, [(3, seen)])


def test_nothing_may_be_mapped_or_accessed_until_it_has_ended() -> None:
    seen = (
        "{} although the invalidation of 0x7f0000000000..0x7f0000001000, which ksm"
        " began in step 1, has not ended"
    )
    mapped = seen.format("gfn 0x10 in root 0 was mapped to 0x7f0000000000")
    wrote = seen.format("the guest wrote 0x10008 at 0x7f0000000000")
    assert told(began(), install(), access()) == (2, [(2, mapped), (3, wrote)])


def test_other_pages_may() -> None:
    below, above = HVA - 0x1000, HVA + 0x1000
    lines = (began(), install(hva=below), access(hva=above), ended())
    assert told(*lines) == (0, [])


def test_invalidations_overlap() -> None:
    both = (began(end=HVA + 0x2000), began())
    assert told(*both, ended(), ended(end=HVA + 0x2000), access()) == (0, [])
    exercised, found = told(*both, ended(), access())
    assert (exercised, len(found)) == (1, 1)
    assert "0x7f0000000000..0x7f0000002000, which ksm began in step 1" in found[0][1]


def test_whatever_is_mapped_in_a_large_range_is_told() -> None:
    mapped = [install(0x10 + n, hva=HVA + n * 0x1000) for n in (5, 7, 0, 3)]
    _, found = told(*mapped, began(0, HVA + 0x6000))
    assert [
        seen.split(" has begun, but ")[1].split(" in ")[0] for _, seen in found
    ] == [
        "gfn 0x10",
        "gfn 0x13",
        "gfn 0x15",
    ]


def test_the_pages_of_a_range_are_told_in_their_order() -> None:
    mapped = [install(0x10 + n, hva=HVA + n * 0x1000) for n in (6, 5, 2, 3, 4, 1, 0)]
    exercised, found = told(*mapped, began(HVA + 0x1800, HVA + 0x4800))
    assert exercised == 1
    assert [
        seen.split(" has begun, but ")[1].split(" in ")[0] for _, seen in found
    ] == [
        "gfn 0x12",
        "gfn 0x13",
        "gfn 0x14",
    ]


def test_a_page_that_is_mapped_anew_is_not_where_it_was() -> None:
    lines = (install(), install(hva=HVA + 0x5000), began())
    assert told(*lines) == (1, [])
    lines = (install(), install(made_from=9), flush())
    assert told(*lines) == (1, [])


@pytest.mark.parametrize("place", range(3))
def test_inside_an_invalidation_every_page_is_stale(place: int) -> None:
    wide = began(end=HVA + 0x3000)
    exercised, found = told(wide, access(hva=HVA + place * 0x1000))
    assert (exercised, [step for step, _ in found]) == (1, [2])
    for beyond in (HVA - 0x1000, HVA + 0x3000, HVA + 0x4000):
        assert told(wide, access(hva=beyond)) == (0, [])


def test_one_end_ends_one_invalidation_of_its_range() -> None:
    other = began(HVA + 0x8000, HVA + 0x9000)
    thrice = (began(), other, began())
    assert told(*thrice, ended(), access())[0] == 1
    assert told(*thrice, ended(), ended(), access())[0] == 0
    assert told(*thrice, ended(), ended(), access(hva=HVA + 0x8000))[0] == 1
    assert told(began(), other, ended(HVA + 0x8000, HVA + 0x9000), access())[0] == 1


def test_a_pfn_cache_is_a_translation_too() -> None:
    copied = GuestMemoryCopied(
        0, 0x10008, write=True, hva=HVA + 8, length=4, through="pfn-cache"
    )
    seen = (
        "KVM wrote 0x10008 at 0x7f0000000008, through a pfn-cache although the"
        " invalidation of 0x7f0000000000..0x7f0000001000, which ksm began in step 1,"
        " has not ended"
    )
    assert told(began(), ("timer", copied)) == (1, [(2, seen)])
    for through in ("hva-cache", "slot"):
        through_user_space = GuestMemoryCopied(
            0, 0x10008, write=True, hva=HVA + 8, length=4, through=through
        )
        assert told(began(), ("timer", through_user_space)) == (0, [])


# A guest range that KVM zaps.


def test_a_range_that_was_zapped_is_empty() -> None:
    zap_range = ("mtrr", GfnRangeZapBegan(0x10, 0x12)), ("mtrr", GfnRangeZapped(16, 18))
    mapped = (install(), install(0x12), install(0x15))
    assert told(*mapped, zap_range[0], zap(), zap_range[1]) == (1, [])
    assert told(install(0x12), *zap_range) == (0, [])
    seen = (
        "gfn 0x10..0x12 has been zapped, but gfn 0x11 in root 0 is still mapped to"
        " 0x7f0000000000 through slot #1"
    )
    lines = (*mapped, zap_range[0], zap(), install(0x11), zap_range[1])
    assert told(*lines) == (1, [(7, seen)])


# Page tables that are given up.


def test_page_tables_that_are_given_up_hold_nothing() -> None:
    given_up = ("writer", RootZapped(0))
    assert told(install(), install(root=1), zap(), given_up, access()) == (0, [])
    higher = ("writer", RootZapped(1))
    assert told(install(), install(root=1), zap(root=1), higher) == (0, [])
    left = (
        "root 0 was given up, but gfn 0x10 in root 0 is still mapped to 0x7f0000000000"
        " through slot #1"
    )
    assert told(install(), given_up) == (1, [(2, left)])
    late = (
        "gfn 0x10 in root 0 was mapped to 0x7f0000000000, but writer gave the root up"
        " in step 1"
    )
    assert told(given_up, install(root=1), install()) == (1, [(3, late)])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("vcpu0", RuleWasBroken("no-stale-translation", "Stale", "x")))
    assert outcome(NoStaleTranslation, lines) == (1, [(1, "vcpu0", "Stale: x")])
