"""What the benchmarks run."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Generator
from time import perf_counter

import trio

from memslots.region import Region
from memslots.units import Gpa, Hva
from memslots.update import Update
from memslots.vm import Vm
from rcu.operation import Location
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool
from rcu.schedule.task import Strategy, Task
from scenarios.strategies.random_walk import RandomWalk

TASKS = 4
POINTS = 15


class Stays:
    """Stays with a task as long as it can."""

    patience = 1_000_000

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        return current if current in ready else ready[0]


class Chooses:
    """Is asked at each point, and chooses by a fixed table: stay, or the next task."""

    patience = 0

    def __init__(self, *, switch: bool) -> None:
        self._next: dict[Task, Task] = {}
        self._switch = switch

    def begin(self, tasks: list[Task]) -> None:
        """See `Strategy.begin`."""
        after = tasks[1:] + tasks[:1] if self._switch else tasks
        self._next = dict(zip(tasks, after, strict=True))

    def pick(self, current: Task, ready: list[Task]) -> Task:
        """See `Strategy.pick`."""
        chosen = self._next.get(current, ready[0])
        return ready[0] if chosen.finished else chosen


def points(strategy: Strategy, tasks: int, each: int) -> ControlledScheduler:
    """A run in which each task passes ``each`` points and does nothing else."""
    scheduler = ControlledScheduler(strategy)
    op = Location("shared").read

    async def body() -> None:
        point = scheduler.point
        for _ in range(each):
            await point(op)

    for index in range(tasks):
        scheduler.task(f"task{index}", body)
    return scheduler


def small_program(seed: int) -> ControlledScheduler:
    """4 tasks of 15 points, random strategy, a record of every step."""
    scheduler = points(RandomWalk(seed), TASKS, POINTS)
    scheduler.keep_record()
    return scheduler


async def schedules(pool: TaskPool, count: int, seed: int = 0) -> float:
    """Seconds for one whole schedule of the small program."""
    scheduler = small_program(seed)
    started = perf_counter()
    for _ in range(count):
        scheduler.reset()
        report = await pool.run(scheduler)
    seconds = (perf_counter() - started) / count
    if report.steps != TASKS * POINTS:
        raise RuntimeError(f"the program has 60 steps, not {report.steps}")
    return seconds


class _YieldOnce:
    __slots__ = ()
    __await__ = staticmethod(functools.partial(iter, (None,)))


def bare_switches(count: int) -> float:
    """Seconds for one switch among four bare coroutines: the floor of a switch."""
    once = _YieldOnce()

    async def body() -> None:
        for _ in range(count):
            await once

    resume = [body().send for _ in range(TASKS)]
    started = perf_counter()
    for _ in range(count):
        for send in resume:
            send(None)
    seconds = (perf_counter() - started) / (count * TASKS)
    for send in resume:
        try:
            send(None)
        except StopIteration:
            continue
    return seconds


def bare_schedules(count: int) -> float:
    """Seconds for the small program as bare coroutines in random order, no model."""
    once = _YieldOnce()
    draw = random.Random(0).random

    async def body() -> None:
        for _ in range(POINTS):
            await once

    started = perf_counter()
    for _ in range(count):
        ready = [body().send for _ in range(TASKS)]
        while ready:
            send = ready[int(draw() * len(ready))]
            try:
                send(None)
            except StopIteration:
                ready.remove(send)
    return (perf_counter() - started) / count


class _AwaitNothing:
    __slots__ = ()
    __await__ = staticmethod(functools.partial(iter, ()))


def bare_await(count: int) -> float:
    """Seconds to call a method and await what it returns: the floor of a point."""
    nothing = _AwaitNothing()

    class Object:
        def method(self, argument: object) -> _AwaitNothing:
            return nothing

    thing = Object()

    async def body() -> None:
        method = thing.method
        for _ in range(count):
            await method(None)

    coroutine = body()
    started = perf_counter()
    with contextlib.suppress(StopIteration):
        coroutine.send(None)
    return (perf_counter() - started) / count


async def trio_hand_off(count: int) -> float:
    """Seconds to park a Trio task and wake the other."""
    parked: list[trio.lowlevel.Task] = []
    finished = 0

    def abort(raise_cancel: object) -> trio.lowlevel.Abort:
        return trio.lowlevel.Abort.SUCCEEDED

    async def body() -> None:
        nonlocal finished
        for _ in range(count):
            if parked:
                trio.lowlevel.reschedule(parked.pop())
            parked.append(trio.lowlevel.current_task())
            await trio.lowlevel.wait_task_rescheduled(abort)
        finished += 1
        if parked:
            trio.lowlevel.reschedule(parked.pop())

    started = perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(body)
        nursery.start_soon(body)
    return (perf_counter() - started) / (2 * count)


async def create_slots(pool: TaskPool, count: int) -> float:
    """Seconds to create one of ``count`` slots through the full protocol."""
    scheduler = ControlledScheduler(Stays())
    vm = Vm(scheduler)
    update = Update(vm)
    regions = list(regions_of(count))

    async def body() -> None:
        for region in regions:
            await update.set_memory_region(region)

    scheduler.task("writer", body)
    started = perf_counter()
    await pool.run(scheduler)
    seconds = (perf_counter() - started) / count
    if len(vm.sets[0][0]) != count:
        raise RuntimeError("not every slot was created")
    return seconds


def regions_of(count: int) -> Generator[Region, None, None]:
    """``count`` slots of four pages, side by side."""
    for index in range(count):
        yield Region(
            slot=index,
            flags=0,
            guest_phys_addr=Gpa(index * 0x4000),
            memory_size=0x4000,
            userspace_addr=Hva(0x10_0000_0000 + index * 0x4000),
        )
