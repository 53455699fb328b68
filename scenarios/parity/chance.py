"""Where choices come from."""

from __future__ import annotations

import random


class Chance(random.Random):
    """Numbers from a seed, with the two questions that are asked most."""

    def one_in(self, count: int) -> bool:
        """True once in so many times."""
        return self.random() * count < 1

    def between(self, first: int, last: int) -> int:
        """A number of the range, both ends included; faster than `randint`."""
        return first + int(self.random() * (last - first + 1))
