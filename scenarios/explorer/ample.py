"""Steps that nobody else can depend on are made at once.

A step on state that no other task ever touches, or that reads what nobody else ever
writes, comes out the same whenever it is made: where a task stands before one, it alone
is tried. Who touches what is learnt while the search goes on. When somebody comes upon
a location that another task was believed to have for itself, what was searched so far
may have left out something, and the search begins again, knowing better.

That is enough: a run that shows the belief wrong is, up to that step, one that the
belief has not changed, so the search meets it.

Source: P. Godefroid, Partial-Order Methods for the Verification of Concurrent Systems,
1996, chapter 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rcu.operation import Operation
from rcu.schedule.task import Task


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


class Users:
    """Who touches what, as far as is known.

    Args:
        kin: For each task, by index, the mask of those that may stand for each other.

    Attributes:
        wrong: Whether a task was believed to be alone that is not.
    """

    def __init__(self, kin: Sequence[int]) -> None:
        self.wrong = False
        self._kin = kin
        self._tasks = range(len(kin))
        self._touched = [NOWHERE] * len(kin)
        self._relied = [NOWHERE] * len(kin)
        self._made: dict[tuple[int, Footprint], Footprint] = {}

    def begin_again(self) -> None:
        """Believe what has been learnt."""
        self.wrong = False
        self._relied = [NOWHERE] * len(self._kin)

    def note(self, task: Task, does: Footprint, made: Footprint) -> None:
        """A task has made a step.

        Args:
            task: Who.
            does: What its operation touches.
            made: That, and what the step has touched in the eyes of who watches.
        """
        key = task.index, does
        before = self._made.get(key)
        all_ = made if before is None else before.and_(made)
        if all_ == before:
            return
        kin = self._kin[task.index]
        for index in self._tasks:
            if kin >> index & 1:
                self._made[index, does] = all_
                self._touched[index] = self._touched[index].and_(all_)
                if before is not None and before.meets(self._relied[index]):
                    self.wrong = self.wrong or all_ != before
            elif self._relied[index].meets(all_):
                self.wrong = True

    def is_alone(self, task: Task, does: Footprint) -> bool:
        """Whether nobody else can depend on the next step of ``task``."""
        index = task.index
        step = self._made.get((index, does))
        if step is None:
            return False
        for other in self._tasks:
            if other != index and self._touched[other].meets(step):
                return False
        self._relied[index] = self._relied[index].and_(step)
        return True
