"""Which operation each record belongs to.

Operations are what has a beginning and an end in the log: a call of user space, a read
section, a grace period and the wait for one, an invalidation. They are numbered from 1
as they begin. A record belongs to the innermost that its actor is in. Whoever reads a
log can count them again.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

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
BEGINS = {began: (ended, key) for began, ended, key in _PAIRS}
ENDS = {ended: key for _, ended, key in _PAIRS}
TURNS = frozenset({*BEGINS, *ENDS})
"""Events that begin or end an operation."""


class Operations:
    """Counts the operations of one run.

    Attributes:
        innermost: Number of the innermost operation of each actor that is in one.
    """

    def __init__(self) -> None:
        self.innermost: dict[str, int] = {}
        self._open: dict[str, list[tuple[type[Event], object, int]]] = {}
        self._begun = 0

    def of(self, actor: str, event: Event) -> int:
        """The operation that the next record belongs to; 0 if to none."""
        kind = type(event)
        if kind in BEGINS:
            ended, key = BEGINS[kind]
            self._begun = op = self._begun + 1
            self._open.setdefault(actor, []).append((ended, key(event), op))
            self.innermost[actor] = op
            return op
        if kind in ENDS:
            return self._end(actor, kind, ENDS[kind](event))
        return self.innermost.get(actor, 0)

    def _end(self, actor: str, kind: type[Event], key: object) -> int:
        """Take out the latest that has begun so, of the actor first, then of others."""
        for whose in (actor, *self._open):
            own = self._open.get(whose, ())
            for place in range(len(own) - 1, -1, -1):
                ended, begun_with, op = own[place]
                if ended is kind and begun_with == key:
                    self._take(whose, place)
                    return op
        return self.innermost.get(actor, 0)

    def _take(self, actor: str, place: int) -> None:
        own = self._open[actor]
        del own[place]
        if own:
            self.innermost[actor] = own[-1][2]
        else:
            del self._open[actor], self.innermost[actor]
