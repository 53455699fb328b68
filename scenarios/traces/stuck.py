"""Why no order explains a history: the few calls whose answers contradict."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

import attrs

from scenarios.traces.call import RegionCall
from scenarios.traces.configurations import Part, Search, events
from scenarios.traces.sequential import Slots

LARGEST = 12
"""Calls that are tried one by one; of more only the last one is told."""

ANSWERS = (0, -errno.EINVAL, -errno.EEXIST, -errno.EBADF)
"""Every answer that the rules know."""


@attrs.frozen
class Contradiction:
    """A call whose answer cannot be together with those of others.

    Attributes:
        call: The call.
        possible: What it can answer if all others answer as they did, and why.
    """

    call: RegionCall
    possible: tuple[str, ...]

    def __str__(self) -> str:
        call = self.call
        answered = result_name(call.result)
        possible = " or ".join(self.possible) or "nothing"
        return (
            f"line {call.line} ({call.thread}: {call.request}) answered {answered},"
            f" possible is {possible}"
        )


@attrs.frozen
class Stuck:
    """No order explains the answers.

    Attributes:
        prefix: So many calls, in the order of their returns, are the fewest that no
            order explains, whether or not others under way then had taken effect.
        calls: The calls among them whose answers contradict each other, by entry; the
            one that returned last is always there. With any one of these answers left
            out there is an order.
        states: How many configurations were looked at.
    """

    prefix: int
    calls: tuple[Contradiction, ...]
    states: int

    def __str__(self) -> str:
        told = "; ".join(map(str, self.calls))
        return (
            f"no order explains the answers of the first {self.prefix:,} calls: {told}"
        )


def stuck(search: Search, part: Part, call: RegionCall, prefix: int) -> Stuck:
    """Say why a call cannot return as it did, after `Part.leave` has said so.

    Args:
        search: The search.
        part: The part to which the call belongs.
        call: The call.
        prefix: How many calls had returned with it.

    Raises:
        OutOfStates: There are too many configurations.
    """
    why = tuple(part.answers(call))
    for moment in (part.certain_before(call), part.certain):
        around = _Around(search, moment.slots, part.since(moment), call)
        if len(around.calls) <= LARGEST:
            calls = tuple(
                Contradiction(each, why if each is call else around.possible(each))
                for each in around.smallest()
            )
            return Stuck(prefix, calls, search.states)
    return Stuck(prefix, (Contradiction(call, why),), search.states)


@attrs.frozen
class _Around:
    """The calls between a moment when the slots were certain and the end.

    Attributes:
        search: The search.
        slots: The slots then.
        calls: The calls that have taken effect since, or not at all.
        last: The one that cannot return.
    """

    search: Search
    slots: Slots
    calls: Sequence[RegionCall]
    last: RegionCall

    def smallest(self) -> list[RegionCall]:
        """The calls without whose answers those of the others could be explained."""
        calls = self.calls
        for each in self.calls:
            if each is not self.last and each.result is not None:
                fewer = _with_result(calls, each, None)
                if not self._explained(fewer):
                    calls = fewer
        kept = {each.index for each in calls if each.result is not None}
        return [each for each in self.calls if each.index in kept]

    def possible(self, call: RegionCall) -> tuple[str, ...]:
        """The answers of a call with which there is an order."""
        return tuple(
            result_name(result)
            for result in ANSWERS
            if self._explained(_with_result(self.calls, call, result))
        )

    def _explained(self, calls: Iterable[RegionCall]) -> bool:
        part = Part(attrs.evolve(self.search, related=None, states=0), self.slots)
        for call, enters in events(calls):
            if enters:
                part.enter(call)
            elif not part.leave(call):
                return False
            elif call.index == self.last.index:
                break
        return True


def _with_result(
    calls: Iterable[RegionCall], call: RegionCall, result: int | None
) -> list[RegionCall]:
    return [
        attrs.evolve(each, result=result) if each.index == call.index else each
        for each in calls
    ]


def result_name(result: int | None) -> str:
    """An answer in words: 0, or the name of an errno."""
    return "0" if not result else errno.errorcode.get(-result, str(result))
