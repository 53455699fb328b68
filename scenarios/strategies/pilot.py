"""A random walk that measures its runs."""

from __future__ import annotations

from rcu.schedule.task import Task
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.random_walk import RandomWalk

RUNS = 10
"""Runs after which the lengths of a small program hardly grow."""


class Pilot:
    """Walks at random, always in the same orders, and keeps how long the runs are."""

    patience = 0

    def __init__(self) -> None:
        self._walk = RandomWalk(0)
        self._choices = self._most_choices = 0
        self._steps: list[int] = []
        self._most_steps: list[int] = []

    @property
    def lengths(self) -> Lengths:
        """Of the runs made; of each number the most in any of them."""
        self._end_run()
        return Lengths(self._most_choices, tuple(self._most_steps))

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""
        self._end_run()
        self._choices = 0
        self._steps = [0] * len(tasks)
        self._walk.begin(tasks)

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        chosen = self._walk.pick(current, ready)
        self._choices += len(ready) > 1
        self._steps[chosen.index] += 1
        return chosen

    def _end_run(self) -> None:
        self._most_choices = max(self._most_choices, self._choices)
        self._most_steps = self._most_steps or [0] * len(self._steps)
        self._most_steps = list(map(max, self._most_steps, self._steps))
