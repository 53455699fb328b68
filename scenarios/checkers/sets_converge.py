"""Whenever no update is under way, all sets hold the same slots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from memslots.slot import INVALID
from memslots.tracepoints import SetCopied, SetsSwapped, SlotReplaced
from rcu.trace import Event, Record
from rcu.tracepoints import LockReleased, RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History


class SetsConverge(Checker):
    """Compares the sets each time that ``slots_lock`` is released.

    Where sets are copied for each change there is nothing to compare, if no copy has
    been forgotten.
    """

    id = "sets-converge"
    sentence = (
        "whenever slots_lock is free, both sets of an address space hold the same slot"
        " objects, or no copy of its only set is left; and no slot is INVALID"
    )
    source = "KVM: struct kvm_memory_slot, include/linux/kvm_host.h"
    invariants = ("I1", "I2", "I3", "I12")

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._touched: set[int] = set()
        # By address space, the slots that came or went since all sets were the same.
        self._doubtful: defaultdict[int, set[int]] = defaultdict(set)

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SlotReplaced: self._replaced,
            SetsSwapped: self._changed,
            SetCopied: self._changed,
            LockReleased: self._released,
            RuleWasBroken: self.rule_was_broken,
        }

    def _changed(self, record: Record, event: SetsSwapped | SetCopied) -> None:
        self._touched.add(event.as_id)

    def _replaced(self, record: Record, event: SlotReplaced) -> None:
        self._touched.add(event.as_id)
        if event.old is not None:
            self._doubtful[event.as_id].add(event.old)
        if event.new is not None:
            self._doubtful[event.as_id].add(event.new.serial)

    def _released(self, record: Record, event: LockReleased) -> None:
        if event.lock != "slots_lock":
            return
        for as_id in sorted(self._touched):
            self.exercised += 1
            self._compare(record, as_id)
        self._touched.clear()

    def _compare(self, record: Record, as_id: int) -> None:
        space = self.history.spaces[as_id]
        if len(space.sets) > space.at_rest:
            left = [f"set {index}" for index in space.sets if index != space.active]
            copied = [content.since for content in space.sets.values()]
            self.violate(
                record,
                f"slots_lock was released while {', '.join(left)} is left over",
                *[record.step for record in copied if record is not None][-2:],
            )
            return
        contents = list(space.sets.values())
        doubtful = sorted(self._doubtful.pop(as_id, ()))
        shared = [s for s in doubtful if all(s in each.by_serial for each in contents)]
        alone = [
            (serial, index)
            for index, content in space.sets.items()
            for serial in doubtful
            if serial in content.by_serial and serial not in shared
        ]
        if alone:
            text = " and ".join(
                f"slot #{serial} is in set {index} only" for serial, index in alone
            )
            serials = [serial for serial, _ in alone]
            edits = [step for each in contents for step in each.edited.steps(*serials)]
            text = f"slots_lock was released while {text}"
            self.violate(record, text, *sorted(edits)[-2:])
            self._doubtful[as_id].update(serials)
        for serial in shared:
            slot = contents[0].by_serial[serial]
            if slot.flags & INVALID:
                self.violate(
                    record,
                    f"slots_lock was released while slot {slot.id} #{serial} is"
                    " INVALID",
                    *[step for each in contents for step in each.edited.steps(serial)],
                )
                self._doubtful[as_id].add(serial)
