"""No section that began before a grace period was asked for outlives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcu.trace import Event, Record
from rcu.tracepoints import (
    CallbackInvoked,
    CallbackQueued,
    RuleWasBroken,
    SynchronizeBegan,
    SynchronizeEnded,
)
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History, Section


class GracePeriod(Checker):
    """Remembers who was inside when somebody began to wait."""

    id = "grace-period"
    sentence = (
        "when synchronize returns, or a callback is called, every section that had"
        " begun before it was asked for has ended"
    )
    source = "Linux: synchronize_srcu, call_srcu, kernel/rcu/srcutree.c"
    invariants = ("I6",)

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._inside: dict[tuple[str, str], list[tuple[Record, list[Section]]]] = {}

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SynchronizeBegan: self._synchronize_began,
            SynchronizeEnded: self._synchronize_ended,
            CallbackQueued: self._callback_queued,
            CallbackInvoked: self._callback_invoked,
            RuleWasBroken: self.rule_was_broken,
        }

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
        self._inside.setdefault(key, []).append((record, inside))

    def _judge(self, key: tuple[str, str], record: Record, what: str) -> None:
        pending = self._inside.get(key)
        if not pending:
            return
        still_open = self.history.open_sections()
        # Several callbacks may have one name: it is one of those that may be called.
        place = next(
            (
                place
                for place, (_, inside) in enumerate(pending)
                if not any(section in still_open for section in inside)
            ),
            0,
        )
        asked, inside = pending.pop(place)
        self.exercised += bool(inside)
        for section in inside:
            if section in still_open:
                self.violate(
                    record,
                    f"{what}, asked for by {asked.actor} in step {asked.step}, is over,"
                    f" but {section.actor} is still in the section of {section.domain}"
                    f" that it entered in step {section.step} with index"
                    f" {section.srcu_idx}",
                )
