"""The start and the end of an invalidation fit together."""

from __future__ import annotations

from memslots.tracepoints import InvalidationsForgotten, SetsSwapped
from rcu.trace import Event
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.notifier_balanced import NotifierBalanced
from tests.scenarios.checkers.story import X, outcome, space, story
from vcpus.tracepoints import (
    GfnRangeZapBegan,
    GfnRangeZapped,
    InvalidationBegan,
    InvalidationEnded,
)

Line = tuple[str, Event]

A, B = 0x1000, 0x5000


def began(
    count: int,
    *,
    at: int = A,
    by: str = "ksm",
    sets: tuple[int, ...] = (0,),
    n: int = 1,
) -> Line:
    return by, InvalidationBegan(at, at + 0x1000, sets, n, count)


def ended(
    count: int,
    *,
    at: int = A,
    by: str = "ksm",
    sets: tuple[int, ...] = (0,),
    n: int = 1,
) -> Line:
    return by, InvalidationEnded(at, at + 0x1000, sets, n, count)


SWAP = ("writer", SetsSwapped(0, 1, 1 << 63))


def told(*lines: Line) -> tuple[int, list[tuple[int, str]]]:
    """How often it was exercised; step and text of what was found."""
    exercised, found = outcome(NotifierBalanced, space(X) + story(*lines))
    return exercised, [(step, seen) for step, _, seen in found]


def test_what_ends_as_it_began_is_accepted() -> None:
    assert told(began(1), ended(0), SWAP, began(1), ended(0)) == (2, [])


def test_invalidations_may_overlap_and_be_nested() -> None:
    lines = (began(1), began(2, at=B), ended(1), began(2), ended(1, at=B), ended(0))
    assert told(*lines) == (3, [])


def test_the_same_range_may_be_invalidated_by_two() -> None:
    lines = (
        began(1),
        began(2, by="numa", sets=(1,)),
        ended(1, by="numa", sets=(1,)),
        ended(0),
    )
    assert told(*lines) == (2, [])


def test_of_two_starts_the_end_is_that_of_its_own_task_and_range() -> None:
    tasks = (
        began(1, by="numa", sets=(1,)),
        began(2),
        ended(1),
        ended(0, by="numa", sets=(1,)),
    )
    assert told(*tasks) == (2, [])
    ranges = (began(1, at=B, sets=(1,)), began(2), ended(1), ended(0, at=B, sets=(1,)))
    assert told(*ranges) == (2, [])


def test_a_zap_is_under_way_like_an_invalidation() -> None:
    zap = (("mtrr", GfnRangeZapBegan(0, 1)), ("mtrr", GfnRangeZapped(0, 1)))
    assert told(zap[0], began(2), ended(1), zap[1], began(1), ended(0)) == (2, [])


def test_the_end_may_come_from_another_task() -> None:
    assert told(began(1), ended(0, by="swap")) == (1, [])


def test_who_touches_no_slot_is_not_counted() -> None:
    assert told(began(0, n=0), ended(0, n=0)) == (1, [])
    # The count is read without a lock then: another is about to tell of itself.
    assert told(began(1, n=0), began(1, at=B), ended(0, at=B)) == (1, [])


def test_an_end_that_sees_another_set_is_refused() -> None:
    seen = (
        "the invalidation of 0x1000..0x2000 ends with sets: (1,), but ksm began it in"
        " step 1 with sets: (0,)"
    )
    assert told(began(1), ended(0, sets=(1,))) == (1, [(2, seen)])


def test_an_end_that_touches_other_slots_is_refused() -> None:
    lines = (began(1, n=2), ended(1, n=0))
    seen = (
        "the invalidation of 0x1000..0x2000 ends with slots touched: 0, but ksm began"
        " it in step 1 with slots touched: 2"
    )
    assert told(*lines) == (1, [(2, seen)])


def test_an_end_without_a_start_is_refused() -> None:
    lines = (began(1), ended(0, at=B))
    assert told(*lines) == (
        1,
        [(2, "the invalidation of 0x5000..0x6000 had not begun")],
    )


def test_a_count_that_does_not_go_down_is_refused() -> None:
    seen = (
        "mmu_invalidate_in_progress is 1 after the invalidation of 0x1000..0x2000, but"
        " 0 are under way"
    )
    assert told(began(1), ended(1)) == (1, [(2, seen)])


def test_a_count_that_is_negative_is_refused() -> None:
    seen = (
        "mmu_invalidate_in_progress is -1 after the invalidation of 0x1000..0x2000, but"
        " 0 are under way"
    )
    assert told(began(0, n=0), ended(-1, n=0)) == (1, [(2, seen)])


def test_a_zap_of_the_kernels_own_counts() -> None:
    zap = ("writer", GfnRangeZapBegan(0, 4)), ("writer", GfnRangeZapped(0, 4))
    assert told(began(1), zap[0], began(3, at=B), zap[1], ended(1), ended(0, at=B)) == (
        2,
        [],
    )
    exercised, found = told(zap[0], began(1), ended(1), zap[1])
    assert (exercised, [step for step, _ in found]) == (1, [2])


def test_no_set_may_be_published_in_between() -> None:
    seen = (
        "set 1 of address space 0 was published during the invalidation of"
        " 0x1000..0x2000, which ksm began in step 1"
    )
    assert told(began(1), SWAP, ended(0)) == (2, [(2, seen)])


def test_what_nobody_will_end_is_forgotten() -> None:
    forgotten = ("main", InvalidationsForgotten(1))
    assert told(began(1), forgotten, SWAP) == (0, [])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("ksm", RuleWasBroken("notifier-balanced", "Unbalanced", "x")))
    assert outcome(NotifierBalanced, lines) == (1, [(1, "ksm", "Unbalanced: x")])
