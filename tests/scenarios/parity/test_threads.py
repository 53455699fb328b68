"""Calls of several threads: what is noted of them, and how it is judged."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from memslots.region import Region
from memslots.units import Gpa, Hva
from scenarios.parity.calls import DONE, Answer, Call, SetRegion
from scenarios.parity.kernel import Kernel, OutOfMemoryError
from scenarios.parity.parity import Wanted
from scenarios.parity.threads import Moment, ThreadedParity, history_lines
from tests.scenarios.parity.plain_kernel import PlainKernel, PlainVm

FEW = Wanted(calls=600, slots=8, recordable=True)


def create(slot: int) -> SetRegion:
    return SetRegion(Region(slot, 0, Gpa(0), 4096, Hva(0)))


def test_halves_of_calls_are_written_as_strace_does() -> None:
    first, second = create(1), create(2)
    moments = [
        Moment(0, first),
        Moment(0, first, DONE),
        Moment(0, first),
        Moment(1, second),
        Moment(1, second, Answer(-17)),
        Moment(0, first, DONE),
        Moment(1, second),
    ]
    region = (
        "{{slot={}, flags=0, guest_phys_addr=0, memory_size=4096, userspace_addr=0}}"
    )
    call = f"ioctl(4, KVM_SET_USER_MEMORY_REGION, {region}"
    assert [*history_lines(moments)] == [
        f"1000  {call.format(1)}) = 0",
        f"1000  {call.format(1)} <unfinished ...>",
        f"1001  {call.format(2)}) = -1 EEXIST (File exists)",
        "1000  <... ioctl resumed>) = 0",
        f"1001  {call.format(2)} <unfinished ...>",
    ]


def test_threads_that_wait_for_each_other_overlap() -> None:
    everybody = threading.Barrier(3)
    parity = ThreadedParity(
        PlainKernel(lambda call: everybody.wait()), Wanted(calls=90, recordable=True), 3
    )
    lines: list[str] = []
    parity.on_lines = lines.extend
    tally = parity.run()
    assert (tally.agreed, tally.overlapping, tally.ended_by) == (90, 90, "calls")
    halves = sum("<unfinished ...>" in line for line in lines)
    assert halves == sum("resumed>" in line for line in lines) >= 60
    threads = Counter(line.partition(" ")[0] for line in lines[2:])
    assert set(threads) == {"1000", "1001", "1002"}


def test_answers_that_no_order_explains_are_a_difference() -> None:
    class LyingVm(PlainVm):
        def answer(self, call: Call) -> Answer:
            super().answer(call)
            return DONE

    class LyingKernel(PlainKernel):
        def create_vm(self) -> PlainVm:
            return LyingVm(lambda call: None)

    tally = ThreadedParity(LyingKernel(), FEW, 2).run()
    assert (tally.ended_by, tally.verdict.value) == ("difference", "violation")
    assert tally.unexplained.startswith("no order explains the answers of the first ")
    assert len(tally.lines) > 2


def test_what_ends_a_thread_ends_all() -> None:
    def refuse(call: Call) -> None:
        raise OutOfMemoryError(str(call))

    tally = ThreadedParity(PlainKernel(refuse), FEW, 2).run()
    assert (tally.agreed, tally.ended_by) == (0, "memory")


def test_time_may_be_up() -> None:
    wanted = Wanted(calls=1 << 40, recordable=True, seconds=1e-9)
    tally = ThreadedParity(PlainKernel(), wanted, 2).run()
    assert (tally.agreed, tally.ended_by) == (0, "time")


def test_every_call_returns_before_an_interruption_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined: list[threading.Thread] = []
    join = threading.Thread.join

    def interrupted_once(
        thread: threading.Thread, timeout: float | None = None
    ) -> None:
        joined.append(thread)
        if len(joined) == 1:
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted_once)
    parity = ThreadedParity(PlainKernel(), FEW, 2)
    lines: list[str] = []
    parity.on_lines = lines.extend
    with pytest.raises(KeyboardInterrupt):
        parity.run()
    assert len(joined) == 3
    made = [line for line in lines if "ioctl(4" in line]
    assert parity.tally.agreed == len(made)


def test_the_kernel_takes_overlapping_calls_in_some_order(kernel: Kernel) -> None:
    tally = ThreadedParity(kernel, Wanted(calls=1_000, slots=12, recordable=True), 4)
    found = tally.run()
    assert (found.agreed, found.ended_by, found.unexplained) == (1_000, "calls", "")
    assert found.overlapping > 500
