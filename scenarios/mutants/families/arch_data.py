"""Arrays that x86 allocates late: under which lock, for which slot, carried over."""

from __future__ import annotations

from memslots.region import Change
from memslots.slot import ArchData, MemorySlot
from memslots.update import Update
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step
from vcpus.lookup import dereference
from vcpus.shadow_roots import ShadowRoots
from vcpus.tracepoints import ShadowRootAllocated


class ResyncsNothing(Update):
    """Goes on with the arch data that the slot had when it became INVALID."""

    def resync_arch(self, old: MemorySlot, invalid: MemorySlot) -> None:
        """Leave it as it is."""


class CopiesBeforeTheLock(Update):
    """Takes the arch data of a slot over as it was before ``slots_arch_lock``."""

    early: ArchData | None = None

    async def begin_change(
        self, old: MemorySlot | None, new: MemorySlot | None
    ) -> None:
        """See `Update.begin_change`."""
        if old is not None and old.arch is not None:
            await self._scheduler.point(self.vm.arch_data.read)
            self.early = old.arch.copy()
        await super().begin_change(old, new)

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """See `SlotResources.prepare_memory_region`."""
        await super().prepare_memory_region(old, new, change)
        if change is Change.FLAGS_ONLY and new is not None:
            new.arch = self.early
            self.vm.tell_held(new)


class TakesSlotsLock(ShadowRoots):
    """Allocates under the lock that writers hold while they wait for readers."""

    async def first_alloc(self) -> None:
        """See `ShadowRoots.first_alloc`."""
        async with self.vm.slots_lock:
            await super().first_alloc()


class ReadsTheSetTooEarly(ShadowRoots):
    """Gets hold of the set, and then takes ``slots_arch_lock``."""

    async def first_alloc(self) -> None:
        """See `ShadowRoots.first_alloc`."""
        vm = self.vm
        if await self.are_allocated():
            return
        slots = await dereference(vm, as_id=0)
        async with vm.slots_arch_lock:
            if await self.are_allocated():
                return
            await self._scheduler.point(slots.lookup)
            for slot in list(slots):
                await self._scheduler.point(self._allocate)
                self.allocate(slot)
            await self._scheduler.point(self.location.write)
            self.allocated = True
            if self._scheduler.tracing:
                self._scheduler.emit(ShadowRootAllocated())


_LOST = Provenance(
    kind="fix",
    subject=(
        "KVM: Ensure local memslot copies operate on up-to-date arch-specific data"
    ),
    commit="bda44d844758",
    release="5.16",
)

MUTANTS = (
    Mutant(
        id="4a",
        title="a failed move forgets what the INVALID copy was given",
        step=Step.INVALID_RESYNCS,
        why=(
            "Reverse maps that are allocated while the slot is INVALID go to the copy,"
            " which readers find. When the old slot comes back it has none, although"
            " everybody takes them for allocated."
        ),
        provenance=_LOST,
        scenario="shadow-root-and-failed-move",
        checker="arch-data-kept",
        parts=Parts(update=ResyncsNothing),
        preemptions=0,
    ),
    Mutant(
        id="4b",
        title="a deletion forgets what the INVALID copy was given",
        step=Step.INVALID_RESYNCS,
        why=(
            "Reverse maps that are allocated while the slot is INVALID go to the copy,"
            " of which only the struct is freed. What the old slot does not know of"
            " nobody ever frees."
        ),
        provenance=_LOST,
        scenario="shadow-root-and-delete",
        checker="freed-once",
        parts=Parts(update=ResyncsNothing),
        preemptions=0,
    ),
    Mutant(
        id="4c",
        title="arch data is copied before slots_arch_lock is taken",
        step=Step.CALL_LOCKS,
        why=(
            "Until the writer has the lock a vCPU may give the slot its reverse maps."
            " A copy from before is published without them."
        ),
        provenance=_LOST,
        scenario="shadow-root-and-flags",
        checker="arch-data-kept",
        parts=Parts(update=CopiesBeforeTheLock),
        preemptions=1,
    ),
    Mutant(
        id="6",
        title="a reader takes slots_lock inside its section",
        step=Step.CALL_LOCKS,
        why=(
            "A writer holds slots_lock while he waits for all readers of the old set."
            " A reader who waits for that lock keeps him waiting, and waits for ever."
        ),
        provenance=Provenance(
            kind="rule", subject="slots_lock is never taken inside a read section"
        ),
        scenario="shadow-root-and-delete",
        checker="lock-order",
        parts=Parts(shadow_roots=TakesSlotsLock),
        preemptions=0,
    ),
    Mutant(
        id="7",
        title="the set is dereferenced before slots_arch_lock is taken",
        step=Step.READ_SECTION,
        why=(
            "While the reader waits for the lock the writer publishes the other set."
            " What is then allocated goes to a slot that readers find no more, and the"
            " one that they find has none."
        ),
        provenance=Provenance(
            kind="rule", subject="lazy allocators read the set under slots_arch_lock"
        ),
        scenario="shadow-root-and-flags",
        checker="arch-data-kept",
        parts=Parts(shadow_roots=ReadsTheSetTooEarly),
        preemptions=1,
    ),
)
