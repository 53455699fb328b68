"""Everyone in turn."""

from __future__ import annotations

from rcu.schedule.task import Task


class RoundRobin:
    """Gives each task one step, then the next, in the order of their indexes."""

    name = "round-robin"
    patience = 0

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        after = current.index
        for task in ready:
            if task.index > after:
                return task
        return ready[0]
