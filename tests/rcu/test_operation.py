"""Which two steps may not be exchanged: all that a strategy may know."""

from __future__ import annotations

import pytest

from rcu.operation import START, Location, Operation

X, Y = Location("x"), Location("y")
READ_X, WRITE_X = X.read, X.write
COPY = Operation("copy", reads=(X,), writes=(Y,))
NOTHING = Operation("let a jiffy pass")


@pytest.mark.parametrize(
    ("one", "other", "depends"),
    [
        (READ_X, READ_X, False),
        (READ_X, WRITE_X, True),
        (WRITE_X, WRITE_X, True),
        (READ_X, Y.write, False),
        (WRITE_X, Y.write, False),
        (WRITE_X, Y.read, False),
        (COPY, READ_X, False),
        (COPY, WRITE_X, True),
        (COPY, Y.read, True),
        (COPY, Y.write, True),
        (COPY, COPY, True),
        (NOTHING, WRITE_X, False),
        (NOTHING, NOTHING, False),
        (START, COPY, False),
    ],
)
def test_two_steps_depend_if_they_meet_and_one_writes(
    one: Operation, other: Operation, *, depends: bool
) -> None:
    assert one.depends_on(other) is depends
    assert other.depends_on(one) is depends


def test_locations_of_one_name_are_two_locations() -> None:
    assert not Location("x").write.depends_on(Location("x").write)


@pytest.mark.parametrize(
    ("op", "changes"), [(READ_X, False), (WRITE_X, True), (COPY, True), (START, False)]
)
def test_an_operation_knows_whether_it_changes_anything(
    op: Operation, *, changes: bool
) -> None:
    assert op.changes is changes


def test_an_operation_is_told_with_what_it_writes_first() -> None:
    assert str(COPY) == "copy y, x"
    assert str(READ_X) == "read x"
    assert str(NOTHING) == "let a jiffy pass"
    assert COPY.locations == (Y, X)
    assert repr(WRITE_X) == "<Operation write x>"
    assert repr(X) == "<Location x>"
