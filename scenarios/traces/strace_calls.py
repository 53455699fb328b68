"""What the ioctl calls of an strace recording mean.

Keeps what one call must know of the calls before it: which VM is behind which
file descriptor.
"""

from __future__ import annotations

import re
from collections import Counter

import attrs

from scenarios.printable import printable
from scenarios.traces.c_numbers import UINT64_BITS, integer, unsigned
from scenarios.traces.call import NEVER, GuestMemfdMade
from scenarios.traces.region import Region
from scenarios.traces.strace_line import (
    CHECK_EXTENSION,
    CREATE_GUEST_MEMFD,
    CREATE_VCPU,
    CREATE_VM,
    SET_REGION,
    SET_REGION2,
    asks_slot_limit,
    request_of,
    result_of,
    struct_fields,
)
from scenarios.traces.tally import Tally, Update

UPDATES = frozenset({SET_REGION, SET_REGION2})
UNDERSTOOD = UPDATES | {CREATE_VM, CREATE_VCPU, CREATE_GUEST_MEMFD, CHECK_EXTENSION}
POINTER = "the region is only a pointer: record without -e raw and -e verbose"
POINTER2 = (
    f"strace does not decode {SET_REGION2}: record QEMU's own event with"
    " qemu-system-x86_64 -trace kvm_set_user_memory -D FILE"
)


@attrs.frozen(slots=True)
class IoctlCall:
    """One ioctl with both its halves.

    Attributes:
        entered: Line of the entry.
        returned: Line of the answer.
        thread: Thread id, empty if the trace has none.
        text: The whole call on one line.
        head: Match of ``HEAD`` on the text.
    """

    entered: int
    returned: int
    thread: str
    text: str
    head: re.Match[str]


@attrs.define(slots=True)
class StraceCalls:
    """Enters calls into a tally, in the order of their answers."""

    tally: Tally
    _vm_by_fd: dict[str, str] = attrs.field(factory=dict, init=False)
    _vms_by_fd: Counter[str] = attrs.field(factory=Counter, init=False)

    def take(self, call: IoctlCall) -> None:
        """Enter one call of any kind."""
        kind = request_of(call.head)
        if kind in UPDATES:
            self._update(call)
            return
        self.tally.add_other(kind)
        if kind in UNDERSTOOD:
            self._note(kind, call)

    def never_returned(self, call: IoctlCall, vm: str) -> None:
        """Enter an update that was begun and has no answer in the file."""
        fields = struct_fields(call.text)
        if fields is None:
            self.tally.add_unreturned(call.entered)
            return
        region = self._region(call, fields, None)
        if region is not None:
            asked = Update(call.entered, NEVER, call.thread, vm, region, None)
            self.tally.add_pending(asked)

    def vm_of(self, head: re.Match[str]) -> str:
        """Return the key of the VM that is behind a call's descriptor now."""
        fd = _fd(head["fd"])
        if fd not in self._vm_by_fd:  # created before the trace began
            self._created(fd)
        return self._vm_by_fd[fd]

    def _update(self, call: IoctlCall) -> None:
        line, text = call.entered, call.text
        try:
            result = _answer(text)
        except ValueError as error:
            self.tally.add_unknown(line, text, str(error))
            return
        vm = self.vm_of(call.head)
        if result is None:
            self.never_returned(call, vm)
            return
        fields = struct_fields(text)
        if fields is None:
            second = request_of(call.head) == SET_REGION2
            why = POINTER2 if second else POINTER
            self.tally.add_undecoded(line, text, why, result)
            return
        region = self._region(call, fields, result)
        if region is not None:
            asked = Update(line, call.returned, call.thread, vm, region, result)
            self.tally.add(asked)

    def _region(
        self, call: IoctlCall, fields: dict[str, str], result: int | None
    ) -> Region | None:
        region = self.tally.region(call.entered, call.text, fields, result)
        if region is not None and request_of(call.head) == SET_REGION2:
            region = attrs.evolve(region, v2=True)
        return region

    def _note(self, kind: str, call: IoctlCall) -> None:
        """Remember what a call tells about VMs, vCPUs, files and the slot limit."""
        try:
            result = result_of(call.text)
        except ValueError:
            return
        if result is None or result < 0:
            return
        if kind == CREATE_VM:
            self._created(str(result))
        elif kind == CREATE_VCPU:
            self.tally.vcpus += 1
        elif kind == CREATE_GUEST_MEMFD:
            vm = self.vm_of(call.head)
            made = GuestMemfdMade(vm, result, _size(call.text), call.returned)
            self.tally.guest_memfds.append(made)
        elif result > 0 and asks_slot_limit(call.text, call.head):
            self.tally.slot_limit = result

    def _created(self, fd: str) -> None:
        self._vms_by_fd[fd] += 1
        count = self._vms_by_fd[fd]
        self._vm_by_fd[fd] = f"fd{fd}" if count == 1 else f"fd{fd}#{count}"


def _answer(text: str) -> int | None:
    result = result_of(text)
    if result is not None and result > 0:
        raise ValueError(f"answered {result}, neither 0 nor an error")
    return result


def _size(text: str) -> int | None:
    fields = struct_fields(text) or {}
    try:
        return unsigned("size", fields.get("size", ""), UINT64_BITS)
    except ValueError:
        return None


def _fd(text: str) -> str:
    try:
        return str(integer(text))
    except ValueError:
        return printable(text, 20)
