"""Locks, and waiting for grace periods, are nested in one order only.

A read section counts as holding its domain, and waiting for a grace period as acquiring
it. So a lock that is taken inside a section, and held while waiting for a grace period
of that domain, closes a circle even if no run has come to a deadlock yet.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from rcu.trace import Event, Record
from rcu.tracepoints import (
    LockAcquired,
    LockReleased,
    RuleWasBroken,
    SynchronizeBegan,
)
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History


class LockOrder(Checker):
    """Keeps who was acquired inside whom, and looks for a circle."""

    id = "lock-order"
    sentence = (
        "there is an order of all locks and domains in which every task acquires them;"
        " slots_lock is never acquired inside a read section of kvm->srcu"
    )
    source = "KVM: Documentation/virt/kvm/locking.rst"
    invariants = ("I17",)

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._held: dict[str, list[str]] = {}
        self._inside: dict[str, dict[str, Record]] = {}

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            LockAcquired: self._acquired,
            LockReleased: self._released,
            SynchronizeBegan: self._synchronize,
            RuleWasBroken: self.rule_was_broken,
        }

    def _acquired(self, record: Record, event: LockAcquired) -> None:
        if event.lock == "slots_lock":
            for section in self.history.holding(record.actor):
                if section.domain == "kvm->srcu":
                    text = "slots_lock was acquired in a section of kvm->srcu"
                    self.violate(record, text, section.step)
                    break
        self._nest(record, event.lock)
        self._held.setdefault(record.actor, []).append(event.lock)

    def _released(self, record: Record, event: LockReleased) -> None:
        held = self._held.get(record.actor, [])
        if event.lock in held:
            held.remove(event.lock)

    def _synchronize(self, record: Record, event: SynchronizeBegan) -> None:
        self._nest(record, event.domain)

    def _nest(self, record: Record, inner: str) -> None:
        domains = [section.domain for section in self.history.holding(record.actor)]
        for outer in (*self._held.get(record.actor, ()), *domains):
            self.exercised += 1
            known = self._inside.setdefault(outer, {})
            if inner in known:
                continue
            circle = self._path(inner, outer)
            known[inner] = record
            if circle:
                self._report(record, [outer, *circle])

    def _path(self, start: str, end: str) -> list[str]:
        """How ``end`` came to be acquired inside ``start``; empty if it never did."""
        paths = [[start]]
        seen = {start}
        for path in paths:
            if path[-1] == end:
                return path
            for inner in self._inside.get(path[-1], {}):
                if inner not in seen:
                    seen.add(inner)
                    paths.append([*path, inner])
        return []

    def _report(self, record: Record, circle: list[str]) -> None:
        links = []
        steps = self.history.taken.steps((record.actor, circle[0]))
        for outer, inner in itertools.pairwise(circle):
            at = self._inside[outer][inner]
            links.append(f"{inner} inside {outer} ({at.actor}, step {at.step})")
            steps.append(at.step)
        self.violate(record, f"the order has a circle: {'; '.join(links)}", *steps)
