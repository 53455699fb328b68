"""What is allocated for slots is freed once, and neither too late nor too early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from memslots.allocator import Allocation
from memslots.tracepoints import (
    MemoryAllocated,
    MemoryFreed,
    MemoryHeld,
    SlotFreed,
    SlotReplaced,
    VmDestroyed,
)
from rcu.errors import DoubleFree
from rcu.trace import Event, Record
from rcu.tracepoints import LockReleased, RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from scenarios.checkers.ledger import RecordLedger

SLOT = Allocation.SLOT.value
INVALID_SLOT = Allocation.INVALID_SLOT.value
DIRTY_BITMAP = Allocation.DIRTY_BITMAP.value
RMAP = Allocation.RMAP.value
LPAGE_INFO = Allocation.LPAGE_INFO.value
GFN_TRACK = Allocation.GFN_TRACK.value


class Piece(NamedTuple):
    """One allocation.

    Attributes:
        kind: What it is; a slot object is one whether INVALID or not.
        slot: Serial of the slot object it was made for.
    """

    kind: str
    slot: int

    def __str__(self) -> str:
        if self.kind == SLOT:
            return f"slot #{self.slot}"
        return f"the {self.kind} of slot #{self.slot}"


Pieces = dict[Piece, None]
"""A set of them, in the order in which they came."""


class FreedOnce(Checker):
    """Follows each allocation and the slot objects that point to it."""

    id = "freed-once"
    sentence = (
        "what is allocated for a slot is freed once: whenever slots_lock is free, what"
        " the slots of the sets point to is not freed, and all else is"
    )
    source = "KVM: kvm_commit_memory_region, virt/kvm/kvm_main.c"
    invariants = ("I18",)

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._alive: dict[Piece, Record] = {}
        self._freed = RecordLedger[Piece]()
        self._held: dict[int, Pieces] = {}  # by serial of who points to them
        self._holders: dict[Piece, set[int]] = {}
        # Since slots_lock was released, and the last time.
        self._touched: dict[Piece, Record] = {}

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            MemoryAllocated: self._allocated,
            MemoryHeld: self._held_anew,
            SlotReplaced: self._replaced,
            MemoryFreed: self._memory_freed,
            SlotFreed: self._slot_freed,
            LockReleased: self._released,
            VmDestroyed: self._destroyed,
            RuleWasBroken: self.rule_was_broken,
        }

    def rule_was_broken(self, record: Record, event: RuleWasBroken) -> None:
        """See `Checker.rule_was_broken`; a second free is told here, too."""
        if event.rule == DoubleFree.__name__:
            self.exercised += 1
            causes = self.causes_of_rule(record, event)
            self.violate(record, f"{event.rule}: {event.text}", *causes)
        else:
            super().rule_was_broken(record, event)

    def _allocated(self, record: Record, event: MemoryAllocated) -> None:
        kind = SLOT if event.kind == INVALID_SLOT else event.kind
        piece = Piece(kind, event.slot)
        self._alive[piece] = record
        held = self._held.get(event.slot, {}) | {piece: None}
        self._hold(record, event.slot, held)

    def _held_anew(self, record: Record, event: MemoryHeld) -> None:
        pieces: Pieces = {Piece(SLOT, event.slot): None}
        for kind, made_for in (
            (DIRTY_BITMAP, event.dirty_bitmap),
            (RMAP, event.rmap),
            (LPAGE_INFO, event.lpage_info),
            (GFN_TRACK, event.gfn_track),
        ):
            if made_for is not None:
                pieces[Piece(kind, made_for)] = None
        self._hold(record, event.slot, pieces)

    def _replaced(self, record: Record, event: SlotReplaced) -> None:
        """Who points to it has left a set, or entered one."""
        entered = None if event.new is None else event.new.serial
        for serial in (event.old, entered):
            if serial is not None:
                self._touch(record, self._held.get(serial, {}))

    def _memory_freed(self, record: Record, event: MemoryFreed) -> None:
        self._free(record, Piece(event.kind, event.slot))

    def _slot_freed(self, record: Record, event: SlotFreed) -> None:
        self._free(record, Piece(SLOT, event.serial))
        self._hold(record, event.serial, {})

    def _free(self, record: Record, piece: Piece) -> None:
        self.exercised += 1
        if piece in self._freed:
            earlier = self._freed[piece]
            self.violate(
                record,
                f"{piece} is freed a second time, after {earlier.actor} in step"
                f" {earlier.step}",
                earlier.step,
            )
        self._alive.pop(piece, None)
        self._freed[piece] = record
        self._touched[piece] = record

    def _hold(self, record: Record, serial: int, pieces: Pieces) -> None:
        """Let the slot object point to these, and to nothing else."""
        before = self._held.pop(serial, {})
        for piece in before:
            if piece not in pieces:
                self._holders[piece].discard(serial)
                if not self._holders[piece]:
                    del self._holders[piece]
        for piece in pieces:
            if piece not in before:
                self._holders.setdefault(piece, set()).add(serial)
        if pieces:
            self._held[serial] = pieces
        self._touch(record, before)
        self._touch(record, pieces)

    def _touch(self, record: Record, pieces: Pieces) -> None:
        for piece in pieces:
            self._touched[piece] = record

    def _released(self, record: Record, event: LockReleased) -> None:
        if event.lock != "slots_lock":
            return
        for piece, touched in self._touched.items():
            self.exercised += 1
            self._judge(record, piece, touched.step)
        self._touched.clear()

    def _judge(self, record: Record, piece: Piece, touched: int) -> None:
        users = [s for s in self._holders.get(piece, ()) if self._is_in_a_set(s)]
        if piece in self._alive and not users:
            made = self._alive[piece]
            self.violate(
                record,
                f"slots_lock was released while {piece}, which {made.actor} allocated"
                f" in step {made.step}, is not freed and belongs to no slot of a set",
                made.step,
                touched,
            )
        if piece in self._freed and users:
            freed = self._freed[piece]
            self.violate(
                record,
                f"slots_lock was released while slot #{min(users)}, which is in a set,"
                f" points to {piece}, which {freed.actor} freed in step {freed.step}",
                freed.step,
                touched,
            )

    def _is_in_a_set(self, serial: int) -> bool:
        return any(
            serial in content.by_serial
            for space in self.history.spaces.values()
            for content in space.sets.values()
        )

    def _destroyed(self, record: Record, event: VmDestroyed) -> None:
        self.exercised += 1
        for piece, made in self._alive.items():
            self.violate(
                record,
                f"the VM is destroyed, but {piece}, which {made.actor} allocated in"
                f" step {made.step}, was never freed",
                made.step,
            )
