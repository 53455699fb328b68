"""A request to set a region, its checks in KVM's order, the change it asks for.

No state and no waiting: what depends on the active set is passed in. The order matters
where two checks would give different errnos; docs/reference/errors.md lists all rows.

KVM: kvm_vm_ioctl_set_memory_region, kvm_set_memory_region, virt/kvm/kvm_main.c
"""

from __future__ import annotations

import errno
from enum import Enum

import attrs

from memslots.errors import MemoryRegionError
from memslots.profile import Profile
from memslots.slot import (
    GUEST_MEMFD,
    LOG_DIRTY_PAGES,
    READONLY,
    MemorySlot,
    SlotId,
)
from memslots.units import PAGE_SHIFT, PAGE_SIZE, Gfn, Gpa, Hva, Pages

U64 = 1 << 64


class Change(Enum):
    """What a request does to a slot.

    KVM: enum kvm_mr_change, include/linux/kvm_host.h
    """

    CREATE = "create"
    DELETE = "delete"
    MOVE = "move"
    FLAGS_ONLY = "flags-only"


@attrs.frozen
class Region:
    """What user space passes to ``KVM_SET_USER_MEMORY_REGION`` or its successor.

    Attributes:
        slot: Slot id in the low 16 bits, address space above.
        flags: `MemFlag` as an integer.
        guest_phys_addr: Where the guest shall see it, in bytes.
        memory_size: Its length in bytes; 0 deletes the slot.
        userspace_addr: Where the host has it, in bytes.
        v2: Whether it is ``KVM_SET_USER_MEMORY_REGION2``.
        guest_memfd: File descriptor of a guest_memfd; v2 only.
        guest_memfd_offset: Where the slot starts in that file, in bytes; v2 only.

    KVM: struct kvm_userspace_memory_region, include/uapi/linux/kvm.h
    """

    slot: int
    flags: int
    guest_phys_addr: Gpa
    memory_size: int
    userspace_addr: Hva
    v2: bool = False
    guest_memfd: int = -1
    guest_memfd_offset: int = 0

    @property
    def slot_id(self) -> SlotId:
        """Slot and address space apart."""
        return SlotId.of(self.slot)

    @property
    def base_gfn(self) -> Gfn:
        """First page of the requested range."""
        return Gfn(self.guest_phys_addr >> PAGE_SHIFT)

    @property
    def npages(self) -> Pages:
        """Pages of the requested range."""
        return Pages(self.memory_size >> PAGE_SHIFT)

    @property
    def end_gfn(self) -> Gfn:
        """First gfn behind the requested range."""
        return Gfn(self.base_gfn + self.npages)

    def __str__(self) -> str:
        return (
            f"{self.slot_id}, gpa {self.guest_phys_addr:#x}, size"
            f" {self.memory_size:#x}, hva {self.userspace_addr:#x}, flags"
            f" {self.flags:#x}"
        )


def check_before_lock(region: Region, profile: Profile) -> None:
    """The checks that KVM makes before it takes ``slots_lock``.

    Raises:
        MemoryRegionError: EINVAL.
    """
    if not region.v2:
        _refuse_unless(
            not region.flags & ~(LOG_DIRTY_PAGES | READONLY),
            "flags {:#x}: this ioctl knows only {:#x} (log dirty pages) and {:#x}"
            " (read-only)",
            region.flags,
            LOG_DIRTY_PAGES,
            READONLY,
        )
    slot = region.slot & 0xFFFF
    _refuse_unless(
        slot < profile.user_mem_slots,
        "slot id must be below {}, got {}",
        profile.user_mem_slots,
        slot,
    )


def check_request(region: Region, profile: Profile, address_space_count: int) -> None:
    """The checks that need no slot, in KVM's order.

    Raises:
        MemoryRegionError: EINVAL.
    """
    _check_flags(region, profile)
    _refuse_unless(
        region.memory_size % PAGE_SIZE == 0,
        "memory_size must be whole pages, got {:#x}",
        region.memory_size,
    )
    _refuse_unless(
        region.guest_phys_addr % PAGE_SIZE == 0,
        "guest_phys_addr must be page aligned, got {:#x}",
        region.guest_phys_addr,
    )
    _check_userspace_addr(region, profile)
    if region.flags & GUEST_MEMFD:
        end = region.guest_memfd_offset + region.memory_size
        _refuse_unless(
            region.guest_memfd_offset % PAGE_SIZE == 0 and end < U64,
            "guest_memfd_offset must be page aligned and its range must not wrap, got"
            " {:#x}",
            region.guest_memfd_offset,
        )
    as_id, slot_id = region.slot_id
    _refuse_unless(
        as_id < address_space_count and slot_id < profile.mem_slots_num,
        "address space must be below {}, got {}",
        address_space_count,
        as_id,
    )
    _refuse_unless(
        region.guest_phys_addr + region.memory_size < U64,
        "the range ends at {:#x}, behind the last guest address",
        region.guest_phys_addr + region.memory_size,
    )
    _refuse_unless(
        region.npages <= profile.mem_max_nr_pages,
        "a slot has at most {} pages, got {}",
        profile.mem_max_nr_pages,
        region.npages,
    )


def _check_flags(region: Region, profile: Profile) -> None:
    valid = LOG_DIRTY_PAGES
    if profile.readonly_mem:
        valid |= READONLY
    if profile.guest_memfd and region.flags & GUEST_MEMFD:
        valid = GUEST_MEMFD  # neither logged nor read-only
    _refuse_unless(
        not region.flags & ~valid,
        "flags {:#x} has bits outside {:#x}",
        region.flags,
        valid,
    )


def _check_userspace_addr(region: Region, profile: Profile) -> None:
    start, end = region.userspace_addr, region.userspace_addr + region.memory_size
    _refuse_unless(
        start % PAGE_SIZE == 0 and end <= profile.user_address_end,
        "userspace_addr must be page aligned and end by {:#x}, got {:#x}..{:#x}",
        profile.user_address_end,
        start,
        end,
    )


def classify(
    region: Region, old: MemorySlot | None, nr_memslot_pages: int
) -> Change | None:
    """Find out what a request asks for.

    Args:
        region: A request that passed `check_request`.
        old: The slot that has the id now, if there is one.
        nr_memslot_pages: Pages of all slots of the VM.

    Returns:
        The change; None if the slot is already as requested.

    Raises:
        MemoryRegionError: EINVAL; EIO if the page count cannot be right.
    """
    if not region.memory_size:
        _refuse_unless(
            old is not None, "cannot delete {}: no such slot", region.slot_id
        )
        if old is not None and nr_memslot_pages < old.npages:
            raise MemoryRegionError(
                errno.EIO,
                f"{nr_memslot_pages} pages counted, but {region.slot_id} has"
                f" {old.npages}",
            )
        return Change.DELETE
    if old is None:
        _refuse_unless(
            nr_memslot_pages + region.npages < U64, "the page count would overflow"
        )
        return Change.CREATE
    _refuse_unless(
        not region.flags & GUEST_MEMFD,
        "{} exists: guest_memfd slots cannot be changed",
        region.slot_id,
    )
    _check_unchanged(region, old)
    if region.base_gfn != old.base_gfn:
        return Change.MOVE
    if region.flags != old.flags:
        return Change.FLAGS_ONLY
    return None


def _check_unchanged(region: Region, old: MemorySlot) -> None:
    """What no change of an existing slot may touch."""
    _refuse_unless(
        region.userspace_addr == old.userspace_addr,
        "{} has userspace_addr {:#x}, which cannot become {:#x}",
        region.slot_id,
        old.userspace_addr,
        region.userspace_addr,
    )
    _refuse_unless(
        region.npages == old.npages,
        "{} has {} pages, which cannot become {}",
        region.slot_id,
        old.npages,
        region.npages,
    )
    _refuse_unless(
        not (region.flags ^ old.flags) & (READONLY | GUEST_MEMFD),
        "{} has flags {:#x}: neither read-only nor guest_memfd can be toggled",
        region.slot_id,
        old.flags,
    )


def _refuse_unless(
    accepted: bool,  # noqa: FBT001 - a condition
    text: str,
    *values: object,
) -> None:
    """Text and values stay apart: nearly every request passes, and needs no text."""
    if not accepted:
        raise MemoryRegionError(errno.EINVAL, text.format(*values))
