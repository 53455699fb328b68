"""Every call returns what it is known to return, unless nobody can know."""

from __future__ import annotations

import errno

import pytest

from rcu.trace import Event
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.results_match import Mismatch, ResultsMatch
from scenarios.tracepoints import (
    BegunLate,
    NoOrder,
    OrderUnknown,
    ResultCompared,
    UpdatesLost,
)
from tests.scenarios.checkers.story import alone, outcome, story, told


def compared(expected: int, result: int, line: int = 7) -> tuple[str, Event]:
    return "writer", ResultCompared(1, line, "slot 1", expected, result)


def test_equal_results_are_accepted() -> None:
    lines = story(compared(0, 0), compared(-errno.EEXIST, -errno.EEXIST))
    assert outcome(ResultsMatch, lines) == (2, [])


@pytest.mark.parametrize(
    ("expected", "result", "seen"),
    [
        (0, -errno.EINVAL, "returned EINVAL, but 0 is recorded"),
        (-errno.EEXIST, 0, "returned 0, but EEXIST is recorded"),
        (-9999, 0, "returned 0, but -9999 is recorded"),
    ],
)
def test_another_result_is_refused(expected: int, result: int, seen: str) -> None:
    checker = alone(ResultsMatch, story(compared(expected, result)))
    assert checker.exercised == 1
    assert told(checker) == [(1, "writer", f"the call of line 7 (slot 1) {seen}")]
    assert isinstance(checker, ResultsMatch)
    assert len(checker.mismatches) == 1


def test_where_the_order_is_unknown_a_mismatch_is_kept_and_proves_nothing() -> None:
    unknown = ("setup", OrderUnknown(2, ((3, 4), (5, 6))))
    checker = alone(ResultsMatch, story(unknown, compared(0, -errno.EEXIST)))
    assert isinstance(checker, ResultsMatch)
    assert (checker.exercised, told(checker)) == (1, [])
    assert checker.mismatches == [Mismatch(7, "slot 1", "0", "EEXIST")]
    assert checker.doubt == (
        "2 pairs of recorded calls overlap and their order matters (lines 3 and 4, 5"
        " and 6): the real kernel's order is not known"
    )


def test_a_recording_that_began_late_proves_nothing_either() -> None:
    late = ("setup", BegunLate((3, 8)))
    checker = alone(ResultsMatch, story(late, compared(0, -errno.EINVAL)))
    assert isinstance(checker, ResultsMatch)
    assert (checker.exercised, told(checker)) == (1, [])
    assert len(checker.mismatches) == 1
    why = (
        "slots were deleted that no recorded call has made (lines 3, 8): the recording"
        " began late; record from the VMM's start"
    )
    assert checker.doubt == why
    both = story(("setup", OrderUnknown(1, ((3, 4),))), late)
    checker = alone(ResultsMatch, both)
    assert isinstance(checker, ResultsMatch)
    assert checker.doubt.startswith("1 pair of recorded calls overlaps")
    assert checker.doubt.endswith(f"is not known; {why}")


def test_a_search_that_gave_up_says_after_how_much() -> None:
    gave_up = ("setup", OrderUnknown(1, ((3, 4),), 1_000_001))
    checker = alone(ResultsMatch, story(gave_up))
    assert isinstance(checker, ResultsMatch)
    assert checker.doubt.endswith(
        "order is not known, the search for it gave up after 1,000,001 states"
    )


def test_updates_that_the_recording_does_not_show_make_a_mismatch_prove_nothing() -> (
    None
):
    lost = ("setup", UpdatesLost((2, 9)))
    checker = alone(ResultsMatch, story(lost, compared(0, -errno.EINVAL)))
    assert isinstance(checker, ResultsMatch)
    assert (checker.exercised, told(checker)) == (1, [])
    assert checker.doubt == (
        "updates are missing that the recording does not show (lines 2, 9)"
    )


def test_answers_that_no_order_explains_are_one_violation() -> None:
    none = ("setup", NoOrder(5, (3, 4), "no order explains it"))
    lines = story(none, compared(0, -errno.EEXIST), compared(0, 0))
    checker = alone(ResultsMatch, lines)
    assert isinstance(checker, ResultsMatch)
    assert told(checker) == [(1, "setup", "no order explains it")]
    # What the run answers depends on its own order then.
    assert (checker.exercised, len(checker.mismatches)) == (2, 1)
    assert not checker.doubt


def test_many_overlaps_are_counted_and_the_first_five_named() -> None:
    lines = tuple((n, n + 1) for n in range(1, 8))
    checker = alone(ResultsMatch, story(("setup", OrderUnknown(30, lines))))
    assert isinstance(checker, ResultsMatch)
    assert "30 pairs" in checker.doubt
    assert "5 and 6 and 25 more)" in checker.doubt
    assert "6 and 7" not in checker.doubt


@pytest.mark.parametrize(("pairs", "more"), [(5, ")"), (6, " and 1 more)")])
def test_as_many_overlaps_are_counted_as_are_not_named(pairs: int, more: str) -> None:
    lines = tuple((n, n + 1) for n in range(1, pairs + 1))
    checker = alone(ResultsMatch, story(("setup", OrderUnknown(pairs, lines))))
    assert isinstance(checker, ResultsMatch)
    assert f" 5 and 6{more}: " in checker.doubt


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("writer", RuleWasBroken("results-match", "Wrong", "x")))
    assert outcome(ResultsMatch, lines) == (1, [(1, "writer", "Wrong: x")])
