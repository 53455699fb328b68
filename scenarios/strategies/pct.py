"""Whoever has the highest priority, and a few demotions."""

from __future__ import annotations

from math import inf

from rcu.schedule.task import Task
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.sampler import Sampler

UNKNOWN = Lengths(choices=1_000, steps=(1_000,))
"""What a run is taken to be before anything is learnt."""


class Pct(Sampler):
    """Lets the task with the highest priority run, and demotes it at a few steps.

    The tasks get random priorities. At ``depth - 1`` random steps the task that makes
    the step falls below all others, where the order of the fallen is random, too.
    A bug that needs ``depth`` steps in the right order is found with a probability of
    at least 1/(n * k**(depth - 1)), for n tasks and runs of k steps. Only steps at
    which there is a choice count as steps.

    Once it has chosen twice as often as a run was expected to have steps, it goes on as
    a random walk: else a task that polls could starve the one that it polls for.

    Args:
        seed: Of the first run.
        depth: Of the bugs to be found, at least 1.

    Raises:
        ValueError: ``depth`` is out of bounds.

    Paper: Burckhardt et al., A Randomized Scheduler with Probabilistic Guarantees of
    Finding Bugs, ASPLOS 2010
    """

    name = "pct"
    learns = True

    def __init__(self, seed: int, depth: int = 3) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        super().__init__(seed)
        self.depth = depth
        self._choice = 0
        self._priorities: dict[Task, float] = {}
        self._demotions: dict[int, int] = {}
        self.learn(UNKNOWN)

    def learn(self, lengths: Lengths) -> None:
        """See `Sampler.learn`."""
        self._choices = max(1, lengths.choices)
        self._walks_after = 2 * sum(lengths.steps)

    def detection_probability(self, tasks: int, steps: int) -> float:
        """At least so likely does one run find a bug of this depth.

        Args:
            tasks: How many there are.
            steps: Steps of the run at which there is a choice.
        """
        return 1.0 / (tasks * float(steps) ** (self.depth - 1))

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""
        draw = self._random.random
        self._priorities.clear()
        for task in tasks:
            self._priorities[task] = draw()
        self._demotions = self.demotions(min(self.depth - 1, self._choices))
        self._choice = 0

    def demotions(self, count: int) -> dict[int, int]:
        """Draw at which steps a task is demoted, and to which priority.

        The n-th that is drawn is the n-th from above, whenever it comes.
        """
        demotions: dict[int, int] = {}
        while len(demotions) < count:
            step = 1 + int(self._random.random() * self._choices)
            demotions.setdefault(step, -1 - len(demotions))
        return demotions

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        if len(ready) == 1:
            return ready[0]
        choice = self._choice = self._choice + 1
        if choice > self._walks_after:
            return ready[int(self._random.random() * len(ready))]
        priorities = self._priorities
        highest = -inf
        for task in ready:
            priority = priorities[task]
            if priority > highest:
                highest = priority
                chosen = task
        if choice in self._demotions:
            priorities[chosen] = self._demotions[choice]
        return chosen
