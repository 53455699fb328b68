"""The picture as one SVG: for a page, a notebook, or a slide."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from html import escape

from scenarios.report.picture import Picture, Span
from scenarios.report.words import GROUP_OF, words

LABEL, ROW, GAP, AXIS, DOTS = 150, 15, 3, 40, 9
NARROWEST, WIDEST = 640, 12_000
PER_STEP = 7
"""Pixels of a step, as long as that is not too wide."""

CHARACTER = 6.1
"""Pixels of a character, roughly."""

STYLE = """
svg{--paper:#fff;--ink:#1c2127;--quiet:#5b6570;--line:#d6dbe1;--s0:#2f6fd0;--s1:#c8710a;
--s2:#3b8a4f;--s3:#9146b8;--bad:#c2162b;--cause:#a35c00;--gp:#8350ad;--lock:#4c8b7c;
--other:#a9b2bc;font:11px system-ui,sans-serif;background:var(--paper)}
@media(prefers-color-scheme:dark){svg{--paper:#14171c;--ink:#e3e7ec;--quiet:#98a3af;
--line:#343c46;--s0:#5b9bff;--s1:#f0a13c;--s2:#62c17b;--s3:#c48be6;--bad:#ff6b78;
--cause:#ffb84d;--gp:#b58ce0;--lock:#5fae9c;--other:#5c6772}}
text{fill:var(--ink)}.q{fill:var(--quiet)}.l{stroke:var(--line)}
.bar{fill-opacity:.25;fill:var(--other);stroke:var(--other)}
.lock,.lock-wait{fill:var(--lock);stroke:var(--lock)}
.grace-period,.synchronize{fill:var(--gp);stroke:var(--gp)}
.lock-wait,.synchronize{fill:none;stroke-dasharray:4 2}
.invalidation,.zap{fill:var(--bad);stroke:var(--bad)}
.f0{fill:var(--s0);stroke:var(--s0)}.f1{fill:var(--s1);stroke:var(--s1)}
.f2{fill:var(--s2);stroke:var(--s2)}.f3{fill:var(--s3);stroke:var(--s3)}
.held{fill-opacity:.75;stroke:none}.active{fill-opacity:.75}.dot{fill:var(--quiet)}
.swap{stroke-width:2;stroke-opacity:.7}.bad{stroke:var(--bad);stroke-width:2.5}
.cause{stroke:var(--cause);stroke-width:2;stroke-dasharray:2 3}
.arrow{fill:none;stroke:var(--gp);stroke-width:1.3}
.not{stroke:var(--bad);stroke-dasharray:4 2}.tag{fill:var(--bad);font-weight:700}
.tag-cause{fill:var(--cause);font-weight:700}
"""


def render(picture: Picture) -> str:
    """The SVG of a picture."""
    return "".join(_Canvas(picture).parts())


class _Canvas:
    """Where everything is."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        steps = picture.last - picture.first + 1
        self.width = min(max(steps * PER_STEP, NARROWEST), WIDEST)
        self.scale = self.width / (steps + 1)
        self.tops: list[int] = []
        y = AXIS
        for lane in picture.lanes:
            self.tops.append(y)
            dots = 0 if lane.kind in {"sets", "ranks"} else DOTS
            counts = 2 * ROW if lane.kind == "ranks" else 0
            rows = lane.rows * (ROW + GAP)
            y += max(rows + dots + counts + 2 * GAP, ROW + 2 * GAP)
        self.height = y

    def x(self, step: int) -> float:
        inside = min(max(step, self.picture.first - 1), self.picture.last + 1)
        return round(LABEL + (inside - self.picture.first + 0.5) * self.scale, 1)

    def y(self, span: Span) -> int:
        return self.tops[span.lane] + GAP + span.row * (ROW + GAP)

    def end(self, span: Span) -> float:
        last = self.picture.last + 1 if span.end is None else span.end
        return max(self.x(last), self.x(span.start) + 1.5)

    def parts(self) -> Iterator[str]:
        picture = self.picture
        width, height = LABEL + self.width + 8, self.height + 24
        title = escape(f"{picture.title}: {picture.verdict}")
        yield (
            '<svg xmlns="http://www.w3.org/2000/svg" role="img"'
            f' width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
            f"<title>{title}</title><style>{STYLE}</style>"
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4"'
            ' markerWidth="6" markerHeight="6" orient="auto">'
            '<path d="M0,0L8,4L0,8z" fill="#8350ad"/></marker>'
            '<pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse"'
            ' patternTransform="rotate(45)"><path class="bad" d="M0,0V7"/></pattern>'
            "</defs>"
        )
        yield f'<text x="6" y="14" font-weight="700">{title}</text>'
        yield from self._lanes()
        for span in picture.spans:
            yield from self._span(span)
        yield from self._ranks()
        yield from self._dots()
        for swap in picture.swaps:
            yield self._line(swap.step, f"swap f{swap.set % 4}")
        yield from self._arrows()
        yield from self._flags()
        notice = escape(picture.notice or picture.ending)
        yield f'<text class="q" x="6" y="{self.height + 16}">{notice}</text></svg>\n'

    def _lanes(self) -> Iterator[str]:
        right = LABEL + self.width
        for lane, top in zip(self.picture.lanes, self.tops, strict=True):
            name = escape(_cut(lane.name, LABEL - 8))
            yield f'<line class="l" x1="0" x2="{right}" y1="{top}" y2="{top}"/>'
            yield (
                f'<text x="4" y="{top + 14}">{name}<title>{escape(lane.name)}</title>'
                "</text>"
            )
        steps = self.picture.last - self.picture.first
        every = next(n for n in _round_numbers() if steps / n <= self.width / 80)
        first = -(-self.picture.first // every) * every
        for step in range(first, self.picture.last + 1, every):
            yield f'<text class="q" x="{self.x(step)}" y="{AXIS - 4}">{step:,}</text>'

    def _span(self, span: Span) -> Iterator[str]:
        x, y, end = self.x(span.start), self.y(span), self.end(span)
        look = span.kind
        if span.set is not None:
            look += f" f{span.set % 4}" + (" active" if span.active else "")
        what = escape(f"{span.kind} {span.label}, steps {span.start} to {span.end}")
        yield (
            f'<rect class="bar {look}" x="{x}" y="{y}" width="{end - x:.1f}"'
            f' height="{ROW}" rx="2"><title>{what}</title></rect>'
        )
        for place, (step, _, number) in enumerate(span.held):
            later = span.held[place + 1 :]
            to = self.x(later[0][0]) if later else end
            yield (
                f'<rect class="held f{number % 4}" x="{self.x(step)}" y="{y + 1}"'
                f' width="{max(to - self.x(step), 1):.1f}" height="{ROW - 2}"/>'
            )
        if span.invalid:
            yield (
                f'<rect fill="url(#hatch)" x="{x}" y="{y}" width="{end - x:.1f}"'
                f' height="{ROW}"/>'
            )
        at = self.x(span.held[0][0]) if span.held else x
        text = _cut(span.label, end - at - 6)
        if text:
            yield f'<text x="{at + 3}" y="{y + 11}">{escape(text)}</text>'

    def _ranks(self) -> Iterator[str]:
        """How many readers each rank has."""
        for number, lane in enumerate(self.picture.lanes):
            counts = [count for count in self.picture.ranks if count.lane == number]
            most = max((each.locks - each.unlocks for each in counts), default=1)
            for rank in (0, 1):
                floor = self.tops[number] + GAP + (rank + 1) * ROW
                path = f"M{LABEL},{floor}"
                for each in counts:
                    if each.rank == rank:
                        readers = max(0, each.locks - each.unlocks)
                        high = floor - readers * (ROW - 4) / max(1, most)
                        path += f"H{self.x(each.step)}V{high:.1f}"
                if lane.kind == "ranks":
                    yield (
                        f'<path class="bar f{rank + 2}"'
                        f' d="{path}H{LABEL + self.width}V{floor}"/>'
                    )

    def _dots(self) -> Iterator[str]:
        for entry in self.picture.entries:
            below = self.tops[entry.lane + 1 : entry.lane + 2] or [self.height]
            what = escape(f"step {entry.step}: {words(entry.event)}")
            finding = GROUP_OF.get(type(entry.event)) == "findings"
            yield (
                f'<circle class="dot" cx="{self.x(entry.step)}"'
                f' cy="{below[0] - GAP - DOTS // 2}" r="{4 if finding else 2.2}">'
                f"<title>{what}</title></circle>"
            )

    def _arrows(self) -> Iterator[str]:
        for arrow in self.picture.arrows:
            section = self.picture.spans[arrow.section]
            period = self.picture.spans[arrow.grace_period]
            x = self.end(section) if arrow.waited else self.end(period)
            top, bottom = self.y(section) + ROW // 2, self.y(period)
            bend = f"{x + 12},{top} {x + 12},{bottom} {x + 2},{bottom}"
            look = "arrow" if arrow.waited else "arrow not"
            yield (
                f'<path class="{look}" marker-end="url(#tip)" d="M{x},{top}C{bend}"/>'
            )

    def _flags(self) -> Iterator[str]:
        first, last = self.picture.first, self.picture.last
        for place, flag in enumerate(self.picture.flags):
            causes = flag.causes if not place else ()
            for number, step in enumerate(causes, 1):
                if first <= step <= last:
                    yield self._line(step, "cause")
                    at = f'x="{self.x(step) - 3}" y="26"'
                    yield f'<text class="tag-cause" {at}>{number}</text>'
            if first <= flag.step <= last:
                yield self._line(flag.step, "bad")
                at = f'x="{self.x(flag.step) - 2}" y="26"'
                text = escape(f"{flag.checker}: {flag.seen}")
                yield f'<text class="tag" {at}>!<title>{text}</title></text>'

    def _line(self, step: int, look: str) -> str:
        x = self.x(step)
        return (
            f'<line class="{look}" x1="{x}" x2="{x}" y1="{AXIS}" y2="{self.height}"/>'
        )


def _round_numbers() -> Iterator[int]:
    """1, 2, 5, 10, 20, 50 and so on."""
    for power in itertools.count():
        yield from (digit * 10**power for digit in (1, 2, 5))


def _cut(text: str, width: float) -> str:
    """As much of a text as there is room for."""
    room = int(width / CHARACTER)
    if len(text) <= room:
        return text
    return f"{text[: room - 1]}\N{HORIZONTAL ELLIPSIS}" if room > 3 else ""
