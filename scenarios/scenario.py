"""What a scenario is: slots, writers, vCPUs, bounds; declarative and frozen.

These classes are also the format of a scenario file: a field is a key, a tuple of
classes is an array of tables.
"""

from __future__ import annotations

import errno
from enum import Enum
from typing import Literal

import attrs
from attrs.validators import and_, ge, in_, le, min_len

from memslots.region import Region
from memslots.slot import LOG_DIRTY_PAGES, READONLY
from memslots.units import Gpa, Hva
from vcpus.lookup import Granularity
from vcpus.vcpu import Exit

U64_MAX = (1 << 64) - 1
_U64 = and_(ge(0), le(U64_MAX))
_U32 = and_(ge(0), le((1 << 32) - 1))

RESULTS = {"ok": 0} | {name: -number for number, name in errno.errorcode.items()}
"""What a call may be expected to return, by name."""


class Flag(Enum):
    """A flag of a slot, as scenario files write it."""

    LOG_DIRTY_PAGES = "log-dirty-pages"
    READONLY = "readonly"

    @property
    def bit(self) -> int:
        """Its bit in the flags of a request."""
        return LOG_DIRTY_PAGES if self is Flag.LOG_DIRTY_PAGES else READONLY


@attrs.frozen(kw_only=True)
class SlotSpec:
    """A slot that is there before anybody runs.

    Attributes:
        slot: Slot id; address space times 65536 is added to it.
        guest_phys_addr: Where the guest sees it, in bytes.
        memory_size: In bytes.
        userspace_addr: Where the host has it, in bytes.
        flags: None, one or both.
    """

    slot: int = attrs.field(validator=_U32)
    guest_phys_addr: int = attrs.field(validator=_U64)
    memory_size: int = attrs.field(validator=_U64)
    userspace_addr: int = attrs.field(validator=_U64)
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
class CallSpec(SlotSpec):
    """One call of ``KVM_SET_USER_MEMORY_REGION``.

    Attributes:
        expect: ``ok`` or the name of an errno; anything goes without it.
    """

    expect: str | None = attrs.field(default=None)

    @expect.validator
    def _check_expect(self, attribute: object, value: str | None) -> None:
        if value is not None and value not in RESULTS:
            raise ValueError(
                f"'expect' must be ok or the name of an errno, got {value!r}"
            )


@attrs.frozen(kw_only=True)
class WriterSpec:
    """A thread of the VMM that changes slots.

    Attributes:
        name: How reports call it.
        calls: What it calls, in this order.
        repeat: How often.
    """

    name: str = attrs.field(validator=min_len(1))
    calls: tuple[CallSpec, ...] = attrs.field(validator=min_len(1))
    repeat: int = attrs.field(default=1, validator=ge(1))


@attrs.frozen(kw_only=True)
class AccessSpec:
    """What a guest does between two exits.

    Attributes:
        exit: Why it leaves guest mode.
        gpa: Where in guest memory, in bytes.
    """

    exit: Exit
    gpa: int = attrs.field(validator=_U64)


@attrs.frozen(kw_only=True)
class VcpuSpec:
    """One or several vCPUs that do the same.

    Attributes:
        accesses: What the guest does, over and over; the n-th vCPU starts n further.
        count: How many.
        exits: How many exits each makes at least.
        until_writers_return: Whether it then goes on until all writers have returned.
        address_space: 1 is system management mode.
    """

    accesses: tuple[AccessSpec, ...] = attrs.field(validator=min_len(1))
    count: int = attrs.field(default=1, validator=ge(0))
    exits: int = attrs.field(default=1, validator=ge(1))
    until_writers_return: bool = False
    address_space: int = attrs.field(default=0, validator=in_((0, 1)))


@attrs.frozen(kw_only=True)
class ReaderSpec:
    """A thread that reads guest memory without being a vCPU.

    Attributes:
        name: How reports call it.
        gpas: Where it reads, in bytes; one read section each.
        repeat: How often.
    """

    name: str = attrs.field(validator=min_len(1))
    gpas: tuple[int, ...] = attrs.field(validator=min_len(1))
    repeat: int = attrs.field(default=1, validator=ge(1))


@attrs.frozen(kw_only=True)
class AllocatorSpec:
    """A vCPU thread that needs the first shadow root, and so allocates arch data.

    Attributes:
        name: How reports call it.
    """

    name: str = attrs.field(validator=min_len(1))


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
        granularity: Whether a tree walk is one access or one for each node.
        budget: Steps after which a run is stopped.
        must_exercise: Checkers that a run must exercise to mean anything.
        slots: What is there before anybody runs.
        writers, vcpus, readers, allocators: The tasks.
    """

    schema: Literal[1]
    name: str = attrs.field(validator=min_len(1))
    description: str = ""
    family: str = "own"
    address_spaces: int = attrs.field(default=1, validator=in_((1, 2)))
    cpus: int = attrs.field(default=2, validator=and_(ge(1), le(64)))
    granularity: Granularity = Granularity.OPERATION
    budget: int = attrs.field(default=10_000_000, validator=ge(1))
    must_exercise: tuple[str, ...] = ()
    slots: tuple[SlotSpec, ...] = ()
    writers: tuple[WriterSpec, ...] = ()
    vcpus: tuple[VcpuSpec, ...] = ()
    readers: tuple[ReaderSpec, ...] = ()
    allocators: tuple[AllocatorSpec, ...] = ()

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
