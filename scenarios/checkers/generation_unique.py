"""A generation names one content of one address space, and only ever grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memslots.generation import UPDATE_IN_PROGRESS, settled
from memslots.tracepoints import GenerationAdvanced, SetsSwapped
from rcu.trace import Event, Record
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from scenarios.checkers.ledger import PairLedger
from scenarios.checkers.notes import Notes
from vcpus.tracepoints import SlotLookedUp


class GenerationUnique(Checker):
    """Remembers which content every generation stood for."""

    id = "generation-unique"
    sentence = (
        "a published set carries a generation that no other content ever had: the old"
        " one marked as in progress, then a larger one, of its own address space; the"
        " next set of the VM is published only after that"
    )
    source = "KVM: kvm_swap_active_memslots, virt/kvm/kvm_main.c"
    invariants = ("I8", "I9", "I10")

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self._content = PairLedger[tuple[int, int]]()
        self._first_seen = Notes[tuple[int, int]]()  # by address space and generation
        self._latest: dict[int, int] = {}
        self._numbered: dict[int, Record] = {}  # the last time, by address space
        self._swap: tuple[Record, SetsSwapped] | None = None

    def handlers(self) -> dict[type[Event], Callable[[Record, Any], None]]:
        """See `Checker.handlers`."""
        return {
            SetsSwapped: self._swapped,
            GenerationAdvanced: self._advanced,
            SlotLookedUp: self._looked_up,
            RuleWasBroken: self.rule_was_broken,
        }

    def _swapped(self, record: Record, event: SetsSwapped) -> None:
        self.exercised += 1
        if not event.generation & UPDATE_IN_PROGRESS:
            self.violate(
                record,
                f"set {event.set} was published as generation {event.generation},"
                " without the mark that an update is in progress",
                *self.history.content(event.as_id, event.set).last_edits(),
            )
        if self._swap is not None:
            at, swap = self._swap
            self.violate(
                record,
                f"set {event.set} of address space {event.as_id} was published while"
                f" set {swap.set} of address space {swap.as_id}, published by"
                f" {at.actor} in step {at.step}, is still marked",
                at.step,
            )
        self._swap = record, event
        self._stands_for(record, event.as_id, event.set, event.generation)

    def _advanced(self, record: Record, event: GenerationAdvanced) -> None:
        self.exercised += 1
        self._swap = None
        space = self.history.spaces[event.as_id]
        causes = self.history.last_swap(event.as_id)
        if event.as_id in self._numbered:
            causes.append(self._numbered[event.as_id].step)
        self._numbered[event.as_id] = record
        latest = self._latest.get(event.as_id, space.generation)
        generation = event.generation
        if generation <= latest or generation & UPDATE_IN_PROGRESS:
            text = f"generation {latest} was followed by {generation}"
            self.violate(record, text, *causes)
        if settled(generation) % space.generation_step != event.as_id:
            self.violate(
                record,
                f"generation {generation} does not belong to address space"
                f" {event.as_id}",
                *causes,
            )
        self._latest[event.as_id] = max(latest, settled(generation))
        self._stands_for(record, event.as_id, event.set, generation)

    def _looked_up(self, record: Record, event: SlotLookedUp) -> None:
        if event.generation is not None:
            self.exercised += 1
            self._stands_for(record, event.as_id, event.set, event.generation)

    def _stands_for(self, record: Record, as_id: int, index: int, number: int) -> None:
        content = self.history.content(as_id, index)
        now = index, content.version
        known = self._content.recall((as_id, number))
        if known is None:
            self._content[as_id, number] = now
            self._first_seen.note((as_id, number), record)
        elif known != now:
            self.violate(
                record,
                f"generation {number:#x} stood for set {known[0]} after {known[1]}"
                f" edits, and stands for set {index} after {now[1]} edits now",
                *self._first_seen.steps((as_id, number)),
                *content.last_edits(),
            )
