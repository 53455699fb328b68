"""Dice thrown in C, a block of random bytes at a time.

Each die gets whole blocks, in the order in which the dice run out. Of a block only the
head is drawn when it begins, the rest when somebody needs it or what comes after it: a
short run is over by then, and to seed the generator anew for each run stays cheap.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import chain

BLOCK = 4_096
HEAD = 64


class Dice(list[Iterator[int]]):
    """``dice[n]`` is an endless iterator of numbers below ``n``, all equally likely.

    Args:
        generator: Where the bytes come from.
    """

    def __init__(self, generator: random.Random) -> None:
        super().__init__([iter(())])
        self._random = generator
        self._rest = [0]  # of the block that was begun last, once it is drawn
        self._owed = 0  # bytes after that block that nobody looks at

    def reach(self, faces: int) -> None:
        """Have dice with up to so many faces."""
        while len(self) <= faces:
            self.append(self._die(len(self)))

    def _die(self, faces: int) -> Iterator[int]:
        if faces > 256:
            return self._large_die(faces)
        throws = self._throws(faces) if faces > 1 else self._throws_of_one()
        return chain.from_iterable(throws)

    def _large_die(self, faces: int) -> Iterator[int]:
        while True:
            self._draw_rest()
            yield self._random.randrange(faces)

    def _throws(self, faces: int) -> Iterator[bytes]:
        face_of, unfair = _faces(faces)
        while True:
            self._draw_rest()
            rest = self._rest = []
            yield self._random.randbytes(HEAD).translate(face_of, unfair)
            if not rest:
                self._draw_rest()
            drawn = rest[0].to_bytes(BLOCK - HEAD, "little")
            yield drawn.translate(face_of, unfair)

    def _throws_of_one(self) -> Iterator[bytes]:
        while True:
            self._owed += BLOCK
            yield bytes(BLOCK)

    def _draw_rest(self) -> None:
        """Draw all that comes before the next byte."""
        if not self._rest:
            self._rest.append(self._random.getrandbits(8 * (BLOCK - HEAD)))
        if self._owed:
            self._random.getrandbits(8 * self._owed)
            self._owed = 0


@cache
def _faces(faces: int) -> tuple[bytes, bytes]:
    """Which face each byte stands for, and the bytes that would make it unfair."""
    fair = 256 - 256 % faces
    return bytes(byte % faces for byte in range(256)), bytes(range(fair, 256))
