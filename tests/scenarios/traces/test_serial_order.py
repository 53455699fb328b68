"""Overlapping calls are explained if, and only if, some order gives every answer."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from hypothesis import given

from memslots.profile import X86_64_LINUX_6_18
from memslots.region import Change, Region
from scenarios.traces.call import NEVER, RegionCall
from scenarios.traces.importer import read_trace
from scenarios.traces.sequential import Rules, Slots
from scenarios.traces.serial_order import GaveUp, SerialOrder, explain
from scenarios.traces.stuck import Stuck
from tests.scenarios.traces.histories import (
    FILES,
    PROFILE,
    arbitrary,
    call,
    explains,
    keeps_time,
    orders,
    real,
)

EEXIST, EINVAL = -errno.EEXIST, -errno.EINVAL

RECORDED = Path(__file__).parents[3].parent / "shared" / "traces"

needs_traces = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="the recorded traces are not beside the repository"
)


def explained(calls: list[RegionCall]) -> SerialOrder | Stuck | GaveUp:
    return explain(calls, PROFILE, address_space_count=2, guest_memfds=FILES)


# What a kernel can have done is explained.


@given(real())
def test_what_was_really_interleaved_is_explained(calls: list[RegionCall]) -> None:
    found = explained(calls)
    assert isinstance(found, SerialOrder)
    assert keeps_time(found.order)
    assert explains(found.order)
    answered = {each.index for each in calls if each.result is not None}
    assert answered <= {each.index for each in found.order}
    assert len({each.index for each in found.order}) == len(found.order)


def some_order_explains(calls: list[RegionCall]) -> bool:
    return any(explains(order) for order in orders(calls))


@given(arbitrary())
def test_search_agrees_with_trying_every_order(calls: list[RegionCall]) -> None:
    found = explained(calls)
    assert isinstance(found, SerialOrder) == some_order_explains(calls)
    if isinstance(found, SerialOrder):
        assert keeps_time(found.order)
        assert explains(found.order)
        return
    assert isinstance(found, Stuck)
    # The prefix is the shortest: who returns later may not have been made yet.
    returns = sorted(each.returned for each in calls if each.result is not None)
    for prefix, last in enumerate(returns, 1):
        cut = [
            each if each.returned <= last else attrs.evolve(each, returned=NEVER)
            for each in calls
            if each.entered <= last
        ]
        assert explains_with_absent(cut) == (prefix < found.prefix)
        if prefix == found.prefix:
            break


def explains_with_absent(calls: list[RegionCall]) -> bool:
    """Whether some order explains the calls, without or with those that never return.

    If such a call takes effect it gets its answer, if it has one.
    """
    absent = [
        each for each in calls if each.returned == NEVER and each.result is not None
    ]
    if not absent:
        return some_order_explains(calls)
    first = absent[0]
    without = [each for each in calls if each is not first]
    made = attrs.evolve(first, returned=NEVER - 1)
    return explains_with_absent(without) or explains_with_absent([*without, made])


def test_slot_may_be_made_and_deleted_twice_in_turn() -> None:
    pages = (0, 4)
    calls = [
        call(0, (1, 5), 0, (0, 0)),
        call(1, (2, 6), 0, (0, 0)),
        call(2, (3, 7), 0, pages),
        call(3, (4, 8), 0, pages),
    ]
    found = explained(calls)
    assert isinstance(found, SerialOrder)
    assert [each.memory_size > 0 for each in found.order] == [True, False, True, False]


def test_calls_of_other_slots_are_explained_apart() -> None:
    calls = [
        call(place, (place, 100 + place), place, (place, place + 1))
        for place in range(7)
    ]
    found = explain(calls, PROFILE)
    assert isinstance(found, SerialOrder)
    assert [each.index for each in found.order] == [*range(7)]
    assert found.states == 2 * len(calls)


def test_vms_have_slots_of_their_own() -> None:
    calls = [
        attrs.evolve(call(place, (place, place), 1, (0, 4)), vm=vm)
        for place, vm in enumerate(("fd9", "fd10", "fd9#2"))
    ]
    assert isinstance(explain(calls, PROFILE), SerialOrder)
    again = [attrs.evolve(each, vm="fd9") for each in calls]
    assert isinstance(explain(again, PROFILE), SerialOrder)  # nothing is to be done
    moved = attrs.evolve(again[2], slot=2)
    assert isinstance(explain([*again[:2], moved], PROFILE), Stuck)


# Calls without an answer.


def test_call_without_an_answer_takes_effect_only_if_it_must() -> None:
    silent = call(0, (1, NEVER), 0, (0, 4), None)
    other = call(1, (2, 3), 1, (2, 6), 0)
    found = explained([silent, other])
    assert isinstance(found, SerialOrder)
    assert [each.index for each in found.order] == [1]
    refused = attrs.evolve(other, result=EEXIST)
    found = explained([silent, refused])
    assert isinstance(found, SerialOrder)
    assert [each.index for each in found.order] == [0, 1]
    late = attrs.evolve(silent, entered=4)
    assert isinstance(explained([refused, late]), Stuck)


# What no kernel can have done is not explained, and why.


def test_two_answers_that_contradict_each_other_are_both_named() -> None:
    before = call(0, (1, 1), 2, (0, 1))
    one = call(1, (2, 5), 0, (1, 4))
    aside = call(2, (3, 7), 65536, (0, 4))
    other = call(3, (4, 6), 1, (2, 6))
    found = explained([before, one, aside, other])
    assert isinstance(found, Stuck)
    assert found.prefix == 3
    assert [each.call for each in found.calls] == [one, other]
    assert found.calls[0].possible == ("EEXIST",)
    assert found.calls[1].possible == (
        "EEXIST: gpa 0x2000..0x6000 meets slot 0 at 0x1000..0x4000",
    )
    assert str(found).startswith(
        "no order explains the answers of the first 3 calls: line 2 (1: slot 0 of"
        " address space 0, gpa 0x1000, size 0x3000, hva 0x7f0000000000, flags 0x0)"
        " answered 0, possible is EEXIST; line 4 "
    )


def test_answer_that_nobody_else_has_to_do_with_stands_alone() -> None:
    calls = [
        call(0, (1, 3), 0, (0, 4)),
        call(1, (2, 4), 0, (0, 2), EEXIST),
        call(2, (5, 6), 1, (6, 7)),
    ]
    found = explained(calls)
    assert isinstance(found, Stuck)
    assert found.prefix == 2
    (only,) = found.calls
    assert only.call is calls[1]
    assert "0" in only.possible or only.possible[0].startswith("EINVAL")
    assert str(only).startswith("line 2 (1: slot 0 of address space 0, gpa 0x0,")


def test_of_many_overlapping_calls_only_the_last_is_named() -> None:
    calls = [
        call(place, (place + 1, 100 + place), 0, (0, 1 + place % 4))
        for place in range(13)
    ]
    wrong = attrs.evolve(calls[0], returned=50, result=EEXIST)
    found = explained([wrong, *calls[1:]])
    assert isinstance(found, Stuck)
    assert [each.call for each in found.calls] == [wrong]
    assert len(set(found.calls[0].possible)) > 1


def test_search_gives_up_and_says_how_far_it_came() -> None:
    early = call(0, (1, 2), 0, (0, 1))
    late = [
        call(place, (10 + place, 50 + place), 0, (0, place % 3))
        for place in range(1, 9)
    ]
    found = explain([early, *late], PROFILE, max_states=20)
    assert found == GaveUp(explained=1, states=21)


# Recorded by a real kernel.


@needs_traces
@pytest.mark.parametrize(
    "name",
    [
        "q35-boot.strace",
        "q35-boot.qemutrace",
        "q35-migrate.strace",
        "q35-dimm-hotplug.strace",
        "microvm.strace",
        "fuzz-16slots.strace",
        "fuzz-threads.strace",
    ],
)
def test_every_recording_of_a_real_kernel_is_explained(name: str) -> None:
    calls = read_trace(RECORDED / name).calls
    found = explain(calls, X86_64_LINUX_6_18)
    assert isinstance(found, SerialOrder)
    assert sorted(each.index for each in found.order) == [*range(len(calls))]
    assert keeps_time(found.order)
    assert found.states < 3 * len(calls)


@needs_traces
@pytest.mark.parametrize("place", [0, 1, 250, 777, 1_400, 1_999])
@pytest.mark.parametrize("wrong", [0, EINVAL, EEXIST])
def test_one_flipped_answer_is_found_where_it_is(place: int, wrong: int) -> None:
    calls = list(read_trace(RECORDED / "fuzz-threads.strace").calls)
    if calls[place].result == wrong:
        return
    calls[place] = attrs.evolve(calls[place], result=wrong)
    found = explain(calls, X86_64_LINUX_6_18)
    assert isinstance(found, Stuck)
    assert calls[place] in [each.call for each in found.calls]
    assert len(found.calls) <= 4
    returns = sorted(each.returned for each in calls)
    assert found.prefix == returns.index(found.calls[-1].call.returned) + 1


class WithoutOverlap(Rules):
    def check_overlap(self, slots: Slots, region: Region) -> None:
        pass


class WithoutFormat(Rules):
    def check_alone(self, region: Region) -> None:
        pass


class WithResize(Rules):
    def classify(self, region: Region, old: Region | None) -> Change | None:
        if old is not None and region.memory_size not in {0, old.memory_size}:
            return Change.MOVE
        return super().classify(region, old)


class WithoutNoOp(Rules):
    def classify(self, region: Region, old: Region | None) -> Change | None:
        if old is None and not region.memory_size:
            return None
        return super().classify(region, old)


@needs_traces
@pytest.mark.parametrize("name", ["fuzz-threads.strace", "fuzz-16slots.strace"])
@pytest.mark.parametrize(
    "rules", [WithoutOverlap, WithoutFormat, WithResize, WithoutNoOp]
)
def test_rules_without_one_check_do_not_explain_what_a_real_kernel_answered(
    name: str, rules: Callable[..., Rules]
) -> None:
    calls = read_trace(RECORDED / name).calls
    found = explain(calls, X86_64_LINUX_6_18, rules=rules)  # type: ignore[arg-type]
    assert isinstance(found, Stuck)
    assert found.prefix < len(calls)
