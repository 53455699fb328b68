"""Runs that are drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scenarios.cli.keeping import RUNS
from scenarios.logbook.takes import Takes
from scenarios.logbook.writer import LogWriter
from scenarios.plan import Plan
from scenarios.runner import RunResult, run
from scenarios.strategies.replay import Replay

LONGEST = 1_000_000
"""Steps of a run that is made again to be drawn."""


def draw_run(
    plan: Plan,
    log: Path | None,
    report: Path | None,
    *,
    order: Replay | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> RunResult:
    """Run a plan, write its log and draw it.

    Args:
        plan: What is run.
        log: Where its log goes; None if it has none.
        report: Where its picture goes; None if there is to be none.
        order: See `run`.
        on_progress: See `run`.

    Raises:
        InputError: One of them cannot be written.
    """
    writer = None if log is None else LogWriter(log)
    if report is None:
        return run(plan, log=writer, order=order, on_progress=on_progress)

    # What draws takes 60 ms to import.
    from scenarios.report.window import Wanted  # noqa: PLC0415
    from scenarios.report.writer import (  # noqa: PLC0415
        FORMATS,
        Report,
        Several,
        format_of,
        write_report,
    )

    form = format_of(report)
    drawn = Report(Wanted(most=FORMATS[form].most))
    takes: Takes = drawn if writer is None else Several((writer, drawn))
    result = run(plan, log=takes, order=order, on_progress=on_progress)
    write_report(drawn.picture(), report, form)
    return result


def draw_beside(schedule: Path, result: RunResult) -> Path | None:
    """Draw a run that is over, beside its schedule.

    It is made again for that. What stands there is overwritten only where nobody but
    us writes.

    Returns:
        Where the picture is; None if the run is too long, or the place is taken.
    """
    path = schedule.with_suffix(".html")
    is_ours = path.parent.parent == RUNS
    if len(result.order) > LONGEST or path == schedule:
        return None
    if path.exists() and not is_ours:
        return None
    draw_run(result.plan, None, path, order=Replay(result.order, whole=False))
    return path
