"""What a scenario is: slots, writers, vCPUs, bounds; declarative and frozen.

These classes are also the format of a scenario file: a field is a key, a tuple of
classes is an array of tables.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

import attrs
from attrs.validators import and_, deep_iterable, ge, in_, le, min_len, optional

from memslots.profile import X86_64_LINUX_6_18, Profile
from memslots.units import PAGE_SIZE
from scenarios.calls import U64, AnyCall, SlotsSpec
from vcpus.lookup import Granularity
from vcpus.vcpu import AccessKind

RING_SIZES = tuple(1 << bits for bits in range(8, 17))
"""How many entries a dirty ring can have: between a page and a megabyte.

KVM: KVM_DIRTY_RING_MAX_ENTRIES, include/linux/kvm_dirty_ring.h
"""


@attrs.frozen(kw_only=True)
class WriterSpec:
    """A thread of the VMM.

    Attributes:
        name: How reports call it.
        calls: What it calls, in this order.
        repeat: How often.
    """

    name: str = attrs.field(validator=min_len(1))
    calls: tuple[AnyCall, ...] = attrs.field(validator=min_len(1))
    repeat: int = attrs.field(default=1, validator=ge(1))


@attrs.frozen(kw_only=True)
class AccessSpec:
    """What a guest does next.

    Attributes:
        kind: What it is.
        gpa: Where in guest memory, in bytes.
        length: How much an emulated access takes, in bytes.
        value: What a write writes; by default the number of the vCPU, from 1.
        pages: For how many consecutive pages it is made in turn.
    """

    kind: AccessKind
    gpa: int = attrs.field(default=0, validator=U64)
    length: int = attrs.field(default=8, validator=and_(ge(1), le(1 << 16)))
    value: int | None = attrs.field(default=None, validator=optional(U64))
    pages: int = attrs.field(default=1, validator=and_(ge(1), le(1 << 20)))


@attrs.frozen(kw_only=True)
class VcpuSpec:
    """One or several vCPUs that do the same.

    Attributes:
        accesses: What the guest does, over and over; the n-th vCPU starts n further.
        count: How many.
        times: How many accesses each makes at least.
        until_writers_return: Whether it then goes on until all writers have returned.
        address_space: 1 is system management mode.
        nested: Whether it runs a guest of its guest, on shadow page tables.
        may_read: What its guest may find in memory; anything if none is given.
        mmio: Whether its page faults may end at a device.
    """

    accesses: tuple[AccessSpec, ...] = attrs.field(validator=min_len(1))
    count: int = attrs.field(default=1, validator=ge(0))
    times: int = attrs.field(default=1, validator=ge(1))
    until_writers_return: bool = False
    address_space: int = attrs.field(default=0, validator=in_((0, 1)))
    nested: bool = False
    may_read: tuple[int, ...] = ()
    mmio: bool = True


class ReadKind(Enum):
    """How KVM accesses guest memory, or devices, outside a vCPU's guest."""

    READ = "read"
    WRITE = "write"
    CLEAR = "clear"
    HVA_CACHE_READ = "hva-cache-read"
    HVA_CACHE_WRITE = "hva-cache-write"
    PFN_CACHE_READ = "pfn-cache-read"
    PFN_CACHE_WRITE = "pfn-cache-write"
    PFN_CACHE_TRY_READ = "pfn-cache-try-read"
    CMMA_READ = "cmma-read"
    DEVICE_READ = "device-read"


@attrs.frozen(kw_only=True)
class ReadSpec:
    """One access of a reader, in a read section of its own.

    Attributes:
        gpa: Where in guest memory, in bytes.
        kind: How; caches remember from one access to the next, and the pfn cache is
            one for all readers.
        length: How much, in bytes.
        value: What a write writes.
    """

    gpa: int = attrs.field(validator=U64)
    kind: ReadKind = ReadKind.READ
    length: int = attrs.field(default=8, validator=and_(ge(1), le(1 << 16)))
    value: int = attrs.field(default=0, validator=U64)


@attrs.frozen(kw_only=True)
class ReaderSpec:
    """A thread of KVM that accesses guest memory without running a guest.

    Attributes:
        name: How reports call it.
        accesses: What it accesses; one read section each.
        repeat: How often.
    """

    name: str = attrs.field(validator=min_len(1))
    accesses: tuple[ReadSpec, ...] = attrs.field(validator=min_len(1))
    repeat: int = attrs.field(default=1, validator=ge(1))


class HostAction(Enum):
    """What the host does to pages of the VMM."""

    UNMAP = "unmap"
    REPLACE = "replace"
    AGE = "age"
    BEGIN = "begin"
    END = "end"


@attrs.frozen(kw_only=True)
class HostSpec:
    """One change of host pages, of which the MMU notifier is told.

    Attributes:
        action: ``begin`` and ``end`` tell of a change without making one.
        hva: Where it begins, in bytes.
        size: How far it goes, in bytes; ``replace`` takes one page.
        step: In pieces of how many bytes it is made; 0 makes it at once.
    """

    action: HostAction
    hva: int = attrs.field(validator=U64)
    size: int = attrs.field(default=PAGE_SIZE, validator=and_(ge(1), le(1 << 40)))
    step: int = attrs.field(default=0, validator=ge(0))


@attrs.frozen(kw_only=True)
class NotifierSpec:
    """A thread of the host that changes pages of the VMM.

    Attributes:
        name: How reports call it.
        changes: What it does, in this order.
        repeat: How often.
    """

    name: str = attrs.field(validator=min_len(1))
    changes: tuple[HostSpec, ...] = attrs.field(validator=min_len(1))
    repeat: int = attrs.field(default=1, validator=ge(1))


@attrs.frozen(kw_only=True)
class AllocatorSpec:
    """A vCPU thread that needs the first shadow root, and so allocates arch data.

    Attributes:
        name: How reports call it.
    """

    name: str = attrs.field(validator=min_len(1))


class DirtyMode(Enum):
    """How dirty pages are told to user space."""

    BITMAP = "bitmap"
    MANUAL_PROTECT = "manual-protect"
    INITIALLY_SET = "initially-set"
    RING = "ring"


class Zap(Enum):
    """What deleting or moving a slot zaps."""

    ALL = "all"
    SLOT = "slot"


@attrs.frozen(kw_only=True)
class MmuSpec:
    """How the MMU of the VM is set up.

    Attributes:
        zap: Whether deleting or moving a slot zaps all page tables or the slot's.
        mmio_gen_bits: Bits of the generation that page tables can note.
        max_pages: Pages that shadow page tables may take; as many as they like without
            it.
        accessed_bits: Whether processors note in page tables which pages they use; if
            not, the host's ``age`` makes pages inaccessible to find out.
        dirty_mode: How dirty pages are told to user space.
        dirty_ring_entries: Entries of each vCPU's ring.
    """

    zap: Zap = Zap.ALL
    mmio_gen_bits: int = attrs.field(default=19, validator=and_(ge(1), le(19)))
    max_pages: int | None = attrs.field(default=None, validator=optional(ge(2)))
    accessed_bits: bool = True
    dirty_mode: DirtyMode = DirtyMode.BITMAP
    dirty_ring_entries: int = attrs.field(default=256, validator=in_(RING_SIZES))


class ProtocolName(Enum):
    """A protocol that is written out by itself, outside the model."""

    DELETE_UNDER_SRCU = "delete-under-srcu"


@attrs.frozen(kw_only=True)
class ProtocolSpec:
    """A small protocol that runs in place of the model; its tasks are its own.

    Attributes:
        name: Which one.
        readers: How many tasks read.
    """

    name: ProtocolName
    readers: int = attrs.field(default=2, validator=and_(ge(1), le(64)))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of its tasks."""
        return (*(f"reader{index}" for index in range(self.readers)), "writer")


@attrs.frozen(kw_only=True)
class Scenario:
    """Who does what to which slots.

    Attributes:
        schema: Version of this format.
        name: What the command line calls it.
        description: What it shows, in a few sentences.
        family: Which scenarios it belongs to.
        address_spaces: How many the VM has.
        cpus: Processors of the host.
        user_mem_slots: Slot ids that user space may use in each address space.
        granularity: Whether a tree walk is one access or one for each node.
        budget: Steps after which a run is stopped.
        must_exercise: Checkers that a run must exercise to mean anything.
        may_exercise: Checkers that it is about, too, but not in every order.
        mmu: How the MMU is set up.
        internal_slots: Whether the kernel has made its own three slots.
        guest_memfds: Bytes of each guest_memfd that the VMM has made.
        devices: How many devices are on the I/O bus before anybody runs.
        protocol: What runs in place of the model, if not the model does.
        slots: What is there before anybody runs.
        writers, vcpus, readers, notifiers, allocators: The tasks.
    """

    schema: Literal[1]
    name: str = attrs.field(validator=min_len(1))
    description: str = ""
    family: str = "own"
    address_spaces: int = attrs.field(default=1, validator=in_((1, 2)))
    cpus: int = attrs.field(default=2, validator=and_(ge(1), le(64)))
    user_mem_slots: int = attrs.field(
        default=X86_64_LINUX_6_18.user_mem_slots,
        validator=and_(ge(1), le(X86_64_LINUX_6_18.user_mem_slots)),
    )
    granularity: Granularity = Granularity.OPERATION
    budget: int = attrs.field(default=10_000_000, validator=ge(1))
    must_exercise: tuple[str, ...] = ()
    may_exercise: tuple[str, ...] = ()
    mmu: MmuSpec = MmuSpec()
    internal_slots: bool = False
    guest_memfds: tuple[int, ...] = attrs.field(
        default=(), validator=deep_iterable(and_(ge(1), le(1 << 40)))
    )
    devices: int = attrs.field(default=0, validator=and_(ge(0), le(1000)))
    protocol: ProtocolSpec | None = None
    slots: tuple[SlotsSpec, ...] = ()
    writers: tuple[WriterSpec, ...] = ()
    vcpus: tuple[VcpuSpec, ...] = ()
    readers: tuple[ReaderSpec, ...] = ()
    notifiers: tuple[NotifierSpec, ...] = ()
    allocators: tuple[AllocatorSpec, ...] = ()

    @property
    def profile(self) -> Profile:
        """Limits of the kernel that it runs on."""
        return attrs.evolve(X86_64_LINUX_6_18, user_mem_slots=self.user_mem_slots)

    @property
    def checkers(self) -> tuple[str, ...]:
        """The checkers that it is about."""
        return self.must_exercise + self.may_exercise

    @property
    def vcpu_count(self) -> int:
        """How many vCPUs it has."""
        return sum(spec.count for spec in self.vcpus)

    def with_vcpus(self, count: int) -> Scenario:
        """The same scenario with ``count`` vCPUs, taken from its own in turn."""
        if not self.vcpus:
            return self
        share, rest = divmod(count, len(self.vcpus))
        return attrs.evolve(
            self,
            vcpus=tuple(
                attrs.evolve(spec, count=share + (place < rest))
                for place, spec in enumerate(self.vcpus)
            ),
        )
