"""What threads of the VMM call: one class for each kind of call of a scenario file."""

from __future__ import annotations

import errno
from enum import Enum
from typing import Final, Literal, get_args

import attrs
from attrs.validators import and_, deep_iterable, ge, le, optional

from memslots.allocator import Allocation
from memslots.region import Region
from memslots.slot import MemFlag
from memslots.units import Gpa, Hva

U64_MAX = (1 << 64) - 1
U64 = and_(ge(0), le(U64_MAX))
U32 = and_(ge(0), le((1 << 32) - 1))

SET_MEMORY_REGION: Final = "set-memory-region"
"""What a call is, unless it says so."""

RESULTS = {"ok": 0} | {name: -number for number, name in errno.errorcode.items()}
"""What a call may be expected to return, by name."""


class Flag(Enum):
    """A flag of a slot, as scenario files write it."""

    LOG_DIRTY_PAGES = "log-dirty-pages"
    READONLY = "readonly"
    GUEST_MEMFD = "guest-memfd"

    @property
    def bit(self) -> int:
        """Its bit in the flags of a request."""
        return int(MemFlag[self.name])


@attrs.frozen(kw_only=True)
class SlotSpec:
    """A slot.

    Attributes:
        slot: Slot id; address space times 65536 is added to it.
        guest_phys_addr: Where the guest sees it, in bytes.
        memory_size: In bytes.
        userspace_addr: Where the host has it, in bytes.
        flags: None, one or several; ``guest-memfd`` is for calls.
    """

    slot: int = attrs.field(validator=U32)
    guest_phys_addr: int = attrs.field(validator=U64)
    memory_size: int = attrs.field(validator=U64)
    userspace_addr: int = attrs.field(validator=U64)
    flags: tuple[Flag, ...] = ()

    @property
    def region(self) -> Region:
        """The request that makes it."""
        return Region(
            slot=self.slot,
            flags=sum(flag.bit for flag in set(self.flags)),
            guest_phys_addr=Gpa(self.guest_phys_addr),
            memory_size=self.memory_size,
            userspace_addr=Hva(self.userspace_addr),
        )


@attrs.frozen(kw_only=True)
class SlotsSpec(SlotSpec):
    """One slot, or several side by side.

    Attributes:
        count: How many; ids, guest and host addresses go on without a gap.
    """

    count: int = attrs.field(default=1, validator=and_(ge(1), le(32764)))

    @property
    def regions(self) -> list[Region]:
        """The requests that make them."""
        return [self._region(place) for place in range(self.count)]

    @property
    def last_region(self) -> Region:
        """The request that makes the last of them."""
        return self._region(self.count - 1)

    def _region(self, place: int) -> Region:
        size = self.memory_size
        return attrs.evolve(
            self.region,
            slot=self.slot + place,
            guest_phys_addr=Gpa(self.guest_phys_addr + place * size),
            userspace_addr=Hva(self.userspace_addr + place * size),
        )


def _known_result(instance: object, attribute: object, value: str | None) -> None:
    if value is not None and value not in RESULTS:
        raise ValueError(f"'expect' must be ok or the name of an errno, got {value!r}")


@attrs.frozen(kw_only=True, slots=False)
class CallSpec:
    """What all calls have in common.

    Attributes:
        expect: ``ok`` or the name of an errno; anything goes without it.
        repeat: How often it is made in a row.
    """

    expect: str | None = attrs.field(default=None, validator=_known_result)
    repeat: int = attrs.field(default=1, validator=ge(1))

    @property
    def expected(self) -> int | None:
        """The expected result as a number."""
        return None if self.expect is None else RESULTS[self.expect]

    @property
    def total(self) -> int:
        """How many calls it stands for."""
        return self.repeat


@attrs.frozen(kw_only=True)
class RegionCallSpec(SlotsSpec, CallSpec):
    """One call of ``KVM_SET_USER_MEMORY_REGION``, or one for each of several slots.

    Attributes:
        call: What it is.
        fail: An allocation of this call that fails.
        guest_memfd: Which guest_memfd backs the slot, from 0, with that flag only; from
            the start of the file on.
    """

    call: Literal["set-memory-region"] = SET_MEMORY_REGION
    fail: Allocation | None = None
    guest_memfd: int = attrs.field(default=0, validator=ge(0))

    @property
    def region(self) -> Region:
        """The request."""
        if Flag.GUEST_MEMFD not in self.flags:
            return super().region
        return attrs.evolve(super().region, v2=True, guest_memfd=self.guest_memfd)

    @property
    def total(self) -> int:
        """How many calls it stands for."""
        return self.count * self.repeat


@attrs.frozen(kw_only=True)
class GetDirtyLogSpec(CallSpec):
    """One call of ``KVM_GET_DIRTY_LOG``.

    Attributes:
        call: What it is.
        slot: Slot id; address space times 65536 is added to it.
        copy_out: Whether the caller's bitmap can be written.
    """

    call: Literal["get-dirty-log"]
    slot: int = attrs.field(validator=U32)
    copy_out: bool = True


@attrs.frozen(kw_only=True)
class ClearDirtyLogSpec(CallSpec):
    """One call of ``KVM_CLEAR_DIRTY_LOG``: clears what this thread last got.

    Attributes:
        call: What it is.
        slot: Slot id; address space times 65536 is added to it.
        first_page: Where it begins, in pages of the slot.
        num_pages: How many pages; by default all that are left.
    """

    call: Literal["clear-dirty-log"]
    slot: int = attrs.field(validator=U32)
    first_page: int = attrs.field(default=0, validator=U64)
    num_pages: int | None = attrs.field(default=None, validator=optional(U32))


@attrs.frozen(kw_only=True)
class ResetDirtyRingsSpec(CallSpec):
    """Harvest the dirty rings of all vCPUs, then ``KVM_RESET_DIRTY_RINGS``.

    Attributes:
        call: What it is.
        forged: Pages of slot 0, by their place in it, of which user space tells each
            ring that it has collected them.
    """

    call: Literal["reset-dirty-rings"]
    forged: tuple[int, ...] = attrs.field(default=(), validator=deep_iterable(U64))


@attrs.frozen(kw_only=True)
class ZapGfnRangeSpec(CallSpec):
    """The kernel itself zaps a range, as a change of memory types makes it do.

    Attributes:
        call: What it is.
        start: First guest address, in bytes.
        end: First guest address behind.
    """

    call: Literal["zap-gfn-range"]
    start: int = attrs.field(validator=U64)
    end: int = attrs.field(validator=U64)


@attrs.frozen(kw_only=True)
class RegisterDeviceSpec(CallSpec):
    """The kernel puts a device on an I/O bus, as making an eventfd for it does.

    Attributes:
        call: What it is.
        expedited: Whether the old bus is to be freed in a hurry.
    """

    call: Literal["register-device"]
    expedited: bool = False


@attrs.frozen(kw_only=True)
class UnregisterDevicesSpec(CallSpec):
    """The kernel takes all devices off the I/O bus.

    Attributes:
        call: What it is.
        fail: Whether no smaller bus can be allocated, so that there is none then.
    """

    call: Literal["unregister-devices"]
    fail: bool = False


@attrs.frozen(kw_only=True)
class WriteMemorySpec(CallSpec):
    """The VMM writes to its own memory, which no slot is asked about.

    Attributes:
        call: What it is.
        hva: Host address, in bytes.
        value: What the page then holds.
        pages: To how many consecutive pages it writes.
    """

    call: Literal["write-memory"]
    hva: int = attrs.field(validator=U64)
    value: int = attrs.field(validator=U64)
    pages: int = attrs.field(default=1, validator=and_(ge(1), le(1 << 20)))


@attrs.frozen(kw_only=True)
class AgePageSpec(CallSpec):
    """The VMM asks whether a page of its own was used, as page_idle lets it.

    Attributes:
        call: What it is.
        hva: Host address of the page, in bytes.
    """

    call: Literal["age-page"]
    hva: int = attrs.field(validator=U64)


@attrs.frozen(kw_only=True)
class PauseVcpusSpec(CallSpec):
    """Tell all vCPUs to leave, and wait until they have; the same thread resumes them.

    Attributes:
        call: What it is.
    """

    call: Literal["pause-vcpus"]


@attrs.frozen(kw_only=True)
class ResumeVcpusSpec(CallSpec):
    """Let vCPUs that were paused run again.

    Attributes:
        call: What it is.
    """

    call: Literal["resume-vcpus"]


@attrs.frozen(kw_only=True)
class StopVcpusSpec(CallSpec):
    """Tell all vCPUs to leave, and wait until they have.

    Attributes:
        call: What it is.
    """

    call: Literal["stop-vcpus"]


@attrs.frozen(kw_only=True)
class DestroyVmSpec(CallSpec):
    """Destroy the VM, once every other task has ended.

    Attributes:
        call: What it is.
    """

    call: Literal["destroy-vm"]


OtherCall = (
    GetDirtyLogSpec
    | ClearDirtyLogSpec
    | ResetDirtyRingsSpec
    | ZapGfnRangeSpec
    | RegisterDeviceSpec
    | UnregisterDevicesSpec
    | WriteMemorySpec
    | AgePageSpec
    | PauseVcpusSpec
    | ResumeVcpusSpec
    | StopVcpusSpec
    | DestroyVmSpec
)
"""What a thread of the VMM can call besides changing regions."""

AnyCall = RegionCallSpec | OtherCall
"""What a thread of the VMM can call; ``call`` in a scenario file says which it is."""


CALLS: tuple[type[CallSpec], ...] = get_args(AnyCall)
"""The classes of calls."""
