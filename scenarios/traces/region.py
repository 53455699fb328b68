"""The fields of one update line become one requested region.

Both formats name the same eight values differently; each parser maps its own
names to the kernel's before it comes here.

KVM: struct kvm_userspace_memory_region2, include/uapi/linux/kvm.h
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from scenarios.traces.c_numbers import (
    UINT16_BITS,
    UINT32_BITS,
    UINT64_BITS,
    descriptor,
    flag_bits,
    unsigned,
)

REQUIRED = ("slot", "flags", "guest_phys_addr", "memory_size", "userspace_addr")


@attrs.frozen(slots=True)
class Region:
    """What one update asks for; fields as in ``RegionCall``."""

    slot: int
    flags: int
    guest_phys_addr: int
    memory_size: int
    userspace_addr: int
    guest_memfd: int | None
    guest_memfd_offset: int | None
    v2: bool


def read_region(fields: Mapping[str, str]) -> Region:
    """Return the region that the texts of *fields* describe.

    Args:
        fields: The kernel's field names and the texts beside them; ``as_id``
            if the address space is written apart from the slot.

    Raises:
        ValueError: A field is missing or is no number.
        OutOfRange: A number does not fit its field.
    """
    missing = [name for name in REQUIRED if name not in fields]
    if missing:
        raise ValueError(f"without {', '.join(missing)}")
    guest_memfd = _guest_memfd(fields)
    offset = fields.get("guest_memfd_offset", "0")
    return Region(
        slot=_slot(fields),
        flags=flag_bits("flags", fields["flags"]),
        guest_phys_addr=_address(fields, "guest_phys_addr"),
        memory_size=_address(fields, "memory_size"),
        userspace_addr=_address(fields, "userspace_addr"),
        guest_memfd=guest_memfd,
        # Without a guest_memfd the offset is left over from another slot.
        guest_memfd_offset=None
        if guest_memfd is None
        else unsigned("guest_memfd_offset", offset, UINT64_BITS),
        v2="guest_memfd" in fields,
    )


def _slot(fields: Mapping[str, str]) -> int:
    if "as_id" not in fields:
        return unsigned("slot", fields["slot"], UINT32_BITS)
    as_id = unsigned("address space", fields["as_id"], UINT16_BITS)
    return as_id << UINT16_BITS | unsigned("slot", fields["slot"], UINT16_BITS)


def _address(fields: Mapping[str, str], name: str) -> int:
    return unsigned(name, fields[name], UINT64_BITS)


def _guest_memfd(fields: Mapping[str, str]) -> int | None:
    text = fields.get("guest_memfd")
    if text is None:
        return None
    number = descriptor("guest_memfd", text)
    return None if number < 0 else number
