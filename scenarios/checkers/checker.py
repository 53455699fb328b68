"""What a checker is: an id, a sentence, and what it has seen."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.history import History

_STEP = re.compile(r"\bin step ([0-9]{1,15})\b", re.ASCII)

MAX_KEPT = 20
"""Violations that a checker keeps word for word; it counts the rest."""

MAX_CAUSES = 3
"""Causes of a violation that are kept; a circle of many locks has more."""


@attrs.frozen
class Violation:
    """Something that must not be.

    Attributes:
        checker: Id of the checker that saw it.
        step: Step in which it happened.
        actor: Whose step it was.
        seen: What was seen.
        why: Why that is wrong.
        causes: Earlier steps without which it would not be so, in order: the last
            `MAX_CAUSES` of them.
    """

    checker: str
    step: int
    actor: str
    seen: str
    why: str
    causes: tuple[int, ...] = ()


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

    def violate(self, record: Record, seen: str, *causes: int) -> None:
        """Note that the rule was broken.

        Args:
            record: What broke it.
            seen: What was seen, in words.
            causes: Earlier steps without which it would not be so.
        """
        self.count += 1
        if len(self.violations) < MAX_KEPT:
            steps = sorted({step for step in causes if step < record.step})
            self.violations.append(
                Violation(
                    self.id,
                    record.step,
                    record.actor,
                    seen,
                    self.sentence,
                    tuple(steps[-MAX_CAUSES:]),
                )
            )

    def rule_was_broken(self, record: Record, event: RuleWasBroken) -> None:
        """Take over a finding that the model itself made."""
        if event.checker == self.id:
            self.exercised += 1
            self.violate(
                record,
                f"{event.rule}: {event.text}",
                *self.causes_of_rule(record, event),
            )

    def causes_of_rule(self, record: Record, event: RuleWasBroken) -> list[int]:
        """When the section or call began in which it was found, and what it names."""
        began = [section.step for section in self.history.holding(record.actor)[-2:]]
        named = [int(step) for step in _STEP.findall(event.text)[:2]]
        return began + named or self.history.calls.steps(record.actor)
