"""Which calls overlap in time, and which of those an order could tell apart.

Of two calls, one came before the other only if it had returned before the other
was entered. Otherwise the kernel may have run them in either order, and the
file's order says nothing: they *overlap*.

All functions take calls in any selection, for example those of one VM.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

import attrs

from scenarios.traces.call import RegionCall

_Range = tuple[int, int]
_WHOLE_SPACE: _Range = (0, 1 << 65)  # a request may end above 64 bits


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
    ranges, if successes on that slot overlap. Two calls that bind the same
    guest_memfd count as well. In doubt a pair is in the result.

    A trace is taken to begin with an empty VM, unless it deletes a slot that no
    call of it can have filled: that slot may have been anywhere.

    Complexity: as ``overlapping``.
    """
    chosen = list(calls)
    touched = _touched_ranges(chosen)
    return tuple(
        _pair(first, second)
        for first, second in _overlaps(chosen)
        if _can_tell(first, second, touched)
    )


def barrier(calls: Sequence[RegionCall]) -> list[int]:
    """Return, for each call, how many calls had returned when it was entered.

    With the calls numbered in the order of their recorded *returns*
    (``completion_rank``), those that returned before call B was entered are
    exactly the first ``barrier[B]``. So a runner needs one number, the
    *watermark*: how many calls are done without a gap, counted from the first
    in that order. "A returned before B was entered implies A is done before B
    begins" holds for all A at once if and only if

        ``watermark >= barrier[B]``

    when B begins. A plain count of finished calls would not do: in another
    order of events it may reach the number while an early call is still under
    way. ``Gate`` keeps the watermark.

    Complexity: O(n log n).
    """
    returns = sorted(call.returned for call in calls)
    return [bisect_left(returns, call.entered) for call in calls]


def completion_rank(calls: Sequence[RegionCall]) -> list[int]:
    """Return, for each call, its place in the order of recorded returns."""
    order = sorted(range(len(calls)), key=lambda position: calls[position].returned)
    rank = [0] * len(calls)
    for place, position in enumerate(order):
        rank[position] = place
    return rank


@attrs.define(slots=True)
class Gate:
    """Lets a call begin once all that preceded it in the recording are done.

    Calls are named by their position in the sequence given to ``Gate.of``.

    Attributes:
        needed: ``barrier`` of the calls.
        rank: ``completion_rank`` of the calls.
        watermark: So many calls are done, in order of recorded returns and
            without a gap.

    >>> gate = Gate(needed=[0, 0, 1], rank=[1, 0, 2])
    >>> gate.may_begin(2), gate.done(0), gate.may_begin(2)
    (False, None, False)
    >>> gate.done(1), gate.may_begin(2), gate.watermark
    (None, True, 2)
    """

    needed: list[int]
    rank: list[int]
    watermark: int = 0
    _done: set[int] = attrs.field(factory=set, init=False)

    @classmethod
    def of(cls, calls: Sequence[RegionCall]) -> Gate:
        """Return a gate before the first call of a recording."""
        return cls(barrier(calls), completion_rank(calls))

    def may_begin(self, position: int) -> bool:
        """Return whether all calls that returned before this one are done."""
        return self.watermark >= self.needed[position]

    def done(self, position: int) -> None:
        """Note that a call is done."""
        self._done.add(self.rank[position])
        while self.watermark in self._done:
            self._done.remove(self.watermark)
            self.watermark += 1


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


def _touched_ranges(calls: Iterable[RegionCall]) -> dict[int, list[_Range]]:
    """Return, by call index, every guest range that a call may have touched."""
    by_slot: dict[tuple[str, int], list[RegionCall]] = {}
    for call in sorted(calls, key=_entered):
        by_slot.setdefault((call.vm, call.slot), []).append(call)
    touched: dict[int, list[_Range]] = {}
    for same_slot in by_slot.values():
        _touch_one_slot(same_slot, touched)
    return touched


def _touch_one_slot(
    calls: Iterable[RegionCall], touched: dict[int, list[_Range]]
) -> None:
    """Add the ranges that calls on one slot, by entry, may have touched."""
    current: list[RegionCall] = []  # successes that may be the slot's last one
    under_way: list[RegionCall] = []
    for call in calls:
        under_way = [other for other in under_way if other.returned >= call.entered]
        current = _possibly_last(current, call.entered)
        own = _requested(call)
        before = [_requested(success) for success in current]
        if call.result == 0:
            if not before and call.memory_size == 0:
                before = [_WHOLE_SPACE]
            for other in under_way:
                touched[other.index].append(own)
            current.append(call)
        touched[call.index] = [own, *before]
        under_way.append(call)


def _possibly_last(successes: list[RegionCall], now: int) -> list[RegionCall]:
    """Return the successes that none, returned by *now*, surely followed."""
    newest = max((c.entered for c in successes if c.returned < now), default=0)
    return [success for success in successes if success.returned >= newest]


def _can_tell(
    first: RegionCall, second: RegionCall, touched: dict[int, list[_Range]]
) -> bool:
    if first.guest_memfd is not None and first.guest_memfd == second.guest_memfd:
        return True  # a binding is checked across address spaces
    if first.as_id != second.as_id:
        return False
    if first.slot == second.slot:
        return True
    return any(
        start < other_end and other_start < end
        for start, end in touched[first.index]
        for other_start, other_end in touched[second.index]
    )


def _requested(call: RegionCall) -> _Range:
    return call.guest_phys_addr, call.guest_phys_end


def _entered(call: RegionCall) -> int:
    return call.entered


def _pair(first: RegionCall, second: RegionCall) -> tuple[int, int]:
    low, high = sorted((first.index, second.index))
    return low, high
