"""The start and the end of an invalidation fit together.

Both look up which slots they touch, and count an invalidation up or down only if there
is one. If they find different slots, the count is wrong for ever: every page fault is
retried, or none where it must be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memslots.tracepoints import InvalidationsForgotten, SetsSwapped
from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from vcpus.tracepoints import (
    GfnRangeZapBegan,
    GfnRangeZapped,
    InvalidationBegan,
    InvalidationEnded,
)


class NotifierBalanced(Checker):
    """Finds the end of each invalidation, and counts those that are under way."""

    id = "notifier-balanced"
    sentence = (
        "the start and the end of an invalidation see the same sets and touch as many"
        " slots, no set is published in between, and as many are in progress as have"
        " begun, touched a slot and not ended"
    )
    source = "KVM: kvm_mmu_notifier_invalidate_range_start, virt/kvm/kvm_main.c"
    invariants = ("I14", "I15")

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._open: list[tuple[Record, InvalidationBegan]] = []
        self._zaps = 0

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            InvalidationBegan: self._began,
            InvalidationEnded: self._ended,
            GfnRangeZapBegan: self._zap_began,
            GfnRangeZapped: self._zap_ended,
            SetsSwapped: self._swapped,
            InvalidationsForgotten: self._forgotten,
            RuleWasBroken: self.rule_was_broken,
        }

    def _began(self, record: Record, event: InvalidationBegan) -> None:
        self._open.append((record, event))
        self._count(record, event)

    def _ended(self, record: Record, event: InvalidationEnded) -> None:
        place = self._place_of_start(record, event)
        if place is None:
            self.exercised += 1
            self.violate(record, f"the invalidation of {_range(event)} had not begun")
            return
        at, began = self._open.pop(place)
        self.exercised += 1
        for what, then, now in (
            ("sets", began.sets, event.sets),
            ("slots touched", began.slots, event.slots),
        ):
            if then != now:
                self.violate(
                    record,
                    f"the invalidation of {_range(event)} ends with {what}: {now}, but"
                    f" {at.actor} began it in step {at.step} with {what}: {then}",
                    at.step,
                    *self._last_swap(),
                )
        self._count(record, event)

    def _place_of_start(self, record: Record, event: InvalidationEnded) -> int | None:
        """Where the start of this end is; one by the same task goes first."""
        found = None
        for place, (at, began) in enumerate(self._open):
            if (began.start, began.end) != (event.start, event.end):
                continue
            if at.actor == record.actor:
                return place
            found = place if found is None else found
        return found

    def _count(
        self, record: Record, event: InvalidationBegan | InvalidationEnded
    ) -> None:
        expected = self._zaps + sum(bool(began.slots) for _, began in self._open)
        # Who touched no slot has read the count without mmu_lock: another may be
        # about to tell of its own.
        exact = bool(event.slots)
        if event.in_progress < 0 or (exact and event.in_progress != expected):
            self.violate(
                record,
                f"mmu_invalidate_in_progress is {event.in_progress} after the"
                f" invalidation of {_range(event)}, but {expected} are under way",
                *[at.step for at, _ in self._open][-2:],
                *self._last_swap(),
            )

    def _last_swap(self) -> list[int]:
        """The step of the last swap of the VM; empty if there was none."""
        spaces = self.history.spaces
        steps = [step for as_id in spaces for step in self.history.last_swap(as_id)]
        return [max(steps)] if steps else []

    def _zap_began(self, record: Record, event: GfnRangeZapBegan) -> None:
        self._zaps += 1

    def _zap_ended(self, record: Record, event: GfnRangeZapped) -> None:
        self._zaps -= 1

    def _swapped(self, record: Record, event: SetsSwapped) -> None:
        for at, began in self._open:
            self.exercised += 1
            self.violate(
                record,
                f"set {event.set} of address space {event.as_id} was published during"
                f" the invalidation of {_range(began)}, which {at.actor} began in step"
                f" {at.step}",
                at.step,
            )

    def _forgotten(self, record: Record, event: InvalidationsForgotten) -> None:
        """The VM is being destroyed: nobody will end them."""
        self._open.clear()


def _range(event: InvalidationBegan | InvalidationEnded) -> str:
    return f"{event.start:#x}..{event.end:#x}"
