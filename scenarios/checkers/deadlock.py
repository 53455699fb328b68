"""Everybody who waits can still be woken by somebody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcu.trace import Event, Record
from rcu.tracepoints import (
    LockAcquired,
    RuleWasBroken,
    SynchronizeEnded,
    TaskStuck,
)
from scenarios.checkers.checker import Checker


class Deadlock(Checker):
    """Takes over who was stuck when the run ended; counts the waits that ended well."""

    id = "deadlock"
    sentence = "no task waits for what nobody who is left can do"
    source = "Linux: Documentation/locking/lockdep-design.rst"
    invariants = ("I17",)

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            LockAcquired: self._waited,
            SynchronizeEnded: self._waited,
            TaskStuck: self._stuck,
            RuleWasBroken: self.rule_was_broken,
        }

    def _waited(self, record: Record, event: Event) -> None:
        self.exercised += 1

    def _stuck(self, record: Record, event: TaskStuck) -> None:
        self.exercised += 1
        text = f"{event.task} waits for ever to {event.waits_for}"
        if event.held_by:
            text += f", which {event.held_by} holds"
        if event.holds:
            text += f"; it holds {', '.join(event.holds)} itself"
        if event.sections:
            text += f"; it is in a section of {', '.join(event.sections)}"
        self.violate(record, text)
