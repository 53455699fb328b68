"""Every write to a page that is logged is told to user space.

What user space may rely on: while a slot is logged, which is from the return of the
call that says so until a call that says otherwise, a page that is written will be told,
and if user space copies the page once the call that told has returned, it has what was
written. What tells is a get; in manual mode the clear of what a get has read; with
rings the reset of what was collected from them.

So a write may be forgotten as soon as a call returns that has told of its page. Until
then the page must be remembered: its bit is set, or an entry is in a ring, or a call
that has taken these away has not returned yet. Whoever lets the guest write, or writes
himself, may mark the page a little later; but he does so in the read section in which
he is. A write is therefore lost

- if it is not remembered, and every section that was open when it was made is over;
- if a call that took its mark away returns without telling of the page;
- if a whole get, or a whole reset after the collecting, passes its mark by.

In the end nothing is lost then: when the guest stands still, every page that was
written and not told has its mark, and one more round tells of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import attrs

from memslots.dirty_bitmap import BITS_PER_LONG
from memslots.slot import LOG_DIRTY_PAGES, SlotId
from memslots.tracepoints import (
    DirtyBitsCleared,
    DirtyLogRequested,
    DirtyLogReturned,
    DirtyRingCollected,
    DirtyRingReset,
    MemoryHeld,
    PageMarkedDirty,
    RegionRequested,
    RegionReturned,
    SlotInstalled,
)
from memslots.units import PAGE_SHIFT
from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken, SectionEnded
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History, Section
from scenarios.checkers.notes import Notes
from vcpus.tracepoints import GuestAccessed, GuestMemoryCopied


class Page(NamedTuple):
    """A page, by its place in its slot: so it stays the same if the slot moves.

    Attributes:
        slot: Which slot.
        offset: The page's place in it.
    """

    slot: SlotId
    offset: int

    def __str__(self) -> str:
        return f"page {self.offset} of {self.slot}"


@attrs.define(eq=False)
class Bitmap:
    """The dirty bitmap of a slot.

    Attributes:
        ones: Whether every bit was set at first.
        others: The pages whose bit is not as at first.
    """

    ones: bool
    others: set[int] = attrs.field(factory=set)

    def has(self, offset: int) -> bool:
        """Whether the bit of a page is set."""
        return (offset in self.others) is not self.ones

    def put(self, offset: int, *, bit: bool) -> None:
        """Set or clear the bit of a page."""
        if bit is self.ones:
            self.others.discard(offset)
        else:
            self.others.add(offset)


@attrs.define(eq=False)
class Write:
    """A write of which user space has not been told.

    Attributes:
        record: When, and by whom.
        bitmap: The bitmap that its slot had; None if it had none.
        inside: If nothing remembers it: the sections in which somebody may mark it yet.
    """

    record: Record
    bitmap: int | None
    inside: list[Section] = attrs.field(factory=list)


@attrs.define(eq=False)
class Call:
    """A call about the dirty log that has not returned.

    Attributes:
        kind: ``get``, ``clear`` or ``reset``.
        slot: Which slot it is about; None if it is about none, or all.
        record: When it began.
        due: The pages whose marks it must see, unless somebody takes them before.
        taken: The pages whose marks it has taken away, and when.
    """

    kind: str
    slot: SlotId | None
    record: Record
    due: dict[Page, None] = attrs.field(factory=dict)
    taken: dict[Page, Record] = attrs.field(factory=dict)


class NoDirtyPageLost(Checker):
    """Follows each write to a logged page until user space knows of it."""

    id = "no-dirty-page-lost"
    sentence = (
        "a page that is written while its slot is logged stays marked until a call that"
        " took the mark away has told user space of it, and is told in the next round"
    )
    source = "KVM: kvm_get_dirty_log_protect, virt/kvm/kvm_main.c"

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._logged: set[SlotId] = set()
        self._logged_since = Notes[SlotId]()
        self._last_taken = Notes[SlotId]()  # a mark, by anybody
        self._switching_off: Counter[SlotId] = Counter()  # calls under way
        self._requests: dict[int, tuple[SlotId, bool]] = {}
        self._bitmaps: dict[int, Bitmap] = {}  # by the slot object it was made for
        self._bitmap_of: dict[int, int | None] = {}  # by serial of a slot object
        self._in_ring: set[Page] = set()
        self._collected: dict[Page, None] = {}
        self._written: dict[SlotId, dict[Page, Write]] = {}  # the last of each page
        self._unmarked: dict[Page, Write] = {}
        self._calls: dict[int, Call] = {}

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SlotInstalled: self._installed,
            RegionRequested: self._region_requested,
            RegionReturned: self._region_returned,
            MemoryHeld: self._held,
            GuestAccessed: self._accessed,
            GuestMemoryCopied: self._copied,
            SectionEnded: self._section_ended,
            PageMarkedDirty: self._marked,
            DirtyLogRequested: self._requested,
            DirtyBitsCleared: self._cleared,
            DirtyRingCollected: self._ring_collected,
            DirtyRingReset: self._ring_reset,
            DirtyLogReturned: self._returned,
            RuleWasBroken: self.rule_was_broken,
        }

    # Which slots are logged.

    def _installed(self, record: Record, event: SlotInstalled) -> None:
        if event.slot.flags & LOG_DIRTY_PAGES:
            slot = SlotId(event.as_id, event.slot.id)
            self._logged.add(slot)
            self._logged_since.note(slot, record)

    def _region_requested(self, record: Record, event: RegionRequested) -> None:
        slot = SlotId.of(event.slot)
        on = bool(event.memory_size and event.flags & LOG_DIRTY_PAGES)
        self._requests[event.call] = (slot, on)
        if not on:
            self._switching_off[slot] += 1

    def _region_returned(self, record: Record, event: RegionReturned) -> None:
        if event.call not in self._requests:
            return
        slot, on = self._requests.pop(event.call)
        if not on:
            self._switching_off[slot] -= 1
        if event.change and on:
            self._logged.add(slot)
            self._logged_since.note(slot, record)
        elif event.change:
            self._logged.discard(slot)
            self._forget(slot)

    def _forget(self, slot: SlotId) -> None:
        """Nobody asks for the log of a slot any more."""
        self._written.pop(slot, None)
        for page in [page for page in self._unmarked if page.slot == slot]:
            del self._unmarked[page]
        for call in self._calls.values():
            call.due = {page: None for page in call.due if page.slot != slot}

    def _held(self, record: Record, event: MemoryHeld) -> None:
        bitmap = self._bitmap_of[event.slot] = event.dirty_bitmap
        if bitmap is not None:
            self._bitmaps.setdefault(bitmap, Bitmap(event.initially_set))

    # Writes.

    def _accessed(self, record: Record, event: GuestAccessed) -> None:
        if event.write:
            self._wrote(record, event.as_id, event.gpa, event.hva)

    def _copied(self, record: Record, event: GuestMemoryCopied) -> None:
        if event.write:
            self._wrote(record, event.as_id, event.gpa, event.hva)

    def _wrote(self, record: Record, as_id: int, gpa: int, hva: int) -> None:
        if not self._logged:
            return
        gfn = gpa >> PAGE_SHIFT
        active = self.history.spaces[as_id].active
        found = self.history.content(as_id, active).find(gfn)
        if found is None:
            return
        slot = SlotId(as_id, found.id)
        page = Page(slot, gfn - found.base_gfn)
        # Who writes elsewhere goes through a stale translation, to no page of the slot.
        there = (found.userspace_addr >> PAGE_SHIFT) + page.offset == hva >> PAGE_SHIFT
        if slot not in self._logged or self._switching_off[slot] or not there:
            return
        write = Write(record, self._bitmap_of.get(found.serial))
        self._written.setdefault(slot, {})[page] = write
        if page not in self._unmarked and not self._is_remembered(page, write):
            write.inside = self.history.open_sections()
            self._unmarked[page] = write
            self._judge_unmarked(page)

    def _is_remembered(self, page: Page, write: Write) -> bool:
        marked = write.bitmap is not None and self._has_bit(page, write.bitmap)
        taken = any(page in call.taken for call in self._calls.values())
        return marked or taken or page in self._in_ring

    def _has_bit(self, page: Page, bitmap: int) -> bool:
        return self._bitmaps[bitmap].has(page.offset)

    def _section_ended(self, record: Record, event: SectionEnded) -> None:
        if not self._unmarked:
            return
        which = event.domain, event.srcu_idx
        inside = self.history.holding(record.actor)
        ends = [each for each in inside if (each.domain, each.srcu_idx) == which][-1:]
        for page, write in list(self._unmarked.items()):
            write.inside = [each for each in write.inside if each not in ends]
            self._judge_unmarked(page)

    def _judge_unmarked(self, page: Page) -> None:
        write = self._unmarked[page]
        if write.inside:
            return
        del self._unmarked[page]
        if not self._switching_off[page.slot]:
            why = "it had no mark, and whoever could have marked it since has not"
            since = self._logged_since.steps(page.slot)
            taken = self._last_taken.steps(page.slot)
            self._lose(write.record, page, write, why, *since, *taken)

    # Marks, and the calls that take them away.

    def _marked(self, record: Record, event: PageMarkedDirty) -> None:
        page = Page(SlotId(event.as_id, event.slot), event.offset)
        bitmap = self._bitmap_of.get(event.serial)
        if event.where == "ring":
            self._in_ring.add(page)
        elif bitmap is not None:
            self._bitmaps[bitmap].put(event.offset, bit=True)
        self._unmarked.pop(page, None)

    def _requested(self, record: Record, event: DirtyLogRequested) -> None:
        slot = None
        if event.as_id is not None and event.slot is not None:
            slot = SlotId(event.as_id, event.slot)
        call = self._calls[event.call] = Call(event.kind, slot, record)
        if event.kind == "reset":
            call.due.update(self._collected)
        elif event.kind == "get" and slot is not None:
            for page, write in self._written.get(slot, {}).items():
                if write.bitmap is not None and self._has_bit(page, write.bitmap):
                    call.due[page] = None

    def _cleared(self, record: Record, event: DirtyBitsCleared) -> None:
        bitmap = self._bitmap_of.get(event.serial)
        slot = SlotId(event.as_id, event.slot)
        for page in _pages(slot, event.offset, event.mask):
            if bitmap is not None:
                self._bitmaps[bitmap].put(page.offset, bit=False)
            self._take(record, event.call, page)

    def _ring_collected(self, record: Record, event: DirtyRingCollected) -> None:
        for slot, offset in event.entries:
            self._collected[Page(SlotId.of(slot), offset)] = None

    def _ring_reset(self, record: Record, event: DirtyRingReset) -> None:
        slot = SlotId(event.as_id, event.slot)
        for page in _pages(slot, event.offset, event.mask):
            self._drop_entry(page)
            self._take(record, event.call, page)

    def _drop_entry(self, page: Page) -> None:
        """No entry of the page counts any more.

        The ring of another vCPU may have one still; but whoever writes the page from
        now on must mark it anew.
        """
        self._in_ring.discard(page)
        self._collected.pop(page, None)

    def _take(self, record: Record, number: int, page: Page) -> None:
        self._last_taken.note(page.slot, record)
        for call in self._calls.values():
            call.due.pop(page, None)
        if number in self._calls:
            self._calls[number].taken[page] = record

    def _returned(self, record: Record, event: DirtyLogReturned) -> None:
        call = self._calls.pop(event.call, None)
        if call is None:
            return
        if event.result < 0:
            for page in call.taken:  # user space knows that it does not know
                self._written.get(page.slot, {}).pop(page, None)
            return
        told = _told(call, event)
        began = call.record.step
        who = f"call {event.call}, a {call.kind} that began in step {began},"
        for page, at in call.taken.items():
            if page not in told:
                why = f"{who} took its mark and did not tell"
                self._judge_lost(record, page, why, began, at.step)
            elif self._written.get(page.slot, {}).pop(page, None) is not None:
                self.exercised += 1
        for page in call.due:
            if call.kind == "reset":
                self._drop_entry(page)
                self._judge_lost(record, page, f"{who} left out its entry", began)
            elif page not in told and page in self._written.get(page.slot, {}):
                write = self._written[page.slot][page]
                why = f"{who} did not tell of its mark"
                self._lose(record, page, write, why, began)

    def _judge_lost(self, record: Record, page: Page, why: str, *causes: int) -> None:
        """The write to a page is lost, if there was one and nothing remembers it."""
        write = self._written.get(page.slot, {}).get(page)
        if write is not None and not self._is_remembered(page, write):
            self._lose(record, page, write, why, *causes)

    def _lose(
        self, record: Record, page: Page, write: Write, why: str, *causes: int
    ) -> None:
        self.exercised += 1
        self._written[page.slot].pop(page, None)
        at = write.record
        text = f"{at.actor} wrote {page} in step {at.step}, but {why}"
        self.violate(record, text, at.step, *causes)


def _told(call: Call, event: DirtyLogReturned) -> Collection[Page]:
    """The pages that user space knows of when a call returns."""
    if call.slot is None:  # it was told when it collected them
        return call.taken
    return {
        page: None
        for index, word in event.words
        for page in _pages(call.slot, index * BITS_PER_LONG, word)
    }


def _pages(slot: SlotId, offset: int, mask: int) -> Iterator[Page]:
    """The pages of the bits of ``mask``, of which bit 0 is that of ``offset``."""
    while mask:
        lowest = mask & -mask
        yield Page(slot, offset + lowest.bit_length() - 1)
        mask ^= lowest
