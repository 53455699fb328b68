"""Common questions about a log, without SQL."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import attrs

from rcu.trace import EVENT_TYPES
from scenarios.errors import InputError

CONTEXT = 5


@attrs.frozen(kw_only=True)
class Short:
    """Which events to show; all of them unless something is said.

    Attributes:
        events: Only of these kinds.
        actors: Only of these tasks.
        around: Only the record of this number, and those around it.
        context: So many before and behind it.
        since: Only from this step on.
        until: Only up to this step.
    """

    events: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    around: int | None = None
    context: int = CONTEXT
    since: int | None = None
    until: int | None = None


def question_of(short: Short) -> tuple[str, list[object]]:
    """The SQL for it, and what stands for its parameters.

    Raises:
        InputError: There is no such event.
    """
    for name in short.events:
        if name not in EVENT_TYPES:
            raise InputError(_no_such(name, EVENT_TYPES))
    given: list[object] = []
    wanted: list[str] = []

    def must(condition: str, value: object) -> None:
        given.append(value)
        wanted.append(condition.replace("?", f"${len(given)}"))

    if short.events:
        must("list_contains(?, event)", list(short.events))
    if short.actors:
        must("list_contains(?, actor)", list(short.actors))
    if short.around is not None:
        must("seq >= ?", short.around - short.context)
        must("seq <= ?", short.around + short.context)
    if short.since is not None:
        must("step >= ?", short.since)
    if short.until is not None:
        must("step <= ?", short.until)
    where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
    return f"SELECT * FROM events{where} ORDER BY seq", given  # noqa: S608


def _no_such(name: str, known: Sequence[str] | dict[str, type]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "see docs/reference/log-schema.md"
    return f"--event {name}: there is no such event; {hint}"
