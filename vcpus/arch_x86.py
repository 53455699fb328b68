"""What the writer asks of x86.

KVM: arch/x86/kvm/x86.c
"""

from __future__ import annotations

import errno

from memslots.arch import PlainArch
from memslots.errors import MemoryRegionError
from memslots.region import Change
from memslots.slot import ArchData, MemorySlot
from memslots.vm import Vm
from rcu.reclaim import reclaim
from vcpus.shadow_roots import ShadowRoots, SlotArchX86


class ArchX86(PlainArch):
    """The x86 part of an update.

    Args:
        vm: Whose slots change.

    Attributes:
        shadow_roots: Whether slots need reverse maps.
    """

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.shadow_roots = ShadowRoots(vm)

    async def prepare_memory_region(
        self, old: MemorySlot | None, new: MemorySlot | None, change: Change
    ) -> None:
        """See `ArchHooks.prepare_memory_region`.

        Raises:
            MemoryRegionError: EINVAL; the range lies behind the last gfn.
        """
        if new is None:
            return
        if change is Change.FLAGS_ONLY and old is not None:
            await self.vm.scheduler.point(self.vm.arch_data.read)
            new.arch = old.arch.copy() if old.arch else None
            return
        max_gfn = self.vm.profile.max_gfn
        if new.end_gfn - 1 > max_gfn:
            raise MemoryRegionError(
                errno.EINVAL,
                f"gfn {new.end_gfn - 1:#x} lies behind the last one, {max_gfn:#x}",
            )
        # MOVE gets new arrays, too: they depend on where the slot lies.
        await self.shadow_roots.are_allocated()
        self.allocate(new)

    def allocate(self, slot: MemorySlot) -> None:
        """See `ArchHooks.allocate`."""
        slot.arch = SlotArchX86()
        if self.shadow_roots.allocated:
            self.shadow_roots.allocate(slot)

    def free_memslot(self, arch: ArchData) -> None:
        """See `ArchHooks.free_memslot`."""
        if isinstance(arch, SlotArchX86) and arch.rmaps is not None:
            reclaim(self.vm.scheduler, arch.rmaps, "reverse maps")
