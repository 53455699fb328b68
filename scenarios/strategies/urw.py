"""Anyone, with the chance that makes all interleavings equally likely."""

from __future__ import annotations

from itertools import chain, repeat

from rcu.schedule.task import Task
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.sampler import Sampler


class Urw(Sampler):
    """Draws the next task, weighted with the steps that it has left.

    If each task makes as many steps as expected and none ever waits, each interleaving
    has the same chance. A task that makes more than expected keeps the weight 1; before
    anything is learnt all do, and this is a random walk.

    Args:
        seed: Of the first run.

    Paper: Zhao et al., Selectively Uniform Concurrency Testing, ASPLOS 2025
    """

    name = "urw"
    learns = True

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._steps: tuple[int, ...] = ()
        self._left: dict[Task, int] = {}

    def learn(self, lengths: Lengths) -> None:
        """See `Sampler.learn`."""
        self._steps = tuple(max(1, steps) for steps in lengths.steps)

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""
        self._left.clear()
        self._left.update(zip(tasks, chain(self._steps, repeat(1)), strict=False))

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        left = self._left
        total = 0
        for task in ready:
            total += left[task]
        place = self._random.random() * total
        for task in ready:
            place -= left[task]
            if place < 0:
                break
        if left[task] > 1:
            left[task] -= 1
        return task
