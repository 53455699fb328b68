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
        states: How many states a search for the order had looked at when it gave up; 0
            if there was no use to search.
    """

    pairs: int
    lines: tuple[tuple[int, int], ...]
    states: int = 0


@attrs.define(eq=False)
class NoOrder(Event):
    """Recorded calls overlapped, and no order of them explains what they answered.

    Attributes:
        prefix: So many calls, in the order of their returns, cannot be explained.
        lines: Lines of the trace of those whose answers contradict each other.
        text: What they answered, and what is possible.
    """

    prefix: int
    lines: tuple[int, ...]
    text: str


@attrs.define(eq=False)
class UpdatesLost(Event):
    """The recording has updates that may have succeeded and does not show for what.

    Attributes:
        lines: Lines of the trace of the first few.
    """

    lines: tuple[int, ...]


@attrs.define(eq=False)
class RuleHeld(Event):
    """A protocol that judges itself has put a rule to the test, and it held.

    Attributes:
        checker: Id of the checker whose rule it is.
    """

    checker: str


@attrs.define(eq=False)
class GuestExpected(Event):
    """What the scenario says about the guest of a vCPU.

    Attributes:
        vcpu: Which vCPU.
        may_read: What its guest may find in memory; anything if it is empty.
        mmio: Whether its page faults may end at a device.
    """

    vcpu: int
    may_read: tuple[int, ...]
    mmio: bool
