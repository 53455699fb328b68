"""A strategy that does not believe the scheduler who is ready."""

from __future__ import annotations

from rcu.schedule.task import Strategy, Task


class Suspicious:
    """Asks every task itself at each choice and compares.

    Args:
        inner: Makes the choice.

    Attributes:
        choices: How many were compared.
        waits: How many tasks were found waiting, over all choices.
    """

    patience = 0

    def __init__(self, inner: Strategy) -> None:
        self._inner = inner
        self._tasks: list[Task] = []
        self.choices = 0
        self.waits = 0

    def begin(self, tasks: list[Task]) -> None:
        self._tasks = tasks
        self._inner.begin(tasks)

    def pick(self, current: Task, ready: list[Task]) -> Task:
        can_go = [
            task
            for task in self._tasks
            if not task.finished and (task.until is None or task.until())
        ]
        assert ready == can_go
        self.choices += 1
        self.waits += sum(not task.finished for task in self._tasks) - len(ready)
        return self._inner.pick(current, ready)
