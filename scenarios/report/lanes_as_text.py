"""The picture as lines of text: a column a task, a line an event."""

from __future__ import annotations

from collections.abc import Iterator

from scenarios.report.picture import Entry, Picture, Span
from scenarios.report.words import words

MOST_COLUMNS = 40
"""Tasks that have a column; events of others are told without one."""

LEGEND = (
    "0 1: in a read section, holding that set; ': in one, holding none yet;"
    " L: has a lock; w: waits for a grace period; G: a grace period runs;"
    " i: an invalidation is under way; c: in a call; *: whose step it is;"
    " ===: a set is published"
)

_SIGNS = {
    "invalidation": "i",
    "zap": "i",
    "synchronize": "w",
    "lock": "L",
    "grace-period": "G",
    "call": "c",
    "lock-wait": ".",
}
"""Of what is under way at once, the first is shown; a section goes before all."""


def render(picture: Picture) -> str:
    """The text of a picture."""
    return "".join(f"{line.rstrip()}\n" for line in _lines(picture))


def _lines(picture: Picture) -> Iterator[str]:
    yield f"{picture.title}: {picture.verdict}"
    if picture.notice:
        yield picture.notice
    yield ""
    lanes = [
        number
        for number, lane in enumerate(picture.lanes)
        if lane.kind not in {"ranks", "sets", "setup"}
    ][:MOST_COLUMNS]
    width = max(len(f"{picture.last:,}"), 4)
    for place, lane in enumerate(lanes):
        bars = " ".join("|" * place)
        gap = " " if place else ""
        yield f"{'':{width}}  {bars}{gap}+- {picture.lanes[lane].name}"
    head = " ".join("|" * len(lanes))
    yield f"{'step':>{width}}  {head}"
    columns = _Columns(picture, lanes)
    swaps = {swap.seq for swap in picture.swaps}
    causes = {step for flag in picture.flags[:1] for step in flag.causes}
    for place, entry in enumerate(picture.entries):
        drawn = columns.at(entry)
        if entry.seq in swaps:
            drawn = drawn.replace(" ", "=")
        name = picture.lanes[entry.lane].name
        mark = " (a cause of it)" if entry.step in causes else ""
        yield f"{entry.step:>{width},}  {drawn}  {name} {words(entry.event)}{mark}"
        for flag in picture.flags_behind(place):
            yield f"{'!!!':>{width}}  {flag.checker}: {flag.seen}"
    yield ""
    yield LEGEND


class _Columns:
    """What each task is in, record by record."""

    def __init__(self, picture: Picture, lanes: list[int]) -> None:
        self._lanes = lanes
        self._spans = [span for span in picture.spans if span.lane in lanes]
        self._next = 0
        self._open: list[Span] = []

    def at(self, entry: Entry) -> str:
        """The columns of a record."""
        while (
            self._next < len(self._spans) and self._spans[self._next].seq <= entry.seq
        ):
            self._open.append(self._spans[self._next])
            self._next += 1
        self._open = [
            span
            for span in self._open
            if span.end_seq is None or span.end_seq > entry.seq
        ]
        signs = dict.fromkeys(self._lanes, "\N{MIDDLE DOT}")
        ranks = dict.fromkeys(self._lanes, len(_SIGNS))
        for span in self._open:
            rank, sign = self._sign(span, entry.step)
            if rank < ranks[span.lane]:
                ranks[span.lane], signs[span.lane] = rank, sign
        drawn = " ".join(signs[lane] for lane in self._lanes)
        if entry.lane in self._lanes:
            place = 2 * self._lanes.index(entry.lane) + 1
            drawn = f"{drawn} "[:place] + "*" + f"{drawn} "[place + 1 :]
        return drawn

    @staticmethod
    def _sign(span: Span, step: int) -> tuple[int, str]:
        if span.kind != "section":
            return list(_SIGNS).index(span.kind), _SIGNS[span.kind]
        held = [number for at, _, number in span.held if at <= step]
        return -1, (str(held[-1] % 10) if held else "'")
