"""Makes a run of a recorded trace: its calls from their threads, and vCPUs reading."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from memslots.profile import X86_64_LINUX_6_18
from memslots.slot import LOG_DIRTY_PAGES
from memslots.units import PAGE_SIZE
from rcu.trace import Event
from scenarios.errors import InputError
from scenarios.machine import Call, Work
from scenarios.scenario import AccessSpec, Scenario, VcpuSpec
from scenarios.trace_account import TraceAccount
from scenarios.trace_order import SHOWN, Overlap, begin_after, find_order
from scenarios.tracepoints import BegunLate, UpdatesLost
from scenarios.traces.call import RegionCall, Trace
from scenarios.traces.guest_memfds import with_files
from scenarios.traces.mtree import NAME as MTREE
from vcpus.vcpu import AccessKind

EXITS = 500
"""Exits that each vCPU makes at least while a trace is run."""

FREE_CALLS = 2_500
"""Calls of a trace in which vCPUs make as many accesses as they can; see `Pace`."""

MOST_ACCESSES = 30_000
"""Accesses that all vCPUs together make in a paced run, but for the first ones."""

LEAST_BUDGET = 10_000_000
STEPS_PER_CALL = 500
"""Steps that a run may take for each call, readers included."""

MAX_PLACES = 256
"""Guest addresses that the vCPUs visit in turn."""

KINDS = (
    AccessKind.READ,
    AccessKind.WRITE,
    AccessKind.EMULATED_READ,
    AccessKind.EMULATED_WRITE,
    AccessKind.MIGRATE,
)

MUST_EXERCISE = (
    "consistent-set",
    "sets-converge",
    "generation-unique",
    "lock-order",
    "results-match",
)


def chosen_vms(trace: Trace, wanted: str | None) -> tuple[str, ...]:
    """The VMs of a trace to run.

    Args:
        trace: What was recorded.
        wanted: Key of the only one; None for all.

    Raises:
        InputError: The trace has none of that key.
    """
    if wanted is None:
        return trace.vms
    if wanted not in trace.vms:
        known = ", ".join(trace.vms)
        raise InputError(f"{trace.source}: has no VM {wanted!r}; it has {known}")
    return (wanted,)


def plan_trace(
    trace: Trace, vm: str, name: str, vcpus: int
) -> tuple[Scenario, Work, TraceAccount]:
    """Make a scenario of the calls of one VM.

    Args:
        trace: What was recorded.
        vm: Which VM; see `chosen_vms`.
        name: What the scenario is called.
        vcpus: How many vCPUs read meanwhile.

    Returns:
        The scenario, what its writers do, and what became of the rest of the trace.
    """
    answered = [call for call in trace.calls if call.vm == vm]
    pending = [call for call in trace.pending if call.vm == vm]
    calls, guest_memfds = with_files([*answered, *pending], trace.guest_memfds, vm)
    spaces = 2 if any(call.as_id and not call.result for call in calls) else 1
    profile = X86_64_LINUX_6_18
    if trace.slot_limit is not None:
        profile = attrs.evolve(profile, user_mem_slots=trace.slot_limit)
    begun_late = _begun_late(calls)
    overlap = find_order(
        calls,
        profile,
        address_space_count=spaces,
        guest_memfds=guest_memfds,
        whole=not (begun_late or trace.undecoded),
    )
    made = set() if overlap is None else {call.index for call in overlap.order}
    run = [call for call in calls if call.result is not None or call.index in made]
    run.sort(key=lambda call: call.entered)
    by_thread = _by_thread(run)
    work = Work(
        calls={
            thread: [_call(call, place) for place, call in placed]
            for thread, placed in by_thread.items()
        },
        predecessors=_predecessors(run, overlap, by_thread),
        accesses_per_call=_pace(len(run), vcpus),
        notes=tuple(_notes(overlap, begun_late, trace.undecoded)),
        guest_memfds=guest_memfds,
        profile=profile,
    )
    scenario = Scenario(
        schema=1,
        name=name if len(trace.vms) == 1 else f"{name}.{vm}",
        family="trace",
        description=_describe(trace, run, len(by_thread)),
        address_spaces=spaces,
        budget=max(LEAST_BUDGET, STEPS_PER_CALL * len(run)),
        must_exercise=MUST_EXERCISE if vcpus else ("results-match", "sets-converge"),
        vcpus=(
            VcpuSpec(
                accesses=_accesses(run),
                count=vcpus,
                times=EXITS,
                until_writers_return=True,
            ),
        ),
    )
    return scenario, work, TraceAccount.of(trace, overlap)


def _by_thread(calls: Sequence[RegionCall]) -> dict[str, list[tuple[int, RegionCall]]]:
    """The calls of each thread, with their places among all.

    A thread makes one call at a time. Where two of its calls overlap the recording has
    taken two threads for one, as those of two containers: they are kept apart.
    """
    by_thread: dict[str, list[tuple[int, RegionCall]]] = {}
    for place, call in enumerate(calls):
        name = _writer(call.thread)
        while name in by_thread and by_thread[name][-1][1].returned >= call.entered:
            name += "'"
        by_thread.setdefault(name, []).append((place, call))
    return by_thread


def _predecessors(
    calls: Sequence[RegionCall],
    overlap: Overlap | None,
    by_thread: Mapping[str, Sequence[tuple[int, RegionCall]]],
) -> list[list[int]] | None:
    if len(by_thread) == 1:
        return None
    writers = [""] * len(calls)
    for thread, placed in by_thread.items():
        for place, _ in placed:
            writers[place] = thread
    return begin_after(calls, overlap, writers)


def _pace(calls: int, vcpus: int) -> float | None:
    """How many accesses a vCPU may make for each call; None if as many as it can."""
    if calls <= FREE_CALLS or not vcpus:
        return None
    return MOST_ACCESSES / (calls * vcpus)


def _notes(
    overlap: Overlap | None, begun_late: Sequence[int], undecoded: Sequence[int]
) -> Iterator[Event]:
    """What the trace tells about itself."""
    if overlap is not None and overlap.event is not None:
        yield overlap.event
    if begun_late:
        yield BegunLate(tuple(begun_late[:SHOWN]))
    if undecoded:
        yield UpdatesLost(tuple(undecoded[:SHOWN]))


def _writer(thread: str) -> str:
    return f"thread-{thread}" if thread.isdigit() else thread


def _call(call: RegionCall, place: int) -> Call:
    return Call(what=call.request, expected=call.result, line=call.line, place=place)


def _begun_late(calls: Sequence[RegionCall]) -> tuple[int, ...]:
    """Lines of successful deletions of slots that no recorded call can have made."""
    first_made: dict[int, int] = {}
    for call in calls:
        if call.memory_size and not call.result:
            entered = first_made.get(call.slot, call.entered)
            first_made[call.slot] = min(entered, call.entered)
    return tuple(
        call.line
        for call in calls
        if call.memory_size == 0
        and call.result == 0
        and first_made.get(call.slot, math.inf) > call.returned
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
        AccessSpec(kind=kind, gpa=place)
        for place, kind in zip(sorted(places) or [0], kinds, strict=False)
    )


def _describe(trace: Trace, calls: Sequence[RegionCall], threads: int) -> str:
    source = Path(trace.source).name
    if trace.format == MTREE:
        spaces = len({call.as_id for call in calls})
        in_spaces = f" in {spaces} address spaces" if spaces > 1 else ""
        return (
            f"{len(calls)} slots{in_spaces} of the layout in {source}, made one after"
            " the other while vCPUs read; host addresses are made up."
        )
    failed = sum(call.result != 0 for call in calls)
    logged = sum(bool(call.flags & LOG_DIRTY_PAGES) for call in calls)
    return (
        f"{len(calls)} memory-region calls of {threads} threads, recorded with"
        f" {trace.format} in {source}; {failed} of them were refused and"
        f" {logged} asked for dirty logging. Each is made in its thread and its order,"
        " and its result compared with the real kernel's, while vCPUs read."
    )
