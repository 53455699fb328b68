"""How a run ended, and who was left waiting for what."""

from __future__ import annotations

from enum import Enum

import attrs

from rcu.operation import Operation
from rcu.schedule.task import Task


class Ending(Enum):
    """Why a run stopped."""

    COMPLETED = "completed"
    DEADLOCK = "deadlock"
    BUDGET = "step budget used up"
    FAILED = "a task failed"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped where its schedule ends"


@attrs.frozen
class Stuck:
    """A task that waits although nobody is left who could change what it waits for.

    Attributes:
        task: Its name.
        waits_for: The step that it cannot make.
        held_by: Name of the task that holds the lock it waits for, if it is one.
        holds: Names of the locks that it holds itself.
        sections: Names of the domains whose read sections it is in.
    """

    task: str
    waits_for: str
    held_by: str | None
    holds: tuple[str, ...]
    sections: tuple[str, ...]

    @classmethod
    def of(cls, task: Task, everyone: list[Task]) -> Stuck:
        """Describe where ``task`` stands."""
        return cls(
            task=task.name,
            waits_for=str(task.op),
            held_by=_holder(task.op, everyone),
            holds=tuple(lock.name for lock in task.locks),
            sections=tuple(domain.name for domain, _ in task.sections),
        )

    def __str__(self) -> str:
        text = f"{self.task} waits to {self.waits_for}"
        if self.held_by:
            text += f" (held by {self.held_by})"
        if self.holds:
            text += f", holds {', '.join(self.holds)}"
        if self.sections:
            text += f", inside a read section of {', '.join(self.sections)}"
        return text


def _holder(op: Operation, everyone: list[Task]) -> str | None:
    return next(
        (
            task.name
            for task in everyone
            for lock in task.locks
            if lock.location in op.locations
        ),
        None,
    )


@attrs.frozen
class Report:
    """What a run leaves behind, besides its trace.

    Attributes:
        ending: Why it stopped.
        steps: How many steps were made.
        stuck: Who waits for what, if it ended in a deadlock; the unfinished tasks if
            the budget was used up.
        failed: Name of the task whose body raised, if one did.
        error: What it raised.
    """

    ending: Ending
    steps: int
    stuck: tuple[Stuck, ...] = ()
    failed: str | None = None
    error: Exception | None = None
