"""An order is run again, on a program built anew, and every step is noted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from rcu.operation import Operation
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Stuck
from rcu.schedule.stepwise import StepwiseScheduler
from rcu.schedule.task import Task
from scenarios.explorer.blocks import Step
from scenarios.explorer.program import (
    Finding,
    Program,
    Watch,
    finding_of,
    stuck_finding,
)


@attrs.frozen(kw_only=True)
class Retold:
    """A run.

    Attributes:
        steps: Those that were made.
        operations: What each of them did.
        waits: Whether it had a condition.
        finding: What showed; None if nothing did.
        stuck: Who waits for what, if nobody could go on and somebody had not ended.
        pending: The step that each of them cannot make.
        names: Of all tasks, by index.
    """

    steps: tuple[Step, ...]
    operations: tuple[Operation, ...]
    waits: tuple[bool, ...]
    finding: Finding | None
    stuck: tuple[Stuck, ...]
    pending: tuple[Operation, ...]
    names: tuple[str, ...]

    def others(self, task: int) -> list[int]:
        """Everybody but a task."""
        return [index for index in range(len(self.names)) if index != task]


async def retell(
    program: Program, pool: TaskPool, order: Sequence[int], *, further: int = 0
) -> Retold:
    """Run an order.

    Args:
        program: What is run.
        pool: Where its tasks run.
        order: Who makes each step, as task indexes; a step that cannot be made is left
            out.
        further: How many steps are made behind it: whoever made the last one goes on,
            and where he cannot, the first who can.
    """
    scheduler, watch = program.build(StepwiseScheduler)
    scheduler.borrowed(await pool.lend(scheduler))
    scheduler.begin()
    try:
        return _Retelling(scheduler, watch).run(order, further)
    finally:
        scheduler.abandon()
        scheduler.trace.drop()


class _Retelling:
    def __init__(self, scheduler: StepwiseScheduler, watch: Watch) -> None:
        self._scheduler = scheduler
        self._watch = watch
        self._steps: list[Step] = []
        self._operations: list[Operation] = []
        self._waits: list[bool] = []

    def run(self, order: Sequence[int], further: int) -> Retold:
        scheduler = self._scheduler
        finding: Finding | None = None
        for task in self._choices(order, further):
            self._make(task)
            finding = self._look()
            if finding is not None:
                break
        stuck: tuple[Stuck, ...] = ()
        if finding is None and not scheduler.ready():
            finding, stuck = self._at_end()
        return Retold(
            steps=tuple(self._steps),
            operations=tuple(self._operations),
            waits=tuple(self._waits),
            finding=finding,
            stuck=stuck,
            pending=tuple(self._pending(each) for each in stuck),
            names=tuple(task.name for task in scheduler.tasks),
        )

    def _choices(self, order: Sequence[int], further: int) -> Iterator[Task]:
        scheduler = self._scheduler
        for index in order:
            task = scheduler.tasks[index]
            if task in scheduler.ready():
                yield task
        for _ in range(further):
            ready = scheduler.ready()
            if not ready:
                return
            yield scheduler.current if scheduler.current in ready else ready[0]

    def _make(self, task: Task) -> None:
        scheduler = self._scheduler
        before = scheduler.current
        preempts = (
            bool(self._steps) and task is not before and before in scheduler.ready()
        )
        self._steps.append(Step(task.index, task.name, str(task.op), preempts))
        self._operations.append(task.op)
        self._waits.append(task.until is not None)
        scheduler.step(task)

    def _look(self) -> Finding | None:
        scheduler = self._scheduler
        if scheduler.failed is not None:
            return finding_of(scheduler.failed)
        scheduler.trace.flush()
        return self._watch.look()

    def _pending(self, stuck: Stuck) -> Operation:
        return next(t.op for t in self._scheduler.tasks if t.name == stuck.task)

    def _at_end(self) -> tuple[Finding | None, tuple[Stuck, ...]]:
        scheduler = self._scheduler
        scheduler.end()
        stuck = scheduler.report().stuck
        return (stuck_finding(stuck) if stuck else self._watch.at_end()), stuck
