"""Read sections: who is in one, for how long, and what not to wait for inside."""

from __future__ import annotations

from memslots.slot import MemorySlot
from memslots.units import Gfn, Gpa
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step
from vcpus.guest_memory import GuestMemory, Reader
from vcpus.page_fault import FaultingVcpu, Outcome, PageFaults
from vcpus.vcpu import Access, Vcpu


class ReadsOutsideTheSection(Vcpu):
    """Does what the guest asks for when it has left its section."""

    async def handle_access(self, access: Access) -> bool:
        """See `Vcpu.handle_access`."""
        await self.srcu_read_unlock()
        done = await super().handle_access(access)
        await self.srcu_read_lock()
        return done


class UsesSlotsInAnotherSection(GuestMemory):
    """Leaves its section behind a lookup, and enters another to use what it found."""

    async def gfn_to_memslot(self, reader: Reader, gfn: Gfn) -> MemorySlot | None:
        """See `GuestMemory.gfn_to_memslot`."""
        slot = await super().gfn_to_memslot(reader, gfn)
        if isinstance(reader, Vcpu):
            await reader.srcu_read_unlock()
            await reader.srcu_read_lock()
        return slot


class EntersTwice(Vcpu):
    """Enters a second section, whose index takes the place of the first one's."""

    index_in_use = 0

    async def handle_access(self, access: Access) -> bool:
        """See `Vcpu.handle_access`."""
        await self.srcu_read_lock()
        done = await super().handle_access(access)
        await self.srcu_read_unlock()
        return done

    async def srcu_read_lock(self) -> None:
        """Store the index, whatever is stored already."""
        self.index_in_use = await self.vm.srcu.read_lock()

    async def srcu_read_unlock(self) -> None:
        """Leave with the index that was stored last."""
        await self.vm.srcu.read_unlock(self.index_in_use)


class SleepsInside(Vcpu):
    """Halts without leaving its section."""

    async def halt(self) -> None:
        """See `Vcpu.halt`."""
        await self.block(await self.fall_asleep())


class TriesAgainInside(PageFaults):
    """Prefaults a page of an INVALID slot until the slot is there again."""

    async def prefault(self, vcpu: FaultingVcpu, gpa: Gpa) -> Outcome:
        """See `PageFaults.prefault`."""
        while True:
            outcome = await self.handle(vcpu, gpa, write=False)
            if outcome is not Outcome.RETRY:
                return outcome


MUTANTS = (
    Mutant(
        id="37a",
        title="a vCPU's thread looks slots up outside its section",
        step=Step.READ_SECTION,
        why=(
            "Nobody waits for a reader that is in no section. The set that it looks"
            " into may be edited under its eyes, and the slot that it finds be freed."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Take srcu lock in post_kvm_run_save()",
            release="5.14.16",
        ),
        scenario="emulated-io-and-flags",
        checker="no-use-after-free",
        parts=Parts(vcpu=ReadsOutsideTheSection),
        preemptions=0,
    ),
    Mutant(
        id="37b",
        title="the section ends between the lookup and the use of the slot",
        step=Step.READ_SECTION,
        why=(
            "A grace period waits for the section in which a slot was found. One that"
            " begins behind it protects what is found from then on, not what was"
            " found before."
        ),
        provenance=Provenance(
            kind="rule",
            subject="a slot is used in the section in which it was looked up",
        ),
        scenario="emulated-read-and-flags",
        checker="no-use-after-free",
        parts=Parts(memory=UsesSlotsInAnotherSection),
        preemptions=1,
    ),
    Mutant(
        id="38",
        title="a second section's index takes the place of the first one's",
        step=Step.SRCU_UNLOCKS,
        why=(
            "Both sections then end with the index of the second, and if a flip lies"
            " between them, one rank keeps a lock without an unlock. Every later grace"
            " period waits for ever."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: x86: Don't re-acquire SRCU lock in complete_emulated_io()",
            release="5.17.5",
        ),
        scenario="emulated-io-and-flags",
        checker="lost-wakeup",
        parts=Parts(vcpu=EntersTwice),
        preemptions=0,
    ),
    Mutant(
        id="39",
        title="a vCPU halts inside its section",
        step=Step.READ_SECTION,
        why=(
            "A halted vCPU may sleep as long as it likes, and the update waits for its"
            " section all that time. If whoever would wake it waits for the update,"
            " that is for ever."
        ),
        provenance=Provenance(
            kind="fix",
            subject="Fix SRCU deadlock caused by kvm_riscv_check_vcpu_requests()",
            release="5.18.13",
        ),
        scenario="halt-and-flags",
        checker="deadlock",
        parts=Parts(vcpu=SleepsInside),
        preemptions=0,
    ),
    Mutant(
        id="40",
        title="prefaulting tries an INVALID slot again in the same section",
        step=Step.READ_SECTION,
        why=(
            "The slot stays INVALID until the writer goes on, and the writer waits for"
            " the section in which it is tried again. The one goes round for ever, and"
            " the other never has a turn."
        ),
        provenance=Provenance(
            kind="fix",
            subject=(
                "Return -EAGAIN during prefault if userspace concurrently"
                " deletes/moves the memslot"
            ),
            release="6.18",
        ),
        scenario="prefaults-and-delete",
        checker="starvation",
        parts=Parts(faults=TriesAgainInside),
        preemptions=None,
        seeds=range(10),
    ),
)
