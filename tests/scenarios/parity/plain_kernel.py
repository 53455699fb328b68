"""A kernel of a dict of slots and sets of pages: no sets, no trees, no locks.

Where there is no ``/dev/kvm`` it stands in for the kernel, written after the table of
checks and not after the model.
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import attrs

from memslots.profile import X86_64_LINUX_6_18
from memslots.region import Region
from scenarios.parity.calls import (
    DONE,
    GUEST_MEMFDS,
    Answer,
    Call,
    ClearDirtyLog,
    EnableCap,
    Features,
    GetDirtyLog,
    ResetRings,
    SetRegion,
)

PAGE = 4096
TOP = 1 << 64
FEATURES = Features(X86_64_LINUX_6_18)


class Refused(Exception):  # noqa: N818 - an answer
    def __init__(self, number: int) -> None:
        self.number = number


def need(condition: object, number: int = errno.EINVAL) -> None:
    if not condition:
        raise Refused(number)


@attrs.define
class PlainSlot:
    region: Region
    dirty: set[int] | None = None


class PlainVm:
    """One VM; address space 0 only."""

    def __init__(self, on_call: Callable[[Call], object]) -> None:
        self._on_call = on_call
        self._slots: dict[int, PlainSlot] = {}
        self._manual = 0
        self._ring = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def answer(self, call: Call) -> Answer:
        self._on_call(call)
        with self._lock:
            return self._answer(call)

    def _answer(self, call: Call) -> Answer:
        try:
            match call:
                case SetRegion(region):
                    self._set_region(region)
                case GetDirtyLog():
                    return self._get(call)
                case ClearDirtyLog():
                    self._clear(call)
                case EnableCap():
                    self._enable(call)
                case ResetRings():
                    need(self._ring)
        except Refused as refused:
            return Answer(-refused.number)
        return DONE

    def _set_region(self, region: Region | None) -> None:
        need(region is not None, errno.EFAULT)
        assert region is not None
        self._check(region)
        old = self._slots.get(region.slot)
        if not region.memory_size:
            need(old)
            del self._slots[region.slot]
            return
        if old is not None:
            need(not region.flags & 4)
            need(region.userspace_addr == old.region.userspace_addr)
            need(region.npages == old.region.npages)
            need(not (region.flags ^ old.region.flags) & 6)
        if old is None or region.base_gfn != old.region.base_gfn:
            self._check_place(region)
        dirty = None if old is None else old.dirty
        if not region.flags & 1:
            dirty = None
        elif dirty is None and not self._ring:
            dirty = set(range(region.npages)) if self._manual & 2 else set()
        self._slots[region.slot] = PlainSlot(region, dirty)

    def _check(self, region: Region) -> None:
        size, gpa, hva = (
            region.memory_size,
            region.guest_phys_addr,
            region.userspace_addr,
        )
        need(region.v2 or not region.flags & ~3)
        need(region.slot % 65536 < 32764)
        need(not region.flags & ~(4 if region.flags & 4 else 3))
        need(not size % PAGE)
        need(not gpa % PAGE)
        need(not hva % PAGE and hva + size <= 0x7FFF_FFFF_F000)
        if region.flags & 4:
            offset = region.guest_memfd_offset
            need(not offset % PAGE and offset + size < TOP)
        need(region.slot < 65536)
        need(gpa + size < TOP)
        need(size // PAGE < 1 << 31)

    def _check_place(self, region: Region) -> None:
        for other in self._slots.values():
            there = other.region
            apart = there.end_gfn <= region.base_gfn or region.end_gfn <= there.base_gfn
            need(apart or there.slot == region.slot, errno.EEXIST)
        if region.flags & 4:
            self._check_file(region)
        need(region.end_gfn - 1 <= 0xFF_FFFF_FFFF)

    def _check_file(self, region: Region) -> None:
        need(region.guest_memfd in GUEST_MEMFDS, errno.EBADF)
        start = region.guest_memfd_offset
        end = start + region.memory_size
        need(end <= GUEST_MEMFDS[region.guest_memfd] * PAGE)
        for other in self._slots.values():
            there = other.region
            if there.flags & 4 and there.guest_memfd == region.guest_memfd:
                first = there.guest_memfd_offset
                need(first + there.memory_size <= start or end <= first)

    def _logged(self, number: int | None, first_page: int = 0) -> PlainSlot:
        need(number is not None, errno.EFAULT)
        assert number is not None
        need(not self._ring, errno.ENXIO)
        need(number < 32764)
        need(not first_page % 64)
        slot = self._slots.get(number)
        need(slot is not None and slot.dirty is not None, errno.ENOENT)
        assert slot is not None
        return slot

    def _get(self, call: GetDirtyLog) -> Answer:
        slot = self._logged(call.slot)
        assert slot.dirty is not None
        bits = sum(1 << page for page in slot.dirty)
        if not self._manual:
            slot.dirty.clear()
        need(call.copy_out, errno.EFAULT)
        length = -(-slot.region.npages // 64) * 8
        return Answer(0, bits.to_bytes(length, "little").rstrip(b"\xee"))

    def _clear(self, call: ClearDirtyLog) -> None:
        slot = self._logged(call.slot, call.first_page)
        assert slot.dirty is not None
        left = slot.region.npages - call.first_page
        need(left >= 0)
        need(call.num_pages <= left)
        need(call.num_pages == left or not call.num_pages % 64)
        words = -(-call.num_pages // 64)
        need(call.mask is not None or not words, errno.EFAULT)
        mask = struct.pack(f"<{len(call.mask or ())}Q", *(call.mask or ()))
        bits = int.from_bytes(mask[: words * 8], "little")
        slot.dirty = {
            page
            for page in slot.dirty
            if page < call.first_page or not bits >> page - call.first_page & 1
        }

    def _enable(self, call: EnableCap) -> None:
        need(call.capability is not None, errno.EFAULT)
        need(call.capability in {168, 192, 223})
        if call.capability == 168:
            need(not call.flags)
            need(call.value in {0, 1, 3})
            self._manual = call.value
            return
        size = call.value % (1 << 32)
        need(size.bit_count() == 1)
        need(size >= PAGE)
        need(size <= 1 << 20, errno.E2BIG)
        need(not self._ring)
        self._ring = size


class PlainKernel:
    """Makes VMs; may do something at each call, such as to raise.

    Attributes:
        made: How many VMs were made.
    """

    def __init__(self, on_call: Callable[[Call], object] = lambda call: None) -> None:
        self.features = FEATURES
        self.made = 0
        self._on_call = on_call

    def create_vm(self) -> PlainVm:
        self.made += 1
        return PlainVm(self._on_call)
