"""Makes a run of a recorded trace: its calls from their threads, and vCPUs reading."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import attrs

from memslots.profile import X86_64_LINUX_6_18
from memslots.region import Region
from memslots.slot import MemFlag
from memslots.units import PAGE_SIZE, Gpa, Hva
from scenarios.errors import InputError
from scenarios.machine import Call, Work
from scenarios.scenario import AccessSpec, Scenario, VcpuSpec
from scenarios.traces.call import RegionCall, Trace
from scenarios.traces.overlap import Gate, order_matters
from vcpus.vcpu import Exit

EXITS = 500
"""Exits that each vCPU makes at least while a trace is run."""

MAX_PLACES = 256
"""Guest addresses that the vCPUs visit in turn."""

KINDS = (
    Exit.READ,
    Exit.WRITE,
    Exit.EMULATED_READ,
    Exit.EMULATED_WRITE,
    Exit.MIGRATE,
)

MUST_EXERCISE = (
    "consistent-set",
    "sets-converge",
    "generation-unique",
    "lock-order",
    "results-match",
)


def choose_vm(trace: Trace, wanted: str | None) -> str:
    """The VM of a trace to run.

    Args:
        trace: What was recorded.
        wanted: Its key; None if the trace has only one.

    Raises:
        InputError: The trace has several, or none of that key.
    """
    known = ", ".join(trace.vms)
    if wanted is None and len(trace.vms) == 1:
        return trace.vms[0]
    if wanted is None:
        raise InputError(
            f"{trace.source}: has updates of {len(trace.vms)} VMs; choose one with"
            f" --vm: {known}"
        )
    if wanted not in trace.vms:
        raise InputError(f"{trace.source}: has no VM {wanted!r}; it has {known}")
    return wanted


def plan_trace(trace: Trace, vm: str, name: str, vcpus: int) -> tuple[Scenario, Work]:
    """Make a scenario of the calls of one VM.

    Args:
        trace: What was recorded.
        vm: Which VM; see `choose_vm`.
        name: What the scenario is called.
        vcpus: How many vCPUs read meanwhile.
    """
    calls = [call for call in trace.calls if call.vm == vm]
    lines = {call.index: call.line for call in calls}
    profile = X86_64_LINUX_6_18
    if trace.slot_limit is not None:
        profile = attrs.evolve(profile, user_mem_slots=trace.slot_limit)
    by_thread: dict[str, list[Call]] = {}
    for place, call in enumerate(calls):
        by_thread.setdefault(_writer(call.thread), []).append(_call(call, place))
    several = len(by_thread) > 1
    work = Work(
        calls=by_thread,
        gate=_Gates(calls) if several else None,
        unknown_order=tuple(
            (lines[first], lines[second]) for first, second in order_matters(calls)
        ),
        begun_late=_begun_late(calls),
        guest_memfds=_bound(calls),
        profile=profile,
    )
    scenario = Scenario(
        schema=1,
        name=name,
        family="trace",
        description=_describe(trace, calls, by_thread),
        address_spaces=2 if any(c.as_id and not c.result for c in calls) else 1,
        must_exercise=MUST_EXERCISE if vcpus else ("results-match", "sets-converge"),
        vcpus=(
            VcpuSpec(
                accesses=_accesses(calls),
                count=vcpus,
                exits=EXITS,
                until_writers_return=True,
            ),
        ),
    )
    return scenario, work


@attrs.frozen
class _Gates:
    calls: Sequence[RegionCall]

    def __call__(self) -> Gate:
        return Gate.of(self.calls)


def _writer(thread: str) -> str:
    return f"thread-{thread}" if thread.isdigit() else thread


def _call(call: RegionCall, place: int) -> Call:
    return Call(
        region=Region(
            slot=call.slot,
            flags=call.flags,
            guest_phys_addr=Gpa(call.guest_phys_addr),
            memory_size=call.memory_size,
            userspace_addr=Hva(call.userspace_addr),
            v2=call.v2,
            guest_memfd=-1 if call.guest_memfd is None else call.guest_memfd,
            guest_memfd_offset=call.guest_memfd_offset or 0,
        ),
        expected=call.result,
        line=call.line,
        place=place,
    )


def _begun_late(calls: Sequence[RegionCall]) -> tuple[int, ...]:
    """Lines of successful deletions of slots that no recorded call can have made."""
    first_made: dict[int, int] = {}
    for call in calls:
        if call.memory_size and not call.result:
            first_made.setdefault(call.slot, call.entered)
    return tuple(
        call.line
        for call in calls
        if not (call.memory_size or call.result)
        and first_made.get(call.slot, math.inf) > call.returned
    )


def _bound(calls: Sequence[RegionCall]) -> tuple[int, ...]:
    """Descriptors of guest_memfds that a recorded call has bound."""
    return tuple(
        sorted(
            {
                call.guest_memfd
                for call in calls
                if call.guest_memfd is not None
                and call.flags & MemFlag.GUEST_MEMFD
                and not call.result
            }
        )
    )


def _accesses(calls: Sequence[RegionCall]) -> tuple[AccessSpec, ...]:
    """Both ends of what was asked for, and the page before: where answers change."""
    places: set[int] = set()
    for call in calls:
        if call.result or not call.memory_size:
            continue
        first = call.guest_phys_addr
        places |= {first, first + call.memory_size - PAGE_SIZE}
        if first:
            places.add(first - PAGE_SIZE)
        if len(places) >= MAX_PLACES:
            break
    kinds = itertools.cycle(KINDS)
    return tuple(
        AccessSpec(exit=kind, gpa=place)
        for place, kind in zip(sorted(places) or [0], kinds, strict=False)
    )


def _describe(
    trace: Trace, calls: Sequence[RegionCall], by_thread: dict[str, list[Call]]
) -> str:
    failed = sum(call.result != 0 for call in calls)
    logged = sum(bool(call.flags & MemFlag.LOG_DIRTY_PAGES) for call in calls)
    source = Path(trace.source).name
    return (
        f"{len(calls)} memory-region calls of {len(by_thread)} threads, recorded with"
        f" {trace.format} in {source}; {failed} of them were refused and"
        f" {logged} asked for dirty logging. Each is made in its thread and its order,"
        " and its result compared with the real kernel's, while vCPUs read."
    )
