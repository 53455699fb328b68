"""`memslots run`."""

from __future__ import annotations

import gc
import os
import random
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from rcu.schedule.report import Ending
from scenarios.checkers.judge import Verdict
from scenarios.cli import output, terminal
from scenarios.cli.drawing import draw_beside, draw_run
from scenarios.cli.exit_codes import BY_VERDICT
from scenarios.cli.keeping import RUNS, chosen_by, folder, schedule_of
from scenarios.errors import InputError
from scenarios.kinds import MemslotsKind, with_memslots
from scenarios.planner import MAX_CALLS, MAX_VCPUS, find, plans_for
from scenarios.runner import Plan, RunResult
from scenarios.schedule_file import write_schedule
from scenarios.strategies.replay import Replay
from scenarios.trace_account import notes_of

COLLECT_AFTER = 50_000
"""New objects after which Python looks for cycles; after 700, as usual, that would take
a quarter of a long run's time."""

WORST = (Verdict.VIOLATION, Verdict.INCONCLUSIVE, Verdict.HOLDS)
"""The verdicts; of several the first that is here counts."""


def check_seed(kind: object, seed: object) -> None:
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
    seed: Annotated[int | Literal["random"], Parameter(validator=check_seed)] = 0,
    strategy: Literal["random", "pct", "pos", "urw", "round-robin"] = "random",
    mode: Literal["controlled", "trio"] = "controlled",
    memslots: MemslotsKind = "tree",
    log: Path | None = None,
    schedule: Path | None = None,
    report: Path | None = None,
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
            recorded trace: strace, QEMU's kvm_set_user_memory, or a layout that `info
            mtree -f` prints, also gzipped.
        vcpus: Number of vCPUs that read meanwhile; by default what the scenario says,
            4 for a trace.
        seed: Where the strategy's choices start; `random` draws one and prints it.
        strategy: Who decides who goes next.
        mode: `controlled`: the strategy decides, the run can be repeated. `trio`: Trio
            decides.
        memslots: How the VM keeps its slots: in a `tree`, or in an `array` that is
            copied for each change, as before the scalable memslots.
        log: Write the log to this file, as JSON Lines. Of several VMs each has its own,
            with its name before the suffix: run.fd9.jsonl.
        schedule: Write the order of the run to this file, for `memslots replay`; of
            several VMs as with `--log`.
        report: Draw the run and write the picture to this file: HTML to step through,
            or what the end of its name stands for; see `memslots timeline`. A run that
            shows a violation is always drawn, beside its schedule.
        vm: Which VM of a trace; by default all, one after the other.
        max_calls: Updates of a trace that are read at most.
        format: `json` prints one object and nothing else.
        quiet: Print nothing unless it does not hold.
        verbose: Print every mismatch and violation.
        exit_zero: Exit with 0 whatever the verdict.
    """
    number = random.SystemRandom().getrandbits(32) if seed == "random" else seed
    plans = plans_for(
        scenario,
        vcpus=vcpus,
        vm=vm,
        strategy=strategy,
        seed=number,
        mode=mode,
        max_calls=max_calls,
    )
    plans = [with_memslots(plan, memslots) for plan in plans]
    asked = (log, schedule, report)
    outputs = [tuple(_of_vm(path, each, plans) for path in asked) for each in plans]
    for own in [asked, *outputs]:
        refuse_to_overwrite(find(scenario), *own)
    if seed == "random" and not quiet:
        terminal.say(f"seed {number}")
    ran = []
    for plan, own in zip(plans, outputs, strict=True):
        ran.append(_run_one(plan, *own, quiet=quiet))
        if format == "text" and not (quiet and ran[-1].verdict is Verdict.HOLDS):
            _print_one(ran[-1], verbose=verbose)
            terminal.write("\n" if len(plans) > 1 else "")
    worst = min((each.verdict for each in ran), key=WORST.index)
    if format == "json":
        _print_as_json(ran, worst)
    if not quiet or worst is not Verdict.HOLDS:
        tell_several(plans)
        tell_ignored(plans)
    for lost in (each.lost for each in ran if each.lost is not None):
        if schedule is not None:
            raise lost
        terminal.say(f"note: {lost}; name another file with --schedule")
    return 0 if exit_zero else BY_VERDICT[worst.value]


@attrs.frozen
class _Ran:
    """What is left of the run of one VM.

    Attributes:
        result: Without its steps, which may be many.
        log, schedule, report: Where they were written; None if they were not.
        lost: Why there is no schedule although there should be one.
    """

    result: RunResult
    log: Path | None
    schedule: Path | None
    report: Path | None
    lost: InputError | None

    @property
    def verdict(self) -> Verdict:
        return self.result.judgement.verdict

    @property
    def told(self) -> dict[str, object]:
        return as_dict(self.result, self.log, self.schedule, self.report)


def _run_one(
    plan: Plan,
    log: Path | None,
    schedule: Path | None,
    report: Path | None,
    *,
    quiet: bool,
) -> _Ran:
    """Run one VM."""
    result = execute(plan, log=log, report=report, quiet=quiet)
    kept, lost = keep_schedule(result, schedule)
    is_shown = result.judgement.verdict is Verdict.VIOLATION
    if report is None and kept is not None and is_shown:
        report = draw_beside(kept, result)
    rest = attrs.evolve(result, order=(), operations=())
    return _Ran(rest, log, kept, report, lost)


def _print_one(ran: _Ran, *, verbose: bool) -> None:
    """Print the run of one VM as text."""
    print_result(ran.result, ran.log, verbose=verbose)
    if ran.schedule is not None and ran.verdict is Verdict.VIOLATION:
        terminal.write(f"Replay: memslots replay {shlex.quote(str(ran.schedule))}\n")
    if ran.report is not None:
        terminal.write(f"Picture: {terminal.one_line(ran.report)}\n")


def _print_as_json(ran: Sequence[_Ran], worst: Verdict) -> None:
    """Print one object, whether there is one VM or several."""
    vms = [{"vm": each.result.plan.vm} | each.told for each in ran]
    several = {"verdict": worst.value, "vms": vms}
    output.print_json(several if len(ran) > 1 else ran[0].told)


def _of_vm(path: Path | None, plan: Plan, plans: Sequence[Plan]) -> Path | None:
    """Where one of several VMs writes what goes to ``path`` if there is only one.

    Its name comes before the suffix; a device takes all.
    """
    if path is None or len(plans) == 1 or str(path).startswith("/dev/"):
        return path
    vm = re.sub(r"[^\w.#-]", "_", plan.vm)
    return path.with_name(f"{path.stem}.{vm}{path.suffix}")


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
    report: Path | None = None,
    order: Replay | None = None,
) -> RunResult:
    """Run a plan with its log, its picture and its progress.

    Raises:
        InputError: One of them cannot be written.
        KeyboardInterrupt: The text says what is left of the run.
    """
    gc.set_threshold(COLLECT_AFTER)
    try:
        with output.Progress(plan.scenario.name, wanted=not quiet) as tell:
            return draw_run(plan, log, report, order=order, on_progress=tell)
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
        path = folder(RUNS, plan, chosen_by(plan), plan.seed) / "schedule.json"
    try:
        write_schedule(path, schedule_of(result))
    except InputError as error:
        return None, error
    return path, None


def as_dict(
    result: RunResult,
    log: Path | None,
    schedule: Path | None,
    report: Path | None = None,
) -> dict[str, object]:
    """What `--format json` prints."""
    plan = result.plan
    return {
        "scenario": plan.scenario.name,
        "seed": plan.seed,
        "strategy": chosen_by(plan),
        "mode": plan.mode,
        "vcpus": plan.scenario.vcpu_count,
        "memslots": plan.memslots,
        "mutant": plan.mutant or None,
        "ending": result.report.ending.value,
        "steps": result.report.steps,
        **output.judgement_as_dict(result.judgement),
        "overlap": _overlap_as_dict(plan),
        "ignored_lines": None if plan.account is None else plan.account.as_dict(),
        "log": output.json_path(log),
        "schedule": output.json_path(schedule),
        "report": output.json_path(report),
        "seconds": round(result.seconds, 3),
    }


def _overlap_as_dict(plan: Plan) -> dict[str, object] | None:
    if plan.account is None or plan.account.overlap is None:
        return None
    return plan.account.overlap.as_dict()


def print_result(result: RunResult, log: Path | None, *, verbose: bool) -> None:
    """Print a run as text."""
    console = terminal.stdout()
    plan, judgement = result.plan, result.judgement
    chosen = "Trio's own order"
    if plan.mode == "controlled":
        chosen = f"strategy {plan.strategy}, seed {plan.seed}"
    vcpus = plan.scenario.vcpu_count
    what = f"{vcpus} vCPUs, {len(result.tasks)} tasks, {chosen}"
    if plan.memslots == "array":
        what += ", slots in arrays"
    if plan.mutant:
        what += f", broken by mutant {plan.mutant}"
    output.print_title(console, plan.scenario.name, what)
    description = terminal.one_line(" ".join(plan.scenario.description.split()))
    if verbose and description:
        console.print(f"{terminal.hang(console, '', description)}\n")
    facts = output.facts(judgement) | _facts(result, log)
    output.print_judgement(console, judgement, facts, verbose=verbose)


def tell_several(plans: Sequence[Plan]) -> None:
    """Tell of the VMs of a trace, if there are several."""
    if len(plans) > 1:
        names = ", ".join(plan.vm for plan in plans)
        note = (
            f"{len(plans)} VMs ({names}) were run one after the other: in the kernel,"
            " too, the slots of one have nothing to do with another's; --vm chooses one"
        )
        output.print_notes([note])


def tell_ignored(plans: Sequence[Plan]) -> None:
    """Tell once which lines of a trace were not understood."""
    output.print_notes(notes_of(plan.account for plan in plans))


def _facts(result: RunResult, log: Path | None) -> dict[str, str]:
    more = {}
    account = result.plan.account
    if account is not None and account.overlap is not None:
        more["overlapping calls"] = str(account.overlap)
    if account is not None and account.others():
        more["other lines"] = account.others()
    more["steps"] = f"{result.report.steps:,} in {result.seconds:.2f} s"
    if result.report.ending is not Ending.COMPLETED:
        more["ended by"] = result.report.ending.value
    if log is not None:
        more["log"] = str(log)
    return more
