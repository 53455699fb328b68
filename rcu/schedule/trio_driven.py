"""Trio decides: a point is a Trio checkpoint, and waiting parks in Trio.

For soak runs, demonstrations, and for cancellation and timeouts as Trio has them. The
order that came about is kept like in a controlled run, so it can be replayed there.
"""

from __future__ import annotations

from collections.abc import Awaitable

import trio
from trio.lowlevel import (
    Abort,
    checkpoint,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from rcu.operation import Operation
from rcu.schedule.report import Ending, Report
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Condition, Task

FLUSH_EVERY = 1_000
"""Steps after which the trace is handed on."""


class TrioScheduler(Scheduler):
    """Runs the tasks as Trio schedules them."""

    _parked: dict[Task, trio.lowlevel.Task]
    _running: int
    _gate: trio.Event
    _at_first_point: trio.Event
    _nursery: trio.Nursery

    def point(self, op: Operation, until: Condition | None = None) -> Awaitable[None]:
        """See `Scheduler.point`."""
        return self._point(op, until)

    async def _point(self, op: Operation, until: Condition | None) -> None:
        task = self.current
        self._unpark()
        task.op = op
        task.until = until
        self.current = self.nobody
        try:
            await self._pause(task, until)
        except BaseException:
            self.current = task  # it unwinds as itself
            raise
        self.steps += 1
        self.current = task
        if self.record is not None:
            self.record += (task, op)
        if self.steps % FLUSH_EVERY == 0:
            self.trace.flush()

    async def _pause(self, task: Task, until: Condition | None) -> None:
        """Let Trio run others until ``task`` may make its step."""
        if not self._gate.is_set():
            self._at_first_point.set()
            await self._gate.wait()
        await checkpoint()
        while until is not None and not until():
            await self._park(task)
        task.until = None
        if self.steps >= self.budget:
            await self._stop(Ending.BUDGET)
        if self.steps % FLUSH_EVERY == FLUSH_EVERY - 1 and self._circle():
            await self._stop(Ending.DEADLOCK)
        if self._ending is not None:  # it was woken before the run was over
            await checkpoint()

    def _unpark(self) -> None:
        """Wake whose condition holds after the step that just ended."""
        for task, trio_task in list(self._parked.items()):
            if task.until is None or task.until():
                del self._parked[task]
                self._running += 1
                reschedule(trio_task)

    async def _park(self, task: Task) -> None:
        self._running -= 1
        self._parked[task] = current_task()
        if not self._running:
            self._nobody_runs()

        def abort(raise_cancel: object) -> Abort:
            self._parked.pop(task, None)
            self._running += 1
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def _nobody_runs(self) -> None:
        if self._ending is None:
            left = [task for task in self.tasks if not (task.finished or task.daemon)]
            self._note_ending(Ending.DEADLOCK if left else Ending.COMPLETED)
            self._nursery.cancel_scope.cancel()

    async def _stop(self, ending: Ending) -> None:
        if self._ending is None:
            circle = self._circle()
            self._note_ending(Ending.DEADLOCK if circle else ending, circle)
        self._nursery.cancel_scope.cancel()
        await checkpoint()

    async def _run_body(self, task: Task) -> None:
        self.current = task
        try:
            await task.body()
            task.finished = True
            self._unpark()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - see `run`
            self._body_failed(task, error)
            self._nursery.cancel_scope.cancel()
        finally:
            self.current = self.nobody
            self._at_first_point.set()
            self._running -= 1
            if not self._running:
                self._nobody_runs()

    async def run(self) -> Report:
        """Run the tasks to the end of the run.

        Returns:
            How the run ended; a body that raised is reported, not raised.

        Raises:
            SimulatorBug: A body found a bug of ours.
            trio.Cancelled, KeyboardInterrupt: From outside; the trace is flushed.

        Cost: Three microseconds a step.
        """
        self._parked = {}
        self._running = len(self.tasks)
        self._ending = None
        self._gate = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for task in self.tasks:
                    self._at_first_point = trio.Event()
                    nursery.start_soon(self._run_body, task, name=task.name)
                    await self._at_first_point.wait()
                self._gate.set()
        finally:
            self.trace.flush()
        return self._report()
