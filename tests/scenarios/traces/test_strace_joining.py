"""How the parts of a call that strace or a mail took apart come together."""

import errno
from collections.abc import Callable

import attrs
import pytest

from scenarios.traces.call import RegionCall, Trace

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


def test_halves_of_a_call_are_joined_by_thread(read: Read) -> None:
    trace = read(
        f"1  {CALL} = 0\n"
        f"2  {CALL.replace('slot=3', 'slot=4')[:-1]} <unfinished ...>\n"
        f"3  {CALL.replace('slot=3', 'slot=5')[:-1]} <unfinished ...>\n"
        "2  <... ioctl resumed>)              = -1 EEXIST (File exists)\n"
        f"4  {CALL.replace('slot=3', 'slot=6')} = 0\n"
        "3  02:51:22.7 <... ioctl resumed> ) = 0 <0.000088>\n"
    )
    places = [(c.index, c.slot, c.entered, c.returned, c.result) for c in trace.calls]
    assert places == [
        (0, 3, 1, 1, 0),
        (1, 4, 2, 4, -errno.EEXIST),
        (2, 5, 3, 6, 0),
        (3, 6, 5, 5, 0),
    ]
    assert [call.thread for call in trace.calls] == ["1", "2", "3", "4"]


def test_second_half_without_an_answer_is_unknown(read: Read) -> None:
    trace = read(f"{CALL[:-1]} <unfinished ...>\n<... ioctl resumed>\n{CALL} = 0\n")
    assert [call.line for call in trace.calls] == [3]
    assert trace.unknown_lines.by_why == {"incomplete": 1}
    assert trace.unreturned == ()


def test_call_may_begin_without_a_thread_and_return_with_one(read: Read) -> None:
    trace = read(
        f"{CALL[:-1]} <unfinished ...>\n"
        "strace: Process 12 attached\n"
        "[pid    11] <... ioctl resumed>) = 0\n"
    )
    assert [(c.thread, c.entered, c.returned) for c in trace.calls] == [("11", 1, 3)]


@pytest.mark.parametrize(
    "never",
    [
        f"7 {CALL[:-1]} <unfinished ...>",
        f"7 {CALL[:-1]} <detached ...>",
        f"7 {CALL} = ?",
        f"7 {CALL} = ? ERESTARTSYS (To be restarted if SA_RESTART is set)",
        f"7 {CALL[:-1]} <unfinished ...>\n7 <... ioctl resumed>) = ?",
    ],
)
def test_update_without_an_answer_is_reported_by_its_line(
    read: Read, never: str
) -> None:
    trace = read(f"8 {CALL} = 0\n{never}\n8 {CALL} = 0\n")
    assert trace.unreturned == (2,)
    assert trace.unknown_lines.count == 0
    assert [call.index for call in trace.calls] == [0, 1]


def test_update_begun_twice_by_one_thread_was_lost_the_first_time(
    read: Read,
) -> None:
    half = f"7 {CALL[:-1]} <unfinished ...>\n"
    trace = read(f"{half}{half}7 <... ioctl resumed>) = 0\n")
    assert trace.unreturned == (1,)
    assert [call.entered for call in trace.calls] == [2]


def test_call_wrapped_by_a_mail_program_is_joined(read: Read) -> None:
    trace = read(
        ">>> 10085 ioctl(13, KVM_SET_USER_MEMORY_REGION, {slot=6, flags=0, "
        "guest_phys_addr=0x100000,\n"
        ">>>    memory_size=2146435072, userspace_addr=0x7fb89bf00000}) = -1\n"
        ">>> EINVAL (Invalid argument)\n"
        ">>>\n"
        ">>> ... and then the update later:\n"
    )
    (call,) = trace.calls
    assert (call.thread, call.vm, call.slot) == ("10085", "fd13", 6)
    assert (call.memory_size, call.result) == (2146435072, -errno.EINVAL)
    assert (call.entered, call.returned) == (1, 1)
    assert trace.unknown_lines.count == 1


def test_encoded_mail_is_decoded(read: Read) -> None:
    trace = read(
        "> 9828 ioctl(9, KVM_SET_USER_MEMORY_REGION, {slot=3D3, flags=3DKVM_MEM_LO=\n"
        "G_DIRTY_PAGES|KVM_MEM_READONLY, guest_phys_addr=3D0x14c000, memory_size=\n"
        "=3D65536, userspace_addr=3D0x7f671c2dd000}) =3D 0\n"
    )
    assert trace.calls == (attrs.evolve(EXPECTED, thread="9828"),)


def test_wrapped_call_that_does_not_go_on_is_incomplete(read: Read) -> None:
    half = CALL.partition(" memory_size")[0]
    trace = read(f"{half}\n{CALL} = 0\n{half}\n\n{half}")
    assert [call.line for call in trace.calls] == [2]
    unknown = trace.unknown_lines
    assert unknown.by_why == {"incomplete": 2, "cut off": 1}


@pytest.mark.parametrize("length", range(1, len(f"9828  {CALL} = -1 EEXIST (F")))
def test_half_line_at_the_end_is_never_taken_for_a_call(
    read: Read, length: int
) -> None:
    whole = f"9828  {CALL} = -1 EEXIST (File exists)"
    trace = read(f"{whole}\n{whole[:length]}")
    assert len(trace.calls) == 1
    assert trace.other_lines == {}
    assert trace.unknown_lines.by_why == {"cut off": 1}
    assert trace.unknown_lines.first[0].line == 2


def test_whole_line_needs_no_newline(read: Read) -> None:
    assert read(f"{CALL} = 0").calls == (EXPECTED,)
    ended = read(f"7 {CALL} = 0\n7 +++ exited with 0 +++")
    assert ended.other_lines == {"exit": 1}


@pytest.mark.parametrize("who", ["", "7 ", "[pid 7] ", "02:51:20 ", "     0.1 "])
def test_halves_of_other_calls_are_joined_whatever_the_beginning(
    read: Read, who: str
) -> None:
    halves = f"{who}ioctl(11, KVM_RUN, 0 <unfinished ...>\n"
    halves += f"{who}<... ioctl resumed>) = 0\n"
    trace = read(halves * 3 + f"{who}{CALL} = 0\n")
    assert trace.other_lines == {"KVM_RUN": 3}
    assert trace.unknown_lines.count == 0


@pytest.mark.parametrize("end", ["", " memory_size=", "\n", " memory_size=\n"])
def test_call_that_the_end_of_the_file_cuts_is_cut_off(read: Read, end: str) -> None:
    half = CALL.partition(" memory_size")[0]
    trace = read(f"{CALL} = 0\n{half}{end}")
    assert trace.unknown_lines.by_why == {"cut off": 1}
    assert len(trace.calls) == 1


def test_short_way_does_not_pass_over_a_wrapped_call(read: Read) -> None:
    begin, _, rest = CALL.partition(" memory_size")
    other = "7 read(5, 0x7f, 8) = 8\n"
    trace = read(f"{CALL} = 0\n{other}{begin}\n{other} memory_size{rest} = 0\n")
    assert len(trace.calls) == 1
    assert trace.unknown_lines.by_why == {"incomplete": 1, "no system call": 1}


def test_short_way_counts_as_the_long_way_does(read: Read) -> None:
    lines = [
        "7 ioctl(11, KVM_RUN, 0) = 0",
        "7 ioctl(11, KVM_RUN, 0 <unfinished ...>",
        "8 read(5, 0x7f, 8) = 8",
        "7 <... ioctl resumed>) = 0",
        f"7 {CALL} = 0",
        "9 ioctl(12, KVM_RUN, 0 <unfinished ...>",
        f"7 {CALL[:-1]} <unfinished ...>",
        "9 <... ioctl resumed>) = -1 EINTR (Interrupted system call)",
        "7 <... ioctl resumed>) = 0",
    ]
    once = read("\n".join(lines) + "\n")
    often = read("\n".join(lines * 50) + "\n")
    assert len(often.calls) == 50 * len(once.calls) == 100
    assert often.unknown_lines.count == once.unknown_lines.count == 0
    assert often.other_lines == {
        kind: 50 * count for kind, count in once.other_lines.items()
    }
    assert once.other_lines == {"KVM_RUN": 3, "read": 1}
