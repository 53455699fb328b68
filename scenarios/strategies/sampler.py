"""What the strategies that draw an order have in common."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import ClassVar

from rcu.schedule.task import Task
from scenarios.strategies.lengths import Lengths


class Sampler(ABC):
    """A strategy that draws the order of each run from a seed.

    It is kept for many runs. A run depends on its seed and on what was learnt, never on
    the runs before it, so a search may cut its seeds into chunks as it likes::

        sampler.learn(pilot.lengths)
        for seed in range(first, last):
            sampler.reseed(seed)
            ...  # run

    Without `reseed` each run goes on drawing where the one before has stopped.

    Args:
        seed: Of the first run, at least 0.

    Attributes:
        name: How the command line calls it.
        learns: Whether `learn` makes a difference to it.
    """

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    patience = 0

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable

    def reseed(self, seed: int) -> None:
        """Make the next run that of ``seed``, as if it were the first.

        Cost: 4 µs.
        """
        self._random.seed(seed)

    def learn(self, lengths: Lengths) -> None:  # noqa: B027 - not all have to
        """Plan from now on for runs of this length.

        Args:
            lengths: From a `Pilot`, so that it is the same for each chunk of a search.
        """

    @abstractmethod
    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""

    @abstractmethod
    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
