"""Finds an order in which calls that overlapped can have taken effect one by one.

The kernel takes the calls of several threads one after the other, each somewhere
between its entry and its return. A recording is explained if there is such an order
in which `Rules` gives each call the answer that is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from memslots.profile import Profile
from scenarios.traces.call import RegionCall
from scenarios.traces.configurations import OutOfStates, Part, Search, events
from scenarios.traces.guest_memfds import known_sizes
from scenarios.traces.overlap import order_matters
from scenarios.traces.parts import parts_of
from scenarios.traces.sequential import EMPTY, Rules
from scenarios.traces.stuck import Stuck, stuck

MAX_STATES = 1_000_000
"""Configurations that a search looks at before it gives up."""


@attrs.frozen
class SerialOrder:
    """Each answer is explained if the calls took effect like this.

    Attributes:
        order: The calls. One without an answer is here if it must have taken effect.
        states: How many configurations were looked at.
    """

    order: tuple[RegionCall, ...]
    states: int


@attrs.frozen
class GaveUp:
    """The search ended before it found an order, or that there is none.

    Attributes:
        explained: How many calls, in the order of their returns, can be explained.
        states: How many configurations were looked at.
    """

    explained: int
    states: int


def explain(
    calls: Iterable[RegionCall],
    profile: Profile,
    *,
    address_space_count: int = 1,
    guest_memfds: Mapping[int, int] | None = None,
    pairs: Iterable[tuple[int, int]] | None = None,
    rules: type[Rules] = Rules,
    max_states: int = MAX_STATES,
) -> SerialOrder | Stuck | GaveUp:
    """Find an order in which each call gets its recorded answer.

    Args:
        calls: A whole history, from a VM without slots; also of several VMs. Their
            indexes tell them apart. Those without an answer, ``result`` None, may have
            taken effect or not.
        profile: Limits of the kernel.
        address_space_count: How many address spaces each VM has.
        guest_memfds: Bytes of each guest_memfd by descriptor; by default what the
            answers tell.
        pairs: Indexes of overlapping calls whose order can be told; by default
            `order_matters`.
        rules: What the kernel answers to a call.
        max_states: Configurations after which the search gives up.

    Cost: one or two configurations a call if nothing overlaps; at worst exponential in
    the number of calls under way at once whose order matters.
    """
    calls = list(calls)
    if guest_memfds is None:
        guest_memfds = known_sizes(calls)
    judge = rules(profile, address_space_count, guest_memfds)
    related = _related(order_matters(calls) if pairs is None else pairs)
    search = Search(judge, related, max_states)
    number_of = parts_of(calls)
    parts = [Part(search, EMPTY) for _ in set(number_of.values())]
    returned = 0
    try:
        for call, enters in events(calls):
            part = parts[number_of[call.index]]
            if enters:
                part.enter(call)
                continue
            if not part.leave(call):
                return stuck(search, part, call, returned + 1)
            returned += call.result is not None
    except OutOfStates:
        return GaveUp(returned, search.states)
    return SerialOrder(_merged([part.order() for part in parts]), search.states)


def _related(pairs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    related: dict[int, list[int]] = {}
    for first, second in pairs:
        related.setdefault(first, []).append(second)
        related.setdefault(second, []).append(first)
    return related


def _merged(orders: Sequence[Sequence[RegionCall]]) -> tuple[RegionCall, ...]:
    """One order of all calls that keeps the parts' orders and everybody's times.

    Each call takes effect as early as its own part allows: that is no later than its
    return, as no call before it in its part was entered after that.
    """
    timed = []
    for part, order in enumerate(orders):
        time = 0
        for place, call in enumerate(order):
            time = max(time, call.entered)
            timed.append((time, part, place, call))
    timed.sort(key=lambda each: each[:3])
    return tuple(call for *_, call in timed)
