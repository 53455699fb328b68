"""Somebody outside makes the steps, one by one, and may begin again at any time.

A search runs the same tasks thousands of times a second, along prefixes it knows and
one step further. So here a point decides nothing: it notes what comes next and yields
to the driver, and whether a task's step can be made is asked only where it matters.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from rcu.operation import Operation
from rcu.schedule.controlled import SWITCH
from rcu.schedule.report import Ending, Report
from rcu.schedule.scheduler import Abandoned, Scheduler
from rcu.schedule.task import Condition, Task


class BorrowedLane(Protocol):
    """What it knows of a lane of the pool; see `rcu.schedule.pool.Lane`."""

    busy: bool
    throw: Callable[[BaseException], object]
    task: Task | None


class StepwiseScheduler(Scheduler):
    """Its tasks go as far as they are stepped.

    The pool lends it its Trio tasks with `TaskPool.lend`; the calls are then `begin`,
    `step` as often as there is somebody to step, and `abandon`.
    """

    _lanes: Sequence[BorrowedLane] = ()

    def point(self, op: Operation, until: Condition | None = None) -> Awaitable[None]:
        """See `Scheduler.point`."""
        if self.abandoning:
            raise Abandoned
        task = self.current
        task.op = op
        task.until = until
        return SWITCH

    def borrowed(self, lanes: Sequence[BorrowedLane]) -> None:
        """Keep the lanes in which the bodies run."""
        self._lanes = lanes

    def begin(self) -> None:
        """Drive each task to its first point."""
        for task in self.tasks:
            self.current = task
            task.resume(None)
        self.steps = 0

    def ready(self) -> list[Task]:
        """The tasks whose next step can be made, by index."""
        return [
            task
            for task in self.tasks
            if not task.finished and (task.until is None or task.until())
        ]

    def step(self, task: Task) -> None:
        """Make the next step of ``task``; the caller knows that it can be made."""
        self.steps += 1
        self.current = task
        task.resume(None)

    def follow(self, order: Sequence[int]) -> None:
        """Make the steps of an order that can be made, as task indexes."""
        tasks = self.tasks
        for index in order:
            self.steps += 1
            task = self.current = tasks[index]
            task.resume(None)

    @property
    def failed(self) -> BaseException | None:
        """What a body has raised; the run is over then."""
        return self._error

    def body_ended(self, task: Task) -> None:
        """The body of the current task returned."""
        task.finished = True

    def body_failed(self, task: Task, error: BaseException) -> None:
        """The body of the current task raised: the run is over."""
        self._body_failed(task, error)

    def end(self) -> Ending:
        """Note how the run ended, where nobody can go on."""
        done = all(task.finished or task.daemon for task in self.tasks)
        ending = Ending.COMPLETED if done else Ending.DEADLOCK
        self._note_ending(ending)
        return ending

    def abandon(self) -> None:
        """Unwind every body that has begun and not ended."""
        self.abandoning = True
        for lane in self._lanes:
            if lane.busy and lane.task is not None:
                self.current = lane.task
                lane.throw(Abandoned())
        self.current = self.nobody

    def report(self) -> Report:
        """Say how the run ended.

        Raises:
            SimulatorBug, BaseException: A body raised what is not a finding.
        """
        return self._report()
