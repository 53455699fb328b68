"""Every call returns what it is known to return."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import attrs

from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from scenarios.tracepoints import (
    BegunLate,
    NoOrder,
    OrderUnknown,
    ResultCompared,
    UpdatesLost,
)


@attrs.frozen
class Mismatch:
    """A call whose result is not the known one.

    Attributes:
        line: Line of the trace that recorded it, or place in the scenario; from 1.
        region: What was asked for.
        expected: What it is known to return.
        result: What it returned.
    """

    line: int
    region: str
    expected: str
    result: str


class ResultsMatch(Checker):
    """Compares results; where their order is not known, it can only doubt.

    Attributes:
        mismatches: Every call with another result than the known one.
        doubt: Why a mismatch proves nothing; empty if it does.
    """

    id = "results-match"
    sentence = "each call returns what the recording, or the scenario, says it returns"
    source = "KVM: kvm_set_memory_region, virt/kvm/kvm_main.c"

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self.mismatches: list[Mismatch] = []
        self.doubt = ""
        self._contradicted = False

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            ResultCompared: self._compared,
            OrderUnknown: self._order_unknown,
            NoOrder: self._no_order,
            BegunLate: self._begun_late,
            UpdatesLost: self._updates_lost,
            RuleWasBroken: self.rule_was_broken,
        }

    def _order_unknown(self, record: Record, event: OrderUnknown) -> None:
        first = ", ".join(f"{a} and {b}" for a, b in event.lines[:5])
        more = f" and {event.pairs - 5} more" if event.pairs > 5 else ""
        overlap = (
            f"{event.pairs} pairs of recorded calls overlap and their order matters"
        )
        if event.pairs == 1:
            overlap = "1 pair of recorded calls overlaps and its order matters"
        where = f"(lines {first}{more})"
        text = f"{overlap} {where}: the real kernel's order is not known"
        if event.states:
            text += f", the search for it gave up after {event.states:,} states"
        self._doubt(text)

    def _no_order(self, record: Record, event: NoOrder) -> None:
        """The recording is at fault, or the rules: no run can give its answers."""
        self._contradicted = True
        self.violate(record, event.text)

    def _begun_late(self, record: Record, event: BegunLate) -> None:
        lines = ", ".join(map(str, event.lines))
        self._doubt(
            f"slots were deleted that no recorded call has made (lines {lines}): the"
            " recording began late; record from the VMM's start"
        )

    def _updates_lost(self, record: Record, event: UpdatesLost) -> None:
        lines = ", ".join(map(str, event.lines))
        self._doubt(
            f"updates are missing that the recording does not show (lines {lines})"
        )

    def _doubt(self, text: str) -> None:
        self.doubt = f"{self.doubt}; {text}" if self.doubt else text

    def _compared(self, record: Record, event: ResultCompared) -> None:
        self.exercised += 1
        if event.expected == event.result:
            return
        mismatch = Mismatch(
            event.line, event.region, _name(event.expected), _name(event.result)
        )
        self.mismatches.append(mismatch)
        if not (self.doubt or self._contradicted):
            self.violate(
                record,
                f"the call of line {event.line} ({event.region}) returned"
                f" {mismatch.result}, but {mismatch.expected} is recorded",
                *self.history.calls.steps(record.actor),
            )


def _name(result: int) -> str:
    return "0" if not result else errno.errorcode.get(-result, str(result))
