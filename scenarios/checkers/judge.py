"""All checkers over one run, and the verdict."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import Any, ClassVar

import attrs

from memslots.tracepoints import RegionReturned
from rcu.schedule.report import Ending
from rcu.trace import Event, Record
from rcu.tracepoints import GracePeriodEnded, RuleWasBroken
from scenarios.checkers.arch_data_kept import ArchDataKept
from scenarios.checkers.checker import Checker, Violation
from scenarios.checkers.consistent_set import ConsistentSet
from scenarios.checkers.deadlock import Deadlock
from scenarios.checkers.freed_once import FreedOnce
from scenarios.checkers.generation_unique import GenerationUnique
from scenarios.checkers.grace_period import GracePeriod
from scenarios.checkers.guest_sees import GuestSees
from scenarios.checkers.history import History
from scenarios.checkers.invalid_is_seen import InvalidIsSeen
from scenarios.checkers.lock_order import LockOrder
from scenarios.checkers.mmio_cache_fresh import MmioCacheFresh
from scenarios.checkers.no_dirty_page_lost import NoDirtyPageLost
from scenarios.checkers.no_stale_translation import NoStaleTranslation
from scenarios.checkers.no_use_after_free import NoUseAfterFree
from scenarios.checkers.notifier_balanced import NotifierBalanced
from scenarios.checkers.page_count import PageCount
from scenarios.checkers.results_match import Mismatch, ResultsMatch
from scenarios.checkers.retired_set_quiet import RetiredSetQuiet
from scenarios.checkers.sets_converge import SetsConverge
from scenarios.tracepoints import RuleHeld

CHECKERS: dict[str, type[Checker]] = {
    checker.id: checker
    for checker in (
        ConsistentSet,
        NoUseAfterFree,
        GracePeriod,
        SetsConverge,
        RetiredSetQuiet,
        GenerationUnique,
        LockOrder,
        Deadlock,
        ResultsMatch,
        GuestSees,
        FreedOnce,
        PageCount,
        ArchDataKept,
        InvalidIsSeen,
        NoStaleTranslation,
        MmioCacheFresh,
        NotifierBalanced,
        NoDirtyPageLost,
    )
}
"""Every checker by its id."""


class Verdict(Enum):
    """What a run has shown."""

    HOLDS = "holds"
    VIOLATION = "violation"
    INCONCLUSIVE = "inconclusive"


@attrs.frozen
class CheckerResult:
    """What one checker has seen.

    Attributes:
        exercised: How often its rule was put to the test.
        violations: How often it was broken.
    """

    exercised: int
    violations: int


@attrs.frozen
class Judgement:
    """What all checkers have seen.

    Attributes:
        verdict: What that means.
        reasons: Why it shows less than it seems to; without them, and without
            violations, it holds.
        checkers: By id.
        violations: The first of every checker, by step.
        mismatches: Calls with another result than the known one.
        calls: How many calls returned.
        read_sections: How many read sections ended.
        grace_periods: How many grace periods ended.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    checkers: dict[str, CheckerResult]
    violations: tuple[Violation, ...]
    mismatches: tuple[Mismatch, ...]
    calls: int
    read_sections: int
    grace_periods: int


def doubts_about(ending: str, *, violated: bool = False) -> list[str]:
    """Why a run that ended like this shows less than a whole one.

    Args:
        ending: See `Ending`.
        violated: Whether it shows a violation, which was all it was to show if it ends
            where its schedule does.
    """
    whole = {Ending.COMPLETED.value, Ending.FAILED.value, Ending.DEADLOCK.value}
    if ending in whole or (violated and ending == Ending.STOPPED.value):
        return []
    return [f"the run is not whole: {ending}"]


class Judge:
    """Reads the records of one run and gives a verdict.

    Its method `read` is a sink of a trace.

    Args:
        must_exercise: Ids of the checkers without which the run means nothing.
        without: Ids of checkers that do not look.
    """

    not_state: ClassVar[tuple[str, ...]] = ("_calls", "_grace_periods")

    def __init__(
        self, must_exercise: Iterable[str] = (), without: Collection[str] = ()
    ) -> None:
        self._must_exercise = tuple(must_exercise)
        self.history = History()
        self._results = ResultsMatch(self.history)
        self._checkers = {
            id_: self._results if kind is ResultsMatch else kind(self.history)
            for id_, kind in CHECKERS.items()
        }
        self._calls = 0
        self._grace_periods = 0
        self._of_no_checker: list[Violation] = []
        self._table: dict[type[Event], list[Callable[[Record, Any], None]]] = {}
        for id_, checker in self._checkers.items():
            if id_ not in without:
                self._add(checker.handlers())
        self._add({RegionReturned: self._returned, GracePeriodEnded: self._ended})
        self._add({RuleWasBroken: self._rule_was_broken, RuleHeld: self._rule_held})
        # Last, so that checkers see the state before the event.
        self._add(self.history.handlers)

    def _add(
        self, handlers: Mapping[type[Event], Callable[[Record, Any], None]]
    ) -> None:
        for kind, handler in handlers.items():
            self._table.setdefault(kind, []).append(handler)

    def read(self, records: Iterable[Record]) -> None:
        """Let every checker see the records."""
        handlers = self._table.get
        for record in records:
            event = record[2]  # quicker than by its name
            for handler in handlers(type(event), ()):
                handler(record, event)

    def listens_to(self, kind: type[Event]) -> bool:
        """Whether any checker reads events of this kind."""
        return kind in self._table

    def _returned(self, record: Record, event: RegionReturned) -> None:
        self._calls += 1

    def _ended(self, record: Record, event: GracePeriodEnded) -> None:
        self._grace_periods += 1

    def _rule_was_broken(self, record: Record, event: RuleWasBroken) -> None:
        """Keep a finding of somebody's own part, whose rule no checker here knows."""
        if event.checker not in self._checkers:
            seen = f"{event.rule}: {event.text}"
            why = f"the model broke a rule of its own, {event.checker}"
            self._of_no_checker.append(
                Violation(event.checker, record.step, record.actor, seen, why)
            )

    def _rule_held(self, record: Record, event: RuleHeld) -> None:
        self._checkers[event.checker].exercised += 1

    @property
    def violated(self) -> bool:
        """Whether any rule was broken so far."""
        return bool(self._of_no_checker) or any(
            checker.count for checker in self._checkers.values()
        )

    def conclude(self, doubts: Iterable[str] = ()) -> Judgement:
        """Give the verdict.

        Args:
            doubts: Why the run shows less than it seems to: it was cut short, ...
        """
        kept = [checker.violations for checker in self._checkers.values()]
        violations = sorted(
            itertools.chain(*kept, self._of_no_checker),
            key=lambda violation: violation.step,
        )
        reasons = [*doubts]
        if self._results.doubt and self._results.mismatches:
            count = len(self._results.mismatches)
            differ = "1 result differs" if count == 1 else f"{count} results differ"
            reasons.append(f"{differ}, but {self._results.doubt}")
        reasons += [
            f"{id_} was not exercised"
            for id_ in self._must_exercise
            if not self._checkers[id_].exercised
        ]
        if not any(checker.exercised for checker in self._checkers.values()):
            reasons.append("no checker was exercised")
        verdict = Verdict.HOLDS
        if violations:
            verdict = Verdict.VIOLATION
        elif reasons:
            verdict = Verdict.INCONCLUSIVE
        return Judgement(
            verdict=verdict,
            reasons=tuple(reasons),
            checkers={
                id_: CheckerResult(checker.exercised, checker.count)
                for id_, checker in self._checkers.items()
            },
            violations=tuple(violations),
            mismatches=tuple(self._results.mismatches),
            calls=self._calls,
            read_sections=self.history.sections_ended,
            grace_periods=self._grace_periods,
        )
