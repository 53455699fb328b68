"""Whenever no update is under way, both sets hold the same slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memslots.slot import INVALID
from memslots.tracepoints import SetsSwapped, SlotReplaced
from rcu.trace import Event, Record
from rcu.tracepoints import LockReleased, RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History


class SetsConverge(Checker):
    """Compares the sets each time that ``slots_lock`` is released."""

    id = "sets-converge"
    sentence = (
        "whenever slots_lock is free, both sets of an address space hold the same slot"
        " objects, and none of them is INVALID"
    )
    source = "KVM: struct kvm_memory_slot, include/linux/kvm_host.h"

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._touched: set[int] = set()

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SlotReplaced: self._changed,
            SetsSwapped: self._changed,
            LockReleased: self._released,
            RuleWasBroken: self.rule_was_broken,
        }

    def _changed(self, record: Record, event: SlotReplaced | SetsSwapped) -> None:
        self._touched.add(event.as_id)

    def _released(self, record: Record, event: LockReleased) -> None:
        if event.lock != "slots_lock":
            return
        for as_id in sorted(self._touched):
            self.exercised += 1
            self._compare(record, as_id)
        self._touched.clear()

    def _compare(self, record: Record, as_id: int) -> None:
        first, second = self.history.spaces[as_id].sets
        if first.by_serial.keys() != second.by_serial.keys():
            only = {
                0: sorted(first.by_serial.keys() - second.by_serial.keys()),
                1: sorted(second.by_serial.keys() - first.by_serial.keys()),
            }
            text = " and ".join(
                f"slot #{serial} is in set {index} only"
                for index, serials in only.items()
                for serial in serials
            )
            self.violate(record, f"slots_lock was released while {text}")
        for serial, slot in first.by_serial.items():
            if slot.flags & INVALID and serial in second.by_serial:
                self.violate(
                    record,
                    f"slots_lock was released while slot {slot.id} #{serial} is"
                    " INVALID",
                )
