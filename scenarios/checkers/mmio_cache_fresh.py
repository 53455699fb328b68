"""Who remembers that a page has no slot is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from scenarios.checkers.notes import Notes
from vcpus.tracepoints import MmioCacheHit, SlotLookedUp


class MmioCacheFresh(Checker):
    """Looks each remembered page up in the set that the reader holds."""

    id = "mmio-cache-fresh"
    sentence = (
        "that a page has no slot is taken from a cache only if the set that the vCPU"
        " holds, of the address space that it is in, has none there"
    )
    source = "KVM: check_mmio_spte, arch/x86/kvm/mmu/mmu.c"

    def __init__(self, history: History) -> None:
        super().__init__(history)
        # The last lookup that found no slot, by task, address space and gfn.
        self._without = Notes[tuple[str, int, int]]()

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SlotLookedUp: self._looked_up,
            MmioCacheHit: self._hit,
            RuleWasBroken: self.rule_was_broken,
        }

    def _looked_up(self, record: Record, event: SlotLookedUp) -> None:
        if event.slot is None:
            self._without.note((record.actor, event.as_id, event.gfn), record)

    def _hit(self, record: Record, event: MmioCacheHit) -> None:
        self.exercised += 1
        index, version = self._held(record.actor, event.as_id)
        content = self.history.content(event.as_id, index)
        slot = content.find_at(version, event.gfn)
        if slot is not None:
            page = record.actor, event.as_id, event.gfn
            self.violate(
                record,
                f"vcpu{event.vcpu} took gfn {event.gfn:#x} of address space"
                f" {event.as_id} for a page without a slot (found in"
                f" {event.found_in}), but set {index}, which it holds, has slot"
                f" {slot.id} #{slot.serial} there",
                *self._without.steps(page),
                *content.edited.steps(slot.serial),
                *self.history.last_swap(event.as_id),
            )

    def _held(self, actor: str, as_id: int) -> tuple[int, int]:
        """The set that it got hold of last, and its version then.

        Who has not asked for the set of this address space would have got the active.
        """
        for section in reversed(self.history.holding(actor)):
            if as_id in section.held:
                return section.held[as_id]
        active = self.history.spaces[as_id].active
        return active, self.history.content(as_id, active).version
