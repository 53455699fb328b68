"""Whichever step has the highest priority; steps that race draw theirs again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rcu.operation import Operation
from rcu.schedule.task import Task
from scenarios.strategies.sampler import Sampler

T = TypeVar("T")

KEPT = 1_000
"""Operations of which it is kept on which others they depend."""


class Pos(Sampler):
    """Gives each pending step a random priority, once, and makes the highest.

    A step that could have been made and depends on the one that is made draws again, as
    does the next step of the same task. So the order of two steps that race is drawn
    where they meet, and steps that touch nothing in common do not dilute the choice.

    Args:
        seed: Of the first run.

    Paper: Yuan, Yang, Gu, Partial Order Aware Concurrency Sampling, CAV 2018
    """

    name = "pos"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._priorities: dict[Task, float] = {}
        self._depends = _Memory(_depends_on)

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""
        self._priorities.clear()
        for task in tasks:
            self._priorities[task] = self._random.random()

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        priorities, draw = self._priorities, self._random.random
        if len(ready) == 1:
            priorities[ready[0]] = draw()
            return ready[0]
        highest = -1.0
        for task in ready:
            priority = priorities[task]
            if priority > highest:
                highest = priority
                chosen = task
        depends = self._depends[chosen.op]
        for task in ready:
            if task is chosen or depends[task.op]:
                priorities[task] = draw()
        return chosen


class _Memory(dict[Operation, T]):
    """Answers of a function, kept until there are many."""

    def __init__(self, function: Callable[[Operation], T]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, op: Operation) -> T:
        if len(self) >= KEPT:
            self.clear()
        answer = self[op] = self._function(op)
        return answer


def _depends_on(op: Operation) -> _Memory[bool]:
    return _Memory(op.depends_on)
