"""Records written by hand, and a checker that reads them alone."""

from __future__ import annotations

from typing import NamedTuple

from memslots.tracepoints import AddressSpaceMade, SlotData, SlotInstalled
from rcu.trace import Event, Record
from rcu.tracepoints import SectionBegan, SectionEnded
from scenarios.checkers.checker import Checker
from scenarios.checkers.history import History
from vcpus.tracepoints import SetDereferenced, SlotLookedUp

SRCU = "kvm->srcu"


class Told(NamedTuple):
    """What a checker found, without its sentence."""

    step: int
    actor: str
    seen: str


def slot(serial: int, gfn: int = 0x10, npages: int = 4, flags: int = 0) -> SlotData:
    """Slot 1 unless its serial says otherwise; the serial tells objects apart."""
    return SlotData(serial, 1, gfn, npages, 0x7F00_0000_0000, flags)


X = slot(1)
Y = slot(2, gfn=0x20)
INVALID_X = slot(3, flags=1 << 16)


def story(*lines: tuple[str, Event]) -> list[Record]:
    """Actor and event of step 1, of step 2, and so on."""
    return [Record(step, actor, event) for step, (actor, event) in enumerate(lines, 1)]


def space(*slots: SlotData, as_id: int = 0, of: int = 1) -> list[Record]:
    """An address space with these slots before the first step."""
    made = AddressSpaceMade(as_id, as_id, of)
    installed = (SlotInstalled(as_id, each) for each in slots)
    return [Record(0, "setup", event) for event in (made, *installed)]


def alone(kind: type[Checker], records: list[Record]) -> Checker:
    """Let one checker read the records, and nobody else."""
    history = History()
    checker = kind(history)
    handlers = checker.handlers()
    for record in records:
        for table in (handlers, history.handlers):
            if type(record.event) in table:
                table[type(record.event)](record, record.event)
    return checker


def told(checker: Checker) -> list[Told]:
    """What it found; every finding is its own and gives its sentence as the reason."""
    assert checker.count == len(checker.violations)
    for violation in checker.violations:
        assert (violation.checker, violation.why) == (checker.id, checker.sentence)
    return [Told(each.step, each.actor, each.seen) for each in checker.violations]


def outcome(kind: type[Checker], records: list[Record]) -> tuple[int, list[Told]]:
    """How often the rule was exercised, and what was found."""
    checker = alone(kind, records)
    return checker.exercised, told(checker)


def enter(actor: str, idx: int = 0, domain: str = SRCU) -> tuple[str, Event]:
    return actor, SectionBegan(domain, idx)


def leave(actor: str, idx: int = 0, domain: str = SRCU) -> tuple[str, Event]:
    return actor, SectionEnded(domain, idx)


def get_hold(actor: str, index: int, as_id: int = 0) -> tuple[str, Event]:
    return actor, SetDereferenced(as_id, index)


def look(
    actor: str,
    index: int,
    gfn: int,
    found: SlotData | None,
    *,
    generation: int | None = None,
    as_id: int = 0,
    found_in: str = "tree",
) -> tuple[str, Event]:
    return actor, SlotLookedUp(as_id, index, generation, gfn, found_in, found)
