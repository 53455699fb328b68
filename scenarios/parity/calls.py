"""A call about memory slots, and what came of it; the same for kernel and model."""

from __future__ import annotations

import attrs

from memslots.profile import Profile
from memslots.region import Region


@attrs.frozen
class SetRegion:
    """``KVM_SET_USER_MEMORY_REGION`` or its successor.

    Attributes:
        region: The argument; None cannot be read.
    """

    region: Region | None


@attrs.frozen
class GetDirtyLog:
    """``KVM_GET_DIRTY_LOG``.

    Attributes:
        slot: Slot id in the low 16 bits, address space above; None for an argument
            that cannot be read.
        copy_out: Whether there is memory for the bitmap.
    """

    slot: int | None
    copy_out: bool = True


@attrs.frozen
class ClearDirtyLog:
    """``KVM_CLEAR_DIRTY_LOG``.

    Attributes:
        slot: As in `GetDirtyLog`.
        first_page: Where the range begins in the slot.
        num_pages: Pages in it.
        mask: The words of 64 bits; those left out are 0. None cannot be read.
    """

    slot: int | None
    first_page: int = 0
    num_pages: int = 0
    mask: tuple[int, ...] | None = ()


@attrs.frozen
class EnableCap:
    """``KVM_ENABLE_CAP``.

    Attributes:
        capability: Which; None for an argument that cannot be read.
        value: The first of its arguments.
        flags: Its flags.
    """

    capability: int | None
    value: int = 0
    flags: int = 0


@attrs.frozen
class ResetRings:
    """``KVM_RESET_DIRTY_RINGS``."""


Call = SetRegion | GetDirtyLog | ClearDirtyLog | EnableCap | ResetRings


@attrs.frozen
class Answer:
    """What a call returned.

    Attributes:
        result: 0 or more, or a negative errno.
        bitmap: What a successful get has written: whole words, in the order of the
            machine.
        failure: Why there is no result: the model itself has failed.
    """

    result: int
    bitmap: bytes = b""
    failure: str = ""


DONE = Answer(0)
"""The answer to most calls that succeed."""


@attrs.frozen
class Features:
    """What a kernel can do, as far as calls are made up for it.

    Attributes:
        profile: Its limits.
        address_space_count: How many address spaces each VM has.
        region2: Whether there is ``KVM_SET_USER_MEMORY_REGION2``.
    """

    profile: Profile
    address_space_count: int = 1
    region2: bool = True


GUEST_MEMFDS = {101: 64, 102: 1 << 20}
"""Pages of the guest_memfds that every VM has, by descriptor: a small and a large."""

NO_DESCRIPTOR = 109
"""What no descriptor of a VM is."""

MAX_LOGGED_PAGES = 1 << 15
"""Pages of a logged slot: kernels allocate its bitmap at once, and users pay for it."""
