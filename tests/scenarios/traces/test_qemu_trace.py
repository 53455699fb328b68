"""What each spelling of QEMU's trace event means."""

from collections.abc import Callable

import attrs
import pytest

from scenarios.traces.call import RegionCall, Trace, TraceError

Read = Callable[[str], Trace]

VALUES = "flags=0x2 gpa=0xfffc0000 size=0x40000 ua=0x7f2a45c00000"
MEMFD_PAIRS = "guest_memfd=19 guest_memfd_offset=0x80000000"
NO_MEMFD_PAIRS = "guest_memfd=-1 guest_memfd_offset=0x3e0000"
RESTRICTED_PAIRS = "restricted_fd=19 restricted_offset=0x80000000"
EVENT = f"kvm_set_user_memory Slot#1 {VALUES} ret=0"
EXPECTED = RegionCall(
    index=0,
    line=1,
    thread="vmm",
    vm="",
    slot=1,
    flags=2,
    guest_phys_addr=0xFFFC0000,
    memory_size=0x40000,
    userspace_addr=0x7F2A45C00000,
    result=0,
    entered=1,
    returned=1,
)
AS1 = attrs.evolve(EXPECTED, slot=65537)
MEMFD = attrs.evolve(AS1, guest_memfd=19, guest_memfd_offset=0x80000000, v2=True)


@pytest.mark.parametrize(
    ("before", "thread"),
    [
        ("", "vmm"),
        ("41874@1587736345.192636:", "41874"),
        ("  692500@1689108688.696338:", "692500"),
        ("-> 108259@1578573121.253111:", "108259"),
        ("41874@1587736345.192636: ", "41874"),
        ("2025-07-23T09:09:00.123456Z ", "vmm"),
        ("[boot] qemu-system-x86_64: (4711:CPU 0/KVM): ", "4711"),
        ("2025-07-23T09:09:00.123456Z [boot] qemu: (4711:main): ", "4711"),
        ("(qemu) ", "vmm"),
        ("> > ", "vmm"),
        ("> > > 41874@1587736345.192636:", "41874"),
    ],
)
def test_event_is_found_anywhere_in_a_line(
    read: Read, before: str, thread: str
) -> None:
    trace = read(f"{before}{EVENT}\n")
    assert trace.calls == (attrs.evolve(EXPECTED, thread=thread),)
    assert trace.format == "qemu-trace"
    assert trace.vms == ("",)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (f"Slot#1 {VALUES} ret=0", EXPECTED),
        (f"Slot#1 {VALUES} ret=-22", attrs.evolve(EXPECTED, result=-22)),
        (f"Slot#65537 {VALUES} ret=0", AS1),
        (f"AddrSpace#1 Slot#1 {VALUES} ret=0", AS1),
        (
            f"AddrSpace#1 Slot#1 {VALUES} {MEMFD_PAIRS} ret=0",
            MEMFD,
        ),
        (
            f"AddrSpace#1 Slot#1 {VALUES} {NO_MEMFD_PAIRS} ret=0",
            attrs.evolve(AS1, v2=True),
        ),
        (
            f"AddrSpace#1 Slot#1 {VALUES} ret=0 {RESTRICTED_PAIRS}",
            MEMFD,
        ),
        (
            f"AddrSpace#1 Slot#1 {VALUES} gmem_fd=19 gmem_offset=0x80000000 ret=0",
            MEMFD,
        ),
        (f"Slot#1 {VALUES} ret=0 new_key=7", EXPECTED),
        (f"  Slot#1   {VALUES}   ret=0  \r", EXPECTED),
    ],
)
def test_pairs_of_all_versions_are_read(
    read: Read, event: str, expected: RegionCall
) -> None:
    assert read(f"kvm_set_user_memory {event}\n").calls == (expected,)


def test_event_wrapped_by_a_mail_program_is_joined(read: Read) -> None:
    trace = read(
        "> > 41874@1587736345.192636:kvm_set_user_memory Slot#3 flags=0x0\n"
        "> > gpa=0xfd000000 size=0x0 ua=0x7fadf6800000 ret=0\n"
        "> > 41874@1587736345.192760:kvm_set_user_memory Slot#65539 flags=0x0\n"
        "> > gpa=0xfd000000 size=0x0 ua=0x7fadf6800000 ret=0\n"
        "> > kvm_set_user_memory\n"
        "> > Slot#4 flags=0x0 gpa=0x0\n"
        "> > size=0x1000\n"
        "> > ua=0x0 ret=-17\n"
        "> > restricted_fd=7 restricted_offset=0x0\n"
    )
    assert [(c.slot, c.line, c.result) for c in trace.calls] == [
        (3, 1, 0),
        (65539, 3, 0),
        (4, 5, -17),
    ]
    assert trace.calls[2].guest_memfd == 7
    assert trace.unknown_lines.count == 0


def test_encoded_mail_is_decoded(read: Read) -> None:
    trace = read(
        '> - The trace of "-machine q35,smm=3Doff":\n'
        ">=20\n"
        "> kvm_set_user_memory AddrSpace#0 Slot#0 flags=3D0x4 gpa=3D0x0 size=3D0x800=\n"
        "00000\n"
        "> ua=3D0x7f5733fff000 guest_memfd=3D15 guest_memfd_offset=3D0x0 ret=3D0\n"
        "> kvm_set_user_memory AddrSpace#0 Slot#2 flags=3D0x2 gpa=3D0xffc00000\n"
        "> size=3D0x400000 ua=3D0x7f5840a00000 guest_memfd=3D-1 guest_memfd_offset=\n"
        "=3D0x0 ret=3D0\n"
        "> kvm_set_user_memory AddrSpace#0 Slot#3 flags=3D0x4 gpa=3D0xfeda0000 size=\n"
        "=3D0x20000\n"
        "> ua=3D0x7f8fb009f000 guest_memfd=3D15 guest_memfd_offset=3D0xa0000 ret=3D-=\n"
        "22\n"
        "> qemu-system-x86_64: kvm_set_user_memory_region: KVM_SET_USER_MEMORY_REGIO=\n"
        "N2\n"
        "> failed, slot=3D3, start=3D0xfeda0000: Invalid argument\n"
    )
    assert [(c.slot, c.memory_size, c.result, c.guest_memfd) for c in trace.calls] == [
        (0, 0x80000000, 0, 15),
        (2, 0x400000, 0, None),
        (3, 0x20000, -22, 15),
    ]
    assert [call.line for call in trace.calls] == [3, 6, 9]


def test_line_that_ends_in_an_equals_sign_does_not_swallow_the_next(
    read: Read,
) -> None:
    trace = read(f"{EVENT}\nkvm_foo total =\n{EVENT}\n")
    assert [call.line for call in trace.calls] == [1, 3]


def test_other_events_and_messages_are_named(read: Read) -> None:
    trace = read(
        "108264@1578573121.242431:kvm_run_exit cpu_index 0, reason 19\n"
        f"{EVENT}\n"
        "\n"
        "pci_cfg_write i440FX 00:0 @0x58 <- 0x33333000\n"
        "2025-07-23T09:09:00.123456Z kvm_run_exit cpu_index 0, reason 2\n"
        "-> 108264@1578573121.249335:kvm_run_exit cpu_index 0, reason 2\n"
        "108264@1578573121.249335:kvm_run_exit cpu_index 0, reason 2\n"
        "2025-07-23T09:09:00.123456Z kvm_run_exit cpu_index 0, reason 2\n"
        "qemu-system-x86_64: kvm_set_user_memory_region: KVM_SET_USER_MEMORY_REGION2 "
        "failed, slot=3, start=0x0, size=0x1000: Invalid argument\n"
        "kvm_set_user_memory(uint32_t slot, uint32_t flags)\n"
        "arg (nil)\n"
    )
    assert trace.other_lines == {
        "kvm_run_exit": 5,
        "pci_cfg_write": 1,
        "QEMU failure message": 1,
    }
    assert [(u.line, u.why) for u in trace.unknown_lines.first] == [
        (10, "no trace event"),
        (11, "no trace event"),
    ]


def test_event_after_another_in_one_line_is_found(read: Read) -> None:
    trace = read(f"kvm_run_exit cpu\n{EVENT}\nkvm_run_exit cpu\nkvm_run_exit c{EVENT}")
    assert [call.line for call in trace.calls] == [2]
    trace = read(f"kvm_run_exit cpu\n{EVENT}\nkvm_run_exit cpu\nkvm_run_exit {EVENT}")
    assert [call.line for call in trace.calls] == [2, 4]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"kvm_set_user_memory Slot#1 {VALUES}", "incomplete"),
        (f"kvm_set_user_memory {VALUES} ret=0", "no trace event"),
        ("kvm_set_user_memory Slot#1 flags=0x0 gpa=0x0 size=0x0 ret=0", "without"),
        (f"kvm_set_user_memory Slot#x {VALUES} ret=0", "'x' is not a number"),
        (f"kvm_set_user_memory Slot#1 {VALUES} ret=what", "'what' is not a number"),
        (f"{EVENT} Slot#2", "two events in one line"),
    ],
)
def test_unusable_event_is_counted_and_named(read: Read, line: str, why: str) -> None:
    trace = read(f"{EVENT}\n{line}\n{EVENT}\n")
    assert [call.line for call in trace.calls] == [1, 3]
    (unknown,) = trace.unknown_lines.first
    assert unknown.line == 2
    assert unknown.why.startswith(why)


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("Slot#1", "Slot#4294967296", "slot=4294967296 is above 0xffffffff"),
        ("Slot#1", "AddrSpace#0 Slot#65536", "slot=65536 is above 0xffff"),
        ("Slot#1", "AddrSpace#65536 Slot#1", "address space=65536 is above 0xffff"),
        (
            "gpa=0xfffc0000",
            "gpa=0x10000000000000000",
            "guest_phys_addr=0x10000000000000000 is above 0xffffffffffffffff",
        ),
        ("size=0x40000", "size=-1", "memory_size=-1 is below 0"),
        ("ret=0", "ret=1", "ret=1 is above 0x0"),
        ("ret=0", "ret=-4096", "ret=-4096 is below -4095"),
        (
            "ret=0",
            "guest_memfd=4294967296 ret=0",
            "guest_memfd=4294967296 is above 0xffffffff",
        ),
        ("ret=0", "guest_memfd=-2 ret=0", "guest_memfd=-2 is below -1"),
    ],
)
def test_number_that_no_field_holds_is_refused_with_line_and_value(
    read: Read, old: str, new: str, shown: str
) -> None:
    with pytest.raises(TraceError) as caught:
        read(f"{EVENT}\n{EVENT.replace(old, new)}\n")
    assert str(caught.value).startswith(f"recorded:2: {shown}")


@pytest.mark.parametrize("length", range(1, len(EVENT) - 1))
def test_half_event_at_the_end_is_never_taken_for_a_call(
    read: Read, length: int
) -> None:
    trace = read(f"{EVENT}\n{EVENT[:length]}")
    assert len(trace.calls) == 1
    assert trace.other_lines == {}
    assert trace.unknown_lines.by_why == {"cut off": 1}


def test_whole_event_needs_no_newline(read: Read) -> None:
    assert read(EVENT).calls == (EXPECTED,)
    wrapped = EVENT.replace(" ret", "\nret")
    assert read(wrapped).calls == (EXPECTED,)
    encoded = EVENT.replace("=", "=3D").replace(" ret=", " ret=\n=")
    assert read(encoded).calls == (EXPECTED,)
