"""Which records of a run are drawn: what matters of a long one, in constant memory."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

import attrs

from rcu.trace import Record
from scenarios.errors import InputError
from scenarios.report.drawing import Drawing, Drawn

BEFORE = 3 / 4
"""How much of a window lies before what matters."""


@attrs.frozen
class Wanted:
    """What part of a run is to be shown.

    Attributes:
        first: First step; None for what matters.
        last: Last step; None for what matters.
        most: So many events at most.
    """

    first: int | None = None
    last: int | None = None
    most: int = 15_000

    def __attrs_post_init__(self) -> None:
        """Refuse what shows nothing.

        Raises:
            InputError: The text says what is wrong.
        """
        if self.most < 1:
            raise InputError(f"at least 1 event must be shown, not {self.most}")
        if None not in {self.first, self.last} and (self.first or 0) > (self.last or 0):
            raise InputError(
                f"the first step, {self.first}, must not be after the last, {self.last}"
            )


class Window:
    """Takes all records of a run and keeps those that are drawn.

    Without steps that are asked for, these are the ones around the first violation, or
    the first of the run if there is none. A record that falls out at the front still
    changes what is known to be open.

    Args:
        wanted: What is to be shown.
        violation: Tells the step of the first violation so far; None if there is none.
        tasks: Names of the tasks, in the order in which they are to be shown.

    Attributes:
        events: How many records there were.
        steps: The step of the last.
    """

    def __init__(
        self,
        wanted: Wanted,
        violation: Callable[[], int | None],
        tasks: Iterable[str] = (),
    ) -> None:
        self.events = 0
        self.steps = 0
        self._wanted = wanted
        self._violation = violation
        self._tasks = tuple(tasks)
        self._drawing = Drawing(self._tasks)
        self._folded = 0
        self._kept: list[Record] = []
        self._head: list[Record] = []
        self._found: int | None = None
        self._full = False

    def read(self, records: Sequence[Record]) -> None:
        """Take the next records; whoever judges them must have done so."""
        if not records:
            return
        self.events += len(records)
        self.steps = records[-1].step
        if self._full:
            return
        if self._wanted.first is not None or self._wanted.last is not None:
            self._read_asked_for(records)
        else:
            self._read_around(records)

    def drawn(self) -> tuple[Drawn, str]:
        """What is to be seen, and why just this.

        Raises:
            InputError: There is no event in the steps that were asked for, or one
                contradicts those before it.
        """
        most = self._wanted.most
        if self._asked_for:
            chosen = "as asked for"
            if self._wanted.first is None:
                self._fold(len(self._kept) - most)
        elif self._found is None:
            chosen = "the first of the run"
            if self._folded or len(self._kept) > most:
                self._drawing = Drawing(self._tasks)
                self._folded, self._kept = 0, self._head
        else:
            chosen = f"around the first violation, in step {self._found:,}"
            self._fold(min(self._front(self._found), len(self._kept) - most))
        kept = self._kept[:most]
        if not kept and self._asked_for:
            first, last = self._wanted.first, self._wanted.last
            steps = f"{first or 0} to {'the end' if last is None else last}"
            raise InputError(f"no event in steps {steps}; the run has {self.steps:,}")
        self._drawing.begin(kept[0].step if kept else 0)
        self._draw(kept, self._folded)
        return self._drawing.drawn(), chosen

    @property
    def _asked_for(self) -> bool:
        return self._wanted.first is not None or self._wanted.last is not None

    def _read_asked_for(self, records: Sequence[Record]) -> None:
        first, last = self._wanted.first or 0, self._wanted.last
        early = list(itertools.takewhile(lambda record: record.step < first, records))
        if early:
            self._draw(early, self._folded)
            self._folded += len(early)
        self._kept += records[len(early) :]
        if last is not None and self._kept and self._kept[-1].step > last:
            self._kept = [record for record in self._kept if record.step <= last]
            self._full = True
        most = self._wanted.most
        if self._wanted.first is not None:
            self._full = self._full or len(self._kept) >= most
        elif len(self._kept) > 2 * most:
            self._fold(len(self._kept) - most)

    def _read_around(self, records: Sequence[Record]) -> None:
        most = self._wanted.most
        if len(self._head) < most:
            self._head += records[: most - len(self._head)]
        self._kept += records
        if self._found is None:
            self._found = self._violation()
            if self._found is None and len(self._kept) > 2 * most:
                self._fold(len(self._kept) - most)
        if self._found is not None:
            self._fold(self._place(self._found) - most)
            self._full = len(self._kept) >= self._front(self._found) + most

    def _place(self, step: int) -> int:
        """How many of the kept records come before a step."""
        return bisect_left(self._kept, step, key=lambda record: record.step)

    def _front(self, step: int) -> int:
        """How many of them need not be shown."""
        return max(0, self._place(step) - int(self._wanted.most * BEFORE))

    def _fold(self, count: int) -> None:
        """Let the first records change what is open, and forget them."""
        if count > 0:
            self._draw(self._kept[:count], self._folded)
            self._folded += count
            del self._kept[:count]

    def _draw(self, records: Iterable[Record], before: int) -> None:
        read = self._drawing.read
        seq = before
        try:
            for seq, record in enumerate(records, before + 1):
                read(seq, record)
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise InputError(
                f"the event of line {seq + 1} contradicts those before it: {error!r}"
            ) from error
