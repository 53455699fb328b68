"""What happened to things, for ever, however many there were.

A checker must know for ever that something has been freed, or what a number stood for.
The latest entries are kept as they are; older ones are packed, so that a log of ten
million events can be judged in little memory. Things are numbered densely: slot objects
by their serial, sets and generations within their address space.
"""

from __future__ import annotations

from array import array
from typing import Generic, TypeVar

from rcu.trace import Event, Record

KEPT = 4_096
"""So many entries at most are kept as they are."""

_BLOCK = 64

Key = TypeVar("Key")
Value = TypeVar("Value")


class Ledger(dict[Key, Value], Generic[Key, Value]):
    """Values by number, or by what a number belongs to and the number.

    It is a dict as far as it is used here: entries can be set and asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        # Two integers for each number, 64 numbers together; 0 and 0 is none.
        self._older: dict[tuple[object, int], array[int]] = {}

    def __setitem__(self, key: Key, value: Value) -> None:
        """Set an entry; now and then pack the others."""
        if len(self) >= KEPT:
            for older, its in self.items():
                self._put(older, self._pack(its))
            self.clear()
        super().__setitem__(key, value)

    def __contains__(self, key: object) -> bool:
        """Whether there is an entry."""
        return dict.__contains__(self, key) or (
            bool(self._older) and any(self._packed(key))
        )

    def __missing__(self, key: Key) -> Value:
        """An older entry."""
        packed = self._packed(key)
        if not any(packed):
            raise KeyError(key)
        return self._unpack(*packed)

    def recall(self, key: Key) -> Value | None:
        """An entry; None if there is none."""
        try:
            return self[key]
        except KeyError:
            return None

    def forget(self, key: Key) -> None:
        """Take an entry out, if there is one."""
        self.pop(key, None)
        if any(self._packed(key)):
            self._put(key, (0, 0))

    def _put(self, key: object, packed: tuple[int, int]) -> None:
        group, number = _place(key)
        where = group, number // _BLOCK
        block = self._older.get(where)
        if block is None:
            block = self._older[where] = array("q", bytes(16 * _BLOCK))
        place = number % _BLOCK * 2
        block[place], block[place + 1] = packed

    def _packed(self, key: object) -> tuple[int, int]:
        if not self._older:
            return 0, 0
        group, number = _place(key)
        block = self._older.get((group, number // _BLOCK))
        if block is None:
            return 0, 0
        place = number % _BLOCK * 2
        return block[place], block[place + 1]

    def _pack(self, value: Value) -> tuple[int, int]:
        """A value as two integers that are not both 0."""
        raise NotImplementedError

    def _unpack(self, first: int, second: int) -> Value:
        """See `_pack`."""
        raise NotImplementedError


class RecordLedger(Ledger[Key, Record]):
    """Records; of older ones only step and actor are known."""

    def __init__(self) -> None:
        super().__init__()
        self._actors: list[str] = []
        self._numbers: dict[str, int] = {}

    def _pack(self, value: Record) -> tuple[int, int]:
        number = self._numbers.get(value.actor)
        if number is None:
            self._actors.append(value.actor)
            number = self._numbers[value.actor] = len(self._actors)
        return value.step, number

    def _unpack(self, first: int, second: int) -> Record:
        return Record(first, self._actors[second - 1], Event())


class PairLedger(Ledger[Key, tuple[int, int]]):
    """Pairs of integers, the first of which is not negative."""

    def _pack(self, value: tuple[int, int]) -> tuple[int, int]:
        return value[0] + 1, value[1]

    def _unpack(self, first: int, second: int) -> tuple[int, int]:
        return first - 1, second


def _place(key: object) -> tuple[object, int]:
    """What a number belongs to, and the number."""
    if isinstance(key, tuple):
        group, number = key
        return group, number
    return None, key  # type: ignore[return-value]
