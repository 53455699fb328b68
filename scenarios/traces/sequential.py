"""What KVM answers to calls that are made one after the other: no lock, no waiting.

The checks are those of the model, in KVM's order; what they look at is only which
region each slot holds. `Rules` is made of small methods, so that one can be left out.

KVM: kvm_set_memory_region, virt/kvm/kvm_main.c
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import cast

import attrs

from memslots.errors import MemoryRegionError
from memslots.profile import Profile
from memslots.region import Change, Region, check_before_lock, check_request, classify
from memslots.slot import GUEST_MEMFD, MemorySlot
from memslots.units import PAGE_SHIFT


class Slots:
    """Which region each slot holds; never changed, only replaced.

    Args:
        regions: The requests that the slots are as of, by slot field.
        digest: Of the regions, whatever their order.

    Cost: a change copies the table of slots and hashes the regions that it touches.
    """

    __slots__ = ("digest", "regions")

    def __init__(self, regions: Mapping[int, Region], digest: int = 0) -> None:
        self.regions = regions
        self.digest = digest

    def __hash__(self) -> int:
        return self.digest

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Slots)
            and self.digest == other.digest
            and self.regions == other.regions
        )

    def replaced(self, slot: int, region: Region | None) -> Slots:
        """The same but for one slot, which holds ``region`` now, or nothing."""
        regions = dict(self.regions)
        digest = self.digest
        old = regions.pop(slot, None)
        if old is not None:
            digest ^= hash(old)
        if region is not None:
            regions[slot] = region
            digest ^= hash(region)
        return Slots(regions, digest)


EMPTY = Slots({})
"""No slots at all."""


class Rules:
    """The checks of one call, and what it does to the slots.

    Args:
        profile: Limits of the kernel.
        address_space_count: How many address spaces the VM has.
        guest_memfds: Bytes of each guest_memfd of the VM, by descriptor.
    """

    def __init__(
        self,
        profile: Profile,
        address_space_count: int = 1,
        guest_memfds: Mapping[int, int] | None = None,
    ) -> None:
        self.profile = profile
        self.address_space_count = address_space_count
        self.guest_memfds = guest_memfds or {}

    def set_memory_region(self, slots: Slots, region: Region) -> Slots:
        """What the slots are after a call.

        Raises:
            MemoryRegionError: The call is refused, and they are as before.
        """
        self.check_alone(region)
        old = slots.regions.get(region.slot)
        change = self.classify(region, old)
        if change is None:
            return slots
        if change is Change.DELETE:
            return slots.replaced(region.slot, None)
        if change is not Change.FLAGS_ONLY:
            self.check_overlap(slots, region)
            if change is Change.CREATE:
                self.check_binding(slots, region)
            self.check_last_gfn(region)
        return slots.replaced(region.slot, held(region))

    def check_alone(self, region: Region) -> None:
        """The checks that need no slot.

        Raises:
            MemoryRegionError: EINVAL.
        """
        check_before_lock(region, self.profile)
        check_request(region, self.profile, self.address_space_count)

    def classify(self, region: Region, old: Region | None) -> Change | None:
        """What the call asks for; see `memslots.region.classify`.

        The page count is the sum of the slots', so neither of its checks can fail.

        Raises:
            MemoryRegionError: EINVAL.
        """
        # It looks only at what a region has, too.
        slot = cast("MemorySlot | None", old)
        return classify(region, slot, 0 if old is None else old.npages)

    def check_overlap(self, slots: Slots, region: Region) -> None:
        """Refuse a range that another slot occupies.

        Raises:
            MemoryRegionError: EEXIST.

        Complexity: O(n)
        """
        start = region.guest_phys_addr
        end = start + region.memory_size
        as_id = region.slot_id.as_id
        for slot, other in slots.regions.items():
            first = other.guest_phys_addr
            if (
                first < end
                and start < first + other.memory_size
                and slot != region.slot
                and slot >> 16 == as_id
            ):
                raise MemoryRegionError(
                    errno.EEXIST,
                    f"gpa {start:#x}..{end:#x} meets slot {slot & 0xFFFF} at"
                    f" {first:#x}..{first + other.memory_size:#x}",
                )

    def check_binding(self, slots: Slots, region: Region) -> None:
        """Refuse what cannot be bound to the guest_memfd of the request.

        Raises:
            MemoryRegionError: EBADF or EINVAL.

        Complexity: O(n)

        KVM: kvm_gmem_bind, virt/kvm/guest_memfd.c
        """
        if not region.flags & GUEST_MEMFD:
            return
        file = region.guest_memfd
        if file not in self.guest_memfds:
            raise MemoryRegionError(
                errno.EBADF, f"{file} is no descriptor of a guest_memfd"
            )
        start = region.guest_memfd_offset
        end = start + region.memory_size
        if end > self.guest_memfds[file]:
            raise MemoryRegionError(
                errno.EINVAL,
                f"guest_memfd range ends at {end:#x}, behind the file's end"
                f" {self.guest_memfds[file]:#x}",
            )
        for slot, other in slots.regions.items():
            first = other.guest_memfd_offset
            if (
                other.guest_memfd == file
                and first < end
                and start < first + other.memory_size
            ):
                raise MemoryRegionError(
                    errno.EINVAL,
                    f"guest_memfd range {start:#x}..{end:#x} is bound by slot"
                    f" {slot & 0xFFFF}",
                )

    def check_last_gfn(self, region: Region) -> None:
        """Refuse a range behind the last page that the machine can have.

        Raises:
            MemoryRegionError: EINVAL.

        KVM: kvm_arch_prepare_memory_region, arch/x86/kvm/x86.c
        """
        last = (region.guest_phys_addr + region.memory_size - 1) >> PAGE_SHIFT
        if last > self.profile.max_gfn:
            raise MemoryRegionError(
                errno.EINVAL,
                f"gfn {last:#x} lies behind the last one, {self.profile.max_gfn:#x}",
            )


def held(region: Region) -> Region:
    """What a slot is after a request: without what only that request said."""
    if region.flags & GUEST_MEMFD:
        return attrs.evolve(region, v2=False)
    return attrs.evolve(region, v2=False, guest_memfd=-1, guest_memfd_offset=0)
