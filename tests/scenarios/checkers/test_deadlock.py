"""Whoever was stuck is told with what it waits for and what it holds."""

from __future__ import annotations

import pytest

from rcu.tracepoints import LockAcquired, RuleWasBroken, SynchronizeEnded, TaskStuck
from scenarios.checkers.deadlock import Deadlock
from tests.scenarios.checkers.story import SRCU, outcome, story


def test_waits_that_end_are_counted() -> None:
    lines = story(
        ("writer", LockAcquired("slots_lock", shared=False)),
        ("writer", SynchronizeEnded(SRCU)),
    )
    assert outcome(Deadlock, lines) == (2, [])


@pytest.mark.parametrize(
    ("stuck", "seen"),
    [
        (
            TaskStuck("a", "wait to rescan", "", (), ()),
            "a waits for ever to wait to rescan",
        ),
        (
            TaskStuck("a", "acquire l", "b", (), ()),
            "a waits for ever to acquire l, which b holds",
        ),
        (
            TaskStuck("a", "acquire l", "b", ("m", "n"), (SRCU, "track")),
            (
                "a waits for ever to acquire l, which b holds; it holds m, n itself;"
                " it is in a section of kvm->srcu, track"
            ),
        ),
    ],
)
def test_a_stuck_task_is_described(stuck: TaskStuck, seen: str) -> None:
    assert outcome(Deadlock, story(("a", stuck))) == (1, [(1, "a", seen)])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("writer", RuleWasBroken("deadlock", "LockHeld", "x")))
    assert outcome(Deadlock, lines) == (1, [(1, "writer", "LockHeld: x")])
