"""How a VM logs what its guest writes: the mode, and who marks a page.

A write marks its page in the bitmap of the slot or, if the VM has rings, in the ring of
the vCPU. The ioctls that take the marks away are in `memslots.dirty_log` and
`memslots.dirty_reset`.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import NoReturn, Protocol

from memslots.arch import ArchHooks
from memslots.dirty_bitmap import DirtyBitmap, Words
from memslots.dirty_ring import ENTRY_BYTES, MAX_ENTRIES, DirtyRing
from memslots.errors import DirtyLogError, NoDirtyBitmap
from memslots.profile import Profile
from memslots.slot import LOG_DIRTY_PAGES, MemorySlot, SlotId
from memslots.slot_set import Memslots
from memslots.tracepoints import (
    DirtyLogRequested,
    DirtyLogReturned,
    PageMarkedDirty,
)
from memslots.units import PAGE_SIZE, Gfn
from rcu.locks import Mutex
from rcu.operation import Location
from rcu.published import Published
from rcu.schedule.scheduler import Scheduler


class Capability(IntEnum):
    """Capabilities of a VM that change how it logs.

    KVM: KVM_CAP_DIRTY_LOG_RING and others, include/uapi/linux/kvm.h
    """

    MANUAL_DIRTY_LOG_PROTECT2 = 168
    DIRTY_LOG_RING = 192
    DIRTY_LOG_RING_ACQ_REL = 223


MANUAL_PROTECT_ENABLE = 1
INITIALLY_SET = 2
"""Bits of the manual mode: get only reads, clear clears; new bitmaps are all ones.

KVM: KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, KVM_DIRTY_LOG_INITIALLY_SET
"""

U32 = (1 << 32) - 1


class LoggedVm(Protocol):
    """What the dirty log needs of a VM; see `memslots.vm.Vm`."""

    scheduler: Scheduler
    profile: Profile
    address_space_count: int
    slots_lock: Mutex
    slot_memory: Location
    arch: ArchHooks
    dead: bool

    def active(self, as_id: int) -> Published[Memslots]:
        """The pointer to the active set."""

    def next_call(self) -> int:
        """A number for a new call."""


class Writer(Protocol):
    """A vCPU, as far as its ring goes."""

    @property
    def index(self) -> int:
        """Which, from 0."""


class DirtyTracking:
    """Marks pages, and knows where.

    Args:
        vm: The VM whose guest writes.

    Attributes:
        manual_protect: How get and clear share the work; see `INITIALLY_SET`.
        ring_bytes: Size of each vCPU's ring; 0 as long as bitmaps are used.
        mode: Location of both.
        rings: The rings by index of their vCPU.

    KVM: manual_dirty_log_protect and dirty_ring_size of struct kvm
    """

    def __init__(self, vm: LoggedVm) -> None:
        self.vm = vm
        self.manual_protect = 0
        self.ring_bytes = 0
        self.mode = Location("dirty-log mode")
        self.rings: dict[int, DirtyRing] = {}
        self._created_vcpus = 0
        self._scheduler = vm.scheduler

    # Marking.

    async def mark_page_dirty_in_slot(
        self, vcpu: Writer | None, slot: MemorySlot, gfn: Gfn
    ) -> None:
        """Remember that a page was written, if the slot is logged.

        Whether the slot is INVALID does not matter: it shares its bitmap.

        Args:
            vcpu: Who writes; None for a write that no vCPU makes.
            slot: Contains ``gfn``.
            gfn: The page.

        Raises:
            DirtyRingOverflow: The ring of ``vcpu`` has no room left.

        KVM: mark_page_dirty_in_slot, virt/kvm/kvm_main.c
        """
        await self._scheduler.point(self.vm.slot_memory.read)
        if not slot.flags & LOG_DIRTY_PAGES:
            return
        offset = gfn - slot.base_gfn
        ring = None if vcpu is None else self.rings.get(vcpu.index)
        if ring is not None:
            await self._scheduler.point(ring.location.write)
            ring.push(slot.as_id << 16 | slot.id, offset)
            self.tell_marked(slot, offset, "ring")
        elif slot.dirty_bitmap is not None:
            await self.set_dirty_bit(slot, offset)

    async def set_dirty_bit(self, slot: MemorySlot, offset: int) -> None:
        """Set the bit of a page in the bitmap of its slot.

        Args:
            slot: Was found to have a bitmap.
            offset: The page's place in it.

        Raises:
            NoDirtyBitmap: It has none.
        """
        bitmap = slot.dirty_bitmap
        if bitmap is None:
            raise NoDirtyBitmap(f"page {offset} of {slot!r} has no bit: no bitmap")
        await self._scheduler.point(bitmap.location.write)
        bitmap.set_bit(offset)
        self.tell_marked(slot, offset, "bitmap")

    def tell_marked(self, slot: MemorySlot, offset: int, where: str) -> None:
        """Tell the trace that a page was marked, in a ``bitmap`` or a ``ring``."""
        if self._scheduler.tracing:
            self._scheduler.emit(
                PageMarkedDirty(slot.as_id, slot.id, slot.serial, offset, where)
            )

    # The mode.

    @property
    def initially_set(self) -> bool:
        """Whether new bitmaps are all ones; whoever asks has passed a point of `mode`.

        KVM: kvm_dirty_log_manual_protect_and_init_set, include/linux/kvm_host.h
        """
        return bool(self.manual_protect & INITIALLY_SET)

    async def uses_bitmaps(self) -> bool:
        """Whether slots that are logged get a bitmap.

        KVM: kvm_use_dirty_bitmap, virt/kvm/dirty_ring.c
        """
        await self._scheduler.point(self.mode.read)
        return not self.ring_bytes

    def new_bitmap(self, npages: int) -> DirtyBitmap:
        """A bitmap for a slot; whoever asks has just read the mode.

        KVM: kvm_alloc_dirty_bitmap, virt/kvm/kvm_main.c
        """
        return DirtyBitmap(npages, initially_set=self.initially_set)

    def vcpu_created(self, index: int) -> DirtyRing | None:
        """Give a new vCPU its ring, if the VM has rings; before anybody runs.

        KVM: kvm_dirty_ring_alloc, virt/kvm/dirty_ring.c
        """
        self._created_vcpus += 1
        if not self.ring_bytes:
            return None
        entries = self.ring_bytes // ENTRY_BYTES
        reserved = self.vm.profile.dirty_ring_reserved_entries
        self.rings[index] = DirtyRing(f"vcpu{index}", entries, reserved)
        return self.rings[index]

    async def enable_cap(
        self, capability: int | None, flags: int = 0, value: int = 0
    ) -> None:
        """What ``KVM_ENABLE_CAP`` does for the dirty log.

        Args:
            capability: Which; None if the argument cannot be read.
            flags: Must be 0, but for rings, where they are not looked at.
            value: Bits of the manual mode, or the size of a ring in bytes.

        Raises:
            DirtyLogError: It was refused; nothing has changed.

        KVM: kvm_vm_ioctl_enable_cap_generic, virt/kvm/kvm_main.c
        """
        self.check_alive()
        if capability is None:
            raise DirtyLogError(errno.EFAULT, "the argument cannot be read")
        profile = self.vm.profile
        known: dict[int, bool] = {
            Capability.MANUAL_DIRTY_LOG_PROTECT2: profile.manual_dirty_log_protect != 0,
            Capability.DIRTY_LOG_RING: profile.dirty_ring,
            Capability.DIRTY_LOG_RING_ACQ_REL: profile.dirty_ring_acq_rel,
        }
        if not known.get(capability):
            refuse(f"capability {capability} is not known")
        if capability == Capability.MANUAL_DIRTY_LOG_PROTECT2:
            await self.enable_manual_protect(flags, value)
        else:
            await self.enable_ring(value & U32)

    async def enable_manual_protect(self, flags: int, value: int) -> None:
        """Set the manual mode; slots that have a bitmap keep it as it is.

        Raises:
            DirtyLogError: EINVAL.
        """
        allowed = self.vm.profile.manual_dirty_log_protect
        if not value & MANUAL_PROTECT_ENABLE:
            allowed &= MANUAL_PROTECT_ENABLE
        if flags:
            refuse(f"flags must be 0, got {flags:#x}")
        if value & ~allowed:
            refuse(f"manual protection can be {allowed:#x} at most, got {value:#x}")
        await self._scheduler.point(self.mode.write)
        self.manual_protect = value

    async def enable_ring(self, size_bytes: int) -> None:
        """Let vCPUs that are created from now on have rings.

        Raises:
            DirtyLogError: EINVAL or E2BIG.

        KVM: kvm_vm_ioctl_enable_dirty_log_ring, virt/kvm/kvm_main.c
        """
        self.check_ring_size(size_bytes)
        await self._scheduler.point(self.mode.write)
        if self.ring_bytes:
            refuse("the VM has dirty rings already")
        if self._created_vcpus:
            refuse(f"{self._created_vcpus} vCPUs were created without dirty rings")
        self.ring_bytes = size_bytes

    def check_ring_size(self, size_bytes: int) -> None:
        """Refuse what cannot be the size of a ring.

        Raises:
            DirtyLogError: EINVAL or E2BIG.
        """
        reserved = self.vm.profile.dirty_ring_reserved_entries * ENTRY_BYTES
        least = max(PAGE_SIZE, reserved)
        if size_bytes & size_bytes - 1:
            refuse(f"a ring's size is a power of two, not {size_bytes:#x}")
        if size_bytes < least:
            refuse(f"a ring has at least {least:#x} bytes, not {size_bytes:#x}")
        if size_bytes > MAX_ENTRIES * ENTRY_BYTES:
            raise DirtyLogError(
                errno.E2BIG,
                f"a ring has at most {MAX_ENTRIES * ENTRY_BYTES:#x} bytes, not"
                f" {size_bytes:#x}",
            )

    # What the ioctls share.

    def check_alive(self) -> None:
        """Refuse while the VM is being destroyed.

        Raises:
            DirtyLogError: EIO.
        """
        if self.vm.dead:
            raise DirtyLogError(errno.EIO, "the VM is dead")

    def check_argument(self, slot: int | None) -> int:
        """Refuse what cannot be read.

        Raises:
            DirtyLogError: EFAULT.
        """
        if slot is None:
            raise DirtyLogError(errno.EFAULT, "the argument cannot be read")
        return slot

    async def id_to_memslot(self, slot_id: SlotId) -> MemorySlot | None:
        """The slot of the active set with an id.

        Locks:
            Holds on entry: ``slots_lock``.
        """
        active = await self.vm.active(slot_id.as_id).dereference()
        await self._scheduler.point(active.lookup)
        return active.id_to_memslot(slot_id.id)

    def tell_requested(self, call: int | None, kind: str, slot: int | None) -> int:
        """Tell the trace that a call began.

        Returns:
            Its number.
        """
        if call is None:
            call = self.vm.next_call()
        if self._scheduler.tracing:
            as_id, id_ = (None, None) if slot is None else SlotId.of(slot)
            self._scheduler.emit(DirtyLogRequested(call, kind, as_id, id_))
        return call

    def tell_returned(self, call: int, result: int, words: Words = ()) -> None:
        """Tell the trace that a call is over."""
        if self._scheduler.tracing:
            self._scheduler.emit(DirtyLogReturned(call, result, words))


def refuse(text: str) -> NoReturn:
    """Refuse with EINVAL.

    Raises:
        DirtyLogError: Always.
    """
    raise DirtyLogError(errno.EINVAL, text)
