"""Calls as strace would have written them, so that `memslots run` can read them.

What strace shows as a pointer only is spelled out where a reader wants to see it: the
bits of a dirty log, the fields of the second region ioctl.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence

from memslots.region import Region
from memslots.slot import MemFlag
from scenarios.parity.calls import (
    Answer,
    Call,
    ClearDirtyLog,
    EnableCap,
    GetDirtyLog,
    ResetRings,
    SetRegion,
)
from scenarios.parity.kvm_abi import Extension

THREAD = 1000
"""Number of the first thread that makes calls."""

DEVICE_FD, VM_FD = 3, 4

SHOWN_WORDS = 8
"""Words of a bitmap that are shown."""

_POINTER = "0x8"
_NAMED_FLAGS = (MemFlag.LOG_DIRTY_PAGES, MemFlag.READONLY, MemFlag.GUEST_MEMFD)


def first_lines(user_mem_slots: int) -> list[str]:
    """How a recording begins: the slot limit is asked, a VM is made."""
    return [
        _line(
            f"ioctl({DEVICE_FD}, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS)",
            str(user_mem_slots),
        ),
        _line(f"ioctl({DEVICE_FD}, KVM_CREATE_VM, 0)", str(VM_FD)),
    ]


def line_of(call: Call, answer: Answer, thread: int = THREAD) -> str:
    """One call with its answer."""
    return _line(entry_of(call, answer) + ")", result_of(answer), thread)


def _line(call: str, result: str, thread: int = THREAD) -> str:
    return f"{thread}  {call} = {result}"


def entry_of(call: Call, answer: Answer) -> str:
    """A call up to the bracket that closes it."""
    request, argument = _request_of(call, answer)
    return f"ioctl({VM_FD}, {request}, {argument}"


def result_of(answer: Answer) -> str:
    """What stands behind the equals sign.

    >>> result_of(Answer(-17))
    '-1 EEXIST (File exists)'
    """
    if answer.failure:
        return f"? ({answer.failure})"
    if answer.result >= 0:
        return str(answer.result)
    name = errno.errorcode.get(-answer.result, str(-answer.result))
    return f"-1 {name} ({os.strerror(-answer.result)})"


def told(answer: Answer) -> str:
    """An answer with what it wrote."""
    if not answer.bitmap:
        return result_of(answer)
    return f"{result_of(answer)}, bitmap {_words(_words_of(answer.bitmap))}"


def _words_of(bitmap: bytes) -> tuple[int, ...]:
    return struct.unpack(f"={len(bitmap) // 8}Q", bitmap[: len(bitmap) // 8 * 8])


def _request_of(call: Call, answer: Answer) -> tuple[str, str]:
    match call:
        case SetRegion(region):
            second = region is not None and region.v2
            return f"KVM_SET_USER_MEMORY_REGION{'2' if second else ''}", _region(region)
        case GetDirtyLog(slot, copy_out):
            bitmap = _words(_words_of(answer.bitmap)) if copy_out else _POINTER
            return "KVM_GET_DIRTY_LOG", _log(slot, f"dirty_bitmap={bitmap}")
        case ClearDirtyLog(slot, first_page, num_pages, mask):
            bitmap = _POINTER if mask is None else _words(mask)
            pages = f"num_pages={num_pages}, first_page={first_page}"
            return "KVM_CLEAR_DIRTY_LOG", _log(slot, f"{pages}, dirty_bitmap={bitmap}")
        case EnableCap():
            return "KVM_ENABLE_CAP", _cap(call)
        case ResetRings():
            return "KVM_RESET_DIRTY_RINGS", "0"


def _region(region: Region | None) -> str:
    if region is None:
        return _POINTER
    fields = (
        f"slot={region.slot}, flags={_flags(region.flags)},"
        f" guest_phys_addr={_address(region.guest_phys_addr)},"
        f" memory_size={region.memory_size},"
        f" userspace_addr={_address(region.userspace_addr)}"
    )
    if region.v2:
        fields += (
            f", guest_memfd_offset={_address(region.guest_memfd_offset)},"
            f" guest_memfd={region.guest_memfd}"
        )
    return f"{{{fields}}}"


def _log(slot: int | None, fields: str) -> str:
    return _POINTER if slot is None else f"{{slot={slot}, {fields}}}"


def _words(words: Sequence[int]) -> str:
    shown = [f"{word:#x}" for word in words[:SHOWN_WORDS]]
    more = ", ..." if len(words) > SHOWN_WORDS else ""
    return f"[{', '.join(shown)}{more}]"


def _flags(flags: int) -> str:
    names = [f"KVM_MEM_{flag.name}" for flag in _NAMED_FLAGS if flags & flag]
    others = flags & ~sum(_NAMED_FLAGS)
    if others or not names:
        names.append(f"{others:#x}" if others else "0")
    return "|".join(names)


def _address(address: int) -> str:
    return f"{address:#x}" if address else "0"


def _cap(call: EnableCap) -> str:
    number = call.capability
    if number is None:
        return _POINTER
    name = f"{number:#x} /* KVM_CAP_??? */"
    if number in set(Extension):
        name = f"KVM_CAP_{Extension(number).name}"
    return f"{{cap={name}, flags={call.flags:#x}, args=[{call.value:#x}, 0, 0, 0]}}"
