"""Many orders of one program, each drawn from a seed.

The tasks are built once and begun over and over; what a run has changed is put back. As
nothing but the strategy is asked between two steps, a run of a small program costs some
tens of microseconds.
"""

from __future__ import annotations

from array import array
from bisect import insort
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any

from rcu.operation import Location, Operation
from rcu.reclaim import Reclaimable
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.stepwise import StepwiseScheduler
from rcu.schedule.task import Task
from scenarios.explorer.heap import Heap
from scenarios.explorer.program import Finding, Program, finding_of, stuck_finding
from scenarios.explorer.shapes import Shape, shape_of
from scenarios.strategies.sampler import Sampler

LONGEST = 32
"""Bytes of an order that is kept as it is."""

_index, _is_finished = attrgetter("index"), attrgetter("finished")


class SampleSearch:
    """Runs a program in the orders that a strategy draws.

    The order of a seed is the one that a `ControlledScheduler` makes of it.

    Args:
        program: What is run.
        pool: Lends the Trio tasks, to nobody else before the search is over.
        strategy: Draws the orders; it has learnt what it has to.
        seeds: One for each run.
        count_traces: Whether to count the orders that differ in more than the exchange
            of independent neighbours; an order costs twice as much then.

    Attributes:
        executions: How many runs were made.
        steps: How many steps were made in them.
        failures: How many runs showed something.
        stopped: How many runs were stopped because the program's budget was used up.
        found: What they showed, each finding with the first order that shows it.
        orders: The orders made, each in a few bytes; searches in several processes
            unite theirs.
        traces: Likewise those that differ in more than the exchange of independent
            neighbours, if they are counted.

    Raises:
        CannotTellError: The program has state that cannot be put back.
    """

    def __init__(
        self,
        program: Program,
        pool: TaskPool,
        strategy: Sampler,
        seeds: Iterable[int],
        *,
        count_traces: bool = False,
    ) -> None:
        self._without = program.without
        self.scheduler, self.watch = program.build(_Driven)
        self.scheduler.trace.flush()
        bodies = [task.body for task in self.scheduler.tasks]
        heap = Heap(bodies, self.watch.state())
        self.executions = 0
        self.steps = 0
        self.failures = 0
        self.stopped = 0
        self.found: list[tuple[Finding, tuple[int, ...]]] = []
        self.orders: set[bytes] = set()
        self.traces: set[bytes] = set()
        self._undo = Undo(each.thing for each in heap._objects)  # noqa: SLF001
        self._pool = pool
        self._strategy = strategy
        self._seeds = iter(seeds)
        self._count_traces = count_traces
        self._known: set[Finding] = set()
        self._who: list[Task] = []
        self._what: list[Operation] = []

    @property
    def distinct(self) -> int:
        """How many orders were made."""
        return len(self.orders)

    @property
    def distinct_traces(self) -> int | None:
        """How many of them differ in more than the exchange of independent steps."""
        return len(self.traces) if self._count_traces else None

    async def begin(self) -> None:
        """Borrow the Trio tasks."""
        self.scheduler.borrowed(await self._pool.lend(self.scheduler))

    def advance(self, budget: int) -> bool:
        """Make runs until ``budget`` steps were made; false after the last seed.

        Raises:
            BaseException: A body has raised what is no finding.
        """
        limit = self.steps + budget
        for seed in self._seeds:
            self._strategy.reseed(seed)
            try:
                self._run()
                finding = self._look()
            finally:
                self._wind_down()
            self._note(finding)
            if self.steps >= limit:
                return True
        return False

    def _run(self) -> None:
        """Make one run."""
        scheduler, strategy = self.scheduler, self._strategy
        who, what, count_traces = self._who, self._what, self._count_traces
        who.clear()
        what.clear()
        scheduler.begin()
        strategy.begin(scheduler.tasks)
        pick, task = strategy.pick, scheduler.nobody
        ready = scheduler.ready()
        waiting = [task for task in scheduler.tasks if task.until is not None]
        for step in range(1, scheduler.budget + 1):
            if not ready:
                break
            scheduler.steps = step
            task = scheduler.current = pick(task, ready)
            op = task.op
            who.append(task)
            if count_traces:
                what.append(op)
            if task.until is not None:
                waiting.remove(task)
            task.resume(None)
            if task.finished:
                if scheduler.failed is not None:
                    break
                ready.remove(task)
            elif task.until is not None:
                waiting.append(task)
                if not task.until():
                    ready.remove(task)
            if waiting and op.changes:
                _ask_again(waiting, ready)

    def _look(self) -> Finding | None:
        """What the run has shown."""
        scheduler = self.scheduler
        if scheduler.failed is not None:
            return finding_of(scheduler.failed)
        if scheduler.tracing:
            scheduler.trace.flush()
            finding = self.watch.look()
            if finding is not None:
                return finding
        if all(map(_is_finished, scheduler.tasks)):
            return self.watch.at_end()
        if scheduler.ready():
            self.stopped += 1
            return None
        if scheduler.end() is Ending.DEADLOCK:
            return stuck_finding(scheduler.report().stuck)
        return self.watch.at_end()

    def _wind_down(self) -> None:
        """Unwind what runs, and put everything back."""
        scheduler = self.scheduler
        scheduler.abandon()
        scheduler.trace.drop()
        scheduler.reset()
        self._undo()

    def _note(self, finding: Finding | None) -> None:
        """Count the run."""
        self.executions += 1
        self.steps += len(self._who)
        order = bytes(map(_index, self._who))
        self.orders.add(_short(order))
        if self._count_traces:
            self.traces.add(_short(trace_of(self._who, self._what)))
        if finding is not None and finding.checker not in self._without:
            self.failures += 1
            if finding not in self._known:
                self._known.add(finding)
                self.found.append((finding, tuple(order)))


def _ask_again(waiting: list[Task], ready: list[Task]) -> None:
    """Find out who of those that wait can go on after a step that wrote."""
    for task in waiting:
        if task.until is None or task.until():
            if task not in ready:
                insort(ready, task, key=_index)
        elif task in ready:
            ready.remove(task)


class _Driven(StepwiseScheduler):
    """A task that has failed makes no further step."""

    def body_failed(self, task: Task, error: BaseException) -> None:
        """See `StepwiseScheduler.body_failed`."""
        super().body_failed(task, error)
        task.finished = True


def _short(text: bytes) -> bytes:
    """The text if it is short, else a digest of it."""
    return text if len(text) <= LONGEST else blake2b(text, digest_size=LONGEST).digest()


def trace_of(who: Sequence[Task], what: Sequence[Operation]) -> bytes:
    """The same for orders that differ in the exchange of independent neighbours only.

    Each step comes as early as the steps that it depends on allow; steps that then come
    at the same time are told by task. (Foata's normal form.)

    Args:
        who: Task of each step.
        what: Operation of each step.
    """
    of_task: dict[Task, int] = {}
    read: dict[Location, int] = {}
    written: dict[Location, int] = {}
    times = array("I")
    for task, op in zip(who, what, strict=True):
        time = of_task.get(task, 0)
        for location in op.reads:
            time = max(time, written.get(location, 0))
        for location in op.writes:
            time = max(time, written.get(location, 0), read.get(location, 0))
        time = of_task[task] = time + 1
        for location in op.reads:
            read[location] = max(time, read.get(location, 0))
        for location in op.writes:
            written[location] = time
        times.append(time << 8 | task.index)
    return array("I", sorted(times)).tobytes()


class Undo:
    """Puts objects back as they were when it was made, whatever has changed.

    Args:
        things: Mutable objects, all that a run can reach.
    """

    def __init__(self, things: Iterable[Any]) -> None:
        self._attributes: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._others: list[tuple[Any, type, Shape, list[Any]]] = []
        for thing in things:
            kind, shape = type(thing), shape_of(type(thing))
            if kind is list:
                self._lists.append((thing, thing[:]))
            elif shape.only_attributes and not issubclass(kind, Reclaimable):
                attributes = object.__getattribute__(thing, "__dict__")
                self._attributes.append((attributes, attributes.copy()))
            else:
                self._others.append((thing, kind, shape, shape.read(thing)))

    def __call__(self) -> None:
        """Put them back."""
        for attributes, saved in self._attributes:
            attributes.clear()
            attributes.update(saved)
        for things, content in self._lists:
            things[:] = content
        for thing, kind, shape, content in self._others:
            if type(thing) is not kind:
                object.__setattr__(thing, "__class__", kind)
            shape.write(thing, content)
