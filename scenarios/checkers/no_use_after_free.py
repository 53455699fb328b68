"""Nothing is touched, or still within a reader's reach, once it is freed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memslots.tracepoints import SetFreed, SetGivenUp, SlotFreed
from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from scenarios.checkers.ledger import RecordLedger
from vcpus.tracepoints import SlotLookedUp


class NoUseAfterFree(Checker):
    """Follows slots, and sets, from the reader that found them to the free."""

    id = "no-use-after-free"
    sentence = (
        "a slot is freed once, when no set holds it and no section is open that found"
        " it, and is never found again; and so is a set, when it is not active and no"
        " section is open that got hold of it"
    )
    source = "KVM: kvm_set_memslot, virt/kvm/kvm_main.c"
    invariants = ("I7",)

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._freed = RecordLedger[int]()
        self._freed_sets = RecordLedger[tuple[int, int]]()
        self._given_up: set[tuple[int, int]] = set()

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SlotLookedUp: self._looked_up,
            SlotFreed: self._freed_slot,
            SetFreed: self._freed_set,
            SetGivenUp: self._gave_up,
            RuleWasBroken: self.rule_was_broken,
        }

    def _looked_up(self, record: Record, event: SlotLookedUp) -> None:
        if event.slot is None:
            return
        serial = event.slot.serial
        for section in self.history.holding(record.actor):
            section.found.setdefault(serial, record)
        if serial in self._freed:
            freed = self._freed[serial]
            self.violate(
                record,
                f"a lookup of gfn {event.gfn:#x} found slot {event.slot.id} #{serial},"
                f" which {freed.actor} freed in step {freed.step}",
                freed.step,
                *(section.step for section in self.history.holding(record.actor)),
            )
        where = event.as_id, event.set
        if where in self._freed_sets:
            freed = self._freed_sets[where]
            self.violate(
                record,
                f"a lookup of gfn {event.gfn:#x} went to set {event.set}, which"
                f" {freed.actor} freed in step {freed.step}",
                freed.step,
                *(section.step for section in self.history.holding(record.actor)),
            )

    def _freed_slot(self, record: Record, event: SlotFreed) -> None:
        self.exercised += 1
        serial = event.serial
        if serial in self._freed:
            earlier = self._freed[serial]
            self.violate(
                record,
                f"slot #{serial} is freed a second time, after {earlier.actor} in step"
                f" {earlier.step}",
                earlier.step,
            )
        self._freed[serial] = record
        for section in self.history.open_sections():
            if serial in section.found:
                self.violate(
                    record,
                    f"slot #{serial} is freed while {section.actor}, who found it, is"
                    f" in the section that began in step {section.step}",
                    section.step,
                    section.found[serial].step,
                )
        space = self.history.spaces[event.as_id]
        for index, content in space.sets.items():
            if serial in content.by_serial:
                self.violate(
                    record,
                    f"slot #{serial} is freed while set {index} has it",
                    *content.edited.steps(serial),
                    *self.history.calls.steps(record.actor),
                )

    def _gave_up(self, record: Record, event: SetGivenUp) -> None:
        self._given_up.add((event.as_id, event.set))

    def _freed_set(self, record: Record, event: SetFreed) -> None:
        self.exercised += 1
        where = event.as_id, event.set
        if where in self._freed_sets:
            earlier = self._freed_sets[where]
            self.violate(
                record,
                f"set {event.set} is freed a second time, after {earlier.actor} in step"
                f" {earlier.step}",
                earlier.step,
            )
        self._freed_sets[where] = record
        active = self.history.spaces[event.as_id].active == event.set
        if active and where not in self._given_up:
            self.violate(
                record,
                f"set {event.set} is freed while it is active",
                *self.history.last_swap(event.as_id),
            )
        for section in self.history.open_sections():
            if where in section.ever_held:
                self.violate(
                    record,
                    f"set {event.set} is freed while {section.actor}, who got hold of"
                    f" it, is in the section that began in step {section.step}",
                    section.step,
                    section.ever_held[where].step,
                )
