"""The steps of a run, and which of them happen before which.

A step happens before a later one if the same task makes both, if one of them writes
what the other reads or writes, or if there is a step between them in that order. Sets
of steps are integers, a bit for each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import attrs

from rcu.operation import Operation

Places = int
"""Steps of a run: a bit for each, by its place in the order."""


@attrs.define(eq=False)
class Access:
    """What a step does to shared state; one object for all that do the same.

    Attributes:
        reads, writes: A bit for each location.
        read_only: Numbers of the locations that it reads and does not write.
        written: Numbers of those that it writes.
    """

    reads: int
    writes: int
    read_only: tuple[int, ...]
    written: tuple[int, ...]

    def depends_on(self, other: Access) -> bool:
        """See `Operation.depends_on`."""
        return bool(
            self.writes & (other.writes | other.reads) or self.reads & other.writes
        )


class Accesses:
    """Turns operations into bits; locations of one name count as one.

    Attributes:
        numbers: Of each location, by name.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self._made: dict[tuple[int, int], Access] = {}
        self._known: dict[Operation, Access] = {}

    def of(self, op: Operation) -> Access:
        """What the operation does."""
        access = self._known.get(op)
        if access is None:
            if len(self._known) > _MOST_OPERATIONS:  # runs make new ones
                self._known.clear()
            numbers = self.numbers
            reads, writes = (
                sum(
                    {1 << numbers.setdefault(at.name, len(numbers)) for at in locations}
                )
                for locations in (op.reads, op.writes)
            )
            access = self._known[op] = self.make(reads, writes)
        return access

    def make(self, reads: int, writes: int) -> Access:
        """What a step does that reads and writes these locations."""
        access = self._made.get((reads, writes))
        if access is None:
            access = self._made[reads, writes] = Access(
                reads, writes, tuple(bits(reads & ~writes)), tuple(bits(writes))
            )
        return access

    def step(self, told: Told) -> Step:
        """A step that was told as plain values."""
        task, reads, writes = told
        return task, self.make(_mask(reads), _mask(writes))


_MOST_OPERATIONS = 10_000

Step = tuple[int, Access]
"""Who makes it, and what it does."""

Told = tuple[int, list[int], list[int]]
"""A step as plain values: who makes it, numbers of what it reads and writes."""


@attrs.define(eq=False)
class Event:
    """A step of a run, made or about to be made.

    Attributes:
        task, access: Who makes it, and what it does.
        waits: Whether it has a condition.
        before: Place of the step that the same task makes before it, or -1.
        past: What happens before it; with it, if it was made.
        races: Of what happens before it because of shared state, what comes last.
        history: Stands for all that its task can have seen by then.
        ended: Whether its task broke a rule, and ended.
        broken: Whether a broken rule was seen after it.
    """

    task: int
    access: Access
    waits: bool
    before: int
    past: Places
    races: list[int]
    history: int
    ended: bool = False
    broken: bool = False

    @property
    def step(self) -> Step:
        """Who makes it, and what it does."""
        return self.task, self.access


class Run:
    """The steps of a run, and what happens before what.

    Attributes:
        events: In the order in which they were made.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._made_by: defaultdict[int, Places] = defaultdict(int)
        self._touching: defaultdict[int, Places] = defaultdict(int)
        self._writing: defaultdict[int, Places] = defaultdict(int)

    def add(self, task: int, access: Access, *, waits: bool) -> Event:
        """Add a step."""
        events = self.events
        bit = 1 << len(events)
        before = self.last_by(task)
        past = events[before].past if before >= 0 else 0
        races = []
        rivals = self.rivals(access) & ~past
        while rivals:
            rival = rivals.bit_length() - 1
            races.append(rival)
            past |= events[rival].past
            rivals &= ~past
        history = self.history(task, access, before, bit - 1)
        event = Event(task, access, waits, before, past | bit, races, history)
        events.append(event)
        self._made_by[task] |= bit
        for number in access.written:
            self._touching[number] |= bit
            self._writing[number] |= bit
        for number in access.read_only:
            self._touching[number] |= bit
        return event

    def drop(self) -> Event:
        """Take the last step off."""
        event = self.events.pop()
        rest = (1 << len(self.events)) - 1
        access = event.access
        self._made_by[event.task] &= rest
        for number in access.written:
            self._touching[number] &= rest
            self._writing[number] &= rest
        for number in access.read_only:
            self._touching[number] &= rest
        return event

    def order(self, places: Places) -> list[int]:
        """Who makes these steps, as task indexes."""
        return [self.events[place].task for place in bits(places)]

    def past_of(self, place: int) -> Places:
        """What happens before a step, and the step; nothing for place -1."""
        return self.events[place].past if place >= 0 else 0

    def by(self, task: int) -> Places:
        """The steps of a task."""
        return self._made_by[task]

    def last_by(self, task: int) -> int:
        """Place of the last step of a task, or -1."""
        return self._made_by[task].bit_length() - 1

    def rivals(self, access: Access) -> Places:
        """The steps that such a step depends on."""
        found = 0
        for number in access.written:
            found |= self._touching[number]
        for number in access.read_only:
            found |= self._writing[number]
        return found

    def changes(self, access: Access) -> Places:
        """The steps that write what such a step reads or writes."""
        found = 0
        for number in access.written + access.read_only:
            found |= self._writing[number]
        return found

    def besides(self, place: int) -> Places:
        """The steps that were made after a step and do not happen after it."""
        found, bit = 0, 1 << place
        for later in range(place + 1, len(self.events)):
            if not self.events[later].past & bit:
                found |= 1 << later
        return found

    def history(self, task: int, access: Access, before: int, among: Places) -> int:
        """What a task can have seen when it makes a step behind those in ``among``.

        Its own steps, and who wrote what it touches, with what they had seen. Two
        histories are equal with the chance that two hashes are.
        """
        events = self.events
        seen = [task, events[before].history if before >= 0 else 0]
        for number in access.written + access.read_only:
            last = (self._writing[number] & among).bit_length() - 1
            seen.append(events[last].history if last >= 0 else 0)
        return hash(tuple(seen))

    def sources(self, access: Access, before: int, among: Places) -> Places:
        """The steps that must have been made for that."""
        found = self.past_of(before)
        for number in access.written + access.read_only:
            last = (self._writing[number] & among).bit_length() - 1
            found |= self.past_of(last)
        return found


def bits(number: int) -> Iterator[int]:
    """Numbers of the bits that are set, in rising order."""
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


def tell(step: Step) -> Told:
    """A step as plain values."""
    task, access = step
    return task, [*bits(access.reads)], [*bits(access.writes)]


def _mask(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in numbers)
