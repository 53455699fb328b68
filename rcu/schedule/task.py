"""A simulated thread, and what a strategy may know of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from rcu.operation import START, Location, Operation

Body = Callable[[], Awaitable[None]]
"""What a task does, from its first point to its end."""

Condition = Callable[[], bool]
"""A pure question about shared state; asked again after each step that writes."""


class HeldLock(Protocol):
    """What a scheduler knows of a lock that a task holds."""

    name: str
    location: Location
    spins: bool


class Domain(Protocol):
    """What a scheduler knows of a domain whose read section a task is in."""

    name: str


class Task:
    """One simulated thread: a vCPU, a writer, a grace-period worker.

    Attributes:
        name: How reports and the log call it.
        index: Position among the run's tasks; -1 for the scheduler itself.
        cpu: Processor whose per-CPU counters it uses; changes when it migrates.
        home: The processor on which it starts.
        daemon: Whether the run may end while it waits.
        op: What its next step does.
        until: What must hold before that step; None if nothing must.
        finished: Whether its body has returned.
        sections: Read sections that it is in: domain and index, innermost last.
        locks: Locks that it holds, latest last.
        resume: Sends into its coroutine; set when it gets a Trio task.
    """

    __slots__ = (
        "body",
        "cpu",
        "daemon",
        "finished",
        "home",
        "index",
        "locks",
        "name",
        "op",
        "resume",
        "sections",
        "until",
    )

    def __init__(
        self, name: str, index: int, body: Body, *, cpu: int = 0, daemon: bool = False
    ) -> None:
        self.name = name
        self.index = index
        self.body = body
        self.cpu = self.home = cpu
        self.daemon = daemon
        self.op: Operation = START
        self.until: Condition | None = None
        self.finished = False
        self.sections: list[tuple[Domain, int]] = []
        self.locks: list[HeldLock] = []
        self.resume: Callable[[Any], object] = _no_trio_task

    def coroutine(self) -> object:
        """Where its body stands: the coroutine that its Trio task awaits."""
        return self.resume.__self__.cr_await  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<Task {self.name}: {self.op}>"


def _no_trio_task(value: object) -> object:
    raise RuntimeError("the task was resumed before it had a Trio task")


class Strategy(Protocol):
    """Chooses who goes next; the only place where chance may enter.

    Attributes:
        patience: How many points the chosen task may pass before the strategy is
            asked again, unless it has to wait or ends; 0 asks at each point.

    A strategy that looks at nothing may also have ``dice``: ``dice[n]`` is an endless
    iterator of numbers below ``n``, places in ``ready``. It is used at points instead
    of `pick`, which must choose likewise, and saves a call.
    """

    patience: int

    def begin(self, tasks: list[Task]) -> None:
        """A run starts with these tasks; each stands at its first point."""

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """Choose the task whose step is next.

        Args:
            current: The task that made the last step; it may have finished or wait.
            ready: The tasks whose next step can be made, by index; never empty. Not
                to be changed or kept.
        """
