"""An order that is told as a story: first this task goes so far, then that one."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from rcu.schedule.task import Task


@attrs.frozen
class Turn:
    """Only these tasks go on until something is so.

    Attributes:
        tasks: Their names; the first that is ready goes.
        until: Asked before each step.
    """

    tasks: tuple[str, ...]
    until: Callable[[], bool]


class Turns:
    """Gives the tasks their turns; after the last one the first that is ready goes.

    Attributes:
        left: Turns that are not over.
    """

    patience = 0

    def __init__(self, *turns: Turn) -> None:
        self.left = list(turns)

    def begin(self, tasks: list[Task]) -> None:
        pass

    def pick(self, current: Task, ready: list[Task]) -> Task:
        while self.left and self.left[0].until():
            del self.left[0]
        if not self.left:
            return ready[0]
        by_name = {task.name: task for task in ready}
        return next(by_name[name] for name in self.left[0].tasks if name in by_name)
