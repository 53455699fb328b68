"""Dice thrown in C, a block of random bytes at a time.

The first throws of each die are drawn when it is made, and they are few: a short run
needs no more, and to seed the generator anew for each run stays cheap.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import chain, repeat

HEAD = 64
"""Bytes of the first throws."""

BLOCK = 4_096
"""Bytes drawn whenever a die has run out."""


class Dice(list[Iterator[int]]):
    """``dice[n]`` is an endless iterator of numbers below ``n``, all equally likely.

    Args:
        generator: Where the bytes come from.
    """

    def __init__(self, generator: random.Random) -> None:
        super().__init__([iter(()), repeat(0)])
        self._random = generator

    def reach(self, faces: int) -> None:
        """Have dice with up to so many faces."""
        while len(self) <= faces:
            self.append(self._die(len(self)))

    def _die(self, faces: int) -> Iterator[int]:
        if faces > 256:
            return self._large_die(faces)
        first = self._throws(faces, HEAD)
        return chain(first, chain.from_iterable(self._more(faces)))

    def _more(self, faces: int) -> Iterator[bytes]:
        while True:
            yield self._throws(faces, BLOCK)

    def _throws(self, faces: int, count: int) -> bytes:
        face_of, unfair = _faces(faces)
        drawn = self._random.getrandbits(8 * count).to_bytes(count, "little")
        return drawn.translate(face_of, unfair)

    def _large_die(self, faces: int) -> Iterator[int]:
        while True:
            yield self._random.randrange(faces)


@cache
def _faces(faces: int) -> tuple[bytes, bytes]:
    """Which face each byte stands for, and the bytes that would make it unfair."""
    fair = 256 - 256 % faces
    return bytes(byte % faces for byte in range(256)), bytes(range(fair, 256))
