"""Judges a log from the log alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from rcu.schedule.report import Ending
from scenarios.checkers.judge import CHECKERS, Judge, Judgement, doubts_about
from scenarios.errors import InputError
from scenarios.logbook.reader import LogReader


def check_log(
    path: Path, on_progress: Callable[[int], None] | None = None
) -> Judgement:
    """Let every checker read a log.

    Args:
        path: The log, also gzipped; ``-`` is standard input.
        on_progress: Is told now and then how many lines have been judged.

    Raises:
        InputError: It cannot be read, is no log, or is one of another version.
    """
    reader = LogReader(path, on_progress)
    records = reader.records()
    first = [*itertools.islice(records, 1)]  # it follows the header
    judge = Judge(_must_exercise(reader))
    try:
        judge.read(first)
        judge.read(records)
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{reader.name}:{reader.lines}: the event contradicts those before it:"
            f" {error!r}"
        ) from error
    return judge.conclude(_doubts(reader, judge))


def _doubts(reader: LogReader, judge: Judge) -> list[str]:
    if not reader.ending:
        return [f"the log is cut off after line {reader.lines}"]
    if reader.ending != Ending.COMPLETED.value and not judge.violated:
        return [f"the run is not whole: {reader.ending}"]
    return doubts_about(reader.ending, violated=judge.violated)


def _must_exercise(reader: LogReader) -> tuple[str, ...]:
    wanted = reader.header.get("must_exercise")
    if not isinstance(wanted, list):
        raise InputError(
            f"{reader.name}:1: must_exercise must be a list, got {wanted!r}"
        )
    for id_ in wanted:
        if not isinstance(id_, str) or id_ not in CHECKERS:
            raise InputError(f"{reader.name}:1: unknown checker {id_!r}")
    return tuple(wanted)
