"""What the records say about sets and sections, kept once for all checkers.

It is built from events alone. Contents are kept as the events changed them, with what
undoes each change: a set can be asked what it held when a reader got hold of it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs

from memslots.tracepoints import (
    AddressSpaceMade,
    DirtyLogRequested,
    RegionRequested,
    SetCopied,
    SetFreed,
    SetGivenUp,
    SetsSwapped,
    SlotData,
    SlotInstalled,
    SlotReplaced,
)
from rcu.trace import Event, Record
from rcu.tracepoints import LockAcquired, SectionBegan, SectionEnded
from scenarios.checkers.ledger import RecordLedger
from scenarios.checkers.notes import Notes
from vcpus.tracepoints import SetDereferenced

MOST_EDITS = 1_024
"""When a set has so many, those that no open section can ask for are forgotten."""


@attrs.define(eq=False)
class SetContent:
    """What one set holds.

    Attributes:
        by_gfn: The slots by first page.
        by_serial: The slots by object.
        first_gfns: The first pages in order.
        edits: What left and what entered, edit by edit.
        version: How often it has been edited; the first edits may be forgotten.
        edited: When slots last entered it or left, by serial.
        last_edit: When any did.
        since: When it was copied from another; None if it never was.
    """

    not_state: ClassVar[tuple[str, ...]] = ("edited", "last_edit", "since")

    by_gfn: dict[int, SlotData] = attrs.field(factory=dict)
    by_serial: dict[int, SlotData] = attrs.field(factory=dict)
    first_gfns: list[int] = attrs.field(factory=list)
    edits: list[tuple[SlotData | None, SlotData | None]] = attrs.field(factory=list)
    version: int = 0
    edited: Notes[int] = attrs.field(factory=Notes)
    last_edit: Record | None = None
    since: Record | None = None

    def replace(self, old: int | None, new: SlotData | None) -> None:
        """Apply one edit."""
        left = None if old is None else self.by_serial.pop(old, None)
        if left is not None and self.by_gfn.get(left.base_gfn) is left:
            del self.by_gfn[left.base_gfn]
            del self.first_gfns[bisect_left(self.first_gfns, left.base_gfn)]
        if new is not None:
            if new.base_gfn not in self.by_gfn:
                insort(self.first_gfns, new.base_gfn)
            self.by_gfn[new.base_gfn] = new
            self.by_serial[new.serial] = new
        self.edits.append((left, new))
        self.version += 1

    def forget(self, version: int) -> None:
        """Forget all edits up to a version."""
        del self.edits[: len(self.edits) - (self.version - version)]

    def copy(self) -> SetContent:
        """A set that holds the same and has never been edited."""
        return SetContent(
            self.by_gfn.copy(), self.by_serial.copy(), self.first_gfns.copy()
        )

    def note_edit(self, record: Record, event: SlotReplaced) -> None:
        """Note when it was edited."""
        self.last_edit = record
        if event.old is not None:
            self.edited.note(event.old, record)
        if event.new is not None:
            self.edited.note(event.new.serial, record)

    def last_edits(self) -> list[int]:
        """The step of the last edit; empty if there was none."""
        return [] if self.last_edit is None else [self.last_edit.step]

    def find(self, gfn: int) -> SlotData | None:
        """The slot that contains ``gfn`` now."""
        place = bisect_right(self.first_gfns, gfn)
        if not place:
            return None
        slot = self.by_gfn[self.first_gfns[place - 1]]
        return slot if gfn < slot.end_gfn else None

    def find_at(self, version: int, gfn: int) -> SlotData | None:
        """The slot that contained ``gfn`` when the set had been edited so often."""
        present = self.find(gfn)
        since = self.version - version
        if not since:
            return present
        for left, entered in reversed(self.edits[-since:]):
            if entered is not None and present is entered:
                present = None
            if left is not None and left.base_gfn <= gfn < left.end_gfn:
                present = left
        return present


@attrs.define(eq=False)
class AddressSpace:
    """Its sets and which of them readers find.

    Attributes:
        generation: First generation of its sets.
        generation_step: By how much it grows with each swap.
        at_rest: How many sets it has while no update is under way.
        sets: What each set holds that has not been freed, by its number.
        freed: What each set held that has been freed while a reader still held it.
        gone: The sets that have been freed.
        active: The set that readers find.
        published: When it was published; None if it was there from the beginning.
    """

    not_state: ClassVar[tuple[str, ...]] = ("published",)

    generation: int
    generation_step: int
    at_rest: int
    sets: dict[int, SetContent] = attrs.field(init=False)
    freed: dict[int, SetContent] = attrs.field(factory=dict)
    gone: RecordLedger[int] = attrs.field(factory=RecordLedger)
    active: int = 0
    published: Record | None = None

    def __attrs_post_init__(self) -> None:
        self.sets = {index: SetContent() for index in range(self.at_rest)}


@attrs.define(eq=False)
class Section:
    """A read section that is open.

    Attributes:
        actor: Who is in it.
        domain: Whose section it is.
        srcu_idx: The rank it was counted on.
        step: When it began.
        held: The set that the reader got hold of last, and the set's version then, by
            address space.
        ever_held: Address space and set of every dereference in it, and the last time.
        found: Serials of the slots that lookups in it returned, and the first time.
    """

    not_state: ClassVar[tuple[str, ...]] = ("step",)

    actor: str
    domain: str
    srcu_idx: int
    step: int
    held: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    ever_held: dict[tuple[int, int], Record] = attrs.field(factory=dict)
    found: dict[int, Record] = attrs.field(factory=dict)

    def dereferences(self, as_id: int) -> list[int]:
        """When it got hold of the sets of an address space, each the last time."""
        return [at.step for (of, _), at in self.ever_held.items() if of == as_id]


class History:
    """Sets and open sections, as far as the records go.

    Attributes:
        spaces: Address spaces by id.
        sections: Open sections by actor, innermost last.
        sections_ended: How many sections have ended.
        calls: The last call of each task.
        taken: When each task last acquired each lock.
    """

    not_state: ClassVar[tuple[str, ...]] = ("sections_ended",)

    def __init__(self) -> None:
        self.spaces: dict[int, AddressSpace] = {}
        self.sections: dict[str, list[Section]] = {}
        self.sections_ended = 0
        self.calls = Notes[str]()
        self.taken = Notes[tuple[str, str]]()
        self.handlers: dict[type[Event], Callable[[Record, Any], None]] = {
            AddressSpaceMade: self._made,
            SlotInstalled: self._installed,
            SlotReplaced: self._replaced,
            SetsSwapped: self._swapped,
            SetCopied: self._copied,
            SetFreed: self._freed,
            SetGivenUp: self._given_up,
            SectionBegan: self._began,
            SectionEnded: self._ended,
            SetDereferenced: self._dereferenced,
            RegionRequested: self._requested,
            DirtyLogRequested: self._requested,
            LockAcquired: self._acquired,
        }

    def open_sections(self) -> list[Section]:
        """All sections that are open."""
        return [section for stack in self.sections.values() for section in stack]

    def holding(self, actor: str) -> Sequence[Section]:
        """The sections that ``actor`` is in, innermost last."""
        return self.sections.get(actor, ())

    def last_swap(self, as_id: int) -> list[int]:
        """The step in which its active set was published; empty if it never was."""
        space = self.spaces.get(as_id)
        swap = None if space is None else space.published
        return [] if swap is None else [swap.step]

    def content(self, as_id: int, set_index: int) -> SetContent:
        """What a set holds, or held."""
        space = self.spaces[as_id]
        content = space.sets.get(set_index) or space.freed.get(set_index)
        if content is None:
            if set_index not in space.gone:
                raise KeyError(set_index)
            content = SetContent()
        return content

    def _made(self, record: Record, event: AddressSpaceMade) -> None:
        if event.sets not in {1, 2}:
            raise ValueError(f"an address space has one set or two, not {event.sets}")
        self.spaces[event.as_id] = AddressSpace(
            event.generation, event.generation_step, event.sets
        )

    def _installed(self, record: Record, event: SlotInstalled) -> None:
        for content in self.spaces[event.as_id].sets.values():
            content.replace(None, event.slot)

    def _given_up(self, record: Record, event: SetGivenUp) -> None:
        self.spaces[event.as_id].sets[event.set] = SetContent()

    def _replaced(self, record: Record, event: SlotReplaced) -> None:
        content = self.content(event.as_id, event.set)
        content.replace(event.old, event.new)
        if len(content.edits) >= MOST_EDITS:
            content.forget(self._oldest_held(event.as_id, event.set, content.version))
        content.note_edit(record, event)

    def _oldest_held(self, as_id: int, index: int, newest: int) -> int:
        """The oldest version of a set that an open section holds."""
        held = [section.held.get(as_id) for section in self.open_sections()]
        return min([newest, *(each[1] for each in held if each and each[0] == index)])

    def _swapped(self, record: Record, event: SetsSwapped) -> None:
        space = self.spaces[event.as_id]
        space.active = event.set
        space.published = record

    def _copied(self, record: Record, event: SetCopied) -> None:
        sets = self.spaces[event.as_id].sets
        sets[event.set] = copy = sets[event.from_set].copy()
        copy.since = record

    def _freed(self, record: Record, event: SetFreed) -> None:
        space = self.spaces[event.as_id]
        content = space.sets.pop(event.set, None)
        if content is None:
            return  # it is freed a second time
        where = event.as_id, event.set
        held = any(where in section.ever_held for section in self.open_sections())
        space.gone[event.set] = record
        if held:
            space.freed[event.set] = content

    def _acquired(self, record: Record, event: LockAcquired) -> None:
        self.taken.note((record.actor, event.lock), record)

    def _requested(
        self, record: Record, event: RegionRequested | DirtyLogRequested
    ) -> None:
        self.calls.note(record.actor, record)

    def _began(self, record: Record, event: SectionBegan) -> None:
        section = Section(record.actor, event.domain, event.srcu_idx, record.step)
        self.sections.setdefault(record.actor, []).append(section)

    def _ended(self, record: Record, event: SectionEnded) -> None:
        self.sections_ended += 1
        section = self.ending(record, event)
        if section is not None:
            stack = self.sections[record.actor]
            stack.remove(section)
            if not stack:
                del self.sections[record.actor]

    def ending(self, record: Record, event: SectionEnded) -> Section | None:
        """The open section that an event ends; None if the reader is in no such one."""
        domain, srcu_idx = event.domain, event.srcu_idx
        for section in reversed(self.holding(record.actor)):
            if section.domain == domain and section.srcu_idx == srcu_idx:
                return section
        return None

    def _dereferenced(self, record: Record, event: SetDereferenced) -> None:
        version = self.content(event.as_id, event.set).version
        for section in self.sections.get(record.actor, []):
            section.held[event.as_id] = (event.set, version)
            section.ever_held[event.as_id, event.set] = record
