"""Pages known to have no slot, and how that knowledge grows old.

A page without a slot is remembered twice: in the page tables with the low bits of the
generation, and in the vCPU with the whole of it. Both are true only as long as the
address space that the vCPU is in has that generation.

KVM: arch/x86/kvm/mmu/spte.c, arch/x86/kvm/x86.h
"""

from __future__ import annotations

from typing import Protocol

from memslots.generation import is_in_progress
from memslots.units import Gfn
from memslots.vm import Vm
from vcpus.lookup import dereference
from vcpus.tracepoints import MmioCacheHit

MMIO_SPTE_GEN_BITS = 19
"""Bits of the generation that a page table entry can hold.

KVM: MMIO_SPTE_GEN_MASK, arch/x86/kvm/mmu/spte.h
"""


class MmioUser(Protocol):
    """A vCPU as far as its own MMIO cache goes."""

    index: int
    as_id: int
    mmio_gfn: Gfn | None
    mmio_gen: int


class MmioCache:
    """Remembers pages without a slot.

    Args:
        vm: Whose.
        bits: How many bits of the generation a page table entry holds.
    """

    def __init__(self, vm: Vm, bits: int = MMIO_SPTE_GEN_BITS) -> None:
        self.vm = vm
        self.bits = bits
        self._scheduler = vm.scheduler

    async def generation(self, vcpu: MmioUser) -> int:
        """The generation of the address space that ``vcpu`` is in."""
        slots = await dereference(self.vm, vcpu.as_id)
        await self._scheduler.point(slots.generation_location.read)
        return slots.generation

    def low_bits(self, generation: int) -> int:
        """What a page table entry keeps of ``generation``: never the in-progress bit.

        KVM: generation_mmio_spte_mask, arch/x86/kvm/mmu/spte.c
        """
        return generation & ((1 << self.bits) - 1)

    async def is_fresh(self, vcpu: MmioUser, gfn: Gfn, low_bits: int) -> bool:
        """Whether an entry of the page tables is as old as the set of ``vcpu``.

        KVM: check_mmio_spte, arch/x86/kvm/mmu/mmu.c
        """
        generation = await self.generation(vcpu)
        fresh = not is_in_progress(generation) and (
            self.low_bits(generation) == low_bits
        )
        if fresh:
            self._tell(vcpu, gfn, "spte")
        return fresh

    async def is_cached(self, vcpu: MmioUser, gfn: Gfn) -> bool:
        """Whether the vCPU itself remembers that the page has no slot.

        KVM: vcpu_match_mmio_gpa, arch/x86/kvm/x86.h
        """
        if vcpu.mmio_gfn != gfn:
            return False
        cached = vcpu.mmio_gen == await self.generation(vcpu)
        if cached:
            self._tell(vcpu, gfn, "vcpu")
        return cached

    async def remember(self, vcpu: MmioUser, gfn: Gfn) -> None:
        """Let the vCPU itself remember it; not while an update is in progress.

        KVM: vcpu_cache_mmio_info, arch/x86/kvm/x86.h
        """
        generation = await self.generation(vcpu)
        if is_in_progress(generation):
            return
        vcpu.mmio_gfn = gfn
        vcpu.mmio_gen = generation

    def has_wrapped(self, generation: int) -> bool:
        """Whether old entries could be taken for ones of ``generation``.

        Numbers advance by the number of address spaces, so that they may skip 0.

        KVM: kvm_mmu_invalidate_mmio_sptes, arch/x86/kvm/mmu/mmu.c
        """
        return not self.low_bits(generation) & ~(self.vm.address_space_count - 1)

    def _tell(self, vcpu: MmioUser, gfn: Gfn, where: str) -> None:
        if self._scheduler.tracing:
            self._scheduler.emit(MmioCacheHit(vcpu.index, vcpu.as_id, gfn, where))
