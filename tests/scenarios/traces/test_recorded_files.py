"""The recorded files, where they are beside the repository."""

from collections import Counter
from pathlib import Path

import pytest

from scenarios.traces.importer import read_trace
from scenarios.traces.overlap import order_matters, overlapping

RECORDED = Path(__file__).parents[3].parent / "shared" / "traces"

pytestmark = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="the recorded traces are not beside the repository"
)


@pytest.mark.parametrize(
    ("name", "calls", "threads", "vcpus", "limit"),
    [
        ("q35-boot.strace", 39, 2, 1, 32764),
        ("q35-boot.qemutrace", 39, 1, 0, None),
        ("q35-migrate.strace", 55, 3, 2, 32764),
        ("q35-dimm-hotplug.strace", 87, 2, 1, 32764),
        ("microvm.strace", 6, 1, 1, 32764),
        ("fuzz-16slots.strace", 600, 1, 0, None),
        ("fuzz-threads.strace", 2000, 4, 0, None),
    ],
)
def test_each_line_of_a_recorded_file_is_understood(
    name: str, calls: int, threads: int, vcpus: int, limit: int | None
) -> None:
    trace = read_trace(RECORDED / name)
    assert len(trace.calls) == calls
    assert len({call.thread for call in trace.calls}) == threads
    assert (trace.vcpus, trace.slot_limit) == (vcpus, limit)
    assert len(trace.vms) == 1
    assert trace.unknown_lines.count == 0
    assert trace.unreturned == ()


def test_answers_of_the_fuzzed_slots_are_kept() -> None:
    trace = read_trace(RECORDED / "fuzz-16slots.strace")
    results = Counter(call.result for call in trace.calls)
    assert results == {0: 337, -17: 45, -22: 218}
    assert overlapping(trace.calls) == ()


def test_dirty_log_calls_of_a_migration_are_counted() -> None:
    trace = read_trace(RECORDED / "q35-migrate.strace")
    assert trace.other_lines["KVM_GET_DIRTY_LOG"] == 18
    assert trace.other_lines["KVM_CLEAR_DIRTY_LOG"] == 17


def test_interrupted_calls_of_a_hotplug_keep_both_places() -> None:
    trace = read_trace(RECORDED / "q35-dimm-hotplug.strace")
    halved = [call for call in trace.calls if call.entered != call.returned]
    assert len(halved) == 3
    assert overlapping(trace.calls) == ()


def test_overlaps_of_fuzzed_threads_are_found() -> None:
    trace = read_trace(RECORDED / "fuzz-threads.strace")
    assert len(overlapping(trace.calls)) == 2395
    assert len(order_matters(trace.calls)) == 184
    assert set(order_matters(trace.calls)) < set(overlapping(trace.calls))
