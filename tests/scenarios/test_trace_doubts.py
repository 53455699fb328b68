"""What a recording does not tell makes a difference prove nothing."""

from __future__ import annotations

from pathlib import Path

from scenarios.checkers.judge import Verdict
from scenarios.planner import plan_for
from scenarios.runner import RunResult, run

EVENT = "kvm_set_user_memory AddrSpace#0 Slot#{slot} flags={flags:#x} gpa={gpa:#x}"
REST = (
    " size={size:#x} ua=0x7f0000000000 guest_memfd={memfd}"
    " guest_memfd_offset={offset:#x} ret={ret}\n"
)


def call(
    slot: int,
    gpa: int,
    size: int,
    *,
    flags: int = 0,
    memfd: int = -1,
    offset: int = 0,
    ret: int = 0,
) -> str:
    """A line of a QEMU trace."""
    return EVENT.format(slot=slot, flags=flags, gpa=gpa) + REST.format(
        size=size, memfd=memfd, offset=offset, ret=ret
    )


def run_lines(folder: Path, *lines: str) -> RunResult:
    """Run a trace without vCPUs."""
    path = folder / "vmm.qemutrace"
    path.write_text("".join(lines))
    return run(plan_for(str(path), vcpus=0))


def test_a_recorded_guest_memfd_can_be_bound(tmp_path: Path) -> None:
    result = run_lines(
        tmp_path,
        call(0, 0, 0x2000, flags=4, memfd=12),
        call(1, 0x10000, 0x2000, flags=4, memfd=12, offset=0x2000),
        call(2, 0x20000, 0x1000, flags=4, memfd=12, offset=0x1000, ret=-22),
        call(3, 0x30000, 0x1000, flags=4, memfd=13, ret=-9),
        call(0, 0, 0),
        call(2, 0x20000, 0x1000, flags=4, memfd=12, offset=0x1000),
    )
    assert result.judgement.mismatches == ()
    assert result.judgement.verdict is Verdict.HOLDS


def test_a_recording_that_began_late_is_in_doubt(tmp_path: Path) -> None:
    result = run_lines(tmp_path, call(0, 0, 0x1000), call(7, 0x5000, 0))
    assert [mismatch.line for mismatch in result.judgement.mismatches] == [2]
    assert result.judgement.verdict is Verdict.INCONCLUSIVE
    assert result.judgement.reasons == (
        (
            "1 result differs, but slots were deleted that no recorded call has made"
            " (lines 2): the recording began late; record from the VMM's start"
        ),
    )


def test_a_slot_that_a_recorded_call_made_is_no_reason_for_doubt(
    tmp_path: Path,
) -> None:
    result = run_lines(
        tmp_path,
        call(7, 0x5000, 0x1000),
        call(7, 0x5000, 0),
        call(7, 0x5000, 0, ret=-22),
        call(7, 0x5000, 0x1000, ret=-22),
    )
    assert [mismatch.line for mismatch in result.judgement.mismatches] == [4]
    assert result.judgement.verdict is Verdict.VIOLATION
