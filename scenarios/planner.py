"""From what the user names to a plan: a scenario of the catalogue, or a file."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from memslots.units import PAGE_SIZE
from scenarios.calls import WriteMemorySpec
from scenarios.catalogue.entries import entries
from scenarios.errors import InputError
from scenarios.plan import Plan, digest_of
from scenarios.printable import printable
from scenarios.scenario import Scenario
from scenarios.scenario_file import read_scenario
from scenarios.trace_plan import chosen_vms, plan_trace
from scenarios.traces.call import TraceError
from scenarios.traces.importer import MAX_CALLS, read_trace

VCPUS = 4
"""vCPUs that read while a trace is run, unless told otherwise."""

MAX_VCPUS = 1024
"""vCPUs that a run can have."""

MAX_THREADS = 1024
"""Writers, readers, notifiers and allocators that a run can have."""

MAX_WORK = 1_000_000
"""Things of each kind that the threads of a scenario can do."""


def find(name: str) -> Path:
    """The file of a scenario.

    Args:
        name: Its name in the catalogue, or a path.

    Raises:
        InputError: Neither; the text says what it may have been.
    """
    known = entries()
    if name in known:
        return known[name]
    if any("\udc80" <= character <= "\udcff" for character in name):
        raise InputError(f"{name!r}: the name is not UTF-8; rename the file")
    path = Path(name)
    if os.path.lexists(path) or path.suffix or path.name != name:
        return path
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise InputError(
        f"unknown scenario {name!r}: {hint}'memslots list' shows the catalogue"
    )


def plan_for(
    name: str,
    *,
    vcpus: int | None = None,
    vm: str | None = None,
    strategy: str = "random",
    seed: int = 0,
    mode: str = "controlled",
    max_calls: int = MAX_CALLS,
) -> Plan:
    """Plan the run of one VM; see `plans_for`.

    Raises:
        InputError: A trace has several, and none is chosen.
    """
    plans = plans_for(
        name,
        vcpus=vcpus,
        vm=vm,
        strategy=strategy,
        seed=seed,
        mode=mode,
        max_calls=max_calls,
    )
    if len(plans) > 1:
        known = ", ".join(plan.vm for plan in plans)
        raise InputError(
            f"{name}: has updates of {len(plans)} VMs; choose one with --vm: {known}"
        )
    return plans[0]


def plans_for(
    name: str,
    *,
    vcpus: int | None = None,
    vm: str | None = None,
    strategy: str = "random",
    seed: int = 0,
    mode: str = "controlled",
    max_calls: int = MAX_CALLS,
) -> list[Plan]:
    """Plan runs: one, or one for each VM of a trace.

    Args:
        name: A scenario of the catalogue, or the path of a scenario or trace file.
        vcpus: How many vCPUs; by default what the scenario says, or 4 for a trace.
        vm: Which VM of a trace; by default all that it has.
        strategy: Name of the strategy.
        seed: Where it starts.
        mode: ``controlled`` or ``trio``.
        max_calls: Updates of a trace that are read at most.

    Raises:
        InputError: It cannot be found, read or run.
    """
    path = find(name)
    if path.suffix == ".toml":
        plans = [_plan_scenario(path, name, vcpus, vm)]
    else:
        count = VCPUS if vcpus is None else vcpus
        plans = _plan_trace(path, name, count, vm, max_calls)
    return [
        attrs.evolve(plan, source=name, strategy=strategy, seed=seed, mode=mode)
        for plan in plans
    ]


def _plan_scenario(path: Path, name: str, vcpus: int | None, vm: str | None) -> Plan:
    if vm is not None:
        raise InputError(f"{name}: --vm {vm} is for traces; a scenario has one VM")
    scenario, digest = read_scenario(path)
    if vcpus and scenario.protocol is not None:
        raise InputError(
            f"{name}: is a protocol without vCPUs, so --vcpus {vcpus} cannot be; copy"
            " its file and change the number of readers"
        )
    if vcpus and not scenario.vcpus:
        raise InputError(
            f"{name}: has no vCPUs, so --vcpus {vcpus} cannot be; say in [[vcpus]] what"
            " they do"
        )
    # A scenario's own number, also from a schedule, leaves its own distribution.
    if vcpus is not None and vcpus != scenario.vcpu_count:
        scenario = scenario.with_vcpus(vcpus)
    _check_size(scenario, name)
    return Plan(scenario=scenario, digest=digest)


def _check_size(scenario: Scenario, name: str) -> None:
    """Refuse what would fill the memory before its first step, or can never end.

    Raises:
        InputError: More vCPUs, calls, reads or accesses than can be run.
    """
    if scenario.vcpu_count > MAX_VCPUS:
        raise InputError(
            f"{name}: has {scenario.vcpu_count} vCPUs; at most {MAX_VCPUS} can be"
        )
    if scenario.budget > sys.maxsize:
        raise InputError(
            f"{name}: budget: {scenario.budget} steps are more than can be counted"
        )
    kinds = (
        scenario.writers,
        scenario.readers,
        scenario.notifiers,
        scenario.allocators,
    )
    threads = sum(len(specs) for specs in kinds)
    if threads > MAX_THREADS:
        raise InputError(f"{name}: has {threads} threads; at most {MAX_THREADS} can be")
    for what, count, lower in _work(scenario):
        if count > MAX_WORK:
            raise InputError(
                f"{name}: makes {count} {what}; at most {MAX_WORK} can be, lower"
                f" {lower}"
            )
    for place, spec in enumerate(scenario.vcpus):
        if spec.times > scenario.budget:
            raise InputError(
                f"{name}: vcpus[{place}].times: {spec.times} are more than the budget"
                f" of {scenario.budget} steps; lower it or raise budget"
            )


def _work(scenario: Scenario) -> Iterator[tuple[str, int, str]]:
    """What the threads do, how much of it, and which key makes it less."""
    yield (
        "calls",
        sum(
            call.total * spec.repeat for spec in scenario.writers for call in spec.calls
        ),
        "repeat or count",
    )
    yield (
        "writes to host pages",
        sum(
            call.pages * call.total * spec.repeat
            for spec in scenario.writers
            for call in spec.calls
            if isinstance(call, WriteMemorySpec)
        ),
        "repeat or pages",
    )
    yield (
        "reads",
        sum(len(spec.accesses) * spec.repeat for spec in scenario.readers),
        "repeat",
    )
    yield (
        "changes of host pages",
        sum(
            change.size // PAGE_SIZE * spec.repeat
            for spec in scenario.notifiers
            for change in spec.changes
        ),
        "repeat or size",
    )
    yield (
        "different accesses of guests",
        sum(
            access.pages * spec.count
            for spec in scenario.vcpus
            for access in spec.accesses
        ),
        "pages or count",
    )


def _plan_trace(
    path: Path, name: str, vcpus: int, vm: str | None, max_calls: int
) -> list[Plan]:
    try:
        trace = read_trace(path, max_calls=max_calls)
    except TraceError as error:
        raise InputError(str(error)) from error
    trace = attrs.evolve(trace, source=printable(name))
    # What comes through a pipe cannot be read again.
    digest = digest_of(path) if path.is_file() else ""
    plans = []
    for chosen in chosen_vms(trace, vm):
        try:
            scenario, work, account = plan_trace(
                trace, chosen, printable(path.stem), vcpus
            )
        except ValueError as error:  # no kernel can have answered 0 to such a call
            raise InputError(f"{name}: cannot be run: {error}") from error
        plans.append(
            Plan(
                scenario=scenario,
                work=work,
                digest=digest,
                vm=chosen,
                account=account,
            )
        )
    return plans


__all__ = ["MAX_CALLS", "MAX_VCPUS", "VCPUS", "find", "plan_for", "plans_for"]
