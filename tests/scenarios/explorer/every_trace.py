"""Programs of a few steps that wait in many ways; all their traces, by brute force.

Brute force makes every order of steps on the real tasks, and compares what happened
before what in each. It knows operations and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import attrs
from hypothesis import strategies as st

from rcu.locks import Mutex, RwLock
from rcu.operation import Location, Operation
from rcu.schedule.scheduler import Scheduler
from scenarios.explorer.dpor import TraceSearch
from scenarios.explorer.program import Finding, Instance, Program, SchedulerT, Watch

VALUES = range(3)

Clock = tuple[int, ...]
"""How many steps of each task happen before a step, that step included."""

Trace = frozenset[tuple[int, Clock]]
"""Who makes each step, and when; orders of the same trace have the same ones."""


class Action(NamedTuple):
    """What a task does in one step.

    To a value: ``read`` it into the task's local, ``write`` a constant, ``store`` the
    local plus a constant, ``add`` a constant, ``forbid`` a constant, ``check`` that it
    is the local, ``copy`` it to ``other``. Wait until it is ``zero``, ``nonzero``, the
    same (``equal``) as ``other``, not the local any more (``changed``), or zero, to
    ``take`` it, or to take it while ``other`` is zero too (``take_both``). Locks:
    ``lock``, ``unlock`` a mutex, ``share``, ``own``, ``leave`` a reader-writer lock.
    ``skip`` the next action if the local is not zero: that is no step.
    """

    verb: str
    place: int = 0
    other: int = 0


Actions = tuple[Action, ...]


class Waits(Program):
    """Runs tasks that are given as data.

    Args:
        tasks: What each does.
        daemons: How many of the last ones are daemons.
    """

    name = "waits"

    def __init__(self, tasks: Sequence[Actions], daemons: int = 0) -> None:
        self.tasks = tasks
        self.daemons = daemons

    def __repr__(self) -> str:
        told = (
            " ".join(f"{verb}{place}{other}" for verb, place, other in actions)
            for actions in self.tasks
        )
        return f"program({', '.join(map(repr, told))}, daemons={self.daemons})"

    def build(self, make: Callable[..., SchedulerT]) -> tuple[SchedulerT, Watch]:
        scheduler = make(cpus=1)
        shared = Shared(scheduler)
        for index, actions in enumerate(self.tasks):
            scheduler.task(
                f"task{index}",
                partial(shared.act, actions),
                daemon=index >= len(self.tasks) - self.daemons,
            )
        return scheduler, Watch()


def program(*tasks: str, daemons: int = 0) -> Waits:
    """A program as text: ``verb``, place and other place, as in ``read0 copy01``."""
    return Waits([tuple(map(action, task.split())) for task in tasks], daemons)


def action(word: str) -> Action:
    verb = word.rstrip("0123456789")
    numbers = word[len(verb) :] + "00"
    return Action(verb, int(numbers[0]), int(numbers[1]))


class Shared:
    """The shared objects, and the body of every task."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.values = [0 for _ in VALUES]
        self.at = [Location(f"value {place}") for place in VALUES]
        self.mutexes = [Mutex(scheduler, f"mutex {place}") for place in VALUES]
        self.rwlock = RwLock(scheduler, "rwlock")

    def is_zero(self, place: int) -> bool:
        return self.values[place] == 0

    def is_not(self, place: int, value: int) -> bool:
        return self.values[place] != value

    def are_equal(self, one: int, other: int) -> bool:
        return self.values[one] == self.values[other]

    def are_zero(self, one: int, other: int) -> bool:
        return self.is_zero(one) and self.is_zero(other)

    async def act(self, actions: Actions) -> None:  # noqa: C901, PLR0912, PLR0915
        values, point = self.values, self.point
        local, skip = 0, False
        for verb, place, other in actions:
            if skip:
                skip = False
                continue
            here = self.at[place]
            match verb:
                case "read":
                    await point(here.read)
                    local = values[place]
                case "write":
                    await point(here.write)
                    values[place] = other
                case "store":
                    await point(here.write)
                    values[place] = local + other
                case "add":
                    await point(here.write)
                    values[place] += 1
                case "sub":
                    await point(here.write)
                    values[place] -= 1
                case "forbid":
                    await point(here.read)
                    assert values[place] != other, f"value {place} is {other}"
                case "check":
                    await point(here.read)
                    assert values[place] == local, f"value {place} was {local}"
                case "copy":
                    there = self.at[other]
                    await point(Operation("copy", reads=(here,), writes=(there,)))
                    values[other] = values[place]
                case "zero":
                    await point(here.read, partial(self.is_zero, place))
                case "nonzero":
                    await point(here.read, partial(self.is_not, place, 0))
                case "changed":
                    await point(here.read, partial(self.is_not, place, local))
                    local = values[place]
                case "equal":
                    await point(
                        Operation("compare", reads=(here, self.at[other])),
                        partial(self.are_equal, place, other),
                    )
                case "take":
                    await point(here.write, partial(self.is_zero, place))
                    values[place] = 1
                case "take_both":
                    await point(
                        Operation("take", reads=(self.at[other],), writes=(here,)),
                        partial(self.are_zero, place, other),
                    )
                    values[place] = 1
                case "lock":
                    await self.mutexes[place].acquire()
                case "unlock":
                    await self.mutexes[place].release()
                case "share":
                    await self.rwlock.acquire_read()
                case "own":
                    await self.rwlock.acquire_write()
                case "leave":
                    await self.rwlock.release()
                case "skip":
                    skip = local != 0


@attrs.frozen
class Known:
    """What there is to be found out.

    Attributes:
        traces: Of all orders that come to their end. A task that breaks a rule ends.
        findings: What breaks a rule before any other rule is broken.
    """

    traces: frozenset[Trace]
    findings: frozenset[Finding]


class Order:
    """One order of steps, made on the real tasks."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._ended: set[int] = set()
        self._made: list[tuple[int, Operation]] = []
        self.finding: Finding | None = None
        instance.begin()

    def ready(self) -> list[int]:
        ready = (task.index for task in self._instance.scheduler.ready())
        return [index for index in ready if index not in self._ended]

    def step(self, index: int) -> None:
        scheduler = self._instance.scheduler
        task = scheduler.tasks[index]
        self._made.append((index, task.op))
        scheduler.step(task)
        if not task.finished and not scheduler._lanes[index].busy:
            self._ended.add(index)
        if self.finding is None:
            self.finding = self._instance.look()

    def end(self) -> None:
        if self.finding is None:
            self.finding = self._instance.at_end()

    def trace(self) -> Trace:
        return trace_of(self._made, len(self._instance.scheduler.tasks))


def trace_of(made: Sequence[tuple[int, Operation]], tasks: int) -> Trace:
    """The trace of an order.

    Args:
        made: Who made each step, and what it did.
        tasks: How many there are.
    """
    clocks: list[Clock] = []
    for place, (index, op) in enumerate(made):
        clock = [0] * tasks
        for earlier in range(place):
            other, before = made[earlier]
            if other == index or before.depends_on(op):
                clock = list(map(max, clock, clocks[earlier]))
        clock[index] += 1
        clocks.append(tuple(clock))
    return frozenset(
        (index, clock) for (index, _), clock in zip(made, clocks, strict=True)
    )


class Kept(TraceSearch):
    """Keeps the order of each run."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self.orders: list[tuple[int, ...]] = []

    def run_ended(self) -> None:
        super().run_ended()
        self.orders.append(self.order)

    def known(self) -> Known:
        """What it has found out."""
        return Known(
            frozenset(map(self._trace, self.orders)),
            frozenset(finding for finding, _ in self.found),
        )

    def _trace(self, path: tuple[int, ...]) -> Trace:
        order = Order(self.instance)
        for index in path:
            order.step(index)
        return order.trace()


def every_order(instance: Instance) -> Iterator[Order]:
    """Every order of steps to its end."""
    todo: list[list[int]] = [[]]
    while todo:
        path = todo.pop()
        order = Order(instance)
        for index in path:
            order.step(index)
        while ready := order.ready():
            todo += [[*path, index] for index in ready[1:]]
            path.append(ready[0])
            order.step(ready[0])
        order.end()
        yield order


def by_brute_force(instance: Instance) -> Known:
    """What all orders show."""
    traces, findings = set(), set()
    for order in every_order(instance):
        traces.add(order.trace())
        if order.finding is not None:
            findings.add(order.finding)
    return Known(frozenset(traces), frozenset(findings))


_place = st.integers(0, 2)
_bit = st.integers(0, 1)


def _phrase(*verbs: str) -> st.SearchStrategy[Actions]:
    """These actions, on one value."""
    return st.builds(
        lambda place, other: tuple(Action(verb, place, other) for verb in verbs),
        _place,
        _bit,
    )


def _on_two(verb: str) -> st.SearchStrategy[Actions]:
    """An action on two values."""
    return st.builds(
        lambda one, more: (Action(verb, one, (one + more) % 3),),
        _place,
        st.integers(1, 2),
    )


_plain = (
    _phrase("read")
    | _phrase("write")
    | _phrase("read", "store")
    | _phrase("add")
    | _phrase("sub")
    | _on_two("copy")
    | _phrase("forbid")
    | _phrase("read", "check")
)
_waiting = (
    _phrase("zero")
    | _phrase("nonzero")
    | _phrase("read", "changed")
    | _phrase("take")
    | _phrase("take", "write")
    | _phrase("add", "sub")
    | _on_two("equal")
    | _on_two("take_both")
)


def _inside(begin: str, end: str) -> st.SearchStrategy[Actions]:
    """A plain action between two others on the same lock."""
    return st.builds(
        lambda place, inside: (Action(begin, place), *inside, Action(end, place)),
        _bit,
        _plain | st.just(()),
    )


_phrases = (
    _plain
    | _waiting
    | _waiting
    | _inside("lock", "unlock")
    | _inside("share", "leave")
    | _inside("own", "leave")
    | st.builds(lambda one, two: (*one, Action("skip"), *two), _phrase("read"), _plain)
)


def programs(steps: int, tasks: int = 3) -> st.SearchStrategy[Waits]:
    """Two tasks or more, with so many actions at most."""
    body = st.lists(_phrases, min_size=1, max_size=4).map(lambda drawn: sum(drawn, ()))
    bodies = st.lists(body, min_size=2, max_size=tasks).filter(
        lambda bodies: sum(map(len, bodies)) <= steps
    )
    return st.builds(Waits, bodies, _bit)
