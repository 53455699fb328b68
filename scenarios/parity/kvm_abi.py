"""Numbers and structs of KVM's ioctls, as user space passes them.

KVM: include/uapi/linux/kvm.h
"""

from __future__ import annotations

import struct
from enum import IntEnum

from memslots.region import Region


class Request(IntEnum):
    """Number of an ioctl on x86-64: direction, size, type and number."""

    GET_API_VERSION = 0xAE00
    CREATE_VM = 0xAE01
    CHECK_EXTENSION = 0xAE03
    GET_DIRTY_LOG = 0x4010AE42
    SET_USER_MEMORY_REGION = 0x4020AE46
    SET_USER_MEMORY_REGION2 = 0x40A0AE49
    ENABLE_CAP = 0x4068AEA3
    CLEAR_DIRTY_LOG = 0xC018AEC0
    RESET_DIRTY_RINGS = 0xAEC7
    CREATE_GUEST_MEMFD = 0xC040AED4


class Extension(IntEnum):
    """What one asks ``KVM_CHECK_EXTENSION`` about."""

    NR_MEMSLOTS = 10
    READONLY_MEM = 81
    MULTI_ADDRESS_SPACE = 118
    MANUAL_DIRTY_LOG_PROTECT2 = 168
    DIRTY_LOG_RING = 192
    DIRTY_LOG_RING_ACQ_REL = 223
    USER_MEMORY2 = 231
    GUEST_MEMFD = 234


API_VERSION = 12

_REGION = struct.Struct("=IIQQQ")
_REGION2 = struct.Struct("=IIQQQQi116x")
_GET_DIRTY_LOG = struct.Struct("=II Q")
_CLEAR_DIRTY_LOG = struct.Struct("=II QQ")
_ENABLE_CAP = struct.Struct("=II Q 88x")
_CREATE_GUEST_MEMFD = struct.Struct("=QQ 48x")


def user_memory_region(region: Region) -> bytes:
    """The argument of ``KVM_SET_USER_MEMORY_REGION``.

    KVM: struct kvm_userspace_memory_region, include/uapi/linux/kvm.h
    """
    return _REGION.pack(
        region.slot,
        region.flags,
        region.guest_phys_addr,
        region.memory_size,
        region.userspace_addr,
    )


def user_memory_region2(region: Region, guest_memfd: int) -> bytes:
    """The argument of ``KVM_SET_USER_MEMORY_REGION2``.

    KVM: struct kvm_userspace_memory_region2, include/uapi/linux/kvm.h
    """
    return _REGION2.pack(
        region.slot,
        region.flags,
        region.guest_phys_addr,
        region.memory_size,
        region.userspace_addr,
        region.guest_memfd_offset,
        guest_memfd,
    )


def dirty_log(slot: int, bitmap: int) -> bytes:
    """The argument of ``KVM_GET_DIRTY_LOG``; ``bitmap`` is an address.

    KVM: struct kvm_dirty_log, include/uapi/linux/kvm.h
    """
    return _GET_DIRTY_LOG.pack(slot, 0, bitmap)


def clear_dirty_log(slot: int, first_page: int, num_pages: int, bitmap: int) -> bytes:
    """The argument of ``KVM_CLEAR_DIRTY_LOG``; ``bitmap`` is an address.

    KVM: struct kvm_clear_dirty_log, include/uapi/linux/kvm.h
    """
    return _CLEAR_DIRTY_LOG.pack(slot, num_pages, first_page, bitmap)


def enable_cap(capability: int, flags: int, value: int) -> bytes:
    """The argument of ``KVM_ENABLE_CAP``.

    KVM: struct kvm_enable_cap, include/uapi/linux/kvm.h
    """
    return _ENABLE_CAP.pack(capability, flags, value)


def create_guest_memfd(size_bytes: int) -> bytes:
    """The argument of ``KVM_CREATE_GUEST_MEMFD``.

    KVM: struct kvm_create_guest_memfd, include/uapi/linux/kvm.h
    """
    return _CREATE_GUEST_MEMFD.pack(size_bytes, 0)
