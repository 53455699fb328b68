"""What a recording does not tell makes a difference prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.checkers.judge import Verdict
from scenarios.planner import plan_for
from scenarios.runner import RunResult, run
from scenarios.trace_order import Overlap
from scenarios.traces import serial_order

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


# What overlaps, and what explains it.


def strace(
    slot: int, gpa: int, size: int, *, thread: int = 1, fd: int = 9, flags: str = "0"
) -> str:
    """A call of an strace recording, up to its closing bracket."""
    return (
        f"{thread} ioctl({fd}, KVM_SET_USER_MEMORY_REGION, {{slot={slot},"
        f" flags={flags}, guest_phys_addr={gpa:#x}, memory_size={size},"
        " userspace_addr=0x7f0000000000}"
    )


HALF = " <unfinished ...>\n"
OK = ") = 0\n"
EXISTS = ") = -1 EEXIST (File exists)\n"
INVALID = ") = -1 EINVAL (Invalid argument)\n"


def resumed(thread: int, answer: str) -> str:
    return f"{thread} <... ioctl resumed>{answer}"


def run_strace(
    folder: Path, *lines: str, mode: str = "controlled", seed: int = 0
) -> RunResult:
    """Run an strace recording without vCPUs."""
    path = folder / "vmm.strace"
    path.write_text("".join(lines))
    return run(plan_for(str(path), vcpus=0, mode=mode, seed=seed))


def overlap_of(result: RunResult) -> Overlap:
    account = result.plan.account
    assert account is not None
    assert account.overlap is not None
    return account.overlap


TURNED = (
    # Entered first, and yet the second: the kernel took the other one before it.
    strace(1, 0, 0x4000, thread=1) + HALF,
    strace(2, 0x2000, 0x4000, thread=2) + HALF,
    resumed(1, EXISTS),
    resumed(2, OK),
    strace(1, 0, 0x2000, thread=3) + OK,
)


@pytest.mark.parametrize("mode", ["controlled", "trio"])
def test_overlapping_calls_are_run_in_the_order_that_explains_them(
    tmp_path: Path, mode: str
) -> None:
    for _ in range(5):
        result = run_strace(tmp_path, *TURNED, mode=mode)
        assert result.judgement.mismatches == ()
        assert result.judgement.verdict is Verdict.HOLDS
    overlap = overlap_of(result)
    assert str(overlap) == "2 of 3, explained by a serial order"
    assert overlap.as_dict() == {
        "calls": 2,
        "pairs": 1,
        "order": "found",
        "states": 6,
        "made": [],
        "stuck": None,
    }


def test_answers_that_contradict_each_other_are_a_violation(tmp_path: Path) -> None:
    wrong = (TURNED[0], TURNED[1], resumed(1, OK), resumed(2, OK))
    result = run_strace(tmp_path, *wrong)
    judgement = result.judgement
    assert judgement.verdict is Verdict.VIOLATION
    assert judgement.reasons == ()
    assert str(overlap_of(result)) == "2 of 2, no order explains them"
    told = overlap_of(result).as_dict()
    assert told["order"] == "none"
    assert told["stuck"] == {
        "prefix": 2,
        "calls": [
            {
                "line": 1,
                "thread": "1",
                "region": "slot 1 of address space 0, gpa 0x0, size 0x4000, hva"
                " 0x7f0000000000, flags 0x0",
                "answered": "0",
                "possible": ("EEXIST",),
            },
            {
                "line": 2,
                "thread": "2",
                "region": "slot 2 of address space 0, gpa 0x2000, size 0x4000, hva"
                " 0x7f0000000000, flags 0x0",
                "answered": "0",
                "possible": ("EEXIST: gpa 0x2000..0x6000 meets slot 1 at 0x0..0x4000",),
            },
        ],
    }
    (violation,) = judgement.violations
    assert (violation.checker, violation.step) == ("results-match", 0)
    assert violation.seen == (
        "no order explains the answers of the first 2 calls: line 1 (1: slot 1 of"
        " address space 0, gpa 0x0, size 0x4000, hva 0x7f0000000000, flags 0x0)"
        " answered 0, possible is EEXIST; line 2 (2: slot 2 of address space 0, gpa"
        " 0x2000, size 0x4000, hva 0x7f0000000000, flags 0x0) answered 0, possible is"
        " EEXIST: gpa 0x2000..0x6000 meets slot 1 at 0x0..0x4000"
    )


def test_search_that_gives_up_leaves_a_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = serial_order.explain.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "max_states", 2)
    runs = [run_strace(tmp_path, *TURNED, seed=seed).judgement for seed in range(8)]
    differing = [judgement for judgement in runs if judgement.mismatches]
    assert 0 < len(differing) < len(runs)
    for judgement in runs:
        doubtful = judgement.verdict is Verdict.INCONCLUSIVE
        assert doubtful is (judgement in differing)
    assert "the search for it gave up after 3 states" in differing[0].reasons[0]
    result = run_strace(tmp_path, *TURNED)
    assert str(overlap_of(result)) == "2 of 3, their order is not known"
    assert overlap_of(result).as_dict()["order"] == "gave-up"


def test_threads_that_the_recording_takes_for_one_are_kept_apart(
    tmp_path: Path,
) -> None:
    result = run_strace(
        tmp_path,
        strace(1, 0, 0x4000) + HALF,
        strace(2, 0x2000, 0x4000) + OK,
        resumed(1, EXISTS),
    )
    assert result.judgement.verdict is Verdict.HOLDS
    assert "thread-1'" in result.tasks


# Updates whose answer, or whose request, is missing.


def test_update_without_an_answer_is_made_if_later_answers_tell_so(
    tmp_path: Path,
) -> None:
    result = run_strace(
        tmp_path,
        strace(1, 0, 0x4000, thread=1) + HALF,
        strace(2, 0x2000, 0x4000, thread=2) + EXISTS,
        strace(3, 0x10000, 0x4000, thread=3) + HALF,
    )
    assert result.judgement.verdict is Verdict.HOLDS
    assert (result.judgement.calls, result.judgement.mismatches) == (2, ())
    assert result.judgement.checkers["results-match"].exercised == 1
    account = result.plan.account
    assert account is not None
    left_out, made = account.notes()
    assert left_out == "1 update has no answer in the trace and is left out: line 3"
    assert made.endswith("in the trace and is made, as later answers tell: line 1")
    assert overlap_of(result).as_dict()["made"] == [1]


def test_slot_that_an_unanswered_update_may_have_made_began_in_time(
    tmp_path: Path,
) -> None:
    result = run_strace(
        tmp_path,
        strace(1, 0, 0x4000, thread=1) + HALF,
        strace(1, 0, 0, thread=2) + OK,
    )
    assert result.judgement.verdict is Verdict.HOLDS
    assert result.judgement.calls == 2


POINTER = "1 ioctl(9, KVM_SET_USER_MEMORY_REGION2, 0x7ffeac863d20"


def test_updates_that_are_not_decoded_leave_a_doubt(tmp_path: Path) -> None:
    made, refused = POINTER + OK, POINTER + INVALID
    other = strace(7, 0x100000, 0x1000) + OK
    right, wrong = strace(8, 0x200000, 0x1000) + OK, strace(8, 0, 0) + EXISTS
    for lines, verdict in (
        ((made, other, right), Verdict.HOLDS),
        ((refused, other, right), Verdict.HOLDS),
        ((made, other, wrong), Verdict.INCONCLUSIVE),
        ((refused, other, wrong), Verdict.VIOLATION),
    ):
        assert run_strace(tmp_path, *lines).judgement.verdict is verdict
    result = run_strace(tmp_path, made, *TURNED)
    assert overlap_of(result).as_dict()["order"] == "not-searched"
    (reason,) = run_strace(tmp_path, made, other, wrong).judgement.reasons
    assert reason.endswith(
        "updates are missing that the recording does not show (lines 1)"
    )


# guest_memfds.


def bind(slot: int, memfd: int, offset: int, size: int = 0x1000, fd: int = 9) -> str:
    return (
        f"1 ioctl({fd}, KVM_SET_USER_MEMORY_REGION2, {{slot={slot},"
        f" flags=KVM_MEM_GUEST_MEMFD, guest_phys_addr={slot << 20:#x},"
        f" memory_size={size}, userspace_addr=0x7f0000000000,"
        f" guest_memfd_offset={offset:#x}, guest_memfd={memfd}}}"
    )


def make(memfd: int, size: int | None, fd: int = 9) -> str:
    argument = "0x7ffe0000" if size is None else f"{{size={size:#x}, flags=0}}"
    return f"1 ioctl({fd}, KVM_CREATE_GUEST_MEMFD, {argument}) = {memfd}\n"


BAD = ") = -1 EBADF (Bad file descriptor)\n"


@pytest.mark.parametrize(
    ("binding", "right"),
    [
        (bind(1, 12, 0), OK),
        (bind(1, 12, 0x1000), OK),
        (bind(1, 12, 0x2000), INVALID),  # behind the end
        (bind(1, 12, 0, 0x3000), INVALID),
        (bind(1, 14, 0), INVALID),  # another VM's
    ],
)
@pytest.mark.parametrize("recorded", [OK, INVALID, BAD])
def test_bindings_are_judged_by_the_files_that_were_made(
    tmp_path: Path, binding: str, right: str, recorded: str
) -> None:
    result = run_strace(
        tmp_path,
        make(12, 0x2000) + make(14, 0x2000, fd=10),
        strace(9, 0x40000000, 0x1000) + OK,
        binding + recorded,
    )
    expected = Verdict.HOLDS if recorded == right else Verdict.VIOLATION
    assert result.judgement.verdict is expected


@pytest.mark.parametrize("recorded", [OK, INVALID, BAD])
def test_descriptor_whose_making_was_not_recorded_is_what_the_answer_says(
    tmp_path: Path, recorded: str
) -> None:
    other = strace(9, 0x40000000, 0x1000) + OK
    result = run_strace(tmp_path, other, make(12, 0x2000), bind(1, 13, 0) + recorded)
    assert result.judgement.verdict is Verdict.HOLDS


def test_descriptor_that_was_used_again_names_a_new_file(tmp_path: Path) -> None:
    result = run_strace(
        tmp_path,
        make(12, 0x2000),
        bind(1, 12, 0x1000) + OK,
        make(12, 0x1000),
        bind(2, 12, 0x1000) + INVALID,
        bind(3, 12, 0) + OK,
        bind(4, 12, 0) + INVALID,
    )
    assert result.judgement.mismatches == ()
    assert result.judgement.verdict is Verdict.HOLDS


def test_file_of_unknown_size_holds_what_was_bound_and_no_more(tmp_path: Path) -> None:
    result = run_strace(
        tmp_path,
        make(12, None),
        bind(1, 12, 0x1000) + OK,
        bind(2, 12, 0x2000) + INVALID,
        bind(2, 12, 0) + OK,
        bind(3, 15, 0) + INVALID,
    )
    assert result.judgement.mismatches == ()
    assert result.judgement.verdict is Verdict.HOLDS
