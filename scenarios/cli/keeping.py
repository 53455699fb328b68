"""Schedules that commands leave behind."""

from __future__ import annotations

import re
from pathlib import Path

from scenarios.model_digest import model_digest
from scenarios.plan import Plan
from scenarios.runner import RunResult
from scenarios.schedule_file import Expected, Schedule, with_operations
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
        verdict=result.judgement.verdict.value,
        finding=None if finding is None else Expected(finding.checker, finding.seen),
        whole=whole,
        tasks=result.tasks,
        operations=operations,
        steps=steps,
    )
