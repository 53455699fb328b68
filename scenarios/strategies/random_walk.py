"""Anyone, with equal chance."""

from __future__ import annotations

from rcu.schedule.task import Task
from scenarios.strategies.dice import Dice
from scenarios.strategies.sampler import Sampler


class RandomWalk(Sampler):
    """Draws the next task from those that are ready, each time anew.

    Args:
        seed: Of the first run.
        sticky: The probability with which the current task goes on without a draw, if
            it can; at least 0 and less than 1.

    Attributes:
        dice: What decides; None if the walk is sticky. See `Strategy`.

    Raises:
        ValueError: ``sticky`` is out of bounds.
    """

    name = "random"

    def __init__(self, seed: int, sticky: float = 0.0) -> None:
        if not 0 <= sticky < 1:
            raise ValueError(f"sticky must be at least 0 and less than 1, got {sticky}")
        super().__init__(seed)
        self._sticky = sticky
        self._throw(Dice(self._random))

    def reseed(self, seed: int) -> None:
        """See `Sampler.reseed`."""
        super().reseed(seed)
        self._throw(Dice(self._random))

    def _throw(self, dice: Dice) -> None:
        self._dice = dice
        self.dice = None if self._sticky else dice

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""
        self._dice.reach(len(tasks))

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        sticky = self._sticky
        if sticky and current in ready and self._random.random() < sticky:
            return current
        return ready[next(self._dice[len(ready)])]
