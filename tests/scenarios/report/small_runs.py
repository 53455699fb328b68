"""Short runs, record by record, of which every part of a picture is known."""

from __future__ import annotations

from memslots.slot import MemFlag
from memslots.tracepoints import (
    AddressSpaceMade,
    GenerationAdvanced,
    RegionRequested,
    RegionReturned,
    SetsSwapped,
    SlotData,
    SlotInstalled,
    SlotReplaced,
)
from rcu.trace import Event, Record
from rcu.tracepoints import (
    GracePeriodEnded,
    GracePeriodStarted,
    IndexFlipped,
    LockAcquired,
    LockReleased,
    SectionBegan,
    SectionEnded,
    SynchronizeBegan,
    SynchronizeEnded,
)
from vcpus.tracepoints import SetDereferenced

DOMAIN = "kvm->srcu"
MARK = 1 << 63

SLOT = SlotData(1, 0, 0x0, 16, 0x7F0000000000, 0)
INVALID = SlotData(2, 0, 0x0, 16, 0x7F0000000000, int(MemFlag.INVALID))


def records(*lines: tuple[int, str, Event]) -> list[Record]:
    return [Record(step, actor, event) for step, actor, event in lines]


DELETE = records(
    (0, "setup", AddressSpaceMade(0, 0, 1)),
    (0, "setup", SlotInstalled(0, SLOT)),
    (1, "vmm", RegionRequested(1, 0, 0, 0, 0, 0)),
    (2, "vcpu0", SectionBegan(DOMAIN, 0)),
    (3, "vcpu0", SetDereferenced(0, 0)),
    (4, "vmm", LockAcquired("slots_lock", shared=False)),
    (5, "vmm", SlotReplaced(0, 1, 1, INVALID)),
    (6, "vmm", SetsSwapped(0, 1, 1 | MARK)),
    (6, "vmm", SynchronizeBegan(DOMAIN, expedited=True)),
    (7, "kvm->srcu-gp", GracePeriodStarted(DOMAIN, 1)),
    (8, "vcpu1", SectionBegan(DOMAIN, 0)),
    (9, "kvm->srcu-gp", IndexFlipped(DOMAIN, 1)),
    (10, "vcpu0", SectionEnded(DOMAIN, 0)),
    (11, "vcpu1", SectionEnded(DOMAIN, 0)),
    (12, "kvm->srcu-gp", GracePeriodEnded(DOMAIN, 4)),
    (13, "vmm", SynchronizeEnded(DOMAIN)),
    (14, "vmm", GenerationAdvanced(0, 1, 2)),
    (15, "vmm", SlotReplaced(0, 0, 1, None)),
    (16, "vmm", LockReleased("slots_lock")),
    (17, "vmm", RegionReturned(1, "delete", 0)),
)
"""A slot goes, as far as its INVALID copy; two sections hold the grace period up."""


def endless_reader(sections: int) -> list[Record]:
    """One reader enters and leaves; each section takes ten steps and three records."""
    made = records((0, "setup", AddressSpaceMade(0, 0, 1)))
    for number in range(sections):
        step = 10 * number + 1
        made += records(
            (step, "vcpu0", SectionBegan(DOMAIN, 0)),
            (step + 3, "vcpu0", SetDereferenced(0, 0)),
            (step + 6, "vcpu0", SectionEnded(DOMAIN, 0)),
        )
    return made
