"""In which order the calls of a recording are run that overlapped in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from memslots.profile import Profile
from rcu.trace import Event
from scenarios.tracepoints import NoOrder, OrderUnknown
from scenarios.traces.call import RegionCall
from scenarios.traces.overlap import order_matters, overlapping, predecessors
from scenarios.traces.serial_order import GaveUp, SerialOrder, explain
from scenarios.traces.stuck import Stuck, result_name

SHOWN = 20
"""Pairs and calls that an event names."""


@attrs.frozen
class Overlap:
    """The calls of a recording that overlapped, and what explains their answers.

    Attributes:
        calls: How many they are.
        of: Of how many.
        pairs: Those of them that an order can tell apart.
        found: An order that explains all answers, that there is none, or that the
            search gave up; None if it is no use to search, as updates are missing.
    """

    calls: int
    of: int
    pairs: tuple[tuple[RegionCall, RegionCall], ...]
    found: SerialOrder | Stuck | GaveUp | None

    @property
    def order(self) -> tuple[RegionCall, ...]:
        """The order; empty if none was found."""
        return self.found.order if isinstance(self.found, SerialOrder) else ()

    @property
    def event(self) -> Event | None:
        """What the trace must tell about it; None if all is explained."""
        if isinstance(self.found, Stuck):
            stuck = tuple(each.call.line for each in self.found.calls)
            return NoOrder(self.found.prefix, stuck[:SHOWN], str(self.found))
        if isinstance(self.found, SerialOrder) or not self.pairs:
            return None
        states = self.found.states if isinstance(self.found, GaveUp) else 0
        lines = tuple((one.line, other.line) for one, other in self.pairs[:SHOWN])
        return OrderUnknown(len(self.pairs), lines, states)

    def __str__(self) -> str:
        what = "their order is not known"
        if isinstance(self.found, SerialOrder):
            what = "explained by a serial order"
        elif isinstance(self.found, Stuck):
            what = "no order explains them"
        return f"{self.calls:,} of {self.of:,}, {what}"

    def as_dict(self) -> dict[str, object]:
        """The same for JSON."""
        kinds = {SerialOrder: "found", Stuck: "none", GaveUp: "gave-up"}
        found = self.found
        return {
            "calls": self.calls,
            "pairs": len(self.pairs),
            "order": "not-searched" if found is None else kinds[type(found)],
            "states": 0 if found is None else found.states,
            "made": [call.line for call in self.order if call.result is None],
            "stuck": _stuck_as_dict(found) if isinstance(found, Stuck) else None,
        }


def find_order(
    calls: Sequence[RegionCall],
    profile: Profile,
    *,
    address_space_count: int,
    guest_memfds: Mapping[int, int],
    whole: bool,
) -> Overlap | None:
    """Find an order that explains calls that overlapped.

    Args:
        calls: All calls of one VM, also those without an answer.
        profile: Limits of the kernel.
        address_space_count: How many address spaces the VM has.
        guest_memfds: Bytes of each guest_memfd by descriptor.
        whole: Whether no update of the VM is missing.

    Returns:
        What was found; None if no calls overlapped.
    """
    together = {index for pair in overlapping(calls) for index in pair}
    if not together:
        return None
    by_index = {call.index: call for call in calls}
    pairs = order_matters(calls)
    found = None
    if whole:
        found = explain(
            calls,
            profile,
            address_space_count=address_space_count,
            guest_memfds=guest_memfds,
            pairs=pairs,
        )
    return Overlap(
        calls=len(together),
        of=len(calls),
        pairs=tuple((by_index[one], by_index[other]) for one, other in pairs),
        found=found,
    )


def begin_after(
    calls: Sequence[RegionCall], overlap: Overlap | None, writers: Sequence[str]
) -> list[list[int]]:
    """Which calls of others must be done before each call begins, all by position.

    Args:
        calls: The calls that are run.
        overlap: What explains them: those that an order can tell apart take effect in
            the one that was found, the others may overlap as they did.
        writers: Who makes each call; everybody makes theirs in this order anyway.
    """
    also = [] if overlap is None else _in_order(calls, overlap)
    return [
        [first for first in before if writers[first] != writers[second]]
        for second, before in enumerate(predecessors(calls, also))
    ]


def _in_order(calls: Sequence[RegionCall], overlap: Overlap) -> list[tuple[int, int]]:
    """The pairs that an order can tell apart, in the one that was found if any was."""
    place = {call.index: position for position, call in enumerate(calls)}
    rank = {call.index: position for position, call in enumerate(overlap.order)}
    also = []
    for pair in overlap.pairs:
        if all(call.index in rank for call in pair):
            one, other = sorted(pair, key=lambda call: rank[call.index])
            also.append((place[one.index], place[other.index]))
    return also


def _stuck_as_dict(stuck: Stuck) -> dict[str, object]:
    return {
        "prefix": stuck.prefix,
        "calls": [
            {
                "line": each.call.line,
                "thread": each.call.thread,
                "region": str(each.call.request),
                "answered": result_name(each.call.result),
                "possible": each.possible,
            }
            for each in stuck.calls
        ],
    }
