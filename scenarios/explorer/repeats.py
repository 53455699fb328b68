"""Runs of a program that are made twice: what differs then is no matter of order."""

from __future__ import annotations

import re
from itertools import groupby

import attrs

from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.stepwise import StepwiseScheduler
from rcu.schedule.task import Strategy
from scenarios.explorer.blocks import Step
from scenarios.explorer.fingerprint import MADE_OBJECTS, Fingerprinter
from scenarios.explorer.program import (
    Finding,
    Instance,
    Program,
    Watch,
    finding_of,
    stuck_finding,
)
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.replay import Replay, ReplayDivergedError
from scenarios.strategies.round_robin import RoundRobin

CHECKED = 4
"""Orders that are run twice before a search."""

LONGEST = 10_000
"""Steps after which such a run is stopped: it may have no end."""

_ADDRESS = re.compile(r"0x[0-9a-f]+")


class NotDeterministicError(Exception):
    """The same order does not lead to the same run."""


@attrs.frozen
class Run:
    """What came of a run.

    Attributes:
        steps: Those that were made.
        finding: What is broken; None if nothing is.
        error: What was raised, if something was: by a task, or by a check at the end.
    """

    steps: tuple[Step, ...]
    finding: Finding | None
    error: BaseException | None = None

    @property
    def order(self) -> tuple[int, ...]:
        """Who made each step, as task indexes."""
        return tuple(step.task for step in self.steps)

    @property
    def preemptions(self) -> int:
        """How often a task was interrupted that could have gone on."""
        return sum(step.preempts for step in self.steps)

    @property
    def blocks(self) -> int:
        """How many times in a row one task makes steps."""
        return sum(1 for _ in groupby(self.order))

    @property
    def crashed(self) -> bool:
        """Whether what was raised is no finding."""
        return self.error is not None and self.finding is None

    @property
    def is_good(self) -> bool:
        """Whether nothing was found or raised."""
        return self.finding is None and self.error is None

    @property
    def outcome(self) -> tuple[str, ...]:
        """How it ended, without what differs between two builds."""
        if self.finding is not None:
            return (self.finding.checker, _ADDRESS.sub("0x", self.finding.seen))
        return () if self.error is None else (type(self.error).__name__,)


def assert_same(first: Run, second: Run) -> None:
    """Compare two runs of the same order.

    Raises:
        NotDeterministicError: They differ.
    """
    for number, (one, other) in enumerate(
        zip(first.steps, second.steps, strict=False), start=1
    ):
        if one != other:
            raise NotDeterministicError(
                f"step {number} is '{one.name}: {one.does}' the first time and"
                f" '{other.name}: {other.does}' the second time"
            )
    if len(first.steps) != len(second.steps):
        raise NotDeterministicError(
            f"it has {len(first.steps)} steps the first time and {len(second.steps)}"
            " the second time"
        )
    if first.outcome != second.outcome:
        raise NotDeterministicError(
            f"the first time {_ended(first)}, and the second time {_ended(second)}"
        )


def _ended(run: Run) -> str:
    if run.finding is not None:
        return f"it breaks ({run.finding.seen})"
    return "it ends well" if run.error is None else f"it raises {run.error!r}"


async def run_once(
    program: Program, pool: TaskPool, strategy: Strategy, most: int | None = None
) -> Run:
    """Build a program and run it, to its end or where something shows.

    Args:
        program: What is run.
        pool: Where its tasks run.
        strategy: Who goes next.
        most: Steps after which it is stopped; by default the program's budget.

    Raises:
        ReplayDivergedError: See `Replay`.
        BaseException: A body raised what is no finding.
    """
    scheduler, watch = program.build(StepwiseScheduler)
    scheduler.trace.flush()
    scheduler.borrowed(await pool.lend(scheduler))
    try:
        return _run(scheduler, watch, strategy, most)
    finally:
        scheduler.abandon()
        scheduler.trace.drop()


def _run(
    scheduler: StepwiseScheduler, watch: Watch, strategy: Strategy, most: int | None
) -> Run:
    most = scheduler.budget if most is None else most
    steps: list[Step] = []
    strategy.begin(scheduler.tasks)
    scheduler.begin()
    current = scheduler.nobody
    finding = _seen(scheduler, watch)
    ready = scheduler.ready()
    while finding is None and ready and len(steps) < most:
        task = strategy.pick(current, ready)
        preempts = task is not current and current in ready
        steps.append(Step(task.index, task.name, str(task.op), preempts))
        scheduler.step(task)
        current = task
        finding = _seen(scheduler, watch)
        ready = scheduler.ready()
    if finding is None and not ready:
        if scheduler.end() is Ending.DEADLOCK:
            finding = stuck_finding(scheduler.report().stuck)
        else:
            finding = watch.at_end()
    return Run(tuple(steps), finding)


def _seen(scheduler: StepwiseScheduler, watch: Watch) -> Finding | None:
    """What the last step has shown."""
    if scheduler.failed is not None:
        return finding_of(scheduler.failed)
    if scheduler.tracing:
        scheduler.trace.flush()
        return watch.look()
    return None


async def run_again(program: Program, pool: TaskPool, first: Run) -> None:
    """Repeat a run on a program that is built anew.

    Raises:
        NotDeterministicError: It does not go as before.
    """
    try:
        second = await run_once(program, pool, Replay(first.order), len(first.steps))
    except ReplayDivergedError as error:
        raise NotDeterministicError(f"the second time {error}") from None
    assert_same(first, second)


async def assert_repeatable(program: Program, pool: TaskPool) -> None:
    """Run a few orders twice.

    Raises:
        NotDeterministicError: The same order does not lead to the same run.
        BaseException: A body raised what is no finding.
    """
    fair: list[Strategy] = [RoundRobin(), *map(RandomWalk, range(CHECKED - 1))]
    for strategy in fair:
        run = await run_once(program, pool, strategy, LONGEST)
        await run_again(program, pool, run)


async def replay_twice(program: Program, pool: TaskPool, order: tuple[int, ...]) -> Run:
    """Run an order that has shown something, twice, on programs that are built anew.

    Raises:
        NotDeterministicError: It shows nothing, or not twice the same.
    """
    try:
        run = await run_once(program, pool, Replay(order), len(order))
    except ReplayDivergedError as error:
        raise NotDeterministicError(f"built anew, {error}") from None
    if run.finding is None:
        raise NotDeterministicError(
            "an order that breaks something does not when the program is built anew:"
            " something outlives a run, like a module's global"
        )
    await run_again(program, pool, run)
    return run


def tell_twice(instance: Instance) -> None:
    """Make the same steps twice and compare the states.

    Raises:
        NotDeterministicError: They differ.
        CannotTellError: A state cannot be told.
    """
    printer = Fingerprinter(instance.scheduler, instance.heap, symmetric=False)
    first, ended = _told(instance, printer)
    second, ended_again = _told(instance, printer)
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            raise NotDeterministicError(
                f"after step {number} of the same order, its state is another the"
                " second time"
            )
    if ended != ended_again:
        raise NotDeterministicError(
            f"run again, it ends in another way ({ended or ended_again}):"
            " something outlives a run, like a module's global"
        )


def _told(instance: Instance, printer: Fingerprinter) -> tuple[list[list[bytes]], str]:
    """The states of a run in which everyone goes to his end, and how it ends."""
    instance.begin()
    states = [_compared(printer)]
    scheduler = instance.scheduler
    ready = scheduler.ready()
    while ready and len(states) < min(scheduler.budget, LONGEST):
        scheduler.step(ready[len(states) % len(ready)])
        finding = instance.look()
        if finding is not None:
            return states, finding.seen
        states.append(_compared(printer))
        ready = scheduler.ready()
    finding = None if ready else instance.at_end()
    return states, "" if finding is None else finding.seen


def _compared(printer: Fingerprinter) -> list[bytes]:
    """The state, unless it holds objects that the run has made: they have no order."""
    parts = printer.parts()
    return [] if parts[0][:1] == MADE_OBJECTS else parts
