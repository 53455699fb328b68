"""Each finding names the earlier steps without which it would not be so."""

from __future__ import annotations

import itertools

import pytest

from memslots.slot import INVALID, LOG_DIRTY_PAGES
from memslots.tracepoints import (
    GenerationAdvanced,
    MemoryAllocated,
    MemoryFreed,
    MemoryHeld,
    PagesCounted,
    RegionRequested,
    SetsSwapped,
    SlotFreed,
    SlotReplaced,
    VmDestroyed,
)
from rcu.trace import Event
from rcu.tracepoints import (
    CallbackInvoked,
    CallbackQueued,
    LockAcquired,
    LockReleased,
    RuleWasBroken,
    SynchronizeBegan,
    SynchronizeEnded,
    TaskStuck,
)
from scenarios.checkers.checker import MAX_CAUSES
from scenarios.checkers.judge import CHECKERS
from scenarios.tracepoints import GuestExpected, ResultCompared
from tests.scenarios.checkers.story import (
    INVALID_X,
    SRCU,
    X,
    Y,
    alone,
    enter,
    get_hold,
    look,
    slot,
    space,
    story,
)
from tests.scenarios.checkers.test_no_dirty_page_lost import (
    BITMAP,
    ask,
    mark,
    take,
    told_of,
    write,
)
from tests.scenarios.checkers.test_no_dirty_page_lost import (
    LOGGED as LOGGED_FROM_THE_BEGINNING,
)
from vcpus.tracepoints import (
    GuestAccessed,
    InvalidationBegan,
    InvalidationEnded,
    MmioCacheHit,
    MmuPagesChanged,
    PageFaulted,
    RootZapped,
    ShadowFlushed,
    ShadowRootAllocated,
    SpteInstalled,
)

HVA = 0x7F00_0000_0000
MARK = 1 << 63

Lines = list[tuple[str, Event]]


def w(event: Event) -> tuple[str, Event]:
    """The writer's step."""
    return "writer", event


def r(event: Event) -> tuple[str, Event]:
    """The reader's step."""
    return "vcpu0", event


def edit(index: int, old: int | None, new: object) -> tuple[str, Event]:
    return w(SlotReplaced(0, index, old, new))  # type: ignore[arg-type]


TO_1 = w(SetsSwapped(0, 1, MARK))
UNLOCK = w(LockReleased("slots_lock"))
HELD_X = w(MemoryHeld(1, None, None, None, None, ring=False))
MAPPED = r(SpteInstalled(0, 0, 0x10, 1, HVA, writable=True))
WRITTEN = r(GuestAccessed(0, 0, 0x10000, True, 1, HVA, 5))  # noqa: FBT003
READ = r(GuestAccessed(0, 0, 0x10000, False, 1, HVA, 5))  # noqa: FBT003
TO_A_DEVICE = r(PageFaulted(0, 0, 0x10000, False, "mmio"))  # noqa: FBT003
LOGGED = slot(4, flags=LOG_DIRTY_PAGES)

CASES: list[tuple[str, Lines, tuple[int, ...]]] = [
    ("retired-set-quiet", [TO_1, edit(1, None, Y)], (1,)),
    (
        "retired-set-quiet",
        [w(RegionRequested(1, 1, 0, 0, 4096, 0)), edit(0, None, Y)],
        (1,),
    ),
    (
        "retired-set-quiet",
        [enter("vcpu0"), get_hold("vcpu0", 0), TO_1, edit(0, None, Y)],
        (1, 2, 3),
    ),
    (
        "grace-period",
        [
            enter("vcpu0"),
            w(SynchronizeBegan(SRCU, expedited=True)),
            w(SynchronizeEnded(SRCU)),
        ],
        (1, 2),
    ),
    (
        "grace-period",
        [
            enter("vcpu0"),
            w(CallbackQueued(SRCU, "free", 4)),
            ("gp", CallbackInvoked(SRCU, "free")),
        ],
        (1, 2),
    ),
    (
        "grace-period",
        [
            w(CallbackQueued(SRCU, "free", 4)),
            w(RuleWasBroken("grace-period", "DomainBusy", f"{SRCU} is cleaned up")),
        ],
        (1,),
    ),
    (
        "consistent-set",
        [enter("vcpu0"), get_hold("vcpu0", 0), look("vcpu0", 1, 0x10, X)],
        (2,),
    ),
    (
        "consistent-set",
        [
            edit(0, 1, None),
            enter("vcpu0"),
            get_hold("vcpu0", 0),
            look("vcpu0", 0, 0x10, X),
        ],
        (1, 3),
    ),
    (
        "consistent-set",
        [
            enter("vcpu0"),
            get_hold("vcpu0", 1),
            get_hold("vcpu0", 0),
            get_hold("vcpu0", 0, as_id=1),
            look("vcpu0", 1, 0x10, X),
        ],
        (3,),
    ),
    (
        "consistent-set",
        [
            enter("vcpu0"),
            get_hold("vcpu0", 1, as_id=1),
            get_hold("vcpu0", 0),
            look("vcpu0", 0, 0x10, X, as_id=1),
        ],
        (2,),
    ),
    (
        "consistent-set",
        [
            enter("vcpu0"),
            get_hold("vcpu0", 0),
            enter("vcpu0", 1),
            look("vcpu0", 1, 0x10, X),
        ],
        (3,),
    ),
    ("consistent-set", [look("vcpu0", 0, 0x10, Y)], ()),
    (
        "no-use-after-free",
        [w(SlotFreed(0, 9)), enter("vcpu0"), look("vcpu0", 0, 0x10, slot(9))],
        (1, 2),
    ),
    ("no-use-after-free", [w(SlotFreed(0, 9)), w(SlotFreed(0, 9))], (1,)),
    (
        "no-use-after-free",
        [
            enter("vcpu0"),
            look("vcpu0", 0, 0x10, slot(9)),
            w(SlotFreed(0, 9)),
        ],
        (1, 2),
    ),
    ("no-use-after-free", [edit(1, None, Y), w(SlotFreed(0, 2))], (1,)),
    (
        "no-use-after-free",
        [
            enter("vcpu0"),
            r(
                RuleWasBroken(
                    "no-use-after-free",
                    "UseAfterFree",
                    "id of slot 1 (freed by writer in step 1) was read",
                )
            ),
        ],
        (1,),
    ),
    (
        "sets-converge",
        [edit(1, 1, INVALID_X), edit(0, 1, INVALID_X), UNLOCK],
        (1, 2),
    ),
    ("sets-converge", [edit(1, None, Y), UNLOCK], (1,)),
    ("generation-unique", [edit(1, None, Y), w(SetsSwapped(0, 1, 7))], (1,)),
    ("generation-unique", [TO_1, w(SetsSwapped(0, 0, MARK | 1))], (1,)),
    (
        "generation-unique",
        [
            w(GenerationAdvanced(0, 0, 5)),
            w(SetsSwapped(0, 1, MARK | 5)),
            w(GenerationAdvanced(0, 1, 4)),
        ],
        (1, 2),
    ),
    (
        "generation-unique",
        [
            look("vcpu0", 0, 0x10, X, generation=1),
            edit(0, None, Y),
            look("vcpu0", 0, 0x10, X, generation=1),
        ],
        (1, 2),
    ),
    (
        "lock-order",
        [enter("writer"), w(LockAcquired("slots_lock", shared=False))],
        (1,),
    ),
    (
        "lock-order",
        [
            r(LockAcquired("a", shared=False)),
            r(LockAcquired("b", shared=False)),
            r(LockReleased("a")),
            r(LockReleased("b")),
            w(LockAcquired("b", shared=False)),
            w(LockAcquired("a", shared=False)),
        ],
        (2, 5),
    ),
    (
        "deadlock",
        [
            r(LockAcquired("a", shared=False)),
            w(LockAcquired("b", shared=False)),
            r(TaskStuck("vcpu0", "acquire b", "writer", ("a",), ())),
        ],
        (1, 2),
    ),
    (
        "deadlock",
        [
            enter("vcpu0"),
            r(TaskStuck("vcpu0", "block on kicks", "", (), (SRCU,))),
        ],
        (1,),
    ),
    (
        "deadlock",
        [
            enter("vcpu0"),
            w(LockAcquired("slots_lock", shared=False)),
            w(SynchronizeBegan(SRCU, expedited=True)),
            w(
                TaskStuck(
                    "writer", "wait for synchronize of writer", "", ("slots_lock",), ()
                )
            ),
        ],
        (1, 2, 3),
    ),
    (
        "deadlock",
        [
            w(LockAcquired("a", shared=False)),
            w(RuleWasBroken("deadlock", "LockHeld", "writer acquires a, which it")),
        ],
        (1,),
    ),
    (
        "results-match",
        [
            w(RegionRequested(1, 1, 0, 0, 4096, 0)),
            w(ResultCompared(1, 3, "slot 1", 0, -17)),
        ],
        (1,),
    ),
    (
        "guest-sees",
        [
            r(GuestExpected(0, (0,), mmio=True)),
            MAPPED,
            WRITTEN,
            READ,
        ],
        (2, 3),
    ),
    (
        "guest-sees",
        [
            r(GuestExpected(0, (), mmio=False)),
            TO_1,
            enter("vcpu0"),
            TO_A_DEVICE,
        ],
        (2,),
    ),
    (
        "freed-once",
        [w(MemoryAllocated("rmap", 9)), w(MemoryFreed("rmap", 9))] * 2,
        (2,),
    ),
    ("freed-once", [w(MemoryAllocated("slot", 9)), UNLOCK], (1,)),
    ("freed-once", [w(MemoryAllocated("slot", 9)), w(VmDestroyed())], (1,)),
    ("page-count", [edit(1, None, Y), w(PagesCounted(9)), UNLOCK], (1, 2)),
    (
        "page-count",
        [w(PagesCounted(9)), w(MmuPagesChanged(64)), w(MmuPagesChanged(64))],
        (1, 2),
    ),
    (
        "arch-data-kept",
        [
            w(MemoryHeld(4, None, None, None, None, ring=False)),
            edit(1, 1, LOGGED),
        ],
        (1,),
    ),
    (
        "arch-data-kept",
        [
            HELD_X,
            w(MemoryAllocated("rmap", 1)),
            w(MemoryHeld(2, None, None, None, None, ring=False)),
            edit(1, 1, slot(2)),
        ],
        (2, 3),
    ),
    ("arch-data-kept", [HELD_X, r(ShadowRootAllocated())], (1,)),
    (
        "invalid-is-seen",
        [edit(1, 1, None), TO_1],
        (1,),
    ),
    ("invalid-is-seen", [edit(1, 1, INVALID_X), TO_1, UNLOCK], (2,)),
    (
        "invalid-is-seen",
        [enter("vcpu0"), edit(1, 1, INVALID_X), TO_1, w(ShadowFlushed(0, 1))],
        (1, 3),
    ),
    (
        "invalid-is-seen",
        [
            edit(1, 1, INVALID_X),
            TO_1,
            edit(0, 1, None),
            w(SetsSwapped(0, 0, MARK | 1)),
        ],
        (1, 2),
    ),
    ("no-stale-translation", [MAPPED, w(ShadowFlushed(0, 1))], (1,)),
    (
        "no-stale-translation",
        [
            enter("vcpu0"),
            w(ShadowFlushed(0, 1)),
            MAPPED,
        ],
        (2,),
    ),
    (
        "no-stale-translation",
        [
            edit(1, 1, slot(3, flags=INVALID)),
            r(SpteInstalled(0, 0, 9, 3, HVA, writable=True)),
        ],
        (1,),
    ),
    ("no-stale-translation", [w(RootZapped(0)), MAPPED], (1,)),
    (
        "no-stale-translation",
        [("host", InvalidationBegan(HVA, HVA + 4096, (0,), 1, 1)), MAPPED],
        (1,),
    ),
    (
        "mmio-cache-fresh",
        [
            look("vcpu0", 0, 0x20, None),
            edit(1, None, Y),
            TO_1,
            r(MmioCacheHit(0, 0, 0x20, "spte")),
        ],
        (1, 2, 3),
    ),
    (
        "notifier-balanced",
        [("host", InvalidationBegan(0, 4096, (0,), 0, 0)), TO_1],
        (1,),
    ),
    (
        "notifier-balanced",
        [
            ("host", InvalidationBegan(0, 4096, (0,), 0, 0)),
            ("host", InvalidationEnded(0, 4096, (1,), 0, 0)),
        ],
        (1,),
    ),
]
"""A checker, what it reads behind the setup, and the causes of its first finding."""


@pytest.mark.parametrize(("id_", "lines", "causes"), CASES)
def test_the_first_finding_names_its_causes(
    id_: str, lines: Lines, causes: tuple[int, ...]
) -> None:
    setup = space(X) + space(as_id=1, of=2)
    first = alone(CHECKERS[id_], setup + story(*lines)).violations[0]
    assert first.causes == causes
    assert max(causes, default=0) < first.step


def test_every_checker_is_asked_for_its_causes() -> None:
    elsewhere = {"no-dirty-page-lost"}
    assert {id_ for id_, _, _ in CASES} | elsewhere == {*CHECKERS}


def dirty(*lines: tuple[str, Event]) -> tuple[int, ...]:
    """The causes for which a page is lost that was logged from the beginning."""
    records = [*BITMAP, *space(LOGGED_FROM_THE_BEGINNING), *story(*lines)]
    return alone(CHECKERS["no-dirty-page-lost"], records).violations[0].causes


def test_a_write_without_a_mark_is_told_with_who_took_the_last_mark() -> None:
    assert dirty(write()) == (0,)
    told = told_of((0, 1 << 3))
    assert dirty(mark(), ask("get"), take(1 << 3), told, write()) == (0, 3)


def test_a_mark_that_a_call_has_taken_is_told_with_the_call() -> None:
    lines = (write(), mark(), ask("get"), take(1 << 3), told_of())
    assert dirty(*lines[1:2], *lines[:1], *lines[2:]) == (2, 3, 4)


def test_of_many_causes_the_last_few_are_kept() -> None:
    names = "abcde"
    lines: Lines = []
    for outer, inner in itertools.pairwise([*names, names[0]]):
        taken = [LockAcquired(outer, shared=False), LockAcquired(inner, shared=False)]
        given = [LockReleased(outer), LockReleased(inner)]
        lines += [w(event) for event in (*taken, *given)]
    (violation,) = alone(CHECKERS["lock-order"], story(*lines)).violations
    assert violation.step == 18
    assert violation.causes == (10, 14, 17)
    assert len(violation.causes) == MAX_CAUSES
