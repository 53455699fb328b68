"""Counts what is in a log: how long things took, who waited, how old sets were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import attrs

POSSIBLE_AGE = 1
"""A set may be replaced once while a reader still has it: the next writer waits."""

# Widths are powers of two: 0, 1, 2 to 3, 4 to 7, ...
_WIDTH = "if({0} <= 0, 0, (floor(log2({0})) + 1)::INTEGER)"


def _lengths(view: str) -> str:
    return (
        f"SELECT {_WIDTH.format('steps')} AS width, count(*), min(steps), max(steps),"  # noqa: S608
        f" sum(steps)::HUGEINT FROM {view} WHERE steps IS NOT NULL GROUP BY width"
        " ORDER BY width"
    )


def _medians(view: str) -> str:
    return (
        "SELECT quantile_disc(steps, 0.5), quantile_disc(steps, 0.99),"  # noqa: S608
        f" count(*) FILTER (steps IS NULL) FROM {view}"
    )


QUESTIONS = {
    "sections": _lengths("sections"),
    "sections quantiles": _medians("sections"),
    "grace_periods": _lengths("grace_periods"),
    "grace_periods quantiles": _medians("grace_periods"),
    "readers": (
        "SELECT count(*), count(*) FILTER (readers > 0) FROM grace_periods"
        " WHERE ended_seq IS NOT NULL"
    ),
    "waits": (
        "SELECT waiter, reader, count(*), max(steps), coalesce(sum(steps), 0)::HUGEINT,"
        " count(*) FILTER (waited = false) FROM waits GROUP BY waiter, reader"
        " ORDER BY waiter, reader"
    ),
    "ages": "SELECT age, count(*) FROM set_reads GROUP BY age ORDER BY age",
    "swaps": (
        "SELECT count(*), (SELECT count(DISTINCT (r.as_id, s.number)) FROM"
        " (SELECT * FROM set_reads WHERE age > 0) AS r ASOF JOIN swaps AS s"
        " ON r.as_id = s.as_id AND r.seq < s.seq) FROM swaps"
    ),
    "locks": (
        "SELECT lock, count(*), max(steps), count(waited_for), max(waited_at_most)"
        " FROM locks GROUP BY lock ORDER BY lock"
    ),
    "lock waits": (
        "SELECT lock, actor, waited_for, count(*), max(waited_at_most) FROM locks"
        " WHERE waited_for IS NOT NULL GROUP BY ALL ORDER BY ALL"
    ),
    "stuck": (
        "SELECT task, waits_for, held_by FROM events WHERE event = 'task_stuck'"
        " ORDER BY seq"
    ),
}
"""What is asked, by name."""


@attrs.frozen
class Bin:
    """So many things took so long.

    Attributes:
        least: Steps, at least.
        most: Steps, at most.
        count: How many took as long.
    """

    least: int
    most: int
    count: int


@attrs.frozen
class Lengths:
    """How long things took, in steps.

    Attributes:
        count: How many have ended.
        unended: How many had not when the log ends.
        least: The shortest.
        median: Half of them took no longer.
        p99: 99 of 100 took no longer.
        most: The longest.
        mean: On average.
        bins: How many took about as long; each bin is twice as wide as the last.
    """

    count: int
    unended: int
    least: int | None
    median: int | None
    p99: int | None
    most: int | None
    mean: float | None
    bins: list[Bin]


@attrs.frozen
class Wait:
    """How often a writer waited for a reader.

    Attributes:
        waiter: Who synchronized.
        reader: Whose sections were open when it began.
        count: How many.
        longest: Steps from the call to the end of the section.
        steps: All of them together.
        not_waited_for: How many were open still when the wait was over: a violation.
    """

    waiter: str
    reader: str
    count: int
    longest: int | None
    steps: int
    not_waited_for: int


@attrs.frozen
class LockUse:
    """How a lock was used.

    Attributes:
        lock: Its name.
        acquired: How often somebody got it.
        longest_held: Steps.
        waited: How often somebody else gave it back after the last record of the task
            that then got it: it may have waited.
        waited_at_most: Steps between these two records, at most.
    """

    lock: str
    acquired: int
    longest_held: int | None
    waited: int
    waited_at_most: int | None


@attrs.frozen
class LockWait:
    """Who may have waited for whom at a lock.

    Attributes:
        lock: Its name.
        waiter: Who got it.
        holder: Who had it before.
        count: How often.
        at_most: Steps, at most.
    """

    lock: str
    waiter: str
    holder: str
    count: int
    at_most: int


@attrs.frozen
class Stuck:
    """A task that waited for good.

    Attributes:
        task: Its name.
        waits_for: The step that it could not make.
        held_by: Who held what it waited for; empty if nobody.
    """

    task: str
    waits_for: str
    held_by: str


@attrs.frozen
class Statistics:
    """What is in a log, counted.

    Attributes:
        sections: Lengths of read sections.
        grace_periods: Lengths of grace periods.
        grace_periods_with_readers: How many began while a section was open; without
            any, nothing was tried.
        waits: Who synchronized while whose section was open.
        ages: How often readers had a set that, when their section ended, had been
            replaced so many times.
        swaps: How many sets were published.
        swaps_under_readers: Of these, how many while a reader held the set before.
        locks: How each lock was used.
        lock_waits: Who may have waited for whom at a lock.
        stuck: Tasks that waited for good.
    """

    sections: Lengths
    grace_periods: Lengths
    grace_periods_with_readers: int
    waits: list[Wait]
    ages: dict[int, int]
    swaps: int
    swaps_under_readers: int
    locks: list[LockUse]
    lock_waits: list[LockWait]
    stuck: list[Stuck]

    @property
    def impossible_ages(self) -> int:
        """How many reads saw a set that was replaced twice, or not published."""
        return sum(n for age, n in self.ages.items() if not 0 <= age <= POSSIBLE_AGE)

    def as_dict(self) -> dict[str, Any]:
        """What ``--format json`` prints."""
        ages = {str(age): count for age, count in self.ages.items()}
        return attrs.asdict(self) | {
            "ages": ages,
            "impossible_ages": self.impossible_ages,
        }


class Rows(Protocol):
    """Holds the rows of an answer."""

    def rows(self) -> Iterable[tuple[Any, ...]]:
        """Yield them."""
        ...


class Asked(Protocol):
    """Answers questions; see `scenarios.logbook.query.Database`."""

    def ask(self, sql: str) -> Rows:
        """Answer one of `QUESTIONS`."""
        ...


def statistics(log: Asked) -> Statistics:
    """Count what is in a log."""
    found = {name: list(log.ask(sql).rows()) for name, sql in QUESTIONS.items()}
    ((periods, with_readers),) = found["readers"]
    ((swaps, under_readers),) = found["swaps"]
    assert periods >= with_readers
    return Statistics(
        sections=_as_lengths(found["sections"], found["sections quantiles"]),
        grace_periods=_as_lengths(
            found["grace_periods"], found["grace_periods quantiles"]
        ),
        grace_periods_with_readers=with_readers,
        waits=[Wait(*row) for row in found["waits"]],
        ages=dict(found["ages"]),
        swaps=swaps,
        swaps_under_readers=under_readers,
        locks=[LockUse(*row) for row in found["locks"]],
        lock_waits=[LockWait(*row) for row in found["lock waits"]],
        stuck=[Stuck(*row) for row in found["stuck"]],
    )


def _as_lengths(
    rows: list[tuple[Any, ...]], quantiles: list[tuple[Any, ...]]
) -> Lengths:
    ((median, p99, unended),) = quantiles
    counted = {width: count for width, count, *_ in rows}
    bins = []
    if counted:
        bins = [
            Bin(*_bounds(width), counted.get(width, 0))
            for width in range(min(counted), max(counted) + 1)
        ]
    count = sum(counted.values())
    return Lengths(
        count=count,
        unended=unended,
        least=min((row[2] for row in rows), default=None),
        median=median,
        p99=p99,
        most=max((row[3] for row in rows), default=None),
        mean=round(sum(row[4] for row in rows) / count, 1) if count else None,
        bins=bins,
    )


def _bounds(width: int) -> tuple[int, int]:
    """Least and most of the numbers that have so many binary digits."""
    return (1 << width) >> 1, (1 << width) - 1
