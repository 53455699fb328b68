"""The limits of the kernel that is modelled."""

from __future__ import annotations

import attrs


@attrs.frozen
class Profile:
    """Numbers that differ between kernels and machines.

    Attributes:
        name: Which kernel.
        user_mem_slots: Slot ids that user space may use, per address space.
        mem_slots_num: All slot ids, internal ones included.
        mem_max_nr_pages: Most pages of one slot.
        user_address_end: First address behind user space, in bytes.
        max_gfn: Last gfn that a slot may contain.
        readonly_mem: Whether slots may be read-only.
        guest_memfd: Whether slots may be backed by a guest_memfd.
        manual_dirty_log_protect: Bits of the manual dirty-log mode; 0 if there is none.
        dirty_ring: Whether vCPUs may have dirty rings, on architectures that order
            stores.
        dirty_ring_acq_rel: The same, whatever the architecture.
        dirty_ring_reserved_entries: Entries of a ring that the vCPU keeps for what the
            hardware has logged.

    KVM: KVM_USER_MEM_SLOTS, KVM_MEM_MAX_NR_PAGES, include/linux/kvm_host.h
    """

    name: str
    user_mem_slots: int
    mem_slots_num: int
    mem_max_nr_pages: int
    user_address_end: int
    max_gfn: int
    readonly_mem: bool
    guest_memfd: bool
    manual_dirty_log_protect: int = 3
    dirty_ring: bool = True
    dirty_ring_acq_rel: bool = True
    dirty_ring_reserved_entries: int = 64


X86_64_LINUX_6_18 = Profile(
    name="x86-64, Linux 6.18",
    user_mem_slots=32764,
    mem_slots_num=32767,
    mem_max_nr_pages=(1 << 31) - 1,
    user_address_end=0x7FFF_FFFF_F000,
    max_gfn=0xFF_FFFF_FFFF,
    readonly_mem=True,
    guest_memfd=True,
)
