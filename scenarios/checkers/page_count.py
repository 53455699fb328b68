"""The VM's page count is right, and the bound on shadow pages follows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from memslots.tracepoints import (
    PagesCounted,
    SetCopied,
    SetFreed,
    SetsSwapped,
    SlotInstalled,
    SlotReplaced,
)
from rcu.trace import Event, Record
from rcu.tracepoints import LockReleased, RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from vcpus.tracepoints import MmuPagesChanged

MMU_PAGES_PERMILLE = 20
MIN_MMU_PAGES = 64


class PageCount(Checker):
    """Adds up the pages of each set as slots enter and leave it."""

    id = "page-count"
    sentence = (
        "whenever slots_lock is free, as many pages are counted as the slots of the"
        " active sets have; the bound on shadow pages follows the count, and is worked"
        " out only when that has changed"
    )
    source = "KVM: kvm_commit_memory_region, virt/kvm/kvm_main.c"
    invariants = ("I11",)
    not_state: ClassVar[tuple[str, ...]] = (
        *Checker.not_state,
        "_changed_by",
        "_counted_by",
        "_bounded_by",
    )

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._counted = 0
        self._pages: dict[tuple[int, int], int] = {}  # by address space and set
        self._bound: int | None = None
        self._bounded_at = -1  # the count from which the bound was worked out
        self._touched = False
        self._changed_by: Record | None = None
        self._counted_by: Record | None = None
        self._bounded_by: Record | None = None

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SlotInstalled: self._installed,
            SlotReplaced: self._replaced,
            SetsSwapped: self._swapped,
            SetCopied: self._copied,
            SetFreed: self._freed,
            PagesCounted: self._counted_anew,
            MmuPagesChanged: self._bounded,
            LockReleased: self._released,
            RuleWasBroken: self.rule_was_broken,
        }

    # What the sets have.

    def _installed(self, record: Record, event: SlotInstalled) -> None:
        self._counted += event.slot.npages
        for index in self.history.spaces[event.as_id].sets:
            self._add(event.as_id, index, event.slot.npages)

    def _replaced(self, record: Record, event: SlotReplaced) -> None:
        self._touched = True
        self._changed_by = record
        content = self.history.content(event.as_id, event.set)
        if event.old in content.by_serial:
            left = content.by_serial[event.old]
            self._add(event.as_id, event.set, -left.npages)
        if event.new is not None:
            self._add(event.as_id, event.set, event.new.npages)

    def _add(self, as_id: int, index: int, npages: int) -> None:
        where = as_id, index
        self._pages[where] = self._pages.get(where, 0) + npages

    def _swapped(self, record: Record, event: SetsSwapped) -> None:
        self._touched = True

    def _copied(self, record: Record, event: SetCopied) -> None:
        self._add(
            event.as_id, event.set, self._pages.get((event.as_id, event.from_set), 0)
        )

    def _freed(self, record: Record, event: SetFreed) -> None:
        self._pages.pop((event.as_id, event.set), None)

    # What was counted.

    def _counted_anew(self, record: Record, event: PagesCounted) -> None:
        self._touched = True
        self._counted = event.nr_memslot_pages
        self._counted_by = record

    def _bounded(self, record: Record, event: MmuPagesChanged) -> None:
        self.exercised += 1
        if self._bounded_at == self._counted:
            self.violate(
                record,
                f"the bound on shadow pages was worked out again although the page"
                f" count is still {self._counted}",
                *_steps(self._counted_by, self._bounded_by),
            )
        self._bounded_by = record
        self._bound, self._bounded_at = event.n_max_mmu_pages, self._counted

    def _released(self, record: Record, event: LockReleased) -> None:
        if event.lock != "slots_lock" or not self._touched:
            return
        self._touched = False
        self.exercised += 1
        present = sum(
            self._pages.get((as_id, space.active), 0)
            for as_id, space in self.history.spaces.items()
        )
        if self._counted != present:
            self.violate(
                record,
                f"slots_lock was released while {self._counted} pages are counted, but"
                f" the slots of the active sets have {present}",
                *_steps(self._changed_by, self._counted_by),
            )
        bound = max(self._counted * MMU_PAGES_PERMILLE // 1000, MIN_MMU_PAGES)
        if self._bound not in {None, bound}:
            self.violate(
                record,
                f"slots_lock was released while there may be {self._bound} shadow"
                f" pages, but {self._counted} pages of memory make it {bound}",
                *_steps(self._counted_by, self._bounded_by),
            )


def _steps(*records: Record | None) -> list[int]:
    return [record.step for record in records if record is not None]
