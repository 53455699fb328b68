"""Which row of its lane a bar is in, so that no two of a row overlap."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from scenarios.report.picture import Lane, Span

BANDS = {
    "call": 0,
    "section": 1,
    "synchronize": 1,
    "grace-period": 1,
    "invalidation": 2,
    "zap": 2,
    "lock": 3,
    "lock-wait": 3,
    "set": 4,
}
"""From top to bottom; bars of one band share rows where they can."""

NEVER = 1 << 62


def put_in_rows(lanes: Sequence[Lane], spans: Sequence[Span]) -> None:
    """Give each bar the first row of its band that is free, and each lane its rows.

    Args:
        lanes: All lanes.
        spans: All bars, sorted by their beginning.
    """
    by_lane: dict[tuple[int, int], list[Span]] = {}
    for span in spans:
        by_lane.setdefault((span.lane, BANDS[span.kind]), []).append(span)
    for (lane, band), group in sorted(by_lane.items()):
        first = lanes[lane].rows
        rows = _rows_of_sets(group) if band == BANDS["set"] else _rows(group)
        for span, row in zip(group, rows, strict=True):
            span.row = first + row
        lanes[lane].rows = first + max(rows) + 1


def _rows(spans: Sequence[Span]) -> list[int]:
    return _first_fit([(span.seq, _end(span)) for span in spans])


def _rows_of_sets(spans: Sequence[Span]) -> list[int]:
    """A set keeps its row as long as there is anything of it."""
    lives: dict[int, tuple[int, int]] = {}
    for span in spans:
        first, last = lives.get(span.set or 0, (span.seq, 0))
        lives[span.set or 0] = first, max(last, _end(span))
    numbers = sorted(lives)
    rows = _first_fit([lives[number] for number in numbers])
    row_of = dict(zip(numbers, rows, strict=True))
    return [row_of[span.set or 0] for span in spans]


def _first_fit(lives: Sequence[tuple[int, int]]) -> list[int]:
    free_from: list[int] = []
    rows = []
    for start, end in lives:
        for row in itertools.count():
            if row == len(free_from):
                free_from.append(0)
            if free_from[row] <= start:
                break
        free_from[row] = end
        rows.append(row)
    return rows


def _end(span: Span) -> int:
    return NEVER if span.end_seq is None else span.end_seq
