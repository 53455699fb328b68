"""A scenario, a strategy and checkers make a run."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import attrs
import trio

from memslots.indexes.errors import StructureBroken
from rcu.errors import RuleBroken
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool, open_pool
from rcu.schedule.report import Ending, Report
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Strategy
from rcu.schedule.trio_driven import TrioScheduler
from rcu.trace import Record, Sink, Trace
from rcu.tracepoints import RuleWasBroken, TaskStuck
from scenarios.checkers.judge import Judge, Judgement, doubts_about
from scenarios.logbook.writer import Header, LogWriter
from scenarios.machine import Machine
from scenarios.plan import Plan, digest_of
from scenarios.strategies.by_name import STRATEGIES
from scenarios.strategies.replay import Replay, ReplayDivergedError
from scenarios.version import VERSION


@attrs.frozen(kw_only=True)
class RunResult:
    """What a run has shown.

    Attributes:
        plan: What was run.
        judgement: What the checkers have seen.
        report: How the run ended.
        tasks: Names of the tasks, by index.
        order: Index of the task that made each step.
        seconds: How long it took, by the wall clock; in no log and no verdict.
    """

    plan: Plan
    judgement: Judgement
    report: Report
    tasks: tuple[str, ...]
    order: tuple[int, ...]
    seconds: float


def run(
    plan: Plan,
    *,
    log: LogWriter | None = None,
    order: list[int] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> RunResult:
    """Run a plan in a Trio run of its own; see `run_in_trio`.

    Ctrl-C ends the run at the next pause of the driver; the log is then closed with an
    ending of its own.
    """

    async def body() -> RunResult:
        async with open_pool() as pool:
            return await run_in_trio(
                plan, pool, log=log, order=order, on_progress=on_progress
            )

    try:
        return trio.run(body, restrict_keyboard_interrupt_to_checkpoints=True)
    except BaseExceptionGroup as group:
        raise _only(group) from None


async def run_in_trio(
    plan: Plan,
    pool: TaskPool,
    *,
    log: LogWriter | None = None,
    order: list[int] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> RunResult:
    """Run a plan.

    Args:
        plan: What to run.
        pool: Where controlled runs borrow their tasks.
        log: Gets every event.
        order: Replay this order instead of asking the plan's strategy.
        on_progress: Called now and then with the number of steps made.

    Raises:
        ReplayDivergedError: The run did not follow ``order``.
        LogError: The log could not be written.
        SimulatorBug: We are wrong.
    """
    started = perf_counter()
    judge = Judge(plan.scenario.must_exercise)
    scheduler: Scheduler
    controlled = plan.mode == "controlled" or order is not None
    sinks: list[Sink] = [judge.read]
    if log is not None:
        sinks.append(log.write)
    if on_progress is not None:
        tell = on_progress
        sinks.append(lambda records: tell(records[-1].step))
    trace = Trace(*sinks)
    strategy = _strategy(plan, order)
    budget = plan.scenario.budget
    cpus = plan.scenario.cpus
    if controlled:
        scheduler = ControlledScheduler(strategy, trace, cpus=cpus, budget=budget)
    else:
        scheduler = TrioScheduler(trace, cpus=cpus, budget=budget)
    scheduler.keep_record()
    Machine(plan.scenario, scheduler, work=plan.work, parts=plan.parts)
    tasks = tuple(task.name for task in scheduler.tasks)
    if log is not None:
        log.begin(_header(plan, tasks))
    ending = Ending.INTERRUPTED.value
    try:
        if isinstance(scheduler, ControlledScheduler):
            report = await pool.run(scheduler)
        else:
            report = await scheduler.run()
        _tell_findings(report, trace)
        ending = report.ending.value
    finally:
        if log is not None:
            log.end(scheduler.steps, ending)
    if isinstance(strategy, Replay) and order is not None:
        strategy.assert_used_up()
    judgement = judge.conclude(doubts_about(ending))
    return RunResult(
        plan=plan,
        judgement=judgement,
        report=report,
        tasks=tasks,
        order=scheduler.order(),
        seconds=perf_counter() - started,
    )


def _strategy(plan: Plan, order: list[int] | None) -> Strategy:
    if order is not None:
        return Replay(order)
    return STRATEGIES[plan.strategy](plan.seed)


def _header(plan: Plan, tasks: tuple[str, ...]) -> Header:
    return Header(
        tool_version=VERSION,
        scenario=plan.scenario.name,
        scenario_digest=plan.digest,
        strategy=plan.strategy if plan.mode == "controlled" else "trio",
        seed=plan.seed,
        mode=plan.mode,
        vcpus=plan.scenario.vcpu_count,
        tasks=tasks,
        must_exercise=plan.scenario.must_exercise,
        memslots=plan.memslots,
    )


def _tell_findings(report: Report, trace: Trace) -> None:
    """Put what ended the run into its trace, for whoever judges from the log alone.

    Raises:
        Exception: A body raised what is no finding.
    """
    error = report.error
    if isinstance(error, RuleBroken):
        _tell(report, trace, error.checker, error)
    elif isinstance(error, StructureBroken):
        _tell(report, trace, "sets-converge", error)
    elif error is not None:
        raise error
    if report.ending is Ending.DEADLOCK:
        for stuck in report.stuck:
            event = TaskStuck(
                stuck.task,
                stuck.waits_for,
                stuck.held_by or "",
                stuck.holds,
                stuck.sections,
            )
            trace.append(Record(report.steps, stuck.task, event))
    trace.flush()


def _tell(report: Report, trace: Trace, checker: str, error: Exception) -> None:
    first_line = str(error).partition("\n")[0]
    event = RuleWasBroken(checker, type(error).__name__, first_line)
    trace.append(Record(report.steps, report.failed or "", event))


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception that ended a Trio run, out of its groups."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


__all__ = [
    "Plan",
    "ReplayDivergedError",
    "RunResult",
    "digest_of",
    "run",
    "run_in_trio",
]
