"""A recorded trace: memory-region calls, and the answers that the kernel gave.

One rule: a field holds what the trace says, never what it ought to say. Whether
a call is valid is decided where regions are checked, not here.

KVM: struct kvm_userspace_memory_region, include/uapi/linux/kvm.h
"""

from __future__ import annotations

import sys

import attrs

from memslots.region import Region
from memslots.units import Gpa, Hva
from scenarios.printable import printable

NEVER = sys.maxsize
"""Where a call returned whose answer the trace does not hold."""

_AS_ID_SHIFT = 16
_SLOT_ID_MASK = (1 << _AS_ID_SHIFT) - 1


@attrs.frozen(slots=True)
class RegionCall:
    """One KVM_SET_USER_MEMORY_REGION call, from its entry to its answer.

    Attributes:
        index: Place of the call in its trace, from 0, in order of entry.
        line: Line on which the call was entered, from 1.
        thread: Thread id as the trace writes it; ``vmm`` if it names none.
        vm: Tells the trace's VMs apart: ``fd9`` is the VM behind descriptor 9,
            ``fd9#2`` a second VM created on that number. Empty for QEMU.
        slot: The slot field, address space in bits 16 and up.
        flags: The flag bits.
        guest_phys_addr: First guest-physical byte.
        memory_size: Bytes; 0 asks for the slot's deletion.
        userspace_addr: First byte in the VMM's own memory.
        result: 0, or the negative errno; None if the trace does not hold it: the call
            may have taken effect or not.
        entered: Position of the entry in the file's order: a line number.
        returned: Position of the answer; equals ``entered`` on a one-line call;
            ``NEVER`` without an answer.
        guest_memfd: The guest_memfd descriptor, None without one.
        guest_memfd_offset: Offset into it, None without one.
        v2: The line carried the fields of KVM_SET_USER_MEMORY_REGION2.
    """

    index: int
    line: int
    thread: str
    vm: str
    slot: int
    flags: int
    guest_phys_addr: int
    memory_size: int
    userspace_addr: int
    result: int | None
    entered: int
    returned: int
    guest_memfd: int | None = None
    guest_memfd_offset: int | None = None
    v2: bool = False

    @property
    def as_id(self) -> int:
        """The address space that the slot field names."""
        return self.slot >> _AS_ID_SHIFT

    @property
    def slot_id(self) -> int:
        """The slot's id inside its address space."""
        return self.slot & _SLOT_ID_MASK

    @property
    def guest_phys_end(self) -> int:
        """One past the last requested guest-physical byte."""
        return self.guest_phys_addr + self.memory_size

    @property
    def request(self) -> Region:
        """What was asked of the kernel."""
        return Region(
            slot=self.slot,
            flags=self.flags,
            guest_phys_addr=Gpa(self.guest_phys_addr),
            memory_size=self.memory_size,
            userspace_addr=Hva(self.userspace_addr),
            v2=self.v2,
            guest_memfd=-1 if self.guest_memfd is None else self.guest_memfd,
            guest_memfd_offset=self.guest_memfd_offset or 0,
        )


@attrs.frozen(slots=True)
class GuestMemfdMade:
    """A guest_memfd that a VM was given.

    Attributes:
        vm: Key of the VM; see ``RegionCall``.
        descriptor: What names it from then on.
        size_bytes: How large it is; None if the trace does not say.
        returned: Position of the answer in the file's order.
    """

    vm: str
    descriptor: int
    size_bytes: int | None
    returned: int


@attrs.frozen(slots=True)
class UnknownLine:
    """A line that could not be used.

    Attributes:
        line: Line number, from 1.
        text: The line, at most 80 printable characters.
        why: What is wrong with it, in a few words.
    """

    line: int
    text: str
    why: str


@attrs.frozen(slots=True)
class UnknownLines:
    """All lines of a trace that could not be used.

    Attributes:
        count: How many there are.
        by_why: How many for each reason.
        first: The first few, and the file's half last line if it has one.
    """

    count: int = 0
    by_why: dict[str, int] = attrs.Factory(dict)
    first: tuple[UnknownLine, ...] = ()


@attrs.frozen(slots=True)
class Trace:
    """Everything that one file says about memory regions.

    Attributes:
        source: The file's name, for messages.
        format: ``strace``, ``qemu-trace`` or ``mtree``.
        calls: The updates, in order of entry; ``calls[i].index == i``.
        slot_limit: The kernel's answer about KVM_CAP_NR_MEMSLOTS, None if the
            trace does not hold the question.
        vcpus: How many vCPUs were created successfully.
        vms: The ``vm`` keys of the calls, in the order of their first call.
        lines: How many lines the file has.
        other_lines: Lines that were understood but are no update, by kind. A
            call that takes two lines counts once.
        unknown_lines: Lines that were not understood.
        unreturned: Lines on which an update was entered whose answer the trace
            does not hold.
        pending: Those of them that show what was asked for. Their ``index`` goes on
            after the calls'.
        undecoded: Lines of updates that may have succeeded and do not show what was
            asked for. They are among the unknown lines, too.
        guest_memfds: What guest_memfds were made, by answer.
        assumed: What the file does not hold and was made up, in sentences.
    """

    source: str
    format: str
    calls: tuple[RegionCall, ...]
    slot_limit: int | None
    vcpus: int
    vms: tuple[str, ...]
    lines: int
    other_lines: dict[str, int]
    unknown_lines: UnknownLines
    unreturned: tuple[int, ...]
    pending: tuple[RegionCall, ...] = ()
    undecoded: tuple[int, ...] = ()
    guest_memfds: tuple[GuestMemfdMade, ...] = ()
    assumed: tuple[str, ...] = ()


class TraceError(Exception):
    """A file cannot be read as a trace; the text is one line with a way out.

    Attributes:
        source: The file's name.
        line: The line at fault, None if it is the file as a whole.
    """

    def __init__(self, source: str, message: str, line: int | None = None) -> None:
        """Put the place before the message, the way compilers do."""
        self.source = printable(source)
        self.line = line
        place = self.source if line is None else f"{self.source}:{line}"
        super().__init__(f"{place}: {message}")
