"""Which calls overlap in time, and which of those an order could tell apart.

Of two calls, one came before the other only if it had returned before the other
was entered. Otherwise the kernel may have run them in either order, and the
file's order says nothing: they *overlap*.

All functions take calls in any selection, for example those of one VM.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import attrs

from scenarios.traces.call import RegionCall

_WHOLE_SPACE = (0, 1 << 65)  # a request may end above 64 bits


@attrs.frozen(slots=True)
class _Touched:
    """Guest ranges and guest_memfds that a call may have touched."""

    ranges: list[tuple[int, int]] = attrs.field(factory=list)
    files: set[int] = attrs.field(factory=set)

    def add(self, call: RegionCall) -> None:
        """Add what a call asks for."""
        self.ranges.append((call.guest_phys_addr, call.guest_phys_end))
        if call.guest_memfd is not None:
            self.files.add(call.guest_memfd)


def overlapping(calls: Iterable[RegionCall]) -> tuple[tuple[int, int], ...]:
    """Return the pairs of call indexes, i < j, that overlap on one VM.

    Complexity: O(n log n + n * w), with w the most calls under way at once: the
    number of threads.
    """
    return tuple(_pair(first, second) for first, second in _overlaps(calls))


def order_matters(calls: Iterable[RegionCall]) -> tuple[tuple[int, int], ...]:
    """Return the overlapping pairs, i < j, whose order can be told from outside.

    Such a pair is in one address space and either names one slot or touches
    common guest memory. A call touches the range that it asks for and whatever
    its slot may have occupied while it ran, as recorded successes tell: several
    ranges, if successes on that slot overlap. The same is true of guest_memfds, in
    all address spaces. A call without an answer may have succeeded. In doubt a pair
    is in the result.

    A trace is taken to begin with an empty VM, unless it deletes a slot that no
    call of it can have filled: that slot may have been anywhere.

    Complexity: as ``overlapping``.
    """
    chosen = list(calls)
    touched = _all_touched(chosen)
    return tuple(
        _pair(first, second)
        for first, second in _overlaps(chosen)
        if _can_tell(first, second, touched)
    )


def predecessors(
    calls: Sequence[RegionCall], also: Iterable[tuple[int, int]] = ()
) -> list[list[int]]:
    """Return, for each call, which calls must be done before it begins.

    "A returned before B was entered implies A is done before B begins" holds for all
    A at once if it holds for the direct ones: those that returned no earlier than any
    other of them was entered. What is left out is a predecessor of a predecessor.

    Args:
        calls: The calls; they are named by their position.
        also: Pairs of positions: the first must be done before the second, too.

    Complexity: O(n log n + n * w), with w the most calls under way at once.
    """
    by_return = sorted(range(len(calls)), key=lambda place: calls[place].returned)
    returns = [calls[place].returned for place in by_return]
    latest = list(accumulate((calls[place].entered for place in by_return), max))
    needed = []
    for call in calls:
        end = bisect_left(returns, call.entered)
        start = bisect_left(returns, latest[end - 1]) if end else 0
        needed.append(by_return[start:end])
    for first, second in also:
        needed[second].append(first)
    return needed


class Gate:
    """Lets a call begin once all that must precede it are done.

    Args:
        needed: See `predecessors`.

    >>> gate = Gate([[], [], [0, 1]])
    >>> gate.may_begin(2), gate.done(1), gate.may_begin(2)
    (False, None, False)
    >>> gate.done(0), gate.may_begin(2)
    (None, True)
    """

    __slots__ = ("_followers", "_missing", "_needed")

    def __init__(self, needed: Sequence[Sequence[int]]) -> None:
        self._needed = needed
        self._missing = [len(before) for before in needed]
        self._followers: list[list[int]] = [[] for _ in needed]
        for place, before in enumerate(needed):
            for first in before:
                self._followers[first].append(place)

    def waits(self, place: int) -> bool:
        """Return whether a call has predecessors at all."""
        return bool(self._needed[place])

    def holds_up(self, place: int) -> bool:
        """Return whether a call is anybody's predecessor."""
        return bool(self._followers[place])

    def may_begin(self, place: int) -> bool:
        """Return whether all predecessors of a call are done."""
        return not self._missing[place]

    def done(self, place: int) -> None:
        """Note that a call is done."""
        for follower in self._followers[place]:
            self._missing[follower] -= 1


@attrs.frozen
class MayBegin:
    """Condition of a call: all that must precede it are done."""

    gate: Gate
    place: int

    def __call__(self) -> bool:
        """Return whether it may begin."""
        return self.gate.may_begin(self.place)


def _overlaps(calls: Iterable[RegionCall]) -> Iterator[tuple[RegionCall, RegionCall]]:
    """Yield each overlapping pair once, the one entered first in front."""
    under_way: dict[str, list[RegionCall]] = {}
    for call in sorted(calls, key=_entered):
        still = [
            earlier
            for earlier in under_way.get(call.vm, ())
            if earlier.returned >= call.entered
        ]
        for earlier in still:
            yield earlier, call
        still.append(call)
        under_way[call.vm] = still


def _all_touched(calls: Iterable[RegionCall]) -> dict[int, _Touched]:
    """Return, by call index, what each call may have touched."""
    by_slot: dict[tuple[str, int], list[RegionCall]] = {}
    for call in sorted(calls, key=_entered):
        by_slot.setdefault((call.vm, call.slot), []).append(call)
    touched: dict[int, _Touched] = {}
    for same_slot in by_slot.values():
        _touch_one_slot(same_slot, touched)
    return touched


def _touch_one_slot(calls: Iterable[RegionCall], touched: dict[int, _Touched]) -> None:
    """Add what calls on one slot, by entry, may have touched."""
    current: list[RegionCall] = []  # successes that may be the slot's last one
    under_way: list[RegionCall] = []
    for call in calls:
        under_way = [other for other in under_way if other.returned >= call.entered]
        current = _possibly_last(current, call.entered)
        own = _Touched()
        for success in (call, *current):
            own.add(success)
        if _may_have_succeeded(call):
            if not current and call.memory_size == 0:
                own.ranges.append(_WHOLE_SPACE)
            for other in under_way:
                touched[other.index].add(call)
            current.append(call)
        touched[call.index] = own
        under_way.append(call)


def _possibly_last(successes: list[RegionCall], now: int) -> list[RegionCall]:
    """Return the successes that none, returned by *now*, surely followed."""
    newest = max(
        (c.entered for c in successes if c.returned < now and c.result == 0), default=0
    )
    return [success for success in successes if success.returned >= newest]


def _may_have_succeeded(call: RegionCall) -> bool:
    return not call.result  # without an answer, too


def _can_tell(
    first: RegionCall, second: RegionCall, touched: dict[int, _Touched]
) -> bool:
    one, other = touched[first.index], touched[second.index]
    if one.files & other.files:
        return True  # a binding is checked across address spaces
    if first.as_id != second.as_id:
        return False
    if first.slot == second.slot:
        return True
    return any(
        start < other_end and other_start < end
        for start, end in one.ranges
        for other_start, other_end in other.ranges
    )


def _entered(call: RegionCall) -> int:
    return call.entered


def _pair(first: RegionCall, second: RegionCall) -> tuple[int, int]:
    low, high = sorted((first.index, second.index))
    return low, high
