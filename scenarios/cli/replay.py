"""`memslots replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

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
from scenarios.kinds import with_memslots
from scenarios.planner import find, plan_for
from scenarios.schedule_file import read_schedule
from scenarios.strategies.by_name import STRATEGIES
from scenarios.strategies.replay import ReplayDivergedError


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

    The log is the same, byte for byte, as that of the run whose schedule it is.

    Args:
        schedule: What `memslots run --schedule` wrote, or a violation left behind.
        log: Write the log to this file, as JSON Lines.
        format: `json` prints one object and nothing else.
        quiet: Print nothing unless it does not hold.
        verbose: Print every mismatch and violation.
    """
    kept = read_schedule(schedule)
    if kept.strategy not in STRATEGIES:
        raise InputError(
            f"{schedule}: unknown strategy {kept.strategy!r}; there are"
            f" {', '.join(STRATEGIES)}"
        )
    refuse_to_overwrite(schedule, log)
    refuse_to_overwrite(find(kept.source), log)
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
    if plan.digest != kept.scenario_digest:
        raise ReplayDivergedError(
            0, f"{kept.source} is not what it was when {schedule} was recorded"
        )
    if kept.length > plan.scenario.budget:
        raise InputError(
            f"{schedule}: has {kept.length} steps, but a run of {kept.source} has at"
            f" most {plan.scenario.budget}"
        )
    result = execute(plan, log=log, quiet=quiet, order=kept.order())
    verdict = result.judgement.verdict
    if format == "json":
        output.print_json(as_dict(result, log, schedule))
    elif not quiet or verdict is not Verdict.HOLDS:
        print_result(result, log, verbose=verbose)
    if not quiet or verdict is not Verdict.HOLDS:
        tell_ignored([plan])
    if verdict.value != kept.verdict:
        raise ReplayDivergedError(
            result.report.steps,
            f"the verdict was {kept.verdict} and is {verdict.value} now",
        )
    return BY_VERDICT[verdict.value]
