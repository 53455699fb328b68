"""What became of the lines of a trace that made no call of the run."""

from __future__ import annotations

import attrs

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
    """

    other: dict[str, int]
    unknown: UnknownLines
    unreturned: tuple[int, ...]

    @classmethod
    def of(cls, trace: Trace) -> TraceAccount:
        """The account of a trace."""
        return cls(trace.other_lines, trace.unknown_lines, trace.unreturned)

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
        if self.unreturned:
            count = len(self.unreturned)
            first = ", ".join(f"line {line}" for line in self.unreturned[:SHOWN])
            more = f" and {count - SHOWN:,} more" if count > SHOWN else ""
            notes.append(
                f"{count:,} {'update has' if count == 1 else 'updates have'} no answer"
                f" in the trace and {'is' if count == 1 else 'are'} left out:"
                f" {first}{more}"
            )
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


def _lines(count: int) -> str:
    return "1 line was" if count == 1 else f"{count:,} lines were"


def _most(counts: dict[str, int]) -> str:
    """The most frequent kinds with their counts."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = [f"{kind} {count:,}" for kind, count in ranked[:SHOWN]]
    if len(ranked) > SHOWN:
        shown.append("...")
    return ", ".join(shown)
