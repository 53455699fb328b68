"""Which records of a step make a violation."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from memslots.tracepoints import AddressSpaceMade
from rcu.trace import Record
from scenarios.checkers.checker import Violation
from scenarios.checkers.history import History
from scenarios.checkers.judge import CHECKERS
from scenarios.report.sentences import sentence
from scenarios.tracepoints import ResultCompared

_WORD = re.compile(r"[\w#-]*[0-9][\w#-]*|[\w-]{4,}")

_NO_CAUSE = (AddressSpaceMade, ResultCompared)


@attrs.frozen
class Numbered:
    """A record with its place in the log.

    Attributes:
        seq: Number of its line; that of the header is 0.
        record: The record.
    """

    seq: int
    record: Record


def telling(violation: Violation, records: Iterable[Numbered]) -> Numbered | None:
    """The record of a step that made the difference; None if the step has none.

    It is one that the checker reads, and of these the one that says most of what the
    checker has said.

    Args:
        violation: What a checker has found.
        records: All of one step.
    """
    history = History()
    checker = CHECKERS.get(violation.checker)
    kinds = {*history.handlers, *(checker(history).handlers() if checker else ())}
    every = [each for each in records if not isinstance(each.record.event, _NO_CAUSE)]
    heard = [each for each in every if type(each.record.event) in kinds] or every
    said = {*_WORD.findall(violation.seen)}
    return max(
        _last_words(heard), key=lambda each: _shared(said, each.record), default=None
    )


def _last_words(records: Iterable[Numbered]) -> list[Numbered]:
    """The last of those that begin alike, in order: it says how things are now."""
    last: dict[tuple[str, ...], Numbered] = {}
    for each in records:
        last[tuple(sentence(each.record).split()[:4])] = each
    return list(last.values())


def _shared(said: set[str], record: Record) -> int:
    """How many words a record has in common with what was said."""
    return len(said & {*_WORD.findall(sentence(record))})
