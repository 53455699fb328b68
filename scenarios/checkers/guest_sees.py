"""The guest sees nothing that its scenario rules out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memslots.units import PAGE_SHIFT, PAGE_SIZE
from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from scenarios.checkers.notes import Notes
from scenarios.tracepoints import GuestExpected
from vcpus.tracepoints import (
    GuestAccessed,
    GuestMemoryCopied,
    PageFaulted,
    SpteInstalled,
)


class GuestSees(Checker):
    """Looks at what guests read, and at how their page faults end."""

    id = "guest-sees"
    sentence = (
        "a guest reads only values, and meets devices only where, its scenario says it"
        " may"
    )
    source = "KVM: tools/testing/selftests/kvm/set_memory_region_test.c"

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._may_read: dict[int, tuple[int, ...]] = {}
        self._without_mmio: set[int] = set()
        self._written = Notes[int]()  # by hva of the page
        self._mapped = Notes[tuple[int, int]]()  # by address space and gfn

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            GuestExpected: self._expected,
            SpteInstalled: self._installed,
            GuestAccessed: self._accessed,
            GuestMemoryCopied: self._copied,
            PageFaulted: self._faulted,
            RuleWasBroken: self.rule_was_broken,
        }

    def _expected(self, record: Record, event: GuestExpected) -> None:
        if event.may_read:
            self._may_read[event.vcpu] = event.may_read
        if not event.mmio:
            self._without_mmio.add(event.vcpu)

    def _installed(self, record: Record, event: SpteInstalled) -> None:
        if self._may_read:
            self._mapped.note((event.as_id, event.gfn), record)

    def _copied(self, record: Record, event: GuestMemoryCopied) -> None:
        if event.write and self._may_read:
            self._written.note(event.hva // PAGE_SIZE * PAGE_SIZE, record)

    def _accessed(self, record: Record, event: GuestAccessed) -> None:
        if event.write and self._may_read:
            self._written.note(event.hva, record)
        if event.write or event.vcpu not in self._may_read:
            return
        self.exercised += 1
        if event.value not in self._may_read[event.vcpu]:
            page = event.as_id, event.gpa >> PAGE_SHIFT
            self.violate(
                record,
                f"vcpu{event.vcpu} read {event.value} at {event.gpa:#x} through slot"
                f" #{event.slot}, where only"
                f" {', '.join(map(str, self._may_read[event.vcpu]))} may be",
                *self._mapped.steps(page),
                *self._written.steps(event.hva),
                *self.history.last_swap(event.as_id),
            )

    def _faulted(self, record: Record, event: PageFaulted) -> None:
        if event.vcpu not in self._without_mmio:
            return
        self.exercised += 1
        if event.outcome == "mmio":
            self.violate(
                record,
                f"an access of vcpu{event.vcpu} to {event.gpa:#x} went to a device,"
                " where it must find memory",
                *self.history.last_swap(event.as_id),
                *self._last_found(record.actor),
            )

    def _last_found(self, actor: str) -> list[int]:
        """When the section that somebody is in first found the slot it found last."""
        found = [
            at.step
            for section in self.history.holding(actor)
            for at in section.found.values()
        ]
        return found[-1:]
