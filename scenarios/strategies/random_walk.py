"""Anyone, with equal chance."""

from __future__ import annotations

import random

from rcu.schedule.task import Task


class RandomWalk:
    """Draws the next task from those that are ready, each time anew.

    Args:
        seed: Where the generator starts; the same seed makes the same choices.
    """

    name = "random"
    patience = 0

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed).random  # noqa: S311 - to be repeatable

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        return ready[int(self.draw() * len(ready))]
