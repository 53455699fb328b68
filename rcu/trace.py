"""Events, and the trace that collects them while tasks run.

Packages emit typed events; who reads them (checkers, the log) is decided above. A
record is collected with one append and handed on in batches, so that a run costs the
same whoever listens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

EVENT_TYPES: dict[str, type[Event]] = {}
"""Every event by its name in the log."""


class Event:
    """Something that happened, in the past tense; subclasses are attrs classes.

    Attributes:
        name: The event's name in the log: the class name in snake case.
    """

    __slots__ = ()
    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Name the event; attrs builds a slotted class twice, the last one counts."""
        super().__init_subclass__()
        cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        EVENT_TYPES[cls.name] = cls


class Record(NamedTuple):
    """An event with its place in the run.

    Attributes:
        step: Number of the step in which it happened; 0 is before the first.
        actor: Name of the task whose step it was.
        event: What happened.
    """

    step: int
    actor: str
    event: Event


Sink = Callable[[Sequence[Record]], None]
"""Takes the records of a batch, in order."""


class Trace:
    """The records of a run on their way to those who read them.

    Args:
        sinks: Called with each batch, in this order; none means that nobody listens
            and that `on` is false.
    """

    __slots__ = ("_batch", "append", "on", "sinks")

    def __init__(self, *sinks: Sink) -> None:
        self.sinks = sinks
        self.on = bool(sinks)
        self._batch: list[Record] = []
        self.append = self._batch.append

    def flush(self) -> None:
        """Hand what was collected to every sink."""
        if self._batch:
            batch = self._batch[:]
            self._batch.clear()
            for sink in self.sinks:
                sink(batch)

    def drop(self) -> None:
        """Forget what was collected."""
        self._batch.clear()
