"""All lookups of one dereference agree with one committed state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memslots.tracepoints import SlotData
from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker
from vcpus.tracepoints import SlotLookedUp


class ConsistentSet(Checker):
    """Compares each answer with what the set held when the reader got hold of it."""

    id = "consistent-set"
    sentence = (
        "all lookups of one dereference agree with one committed state of the set:"
        " before, with INVALID, or after an update"
    )
    source = "KVM: struct kvm_memory_slot, include/linux/kvm_host.h"
    invariants = ("I4",)

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {SlotLookedUp: self._looked_up, RuleWasBroken: self.rule_was_broken}

    def _looked_up(self, record: Record, event: SlotLookedUp) -> None:
        self.exercised += 1
        as_id, index = event.as_id, event.set
        content = self.history.content(as_id, index)
        version = content.version
        for section in self.history.holding(record.actor):
            held, at = section.held.get(as_id, (index, version))
            if held != index:
                self.violate(
                    record,
                    f"a lookup of gfn {event.gfn:#x} went to set {index} although"
                    f" set {held} was dereferenced",
                    *self._got_hold(record.actor, as_id),
                )
                return
            version = min(version, at)
        expected = content.find_at(version, event.gfn)
        found = event.slot
        if found is not expected and found != expected:
            self.violate(
                record,
                f"set {index} answered {_name(found)} for gfn {event.gfn:#x}"
                f" (found in {event.found_in}), but held {_name(expected)} there when"
                f" {record.actor} dereferenced it",
                *self._got_hold(record.actor, as_id),
                *self._edits(event, expected),
            )

    def _got_hold(self, actor: str, as_id: int) -> list[int]:
        """When the reader got hold of a set last, or else began to read."""
        steps = [
            step
            for section in self.history.holding(actor)
            for step in (section.step, *section.dereferences(as_id))
        ]
        return [max(steps)] if steps else []

    def _edits(self, event: SlotLookedUp, expected: SlotData | None) -> list[int]:
        """The edits of the set that made the two answers different."""
        serials = [slot.serial for slot in (event.slot, expected) if slot is not None]
        return self.history.content(event.as_id, event.set).edited.steps(*serials)


def _name(slot: SlotData | None) -> str:
    if slot is None:
        return "no slot"
    return (
        f"slot {slot.id} #{slot.serial} ({slot.base_gfn:#x}..{slot.end_gfn:#x}, flags"
        f" {slot.flags:#x})"
    )
