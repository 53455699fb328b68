"""No section that began before a grace period was asked for outlives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from rcu.trace import Event, Record
from rcu.tracepoints import (
    CallbackInvoked,
    CallbackQueued,
    RuleWasBroken,
    SectionEnded,
    SynchronizeBegan,
    SynchronizeEnded,
)
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History, Section
from scenarios.checkers.notes import Notes


@attrs.define(eq=False)
class Wait:
    """Somebody waits until the sections that were open have ended.

    Attributes:
        asked: When he began to wait.
        inside: The sections that have not ended yet.
        anybody: Whether there was any.
    """

    not_state: ClassVar[tuple[str, ...]] = ("asked", "anybody")

    asked: Record
    inside: list[Section]
    anybody: bool


class GracePeriod(Checker):
    """Remembers who was inside when somebody began to wait, and is so still."""

    id = "grace-period"
    sentence = (
        "when synchronize returns, or a callback is called, every section that had"
        " begun before it was asked for has ended"
    )
    source = "Linux: synchronize_srcu, call_srcu, kernel/rcu/srcutree.c"
    invariants = ("I6",)

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._waits: dict[tuple[str, str], list[Wait]] = {}
        self._asked = Notes[str]()  # for a grace period, by domain

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SectionEnded: self._section_ended,
            SynchronizeBegan: self._synchronize_began,
            SynchronizeEnded: self._synchronize_ended,
            CallbackQueued: self._callback_queued,
            CallbackInvoked: self._callback_invoked,
            RuleWasBroken: self.rule_was_broken,
        }

    def causes_of_rule(self, record: Record, event: RuleWasBroken) -> list[int]:
        """See `Checker.causes_of_rule`; it may be a domain that somebody still uses."""
        domains = [domain for domain in self._asked if domain in event.text]
        inside = [s.step for s in self.history.open_sections() if s.domain in domains]
        causes = super().causes_of_rule(record, event)
        return [*causes, *self._asked.steps(*domains), *inside[:1]]

    def _section_ended(self, record: Record, event: SectionEnded) -> None:
        if not self._waits:
            return
        section = self.history.ending(record, event)
        for waits in self._waits.values():
            for wait in waits:
                if section in wait.inside:
                    wait.inside.remove(section)

    def _synchronize_began(self, record: Record, event: SynchronizeBegan) -> None:
        self._remember((event.domain, f"task {record.actor}"), record, event.domain)

    def _synchronize_ended(self, record: Record, event: SynchronizeEnded) -> None:
        self._judge((event.domain, f"task {record.actor}"), record, "synchronize")

    def _callback_queued(self, record: Record, event: CallbackQueued) -> None:
        self._remember((event.domain, event.callback), record, event.domain)

    def _callback_invoked(self, record: Record, event: CallbackInvoked) -> None:
        self._judge((event.domain, event.callback), record, event.callback)

    def _remember(self, key: tuple[str, str], record: Record, domain: str) -> None:
        inside = [s for s in self.history.open_sections() if s.domain == domain]
        wait = Wait(record, inside, bool(inside))
        self._asked.note(domain, record)
        self._waits.setdefault(key, []).append(wait)

    def _judge(self, key: tuple[str, str], record: Record, what: str) -> None:
        waits = self._waits.get(key)
        if not waits:
            return
        # Several callbacks may have one name: it is one of those that may be called.
        wait = next((each for each in waits if not each.inside), waits[0])
        waits.remove(wait)
        if not waits:
            del self._waits[key]
        self.exercised += wait.anybody
        for section in wait.inside:
            self.violate(
                record,
                f"{what}, asked for by {wait.asked.actor} in step {wait.asked.step}, is"
                f" over, but {section.actor} is still in the section of"
                f" {section.domain} that it entered in step {section.step} with index"
                f" {section.srcu_idx}",
                wait.asked.step,
                section.step,
            )
