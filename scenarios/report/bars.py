"""What lasts: bars that are open, and those that are over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcu.trace import Event
from scenarios.printable import printable
from scenarios.report.picture import Span

Handler = Callable[[int, int, str, Any], None]
"""Takes seq, step, the task's name, and the event."""

Handlers = dict[type[Event], Handler]

LONGEST_NAME = 60
"""Characters of a name or a label that are shown."""


class Bars:
    """Keeps the bars of all lanes.

    Attributes:
        keeping: Whether what is over is kept; before the part of a run that is shown,
            only what is open matters.
        first: The first step that is shown.
        over: Bars that have ended.
        kinds: What kind of lane has a name, as far as it is known.
    """

    def __init__(self) -> None:
        self.keeping = False
        self.first = 0
        self.over: list[Span] = []
        self.kinds: dict[str, str] = {}
        self._open: dict[tuple[object, ...], list[Span]] = {}

    def start(self, key: tuple[object, ...], span: Span) -> None:
        """Begin a bar that will be ended by its key."""
        self._open.setdefault(key, []).append(span)

    def close(self, key: tuple[object, ...], seq: int, step: int) -> Span | None:
        """End the innermost open bar of a key; None if there is none."""
        stack = self._open.get(key)
        if not stack:
            return None
        span = stack.pop()
        if not stack:
            del self._open[key]
        return self.end(span, seq, step)

    def end(self, span: Span, seq: int, step: int) -> Span:
        """End a bar."""
        span.end, span.end_seq = step, seq
        if self.keeping:
            self.over.append(span)
        return span

    def still_open(self) -> list[Span]:
        """Bars that have a key and no end."""
        return [span for stack in self._open.values() for span in stack]


def short(text: str) -> str:
    """A name from the log, fit to be shown."""
    if len(text) <= LONGEST_NAME and text.isprintable():
        return text  # as nearly always
    return printable(text, LONGEST_NAME)
