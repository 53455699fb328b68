"""`memslots replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from scenarios.checkers.judge import Verdict
from scenarios.cli import output
from scenarios.cli.exit_codes import BY_VERDICT
from scenarios.cli.run import (
    as_dict,
    execute,
    print_result,
    refuse_to_overwrite,
    tell_ignored,
)
from scenarios.errors import InputError
from scenarios.explorer.exploration import BOUNDED, EXHAUSTIVE
from scenarios.explorer.program import Finding
from scenarios.kinds import with_memslots
from scenarios.model_digest import model_digest
from scenarios.plan import digest_of
from scenarios.planner import find, plan_for
from scenarios.runner import Plan, RunResult
from scenarios.schedule_file import Expected, Schedule, read_schedule
from scenarios.strategies.by_name import STRATEGIES
from scenarios.strategies.replay import Replay, ReplayDivergedError


def replay(
    schedule: Path,
    /,
    *,
    log: Path | None = None,
    format: output.Format = "text",  # noqa: A002 - the option's name
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    verbose: Annotated[bool, Parameter(alias="-v", negative="")] = False,
) -> int:
    """Make a run happen again, step by step.

    It is made twice, and each step compared with what the schedule says of it. The log
    is the same, byte for byte, as that of the run whose schedule it is.

    Args:
        schedule: What `memslots run --schedule` wrote, or a violation left behind, or
            `memslots explore`.
        log: Write the log to this file, as JSON Lines.
        format: `json` prints one object and nothing else.
        quiet: Print nothing unless it does not hold.
        verbose: Print every mismatch and violation.
    """
    kept = read_schedule(schedule)
    known = [*STRATEGIES, EXHAUSTIVE, BOUNDED]
    if kept.strategy not in known:
        raise InputError(
            f"{schedule}: unknown strategy {kept.strategy!r}; there are"
            f" {', '.join(known)}"
        )
    refuse_to_overwrite(schedule, log)
    refuse_to_overwrite(find(kept.source), log)
    plan = _plan(schedule, kept)
    if plan.digest != kept.scenario_digest:
        raise ReplayDivergedError(
            0, f"{kept.source} is not what it was when {schedule} was recorded"
        )
    if kept.length > plan.scenario.budget:
        raise InputError(
            f"{schedule}: has {kept.length} steps, but a run of {kept.source} has at"
            f" most {plan.scenario.budget}"
        )
    try:
        result = _run_twice(plan, kept, log, quiet=quiet)
        verdict = result.judgement.verdict
        if format == "json":
            output.print_json(as_dict(result, log, schedule))
        elif not quiet or verdict is not Verdict.HOLDS:
            print_result(result, log, verbose=verbose)
        if not quiet or verdict is not Verdict.HOLDS:
            tell_ignored([plan])
        _compare(kept, result)
    except ReplayDivergedError as error:
        if kept.model_digest == model_digest():
            raise
        raise ReplayDivergedError(error.step, f"{error}; {_OTHER_MODEL}") from None
    if kept.model_digest != model_digest():
        output.print_notes([f"{_OTHER_MODEL}, and goes the same way in this one"])
    return BY_VERDICT[verdict.value]


def _plan(schedule: Path, kept: Schedule) -> Plan:
    """What was run.

    Raises:
        InputError: It is no longer there.
    """
    plan = plan_for(
        kept.source,
        vcpus=kept.vcpus,
        vm=kept.vm or None,
        strategy=kept.strategy,
        seed=kept.seed,
        mode=kept.mode,
        max_calls=sys.maxsize,  # the run was allowed to read them
    )
    plan = with_memslots(plan, kept.memslots)
    if not kept.whole or kept.strategy not in STRATEGIES:  # they do not say the order
        plan = attrs.evolve(plan, schedule=digest_of(schedule))
    if not kept.mutant:
        return plan
    from scenarios.mutants.registry import with_mutant  # noqa: PLC0415 - all of them

    return with_mutant(plan, kept.mutant)


_OTHER_MODEL = "the schedule was recorded in another version of the model"


def _run_twice(
    plan: Plan, kept: Schedule, log: Path | None, *, quiet: bool
) -> RunResult:
    """Make the steps of a schedule, and make them again.

    Raises:
        ReplayDivergedError: A step is not what it was, or not the same both times.
    """
    order, does = kept.order(), kept.does()
    first = execute(
        plan, log=log, quiet=quiet, order=Replay(order, does, whole=kept.whole)
    )
    did = list(map(str, first.operations))
    try:
        again = execute(
            plan, log=None, quiet=quiet, order=Replay(order, did, whole=kept.whole)
        )
    except ReplayDivergedError as error:
        raise ReplayDivergedError(error.step, f"run again, {error}") from None
    if (again.finding, again.judgement) != (first.finding, first.judgement):
        raise ReplayDivergedError(
            first.report.steps,
            f"run again, the same steps show {_told(again.finding)}, and showed"
            f" {_told(first.finding)} before",
        )
    return first


def _compare(kept: Schedule, result: RunResult) -> None:
    """Compare what a run shows with what its schedule says.

    Raises:
        ReplayDivergedError: It is something else.
    """
    step, verdict = result.report.steps, result.judgement.verdict.value
    if verdict != kept.verdict:
        raise ReplayDivergedError(
            step, f"the verdict was {kept.verdict} and is {verdict} now"
        )
    met = result.finding and Expected(result.finding.checker, result.finding.seen)
    if met != kept.finding:
        raise ReplayDivergedError(
            step, f"the run showed {_told(kept.finding)}, and shows {_told(met)} now"
        )


def _told(finding: Expected | Finding | None) -> str:
    return "nothing" if finding is None else f"{finding.checker}: {finding.seen}"
