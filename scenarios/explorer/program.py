"""What is searched: tasks that can be begun again and again, and who watches them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import attrs

from memslots.indexes.errors import StructureBroken
from rcu.errors import RuleBroken
from rcu.schedule.report import Ending, Stuck
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.stepwise import StepwiseScheduler
from scenarios.explorer.heap import Heap

SchedulerT = TypeVar("SchedulerT", bound=Scheduler)


@attrs.frozen
class Finding:
    """Something that must not be, and where in a run it showed.

    Attributes:
        checker: Id of the rule that was broken.
        seen: What was seen.
        why: The rule, in a sentence.
    """

    checker: str
    seen: str
    why: str = ""


class Watch:
    """Looks on while a run is made; by default it sees nothing."""

    def state(self) -> Sequence[object]:
        """Where what it remembers is kept."""
        return (self,)

    def begin_step(self) -> None:
        """The steps that were made so far are no part of what `touched` says."""

    def touched(self) -> tuple[Collection[str], Collection[str]]:
        """What the last step has read and written, in the eyes of who watches."""
        return (), ()

    def look(self) -> Finding | None:
        """What is broken after the last step; None if nothing is."""

    def at_end(self) -> Finding | None:
        """What is broken when every task has ended."""


class Program(ABC):
    """Builds the tasks of one run.

    Attributes:
        name: What it is called.
        digest: Changes when it changes, or the model does.
        interchangeable: Whether tasks with the same body may stand for each other: no
            state tells them apart but by the tasks themselves.
        without: Checkers whose findings end a run and count for nothing; only
            ``bounded`` and the samplers ask.
    """

    name: str
    digest: str = ""
    interchangeable: bool = False
    without: Collection[str] = ()

    @abstractmethod
    def build(self, make: Callable[..., SchedulerT]) -> tuple[SchedulerT, Watch]:
        """Make a scheduler, add the tasks to it, and say who watches.

        Args:
            make: Makes the scheduler; takes a trace, ``cpus`` and ``budget``.
        """


class Instance:
    """A program that was built, to be begun as often as wanted.

    Args:
        program: What is built.

    Raises:
        CannotTellError: It has state that cannot be put back.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.scheduler, self.watch = program.build(StepwiseScheduler)
        self.scheduler.trace.flush()
        bodies = [task.body for task in self.scheduler.tasks]
        self.heap = Heap(bodies, self.watch.state())
        self._running = False

    def begin(self, *, told: bool = False) -> None:
        """Begin a run: every task stands at its first point.

        Args:
            told: Whether the state in which the last run ended was told.
        """
        scheduler = self.scheduler
        if self._running:
            scheduler.abandon()
            scheduler.trace.drop()
            scheduler.reset()
            self.heap.restore(told=told)
        self._running = True
        scheduler.begin()

    def follow(self, order: Sequence[int]) -> None:
        """Make the steps of an order that is known, from the beginning."""
        self.scheduler.follow(order)
        self.scheduler.trace.flush()

    def close(self) -> None:
        """Unwind what runs."""
        if self._running:
            self.scheduler.abandon()
            self.scheduler.trace.drop()

    def look(self) -> Finding | None:
        """What is broken after the last step."""
        scheduler = self.scheduler
        error = scheduler.failed
        if error is not None:
            return finding_of(error)
        if scheduler.tracing:
            self.watch.begin_step()
            scheduler.trace.flush()
            return self.watch.look()
        return None

    def at_end(self) -> Finding | None:
        """What is broken where nobody can go on."""
        scheduler = self.scheduler
        if scheduler.end() is Ending.DEADLOCK:
            return stuck_finding(scheduler.report().stuck)
        return self.watch.at_end()


def finding_of(error: BaseException) -> Finding:
    """What an error of a body means.

    Raises:
        BaseException: It is no finding.
    """
    if isinstance(error, RuleBroken):
        seen = f"{type(error).__name__}: {error}"
        return Finding(error.checker, seen, error.why)
    if isinstance(error, StructureBroken):
        return Finding("sets-converge", f"{type(error).__name__}: {error}")
    if isinstance(error, AssertionError):
        return Finding("assertion", str(error) or "an assertion failed")
    raise error


def stuck_finding(stuck: tuple[Stuck, ...]) -> Finding:
    """What it means that these tasks wait, and nobody can go on."""
    seen = "; ".join(map(str, stuck))
    if any(one.held_by or one.sections for one in stuck):
        return Finding("deadlock", seen, "no task waits for what cannot come")
    return Finding("lost-wakeup", seen, "whoever waits can be woken by who is left")
