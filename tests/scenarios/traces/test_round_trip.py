"""Any call, written in any spelling, is read back as it was."""

import errno
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.traces.call import RegionCall, Trace

Read = Callable[[str], Trace]

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
RESULTS = st.sampled_from([0, 0, -errno.EINVAL, -errno.EEXIST, -errno.ENOMEM])
FLAG_NAMES = {1: "KVM_MEM_LOG_DIRTY_PAGES", 2: "KVM_MEM_READONLY"}


@st.composite
def requests(draw: st.DrawFn) -> RegionCall:
    return RegionCall(
        index=0,
        line=1,
        entered=1,
        returned=1,
        thread=draw(st.one_of(st.just("vmm"), st.integers(1, 4194304).map(str))),
        vm="",
        slot=draw(U32),
        flags=draw(st.one_of(st.integers(0, 3), U32)),
        guest_phys_addr=draw(U64),
        memory_size=draw(st.one_of(st.just(0), U64)),
        userspace_addr=draw(U64),
        result=draw(RESULTS),
    )


@st.composite
def strace_calls(draw: st.DrawFn) -> tuple[RegionCall, str, str]:
    """Draw a call and its line, as the text before and after the answer."""
    fd = draw(st.integers(0, 1000))
    call = attrs.evolve(draw(requests()), vm=f"fd{fd}")
    fields = (
        f"{{slot={call.slot}, flags={draw(strace_flags(call.flags))}, "
        f"guest_phys_addr={c_hex(call.guest_phys_addr)}, "
        f"memory_size={call.memory_size}, "
        f"userspace_addr={c_hex(call.userspace_addr)}}}"
    )
    name = draw(
        st.sampled_from(
            [
                "KVM_SET_USER_MEMORY_REGION",
                "0x4020ae46",
                "0x4020ae46 /* KVM_SET_USER_MEMORY_REGION */",
            ]
        )
    )
    form = draw(
        st.sampled_from(
            [
                "ioctl({fd}, {name}, {fields}",
                "ioctl({fd}<anon_inode:kvm-vm>, {name}, {fields}",
                "ioctl(fd={fd}, op={name}, argp={fields}",
            ]
        )
    )
    before = draw(strace_prefixes(call.thread))
    text = form.format(fd=fd, name=name, fields=fields)
    return call, before, text


def strace_prefixes(thread: str) -> st.SearchStrategy[str]:
    who = [""] if thread == "vmm" else [f"{thread}  ", f"[pid {thread:>5}] "]
    times = ["", "02:51:20 ", "02:51:20.273801 ", "1795402280.4766 ", "     0.0001 "]
    return st.tuples(st.sampled_from(who), st.sampled_from(times)).map("".join)


def strace_flags(flags: int) -> st.SearchStrategy[str]:
    spellings = [hex(flags), f"{flags:#x} /* KVM_MEM_??? */"]
    if flags in range(4):
        named = [name for bit, name in FLAG_NAMES.items() if flags & bit]
        spellings.append("|".join(named) or "0")
    return st.sampled_from(spellings)


def strace_answer(result: int | None) -> str:
    return "= 0" if not result else f"= -1 {errno.errorcode[-result]} (Some words)"


def c_hex(value: int) -> str:
    return f"{value:#x}" if value else "0"


@pytest.mark.slow
@given(strace_calls(), st.sampled_from(["", " <0.000148>"]), st.booleans())
def test_strace_line_is_read_back(
    read: Read,
    drawn: tuple[RegionCall, str, str],
    after: str,
    ends: bool,  # noqa: FBT001 - drawn by Hypothesis
) -> None:
    call, before, text = drawn
    line = f"{before}{text})    {strace_answer(call.result)}{after}"
    assert read(line + "\n" * ends).calls == (call,)


@pytest.mark.slow
@given(st.lists(strace_calls(), min_size=2, max_size=6), st.data())
def test_interrupted_calls_are_read_back(
    read: Read, drawn: list[tuple[RegionCall, str, str]], data: st.DataObject
) -> None:
    lines, returns, expected = [], list(range(len(drawn))), []
    for number, (_call, _before, text) in enumerate(drawn):
        lines.append(f"{number + 1}  {text} <unfinished ...>")
    for place in data.draw(st.permutations(returns)):
        call = drawn[place][0]
        lines.append(f"{place + 1}  <... ioctl resumed>) {strace_answer(call.result)}")
        expected.append(
            attrs.evolve(
                call,
                index=place,
                thread=str(place + 1),
                line=place + 1,
                entered=place + 1,
                returned=len(lines),
            )
        )
    expected.sort(key=lambda call: call.index)
    assert read("\n".join(lines)).calls == tuple(expected)


@st.composite
def qemu_events(draw: st.DrawFn) -> tuple[RegionCall, str]:
    call = draw(requests())
    slot = f"Slot#{call.slot}"
    if draw(st.booleans()):
        slot = f"AddrSpace#{call.as_id} Slot#{call.slot_id}"
    event = (
        f"kvm_set_user_memory {slot} flags={call.flags:#x} "
        f"gpa={call.guest_phys_addr:#x} size={call.memory_size:#x} "
        f"ua={call.userspace_addr:#x}"
    )
    memfd = draw(st.one_of(st.none(), st.integers(-1, 2**31 - 1)))
    answer = f" ret={call.result}"
    if memfd is None:
        event += answer
    else:
        offset = draw(U64)
        event += draw(
            st.sampled_from(
                [
                    f" guest_memfd={memfd} guest_memfd_offset={offset:#x}{answer}",
                    f" gmem_fd={memfd} gmem_offset={offset:#x}{answer}",
                    f"{answer} restricted_fd={memfd} restricted_offset={offset:#x}",
                ]
            )
        )
        call = attrs.evolve(call, v2=True)
        if memfd >= 0:
            call = attrs.evolve(call, guest_memfd=memfd, guest_memfd_offset=offset)
    before = "" if call.thread == "vmm" else f"{call.thread}@1587736345.192636:"
    return call, before + event


@given(qemu_events(), st.booleans())
def test_qemu_event_is_read_back(
    read: Read,
    drawn: tuple[RegionCall, str],
    ends: bool,  # noqa: FBT001 - drawn by Hypothesis
) -> None:
    call, event = drawn
    assert read(event + "\n" * ends).calls == (call,)


@pytest.mark.slow
@given(qemu_events(), st.data())
def test_mailed_qemu_event_is_read_back(
    read: Read, drawn: tuple[RegionCall, str], data: st.DataObject
) -> None:
    call, event = drawn
    words = event.split(" ")
    # No editor wraps before the second word: the event's name is short.
    breaks = [" ", *(data.draw(st.sampled_from([" ", "\n"])) for _ in words[2:])]
    wrapped = words[0] + "".join(
        blank + word for blank, word in zip(breaks, words[1:], strict=True)
    )
    lines = ["> > " + line for line in wrapped.split("\n")]
    if data.draw(st.booleans()):
        lines = [soft_broken(line.replace("=", "=3D"), data) for line in lines]
    assert read("\n".join([*lines, ""])).calls == (call,)


def soft_broken(line: str, data: st.DataObject) -> str:
    """Break a line somewhere after the event's name, as encoders do."""
    start = line.find("#") + 1 or len(line)
    place = data.draw(st.integers(start, len(line)))
    inside = line[:place].endswith(("=", "=3"))  # an encoded sign stays whole
    return line if inside or place == len(line) else f"{line[:place]}=\n{line[place:]}"
