"""A strategy decides at each point who goes next.

Between two points exactly one task runs, driven as a bare coroutine by the pool. A
point decides at once: it returns `STAY` if the strategy stays with the task, and else
hands over by yielding to the driver, which resumes `Scheduler.current`.

The cost of a point is the cost of everything, hence the shape: one call, no coroutine
of its own, conditions asked again only after a step that wrote.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Iterator
from operator import attrgetter

from rcu.operation import Operation
from rcu.schedule.report import Ending, Report
from rcu.schedule.scheduler import Abandoned, Scheduler
from rcu.schedule.task import Condition, Strategy, Task
from rcu.trace import Trace

BREATH = 20_000
"""Steps after which the driver gets a turn although nobody has to wait."""


class _Stay:
    """Awaiting it does not yield."""

    __slots__ = ()
    __await__ = staticmethod(functools.partial(iter, ()))


class _Switch:
    """Awaiting it yields once, to the driver; a C iterator, hence no frame."""

    __slots__ = ()
    __await__ = staticmethod(functools.partial(iter, (None,)))


STAY: Awaitable[None] = _Stay()
SWITCH: Awaitable[None] = _Switch()

_by_index = attrgetter("index")


class ControlledScheduler(Scheduler):
    """Runs the tasks in the order that a strategy chooses.

    Args:
        strategy: Chooses who goes next.
        trace: Where events go; by default nowhere.
        cpus: Number of processors.
        budget: Steps after which the run is stopped.
    """

    def __init__(
        self,
        strategy: Strategy,
        trace: Trace | None = None,
        *,
        cpus: int = 2,
        budget: int = 10_000_000,
    ) -> None:
        super().__init__(trace, cpus=cpus, budget=budget)
        self.strategy = strategy
        self._ready: list[Task] = []
        self._waiting: list[Task] = []
        self._pick = self._pick_nobody
        self._patience = 0  # points at which the strategy need not be asked
        self._patience_end = 0  # at this step it must be
        self._dice: list[Iterator[int]] | None = None  # instead of _pick
        self._horizon = 0  # below this step nothing needs to be decided
        self._pause = 0  # at this step the driver gets a turn
        self._chosen: Task | None = None  # who goes on after that turn

    def point(  # noqa: C901 - one call, see above
        self, op: Operation, until: Condition | None = None
    ) -> Awaitable[None]:
        """See `Scheduler.point`."""
        steps = self.steps = self.steps + 1
        if steps < self._horizon and until is None:
            return STAY
        task = self.current
        if until is None:
            if self._waiting:
                self._step_ended(task)
            task.op = op
        else:
            self._step_ended(task)
            task.op = op
            if not self._wait(task, until):
                return self._nobody_ready()
        if steps >= self._pause:
            return self._take_breath(task)
        dice = self._dice
        if dice is not None:
            ready = self._ready
            chosen = ready[next(dice[len(ready)])]
        else:
            try:
                chosen = self._pick(task, self._ready)
            except Exception as error:  # noqa: BLE001 - not the body's fault
                return self._strategy_failed(error)
        if self._waiting and chosen.until is not None:
            chosen.until = None
            self._waiting.remove(chosen)
        record = self.record
        if record is not None:
            record += (chosen, chosen.op)
        if chosen is task:
            return STAY
        self.current = chosen
        return SWITCH

    def _step_ended(self, task: Task) -> None:
        """Ask again what others wait for, if the last steps can have changed it."""
        if task.op.changes or self._patience:
            self._ask_again()

    def _wait(self, task: Task, until: Condition) -> bool:
        """Let ``task`` wait; false if nobody can go on."""
        if self.abandoning:
            raise Abandoned
        task.until = until
        self._waiting.append(task)
        if not until():
            self._ready.remove(task)
        return bool(self._ready)

    def _ask_again(self) -> None:
        """Find out whose condition holds after a step that wrote."""
        ready = self._ready
        grew = False
        for task in self._waiting:
            holds = task.until is None or task.until()
            if holds is not (task in ready):
                if holds:
                    ready.append(task)
                    grew = True
                else:
                    ready.remove(task)
        if grew:
            ready.sort(key=_by_index)

    def _nobody_ready(self) -> Awaitable[None]:
        self.steps -= 1
        done = all(task.finished or task.daemon for task in self.tasks)
        self._stop(Ending.COMPLETED if done else Ending.DEADLOCK)
        return SWITCH

    def _take_breath(self, task: Task) -> Awaitable[None]:
        """Give the driver a turn before somebody goes on, unless it is time to stop."""
        circle = self._circle()
        if circle or self.steps > self.budget:
            self.steps -= 1  # the next step is not made
            self._note_ending(Ending.DEADLOCK if circle else Ending.BUDGET, circle)
            self.current = self.nobody
            return SWITCH
        self._plan_breath()
        self._choose(task)
        if self._error is None:
            self._chosen, self.current = self.current, self.nobody
        return SWITCH

    def _plan_breath(self) -> None:
        self._pause = min(self.steps + BREATH, self.budget + 1)
        self._plan_horizon()

    def _plan_horizon(self) -> None:
        """Until when nothing needs to be decided, or kept."""
        patient = self.record is None
        self._horizon = min(self._patience_end, self._pause) if patient else 0

    def _stop(self, ending: Ending) -> None:
        self._note_ending(ending)
        self.current = self.nobody

    def _strategy_failed(self, error: Exception) -> Awaitable[None]:
        """The step was not chosen: the run is over and `report` raises."""
        self.steps -= 1
        self._error = error
        self._stop(Ending.INTERRUPTED)
        return SWITCH

    def _pick_nobody(self, current: Task, ready: list[Task]) -> Task:
        """Stop each task at its first point, so that the first step is a choice."""
        return self.nobody

    def _pick_patiently(self, current: Task, ready: list[Task]) -> Task:
        """Ask the strategy, unless it only comes here for the record or a pause."""
        steps = self.steps
        can_stay = current.until is None and not current.finished
        if can_stay and steps < self._patience_end:
            return current
        self._patience_end = steps + 1 + self._patience
        self._plan_horizon()
        return self.strategy.pick(current, ready)

    # What the pool calls, in this order.

    def begin(self) -> Iterator[Task]:
        """Yield each task to be driven to its first point, then make the first choice.

        The first choice is made before the generator ends.
        """
        self._ready = self.tasks[:]
        self._waiting = []
        self._pick = self._pick_nobody
        self._dice = None
        self._patience = self._patience_end = self._horizon = 0
        self._pause = 2  # each first point is step 1
        self._ending = self._chosen = None
        for task in self.tasks:
            self.current = task
            self.steps = 0
            yield task
            if self.record is not None:
                self.record.clear()  # to stand at the first point is no step
            if self._error is not None:
                return
        self.steps = 0
        self._plan_breath()
        strategy = self.strategy
        strategy.begin(self.tasks)
        self._patience = strategy.patience
        self._pick = self._pick_patiently if self._patience else strategy.pick
        self._dice = getattr(strategy, "dice", None)
        self._hand_over(self.nobody)

    def body_ended(self, task: Task) -> None:
        """The body of the current task returned: somebody else goes on."""
        task.finished = True
        self._ready.remove(task)
        if not self.steps:  # it had no point at all
            self.current = self.nobody
            return
        if self._waiting:
            self._step_ended(task)
        self._hand_over(task)

    def body_failed(self, task: Task, error: BaseException) -> None:
        """The body of the current task raised: the run is over."""
        self._body_failed(task, error)
        self.current = self.nobody

    def _hand_over(self, task: Task) -> None:
        """Let somebody make the next step now that ``task`` cannot."""
        self.steps += 1
        if not self._ready:
            self._nobody_ready()
        elif self.steps >= self._pause:
            self._take_breath(task)
        else:
            self._choose(task)

    def _choose(self, task: Task) -> None:
        """Choose who makes the next step."""
        try:
            chosen = self._pick(task, self._ready)
        except Exception as error:  # noqa: BLE001 - raised where the run was started
            self._strategy_failed(error)
            return
        if chosen.until is not None:
            chosen.until = None
            self._waiting.remove(chosen)
        if self.record is not None:
            self.record += (chosen, chosen.op)
        self.current = chosen

    def take_turn(self) -> bool:
        """Go on after a pause; false if the run is over."""
        if self._chosen is None:
            return False
        self.current, self._chosen = self._chosen, None
        return True

    def abandon(self) -> None:
        """From now on every point raises `Abandoned`."""
        self.abandoning = True
        self._horizon = 0
        self._pause = sys.maxsize  # a body that yielded now would stay where it is
        self._dice = None
        self._pick = self._pick_abandoned

    def _pick_abandoned(self, current: Task, ready: list[Task]) -> Task:
        raise Abandoned

    def report(self) -> Report:
        """Say how the run ended.

        Raises:
            SimulatorBug, BaseException: A body raised what is not a finding.
            Exception: The strategy raised it.
        """
        return self._report()
