"""What the future of a run depends on, in a few bytes.

A fingerprint has one part for the shared objects and one for each task: where its
coroutine stands, on which processor, in which sections, with which locks. Tasks that
run the same body are interchangeable: their parts are sorted, unless what the state
refers to tells them apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b

from rcu.schedule.stepwise import StepwiseScheduler
from rcu.schedule.task import Task
from scenarios.explorer.frames import where
from scenarios.explorer.heap import Heap, HeapObject, Told
from scenarios.explorer.values import Encoded

PART_BYTES = 12

PLAIN, MADE_OBJECTS = b"p", b"o"
"""What a state refers to: what was there before the run, or objects it has made."""


def digest(text: bytes) -> bytes:
    """A few bytes for many, the same in every process."""
    return blake2b(text, digest_size=PART_BYTES).digest()


class Fingerprinter:
    """Takes fingerprints of the states of one program.

    Args:
        scheduler: Whose tasks they are; not begun.
        heap: What they can reach.
        symmetric: Whether tasks with the same body may stand for each other.

    Attributes:
        kin: Neighbouring tasks that may stand for each other, by index.
        given_up: How often tasks that were in `kin` have turned out to be told apart by
            what the state refers to. What was told before must be told anew then.
    """

    def __init__(
        self, scheduler: StepwiseScheduler, heap: Heap, *, symmetric: bool = True
    ) -> None:
        self._heap = heap
        self._tasks = scheduler.tasks
        self._told: list[Told] = []  # of each task, while the run goes on
        self._alone = [bytes([task.index + 1]) for task in self._tasks]
        self.given_up = 0
        self._set_kin(interchangeable(scheduler.tasks) if symmetric else ())
        if heap.names_at_first & self._kin_mask:
            self._tell_apart(heap.names_at_first)

    def _set_kin(self, kin: tuple[range, ...]) -> None:
        self.kin = kin
        self._kin_mask = 0
        self._group = self._alone[:]
        for group in kin:
            for index in group:
                self._group[index] = self._alone[group.start]
                self._kin_mask |= 1 << index

    def _tell_apart(self, names: int) -> None:
        """These tasks stand for themselves from now on, and so do their kin."""
        kin = [g for g in self.kin if not any(names >> index & 1 for index in g)]
        self._set_kin(tuple(kin))
        self.given_up += 1

    def kin_left(self) -> list[tuple[int, int]]:
        """The first and the last of those in each of `kin`, as plain values."""
        return [(group.start, group.stop - 1) for group in self.kin]

    def keep_kin(self, kin: Iterable[Sequence[int]]) -> None:
        """Let only these stand for each other; see `kin_left`."""
        self._set_kin(tuple(range(first, last + 1) for first, last in kin))

    def parts(self) -> list[bytes]:
        """The part of the shared objects, then that of each task."""
        self._told = [self._tell(task) for task in self._tasks]
        changes = self._heap.tell_changes()
        if any(told.objects for told in self._told):
            return self._numbered(changes)
        shared = self._shared(changes)
        if shared == MADE_OBJECTS:
            return self._numbered(changes)
        return [shared, *(digest(each.text) for each in self._told)]

    def after(self, parts: list[bytes], task: Task, *, resumed: bool) -> list[bytes]:
        """The parts after a step, from those before it.

        Args:
            parts: Before the step.
            task: Who made the step.
            resumed: Whether steps were made since the last state that was told.
        """
        if parts[0][:1] == MADE_OBJECTS:
            if resumed:
                return self.parts()
            self._told[task.index] = self._tell(task)
            return self._numbered(self._heap.tell_changes())
        told = self._tell(task)
        if told.objects:
            return self.parts()
        changes = self._heap.tell_changes()
        now = parts[:]
        now[0] = self._shared(changes)
        if now[0] == MADE_OBJECTS:
            return self.parts()
        now[task.index + 1] = digest(told.text)
        return now

    def _shared(self, changes: list[tuple[int, Told]]) -> bytes:
        """The part of the shared objects if it refers to nothing made by the run."""
        text: list[bytes] = []
        for place, told in changes:
            text += (place.to_bytes(4), told.text)
            if told.objects:
                return MADE_OBJECTS
            if told.names & self._kin_mask:
                self._tell_apart(told.names)
        return PLAIN + digest(b"".join(text))

    def _numbered(self, changes: list[tuple[int, Told]]) -> list[bytes]:
        """The parts of a state that refers to objects which the run has made.

        They are numbered in the order in which they are met, task by task: tasks cannot
        stand for each other.
        """
        if self.kin:
            self._tell_apart(self._kin_mask)
        numbers: dict[HeapObject, int] = {}

        def number(told: Told) -> bytes:
            if not told.objects:
                return told.text
            places = (numbers.setdefault(each, len(numbers)) for each in told.objects)
            return b"".join((told.text, *(place.to_bytes(4) for place in places)))

        shared: list[bytes] = []
        for place, told in changes:
            text = number(told) if told.objects else told.text
            shared += (place.to_bytes(4), text)
        tasks = [digest(number(told)) for told in self._told]
        done = 0
        while done < len(numbers):
            for each in [*numbers][done:]:
                shared.append(number(self._heap.tell_object(each)))
                done += 1
        return [MADE_OBJECTS + digest(b"".join(shared)), *tasks]

    def _tell(self, task: Task) -> Told:
        def values(encode: Callable[..., list[Encoded]]) -> Encoded:
            return (
                task.cpu,
                *encode(task.sections),
                None,
                *encode(task.locks),
                None,
                *where(task.coroutine(), encode),
            )

        told = self._heap.tell(task.index, values)
        if told.names & self._kin_mask:
            self._tell_apart(told.names)
        return told

    def of(self, parts: Sequence[bytes]) -> bytes:
        """The fingerprint of a state with these parts."""
        if not self.kin:
            return b"".join(parts)
        ordered = [*parts]
        for group in self.kin:
            ordered[group.start + 1 : group.stop + 1] = sorted(
                parts[group.start + 1 : group.stop + 1]
            )
        return b"".join(ordered)

    def label(self, parts: Sequence[bytes], index: int) -> bytes:
        """Which task it is; kin that stand at the same place have the same label."""
        if self._kin_mask >> index & 1:
            return self._group[index] + parts[index + 1]
        return self._alone[index]

    def distinct(self, parts: Sequence[bytes], ready: list[int]) -> list[int]:
        """Those of the tasks that do not stand exactly where another one stands."""
        if not self.kin:
            return ready
        first: dict[bytes, int] = {}
        for index in ready:
            first.setdefault(self._group[index] + parts[index + 1], index)
        return [*first.values()]


def interchangeable(tasks: Sequence[Task]) -> tuple[range, ...]:
    """Neighbouring tasks that do the same on the same processor, by index."""
    groups = (
        [task.index for task in group]
        for _, group in itertools.groupby(
            tasks, key=lambda task: (task.body, task.home, task.daemon)
        )
    )
    return tuple(range(g[0], g[-1] + 1) for g in groups if len(g) > 1)
