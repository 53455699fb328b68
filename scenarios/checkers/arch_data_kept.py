"""What a slot points to goes on with it, and never with one that lies elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memslots.allocator import Allocation
from memslots.slot import LOG_DIRTY_PAGES
from memslots.tracepoints import (
    ArchDataCopied,
    MemoryAllocated,
    MemoryHeld,
    SetsSwapped,
    SlotData,
    SlotFreed,
    SlotReplaced,
)
from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from vcpus.tracepoints import ShadowRootAllocated

RMAP = Allocation.RMAP.value
ARRAYS = (RMAP, Allocation.LPAGE_INFO.value, Allocation.GFN_TRACK.value)
DIRTY_BITMAP = Allocation.DIRTY_BITMAP.value


class ArchDataKept(Checker):
    """Compares what slots point to as one takes another's place in a set."""

    id = "arch-data-kept"
    sentence = (
        "a slot that takes another's place has all arrays that were allocated for it,"
        " and none of them if it lies elsewhere; once there may be shadow roots, every"
        " slot that readers find has reverse maps; a slot has a dirty bitmap exactly if"
        " dirty pages are logged there and not in a ring"
    )
    source = "KVM: kvm_set_memslot, virt/kvm/kvm_main.c"
    invariants = ("I13",)

    def __init__(self, history: History) -> None:
        super().__init__(history)
        # By serial and kind: made for whom, and since when the slot has it.
        self._held: dict[int, dict[str, tuple[int, Record]]] = {}
        self._given: dict[int, Record] = {}  # when a slot got what it has, by serial
        self._without_rmap: dict[int, None] = {}
        self._lacking: dict[tuple[int, int], dict[str, Record]] = {}  # by copied set
        self._shadow_roots: Record | None = None
        self._ring = False

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            MemoryHeld: self._held_anew,
            MemoryAllocated: self._allocated,
            SlotFreed: self._freed,
            SlotReplaced: self._replaced,
            SetsSwapped: self._swapped,
            ArchDataCopied: self._copied_again,
            ShadowRootAllocated: self._roots_allocated,
            RuleWasBroken: self.rule_was_broken,
        }

    def _held_anew(self, record: Record, event: MemoryHeld) -> None:
        made_for = {
            DIRTY_BITMAP: event.dirty_bitmap,
            RMAP: event.rmap,
            Allocation.LPAGE_INFO.value: event.lpage_info,
            Allocation.GFN_TRACK.value: event.gfn_track,
        }
        self._held[event.slot] = {
            kind: (slot, record) for kind, slot in made_for.items() if slot is not None
        }
        self._given[event.slot] = record
        self._ring = event.ring
        self._note_rmap(event.slot)

    def _allocated(self, record: Record, event: MemoryAllocated) -> None:
        """Somebody has allocated it for a slot that readers find."""
        if event.slot in self._held:
            self._held[event.slot][event.kind] = event.slot, record
            self._note_rmap(event.slot)
        if event.kind in ARRAYS:
            self._note_lacking(record, event)

    def _note_rmap(self, serial: int) -> None:
        self._without_rmap.pop(serial, None)
        if RMAP not in self._held[serial]:
            self._without_rmap[serial] = None

    def _freed(self, record: Record, event: SlotFreed) -> None:
        self._held.pop(event.serial, None)
        self._given.pop(event.serial, None)
        self._without_rmap.pop(event.serial, None)

    # One slot takes another's place.

    def _replaced(self, record: Record, event: SlotReplaced) -> None:
        new = event.new
        if new is None or new.serial not in self._held:
            return
        self._judge_bitmap(record, new)
        old = self.history.content(event.as_id, event.set).by_serial.get(event.old or 0)
        if old is not None and old.serial in self._held:
            self._judge_arrays(record, old, new)

    def _judge_bitmap(self, record: Record, slot: SlotData) -> None:
        logged = bool(slot.flags & LOG_DIRTY_PAGES)
        has = DIRTY_BITMAP in self._held[slot.serial]
        self.exercised += logged or has
        given = self._given[slot.serial].step
        if logged and not (has or self._ring):
            text = f"{_name(slot)} logs dirty pages without a bitmap"
            self.violate(record, text, given)
        if has and not logged:
            text = f"{_name(slot)} has a dirty bitmap and does not log"
            self.violate(record, text, given)

    def _judge_arrays(self, record: Record, old: SlotData, new: SlotData) -> None:
        before, after = self._held[old.serial], self._held[new.serial]
        moved = old.base_gfn != new.base_gfn
        given = self._given[new.serial].step
        for kind in ARRAYS:
            if kind not in before:
                continue
            self.exercised += 1
            made_for, since = before[kind]
            takes, _ = after.get(kind, (None, None))
            if moved and takes == made_for:
                self.violate(
                    record,
                    f"{_name(new)} took the {kind} of slot #{made_for} along, which was"
                    f" made for gfn {old.base_gfn:#x}",
                    since.step,
                    given,
                )
            if not moved and takes != made_for:
                self.violate(
                    record,
                    f"{_name(new)} took the place of slot #{old.serial} without the"
                    f" {kind} of slot #{made_for}",
                    since.step,
                    given,
                )

    # Sets that are copied: what is allocated later does not reach the copy.

    def _note_lacking(self, record: Record, event: MemoryAllocated) -> None:
        for as_id, space in self.history.spaces.items():
            for index, content in space.sets.items():
                is_copy = space.at_rest == 1 and index != space.active
                if is_copy and event.slot in content.by_serial:
                    what = f"the {event.kind} of slot #{event.slot}"
                    self._lacking.setdefault((as_id, index), {})[what] = record

    def _copied_again(self, record: Record, event: ArchDataCopied) -> None:
        self._lacking.pop((event.as_id, event.set), None)

    def _judge_copy(self, record: Record, event: SetsSwapped) -> None:
        lacking = self._lacking.pop((event.as_id, event.set), {})
        copied = self.history.content(event.as_id, event.set).since
        for what, made in lacking.items():
            self.violate(
                record,
                f"set {event.set} was published without {what}, which {made.actor}"
                f" allocated in step {made.step}, after it was copied",
                made.step,
                *([] if copied is None else [copied.step]),
            )

    # Shadow roots.

    def _roots_allocated(self, record: Record, event: ShadowRootAllocated) -> None:
        self._shadow_roots = record
        for as_id, space in self.history.spaces.items():
            self._judge_set(record, as_id, space.active)

    def _swapped(self, record: Record, event: SetsSwapped) -> None:
        self._judge_copy(record, event)
        if self._shadow_roots is not None:
            self._judge_set(record, event.as_id, event.set)

    def _judge_set(self, record: Record, as_id: int, index: int) -> None:
        self.exercised += 1
        slots = self.history.content(as_id, index).by_serial
        roots = self._shadow_roots or record
        for serial in [each for each in self._without_rmap if each in slots]:
            del self._without_rmap[serial]  # told once
            self.violate(
                record,
                f"readers find {_name(slots[serial])} without reverse maps although"
                " there may be shadow roots",
                self._given[serial].step,
                roots.step,
            )


def _name(slot: SlotData) -> str:
    return f"slot {slot.id} #{slot.serial}"
