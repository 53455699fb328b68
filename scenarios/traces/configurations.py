"""Every configuration that overlapping calls can be in, from event to event.

A *configuration* says which of the calls under way have taken effect, and which slots
there are then. A call takes effect when it returns, or earlier if another that returns
can tell the difference. Equal configurations are looked at once.

Literature: J. M. Wing and C. Gong, Testing and verifying concurrent objects, 1993;
G. Lowe, Testing for linearizability, 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from memslots.errors import MemoryRegionError
from memslots.region import Region
from scenarios.traces.call import NEVER, RegionCall
from scenarios.traces.sequential import Rules, Slots

Path = tuple[RegionCall, "Path"] | None
"""The calls that took effect, the last one in front."""

Configuration = tuple[int, Slots]
"""Bits of the calls under way that have taken effect, and the slots."""


def events(calls: Iterable[RegionCall]) -> list[tuple[RegionCall, bool]]:
    """The calls' entries, which are true, and returns, in the order of the file."""
    happened = []
    for call in calls:
        happened.append((call.entered, 0, call.index, call))
        if call.returned < NEVER:
            happened.append((call.returned, 1, call.index, call))
    happened.sort(key=lambda event: event[:3])
    return [(call, not returns) for _, returns, _, call in happened]


class OutOfStates(Exception):  # noqa: N818 - reads as what it says
    """As many configurations as allowed have been looked at."""


@attrs.define
class Search:
    """What the parts of a history have in common.

    Attributes:
        rules: What the kernel answers.
        related: By index of a call, from which others it can be told; None if from all.
        limit: Configurations that are looked at before it gives up.
        states: Configurations that were looked at.
    """

    rules: Rules
    related: Mapping[int, Sequence[int]] | None
    limit: int
    states: int = 0

    def count(self) -> None:
        """Count one more configuration.

        Raises:
            OutOfStates: That is one too many.
        """
        self.states += 1
        if self.states > self.limit:
            raise OutOfStates


@attrs.frozen
class Moment:
    """When there was only one configuration.

    Attributes:
        slots: The slots then.
        left: The calls under way that had not taken effect.
        entered: How many calls of the part had been entered.
    """

    slots: Slots
    left: tuple[RegionCall, ...]
    entered: int


@attrs.frozen
class _UnderWay:
    """A call that was entered and has not returned.

    Attributes:
        bit: Stands for it in a configuration.
        call: The call.
        region: What it asks for.
        certain: The last moment of certainty before it was entered.
        outcomes: What becomes of which slots, as far as that was asked.
    """

    bit: int
    call: RegionCall
    region: Region
    certain: Moment
    outcomes: dict[Slots, Slots | None] = attrs.field(factory=dict)


class Part:
    """The calls on slots that have nothing to do with the other slots.

    Args:
        search: What the parts have in common.
        slots: Those before the first call.

    Attributes:
        certain: The last moment when there was only one configuration.
    """

    def __init__(self, search: Search, slots: Slots) -> None:
        self.certain = Moment(slots, (), 0)
        self._search = search
        self._entered: list[RegionCall] = []
        self._possible: dict[Configuration, Path] = {(0, slots): None}
        self._under_way: dict[int, _UnderWay] = {}
        self._used = 0  # bits of the calls under way

    def enter(self, call: RegionCall) -> None:
        """A call is made."""
        bit = ~self._used & (self._used + 1)
        self._used |= bit
        self._under_way[call.index] = _UnderWay(bit, call, call.request, self.certain)
        self._entered.append(call)

    def leave(self, call: RegionCall) -> bool:
        """A call returns; false if no configuration allows its answer.

        Raises:
            OutOfStates: There are too many.
        """
        leaving = self._under_way[call.index]
        bit = leaving.bit
        left: dict[Configuration, Path] = {}
        for (done, slots), path in self._reached(leaving):
            if done & bit:
                left.setdefault((done ^ bit, slots), path)
            elif call.result is None:
                left.setdefault((done, slots), path)
        if not left:
            return False
        self._possible = left
        self._used ^= bit
        del self._under_way[call.index]
        if len(left) == 1:
            ((done, slots),) = left
            under_way = self._under_way.values()
            self.certain = Moment(
                slots,
                tuple(each.call for each in under_way if not each.bit & done),
                len(self._entered),
            )
        return True

    def certain_before(self, call: RegionCall) -> Moment:
        """The last moment of certainty before a call was entered that is under way."""
        return self._under_way[call.index].certain

    def since(self, moment: Moment) -> list[RegionCall]:
        """The calls that have taken effect after a moment, or not at all, by entry."""
        return [*moment.left, *self._entered[moment.entered :]]

    def answers(self, call: RegionCall) -> list[str]:
        """What a call under way can answer, and why.

        Raises:
            OutOfStates: There are too many configurations.
        """
        asked = self._under_way[call.index]
        reached = self._reached(asked)
        return list(
            dict.fromkeys(self._answer(slots, asked) for (_, slots), _ in reached)
        )

    def order(self) -> list[RegionCall]:
        """The calls in an order in which they can have taken effect."""
        path = next(iter(self._possible.values()))
        order = []
        while path is not None:
            call, path = path
            order.append(call)
        return order[::-1]

    def _reached(self, leaving: _UnderWay) -> Iterator[tuple[Configuration, Path]]:
        """All configurations that there may be when a call returns.

        Before it only those take effect from which it can be told, directly or by way
        of others: the rest can as well take effect later.
        """
        near = self._near(leaving)
        work = list(self._possible.items())
        seen = set(self._possible)
        while work:
            configuration, path = work.pop()
            self._search.count()
            yield configuration, path
            if configuration[0] & leaving.bit:
                continue
            for following, call in self._steps(configuration, near):
                if following not in seen:
                    seen.add(following)
                    work.append((following, (call, path)))

    def _steps(
        self, configuration: Configuration, near: Iterable[_UnderWay]
    ) -> list[tuple[Configuration, RegionCall]]:
        """What follows a configuration when one more call takes effect."""
        done, slots = configuration
        steps = []
        for each in near:
            if done & each.bit:
                continue
            after = self._after(slots, each)
            if after is None:
                continue
            following = (done | each.bit, after)
            if each.call.result:
                # A refusal changes nothing: to let it happen now is never too early.
                return [(following, each.call)]
            steps.append((following, each.call))
        return steps

    def _after(self, slots: Slots, each: _UnderWay) -> Slots | None:
        """The slots after a call; None if its answer is not the recorded one."""
        if slots not in each.outcomes:
            recorded = each.call.result
            after = slots
            result = 0
            try:
                after = self._search.rules.set_memory_region(slots, each.region)
            except MemoryRegionError as error:
                result = error.result
            fits = result == recorded or (recorded is None and not result)
            each.outcomes[slots] = after if fits else None
        return each.outcomes[slots]

    def _near(self, leaving: _UnderWay) -> list[_UnderWay]:
        related = self._search.related
        if related is None:
            return list(self._under_way.values())
        near = {leaving.call.index: leaving}
        todo = [leaving.call.index]
        for index in todo:
            for other in related.get(index, ()):
                if other not in near and other in self._under_way:
                    near[other] = self._under_way[other]
                    todo.append(other)
        return list(near.values())

    def _answer(self, slots: Slots, asked: _UnderWay) -> str:
        try:
            self._search.rules.set_memory_region(slots, asked.region)
        except MemoryRegionError as error:
            return str(error)
        return "0"
