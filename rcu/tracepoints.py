"""What this room tells the trace."""

from __future__ import annotations

import attrs

from rcu.trace import Event


@attrs.define(eq=False)
class LockAcquired(Event):
    """A task got a lock.

    Attributes:
        lock: The lock's name.
        shared: Whether others may hold it at the same time.
    """

    lock: str
    shared: bool


@attrs.define(eq=False)
class LockReleased(Event):
    """A task gave a lock back."""

    lock: str


@attrs.define(eq=False)
class SectionBegan(Event):
    """A task entered a read section: its lock counter has been incremented."""

    domain: str
    srcu_idx: int


@attrs.define(eq=False)
class SectionEnded(Event):
    """A task left a read section: its unlock counter is about to be incremented."""

    domain: str
    srcu_idx: int


@attrs.define(eq=False)
class SynchronizeBegan(Event):
    """A task called for a grace period and will wait until it is over."""

    domain: str
    expedited: bool


@attrs.define(eq=False)
class SynchronizeEnded(Event):
    """Every section that began before the task's `SynchronizeBegan` must be over."""

    domain: str


@attrs.define(eq=False)
class GracePeriodStarted(Event):
    """The worker of a domain starts a grace period.

    Attributes:
        domain: The domain's name.
        gp_seq: Its sequence number, state bits included.
    """

    domain: str
    gp_seq: int


@attrs.define(eq=False)
class RankScanned(Event):
    """The unlock and lock counters of one rank were found equal."""

    domain: str
    rank: int


@attrs.define(eq=False)
class IndexFlipped(Event):
    """New sections use the other rank from now on."""

    domain: str
    srcu_idx: int


@attrs.define(eq=False)
class GracePeriodEnded(Event):
    """The worker of a domain ends a grace period; its callbacks follow."""

    domain: str
    gp_seq: int


@attrs.define(eq=False)
class CallbackQueued(Event):
    """A task asked for a callback after a grace period.

    Attributes:
        domain: The domain's name.
        callback: The callback's name.
        cookie: Sequence number that the domain must reach first.
    """

    domain: str
    callback: str
    cookie: int


@attrs.define(eq=False)
class CallbackInvoked(Event):
    """The grace period of a callback is over and it was called."""

    domain: str
    callback: str


@attrs.define(eq=False)
class RuleWasBroken(Event):
    """A task broke a rule and the run ends.

    Attributes:
        checker: Id of the checker whose finding it is.
        rule: Which rule.
        text: What was seen.
    """

    checker: str
    rule: str
    text: str


@attrs.define(eq=False)
class TaskStuck(Event):
    """A task waits although nobody is left who could end its wait.

    Attributes:
        task: Its name.
        waits_for: The step that it cannot make.
        held_by: Who holds the lock it waits for; empty if it waits for no lock.
        holds: The locks that it holds.
        sections: The domains whose read sections it is in.
    """

    task: str
    waits_for: str
    held_by: str
    holds: tuple[str, ...]
    sections: tuple[str, ...]
