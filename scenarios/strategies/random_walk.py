"""Anyone, with equal chance."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from itertools import chain

from rcu.schedule.task import Task

BLOCK = 4_096
"""Random bytes that are drawn at once."""


class RandomWalk:
    """Draws the next task from those that are ready, each time anew.

    Args:
        seed: Where the generator starts; the same seed makes the same choices.

    Attributes:
        dice: ``dice[n]`` is an endless iterator of numbers below ``n``, all equally
            likely; see `Strategy`.
    """

    name = "random"
    patience = 0

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable
        self.dice: list[Iterator[int]] = [iter(())]

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""
        while len(self.dice) <= len(tasks):
            self.dice.append(self._die(len(self.dice)))

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        return ready[next(self.dice[len(ready)])]

    def _die(self, faces: int) -> Iterator[int]:
        """Up to 256 faces it is thrown a block at a time, in C."""
        if faces > 256:
            return iter(partial(self._random.randrange, faces), None)
        fair = 256 - 256 % faces
        face_of = bytes(byte % faces for byte in range(256))
        block = partial(self._block, face_of, bytes(range(fair, 256)))
        return chain.from_iterable(iter(block, None))

    def _block(self, face_of: bytes, unfair: bytes) -> bytes:
        return self._random.randbytes(BLOCK).translate(face_of, unfair)
