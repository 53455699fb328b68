"""What became of the lines of a trace that made no call of the run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import attrs

from scenarios.trace_order import Overlap
from scenarios.traces.call import Trace, UnknownLines

SHOWN = 5
"""Kinds and lines that are named; the rest is counted."""


@attrs.frozen
class TraceAccount:
    """The lines of a trace that are not run.

    Attributes:
        other: Lines that were understood and are no update, by kind.
        unknown: Lines that were not understood.
        unreturned: Lines of updates whose answer the trace does not hold.
        made: Lines of those among them that must have taken effect, and are run.
        assumed: What the file does not hold and was made up.
        overlap: The calls that overlapped; None if none did.
    """

    other: dict[str, int]
    unknown: UnknownLines
    unreturned: tuple[int, ...]
    made: tuple[int, ...] = ()
    assumed: tuple[str, ...] = ()
    overlap: Overlap | None = None

    @classmethod
    def of(cls, trace: Trace, overlap: Overlap | None) -> TraceAccount:
        """The account of a trace."""
        made = () if overlap is None else overlap.order
        return cls(
            trace.other_lines,
            trace.unknown_lines,
            trace.unreturned,
            tuple(call.line for call in made if call.result is None),
            trace.assumed,
            overlap,
        )

    def others(self) -> str:
        """How many lines are no update, and of which kinds; empty if there are none."""
        count = sum(self.other.values())
        return f"{count:,} ({_most(self.other)})" if count else ""

    def notes(self) -> list[str]:
        """What the user should know: one line each, the first few lines named."""
        notes = []
        unknown = self.unknown
        if unknown.count:
            notes.append(
                f"{_lines(unknown.count)} not understood: {_most(unknown.by_why)}"
            )
            notes += [
                f"line {line.line}: {line.why}: {line.text}"
                for line in unknown.first[:SHOWN]
            ]
        left_out = [line for line in self.unreturned if line not in self.made]
        for lines, what in (
            (left_out, "left out"),
            (self.made, "made, as later answers tell"),
        ):
            if lines:
                count = len(lines)
                updates = "update has" if count == 1 else "updates have"
                are = "is" if count == 1 else "are"
                notes.append(
                    f"{count:,} {updates} no answer in the trace and {are} {what}:"
                    f" {_first(lines)}"
                )
        notes += self.assumed
        return notes

    def as_dict(self) -> dict[str, object]:
        """The same for JSON."""
        return {
            "other": self.other,
            "unknown": attrs.asdict(self.unknown),
            "unreturned": {
                "count": len(self.unreturned),
                "first": self.unreturned[:SHOWN],
            },
        }


def notes_of(accounts: Iterable[TraceAccount | None]) -> list[str]:
    """The notes of several VMs of one trace, each told once."""
    notes = [account.notes() for account in accounts if account is not None]
    return list(dict.fromkeys(itertools.chain(*notes)))


def _first(lines: Sequence[int]) -> str:
    """The first few lines, and how many there are more."""
    more = f" and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
    return ", ".join(f"line {line}" for line in lines[:SHOWN]) + more


def _lines(count: int) -> str:
    return "1 line was" if count == 1 else f"{count:,} lines were"


def _most(counts: dict[str, int]) -> str:
    """The most frequent kinds with their counts."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = [f"{kind} {count:,}" for kind, count in ranked[:SHOWN]]
    if len(ranked) > SHOWN:
        shown.append("...")
    return ", ".join(shown)
