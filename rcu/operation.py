"""A shared access, named by what it reads and what it writes.

Operations are all that a strategy may know of a task's next step. Make each once,
when the shared object is made, and pass it to every schedule point in front of that
access.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Location:
    """One piece of shared state that a single access reads or writes.

    Attributes:
        name: What the state is called in reports, in the kernel's words.
        read: The operation that reads it.
        write: The operation that writes it.
    """

    __slots__ = ("name", "read", "write")

    def __init__(self, name: str) -> None:
        self.name = name
        self.read = Operation("read", reads=(self,))
        self.write = Operation("write", writes=(self,))

    def __repr__(self) -> str:
        return f"<Location {self.name}>"


class Operation:
    """What one step does to shared state.

    Attributes:
        verb: What is done: ``read``, ``write``, ``acquire``, ...
        reads: Locations whose value the step may depend on.
        writes: Locations whose value the step may change.
        changes: Whether it writes anything; kept apart because it is asked at every
            schedule point.
        needs: For a step that may have to wait: the tasks each of which must make a
            step before it can be made. Tasks that need each other are deadlocked.
    """

    __slots__ = ("changes", "needs", "reads", "verb", "writes")

    def __init__(
        self,
        verb: str,
        *,
        reads: Iterable[Location] = (),
        writes: Iterable[Location] = (),
        needs: Callable[[], Iterable[object]] | None = None,
    ) -> None:
        self.verb = verb
        self.reads = tuple(reads)
        self.writes = tuple(writes)
        self.changes = bool(self.writes)
        self.needs = needs

    def depends_on(self, other: Operation) -> bool:
        """Whether exchanging the two neighbouring steps could change the outcome."""
        return (
            _meet(self.writes, other.writes)
            or _meet(self.writes, other.reads)
            or _meet(self.reads, other.writes)
        )

    @property
    def locations(self) -> tuple[Location, ...]:
        """Everything that the step touches, what it writes first."""
        return self.writes + self.reads

    def __str__(self) -> str:
        names = ", ".join(location.name for location in self.locations)
        return f"{self.verb} {names}" if names else self.verb

    def __repr__(self) -> str:
        return f"<Operation {self}>"


def _meet(ours: tuple[Location, ...], theirs: tuple[Location, ...]) -> bool:
    return any(location in theirs for location in ours)


START = Operation("start")
"""The pending operation of a task that has not reached its first point."""
