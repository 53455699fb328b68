"""`memslots run`."""

from __future__ import annotations

import os
import random
import re
import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from rcu.schedule.report import Ending
from scenarios.checkers.judge import Verdict
from scenarios.cli import output, terminal
from scenarios.cli.exit_codes import BY_VERDICT
from scenarios.errors import InputError
from scenarios.logbook.writer import LogWriter
from scenarios.planner import MAX_CALLS, MAX_VCPUS, find, plan_for
from scenarios.runner import Plan, RunResult
from scenarios.runner import run as run_plan
from scenarios.schedule_file import Schedule, in_turns, write_schedule
from scenarios.version import VERSION

RUNS = Path(".memslots/runs")
"""Where the schedule of a violation is kept if no other place is named."""


def _check_seed(kind: object, seed: object) -> None:
    """What logs and schedules can hold; cyclopts shows the text."""
    if isinstance(seed, int) and not 0 <= seed < 1 << 63:
        raise ValueError(f"Must be 0 or more and below 2**63, got {seed}.")


def run(
    scenario: str,
    /,
    *,
    vcpus: Annotated[
        int | None, Parameter(validator=Number(gte=0, lte=MAX_VCPUS))
    ] = None,
    seed: Annotated[int | Literal["random"], Parameter(validator=_check_seed)] = 0,
    strategy: Literal["random", "round-robin"] = "random",
    mode: Literal["controlled", "trio"] = "controlled",
    log: Path | None = None,
    schedule: Path | None = None,
    vm: str | None = None,
    max_calls: Annotated[int, Parameter(validator=Number(gte=1))] = MAX_CALLS,
    format: output.Format = "text",  # noqa: A002 - the option's name
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    verbose: Annotated[bool, Parameter(alias="-v", negative="")] = False,
    exit_zero: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run a scenario once and judge it.

    Args:
        scenario: A name that `memslots list` shows, a scenario file (.toml), or a
            recorded trace: strace or QEMU's kvm_set_user_memory, also gzipped.
        vcpus: Number of vCPUs that read meanwhile; by default what the scenario says,
            4 for a trace.
        seed: Where the strategy's choices start; `random` draws one and prints it.
        strategy: Who decides who goes next.
        mode: `controlled`: the strategy decides, the run can be repeated. `trio`: Trio
            decides.
        log: Write the log to this file, as JSON Lines.
        schedule: Write the order of the run to this file, for `memslots replay`.
        vm: Which VM of a trace that has several.
        max_calls: Updates of a trace that are read at most.
        format: `json` prints one object and nothing else.
        quiet: Print nothing unless it does not hold.
        verbose: Print every mismatch and violation.
        exit_zero: Exit with 0 whatever the verdict.
    """
    number = random.SystemRandom().getrandbits(32) if seed == "random" else seed
    refuse_to_overwrite(find(scenario), log, schedule)
    plan = plan_for(
        scenario,
        vcpus=vcpus,
        vm=vm,
        strategy=strategy,
        seed=number,
        mode=mode,
        max_calls=max_calls,
    )
    if seed == "random" and not quiet:
        terminal.say(f"seed {number}")
    result = execute(plan, log=log, quiet=quiet)
    verdict = result.judgement.verdict
    kept, lost = keep_schedule(result, schedule)
    if format == "json":
        output.print_json(as_dict(result, log, kept))
    elif not quiet or verdict is not Verdict.HOLDS:
        print_result(result, log, verbose=verbose)
        if kept is not None and verdict is Verdict.VIOLATION:
            terminal.write(f"Replay: memslots replay {shlex.quote(str(kept))}\n")
    if not quiet or verdict is not Verdict.HOLDS:
        tell_ignored(plan)
    if lost is not None and schedule is not None:
        raise lost
    if lost is not None:
        terminal.say(f"note: {lost}; name another file with --schedule")
    return 0 if exit_zero else BY_VERDICT[verdict.value]


def refuse_to_overwrite(source: Path, *outputs: Path | None) -> None:
    """Refuse to write where something is read from, and two things to one file.

    Raises:
        InputError: The text names the file.
    """
    taken = {os.path.realpath(source): "it is what is to be run"}
    for path in outputs:
        if path is None:
            continue
        place = os.path.realpath(path)
        if place in taken and not place.startswith("/dev/"):
            why = taken[place]
            raise InputError(f"will not overwrite {path}: {why}; name another file")
        taken[place] = "the log goes there"


def execute(
    plan: Plan,
    *,
    log: Path | None,
    quiet: bool,
    order: list[int] | None = None,
) -> RunResult:
    """Run a plan with its log and its progress.

    Raises:
        KeyboardInterrupt: The text says what is left of the run.
    """
    writer = None if log is None else LogWriter(log)
    try:
        with output.Progress(plan.scenario.name, wanted=not quiet) as tell:
            return run_plan(plan, log=writer, order=order, on_progress=tell)
    except KeyboardInterrupt:
        kept = [] if log is None else [f"the log until then is in {log}"]
        raise KeyboardInterrupt(*kept) from None


def keep_schedule(
    result: RunResult, path: Path | None
) -> tuple[Path | None, InputError | None]:
    """Write the order of a run where it was asked for, or if it shows a violation.

    Returns:
        Where it was written, and why it was not although it should have been: that
        must not hide the verdict.
    """
    plan = result.plan
    if path is None:
        if result.judgement.verdict is not Verdict.VIOLATION:
            return None, None
        # A scenario's name may be anything, also a path.
        name = re.sub(r"[^\w.-]", "_", plan.scenario.name)[:80]
        path = RUNS / f"{name}-{_chosen_by(plan)}-{plan.seed}" / "schedule.json"
    kept = Schedule(
        tool_version=VERSION,
        source=plan.source,
        scenario_digest=plan.digest,
        vm=plan.vm,
        vcpus=plan.scenario.vcpu_count,
        strategy=plan.strategy,
        seed=plan.seed,
        mode="controlled" if plan.mode == "controlled" else "trio",
        verdict=result.judgement.verdict.value,
        tasks=result.tasks,
        steps=in_turns(result.order),
    )
    try:
        write_schedule(path, kept)
    except InputError as error:
        return None, error
    return path, None


def _chosen_by(plan: Plan) -> str:
    """Who decided who goes next."""
    return plan.strategy if plan.mode == "controlled" else plan.mode


def as_dict(
    result: RunResult, log: Path | None, schedule: Path | None
) -> dict[str, object]:
    """What `--format json` prints."""
    plan = result.plan
    return {
        "scenario": plan.scenario.name,
        "seed": plan.seed,
        "strategy": _chosen_by(plan),
        "mode": plan.mode,
        "vcpus": plan.scenario.vcpu_count,
        "ending": result.report.ending.value,
        "steps": result.report.steps,
        **output.judgement_as_dict(result.judgement),
        "ignored_lines": None if plan.account is None else plan.account.as_dict(),
        "log": output.json_path(log),
        "schedule": output.json_path(schedule),
        "seconds": round(result.seconds, 3),
    }


def print_result(result: RunResult, log: Path | None, *, verbose: bool) -> None:
    """Print a run as text."""
    console = terminal.stdout()
    plan, judgement = result.plan, result.judgement
    chosen = "Trio's own order"
    if plan.mode == "controlled":
        chosen = f"strategy {plan.strategy}, seed {plan.seed}"
    vcpus = plan.scenario.vcpu_count
    what = f"{vcpus} vCPUs, {len(result.tasks)} tasks, {chosen}"
    output.print_title(console, plan.scenario.name, what)
    description = terminal.one_line(" ".join(plan.scenario.description.split()))
    if verbose and description:
        console.print(f"{terminal.hang(console, '', description)}\n")
    facts = output.facts(judgement) | _facts(result, log)
    output.print_judgement(console, judgement, facts, verbose=verbose)


def tell_ignored(plan: Plan) -> None:
    """Tell which lines of the trace were not understood."""
    if plan.account is not None:
        output.print_notes(plan.account.notes())


def _facts(result: RunResult, log: Path | None) -> dict[str, str]:
    more = {}
    account = result.plan.account
    if account is not None and account.others():
        more["other lines"] = account.others()
    more["steps"] = f"{result.report.steps:,} in {result.seconds:.2f} s"
    if result.report.ending is not Ending.COMPLETED:
        more["ended by"] = result.report.ending.value
    if log is not None:
        more["log"] = str(log)
    return more
