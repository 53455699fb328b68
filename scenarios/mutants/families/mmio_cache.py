"""Pages known to have no slot: remembered with a generation, believed only in it."""

from __future__ import annotations

from memslots.slot import MemorySlot
from memslots.units import Gfn
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step
from vcpus.lookup import dereference
from vcpus.mmio_cache import MmioCache, MmioUser
from vcpus.page_tables import Root
from vcpus.shadow_mmu import ShadowMmu


class HitsInAnyGeneration(MmioCache):
    """Does not ask how old the vCPU's own knowledge is."""

    async def is_cached(self, vcpu: MmioUser, gfn: Gfn) -> bool:
        """See `MmioCache.is_cached`."""
        await self.generation(vcpu)
        if vcpu.mmio_gfn != gfn:
            return False
        self._tell(vcpu, gfn, "vcpu")
        return True


class RemembersInFlux(MmioCache):
    """Remembers a page under the number that is marked: update in progress."""

    async def remember(self, vcpu: MmioUser, gfn: Gfn) -> None:
        """See `MmioCache.remember`."""
        vcpu.mmio_gen = await self.generation(vcpu)
        vcpu.mmio_gfn = gfn


class WrapsAtZeroOnly(MmioCache):
    """Does not know that numbers may skip 0."""

    def has_wrapped(self, generation: int) -> bool:
        """See `MmioCache.has_wrapped`."""
        return not self.low_bits(generation)


class OverlapsTheGeneration(ShadowMmu):
    """Marks an entry as MMIO with a bit in which it keeps the generation."""

    async def install_mmio(self, root: Root, gfn: Gfn, generation: int) -> None:
        """See `ShadowMmu.install_mmio`."""
        await super().install_mmio(root, gfn, generation | 2)


class LooksAtAddressSpaceZero(MmioCache):
    """Takes the generation of address space 0, wherever the vCPU is."""

    async def generation(self, vcpu: MmioUser) -> int:
        """See `MmioCache.generation`."""
        slots = await dereference(self.vm, 0)
        await self._scheduler.point(slots.generation_location.read)
        return slots.generation


class ShadowsAddressSpaceZero(ShadowMmu):
    """Looks the slot of a shadow entry up in address space 0, wherever its root is."""

    async def slot_shadowed(self, root: Root, gfn: Gfn) -> MemorySlot | None:
        """See `ShadowMmu.slot_shadowed`."""
        slots = await dereference(self.vm, 0)
        await self._scheduler.point(slots.lookup)
        return slots.search_memslots(gfn)


MUTANTS = (
    Mutant(
        id="15",
        title="a vCPU's own MMIO cache has no generation",
        step=Step.MMIO_HITS,
        why=(
            "A vCPU remembers that a page has no slot, and a slot may be created there."
            " Without a number it goes on to take guest memory for a device."
        ),
        provenance=Provenance(
            kind="fix",
            subject="kvm: x86: fix stale mmio cache bug",
            commit="56f17dd3fbc4",
        ),
        scenario="device-becomes-memory-in-a-pause",
        checker="mmio-cache-fresh",
        parts=Parts(mmio=HitsInAnyGeneration),
        preemptions=1,
        unseen_in=("number-wraps-in-a-pause",),
    ),
    Mutant(
        id="16",
        title="MMIO is remembered although an update is in progress",
        step=Step.MMIO_REMEMBERS,
        why=(
            "What a vCPU has learnt from the old set would be remembered under the"
            " number of the new one, for as long as that is marked. In that time it"
            " takes guest memory for a device."
        ),
        provenance=Provenance(
            kind="fix",
            subject=(
                "KVM: x86/mmu: Do not cache MMIO accesses while memslots are in flux"
            ),
            commit="ddfd1730fd82",
            release="5.1",
        ),
        scenario="device-becomes-memory",
        checker="mmio-cache-fresh",
        parts=Parts(mmio=RemembersInFlux),
        preemptions=1,
    ),
    Mutant(
        id="18",
        title="a wrap is only seen if the number is 0",
        step=Step.SWAP_TELLS,
        why=(
            "Numbers advance by the number of address spaces, so that those of the"
            " second are never 0. When they wrap, entries from long ago are taken for"
            " new ones."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: x86/mmu: Detect MMIO generation wrap in any address space",
        ),
        scenario="number-wraps-in-a-pause",
        checker="mmio-cache-fresh",
        parts=Parts(mmio=WrapsAtZeroOnly),
        preemptions=1,
        unseen_in=("device-becomes-memory-in-a-pause",),
    ),
    Mutant(
        id="19",
        title="the mark of an MMIO entry overlaps its generation",
        step=Step.MMIO_REMEMBERS,
        why=(
            "An entry has so many bits, and the mark that makes it MMIO must use none"
            " that hold the number. Where they overlap, two numbers look alike."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: x86: fix overlap between SPTE_MMIO_MASK and generation",
            release="5.4.19",
        ),
        scenario="device-becomes-memory-in-a-pause",
        checker="mmio-cache-fresh",
        parts=Parts(mmu=OverlapsTheGeneration),
        preemptions=1,
    ),
    Mutant(
        id="20",
        title="the MMIO cache goes by the generation of address space 0",
        step=Step.MMIO_HITS,
        why=(
            "A vCPU in system management mode looks slots up in address space 1. The"
            " number of address space 0 does not change when a slot is created there."
        ),
        provenance=Provenance(
            kind="fix",
            subject="KVM: x86: Use active memslots for the per-vCPU MMIO cache",
            commit="b3e6212dea2e",
            release="6.1.191",
            cve="CVE-2026-99082",
        ),
        scenario="device-becomes-memory-in-a-pause",
        checker="mmio-cache-fresh",
        parts=Parts(mmio=LooksAtAddressSpaceZero),
        preemptions=1,
    ),
    Mutant(
        id="21",
        title="the slot of a shadow page is looked up in address space 0",
        step=Step.FAULT_MAPS,
        why=(
            "Shadow pages of system management mode belong to slots of address space 1."
            " In the other there is another slot at the page, or none, and its reverse"
            " map does not know them."
        ),
        provenance=Provenance(
            kind="fix",
            subject=(
                "NX-recovery thread looked up the slot in AS 0 for an SMM shadow page"
            ),
            release="6.4",
        ),
        scenario="reclaim-under-a-fault",
        checker="arch-data-kept",
        parts=Parts(mmu=ShadowsAddressSpaceZero),
        preemptions=0,
    ),
)
