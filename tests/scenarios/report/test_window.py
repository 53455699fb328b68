"""Which part of a long run is drawn, and that nothing is lost before it."""

from __future__ import annotations

import pytest

from memslots.tracepoints import SetsSwapped
from rcu.trace import Record
from rcu.tracepoints import LockAcquired
from scenarios.errors import InputError
from scenarios.report.picture import Picture
from scenarios.report.window import Wanted
from scenarios.report.writer import Report, picture_of_records
from tests.scenarios.report.small_runs import DELETE, endless_reader, records

UNMARKED = SetsSwapped(0, 1, 0)
"""A set that is published without the mark: a violation of generation-unique."""


def drawn(run: list[Record], wanted: Wanted, batch: int = 7) -> Picture:
    """Let a report read a run in batches."""
    report = Report(wanted)
    report.begin({"scenario": "long"})
    for start in range(0, len(run), batch):
        report.write(run[start : start + batch])
    report.end(0, "completed")
    return report.picture()


def shown(picture: Picture) -> tuple[int, int, int]:
    """First and last step, and how many events."""
    assert picture.first == picture.entries[0].step
    return picture.first, picture.last, len(picture.entries)


def violated(after: int, more: int) -> list[Record]:
    """A long run with a violation in the middle."""
    run = endless_reader(after)
    step = run[-1].step + 1
    run.append(Record(step, "vmm", UNMARKED))
    later = [Record(r.step + step, r.actor, r.event) for r in endless_reader(more)[1:]]
    return run + later


def test_a_short_run_is_drawn_whole() -> None:
    picture = drawn(endless_reader(3), Wanted(most=10))
    assert shown(picture) == (0, 27, 10)
    assert not picture.notice


def test_the_first_of_a_long_run_without_a_violation() -> None:
    picture = drawn(endless_reader(100), Wanted(most=10))
    assert shown(picture) == (0, 27, 10)
    assert picture.notice == (
        "showing 10 of 301 events, steps 0 to 27 of 997: the first of the run"
    )


def test_what_is_around_the_first_violation() -> None:
    run = violated(after=100, more=100)
    picture = drawn(run, Wanted(most=20))
    place = 301
    first = place - 15
    assert shown(picture) == (run[first].step, run[first + 19].step, 20)
    assert [entry.seq for entry in picture.entries] == list(
        range(first + 1, first + 21)
    )
    assert picture.focus == 998
    assert picture.chosen == "around the first violation, in step 998"


@pytest.mark.parametrize("batch", [1, 5, 19, 1000])
@pytest.mark.parametrize("more", [0, 2, 30])
def test_the_window_does_not_depend_on_batches(batch: int, more: int) -> None:
    run = violated(after=30, more=more)
    assert drawn(run, Wanted(most=20), batch) == drawn(run, Wanted(most=20))


def test_a_violation_at_the_end_leaves_no_part_unused() -> None:
    picture = drawn(violated(after=100, more=0), Wanted(most=20))
    assert len(picture.entries) == 20
    assert picture.last == 998


@pytest.mark.parametrize(
    ("wanted", "steps"),
    [
        (Wanted(first=95, most=4), (97, 107, 4)),
        (Wanted(last=107, most=4), (97, 107, 4)),
        (Wanted(first=94, last=104, most=40), (94, 104, 4)),
        (Wanted(first=94, last=104, most=2), (94, 97, 2)),
        (Wanted(first=990, most=40), (991, 997, 3)),
    ],
)
def test_steps_that_are_asked_for(wanted: Wanted, steps: tuple[int, int, int]) -> None:
    picture = drawn(endless_reader(100), wanted)
    assert shown(picture) == steps
    assert picture.notice.endswith(": as asked for")


def test_steps_that_the_run_does_not_have() -> None:
    with pytest.raises(InputError, match="no event in steps 5000 to the end; the run"):
        drawn(endless_reader(3), Wanted(first=5_000))


@pytest.mark.parametrize("first", range(18))
def test_what_was_open_before_the_window_is_known(first: int) -> None:
    whole = picture_of_records(DELETE)
    part = drawn(DELETE, Wanted(first=first))
    at = part.entries[0].seq
    keys = [
        (s.owner, s.kind, s.start, s.end, s.held)
        for s in whole.spans
        if s.end_seq is None or s.end_seq >= at
    ]
    assert [(s.owner, s.kind, s.start, s.end, s.held) for s in part.spans] == keys
    assert part.sets_at(part.last) == whole.sets_at(part.last)
    assert part.sets_at(first) == whole.sets_at(first)
    if first:
        before = [c for c in whole.ranks if c.seq < at]
        for rank in (0, 1):
            counts = [(c.locks, c.unlocks) for c in before if c.rank == rank]
            now = [(c.locks, c.unlocks) for c in part.ranks if c.rank == rank]
            assert now[:1] == (counts[-1:] or now[:1])


def test_a_wait_that_began_before_the_window() -> None:
    run = records(
        (1, "a", LockAcquired("mmu_lock", shared=False)),
        (2, "b", LockAcquired("other", shared=False)),
        (9, "b", LockAcquired("third", shared=False)),
    )
    picture = drawn(run, Wanted(first=5))
    assert [(s.label, s.start) for s in picture.spans] == [
        ("mmu_lock", 1),
        ("other", 2),
        ("third", 9),
    ]


@pytest.mark.parametrize("wanted", [(5, 4, 10), (None, None, 0)])
def test_nonsense_is_refused(wanted: tuple[int | None, int | None, int]) -> None:
    with pytest.raises(InputError):
        Wanted(*wanted)


def test_an_event_that_contradicts_those_before_it() -> None:
    with pytest.raises(InputError, match="contradicts those before"):
        drawn(records((1, "vmm", UNMARKED)), Wanted())


@pytest.mark.parametrize("first", range(18))
def test_a_set_has_the_row_of_its_number(first: int) -> None:
    part = drawn(DELETE, Wanted(first=first))
    sets = [span for span in part.spans if span.kind == "set"]
    assert {(span.set, span.row) for span in sets} == {(0, 0), (1, 1)}
