"""A slot leaves the readers' set, or its pages, only by way of its INVALID copy.

Nobody may find a slot in one set and not in the next as long as translations made from
it are there. So its INVALID copy is published first; when the readers of the set from
before are gone, nobody can make translations from the slot any more, and those that
there are can be flushed; only then may the copy go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from memslots.slot import INVALID
from memslots.tracepoints import SetsSwapped, SlotData, SlotReplaced
from rcu.trace import Event, Record
from rcu.tracepoints import (
    GracePeriodEnded,
    GracePeriodStarted,
    LockReleased,
    RuleWasBroken,
)
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from vcpus.tracepoints import ShadowFlushed


@attrs.define(eq=False)
class Leaving:
    """A slot whose INVALID copy is active.

    Attributes:
        slot: What it was while it was valid.
        published: When its INVALID copy was.
        grace_period: Whether one has begun since.
        readers_gone: Whether that one is over.
        flushed: Whether it was flushed since its INVALID copy was published.
    """

    slot: SlotData
    published: Record
    grace_period: bool = False
    readers_gone: bool = False
    flushed: bool = False


class InvalidIsSeen(Checker):
    """Compares what was active with what becomes active, slot by slot."""

    id = "invalid-is-seen"
    sentence = (
        "a slot leaves the active set, or its pages, only by way of its INVALID copy:"
        " this is published, the readers from before leave, the slot is flushed, and"
        " then it goes, before slots_lock is released"
    )
    source = "KVM: kvm_invalidate_memslot, virt/kvm/kvm_main.c"
    invariants = ("I12",)

    def __init__(self, history: History) -> None:
        super().__init__(history)
        # When a slot last entered or left a set, by address space and serial.
        self._edited: dict[int, dict[int, Record]] = {}
        self._leaving: dict[tuple[int, int], Leaving] = {}  # by address space and id

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SlotReplaced: self._replaced,
            SetsSwapped: self._swapped,
            GracePeriodStarted: self._grace_period_started,
            GracePeriodEnded: self._grace_period_ended,
            ShadowFlushed: self._flushed,
            LockReleased: self._released,
            RuleWasBroken: self.rule_was_broken,
        }

    # What a swap changes for readers.

    def _replaced(self, record: Record, event: SlotReplaced) -> None:
        edited = self._edited.setdefault(event.as_id, {})
        if event.old is not None:
            edited[event.old] = record
        if event.new is not None:
            edited[event.new.serial] = record

    def _swapped(self, record: Record, event: SetsSwapped) -> None:
        space = self.history.spaces[event.as_id]
        before = self.history.content(event.as_id, space.active).by_serial
        after = self.history.content(event.as_id, event.set).by_serial
        # Sets that are equal elsewhere differ in what was edited, and nowhere else.
        differ = {
            serial: edited
            for serial, edited in self._edited.get(event.as_id, {}).items()
            if before.get(serial) != after.get(serial)
        }
        self._edited[event.as_id] = differ
        heirs = {
            after[serial].id: after[serial] for serial in differ if serial in after
        }
        for serial, edited in differ.items():
            if serial in before:
                slot = before[serial]
                heir = heirs.get(slot.id)
                self._judge(record, event.as_id, slot, heir, edited.step)

    def _judge(
        self,
        record: Record,
        as_id: int,
        slot: SlotData,
        heir: SlotData | None,
        edited: int,
    ) -> None:
        if slot.flags & INVALID:
            self._taken_away(record, as_id, slot, heir, edited)
        elif heir is None or _pages(heir) != _pages(slot):
            self.exercised += 1
            gone = "left" if heir is None else f"became {_name(heir)} in"
            self.violate(
                record,
                f"{_name(slot)} {gone} the active set of address space {as_id}, in"
                " which its INVALID copy never was",
                edited,
                *self.history.last_swap(as_id),
            )
        elif heir.flags & INVALID:
            self._leaving[as_id, slot.id] = Leaving(slot, record)

    def _taken_away(
        self,
        record: Record,
        as_id: int,
        invalid: SlotData,
        heir: SlotData | None,
        edited: int,
    ) -> None:
        leaving = self._leaving.pop((as_id, invalid.id), None)
        if leaving is None:
            return
        self.exercised += 1
        came_back = heir == leaving.slot
        if not leaving.flushed and not came_back:
            self.violate(
                record,
                f"{_name(leaving.slot)} is gone and was not flushed since its INVALID"
                f" copy was published in step {leaving.published.step}",
                leaving.published.step,
                edited,
            )

    # What must happen in between.

    def _grace_period_started(self, record: Record, event: GracePeriodStarted) -> None:
        if event.domain == "kvm->srcu":
            for leaving in self._leaving.values():
                leaving.grace_period = True

    def _grace_period_ended(self, record: Record, event: GracePeriodEnded) -> None:
        if event.domain == "kvm->srcu":
            for leaving in self._leaving.values():
                leaving.readers_gone = leaving.grace_period

    def _flushed(self, record: Record, event: ShadowFlushed) -> None:
        for leaving in self._leaving.values():
            if leaving.slot.serial != event.slot:
                continue
            leaving.flushed = True
            if not leaving.readers_gone:
                self.violate(
                    record,
                    f"{_name(leaving.slot)} was flushed before a grace period was over"
                    f" that began after step {leaving.published.step}, in which its"
                    " INVALID copy was published: readers from before may use the slot",
                    leaving.published.step,
                    *self._began_before(leaving.published.step),
                )

    def _began_before(self, step: int) -> list[int]:
        """When the first began of the sections that are open since before a step."""
        began = [section.step for section in self.history.open_sections()]
        return [min(began)] if began and min(began) < step else []

    def _released(self, record: Record, event: LockReleased) -> None:
        if event.lock != "slots_lock":
            return
        for leaving in self._leaving.values():
            self.violate(
                record,
                f"slots_lock was released while the INVALID copy of"
                f" {_name(leaving.slot)} is active",
                leaving.published.step,
            )
        self._leaving.clear()


def _pages(slot: SlotData) -> tuple[int, int]:
    return slot.base_gfn, slot.npages


def _name(slot: SlotData) -> str:
    return f"slot {slot.id} #{slot.serial} ({slot.base_gfn:#x}..{slot.end_gfn:#x})"
