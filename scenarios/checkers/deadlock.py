"""Everybody who waits can still be woken by somebody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcu.trace import Event, Record
from rcu.tracepoints import (
    LockAcquired,
    RuleWasBroken,
    SynchronizeBegan,
    SynchronizeEnded,
    TaskStuck,
)
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from scenarios.checkers.notes import Notes


class Deadlock(Checker):
    """Takes over who was stuck when the run ended; counts the waits that ended well."""

    id = "deadlock"
    sentence = "no task waits for what nobody who is left can do"
    source = "Linux: Documentation/locking/lockdep-design.rst"
    invariants = ("I17",)

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._waiting = Notes[str]()  # for a grace period, by task

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            LockAcquired: self._waited,
            SynchronizeBegan: self._began_to_wait,
            SynchronizeEnded: self._waited,
            TaskStuck: self._stuck,
            RuleWasBroken: self.rule_was_broken,
        }

    def _began_to_wait(self, record: Record, event: SynchronizeBegan) -> None:
        self._waiting.note(record.actor, record)

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
        self.violate(record, text, *self._why(event))

    def _why(self, event: TaskStuck) -> list[int]:
        """When those began to hold, or to read, who hold each other up."""
        own = [(event.task, lock) for lock in event.holds]
        wanted = [
            (actor, lock)
            for actor, lock in self.history.taken
            if actor == event.held_by and lock in event.waits_for
        ]
        taken = self.history.taken.steps(*own, *wanted)
        sections = self.history.holding(event.task)
        if "synchronize" in event.waits_for:
            taken += self._waiting.steps(event.task)
            sections = self.history.open_sections()
        return taken + [section.step for section in sections[:1]]

    def causes_of_rule(self, record: Record, event: RuleWasBroken) -> list[int]:
        """See `Checker.causes_of_rule`; here it may be a lock that the text names."""
        taken = [
            (actor, lock)
            for actor, lock in self.history.taken
            if actor == record.actor and lock in event.text
        ]
        return super().causes_of_rule(record, event) + self.history.taken.steps(*taken)
