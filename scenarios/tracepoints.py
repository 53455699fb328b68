"""What this room tells the trace."""

from __future__ import annotations

import attrs

from rcu.trace import Event


@attrs.define(eq=False)
class ResultCompared(Event):
    """A call came back whose result was known beforehand.

    Attributes:
        call: Number of the call in the run.
        line: Line of the trace that recorded it, or place in the scenario; from 1.
        region: What was asked for, in words.
        expected: 0 or a negative errno: what is recorded, or the scenario says.
        result: What the model answered.
    """

    call: int
    line: int
    region: str
    expected: int
    result: int


@attrs.define(eq=False)
class BegunLate(Event):
    """Recorded calls succeeded on slots that no recorded call has made.

    Attributes:
        lines: Lines of the trace of the first few.
    """

    lines: tuple[int, ...]


@attrs.define(eq=False)
class OrderUnknown(Event):
    """Recorded calls overlapped, so the real kernel's order is not known.

    Attributes:
        pairs: How many pairs of calls overlapped whose order can be told from outside.
        lines: Lines of the trace of the first few pairs.
    """

    pairs: int
    lines: tuple[tuple[int, int], ...]
