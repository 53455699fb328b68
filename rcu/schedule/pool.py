"""The Trio tasks that a controlled run borrows, and the driver between them.

Parking a task and waking another through Trio's run loop costs twenty times a bare
coroutine switch. So each lane of the pool is a real Trio task that has stepped out of
the run loop with Trio's public `temporarily_detach_coroutine_object`; the driver sends
into their coroutines itself, and they step back in when the pool closes. Opening them
is paid once, whatever the number of runs.

While a body is detached it may await schedule points only; Trio's own locks, sleeps
and cancel scopes would corrupt the task.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.lowlevel import (
    Abort,
    checkpoint,
    current_task,
    reattach_detached_coroutine_object,
    reschedule,
    temporarily_detach_coroutine_object,
    wait_task_rescheduled,
)

from rcu.schedule.controlled import SWITCH, ControlledScheduler
from rcu.schedule.report import Report
from rcu.schedule.scheduler import Abandoned
from rcu.schedule.stepwise import StepwiseScheduler
from rcu.schedule.task import Task


class Lane:
    """A detached Trio task that runs one body after the other.

    Attributes:
        busy: Whether a body has begun and not ended.
        resume: Sends into the coroutine of the Trio task.
        throw: Throws into it.
        scheduler: Whose body it runs.
        task: The simulated task whose body it runs; None tells it to step back.
    """

    __slots__ = ("busy", "resume", "scheduler", "task", "throw")

    def __init__(self) -> None:
        self.busy = False
        self.resume: Callable[[Any], object]
        self.throw: Callable[[BaseException], object]
        self.scheduler: ControlledScheduler | StepwiseScheduler | None = None
        self.task: Task | None = None

    async def run(self, opener: trio.lowlevel.Task) -> None:
        """Step out of Trio, run bodies, step back in.

        Args:
            opener: Who waits until it has stepped out.
        """
        trio_task = current_task()
        self.resume = trio_task.coro.send
        self.throw = trio_task.coro.throw
        reschedule(opener)  # it runs after the next line
        await temporarily_detach_coroutine_object(_stay_detached)
        try:
            while self.scheduler is not None and self.task is not None:
                self.busy = True
                try:
                    await self.task.body()
                    # An interrupt in here must not end the lane either.
                    if not self.scheduler.abandoning:
                        self.scheduler.body_ended(self.task)
                except Abandoned:
                    pass
                except BaseException as error:  # noqa: BLE001 - the driver raises it
                    self.scheduler.body_failed(self.task, error)
                self.busy = False
                await SWITCH
        finally:
            await reattach_detached_coroutine_object(trio_task, None)


def _stay_detached(raise_cancel: object) -> Abort:
    """Cancellation reaches the driver; it winds the lanes down itself."""
    return Abort.FAILED


class TaskPool:
    """Lanes, kept from one run to the next. Made by `open_pool`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._lanes: list[Lane] = []
        self._steps_until_checkpoint = 0

    async def run(self, scheduler: ControlledScheduler) -> Report:
        """Run the tasks of ``scheduler`` to the end of the run.

        Args:
            scheduler: A scheduler with its tasks added; may be run again after
                `Scheduler.reset`.

        Returns:
            How the run ended; a body that raised is reported, not raised.

        Raises:
            SimulatorBug: A body found a bug of ours.
            Exception: The strategy raised it; a replay that diverged, for one.
            trio.Cancelled, KeyboardInterrupt: From outside; every body has been
                unwound and the trace flushed before it goes on.

        Cost: Two microseconds a task, and its steps.
        """
        await self.lend(scheduler)
        try:
            for task in scheduler.begin():
                task.resume(None)
            nobody = scheduler.nobody
            while True:
                while (task := scheduler.current) is not nobody:
                    task.resume(None)
                if not scheduler.take_turn():
                    break
                scheduler.trace.flush()
                await checkpoint()
            self._steps_until_checkpoint -= scheduler.steps + 10
            if self._steps_until_checkpoint < 0:
                self._steps_until_checkpoint = _CHECKPOINT_EVERY
                await checkpoint()
        finally:
            self._wind_down(scheduler)
            scheduler.trace.flush()
        return scheduler.report()

    async def lend(
        self, scheduler: ControlledScheduler | StepwiseScheduler
    ) -> Sequence[Lane]:
        """Bind the scheduler's tasks to lanes, opening more of them if need be."""
        while len(self._lanes) < len(scheduler.tasks):
            lane = Lane()
            self._nursery.start_soon(lane.run, current_task())
            # Neither a cancellation nor Ctrl-C may come between; a nursery's start
            # would wait for ever for the end of a lane that nobody can reach.
            await wait_task_rescheduled(_stay_detached)
            self._lanes.append(lane)
        for task, lane in zip(scheduler.tasks, self._lanes, strict=False):
            if lane.task is not task:
                task.resume = lane.resume
                lane.scheduler = scheduler
                lane.task = task
        return self._lanes[: len(scheduler.tasks)]

    def _wind_down(self, scheduler: ControlledScheduler) -> None:
        """Unwind every body that has begun and not ended."""
        scheduler.abandon()
        for task, lane in zip(scheduler.tasks, self._lanes, strict=False):
            if lane.busy:
                scheduler.current = task
                lane.throw(Abandoned())
        scheduler.current = scheduler.nobody

    def close(self) -> None:
        """Let every lane step back into Trio and end."""
        for lane in self._lanes:
            lane.task = None
            lane.resume(None)


_CHECKPOINT_EVERY = 20_000
"""Steps between two Trio checkpoints when runs are short."""


@asynccontextmanager
async def open_pool() -> AsyncIterator[TaskPool]:
    """Open a pool of Trio tasks for controlled runs, and close it at the end."""
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        pool = TaskPool(nursery)
        try:
            yield pool
        except BaseException as error:  # noqa: BLE001 - the nursery would wrap it
            failure = error
        finally:
            pool.close()
            nursery.cancel_scope.shield = True  # the lanes end at once
    if failure is not None:
        raise failure
