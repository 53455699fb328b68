"""Which operation each record belongs to.

Operations are what has a beginning and an end in the log: a call of user space, a read
section, a grace period and the wait for one, an invalidation. They are numbered from 1
as they begin. A record belongs to the innermost that its actor is in. Whoever reads a
log can count them again.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from memslots.tracepoints import (
    DirtyLogRequested,
    DirtyLogReturned,
    RegionRequested,
    RegionReturned,
)
from rcu.trace import Event
from rcu.tracepoints import (
    GracePeriodEnded,
    GracePeriodStarted,
    SectionBegan,
    SectionEnded,
    SynchronizeBegan,
    SynchronizeEnded,
)
from vcpus.tracepoints import (
    GfnRangeZapBegan,
    GfnRangeZapped,
    InvalidationBegan,
    InvalidationEnded,
)

# What begins an operation, by what ends it, and what the two have in common.
_PAIRS: tuple[tuple[type[Event], type[Event], Callable[[Any], object]], ...] = (
    (RegionRequested, RegionReturned, attrgetter("call")),
    (DirtyLogRequested, DirtyLogReturned, attrgetter("call")),
    (SectionBegan, SectionEnded, attrgetter("domain", "srcu_idx")),
    (GracePeriodStarted, GracePeriodEnded, attrgetter("domain")),
    (SynchronizeBegan, SynchronizeEnded, attrgetter("domain")),
    (InvalidationBegan, InvalidationEnded, attrgetter("start", "end")),
    (GfnRangeZapBegan, GfnRangeZapped, attrgetter("start", "end")),
)
_TURNS = {
    kind: (kind is began, ended, key)
    for began, ended, key in _PAIRS
    for kind in (began, ended)
}


class Turn(NamedTuple):
    """The beginning of an operation, or its end.

    Attributes:
        begins: Whether it is the beginning.
        what: The same for the beginning and the end of one operation.
    """

    begins: bool
    what: tuple[type[Event], object]


def turn_of(event: Event) -> Turn | None:
    """What an event begins or ends; None if it does neither."""
    kind = _TURNS.get(type(event))
    if kind is None:
        return None
    begins, ended, key = kind
    return Turn(begins, (ended, key(event)))


class Operations:
    """Counts the operations of one run.

    Attributes:
        innermost: Number of the innermost operation of each actor that is in one.
    """

    def __init__(self) -> None:
        self.innermost: dict[str, int] = {}
        self._open: dict[str, list[tuple[object, int]]] = {}
        self._begun = 0

    def of(self, actor: str, turn: Turn | None) -> int:
        """The operation that the next record belongs to; 0 if to none."""
        if turn is None:
            return self.innermost.get(actor, 0)
        begins, what = turn
        if not begins:
            return self._end(actor, what)
        self._begun = op = self._begun + 1
        self._open.setdefault(actor, []).append((what, op))
        self.innermost[actor] = op
        return op

    def _end(self, actor: str, what: object) -> int:
        """Take out the latest that has begun so, of the actor first, then of others."""
        for whose in (actor, *self._open):
            own = self._open.get(whose, ())
            for place in range(len(own) - 1, -1, -1):
                begun, op = own[place]
                if begun == what:
                    self._take(whose, place)
                    return op
        return self.innermost.get(actor, 0)

    def _take(self, actor: str, place: int) -> None:
        own = self._open[actor]
        del own[place]
        if own:
            self.innermost[actor] = own[-1][1]
        else:
            del self._open[actor], self.innermost[actor]
