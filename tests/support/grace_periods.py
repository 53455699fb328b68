"""Judge from the events whether a grace period waited for whom it had to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from rcu.schedule.report import Ending
from rcu.trace import Record
from rcu.tracepoints import (
    SectionBegan,
    SectionEnded,
    SynchronizeBegan,
    SynchronizeEnded,
)
from tests.support.running import Run

T = TypeVar("T")

Section = tuple[str, int]
"""A task and how many sections of the domain it had begun before this one."""


def overlooked(records: Iterable[Record], domain: str) -> list[Section]:
    """Sections that began before a synchronize and outlived it; no order but time.

    A task leaves its innermost section first. That suffices: which of two nested
    sections is left makes no difference to whether the outer one was waited for.
    """
    begun: Counter[str] = Counter()
    inside: dict[str, list[Section]] = {}
    to_wait_for: dict[str, set[Section]] = {}
    found: list[Section] = []
    for _, actor, event in records:
        match event:
            case SectionBegan(domain=at) if at == domain:
                inside.setdefault(actor, []).append((actor, begun[actor]))
                begun[actor] += 1
            case SectionEnded(domain=at) if at == domain:
                inside[actor].pop()
            case SynchronizeBegan(domain=at) if at == domain:
                to_wait_for[actor] = {s for open_ in inside.values() for s in open_}
            case SynchronizeEnded(domain=at) if at == domain:
                still = {s for open_ in inside.values() for s in open_}
                found += sorted(to_wait_for[actor] & still)
    return found


def verdict(run: Run[T]) -> str:
    """One word for a run whose domain is called ``srcu``."""
    if run.report.ending is Ending.FAILED:
        return type(run.report.error).__name__
    if overlooked(run.records, "srcu"):
        return "too short"
    return "hang" if run.report.ending is Ending.DEADLOCK else run.report.ending.value
