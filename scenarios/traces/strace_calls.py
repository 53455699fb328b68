"""What the ioctl calls of an strace recording mean.

Keeps what one call must know of the calls before it: which VM is behind which
file descriptor.
"""

from __future__ import annotations

import re
from collections import Counter

import attrs

from scenarios.traces.c_numbers import integer
from scenarios.traces.call import printable
from scenarios.traces.strace_line import (
    CHECK_EXTENSION,
    CREATE_VCPU,
    CREATE_VM,
    SET_REGION,
    SET_REGION2,
    asks_slot_limit,
    request_of,
    result_of,
    struct_fields,
)
from scenarios.traces.tally import Answered, Tally

UPDATES = frozenset({SET_REGION, SET_REGION2})
UNDERSTOOD = UPDATES | {CREATE_VM, CREATE_VCPU, CHECK_EXTENSION}
POINTER = "the region is only a pointer: record without -e raw and -e verbose"


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

    def refuse_pointer(self, number: int, text: str, head: re.Match[str]) -> None:
        """Refuse a KVM_SET_USER_MEMORY_REGION2 that no strace version decodes.

        To leave it out would be worse than to stop: such a VMM makes all its
        updates this way.

        Raises:
            TraceError: The call shows no struct.
        """
        if request_of(head) == SET_REGION2 and struct_fields(text) is None:
            shown = printable(text[head.end() :].lstrip(", ").partition(")")[0], 40)
            raise self.tally.error(
                f"{SET_REGION2} is recorded as a pointer only ({shown}), strace does "
                "not decode it; record QEMU's own trace event instead: "
                "qemu-system-x86_64 -trace kvm_set_user_memory -D FILE ...",
                number,
            )

    def _update(self, call: IoctlCall) -> None:
        line, text = call.entered, call.text
        fields = struct_fields(text)
        if fields is None:
            self.tally.add_unknown(line, text, POINTER)
            return
        try:
            result = _answer(text)
        except ValueError as error:
            self.tally.add_unknown(line, text, str(error))
            return
        if result is None:
            self.tally.add_unreturned(line)
            return
        region = self.tally.region(line, text, fields)
        if region is not None:
            vm = self._vm(_fd(call.head["fd"]))
            self.tally.add(
                Answered(line, call.returned, call.thread, vm, region, result)
            )

    def _note(self, kind: str, call: IoctlCall) -> None:
        """Remember what a call tells about VMs, vCPUs and the slot limit."""
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
        elif result > 0 and asks_slot_limit(call.text, call.head):
            self.tally.slot_limit = result

    def _created(self, fd: str) -> None:
        self._vms_by_fd[fd] += 1
        count = self._vms_by_fd[fd]
        self._vm_by_fd[fd] = f"fd{fd}" if count == 1 else f"fd{fd}#{count}"

    def _vm(self, fd: str) -> str:
        if fd not in self._vm_by_fd:  # created before the trace began
            self._created(fd)
        return self._vm_by_fd[fd]


def _answer(text: str) -> int | None:
    result = result_of(text)
    if result is not None and result > 0:
        raise ValueError(f"answered {result}, neither 0 nor an error")
    return result


def _fd(text: str) -> str:
    try:
        return str(integer(text))
    except ValueError:
        return printable(text, 20)
