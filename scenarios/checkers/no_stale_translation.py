"""What is gone is mapped no more, and no guest goes there.

A translation is gone if its slot has been flushed, because it is deleted or moved; if
the host is changing the page, from the moment at which the MMU notifier has returned
from the start of an invalidation until its end; if KVM has zapped its guest range; or
if the page tables that held it have been given up. What is judged are the page tables
and each access of a guest, which may go through a TLB.

A flush ends, and so does the start of an invalidation, with the step that tells of it:
whoever it waited for has left the guest before that step, and nobody enters the guest
again with what was zapped. So no order of steps excuses a later access.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from memslots.slot import INVALID
from memslots.tracepoints import SetsSwapped, SlotReplaced
from memslots.units import PAGE_SHIFT, PAGE_SIZE
from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from scenarios.checkers.ledger import PairLedger, RecordLedger
from scenarios.checkers.notes import Notes
from vcpus.tracepoints import (
    GfnRangeZapBegan,
    GfnRangeZapped,
    GuestAccessed,
    GuestMemoryCopied,
    InvalidationBegan,
    InvalidationEnded,
    RootZapped,
    ShadowFlushed,
    SpteInstalled,
    SpteZapped,
)


class Where(NamedTuple):
    """An entry of page tables.

    Attributes:
        root: Number of the page tables.
        gfn: The page.
    """

    root: int
    gfn: int


class NoStaleTranslation(Checker):
    """Follows each translation from the slot that it was made from to its zap.

    A slot whose flags change becomes another object, and what was made from the old one
    stays: translations are kept by the first object of which that is so, their origin.
    """

    id = "no-stale-translation"
    sentence = (
        "after a slot has been flushed no page table maps a page through it, and no"
        " guest accesses one; the same goes for host pages that an invalidation is"
        " changing; a guest range that was zapped, and page tables that were given up,"
        " hold nothing"
    )
    source = "KVM: kvm_mmu_zap_all_fast, is_page_fault_stale, arch/x86/kvm/mmu/mmu.c"
    invariants = ("I3", "I16")

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._entries: dict[Where, SpteInstalled] = {}
        # Where something is, or was since the last flush or invalidation, mapped.
        self._by_origin: dict[int, dict[Where, None]] = {}
        self._by_hva: dict[int, dict[Where, None]] = {}
        self._origins = PairLedger[int]()  # and 0
        self._gone: dict[int, Record | None] = {}  # flushed by, or INVALID, by origin
        self._flushed: dict[int, list[int]] = {}  # since the last swap, by as_id
        self._open: list[tuple[Record, InvalidationBegan]] = []
        self._roots_gone = RecordLedger[int]()
        self._invalid = Notes[int]()  # when an INVALID copy came, by serial
        self._mapped_at = Notes[tuple[int, int]]()  # by address space and gfn

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SlotReplaced: self._replaced,
            SetsSwapped: self._swapped,
            SpteInstalled: self._installed,
            SpteZapped: self._zapped,
            ShadowFlushed: self._flushed_slot,
            InvalidationBegan: self._began,
            InvalidationEnded: self._ended,
            GfnRangeZapBegan: self._began_range,
            GfnRangeZapped: self._zapped_range,
            RootZapped: self._zapped_root,
            GuestAccessed: self._accessed,
            GuestMemoryCopied: self._copied,
            RuleWasBroken: self.rule_was_broken,
        }

    # Slots.

    def _replaced(self, record: Record, event: SlotReplaced) -> None:
        new = event.new
        if new is None:
            return
        if new.flags & INVALID:
            self._gone[new.serial] = None
            self._invalid.note(new.serial, record)
            return
        content = self.history.content(event.as_id, event.set)
        old = content.by_serial.get(event.old) if event.old is not None else None
        if old is None or old.flags & INVALID or old.base_gfn != new.base_gfn:
            return
        if new.serial not in self._origins:
            self._origins[new.serial] = self._origin(old.serial), 0

    def _origin(self, serial: int) -> int:
        return self._origins[serial][0] if serial in self._origins else serial

    def _swapped(self, record: Record, event: SetsSwapped) -> None:
        """Readers find a slot again that was flushed: its change has failed."""
        content = self.history.content(event.as_id, event.set)
        for serial in self._flushed.pop(event.as_id, ()):
            if serial in content.by_serial:
                self._gone.pop(self._origin(serial), None)

    # Page tables.

    def _installed(self, record: Record, event: SpteInstalled) -> None:
        where = Where(event.root, event.gfn)
        origin = self._origin(event.slot)
        self._forget(where)
        self._entries[where] = event
        self._by_origin.setdefault(origin, {})[where] = None
        self._by_hva.setdefault(event.hva, {})[where] = None
        did = f"{_entry(where)} was mapped to {event.hva:#x}"
        self._judge(record, did, event.hva, event.slot)
        self._mapped_at.note((event.as_id, event.gfn), record)
        if event.root in self._roots_gone:
            gone = self._roots_gone[event.root]
            self.exercised += 1
            self.violate(
                record,
                f"{did}, but {gone.actor} gave the root up in step {gone.step}",
                gone.step,
            )

    def _zapped(self, record: Record, event: SpteZapped) -> None:
        self._forget(Where(event.root, event.gfn))

    def _forget(self, where: Where) -> None:
        entry = self._entries.pop(where, None)
        if entry is not None:
            self._by_origin.get(self._origin(entry.slot), {}).pop(where, None)
            self._by_hva.get(entry.hva, {}).pop(where, None)

    # Accesses.

    def _accessed(self, record: Record, event: GuestAccessed) -> None:
        did = f"the guest {_did(event.write)} {event.gpa:#x} at {event.hva:#x}"
        mapped = (event.as_id, event.gpa >> PAGE_SHIFT)
        self._judge(record, did, event.hva, event.slot, mapped)

    def _copied(self, record: Record, event: GuestMemoryCopied) -> None:
        if event.through == "pfn-cache":
            page = event.hva // PAGE_SIZE * PAGE_SIZE
            did = f"KVM {_did(event.write)} {event.gpa:#x} at {event.hva:#x}"
            self._judge(record, f"{did}, through a pfn-cache", page, None)

    def _judge(
        self,
        record: Record,
        did: str,
        hva: int,
        slot: int | None,
        *mapped: tuple[int, int],
    ) -> None:
        """Judge a translation to a host page, in the moment of its making or use.

        Args:
            record: What made or used it.
            did: In words.
            hva: The host page.
            slot: Serial of the slot object that it was made from.
            mapped: The address space and gfn for which it had been made before.
        """
        if slot is not None and self._origin(slot) in self._gone:
            self.exercised += 1
            by = self._gone[self._origin(slot)]
            why = (
                f"{by.actor} flushed in step {by.step}" if by else "is an INVALID copy"
            )
            text = f"{did} through slot #{slot}, which {why}"
            origin = self._origin(slot)
            gone = [by.step] if by else self._invalid.steps(origin)
            found = [
                section.found[slot].step
                for section in self.history.holding(record.actor)
                if slot in section.found
            ]
            self.violate(
                record, text, *gone, *self._mapped_at.steps(*mapped), *found[:1]
            )
        for began, invalidation in self._open:
            if invalidation.start <= hva < invalidation.end:
                self.exercised += 1
                self.violate(
                    record,
                    f"{did} although the invalidation of {_range(invalidation)}, which"
                    f" {began.actor} began in step {began.step}, has not ended",
                    began.step,
                    *self._mapped_at.steps(*mapped),
                )

    # What removes translations.

    def _flushed_slot(self, record: Record, event: ShadowFlushed) -> None:
        origin = self._origin(event.slot)
        mapped = self._by_origin.pop(origin, None)
        if mapped is not None:
            self.exercised += 1
            self._judge_left(record, mapped, f"slot #{event.slot} was flushed")
        self._gone[origin] = record
        self._flushed.setdefault(event.as_id, []).append(event.slot)

    def _began(self, record: Record, event: InvalidationBegan) -> None:
        hvas = list(self._mapped(event.start, event.end))
        self.exercised += bool(hvas)
        for hva in hvas:
            done = f"the invalidation of {_range(event)} has begun"
            self._judge_left(record, self._by_hva.pop(hva), done)
        self._open.append((record, event))

    def _mapped(self, start: int, end: int) -> Iterator[int]:
        """Host pages in ``[start, end)`` that are, or were, mapped."""
        if (end - start) // PAGE_SIZE < len(self._by_hva):
            first = -(-start // PAGE_SIZE) * PAGE_SIZE
            return (hva for hva in range(first, end, PAGE_SIZE) if hva in self._by_hva)
        return (hva for hva in sorted(self._by_hva) if start <= hva < end)

    def _ended(self, record: Record, event: InvalidationEnded) -> None:
        for place, (_, began) in enumerate(self._open):
            if (began.start, began.end) == (event.start, event.end):
                del self._open[place]
                return

    def _began_range(self, record: Record, event: GfnRangeZapBegan) -> None:
        self.exercised += bool(self._in_range(event))

    def _zapped_range(self, record: Record, event: GfnRangeZapped) -> None:
        done = f"gfn {event.start:#x}..{event.end:#x} has been zapped"
        self._judge_left(record, self._in_range(event), done)

    def _zapped_root(self, record: Record, event: RootZapped) -> None:
        left = [each for each in self._entries if each.root == event.root]
        self.exercised += bool(left)
        self._judge_left(record, left, f"root {event.root} was given up")
        self._roots_gone[event.root] = record

    def _in_range(self, event: GfnRangeZapBegan | GfnRangeZapped) -> list[Where]:
        return [each for each in self._entries if event.start <= each.gfn < event.end]

    def _judge_left(self, record: Record, left: Iterable[Where], done: str) -> None:
        for where in sorted(left):
            entry = self._entries[where]
            self.violate(
                record,
                f"{done}, but {_entry(where)} is still mapped to {entry.hva:#x} through"
                f" slot #{entry.slot}",
                *self._mapped_at.steps((entry.as_id, entry.gfn)),
            )


def _entry(where: Where) -> str:
    return f"gfn {where.gfn:#x} in root {where.root}"


def _did(write: bool) -> str:  # noqa: FBT001 - as the event says it
    return "wrote" if write else "read"


def _range(event: InvalidationBegan) -> str:
    return f"{event.start:#x}..{event.end:#x}"
