"""A recorded trace is run call for call, while vCPUs read, and answers as recorded."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from memslots.profile import X86_64_LINUX_6_18
from memslots.tracepoints import RegionRequested, RegionReturned
from rcu.trace import Record
from scenarios.checkers.judge import Judgement, Verdict
from scenarios.errors import InputError
from scenarios.logbook.reader import LogReader
from scenarios.logbook.writer import LogWriter
from scenarios.planner import find, plan_for, plans_for
from scenarios.runner import run
from scenarios.trace_plan import EXITS, KINDS, MAX_PLACES, chosen_vms
from scenarios.tracepoints import NoOrder, OrderUnknown, ResultCompared
from scenarios.traces.call import RegionCall
from scenarios.traces.importer import read_trace
from scenarios.traces.overlap import overlapping
from vcpus.vcpu import AccessKind

RECORDED = Path(__file__).parents[2].parent / "shared" / "traces"
MODES = pytest.mark.parametrize("mode", ["controlled", "trio"])

needs_traces = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="the recorded traces are not beside the repository"
)


@MODES
@pytest.mark.parametrize("seed", range(3))
def test_the_bundled_boot_answers_as_the_real_kernel_did(seed: int, mode: str) -> None:
    judgement = run(plan_for("q35-boot", mode=mode, seed=seed)).judgement
    assert (judgement.mismatches, judgement.violations) == ((), ())
    assert (judgement.verdict, judgement.reasons) == (Verdict.HOLDS, ())
    assert judgement.checkers["results-match"].exercised == judgement.calls == 39


@needs_traces
def test_the_bundled_boot_is_the_recorded_one() -> None:
    bundled, recorded = (
        read_trace(path).calls
        for path in (find("q35-boot"), RECORDED / "q35-boot.strace")
    )
    without_place = [
        [attrs.evolve(call, line=0, entered=0, returned=0) for call in calls]
        for calls in (bundled, recorded)
    ]
    assert without_place[0] == without_place[1]


@pytest.mark.parametrize("strategy", ["random", "round-robin"])
@pytest.mark.parametrize("vcpus", [0, 1, 16])
def test_the_number_of_vcpus_makes_no_difference_to_the_answers(
    vcpus: int, strategy: str
) -> None:
    result = run(plan_for("q35-boot", vcpus=vcpus, strategy=strategy))
    assert result.judgement.verdict is Verdict.HOLDS
    assert result.plan.scenario.vcpu_count == vcpus
    assert result.tasks == (
        "kvm->srcu-gp",
        *(f"vcpu{index}" for index in range(vcpus)),
        "thread-3381",
        "thread-3384",
        *(["main"] if vcpus else []),
    )


# Calls that overlap.


def logged(
    trace: str, path: Path, seed: int = 0, vcpus: int = 1
) -> tuple[Judgement, list[Record]]:
    """Run a trace and keep its records."""
    plan = plan_for(trace, vcpus=vcpus, seed=seed)
    judgement = run(plan, log=LogWriter(path)).judgement
    return judgement, list(LogReader(path).records())


@pytest.fixture(scope="module")
def threads(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Judgement, list[Record]]:
    """The trace whose calls overlap, run once."""
    path = tmp_path_factory.mktemp("threads") / "log.jsonl"
    return logged(str(RECORDED / "fuzz-threads.strace"), path)


@needs_traces
def test_where_recorded_calls_overlap_an_order_explains_their_answers(
    threads: tuple[Judgement, list[Record]],
) -> None:
    judgement, records = threads
    assert (judgement.verdict, judgement.reasons) == (Verdict.HOLDS, ())
    assert (judgement.calls, judgement.mismatches) == (2_000, ())
    assert not [r for r in records if isinstance(r.event, (OrderUnknown, NoOrder))]
    account = plan_for(str(RECORDED / "fuzz-threads.strace")).account
    assert account is not None
    assert account.overlap is not None
    assert len(account.overlap.pairs) == 184
    assert str(account.overlap) == "1,626 of 2,000, explained by a serial order"


@needs_traces
def test_calls_take_effect_in_the_order_that_explains_them_where_it_matters(
    threads: tuple[Judgement, list[Record]],
) -> None:
    calls = read_trace(RECORDED / "fuzz-threads.strace").calls
    account = plan_for(str(RECORDED / "fuzz-threads.strace")).account
    assert account is not None
    assert account.overlap is not None
    rank = {call.line: place for place, call in enumerate(account.overlap.order)}
    began, ended = began_and_ended(threads[1])
    changed = 0
    for pair in account.overlap.pairs:
        first, second = sorted((call.line for call in pair), key=rank.__getitem__)
        assert ended[first] < began[second]
        changed += first > second
    assert changed > 10  # the file's own order would not do
    free = set(overlapping(calls)) - {
        (one.index, other.index) for one, other in account.overlap.pairs
    }
    lines = {call.index: call.line for call in calls}
    together = [
        pair
        for pair in free
        if began[lines[pair[0]]] < ended[lines[pair[1]]]
        and began[lines[pair[1]]] < ended[lines[pair[0]]]
    ]
    assert len(together) > len(free) / 2


def began_and_ended(records: list[Record]) -> tuple[dict[int, int], dict[int, int]]:
    """Where the call of each line began and ended, as places among the records."""
    line_of: dict[int, int] = {}
    began: dict[int, int] = {}
    ended: dict[int, int] = {}
    for place, (_, _, event) in enumerate(records):
        match event:
            case RegionRequested(call=number):
                began[number] = place
            case RegionReturned(call=number):
                ended[number] = place
            case ResultCompared(call=number, line=line):
                line_of[number] = line
    return (
        {line: began[number] for number, line in line_of.items()},
        {line: ended[number] for number, line in line_of.items()},
    )


def assert_order_was_kept(calls: Sequence[RegionCall], records: list[Record]) -> None:
    """No call began before all calls had returned that had returned before it."""
    began, ended = began_and_ended(records)
    assert sorted(began) == sorted(call.line for call in calls)
    by_return = sorted(calls, key=lambda call: call.returned)
    latest = list(itertools.accumulate((ended[call.line] for call in by_return), max))
    compared = 0
    for call in calls:
        before = sum(other.returned < call.entered for other in by_return)
        if before:
            assert latest[before - 1] < began[call.line]
            compared += 1
    assert compared


@needs_traces
def test_a_call_of_many_threads_waits_for_those_that_had_returned(
    threads: tuple[Judgement, list[Record]],
) -> None:
    calls = read_trace(RECORDED / "fuzz-threads.strace").calls
    assert_order_was_kept(calls, threads[1])


@pytest.mark.parametrize("seed", range(5))
def test_calls_of_the_boot_keep_their_order_across_threads(
    tmp_path: Path, seed: int
) -> None:
    _, records = logged("q35-boot", tmp_path / "log.jsonl", seed)
    assert_order_was_kept(read_trace(find("q35-boot")).calls, records)


def line(thread: int, slot: int, gpa: int, size: int = 0x1000) -> str:
    return (
        f"{thread} ioctl(9, KVM_SET_USER_MEMORY_REGION, {{slot={slot}, flags=0,"
        f" guest_phys_addr={gpa:#x}, memory_size={size},"
        " userspace_addr=0x7f0000000000}"
    )


OVERLAPPING = "\n".join(
    (
        f"{line(1, 1, 0)} <unfinished ...>",
        f"{line(2, 2, 0x10000)}) = 0",
        f"{line(3, 3, 0x20000)} <unfinished ...>",
        f"{line(2, 2, 0x10000, 0)}) = 0",
        "1 <... ioctl resumed>) = 0",
        f"{line(2, 1, 0, 0)}) = 0",
        "3 <... ioctl resumed>) = 0",
        f"{line(1, 3, 0x20000, 0)}) = 0",
        "",
    )
)


@pytest.mark.parametrize("seed", range(50))
def test_calls_that_overlap_may_change_places_and_others_not(
    tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "overlapping.strace"
    path.write_text(OVERLAPPING)
    judgement, records = logged(str(path), tmp_path / "log.jsonl", seed, vcpus=0)
    assert_order_was_kept(read_trace(path).calls, records)
    assert judgement.mismatches == ()
    assert (judgement.verdict, judgement.calls) == (Verdict.HOLDS, 6)


def test_calls_that_overlap_are_made_in_more_than_one_order(tmp_path: Path) -> None:
    path = tmp_path / "overlapping.strace"
    path.write_text(OVERLAPPING)
    orders = set()
    for seed in range(30):
        _, records = logged(str(path), tmp_path / "log.jsonl", seed, vcpus=0)
        compared = (r.event for r in records if isinstance(r.event, ResultCompared))
        orders.add(tuple(event.line for event in compared))
    assert len(orders) > 5


# What becomes of a trace.


def trace_file(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "by-hand.strace"
    path.write_text("".join(f"{each}) = 0\n" for each in lines))
    return str(path)


def test_vcpus_visit_both_ends_of_each_range_and_the_page_before(
    tmp_path: Path,
) -> None:
    trace = trace_file(
        tmp_path, line(1, 1, 0, 0x4000), line(1, 2, 0x9000, 0x2000), line(1, 2, 0, 0)
    )
    (vcpu,) = plan_for(trace).scenario.vcpus
    assert [each.gpa for each in vcpu.accesses] == [0, 0x3000, 0x8000, 0x9000, 0xA000]
    assert [each.kind for each in vcpu.accesses] == list(KINDS)
    assert (vcpu.count, vcpu.times, vcpu.until_writers_return) == (4, EXITS, True)


def test_a_trace_without_a_success_is_visited_at_address_0(tmp_path: Path) -> None:
    path = tmp_path / "refused.strace"
    path.write_text(f"{line(1, 1, 1)}) = -1 EINVAL (Invalid argument)\n")
    (vcpu,) = plan_for(str(path)).scenario.vcpus
    assert [(each.kind, each.gpa) for each in vcpu.accesses] == [(AccessKind.READ, 0)]
    judgement = run(plan_for(str(path))).judgement
    assert judgement.mismatches == ()
    assert judgement.reasons == ("sets-converge was not exercised",)


@needs_traces
def test_vcpus_visit_a_bounded_number_of_places() -> None:
    (vcpu,) = plan_for(str(RECORDED / "fuzz-16slots.strace")).scenario.vcpus
    assert MAX_PLACES <= len(vcpu.accesses) < MAX_PLACES + 3


def test_the_kernels_own_limit_of_slots_is_used(tmp_path: Path) -> None:
    path = tmp_path / "small-kernel.strace"
    path.write_text(
        "1 ioctl(3, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS) = 509\n"
        f"{line(1, 508, 0)}) = 0\n"
        f"{line(1, 509, 0x10000)}) = -1 EINVAL (Invalid argument)\n"
    )
    plan = plan_for(str(path))
    assert plan.work is not None
    assert plan.work.profile.user_mem_slots == 509
    assert run(plan).judgement.verdict is Verdict.HOLDS
    path.write_text(f"{line(1, 509, 0x10000)}) = 0\n")
    plan = plan_for(str(path))
    assert plan.work is not None
    assert plan.work.profile == X86_64_LINUX_6_18


def test_a_second_address_space_is_there_if_the_trace_used_it(tmp_path: Path) -> None:
    trace = trace_file(tmp_path, line(1, 1, 0), line(1, 0x10001, 0))
    plan = plan_for(trace)
    assert plan.scenario.address_spaces == 2
    assert run(plan).judgement.verdict is Verdict.HOLDS
    path = tmp_path / "refused.strace"
    refused = f"{line(1, 0x10001, 0)}) = -1 EINVAL (Invalid argument)\n"
    path.write_text(f"{line(1, 1, 0)}) = 0\n{refused}")
    plan = plan_for(str(path))
    assert plan.scenario.address_spaces == 1
    assert run(plan).judgement.mismatches == ()


def test_an_answer_that_the_rules_do_not_give_is_a_violation(tmp_path: Path) -> None:
    trace = trace_file(tmp_path, line(1, 1, 0), line(1, 2, 0))
    judgement = run(plan_for(trace)).judgement
    assert judgement.verdict is Verdict.VIOLATION
    (mismatch,) = judgement.mismatches
    assert (mismatch.line, mismatch.expected, mismatch.result) == (2, "0", "EEXIST")


def test_a_trace_that_began_late_is_inconclusive_where_it_differs(
    tmp_path: Path,
) -> None:
    trace = trace_file(tmp_path, line(1, 1, 0), line(1, 2, 0, 0))
    judgement = run(plan_for(trace)).judgement
    assert judgement.verdict is Verdict.INCONCLUSIVE
    (mismatch,) = judgement.mismatches
    assert (mismatch.line, mismatch.expected, mismatch.result) == (2, "0", "EINVAL")
    (reason,) = judgement.reasons
    assert "no recorded call has made (lines 2)" in reason


def test_a_guest_memfd_that_was_bound_can_be_bound_again(tmp_path: Path) -> None:
    path = tmp_path / "private.strace"
    made, gone = (
        "1 ioctl(9, KVM_SET_USER_MEMORY_REGION2, {slot=1, flags=KVM_MEM_GUEST_MEMFD,"
        f" guest_phys_addr=0, memory_size={size}, userspace_addr=0x7f0000000000,"
        " guest_memfd_offset=0, guest_memfd=12})"
        for size in (8192, 0)
    )
    path.write_text(f"{made} = 0\n{gone} = 0\n{made} = 0\n")
    judgement = run(plan_for(str(path))).judgement
    assert (judgement.verdict, judgement.mismatches) == (Verdict.HOLDS, ())
    path.write_text(f"{made} = 0\n{made.replace('slot=1', 'slot=2')} = 0\n")
    judgement = run(plan_for(str(path))).judgement
    assert [each.result for each in judgement.mismatches] == ["EEXIST"]


def test_all_vms_are_run_unless_one_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "two.strace"
    other = line(1, 1, 0).replace("ioctl(9", "ioctl(12")
    path.write_text(f"{line(1, 1, 0)}) = 0\n{other}) = 0\n{other}) = 0\n")
    trace = read_trace(path)
    assert chosen_vms(trace, "fd12") == ("fd12",)
    assert chosen_vms(trace, None) == ("fd9", "fd12")
    with pytest.raises(InputError, match=r"has no VM 'fd7'; it has fd9, fd12$"):
        chosen_vms(trace, "fd7")
    with pytest.raises(InputError, match=r"of 2 VMs; choose one with --vm: fd9, fd12$"):
        plan_for(str(path))
    plans = plans_for(str(path))
    assert [plan.scenario.name for plan in plans] == ["two.fd9", "two.fd12"]
    assert [run(plan).judgement.calls for plan in plans] == [1, 2]
    judgement = run(plan_for(str(path), vm="fd12")).judgement
    assert (judgement.calls, judgement.verdict) == (2, Verdict.HOLDS)
