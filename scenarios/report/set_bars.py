"""The sets over time: what each holds, and which one readers find."""

from __future__ import annotations

from memslots.tracepoints import (
    AddressSpaceMade,
    GenerationAdvanced,
    SetCopied,
    SetFreed,
    SetGivenUp,
    SetsSwapped,
    SlotInstalled,
    SlotReplaced,
)
from scenarios.report.bars import Bars, Handlers
from scenarios.report.picture import SetChange, Sets, SetState, Span, Swap


class SetBars:
    """Draws the sets.

    Args:
        bars: Where its bars go.

    Attributes:
        base: What each set was at the beginning of what is shown.
        changes: What has happened to them since.
        swaps: Which were published since.
        handlers: What to call for which kind of event.
    """

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._sets = Sets()
        self._steps: dict[int, int] = {}  # of the generations of an address space
        self._spans: dict[tuple[int, int], Span] = {}
        self.base: tuple[SetState, ...] = ()
        self.changes: list[SetChange] = []
        self.swaps: list[Swap] = []
        self.handlers: Handlers = {
            AddressSpaceMade: self._made,
            SlotInstalled: self._installed,
            SlotReplaced: self._replaced,
            SetsSwapped: self._swapped,
            GenerationAdvanced: self._advanced,
            SetCopied: self._copied,
            SetFreed: self._freed,
            SetGivenUp: self._given_up,
        }

    def begin(self) -> None:
        """Note what the sets are at the beginning of what is shown."""
        self.base = self._sets.states()

    def still_open(self) -> list[Span]:
        """Bars of sets that are not over."""
        return list(self._spans.values())

    def _change(self, change: SetChange) -> None:
        """Apply and keep a change, and begin a new bar for each set that it touches."""
        touched = {change.set}
        if change.kind == "published":
            touched.add(self._sets.active.get(change.as_id, change.set))
        self._sets.apply(change)
        if self._bars.keeping:
            self.changes.append(change)
        for number in sorted(touched):
            self._redraw_set(change.as_id, number, change.seq, change.step)

    def _redraw_set(self, as_id: int, number: int, seq: int, step: int) -> None:
        where = as_id, number
        before = self._spans.pop(where, None)
        if before is not None:
            self._bars.end(before, seq, step)
        live = self._sets.live.get(where)
        if live is None:
            return
        owner = f"sets of address space {as_id}"
        self._bars.kinds[owner] = "sets"
        active = self._sets.active.get(as_id) == number
        span = Span(
            owner,
            "set",
            set_label(number, len(live.slots), live.generation, active=active),
            step,
            seq,
            set=number,
            active=active,
            invalid=live.invalid > 0,
        )
        self._spans[where] = span

    def _made(self, seq: int, step: int, actor: str, event: AddressSpaceMade) -> None:
        self._steps[event.as_id] = event.generation_step
        for number in range(min(event.sets, 2)):
            change = SetChange(
                seq,
                step,
                event.as_id,
                number,
                "made",
                generation=event.generation,
            )
            self._change(change)

    def _installed(self, seq: int, step: int, actor: str, event: SlotInstalled) -> None:
        """All sets get the slot, as if an update had been made: one number older."""
        active = self._sets.active.get(event.as_id, 0)
        now = self._sets.live[event.as_id, active].generation
        for as_id, number in sorted(self._sets.live):
            if as_id == event.as_id:
                grown = self._steps[as_id] if number == active else 0
                change = SetChange(
                    seq,
                    step,
                    as_id,
                    number,
                    "replaced",
                    new=event.slot,
                    generation=now + grown,
                )
                self._change(change)

    def _replaced(self, seq: int, step: int, actor: str, event: SlotReplaced) -> None:
        place = seq, step, event.as_id, event.set
        self._change(SetChange(*place, "replaced", event.old, event.new))

    def _swapped(self, seq: int, step: int, actor: str, event: SetsSwapped) -> None:
        place = seq, step, event.as_id, event.set
        if self._bars.keeping:
            self.swaps.append(Swap(*place))
        self._change(SetChange(*place, "published", generation=event.generation))

    def _advanced(
        self, seq: int, step: int, actor: str, event: GenerationAdvanced
    ) -> None:
        place = seq, step, event.as_id, event.set
        self._change(SetChange(*place, "numbered", generation=event.generation))

    def _copied(self, seq: int, step: int, actor: str, event: SetCopied) -> None:
        place = seq, step, event.as_id, event.set
        self._change(SetChange(*place, "copied", source=event.from_set))

    def _freed(self, seq: int, step: int, actor: str, event: SetFreed) -> None:
        place = seq, step, event.as_id, event.set
        self._change(SetChange(*place, "freed"))

    def _given_up(self, seq: int, step: int, actor: str, event: SetGivenUp) -> None:
        place = seq, step, event.as_id, event.set
        self._change(SetChange(*place, "emptied"))


def set_label(number: int, slots: int, generation: int, *, active: bool) -> str:
    """What is written on a set."""
    count = "1 slot" if slots == 1 else f"{slots:,} slots"
    state = "active" if active else "inactive"
    return f"set {number} {state}: {count}, {generation_text(generation)}"


def generation_text(generation: int) -> str:
    """A generation in words."""
    # Not from memslots: a log may name any number.
    mark = 1 << 63
    if generation & mark:
        return f"generation {generation & ~mark}, update in progress"
    return f"generation {generation}"
