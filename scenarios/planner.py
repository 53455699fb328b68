"""From what the user names to a plan: a scenario of the catalogue, or a file."""

from __future__ import annotations

import difflib
from pathlib import Path

from scenarios.catalogue.entries import entries
from scenarios.errors import InputError
from scenarios.runner import Plan, digest_of
from scenarios.scenario_file import read_scenario
from scenarios.trace_plan import choose_vm, plan_trace
from scenarios.traces.call import TraceError
from scenarios.traces.importer import read_trace

VCPUS = 4
"""vCPUs that read while a trace is run, unless told otherwise."""


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
    path = Path(name)
    if path.exists() or path.suffix or path.name != name:
        return path
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise InputError(
        f"unknown scenario {name!r}{hint} 'memslots list' shows the catalogue"
        if hint
        else f"unknown scenario {name!r}; 'memslots list' shows the catalogue"
    )


def plan_for(
    name: str,
    *,
    vcpus: int | None = None,
    vm: str | None = None,
    strategy: str = "random",
    seed: int = 0,
    mode: str = "controlled",
    max_calls: int = 100_000,
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
    chosen = ""
    work = None
    if path.suffix == ".toml":
        scenario, digest = read_scenario(path)
        if vcpus is not None:
            scenario = scenario.with_vcpus(vcpus)
    else:
        try:
            trace = read_trace(path, max_calls=max_calls)
        except TraceError as error:
            raise InputError(str(error)) from error
        chosen = choose_vm(trace, vm)
        count = VCPUS if vcpus is None else vcpus
        scenario, work = plan_trace(trace, chosen, path.stem, count)
        digest = digest_of(path)
    return Plan(
        scenario=scenario,
        work=work,
        source=name,
        digest=digest,
        vm=chosen,
        strategy=strategy,
        seed=seed,
        mode=mode,
    )
