"""Schedules that commands leave behind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rcu.errors import SimulatorBug
from rcu.schedule.report import Ending
from scenarios.explorer.program import Finding
from scenarios.model_digest import model_digest
from scenarios.plan import Plan
from scenarios.runner import RunResult, run
from scenarios.schedule_file import (
    Expected,
    Schedule,
    with_operations,
    write_schedule,
)
from scenarios.strategies.replay import Replay
from scenarios.version import VERSION

RUNS = Path(".memslots/runs")
"""Where the schedule of a run that shows a violation is kept, if nobody says where."""

EXPLORE = Path(".memslots/explore")
"""Likewise for what a search has found."""


def chosen_by(plan: Plan) -> str:
    """Who decided who goes next."""
    return plan.strategy if plan.mode == "controlled" else plan.mode


def folder(below: Path, plan: Plan, *more: object) -> Path:
    """Where the schedules of a scenario are kept; its name may be anything."""
    name = re.sub(r"[^\w.-]", "_", plan.scenario.name)[:80]
    return below / "-".join(map(str, (name, *more)))


_OF_MANY_STEPS = ("livelock", "starvation")
"""Findings that no single state shows, so that no run that ends can show them."""


def keep_order(
    plan: Plan, order: Sequence[int], finding: Finding, path: Path
) -> Schedule:
    """Write the schedule of an order that a search has found.

    Args:
        plan: What was searched.
        order: Who makes each step, as task indexes.
        finding: What it shows.
        path: Where the schedule goes.

    Raises:
        InputError: It cannot be written.
        SimulatorBug: The order does not show its finding when it is run.
    """
    result = run(plan, order=Replay(order, whole=False))
    schedule = schedule_of(result, whole=result.report.ending is not Ending.STOPPED)
    expected = Expected(finding.checker, finding.seen)
    if schedule.finding != expected and finding.checker not in _OF_MANY_STEPS:
        raise SimulatorBug(
            f"an order that shows {expected} shows {schedule.finding} when it is run"
        )
    write_schedule(path, schedule)
    return schedule


def schedule_of(result: RunResult, *, whole: bool = True) -> Schedule:
    """What makes a run happen again.

    Args:
        result: What the run has shown.
        whole: Whether it was over behind its last step.
    """
    plan, finding = result.plan, result.finding
    operations, steps = with_operations(result.order, result.operations)
    return Schedule(
        tool_version=VERSION,
        source=plan.source,
        scenario_digest=plan.digest,
        model_digest=model_digest(),
        vm=plan.vm,
        vcpus=plan.scenario.vcpu_count,
        strategy=plan.strategy,
        seed=plan.seed,
        mode="controlled" if plan.mode == "controlled" else "trio",
        memslots=plan.memslots,
        mutant=plan.mutant,
        verdict=result.judgement.verdict.value,
        finding=None if finding is None else Expected(finding.checker, finding.seen),
        whole=whole,
        tasks=result.tasks,
        operations=operations,
        steps=steps,
    )
