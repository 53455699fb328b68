"""Page tables as the guest walks them: roots, and translations that never change.

KVM: struct kvm_mmu_page, arch/x86/kvm/mmu/mmu_internal.h
"""

from __future__ import annotations

import attrs

from memslots.units import Gfn
from rcu.operation import Location
from vcpus.host_memory import HostPage


@attrs.frozen(eq=False)
class Spte:
    """A translation to host memory; changed by putting another in its place.

    Attributes:
        slot: Serial of the slot from which it was made.
        page: The host's page; the entry has no reference of its own.
        writable: Whether the guest may write through it.
        accessed: Whether it has been used since it was last aged.
    """

    slot: int
    page: HostPage
    writable: bool
    accessed: bool = True


@attrs.frozen(eq=False)
class MmioSpte:
    """The note that a page has no slot, good for one generation.

    Attributes:
        generation: The low bits of the generation of the set without a slot.

    KVM: mark_mmio_spte, arch/x86/kvm/mmu/mmu.c
    """

    generation: int


class Root:
    """The translations of one address space.

    Args:
        number: Which root of the VM, from 0.
        as_id: Address space.
        valid_gen: ``mmu_valid_gen`` when it was made.
        shadow: Whether it shadows page tables of the guest, so that its entries are
            in reverse maps.

    Attributes:
        invalid: Whether nothing may be mapped in it any more.
        entries: By guest page.

    KVM: struct kvm_mmu_page, arch/x86/kvm/mmu/mmu_internal.h
    """

    def __init__(
        self, number: int, as_id: int, valid_gen: int, *, shadow: bool
    ) -> None:
        self.number = number
        self.as_id = as_id
        self.valid_gen = valid_gen
        self.shadow = shadow
        self.invalid = False
        self.entries: dict[Gfn, Spte | MmioSpte] = {}
        self._locations: dict[Gfn, Location] = {}

    def location(self, gfn: Gfn) -> Location:
        """Where the entry of ``gfn`` is read and written."""
        location = self._locations.get(gfn)
        if location is None:
            name = f"spte of gfn {gfn:#x} in root {self.number}"
            location = self._locations[gfn] = Location(name)
        return location

    @property
    def pages(self) -> int:
        """Pages of page tables that it takes: itself, and one for 512 entries."""
        return 1 + len({gfn >> 9 for gfn in self.entries})
