"""What a checker is: an id, a sentence, and what it has seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.history import History

MAX_KEPT = 20
"""Violations that a checker keeps word for word; it counts the rest."""


@attrs.frozen
class Violation:
    """Something that must not be.

    Attributes:
        checker: Id of the checker that saw it.
        step: Step in which it happened.
        actor: Whose step it was.
        seen: What was seen.
        why: Why that is wrong.
    """

    checker: str
    step: int
    actor: str
    seen: str
    why: str


class Checker(ABC):
    """Judges one rule.

    Args:
        history: What the records have said so far; brought up to date after the
            checkers have read a record.

    Attributes:
        id: Its name.
        sentence: The rule.
        source: Where the kernel states it.
        invariants: Which of the kernel's invariants it stands for.
        exercised: How often the rule was really put to the test.
        count: How often it was broken.
        violations: The first of those.
        not_state: Attributes on which no later finding depends; a search of orders
            takes states that differ in them for the same.
    """

    id: ClassVar[str]
    sentence: ClassVar[str]
    source: ClassVar[str]
    invariants: ClassVar[tuple[str, ...]] = ()
    not_state: ClassVar[tuple[str, ...]] = ("count", "exercised", "violations")

    def __init__(self, history: History) -> None:
        self.history = history
        self.exercised = 0
        self.count = 0
        self.violations: list[Violation] = []

    @abstractmethod
    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """What to call for which kind of event, with the record and its event."""

    def violate(self, record: Record, seen: str) -> None:
        """Note that the rule was broken."""
        self.count += 1
        if len(self.violations) < MAX_KEPT:
            self.violations.append(
                Violation(self.id, record.step, record.actor, seen, self.sentence)
            )

    def rule_was_broken(self, record: Record, event: RuleWasBroken) -> None:
        """Take over a finding that the model itself made."""
        if event.checker == self.id:
            self.exercised += 1
            self.violate(record, f"{event.rule}: {event.text}")
