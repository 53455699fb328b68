"""Read sections, the counters of their ranks, and the grace periods that wait."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from rcu.tracepoints import (
    GracePeriodEnded,
    GracePeriodStarted,
    IndexFlipped,
    SectionBegan,
    SectionEnded,
    SynchronizeBegan,
    SynchronizeEnded,
)
from scenarios.report.bars import Bars, Handlers, short
from scenarios.report.picture import Arrow, RankCount, Span
from vcpus.tracepoints import SetDereferenced


@attrs.define
class _GracePeriod:
    """A grace period that has not ended, and the sections that it must wait for."""

    span: Span
    sections: list[Span]


@attrs.define
class _Ranks:
    """The counters of a domain."""

    locks: list[int] = attrs.field(factory=lambda: [0, 0])
    unlocks: list[int] = attrs.field(factory=lambda: [0, 0])


class Readers:
    """Draws who reads, and who waits for readers.

    Args:
        bars: Where its bars go.

    Attributes:
        counts: Counters of the ranks, by lane.
        handlers: What to call for which kind of event.
    """

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._sections: dict[str, list[tuple[str, int, Span]]] = {}
        self._grace_periods: dict[str, _GracePeriod] = {}
        self._ranks: dict[str, _Ranks] = {}
        self._arrows: list[tuple[Span, Span, bool]] = []
        self.counts: list[tuple[str, RankCount]] = []
        self.handlers: Handlers = {
            SectionBegan: self._section_began,
            SectionEnded: self._section_ended,
            SetDereferenced: self._dereferenced,
            SynchronizeBegan: self._synchronize_began,
            SynchronizeEnded: self._synchronize_ended,
            GracePeriodStarted: self._grace_period_started,
            IndexFlipped: self._flipped,
            GracePeriodEnded: self._grace_period_ended,
        }

    def begin(self) -> None:
        """Note what the counters are at the beginning of what is shown."""
        for domain, ranks in self._ranks.items():
            for rank in (0, 1):
                self._count(0, self._bars.first, domain, rank, ranks)

    def still_open(self) -> Iterable[Span]:
        """Bars without an end."""
        yield from (s for stack in self._sections.values() for _, _, s in stack)
        yield from (each.span for each in self._grace_periods.values())

    def arrows(self, index: dict[int, int]) -> list[Arrow]:
        """From sections to grace periods; a running one still waits.

        Args:
            index: Place of each bar in the picture, by its identity.
        """
        arrows = self._arrows + [
            (section, open_.span, True)
            for open_ in self._grace_periods.values()
            for section in open_.sections
        ]
        return [
            Arrow(index[id(section)], index[id(grace_period)], waited)
            for section, grace_period, waited in arrows
            if id(section) in index and id(grace_period) in index
        ]

    def _section_began(
        self, seq: int, step: int, actor: str, event: SectionBegan
    ) -> None:
        span = Span(actor, "section", "", step, seq)
        stack = self._sections.setdefault(actor, [])
        stack.append((event.domain, event.srcu_idx, span))
        ranks = self._domain(event.domain)
        ranks.locks[event.srcu_idx] += 1
        self._count(seq, step, event.domain, event.srcu_idx, ranks)

    def _section_ended(
        self, seq: int, step: int, actor: str, event: SectionEnded
    ) -> None:
        stack = self._sections.get(actor, [])
        for place in range(len(stack) - 1, -1, -1):
            domain, rank, span = stack[place]
            if (domain, rank) == (event.domain, event.srcu_idx):
                del stack[place]
                self._bars.end(span, seq, step)
                break
        ranks = self._domain(event.domain)
        ranks.unlocks[event.srcu_idx] += 1
        self._count(seq, step, event.domain, event.srcu_idx, ranks)

    def _domain(self, domain: str) -> _Ranks:
        ranks = self._ranks.get(domain)
        if ranks is None:
            ranks = self._ranks[domain] = _Ranks()
            self._bars.kinds[_of_ranks(domain)] = "ranks"
            for rank in (0, 1):
                self._count(0, self._bars.first, domain, rank, ranks)
        return ranks

    def _count(
        self, seq: int, step: int, domain: str, rank: int, ranks: _Ranks
    ) -> None:
        if self._bars.keeping:
            locks, unlocks = ranks.locks[rank], ranks.unlocks[rank]
            count = RankCount(seq, step, -1, rank, locks, unlocks)
            self.counts.append((_of_ranks(domain), count))

    def _dereferenced(
        self, seq: int, step: int, actor: str, event: SetDereferenced
    ) -> None:
        for _, _, span in self._sections.get(actor, ()):
            span.held.append((step, event.as_id, event.set))
            span.label = f"set {event.set}"

    def _synchronize_began(
        self, seq: int, step: int, actor: str, event: SynchronizeBegan
    ) -> None:
        label = "synchronize" + ("_expedited" if event.expedited else "")
        span = Span(actor, "synchronize", label, step, seq)
        self._bars.start(("synchronize", actor, event.domain), span)

    def _synchronize_ended(
        self, seq: int, step: int, actor: str, event: SynchronizeEnded
    ) -> None:
        self._bars.close(("synchronize", actor, event.domain), seq, step)

    def _grace_period_started(
        self, seq: int, step: int, actor: str, event: GracePeriodStarted
    ) -> None:
        self._bars.kinds[actor] = "worker"
        label = f"grace period {(event.gp_seq >> 2) + 1}"
        span = Span(actor, "grace-period", label, step, seq)
        sections = self._open_sections(event.domain)
        self._grace_periods[event.domain] = _GracePeriod(span, sections)

    def _open_sections(self, domain: str, rank: int | None = None) -> list[Span]:
        return [
            span
            for stack in self._sections.values()
            for where, on, span in stack
            if where == domain and rank in {None, on}
        ]

    def _flipped(self, seq: int, step: int, actor: str, event: IndexFlipped) -> None:
        """Sections on the old rank must be waited for, too, however late they began."""
        open_ = self._grace_periods.get(event.domain)
        if open_ is not None:
            known = {id(span) for span in open_.sections}
            late = self._open_sections(event.domain, event.srcu_idx ^ 1)
            open_.sections += [span for span in late if id(span) not in known]

    def _grace_period_ended(
        self, seq: int, step: int, actor: str, event: GracePeriodEnded
    ) -> None:
        open_ = self._grace_periods.pop(event.domain, None)
        if open_ is not None:
            self._bars.end(open_.span, seq, step)
            if self._bars.keeping:
                self._arrows += [
                    (section, open_.span, section.end is not None)
                    for section in open_.sections
                ]


def _of_ranks(domain: str) -> str:
    return f"ranks of {short(domain)}"
