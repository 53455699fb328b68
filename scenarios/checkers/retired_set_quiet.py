"""Only the inactive set is edited, and nobody is inside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memslots.tracepoints import SlotReplaced
from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker


class RetiredSetQuiet(Checker):
    """Looks at each edit for readers that hold the edited set."""

    id = "retired-set-quiet"
    sentence = (
        "a set is edited only while it is inactive and no section is open in which a"
        " reader got hold of it"
    )
    source = "KVM: kvm_swap_active_memslots, virt/kvm/kvm_main.c"
    invariants = ("I5", "I6")

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {SlotReplaced: self._replaced, RuleWasBroken: self.rule_was_broken}

    def _replaced(self, record: Record, event: SlotReplaced) -> None:
        if self.history.spaces[event.as_id].active == event.set:
            self.exercised += 1
            self.violate(
                record,
                f"set {event.set} is edited while it is active",
                *self.history.last_swap(event.as_id),
                *self.history.calls.steps(record.actor),
            )
        sections = self.history.open_sections()
        self.exercised += bool(sections)
        for section in sections:
            held = section.ever_held.get((event.as_id, event.set))
            if held is not None:
                self.violate(
                    record,
                    f"set {event.set} is edited while {section.actor}, who got hold of"
                    f" it, is in the section that began in step {section.step}",
                    section.step,
                    held.step,
                    *self.history.last_swap(event.as_id),
                )
