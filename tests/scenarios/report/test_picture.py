"""What is drawn of short runs: all of it, exactly."""

from __future__ import annotations

import attrs
import pytest

from memslots.tracepoints import (
    AddressSpaceMade,
    DirtyLogRequested,
    DirtyLogReturned,
    SetCopied,
    SetFreed,
    SetsSwapped,
    SlotData,
    SlotInstalled,
)
from rcu.trace import EVENT_TYPES
from rcu.tracepoints import (
    GracePeriodEnded,
    GracePeriodStarted,
    LockAcquired,
    LockReleased,
    SectionBegan,
    TaskStuck,
)
from scenarios.report.picture import (
    Arrow,
    Lane,
    Picture,
    RankCount,
    SetState,
    Span,
    Swap,
)
from scenarios.report.words import GROUP_OF
from scenarios.report.writer import picture_of_records
from tests.scenarios.report.small_runs import (
    DELETE,
    DOMAIN,
    INVALID,
    MARK,
    SLOT,
    records,
)
from vcpus.tracepoints import (
    GfnRangeZapBegan,
    GfnRangeZapped,
    InvalidationBegan,
    InvalidationEnded,
    SetDereferenced,
)


@pytest.fixture(scope="module")
def deletion() -> Picture:
    return picture_of_records(DELETE, {"scenario": "one delete", "seed": 7})


def spans(picture: Picture, kind: str) -> list[tuple[object, ...]]:
    """Of each bar of a kind: lane, label, first and last step."""
    return [
        (picture.lanes[span.lane].name, span.label, span.start, span.end)
        for span in picture.spans
        if span.kind == kind
    ]


def active(number: int, generation: int, *slots: SlotData) -> SetState:
    return SetState(0, number, active=True, generation=generation, slots=slots)


def inactive(number: int, generation: int, *slots: SlotData) -> SetState:
    return SetState(0, number, active=False, generation=generation, slots=slots)


def test_lanes_of_a_run(deletion: Picture) -> None:
    assert deletion.lanes == (
        Lane("sets of address space 0", "sets", 2),
        Lane("ranks of kvm->srcu", "ranks", 0),
        Lane("vcpu0", "vcpu", 1),
        Lane("vcpu1", "vcpu", 1),
        Lane("vmm", "writer", 3),
        Lane("kvm->srcu-gp", "worker", 1),
        Lane("setup", "setup", 0),
    )


def test_what_is_said_of_the_run(deletion: Picture) -> None:
    assert deletion.title == "one delete"
    assert deletion.facts == {"seed": "7"}
    assert (deletion.first, deletion.last, deletion.steps) == (0, 17, 17)
    assert deletion.events == len(deletion.entries) == len(DELETE)
    assert not deletion.notice
    assert [entry.seq for entry in deletion.entries] == list(range(1, 21))


def test_a_call_and_what_happens_in_it(deletion: Picture) -> None:
    assert spans(deletion, "call") == [("vmm", "delete slot 0", 1, 17)]
    assert spans(deletion, "lock") == [("vmm", "slots_lock", 4, 16)]
    waits = [("vmm", "synchronize_expedited", 6, 13)]
    assert spans(deletion, "synchronize") == waits
    assert [span.row for span in deletion.spans if span.owner == "vmm"] == [0, 2, 1]


def test_a_section_and_the_set_that_it_holds(deletion: Picture) -> None:
    sections = [span for span in deletion.spans if span.kind == "section"]
    assert sections == [
        Span(
            "vcpu0",
            "section",
            "set 0",
            start=2,
            seq=4,
            end=10,
            end_seq=13,
            held=[(3, 0, 0)],
            lane=2,
        ),
        Span("vcpu1", "section", "", start=8, seq=11, end=11, end_seq=14, lane=3),
    ]


def test_a_grace_period_and_the_sections_that_it_waited_for(deletion: Picture) -> None:
    assert spans(deletion, "grace-period") == [
        ("kvm->srcu-gp", "grace period 1", 7, 12)
    ]
    places = {(span.owner, span.kind): n for n, span in enumerate(deletion.spans)}
    period = places["kvm->srcu-gp", "grace-period"]
    # vcpu1 came later, but was counted on the rank that was scanned after the flip.
    assert deletion.arrows == (
        Arrow(places["vcpu0", "section"], period, waited=True),
        Arrow(places["vcpu1", "section"], period, waited=True),
    )


def test_sets_over_time(deletion: Picture) -> None:
    assert spans(deletion, "set") == [
        (
            "sets of address space 0",
            f"set {number} {state}: {slots}, generation {generation}",
            start,
            end,
        )
        for number, state, slots, generation, start, end in (
            (0, "active", "0 slots", "0", 0, 0),
            (1, "inactive", "0 slots", "0", 0, 0),
            (0, "active", "1 slot", "1", 0, 6),
            (1, "inactive", "1 slot", "0", 0, 5),
            (1, "inactive", "1 slot", "0", 5, 6),
            (0, "inactive", "1 slot", "1", 6, 15),
            (1, "active", "1 slot", "1, update in progress", 6, 14),
            (1, "active", "1 slot", "2", 14, None),
            (0, "inactive", "0 slots", "1", 15, None),
        )
    ]
    invalid = [span.start for span in deletion.spans if span.invalid]
    assert invalid == [5, 6, 14]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, [active(0, 1, SLOT), inactive(1, 0, SLOT)]),
        (5, [active(0, 1, SLOT), inactive(1, 0, INVALID)]),
        (
            6,
            [
                inactive(0, 1, SLOT),
                active(1, 1 | MARK, INVALID),
            ],
        ),
        (
            99,
            [inactive(0, 1), active(1, 2, INVALID)],
        ),
    ],
)
def test_sets_at_a_step(deletion: Picture, step: int, expected: list[SetState]) -> None:
    assert list(deletion.sets_at(step)) == expected


def test_swaps(deletion: Picture) -> None:
    assert deletion.swaps == (Swap(8, 6, 0, 1),)


def test_ranks_over_time(deletion: Picture) -> None:
    assert deletion.ranks == (
        RankCount(0, 0, 1, 0, 0, 0),
        RankCount(0, 0, 1, 1, 0, 0),
        RankCount(4, 2, 1, 0, 1, 0),
        RankCount(11, 8, 1, 0, 2, 0),
        RankCount(13, 10, 1, 0, 2, 1),
        RankCount(14, 11, 1, 0, 2, 2),
    )


def test_a_section_that_a_grace_period_did_not_wait_for() -> None:
    picture = picture_of_records(
        records(
            (1, "vcpu0", SectionBegan(DOMAIN, 0)),
            (2, "gp", GracePeriodStarted(DOMAIN, 1)),
            (3, "gp", GracePeriodEnded(DOMAIN, 4)),
        )
    )
    assert picture.arrows == (Arrow(0, 1, waited=False),)
    assert picture.spans[0].end is None


def test_a_running_grace_period_still_waits() -> None:
    picture = picture_of_records(
        records(
            (1, "vcpu0", SectionBegan(DOMAIN, 0)),
            (2, "gp", GracePeriodStarted(DOMAIN, 1)),
        )
    )
    assert picture.arrows == (Arrow(0, 1, waited=True),)


def test_a_lock_that_was_taken_meanwhile_may_have_been_waited_for() -> None:
    picture = picture_of_records(
        records(
            (1, "a", LockAcquired("mmu_lock", shared=False)),
            (2, "b", SectionBegan(DOMAIN, 0)),
            (5, "a", LockReleased("mmu_lock")),
            (7, "b", LockAcquired("mmu_lock", shared=False)),
            (8, "b", LockReleased("mmu_lock")),
            (9, "a", LockAcquired("other", shared=False)),
            (9, "b", LockAcquired("mmu_lock", shared=False)),
        )
    )
    assert spans(picture, "lock-wait") == [("b", "mmu_lock: a has it", 2, 7)]


def test_readers_of_a_lock_do_not_wait_for_each_other() -> None:
    picture = picture_of_records(
        records(
            (1, "a", LockAcquired("mmu_lock", shared=True)),
            (2, "b", SectionBegan(DOMAIN, 0)),
            (3, "c", SectionBegan(DOMAIN, 0)),
            (5, "a", LockReleased("mmu_lock")),
            (7, "b", LockAcquired("mmu_lock", shared=True)),
            (8, "b", LockReleased("mmu_lock")),
            (9, "c", LockAcquired("mmu_lock", shared=False)),
        )
    )
    assert spans(picture, "lock-wait") == [("c", "mmu_lock: b has it", 3, 9)]


def test_a_task_that_is_stuck() -> None:
    picture = picture_of_records(
        records(
            (1, "a", LockAcquired("mmu_lock", shared=False)),
            (2, "b", SectionBegan(DOMAIN, 0)),
            (9, "b", TaskStuck("b", "acquire mmu_lock", "a", (), (DOMAIN,))),
        ),
        ending="deadlock",
    )
    label = "stuck at: acquire mmu_lock, a has it"
    assert spans(picture, "lock-wait") == [("b", label, 2, None)]
    assert [flag.checker for flag in picture.flags] == ["deadlock"]
    assert picture.verdict == "violation"
    assert picture.focus == 9


def test_invalidations_zaps_and_calls_about_dirty_pages() -> None:
    picture = picture_of_records(
        records(
            (0, "setup", AddressSpaceMade(0, 0, 1)),
            (1, "ksm", InvalidationBegan(0x1000, 0x2000, (0,), 0, 1)),
            (2, "vmm", DirtyLogRequested(1, "get", 0, 0)),
            (3, "ksm", InvalidationEnded(0x1000, 0x2000, (0,), 0, 0)),
            (4, "vmm", DirtyLogReturned(1, -2, ())),
            (5, "kvm", GfnRangeZapBegan(0, 0x10)),
            (6, "kvm", GfnRangeZapped(0, 0x10)),
        )
    )
    label = "invalidate [0x1000, 0x2000)"
    assert spans(picture, "invalidation") == [("ksm", label, 1, 3)]
    assert spans(picture, "zap") == [("kvm", "zap gfns [0x0, 0x10)", 5, 6)]
    assert spans(picture, "call") == [("vmm", "get dirty log", 2, 4)]
    kinds = {lane.name: lane.kind for lane in picture.lanes}
    assert (kinds["ksm"], kinds["vmm"], kinds["kvm"]) == (
        "notifier",
        "writer",
        "thread",
    )


def test_sets_that_are_copied_keep_their_rows() -> None:
    picture = picture_of_records(
        records(
            (0, "setup", AddressSpaceMade(0, 0, 1, 1)),
            (0, "setup", SlotInstalled(0, SLOT)),
            (1, "vmm", SetCopied(0, 1, 0)),
            (2, "vmm", SetsSwapped(0, 1, 1 | MARK)),
            (3, "vmm", SetFreed(0, 0)),
            (4, "vmm", SetCopied(0, 2, 1)),
            (5, "vmm", SetsSwapped(0, 2, 2 | MARK)),
        )
    )
    rows = {span.set: span.row for span in picture.spans if span.kind == "set"}
    assert rows == {0: 0, 1: 1, 2: 0}
    assert picture.sets_at(4) == (
        active(1, 1 | MARK, SLOT),
        inactive(2, 1 | MARK, SLOT),
    )


def test_a_section_holds_what_it_got_hold_of_last() -> None:
    picture = picture_of_records(
        records(
            (0, "setup", AddressSpaceMade(0, 0, 1)),
            (1, "vcpu0", SectionBegan(DOMAIN, 0)),
            (2, "vcpu0", SetDereferenced(0, 0)),
            (3, "vmm", SetsSwapped(0, 1, MARK)),
            (4, "vcpu0", SetDereferenced(0, 1)),
        )
    )
    section = next(span for span in picture.spans if span.kind == "section")
    assert section.held == [(2, 0, 0), (4, 0, 1)]
    assert section.label == "set 1"


def test_every_event_belongs_to_a_group() -> None:
    ours = {
        kind for kind in EVENT_TYPES.values() if not kind.__module__.startswith("t")
    }
    assert {kind for kind in ours if attrs.has(kind)} <= set(GROUP_OF)
