"""What each spelling of an strace line means."""

import errno
from collections.abc import Callable

import attrs
import pytest

from scenarios.traces.call import (
    NEVER,
    GuestMemfdMade,
    RegionCall,
    Trace,
    TraceError,
)

Read = Callable[[str], Trace]

STRUCT = (
    "{slot=3, flags=KVM_MEM_LOG_DIRTY_PAGES|KVM_MEM_READONLY, "
    "guest_phys_addr=0x14c000, memory_size=65536, userspace_addr=0x7f671c2dd000}"
)
CALL = f"ioctl(9, KVM_SET_USER_MEMORY_REGION, {STRUCT})"
EXPECTED = RegionCall(
    index=0,
    line=1,
    thread="vmm",
    vm="fd9",
    slot=3,
    flags=3,
    guest_phys_addr=0x14C000,
    memory_size=65536,
    userspace_addr=0x7F671C2DD000,
    result=0,
    entered=1,
    returned=1,
)


@pytest.mark.parametrize("after", ["", " <0.000148>", "   \r"])
@pytest.mark.parametrize(
    ("before", "thread"),
    [
        ("", "vmm"),
        ("9828  ", "9828"),
        ("9828 ", "9828"),
        ("[pid  9828] ", "9828"),
        ("[pid 9828] ", "9828"),
        ("[pid 9828<CPU 0/KVM>] ", "9828"),
        ("9828<qemu-system-x86> ", "9828"),
        ("02:51:20 ", "vmm"),
        ("02:51:20.273801 ", "vmm"),
        ("1795402280.478226 ", "vmm"),
        ("1795402280 ", "vmm"),
        ("     0.000158 ", "vmm"),
        ("02:51:20.273801 (+     0.000158) ", "vmm"),
        ("9828  02:51:20.273801 ", "9828"),
        ("9828  1795402280.478226 ", "9828"),
        ("9828       0.000158 ", "9828"),
        ("[pid  9828] 02:51:20.722887 ", "9828"),
        ("[  16] ", "vmm"),
        ("[00007f2f71d1bd6b] ", "vmm"),
        ("9828  [  16] [00007f262b11bd6b] ", "9828"),
        ("9828 /* 7 in strace's PID NS */ ", "9828"),
        ("> > 9828 ", "9828"),
    ],
)
def test_beginning_of_a_line_names_at_most_the_thread(
    read: Read, before: str, thread: str, after: str
) -> None:
    trace = read(f"{before}{CALL} = 0{after}\n")
    assert trace.calls == (attrs.evolve(EXPECTED, thread=thread),)


@pytest.mark.parametrize(
    "call",
    [
        CALL,
        f"ioctl(0x9, 0x4020ae46, {STRUCT})",
        f"ioctl(9, 0x8020ae46, {STRUCT})",
        f"ioctl(9, _IOC(_IOC_WRITE, 0xae, 0x46, 0x20), {STRUCT})",
        f"ioctl(9, 0x4020ae46 /* KVM_SET_USER_MEMORY_REGION */, {STRUCT})",
        f"ioctl(9<anon_inode:kvm-vm>, KVM_SET_USER_MEMORY_REGION, {STRUCT})",
        f"ioctl(9</a, (odd) path<char 1:3>>, KVM_SET_USER_MEMORY_REGION, {STRUCT})",
        f"ioctl(fd=9, op=KVM_SET_USER_MEMORY_REGION, argp={STRUCT})",
        f"ioctl(fd=9<anon_inode:kvm-vm>, op=0x4020ae46, argp={STRUCT})",
    ],
)
def test_call_is_known_by_name_and_by_number(read: Read, call: str) -> None:
    assert read(f"{call} = 0\n").calls == (EXPECTED,)


@pytest.mark.parametrize(
    ("flags", "bits"),
    [
        ("0", 0),
        ("0x2", 2),
        ("KVM_MEM_READONLY", 2),
        ("KVM_MEM_GUEST_MEMFD", 4),
        ("KVM_MEM_PRIVATE", 4),
        ("KVM_MEM_LOG_DIRTY_PAGES|0x8", 9),
        ("0x10 /* KVM_MEM_??? */", 16),
        ("0x3 /* KVM_MEM_LOG_DIRTY_PAGES|KVM_MEM_READONLY */", 3),
        ("0xffffffff", 0xFFFFFFFF),
    ],
)
def test_flags_are_read_named_or_numbered(read: Read, flags: str, bits: int) -> None:
    named = "KVM_MEM_LOG_DIRTY_PAGES|KVM_MEM_READONLY"
    trace = read(f"{CALL.replace(named, flags)} = 0\n")
    assert trace.calls == (attrs.evolve(EXPECTED, flags=bits),)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("0", 0),
        ("-1 EINVAL (Invalid argument)", -errno.EINVAL),
        ("-1 EEXIST (File exists) <0.000031>", -errno.EEXIST),
        ("-1 (errno 524)", -524),
        ("-22", -22),
        ("0 (DELAYED)", 0),
    ],
)
def test_answer_becomes_zero_or_a_negative_errno(
    read: Read, answer: str, result: int
) -> None:
    trace = read(f"{CALL}      = {answer}\n")
    assert trace.calls == (attrs.evolve(EXPECTED, result=result),)


def test_largest_values_are_kept(read: Read) -> None:
    trace = read(
        "ioctl(3, KVM_SET_USER_MEMORY_REGION, {slot=4294967295, flags=0x18 /* "
        "KVM_MEM_??? */, guest_phys_addr=0xfffffffffffff000, memory_size="
        "18446744073709551615, userspace_addr=0xffffffffffffffff}) = -1 ENOTTY (No)\n"
    )
    (call,) = trace.calls
    assert call.slot == 2**32 - 1
    assert (call.as_id, call.slot_id) == (65535, 65535)
    assert call.memory_size == call.userspace_addr == 2**64 - 1
    assert call.guest_phys_end == 2**65 - 4097


def test_other_lines_are_named_and_counted_once_a_call(read: Read) -> None:
    trace = read(
        "7 ioctl(8, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS) = 32764\n"
        "7 ioctl(8, KVM_CREATE_VM, 0) = 9\n"
        "8 ioctl(9, KVM_CREATE_VCPU, 0 <unfinished ...>\n"
        "7 futex(0x7f205fe00010, FUTEX_WAKE_PRIVATE, 1 <unfinished ...>\n"
        "8 <... ioctl resumed>) = 11\n"
        "7 <... futex resumed>) = 0\n"
        "8 ioctl(9, KVM_CREATE_VCPU, 0) = -1 EEXIST (File exists)\n"
        f"7 {CALL} = 0\n"
        "8 ioctl(11, KVM_RUN, 0) = 0\n"
        "8 ioctl(11, KVM_RUN, 0 <unfinished ...>\n"
        "7 ioctl(9, KVM_GET_DIRTY_LOG, 0x7ffe8d3c6ac0) = 0\n"
        "8 <... ioctl resumed>) = -1 EINTR (Interrupted system call)\n"
        "8 ioctl(11, KVM_RUN, 0 <unfinished ...>\n"
        "8 <... ioctl resumed>) = 0\n"
        "8 ioctl(11, 0xae80 /* KVM_RUN */, 0) = 0\n"
        "7 ioctl(0, TCGETS, {c_iflag=ICRNL, ...}) = 0\n"
        "7 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---\n"
        "strace: Process 13 attached\n"
        " > /usr/lib/libc.so.6(ioctl+0x3b) [0x10a12b]\n"
        "7 +++ exited with 0 +++\n"
    )
    assert trace.slot_limit == 32764
    assert trace.vcpus == 1
    assert trace.lines == 20
    assert trace.unknown_lines.count == 0
    assert trace.other_lines == {
        "KVM_CHECK_EXTENSION": 1,
        "KVM_CREATE_VM": 1,
        "KVM_CREATE_VCPU": 2,
        "futex": 1,
        "KVM_RUN": 4,
        "KVM_GET_DIRTY_LOG": 1,
        "TCGETS": 1,
        "signal": 1,
        "strace message": 1,
        "stack frame": 1,
        "exit": 1,
    }


@pytest.mark.parametrize(
    "capability", ["KVM_CAP_NR_MEMSLOTS", "0xa", "0xa /* KVM_CAP_NR_MEMSLOTS */"]
)
def test_slot_limit_is_known_by_name_and_number(read: Read, capability: str) -> None:
    trace = read(
        f"ioctl(8, KVM_CHECK_EXTENSION, {capability}) = 509\n"
        "ioctl(8, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS) = 4\n"
        f"{CALL} = 0\n"
    )
    assert trace.slot_limit == 509


def test_descriptor_tells_vms_apart(read: Read) -> None:
    other = CALL.replace("ioctl(9", "ioctl(10")
    trace = read(f"1 {CALL} = 0\n2 {other} = 0\n3 {CALL} = 0\n")
    assert [call.vm for call in trace.calls] == ["fd9", "fd10", "fd9"]
    assert trace.vms == ("fd9", "fd10")


def test_second_vm_on_a_descriptor_is_another_vm(read: Read) -> None:
    create = "ioctl(8, KVM_CREATE_VM, 0) = 9"
    trace = read(f"{create}\n{create}\n{CALL} = 0\n{create}\n{CALL} = 0\n")
    assert trace.vms == ("fd9#2", "fd9#3")


def test_region2_with_a_struct_is_read(read: Read) -> None:
    trace = read(
        "ioctl(9, KVM_SET_USER_MEMORY_REGION2, {slot=65539, flags=KVM_MEM_GUEST_MEMFD"
        ", guest_phys_addr=0, memory_size=4096, userspace_addr=0x1000, "
        "guest_memfd_offset=0x2000, guest_memfd=14<anon_inode:[guest-memfd]>}) = 0\n"
    )
    (call,) = trace.calls
    assert (call.as_id, call.slot_id) == (1, 3)
    assert (call.guest_memfd, call.guest_memfd_offset, call.v2) == (14, 0x2000, True)


REGION2 = (
    "slot=3, flags=KVM_MEM_GUEST_MEMFD, guest_phys_addr=0, memory_size=4096,"
    " userspace_addr=0x1000"
)


@pytest.mark.parametrize(
    "request_text",
    [
        "KVM_SET_USER_MEMORY_REGION2",
        "_IOC(_IOC_WRITE, 0xae, 0x49, 0xa0)",
        "0x40a0ae49",
        "0x40a0ae49 /* _IOC(_IOC_WRITE, 0xae, 0x49, 0xa0) */",
    ],
)
@pytest.mark.parametrize(
    ("rest", "file", "offset"),
    [
        ("", None, None),
        (", guest_memfd_offset=0x2000, guest_memfd=14", 14, 0x2000),
        (", guest_memfd_offset=0, guest_memfd=14, pad1=0, pad2=[0, 0]", 14, 0),
        (", guest_memfd_offset=0, guest_memfd=4294967295", None, None),
        (", guest_memfd_offset=0, guest_memfd=-1, ...", None, None),
    ],
)
def test_region2_is_read_with_any_fields(
    read: Read, request_text: str, rest: str, file: int | None, offset: int | None
) -> None:
    trace = read(f"7 ioctl(9, {request_text}, {{{REGION2}{rest}}}) = 0\n")
    (call,) = trace.calls
    assert (call.slot, call.flags, call.v2) == (3, 4, True)
    assert (call.guest_memfd, call.guest_memfd_offset) == (file, offset)
    assert trace.unknown_lines.count == 0


POINTERS = [
    ("KVM_SET_USER_MEMORY_REGION2", "0x7ffeac863d20"),
    ("_IOC(_IOC_WRITE, 0xae, 0x49, 0xa0)", "0x7ffeac863d20"),
    ("0x40a0ae49", "0x7ffeac863d20"),
    ("0x40a0ae49 /* KVM_SET_USER_MEMORY_REGION2 */", "argp=0x7ffeac863d20"),
]


@pytest.mark.parametrize(("request_text", "pointer"), POINTERS)
def test_region2_as_a_pointer_is_counted_and_names_the_way_out(
    read: Read, request_text: str, pointer: str
) -> None:
    line = f"7 ioctl(9, {request_text}, {pointer}"
    trace = read(
        f"{CALL} = 0\n{line}) = 0\n{line}) = -1 EINVAL (Invalid argument)\n"
        f"{line} <unfinished ...>\n{CALL} = 0\n7 <... ioctl resumed>) = 0\n"
        f"{line}) = ?\n"
    )
    assert len(trace.calls) == 2
    assert trace.undecoded == (2, 4)
    assert trace.unreturned == (7,)
    assert trace.unknown_lines.count == 3
    (why,) = trace.unknown_lines.by_why
    assert why.startswith("strace does not decode KVM_SET_USER_MEMORY_REGION2")
    assert why.endswith("qemu-system-x86_64 -trace kvm_set_user_memory -D FILE")
    with pytest.raises(TraceError, match="-trace kvm_set_user_memory"):
        read(f"{line}) = 0\n")


def test_update_whose_region_is_lost_may_have_succeeded(read: Read) -> None:
    lost = CALL.replace("slot=3", "slot=?")
    trace = read(f"{CALL} = 0\n{lost} = 0\n{lost} = -1 EINVAL (Invalid)\n")
    assert trace.undecoded == (2,)
    assert trace.unknown_lines.count == 2


@pytest.mark.parametrize(
    ("request_text", "argument", "size"),
    [
        ("KVM_CREATE_GUEST_MEMFD", "{size=0x4000, flags=0}", 0x4000),
        ("KVM_CREATE_GUEST_MEMFD", "{size=16384, flags=0, ...}", 16384),
        ("0xc040aed4", "{size=0x4000}", 0x4000),
        ("KVM_CREATE_GUEST_MEMFD", "0x7ffeac863d20", None),
        ("_IOC(_IOC_READ|_IOC_WRITE, 0xae, 0xd4, 0x40)", "0x7ffeac863d20", None),
    ],
)
def test_guest_memfds_are_kept_with_their_descriptor(
    read: Read, request_text: str, argument: str, size: int | None
) -> None:
    trace = read(
        f"7 ioctl(9, {request_text}, {argument}) = 14\n"
        f"7 ioctl(9, {request_text}, {argument}) = -1 EINVAL (Invalid argument)\n"
        f"{CALL} = 0\n"
    )
    assert trace.guest_memfds == (GuestMemfdMade("fd9", 14, size, 1),)
    assert sum(trace.other_lines.values()) == 2


def test_update_without_an_answer_keeps_what_it_asked_for(read: Read) -> None:
    create = "8 ioctl(8, KVM_CREATE_VM, 0) = 9"
    trace = read(
        f"{create}\n7 {CALL} <unfinished ...>\n8 {CALL} = ?\n{create}\n8 {CALL} = 0\n"
    )
    assert trace.unreturned == (2, 3)
    (call,) = trace.calls
    assert call.vm == "fd9#2"
    silent = attrs.evolve(EXPECTED, result=None, returned=NEVER)
    assert trace.pending == (
        attrs.evolve(silent, index=1, line=2, entered=2, thread="7"),
        attrs.evolve(silent, index=2, line=3, entered=3, thread="8"),
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            "7 ioctl(9, KVM_SET_USER_MEMORY_REGION, 0x10) = -1 EFAULT (Bad address)",
            "the region is only a pointer: record without -e raw and -e verbose",
        ),
        (f"7 {CALL} = -1 ENOSUCHNAME (What)", "ENOSUCHNAME is no errno of this system"),
        (f"7 {CALL} = 5", "answered 5, neither 0 nor an error"),
        (
            f"7 {CALL} = -1 ENOMEM (Cannot allocate memory) (INJECTED) <0.1>",
            "answered by strace, the kernel never saw it",
        ),
        (
            "7 ioctl(9, KVM_SET_USER_MEMORY_REGION, {slot=1, memory_size=8, ...}) = 0",
            "without flags, guest_phys_addr, userspace_addr",
        ),
        (f"7 {CALL.replace('65536', '...')} = 0", "'...' is not a number"),
        (
            f"7 {CALL.replace('KVM_MEM_READONLY', 'KVM_MEM_NEW')} = 0",
            "'KVM_MEM_NEW' is not a number",
        ),
        (
            "7 ioctl(KVM_SET_USER_MEMORY_REGION, {slot=1}) = 0",
            "ioctl without a descriptor",
        ),
        ("7 <... ioctl resumed>) = 0", "resumed, but begun before the trace"),
        ("some words", "no system call"),
    ],
)
def test_unusable_line_is_counted_and_named(read: Read, line: str, why: str) -> None:
    trace = read(f"{CALL} = 0\n{line}\n{CALL} = 0\n")
    assert len(trace.calls) == 2
    (unknown,) = trace.unknown_lines.first
    assert unknown.line == 2
    assert unknown.why == why
    assert trace.unknown_lines.count == 1
    assert trace.unknown_lines.by_why == {unknown.why: 1}
    assert len(unknown.text) <= 80


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("slot=3", "slot=4294967296", "slot=4294967296 is above 0xffffffff"),
        ("slot=3", "slot=-1", "slot=-1 is below 0"),
        (
            "0x14c000",
            "0x10000000000000000",
            "guest_phys_addr=0x10000000000000000 is above 0xffffffffffffffff",
        ),
        ("65536", "-4096", "memory_size=-4096 is below 0"),
        ("65536", "1" * 5000, "1" * 39 + "\N{HORIZONTAL ELLIPSIS} is above every"),
        (
            "KVM_MEM_READONLY",
            "0x100000000",
            "flags=0x100000000 is above 0xffffffff",
        ),
    ],
)
def test_number_that_no_field_holds_is_refused_with_line_and_value(
    read: Read, old: str, new: str, shown: str
) -> None:
    with pytest.raises(TraceError) as caught:
        read(f"{CALL} = 0\n{CALL.replace(old, new)} = 0\n")
    message = str(caught.value)
    assert message.startswith(f"recorded:2: {shown}")
    assert message.endswith("correct or delete the line")
    assert "\n" not in message


def test_neighbours_without_a_usable_answer_tell_nothing(read: Read) -> None:
    trace = read(
        "ioctl(8, KVM_CREATE_VM, 0) = 9 (INJECTED)\n"
        "ioctl(8, KVM_CREATE_VM, 0) = ?\n"
        "ioctl(8, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS) = 0\n"
        f"{CALL} = 0\n"
    )
    assert trace.slot_limit is None
    assert trace.vms == ("fd9",)
    assert trace.other_lines == {"KVM_CREATE_VM": 2, "KVM_CHECK_EXTENSION": 1}


def test_descriptor_that_is_no_number_still_names_a_vm(read: Read) -> None:
    assert read(f"{CALL.replace('(9', '(vmfd')} = 0\n").vms == ("fdvmfd",)
