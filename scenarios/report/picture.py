"""What there is to see of a run, as plain data: every format is made from this.

Steps are the horizontal axis. A picture may show a part of a long run: then the sets
are known as they were at its beginning, and bars may begin before it.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from memslots.slot import MemFlag
from memslots.tracepoints import SlotData
from rcu.trace import Event

INVALID = int(MemFlag.INVALID)

LANE_KINDS = (
    "vcpu",
    "notifier",
    "writer",
    "thread",
    "worker",
    "setup",
    "ranks",
    "sets",
)
"""Whose lane it is, from top to bottom."""


@attrs.define
class Lane:
    """A horizontal stripe: of a task, of the sets, or of a domain's ranks.

    Attributes:
        name: What stands in front of it.
        kind: One of `LANE_KINDS`.
        rows: How many rows of bars it has.
    """

    name: str
    kind: str
    rows: int = 0


@attrs.define
class Span:
    """A bar: something that lasts.

    Attributes:
        owner: Name of the lane.
        kind: ``call``, ``section``, ``synchronize``, ``grace-period``, ``lock``,
            ``lock-wait``, ``invalidation``, ``zap`` or ``set``.
        label: What stands on it.
        start: Step in which it began; before the picture's first step if it was open.
        seq: Number of the record that began it.
        end: Step in which it ended; None if it had not when the picture ends.
        end_seq: Number of the record that ended it.
        held: For a section: step, address space and set of each dereference.
        set: For a set: which one of its address space.
        active: For a set: whether readers find it.
        invalid: For a set: whether one of its slots is INVALID.
        lane: Index of its lane.
        row: Its row in the lane; bars of a row do not overlap.
    """

    owner: str
    kind: str
    label: str
    start: int
    seq: int
    end: int | None = None
    end_seq: int | None = None
    held: list[tuple[int, int, int]] = attrs.field(factory=list)
    set: int | None = None
    active: bool = False
    invalid: bool = False
    lane: int = -1
    row: int = 0


@attrs.frozen
class Entry:
    """A record, where it stands.

    Attributes:
        seq: Number of its line in the log.
        step: Its step.
        lane: Index of the lane.
        event: What happened.
    """

    seq: int
    step: int
    lane: int
    event: Event


@attrs.frozen
class Arrow:
    """From a read section to a grace period that had to wait for it.

    Attributes:
        section: Index of the section's bar.
        grace_period: Index of the grace period's bar.
        waited: Whether it did: the section was over first.
    """

    section: int
    grace_period: int
    waited: bool


@attrs.frozen
class Swap:
    """A set was published: a line over the whole height."""

    seq: int
    step: int
    as_id: int
    set: int


@attrs.frozen
class SetState:
    """What a set is at some step.

    Attributes:
        as_id: Address space.
        set: Which of its sets.
        active: Whether readers find it.
        generation: Its generation, with the in-progress bit.
        slots: What it holds, by first page.
    """

    as_id: int
    set: int
    active: bool
    generation: int
    slots: tuple[SlotData, ...] = ()


@attrs.frozen
class SetChange:
    """What one record does to one set.

    Attributes:
        seq: Number of the record.
        step: Its step.
        as_id: Address space.
        set: Which set.
        kind: ``made``, ``copied``, ``replaced``, ``published``, ``numbered``,
            ``emptied`` or ``freed``.
        old: Serial of the slot that left it.
        new: The slot that entered it.
        generation: Its generation from now on.
        source: The set that was copied.
    """

    seq: int
    step: int
    as_id: int
    set: int
    kind: str
    old: int | None = None
    new: SlotData | None = None
    generation: int | None = None
    source: int | None = None


@attrs.frozen
class RankCount:
    """The counters of a rank of an SRCU domain, from a record on.

    Attributes:
        seq: Number of the record.
        step: Its step.
        lane: Index of the domain's lane.
        rank: 0 or 1.
        locks: Sections that were counted on it.
        unlocks: How many of them have ended.
    """

    seq: int
    step: int
    lane: int
    rank: int
    locks: int
    unlocks: int


@attrs.frozen
class Flag:
    """A violation.

    Attributes:
        checker: Id of the checker.
        step: Where it happened.
        actor: Whose step it was.
        seen: What was seen.
        why: The rule.
        causes: Earlier steps without which it would not be so.
    """

    checker: str
    step: int
    actor: str
    seen: str
    why: str
    causes: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class Picture:
    """A run, or a part of it, as it can be drawn.

    Attributes:
        title: Name of the scenario.
        facts: What the run was, by label.
        verdict: What the checkers say of the whole run.
        reasons: What the verdict lacks.
        ending: How the run ended; empty if that is not known.
        events: How many events the whole run has.
        steps: The last step of the whole run.
        first: First step that is shown.
        last: Last step that is shown.
        chosen: Why this part is shown; empty if it is everything.
        lanes: From top to bottom.
        spans: Bars, by the number of the record that began them.
        entries: The records that are shown.
        arrows: What grace periods waited for.
        swaps: Which sets were published.
        sets: What each set was before the first record that is shown.
        changes: What happened to them.
        ranks: Counters of the SRCU domains; first what they were at the beginning.
        flags: The violations.
        focus: The step to begin with.
    """

    title: str
    facts: dict[str, str]
    verdict: str
    reasons: tuple[str, ...]
    ending: str
    events: int
    steps: int
    first: int
    last: int
    chosen: str
    lanes: tuple[Lane, ...]
    spans: tuple[Span, ...]
    entries: tuple[Entry, ...]
    arrows: tuple[Arrow, ...]
    swaps: tuple[Swap, ...]
    sets: tuple[SetState, ...]
    changes: tuple[SetChange, ...]
    ranks: tuple[RankCount, ...]
    flags: tuple[Flag, ...]
    focus: int

    @property
    def notice(self) -> str:
        """How much of the run is shown, and why this; empty if it is everything."""
        if len(self.entries) == self.events:
            return ""
        return (
            f"showing {len(self.entries):,} of {self.events:,} events, steps"
            f" {self.first:,} to {self.last:,} of {self.steps:,}: {self.chosen}"
        )

    def flags_behind(self, place: int) -> list[Flag]:
        """The violations of a step, behind the last of its records."""
        step = self.entries[place].step
        later = self.entries[place + 1 : place + 2]
        if later and later[0].step == step:
            return []
        return [flag for flag in self.flags if flag.step == step]

    def sets_at(self, step: int) -> tuple[SetState, ...]:
        """What each set was when a step was over."""
        sets = Sets(self.sets)
        for change in self.changes:
            if change.step > step:
                break
            sets.apply(change)
        return sets.states()


@attrs.define
class LiveSet:
    """A set while it changes."""

    generation: int
    slots: dict[int, SlotData] = attrs.field(factory=dict)
    invalid: int = 0

    def replace(self, old: int | None, new: SlotData | None) -> None:
        """Take out a slot by its serial, put in another."""
        left = None if old is None else self.slots.pop(old, None)
        if left is not None and left.flags & INVALID:
            self.invalid -= 1
        if new is not None:
            self.slots[new.serial] = new
            self.invalid += bool(new.flags & INVALID)


class Sets:
    """All sets of a VM, brought forward change by change.

    Attributes:
        live: Each set by address space and number.
        active: The set of each address space that readers find.
    """

    def __init__(self, states: Iterable[SetState] = ()) -> None:
        self.live: dict[tuple[int, int], LiveSet] = {}
        self.active: dict[int, int] = {}
        for state in states:
            live = LiveSet(state.generation)
            for slot in state.slots:
                live.replace(None, slot)
            self.live[state.as_id, state.set] = live
            if state.active:
                self.active[state.as_id] = state.set

    def apply(self, change: SetChange) -> None:
        """Do to the sets what a record says."""
        where = change.as_id, change.set
        if change.kind == "freed":
            self.live.pop(where, None)
            return
        if change.kind == "copied" and change.source is not None:
            source = self.live[change.as_id, change.source]
            self.live[where] = attrs.evolve(source, slots=source.slots.copy())
            return
        live = self.live.setdefault(where, LiveSet(0))
        if change.generation is not None:
            live.generation = change.generation
        if change.kind == "replaced":
            live.replace(change.old, change.new)
        elif change.kind == "emptied":
            live.slots.clear()
            live.invalid = 0
        elif change.kind in {"published", "made"}:
            self.active.setdefault(change.as_id, change.set)
            if change.kind == "published":
                self.active[change.as_id] = change.set

    def states(self) -> tuple[SetState, ...]:
        """What they are now, in order."""
        return tuple(
            SetState(
                as_id,
                number,
                self.active.get(as_id) == number,
                live.generation,
                tuple(sorted(live.slots.values(), key=lambda slot: slot.base_gfn)),
            )
            for (as_id, number), live in sorted(self.live.items())
        )
