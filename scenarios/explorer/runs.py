"""Runs of a program that a test declares, each on a program built anew."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from functools import partial

import pytest

from rcu.errors import RuleBroken
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending, Report
from rcu.schedule.task import Strategy, Task
from scenarios.explorer.blocks import Step
from scenarios.explorer.declared import DeclaredProgram, EndChecks
from scenarios.explorer.program import Finding, finding_of, stuck_finding
from scenarios.explorer.repeats import NotDeterministicError, Run, assert_same
from scenarios.strategies.replay import Replay, ReplayDivergedError

FAILURES = (RuleBroken, AssertionError, pytest.fail.Exception)
"""What a task raises when it has found something."""


class Runner:
    """Builds and runs a program.

    Args:
        pool: Where its tasks run.
        program: What is run.

    Attributes:
        count: How many runs were made.
    """

    def __init__(self, pool: TaskPool, program: DeclaredProgram) -> None:
        self._pool = pool
        self._program = program
        self.count = 0

    async def run(self, strategy: Strategy) -> Run:
        """Run it once.

        Raises:
            BaseException: What is neither a finding nor an error of a task.
        """
        self.count += 1
        noting = _Noting(strategy)
        scheduler, checks = self._program.build(partial(ControlledScheduler, noting))
        try:
            report = await self._pool.run(scheduler)
            finding, error = _judged(report, checks)
        except pytest.fail.Exception as failed:
            finding, error = Finding("failed", str(failed.msg)), failed
        return Run(tuple(noting.steps), finding, error)

    async def replay(self, order: Iterable[int]) -> Run:
        """Run it in an order.

        Raises:
            ReplayDivergedError: A step of the order cannot be made, or is missing.
        """
        replay = Replay(tuple(order))
        run = await self.run(replay)
        replay.assert_used_up()
        return run

    async def again(self, first: Run) -> Run:
        """Repeat a run.

        Raises:
            NotDeterministicError: It did not go as before.
        """
        try:
            second = await self.replay(first.order)
        except ReplayDivergedError as error:
            raise NotDeterministicError(f"the second time {error}") from None
        assert_same(first, second)
        return second

    async def every_order(
        self, preemptions: int | None = None
    ) -> AsyncGenerator[Run, None]:
        """Run it in every order, or in those with so many preemptions at most."""
        strategy = EveryOrder(preemptions)
        while True:
            yield await self.run(strategy)
            if not strategy.advance():
                return


def _judged(
    report: Report, checks: EndChecks
) -> tuple[Finding | None, BaseException | None]:
    """What is broken after a run, and what was raised."""
    if report.ending is Ending.COMPLETED:
        return _judged_at_end(checks)
    if report.ending is Ending.DEADLOCK:
        return stuck_finding(report.stuck), None
    if report.ending is Ending.BUDGET:
        seen = f"after {report.steps:,} steps the run is not over"
        return Finding("step-budget", seen), None
    error = report.error
    return (finding_of(error) if isinstance(error, FAILURES) else None), error


def _judged_at_end(checks: EndChecks) -> tuple[Finding | None, BaseException | None]:
    try:
        checks.assert_all()
    except AssertionError as error:
        return Finding("at-end", str(error)), error
    except Exception as error:  # noqa: BLE001 - shown as the test's own
        return None, error
    return None, None


class _Noting:
    """Notes the steps that a strategy chooses."""

    patience = 0

    def __init__(self, inner: Strategy) -> None:
        self._inner = inner
        self.steps: list[Step] = []

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""
        self._inner.begin(tasks)

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        chosen = self._inner.pick(current, ready)
        preempts = chosen is not current and current in ready
        self.steps.append(Step(chosen.index, chosen.name, str(chosen.op), preempts))
        return chosen


class EveryOrder:
    """Depth first through all choices: a run takes the path, `advance` the next.

    The first path stays with a task as long as it can go on.

    Args:
        preemptions: How often a task that could go on may be interrupted; by default
            as often as it can be.
    """

    patience = 0

    def __init__(self, preemptions: int | None = None) -> None:
        self._preemptions = preemptions
        self._path: list[int] = []  # which of the options, by depth
        self._widths: list[int] = []  # how many there were
        self._depth = 0
        self._left = 0

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""
        self._depth = 0
        self._left = -1 if self._preemptions is None else self._preemptions

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        options = ready
        may_stay = current in ready
        if may_stay:
            others = [task for task in ready if task is not current]
            options = [current, *others] if self._left else [current]
        depth = self._depth
        self._depth += 1
        if depth == len(self._path):
            self._path.append(0)
            self._widths.append(len(options))
        if self._widths[depth] != len(options):
            raise NotDeterministicError(
                f"at step {depth + 1} of the same order {self._widths[depth]} tasks"
                f" can go on the first time and {len(options)} the second time"
            )
        chosen = options[self._path[depth]]
        if may_stay and chosen is not current:
            self._left -= 1
        return chosen

    def advance(self) -> bool:
        """Turn to the next path; false if that was the last."""
        while self._path:
            if self._path[-1] + 1 < self._widths[-1]:
                self._path[-1] += 1
                return True
            self._path.pop()
            self._widths.pop()
        return False
