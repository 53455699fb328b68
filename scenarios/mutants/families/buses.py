"""I/O buses, which share lock and domain with the slots."""

from __future__ import annotations

from functools import partial

from memslots.io_bus import IoBus, IoBuses, IoDevice
from memslots.vm import Vm
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step


class LocksWhatIsRead(IoBuses):
    """Keeps writers away from a bus while it is read."""

    async def read(self) -> list[str]:
        """See `IoBuses.read`."""
        async with self.slots_lock:
            return await super().read()


class DestroysBeforeItWaits(IoBuses):
    """Destroys what was on a bus while readers may be on it."""

    async def finish(self, old: IoBus, others: tuple[IoDevice, ...]) -> None:
        """See `IoBuses.finish`."""
        for device in others:
            await self.destroy(device)
        await super().finish(old, ())


class GoesOnWithoutABus(IoBuses):
    """Takes devices off a bus that is gone, and they with it."""

    def is_destroyed(self) -> bool:
        """See `IoBuses.is_destroyed`."""
        return False


MUTANTS = (
    Mutant(
        id="6b",
        title="whoever reads from an I/O bus takes slots_lock in his section",
        step=Step.READ_SECTION,
        why=(
            "Whoever waits for readers holds slots_lock all the while, and a reader who"
            " waits for slots_lock does not leave. Here nobody waits, and only the"
            " order of the locks tells."
        ),
        provenance=Provenance(
            kind="rule", subject="slots_lock is never taken inside a read section"
        ),
        scenario="read-and-device",
        checker="lock-order",
        parts=Parts(vm=partial(Vm, buses=LocksWhatIsRead)),
        preemptions=0,
    ),
    Mutant(
        id="67a",
        title="the devices of a bus are destroyed before its readers have left",
        step=Step.BUS_CHANGES,
        why=(
            "If no smaller bus can be allocated, readers find none from then on, but"
            " those who found the old one still use its devices. They must have left"
            " before anything on it is destroyed."
        ),
        provenance=Provenance(
            kind="fix",
            subject=(
                "KVM: Destroy I/O bus devices on unregister failure _after_ sync'ing"
                " SRCU"
            ),
            release="5.10.37",
        ),
        scenario="read-and-no-bus",
        checker="no-use-after-free",
        parts=Parts(vm=partial(Vm, buses=DestroysBeforeItWaits)),
        preemptions=1,
    ),
    Mutant(
        id="67b",
        title="devices are taken off a bus that is destroyed",
        step=Step.BUS_CHANGES,
        why=(
            "When no smaller bus can be allocated, all devices of the bus are destroyed"
            " at once. Whoever goes on to the next one uses what is freed."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Stop looking for coalesced MMIO zones if the bus is destroyed",
            release="5.10.37",
        ),
        scenario="read-and-no-bus",
        checker="no-use-after-free",
        parts=Parts(vm=partial(Vm, buses=GoesOnWithoutABus)),
        preemptions=0,
    ),
)
