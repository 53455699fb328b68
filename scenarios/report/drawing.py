"""Draws a picture from records, one after the other.

What is open is known at any time, so that the records of a long run can be read without
being kept until the part begins that is to be shown.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

import attrs

from memslots.slot import SlotId
from memslots.tracepoints import (
    DirtyLogRequested,
    DirtyLogReturned,
    RegionRequested,
    RegionReturned,
)
from rcu.trace import Event, Record
from rcu.tracepoints import (
    LockAcquired,
    LockReleased,
    TaskStuck,
)
from scenarios.report.bars import Bars, Handlers, short
from scenarios.report.picture import (
    LANE_KINDS,
    Arrow,
    Entry,
    Lane,
    RankCount,
    SetChange,
    SetState,
    Span,
    Swap,
)
from scenarios.report.readers import Readers
from scenarios.report.rows import put_in_rows
from scenarios.report.set_bars import SetBars
from vcpus.tracepoints import (
    GfnRangeZapBegan,
    GfnRangeZapped,
    InvalidationBegan,
    InvalidationEnded,
)

MOST_LANES = 300
"""Lanes of tasks; further ones share the last."""

NOBODY = "(the run)"
SETUP = "setup"


@attrs.define
class _Held:
    """A lock that somebody has."""

    actor: str
    shared: bool
    span: Span


@attrs.define
class Drawn:
    """What was drawn since `Drawing.begin`; see `Picture` for each part."""

    lanes: list[Lane]
    spans: list[Span]
    entries: list[Entry]
    arrows: list[Arrow]
    swaps: list[Swap]
    sets: tuple[SetState, ...]
    changes: list[SetChange]
    ranks: list[RankCount]


class Drawing:
    """Reads records in order.

    Args:
        tasks: Names of the tasks, in the order in which they are to be shown.
    """

    def __init__(self, tasks: Iterable[str] = ()) -> None:
        self._order = {short(name): place for place, name in enumerate(tasks)}
        self._bars = Bars()
        self._readers = Readers(self._bars)
        self._sets = SetBars(self._bars)
        self._names: dict[str, str] = {}
        self._last: dict[str, tuple[int, int]] = {}  # seq and step of a task's last
        self._locks: dict[str, list[_Held]] = {}
        self._released: dict[tuple[str, bool], tuple[int, str]] = {}
        self._entries: list[tuple[int, int, str, Event]] = []
        own: Handlers = {
            LockAcquired: self._acquired,
            LockReleased: self._lock_released,
            TaskStuck: self._stuck,
            RegionRequested: self._region_requested,
            RegionReturned: self._region_returned,
            DirtyLogRequested: self._dirty_log_requested,
            DirtyLogReturned: self._dirty_log_returned,
            InvalidationBegan: self._invalidation_began,
            InvalidationEnded: self._invalidation_ended,
            GfnRangeZapBegan: self._zap_began,
            GfnRangeZapped: self._zapped,
        }
        self._table = own | self._readers.handlers | self._sets.handlers

    def begin(self, step: int) -> None:
        """Start to keep what is drawn; before, only what is open was known.

        Args:
            step: The first step that will be shown.
        """
        self._bars.keeping = True
        self._bars.first = step
        self._readers.begin()
        self._sets.begin()

    def read(self, seq: int, record: Record) -> None:
        """Draw one record.

        Raises:
            LookupError, TypeError, ValueError: It contradicts those before it.
        """
        step, actor, event = record
        name = self._names.get(actor)
        if name is None:
            name = self._names[actor] = short(actor) or NOBODY
        handler = self._table.get(type(event))
        if handler is not None:
            handler(seq, step, name, event)
        self._last[name] = seq, step
        if self._bars.keeping:
            self._entries.append((seq, step, name, event))

    def drawn(self) -> Drawn:
        """Put together what was drawn."""
        spans = sorted(
            itertools.chain(self._bars.over, self._still_open()),
            key=lambda span: (span.start, span.seq, span.set or 0),
        )
        lanes = self._lanes(spans)
        places = {lane.name: place for place, lane in enumerate(lanes)}
        rest = len(lanes) - 1
        for span in spans:
            span.lane = places.get(span.owner, rest)
        put_in_rows(lanes, spans)
        index = {id(span): place for place, span in enumerate(spans)}
        return Drawn(
            lanes=lanes,
            spans=spans,
            entries=[
                Entry(seq, step, places.get(name, rest), event)
                for seq, step, name, event in self._entries
            ],
            arrows=self._readers.arrows(index),
            swaps=self._sets.swaps,
            sets=self._sets.base,
            changes=self._sets.changes,
            ranks=[
                attrs.evolve(count, lane=places[owner])
                for owner, count in self._readers.counts
            ],
        )

    def _still_open(self) -> Iterable[Span]:
        yield from self._bars.still_open()
        yield from self._readers.still_open()
        yield from self._sets.still_open()
        yield from (held.span for all_ in self._locks.values() for held in all_)

    def _lanes(self, spans: list[Span]) -> list[Lane]:
        """The lanes of all that is shown; of one kind in the order of the run."""
        seen = {name: None for _, _, name, _ in self._entries}
        seen |= {span.owner: None for span in spans}
        seen |= {owner: None for owner, _ in self._readers.counts}
        kinds = {name: self._kind(name) for name in seen}
        names = sorted(
            seen,
            key=lambda name: (
                LANE_KINDS.index(kinds[name]),
                self._order.get(name, len(self._order)),
                name if kinds[name] in {"ranks", "sets"} else "",
            ),
        )
        tasks = [name for name in names if kinds[name] not in {"ranks", "sets"}]
        others = [name for name in names if kinds[name] in {"ranks", "sets"}]
        lanes = [Lane(name, kinds[name]) for name in tasks[:MOST_LANES]]
        lanes[:0] = [Lane(name, kinds[name]) for name in others]
        lanes.sort(key=lambda lane: lane.kind != "sets")
        if len(tasks) > MOST_LANES:
            lanes.append(Lane(f"{len(tasks) - MOST_LANES:,} more tasks", "thread"))
        return lanes

    def _kind(self, name: str) -> str:
        if name == SETUP:
            return "setup"
        if name in self._bars.kinds:
            return self._bars.kinds[name]
        return "vcpu" if re.fullmatch(r"vcpu\d+", name) else "thread"

    # Locks.

    def _acquired(self, seq: int, step: int, actor: str, event: LockAcquired) -> None:
        name = short(event.lock)
        self._maybe_waited(seq, step, actor, event, name)
        span = Span(actor, "lock", name, step, seq)
        held = _Held(actor, event.shared, span)
        self._locks.setdefault(event.lock, []).append(held)

    def _maybe_waited(
        self, seq: int, step: int, actor: str, event: LockAcquired, name: str
    ) -> None:
        """Show that a task may have waited since its last record.

        The log does not say when a task asks for a lock, but whether somebody else had
        it in between.
        """
        last = self._last.get(actor)
        if last is None:
            return
        releases = [self._released.get((event.lock, False))]
        if not event.shared:
            releases.append(self._released.get((event.lock, True)))
        released, holder = max(each or (-1, "") for each in releases)
        if released > last[1] and holder != actor:
            label = f"{name}: {holder} has it"
            span = Span(actor, "lock-wait", label, last[1], last[0])
            self._bars.end(span, seq, step)

    def _lock_released(
        self, seq: int, step: int, actor: str, event: LockReleased
    ) -> None:
        holders = self._locks.get(event.lock, [])
        for held in holders:
            if held.actor == actor:
                holders.remove(held)
                self._released[event.lock, held.shared] = step, actor
                self._bars.end(held.span, seq, step)
                return

    def _stuck(self, seq: int, step: int, actor: str, event: TaskStuck) -> None:
        last = self._last.get(actor, (seq, step))
        label = f"stuck at: {short(event.waits_for)}"
        if event.held_by:
            label += f", {short(event.held_by)} has it"
        span = Span(actor, "lock-wait", label, last[1], last[0])
        self._bars.start(("stuck", actor), span)

    # Calls and invalidations.

    def _region_requested(
        self, seq: int, step: int, actor: str, event: RegionRequested
    ) -> None:
        self._bars.kinds[actor] = "writer"
        span = Span(actor, "call", _slot(event.slot), step, seq)
        self._bars.start(("call", event.call), span)

    def _region_returned(
        self, seq: int, step: int, actor: str, event: RegionReturned
    ) -> None:
        span = self._bars.close(("call", event.call), seq, step)
        if span is not None:
            what = f"{short(event.change)} " if event.change else ""
            span.label = f"{what}{span.label}" + (
                f" = {event.result}" if event.result else ""
            )

    def _dirty_log_requested(
        self, seq: int, step: int, actor: str, event: DirtyLogRequested
    ) -> None:
        self._bars.kinds.setdefault(actor, "writer")
        label = f"{short(event.kind)} dirty log"
        span = Span(actor, "call", label, step, seq)
        self._bars.start(("call", event.call), span)

    def _dirty_log_returned(
        self, seq: int, step: int, actor: str, event: DirtyLogReturned
    ) -> None:
        self._bars.close(("call", event.call), seq, step)

    def _invalidation_began(
        self, seq: int, step: int, actor: str, event: InvalidationBegan
    ) -> None:
        self._bars.kinds.setdefault(actor, "notifier")
        label = f"invalidate [{event.start:#x}, {event.end:#x})"
        span = Span(actor, "invalidation", label, step, seq)
        self._bars.start(("invalidation", actor, event.start, event.end), span)

    def _invalidation_ended(
        self, seq: int, step: int, actor: str, event: InvalidationEnded
    ) -> None:
        key = "invalidation", actor, event.start, event.end
        self._bars.close(key, seq, step)

    def _zap_began(
        self, seq: int, step: int, actor: str, event: GfnRangeZapBegan
    ) -> None:
        label = f"zap gfns [{event.start:#x}, {event.end:#x})"
        span = Span(actor, "zap", label, step, seq)
        self._bars.start(("zap", actor, event.start, event.end), span)

    def _zapped(self, seq: int, step: int, actor: str, event: GfnRangeZapped) -> None:
        self._bars.close(("zap", actor, event.start, event.end), seq, step)


def _slot(number: int) -> str:
    slot = SlotId.of(number)
    return f"slot {slot.id}" + (f" of as {slot.as_id}" if slot.as_id else "")
