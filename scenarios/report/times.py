"""When each record happens on an axis where no two happen at once."""

from __future__ import annotations

from scenarios.report.picture import Picture

STEP = 1_000
"""Nanoseconds of a step."""


class Times:
    """A time for each record, ascending; a step is a microsecond.

    Args:
        picture: Whose records.
    """

    def __init__(self, picture: Picture) -> None:
        self._first = max(0, picture.first - 1) * STEP
        self._at: dict[int, int] = {}
        now = self._first
        for entry in picture.entries:
            now = max(entry.step * STEP, now + 1)
            self._at[entry.seq] = now
        self.end = max(now + 1, (picture.last + 1) * STEP)

    def of(self, seq: int | None) -> int:
        """When a record happens; one before the picture at its beginning."""
        if seq is None:
            return self.end
        return self._at.get(seq, self._first)
