"""From what the user names to a plan: a scenario of the catalogue, or a file."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path

import attrs

from scenarios.catalogue.entries import entries
from scenarios.errors import InputError
from scenarios.runner import Plan, digest_of
from scenarios.scenario import Scenario
from scenarios.scenario_file import read_scenario
from scenarios.trace_account import TraceAccount
from scenarios.trace_plan import choose_vm, plan_trace
from scenarios.traces.call import TraceError, printable
from scenarios.traces.importer import MAX_CALLS, read_trace

VCPUS = 4
"""vCPUs that read while a trace is run, unless told otherwise."""

MAX_VCPUS = 1024
"""vCPUs that a run can have."""

MAX_WORK = 1_000_000
"""Calls, and reads of other threads, that a scenario can have."""


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
    """Plan a run.

    Args:
        name: A scenario of the catalogue, or the path of a scenario or trace file.
        vcpus: How many vCPUs; by default what the scenario says, or 4 for a trace.
        vm: Which VM of a trace; needed if it has several.
        strategy: Name of the strategy.
        seed: Where it starts.
        mode: ``controlled`` or ``trio``.
        max_calls: Updates of a trace that are read at most.

    Raises:
        InputError: It cannot be found, read or run.
    """
    path = find(name)
    if path.suffix == ".toml":
        plan = _plan_scenario(path, name, vcpus, vm)
    else:
        plan = _plan_trace(path, name, VCPUS if vcpus is None else vcpus, vm, max_calls)
    return attrs.evolve(plan, source=name, strategy=strategy, seed=seed, mode=mode)


def _plan_scenario(path: Path, name: str, vcpus: int | None, vm: str | None) -> Plan:
    if vm is not None:
        raise InputError(f"{name}: --vm {vm} is for traces; a scenario has one VM")
    scenario, digest = read_scenario(path)
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
        InputError: More vCPUs, calls, reads or exits than can be run.
    """
    if scenario.vcpu_count > MAX_VCPUS:
        raise InputError(
            f"{name}: has {scenario.vcpu_count} vCPUs; at most {MAX_VCPUS} can be"
        )
    if scenario.budget > sys.maxsize:
        raise InputError(
            f"{name}: budget: {scenario.budget} steps are more than can be counted"
        )
    calls = sum(len(spec.calls) * spec.repeat for spec in scenario.writers)
    reads = sum(len(spec.gpas) * spec.repeat for spec in scenario.readers)
    for what, count in (("calls", calls), ("reads", reads)):
        if count > MAX_WORK:
            raise InputError(
                f"{name}: makes {count} {what}; at most {MAX_WORK} can be, lower repeat"
            )
    for place, spec in enumerate(scenario.vcpus):
        if spec.exits > scenario.budget:
            raise InputError(
                f"{name}: vcpus[{place}].exits: {spec.exits} are more than the budget"
                f" of {scenario.budget} steps; lower it or raise budget"
            )


def _plan_trace(
    path: Path, name: str, vcpus: int, vm: str | None, max_calls: int
) -> Plan:
    try:
        trace = read_trace(path, max_calls=max_calls)
    except TraceError as error:
        raise InputError(str(error)) from error
    trace = attrs.evolve(trace, source=printable(name))
    chosen = choose_vm(trace, vm)
    try:
        scenario, work = plan_trace(trace, chosen, printable(path.stem), vcpus)
    except ValueError as error:  # no kernel can have answered 0 to such a call
        raise InputError(f"{name}: cannot be run: {error}") from error
    return Plan(
        scenario=scenario,
        work=work,
        # What comes through a pipe cannot be read again.
        digest=digest_of(path) if path.is_file() else "",
        vm=chosen,
        account=TraceAccount.of(trace),
    )


__all__ = ["MAX_CALLS", "MAX_VCPUS", "VCPUS", "find", "plan_for"]
