"""What can go wrong: rules that the modelled system breaks, and bugs of our own.

A `RuleBroken` ends the run and becomes a finding of the checker that it names. A
`SimulatorBug` is never a finding.
"""

from __future__ import annotations

from typing import ClassVar


class RuleBroken(Exception):  # noqa: N818 - a finding, not an error of the program
    """The modelled system broke a rule of the kernel.

    Attributes:
        checker: Id of the checker whose finding this is.
        why: The rule, in a sentence; empty if the checker's says it all.
    """

    checker: ClassVar[str]
    why: ClassVar[str] = ""


class UseAfterFree(RuleBroken):
    """Something was touched after it had been freed."""

    checker = "no-use-after-free"
    why = "nothing is freed before everybody who may have found it has left his section"


class DoubleFree(RuleBroken):
    """Something was freed twice."""

    checker = "no-use-after-free"


class GracePeriodInReader(RuleBroken):
    """A task waits for a grace period of the domain whose read section it is in."""

    checker = "deadlock"


class WrongUnlock(RuleBroken):
    """A read section was left that the task is not in, or with another index."""

    checker = "grace-period"


class DomainBusy(RuleBroken):
    """A domain was cleaned up while readers, grace periods or callbacks remained."""

    checker = "grace-period"


class DoubleCallback(RuleBroken):
    """A callback was queued that is still waiting for its grace period."""

    checker = "grace-period"


class NotProtected(RuleBroken):
    """A published pointer was dereferenced outside any section or lock it allows."""

    checker = "no-use-after-free"


class LockNotHeld(RuleBroken):
    """A lock was needed or released that the task does not hold."""

    checker = "lock-order"


class LockHeld(RuleBroken):
    """A task acquires a lock that it holds already."""

    checker = "deadlock"


class SleepInAtomic(RuleBroken):
    """A task may sleep while it holds a spin lock."""

    checker = "lock-order"


class SimulatorBug(Exception):  # noqa: N818 - addressed to us, not to the caller
    """The simulator itself is wrong; please report it with the run's log."""


def goes_on(error: BaseException) -> bool:
    """Whether a task goes on after ``error``: locks are released, sections left."""
    return isinstance(error, Exception) and not isinstance(
        error, RuleBroken | SimulatorBug
    )
