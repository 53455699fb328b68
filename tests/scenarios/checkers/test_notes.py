"""Of each thing the last record is kept, and of few things."""

from __future__ import annotations

from rcu.trace import Record
from rcu.tracepoints import TaskStuck
from scenarios.checkers.notes import MOST, Notes


def test_of_each_thing_the_last_record_is_kept_and_of_few_things() -> None:
    notes = Notes[int]()
    assert (notes.steps(1), list(notes)) == ([], [])
    records = [
        Record(step, "writer", TaskStuck("a", "", "", (), ())) for step in (1, 2)
    ]
    notes.note(7, records[0])
    notes.note(8, records[0])
    notes.note(7, records[1])
    assert (notes.steps(7, 9, 8), list(notes)) == ([2, 1], [7, 8])
    for key in range(100, 100 + MOST - 2):
        notes.note(key, records[0])
    assert notes.steps(7) == [2]
    notes.note(1, records[1])
    assert (notes.steps(7, 1), list(notes)) == ([2], [1])
    assert MOST == 4_096
