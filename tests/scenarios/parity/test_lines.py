"""Lines that strace could have written, and that can be read back."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from memslots.region import Region
from memslots.units import Gpa, Hva
from scenarios.errors import InputError
from scenarios.parity.calls import (
    DONE,
    Answer,
    Call,
    ClearDirtyLog,
    EnableCap,
    GetDirtyLog,
    ResetRings,
    SetRegion,
)
from scenarios.parity.lines import first_lines, line_of, told
from scenarios.parity.parity import Wanted, exchanges, vms
from scenarios.parity.recording import Recording
from scenarios.traces.importer import read_stream
from tests.scenarios.parity.plain_kernel import PlainKernel

REGION = Region(3, 0x13, Gpa(0x1000), 8192, Hva(0))
BACKED = Region(
    4,
    4,
    Gpa(0),
    4096,
    Hva(0x2000),
    v2=True,
    guest_memfd=101,
    guest_memfd_offset=0x3000,
)

LINES: list[tuple[Call, Answer, str]] = [
    (
        SetRegion(REGION),
        Answer(-22),
        (
            "KVM_SET_USER_MEMORY_REGION, {slot=3,"
            " flags=KVM_MEM_LOG_DIRTY_PAGES|KVM_MEM_READONLY|0x10,"
            " guest_phys_addr=0x1000, memory_size=8192, userspace_addr=0})"
            " = -1 EINVAL (Invalid argument)"
        ),
    ),
    (
        SetRegion(BACKED),
        DONE,
        (
            "KVM_SET_USER_MEMORY_REGION2, {slot=4, flags=KVM_MEM_GUEST_MEMFD,"
            " guest_phys_addr=0, memory_size=4096, userspace_addr=0x2000,"
            " guest_memfd_offset=0x3000, guest_memfd=101}) = 0"
        ),
    ),
    (
        SetRegion(None),
        Answer(-14),
        "KVM_SET_USER_MEMORY_REGION, 0x8) = -1 EFAULT (Bad address)",
    ),
    (
        GetDirtyLog(1),
        Answer(0, (5).to_bytes(8, "little") + (1).to_bytes(8, "little")),
        "KVM_GET_DIRTY_LOG, {slot=1, dirty_bitmap=[0x5, 0x1]}) = 0",
    ),
    (
        GetDirtyLog(1, copy_out=False),
        Answer(-14),
        "KVM_GET_DIRTY_LOG, {slot=1, dirty_bitmap=0x8}) = -1 EFAULT (Bad address)",
    ),
    (
        ClearDirtyLog(1, 64, 640, (1,) * 10),
        DONE,
        (
            "KVM_CLEAR_DIRTY_LOG, {slot=1, num_pages=640, first_page=64,"
            " dirty_bitmap=[0x1, 0x1, 0x1, 0x1, 0x1, 0x1, 0x1, 0x1, ...]}) = 0"
        ),
    ),
    (
        ClearDirtyLog(1, 0, 64, None),
        Answer(-14),
        (
            "KVM_CLEAR_DIRTY_LOG, {slot=1, num_pages=64, first_page=0,"
            " dirty_bitmap=0x8}) = -1 EFAULT (Bad address)"
        ),
    ),
    (
        EnableCap(168, 3),
        DONE,
        (
            "KVM_ENABLE_CAP, {cap=KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, flags=0x0,"
            " args=[0x3, 0, 0, 0]}) = 0"
        ),
    ),
    (
        EnableCap(7, 0x1000, flags=1),
        Answer(-22),
        (
            "KVM_ENABLE_CAP, {cap=0x7 /* KVM_CAP_??? */, flags=0x1,"
            " args=[0x1000, 0, 0, 0]}) = -1 EINVAL (Invalid argument)"
        ),
    ),
    (EnableCap(None), Answer(-14), "KVM_ENABLE_CAP, 0x8) = -1 EFAULT (Bad address)"),
    (ResetRings(), Answer(5), "KVM_RESET_DIRTY_RINGS, 0) = 5"),
]


@pytest.mark.parametrize(("call", "answer", "line"), LINES)
def test_a_call_reads_as_strace_writes_it(
    call: Call, answer: Answer, line: str
) -> None:
    assert line_of(call, answer) == f"1000  ioctl(4, {line}"


def test_an_answer_tells_all_that_came_back() -> None:
    assert told(Answer(-17)) == "-1 EEXIST (File exists)"
    assert told(Answer(0, b"\3" + bytes(7))) == "0, bitmap [0x3]"
    assert told(Answer(0, failure="IndexError: 1")) == "? (IndexError: 1)"


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    vm, generator, count = next(
        vms(PlainKernel(), Wanted(calls=800, one_vm=True, recordable=True))
    )
    made = [*exchanges(vm, generator, count)]
    path = tmp_path / "deep" / "calls.strace"
    with Recording(path) as recording:
        recording.write(first_lines(32764))
        for exchange in made:
            recording.add(exchange)
    trace = read_stream(io.BytesIO(path.read_bytes()), source="recorded")
    assert (trace.slot_limit, trace.vms) == (32764, ("fd4",))
    assert trace.unknown_lines.count == 0
    wanted = [each for each in made if isinstance(each.call, SetRegion)]
    assert len(trace.calls) == len(wanted)
    for read, exchange in zip(trace.calls, wanted, strict=True):
        assert isinstance(exchange.call, SetRegion)
        region = exchange.call.region
        assert region is not None
        assert exchange.kernel.result == read.result
        for field in (
            "slot",
            "flags",
            "guest_phys_addr",
            "memory_size",
            "userspace_addr",
            "v2",
        ):
            assert getattr(region, field) == getattr(read, field)


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory; name another file"):
        Recording(tmp_path)


def test_a_full_disk_is_told() -> None:
    full = Recording(Path("/dev/full"))
    with pytest.raises(InputError, match="No space left"), full:
        full.write(["line"] * 10_000)
