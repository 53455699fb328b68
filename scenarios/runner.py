"""A scenario, a strategy and checkers make a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import attrs
import trio

from memslots.indexes.errors import StructureBroken
from rcu.errors import RuleBroken
from rcu.operation import Operation
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool, open_pool
from rcu.schedule.report import Ending, Report
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Strategy
from rcu.schedule.trio_driven import TrioScheduler
from rcu.trace import Record, Sink, Trace
from rcu.tracepoints import RuleWasBroken, TaskStuck
from scenarios.checkers.judge import Judge, Judgement, doubts_about
from scenarios.explorer.measure import measure
from scenarios.explorer.program import Finding, Program, finding_of, stuck_finding
from scenarios.explorer.programs import program_of
from scenarios.logbook.takes import Takes
from scenarios.logbook.writer import Header
from scenarios.plan import Plan, digest_of
from scenarios.strategies.by_name import STRATEGIES
from scenarios.strategies.replay import Replay, ReplayDivergedError
from scenarios.strategies.sampler import Sampler
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
        operations: What each step did.
        seconds: How long it took, by the wall clock; in no log and no verdict.
    """

    plan: Plan
    judgement: Judgement
    report: Report
    tasks: tuple[str, ...]
    order: tuple[int, ...]
    operations: tuple[Operation, ...] = attrs.field(repr=False, eq=False)
    seconds: float

    @property
    def finding(self) -> Finding | None:
        """What is broken, as a search of orders tells it; None if nothing is."""
        report, violations = self.report, self.judgement.violations
        if isinstance(report.error, RuleBroken | StructureBroken):
            return finding_of(report.error)
        if report.ending is Ending.DEADLOCK:
            return stuck_finding(report.stuck)
        if violations:
            first = violations[0]
            return Finding(first.checker, first.seen, first.why)
        return None

    def _repr_html_(self) -> str:
        """The run as a picture, for a notebook: it is run again, step by step."""
        # Only a notebook needs them.
        from scenarios.report.inline import EVENTS, as_html  # noqa: PLC0415
        from scenarios.report.window import Wanted  # noqa: PLC0415
        from scenarios.report.writer import Report  # noqa: PLC0415

        report = Report(Wanted(most=EVENTS))
        run(self.plan, log=report, order=self.order)
        return as_html(report.picture())


def run(
    plan: Plan,
    *,
    log: Takes | None = None,
    order: Sequence[int] | Replay | None = None,
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
    log: Takes | None = None,
    order: Sequence[int] | Replay | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> RunResult:
    """Run a plan.

    Args:
        plan: What to run.
        pool: Where controlled runs borrow their tasks.
        log: Gets every event.
        order: Replay this order instead of asking the plan's strategy; a replay that
            does not go to the end of the run stops it.
        on_progress: Called now and then with the number of steps made.

    Raises:
        ReplayDivergedError: The run did not follow ``order``.
        LogError: The log could not be written.
        SimulatorBug: We are wrong.
    """
    started = perf_counter()
    judge = Judge(plan.scenario.must_exercise)
    controlled = plan.mode == "controlled" or order is not None
    sinks: list[Sink] = [judge.read]
    if log is not None:
        sinks.append(log.write)
    if on_progress is not None:
        tell = on_progress
        sinks.append(lambda records: tell(records[-1].step))
    trace = Trace(*sinks)
    program = program_of(plan, judged=False)
    replay = order if order is None or isinstance(order, Replay) else Replay(order)
    strategy = replay or await _strategy(plan, program, pool)
    stop = None if replay is None or replay.whole else replay.length
    scheduler = _build(program, strategy if controlled else None, trace, stop)
    tasks = tuple(task.name for task in scheduler.tasks)
    if log is not None:
        log.begin(_header(plan, tasks))
    ending = Ending.INTERRUPTED.value
    try:
        if isinstance(scheduler, ControlledScheduler):
            report = await pool.run(scheduler)
        else:
            report = await scheduler.run()
        report = _stopped(report, stop)
        _tell_findings(report, trace)
        ending = report.ending.value
    finally:
        if log is not None:
            log.end(scheduler.steps, ending)
    if replay is not None:
        replay.assert_used_up()
    judgement = judge.conclude(doubts_about(ending, violated=judge.violated))
    return RunResult(
        plan=plan,
        judgement=judgement,
        report=report,
        tasks=tasks,
        order=scheduler.order(),
        operations=_operations(scheduler),
        seconds=perf_counter() - started,
    )


def _build(
    program: Program, strategy: Strategy | None, trace: Trace, stop: int | None
) -> ControlledScheduler | TrioScheduler:
    """Build the tasks of a run; Trio decides if there is no strategy.

    Args:
        program: What is run.
        strategy: Who decides.
        trace: Our own, whatever the program would listen to.
        stop: After how many steps the run is over; None for the program's budget.
    """

    def make(
        _: Trace | None = None, *, cpus: int, budget: int
    ) -> ControlledScheduler | TrioScheduler:
        budget = budget if stop is None else min(budget, stop)
        if strategy is None:
            return TrioScheduler(trace, cpus=cpus, budget=budget)
        return ControlledScheduler(strategy, trace, cpus=cpus, budget=budget)

    scheduler, _ = program.build(make)
    scheduler.keep_record()
    return scheduler


async def _strategy(plan: Plan, program: Program, pool: TaskPool) -> Strategy:
    """The strategy of the plan; if it plans ahead, it knows how long runs are."""
    strategy = STRATEGIES[plan.strategy](plan.seed)
    controlled = plan.mode == "controlled"
    if controlled and isinstance(strategy, Sampler) and strategy.learns:
        strategy.learn(await measure(program, pool))
    return strategy


def _operations(scheduler: Scheduler) -> tuple[Operation, ...]:
    record = scheduler.record or []
    return tuple(each for each in record[1::2] if isinstance(each, Operation))


def _stopped(report: Report, stop: int | None) -> Report:
    """What it means that so many steps were made, if they were to be no more."""
    if stop is None or report.ending is not Ending.BUDGET:
        return report
    return attrs.evolve(report, ending=Ending.STOPPED, stuck=())


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
        vm=plan.vm,
        mutant=plan.mutant,
        schedule=plan.schedule,
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
