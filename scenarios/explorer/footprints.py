"""What steps touch, as bit masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rcu.operation import Operation


class Footprint(NamedTuple):
    """What a step touches, as bit masks.

    Attributes:
        reads, writes: Locations, each a bit.
    """

    reads: int
    writes: int

    def meets(self, other: Footprint) -> bool:
        """Whether the order of the two steps can matter."""
        return bool(
            self.writes & (other.reads | other.writes) or self.reads & other.writes
        )

    def and_(self, other: Footprint) -> Footprint:
        """Both together."""
        return Footprint(self.reads | other.reads, self.writes | other.writes)


NOWHERE = Footprint(0, 0)


class Footprints:
    """Gives each location a bit, by its name."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._known: dict[Operation, Footprint] = {}

    def of(self, op: Operation) -> Footprint:
        """What an operation touches."""
        known = self._known.get(op)
        if known is None:
            if len(self._known) > KEPT:  # runs make operations of their own
                self._known.clear()
            known = self._known[op] = self.named(
                [location.name for location in op.reads],
                [location.name for location in op.writes],
            )
        return known

    def named(self, reads: Iterable[str], writes: Iterable[str]) -> Footprint:
        """What has these names."""
        return Footprint(self._mask(reads), self._mask(writes))

    def _mask(self, names: Iterable[str]) -> int:
        bits = self._bits
        mask = 0
        for name in names:
            mask |= 1 << bits.setdefault(name, len(bits))
        return mask


KEPT = 20_000
"""Operations."""
