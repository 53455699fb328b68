"""Who goes round for ever, who starves, who waits for what cannot come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import pytest
import trio
from hypothesis import example, given, settings

from rcu.locks import Mutex
from rcu.operation import Location
from rcu.rcuwait import Rcuwait
from rcu.schedule.pool import TaskPool, open_pool
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Body
from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu
from scenarios.explorer.liveness import Loop, livelocks, loops, starvation
from scenarios.explorer.program import Finding, Program, SchedulerT, Watch
from scenarios.explorer.states import StateSearch
from tests.scenarios.explorer.searching import Bodies, begun, search
from tests.scenarios.explorer.small_programs import (
    BruteForce,
    SmallProgram,
    Tasks,
    programs,
)
from tests.scenarios.explorer.test_small_programs import case


@pytest.fixture
async def pool() -> AsyncIterator[TaskPool]:
    async with open_pool() as pool:
        yield pool


async def look(program: Program) -> tuple[list[Loop], list[tuple[Finding, Loop]]]:
    """The loops of a program, and those that are livelocks."""
    async with begun(program) as instance:
        done = StateSearch(instance, symmetric=False)
        done.begin()
        while done.advance(100_000):
            pass
        return loops(done.graph), livelocks(done)


class Polite:
    """Each wants to go first, sees that the other wants to, and steps back."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.wants = [False, False]
        self.at = [Location("first wants"), Location("second wants")]

    async def go(self, me: int) -> None:
        other = 1 - me
        while True:
            await self.point(self.at[me].write)
            self.wants[me] = True
            await self.point(self.at[other].read)
            if not self.wants[other]:
                break
            await self.point(self.at[me].write)
            self.wants[me] = False
        await self.point(self.at[me].write)
        self.wants[me] = False


def polite(scheduler: Scheduler) -> Sequence[Body]:
    shared = Polite(scheduler)
    return [partial(shared.go, 0), partial(shared.go, 1)]


async def test_tasks_that_step_back_for_each_other_may_do_so_for_ever() -> None:
    _, found = await look(Bodies(polite))
    ((finding, loop),) = found
    assert finding.checker == "livelock"
    assert finding.seen == (
        "for ever task0: write first wants, task1: write second wants,"
        " task0: read second wants, task1: read first wants,"
        " task0: write first wants, task1: write second wants"
    )
    assert loop.is_livelock
    assert loop.steps == (0, 1, 0, 1, 0, 1)


async def test_a_loop_leads_back_to_where_it_began() -> None:
    program = Bodies(polite)
    _, ((_, loop),) = await look(program)
    wants = []
    async with begun(program) as instance:
        scheduler = instance.scheduler
        scheduler.follow(loop.before)
        for _ in range(3):
            wants.append([str(task.op) for task in scheduler.tasks])
            for index in loop.steps:
                assert scheduler.tasks[index] in scheduler.ready()
                scheduler.step(scheduler.tasks[index])
    assert wants == [wants[0]] * 3


async def test_spinning_until_another_has_written_is_no_livelock() -> None:
    there, found = await look(SmallProgram(case("spin0", "write1=1 write0=1")))
    assert not found
    assert there == [
        Loop(before=(1,), steps=(0,), spins_for=(1,)),
        Loop(before=(), steps=(0,), spins_for=(1,)),
    ]


class Retrying:
    """One looks again and again, under a lock that the other needs to write."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.lock = Mutex(scheduler, "lock")
        self.at = Location("done")
        self.done = False

    async def look(self) -> None:
        done = False
        while not done:
            async with self.lock:
                await self.point(self.at.read)
                done = self.done

    async def write(self) -> None:
        async with self.lock:
            await self.point(self.at.write)
            self.done = True


def retrying(scheduler: Scheduler) -> Sequence[Body]:
    shared = Retrying(scheduler)
    return [shared.look, shared.write]


async def test_locks_are_fair_so_retrying_under_one_is_no_livelock() -> None:
    there, found = await look(Bodies(retrying))
    assert not found
    (loop,) = there
    assert loop.spins_for == ()
    assert loop.passed_by == (1,)


async def test_spinning_for_what_nobody_will_write_is_a_livelock() -> None:
    _, found = await look(SmallProgram(case("spin0", "write1=1")))
    assert [(finding.seen, loop) for finding, loop in found] == [
        ("for ever task0: read value 0", Loop((1,), (0,), ()))
    ]


async def test_spinning_for_a_task_that_waits_for_the_spinner_is_a_livelock() -> None:
    _, found = await look(
        SmallProgram(case("add1=1 spin0 add1=-1", "until_zero1 write0=1"))
    )
    ((finding, loop),) = found
    assert loop == Loop((0,), (0,), ())
    assert finding.seen == "for ever task0: read value 0"


async def test_a_program_that_ends_has_no_loop() -> None:
    assert await look(DeleteUnderSrcu(1)) == ([], [])


async def test_a_daemon_that_goes_on_when_all_have_ended_is_no_livelock() -> None:
    there, found = await look(WithDaemon(one_write))
    assert [loop.is_livelock for loop in there] == [True, False]
    assert not found


class WithDaemon(Bodies):
    """And a task that never ends, and need not."""

    def build(self, make: Callable[..., SchedulerT]) -> tuple[SchedulerT, Watch]:
        scheduler, watch = super().build(make)
        op = Location("x").write

        async def tick() -> None:
            while True:
                await scheduler.point(op)

        scheduler.task("daemon", tick, daemon=True)
        return scheduler, watch


def one_write(scheduler: Scheduler) -> Sequence[Body]:
    op = Location("y").write

    async def body() -> None:
        await scheduler.point(op)

    return [body]


async def test_tasks_must_stand_for_themselves() -> None:
    done = await search(DeleteUnderSrcu(2))
    with pytest.raises(ValueError, match="search with symmetric=False"):
        loops(done.graph)


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=50)
@example(case("spin0 write1=1 write0=0", "write0=1 spin1 write1=0"))
@given(programs(7, spins=True))
def test_loops_of_small_programs_are_those_of_brute_force(tasks: Tasks) -> None:
    there, found = trio.run(look, SmallProgram(tasks))
    assert (len(there), len(found)) == spinning(tasks)


def spinning(tasks: Tasks) -> tuple[int, int]:
    """In how many states somebody spins, and in how many nobody can do else."""
    truth = BruteForce(tasks)
    somebody = everybody = 0
    for state in truth.states:
        ready = [t for t in range(len(tasks)) if truth._is_ready(state, t)]
        spins = [truth._step(state, task) == state for task in ready]
        somebody += any(spins)
        everybody += any(spins) and all(spins)
    return somebody, everybody


class Philosophers:
    """Each takes the fork on the left, then the one on the right.

    Args:
        polite: How many take the right one first.
    """

    def __init__(self, scheduler: Scheduler, count: int, polite: int) -> None:
        self.forks = [Mutex(scheduler, f"fork {n}") for n in range(count)]
        self.bodies = [partial(self.eat, n, n < polite) for n in range(count)]

    async def eat(self, me: int, polite: bool) -> None:  # noqa: FBT001
        left, right = self.forks[me], self.forks[(me + 1) % len(self.forks)]
        first, then = (right, left) if polite else (left, right)
        async with first, then:
            pass


def philosophers(count: int, polite: int = 0) -> Program:
    return Bodies(lambda scheduler: Philosophers(scheduler, count, polite).bodies)


@pytest.mark.parametrize("count", [2, 3])
async def test_philosophers_who_all_begin_on_the_left_starve(count: int) -> None:
    done = await search(philosophers(count))
    ((finding, order),) = done.found
    assert finding.checker == "deadlock"
    assert sorted(order) == list(range(count))
    assert "task0 waits to acquire fork 1 (held by task1), holds fork 0" in finding.seen


@pytest.mark.parametrize("count", [2, 3])
async def test_one_philosopher_who_begins_on_the_right_saves_them(count: int) -> None:
    done = await search(philosophers(count, polite=1))
    assert not done.found


class Sleeper:
    """Sleeps until a flag is set."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.wait = Rcuwait(scheduler, "wait")
        self.at = Location("flag")
        self.flag = False

    async def set(self) -> None:
        await self.point(self.at.write)
        self.flag = True
        await self.wait.wake()

    async def prepare_and_check(self) -> None:
        while True:
            await self.wait.prepare()
            await self.point(self.at.read)
            if self.flag:
                break
            await self.wait.sleep()
        await self.wait.finish()

    async def check_and_prepare(self) -> None:
        while True:
            await self.point(self.at.read)
            if self.flag:
                break
            await self.wait.prepare()
            await self.wait.sleep()


def sleeper(body: Callable[[Sleeper], Awaitable[None]]) -> Program:
    def make(scheduler: Scheduler) -> Sequence[Body]:
        shared = Sleeper(scheduler)
        return [shared.set, partial(body, shared)]

    return Bodies(make)


async def test_wakeup_between_check_and_prepare_is_lost() -> None:
    done = await search(sleeper(Sleeper.check_and_prepare))
    ((finding, order),) = done.found
    assert finding.checker == "lost-wakeup"
    assert finding.seen == "task1 waits to sleep on wait"
    assert order in {(1, 0, 0, 1), (0, 1, 0, 1)}


async def test_wakeup_between_prepare_and_check_is_not() -> None:
    done = await search(sleeper(Sleeper.prepare_and_check))
    assert not done.found


class Gate:
    """Opened and closed in turn by two tasks; a third waits to find it open."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.point = scheduler.point
        self.at = Location("gate")
        self.is_open = False

    def opened(self) -> bool:
        return self.is_open

    async def set_for_ever(self, value: bool) -> None:  # noqa: FBT001
        while True:
            await self.point(self.at.write)
            self.is_open = value

    async def enter(self) -> None:
        await self.point(self.at.read, self.opened)


@pytest.mark.parametrize("last", [False, True], ids=["closes last", "opens last"])
async def test_who_is_never_let_in_starves(pool: TaskPool, last: bool) -> None:  # noqa: FBT001
    def make(scheduler: Scheduler) -> Sequence[Body]:
        gate = Gate(scheduler)
        return [
            partial(gate.set_for_ever, not last),
            partial(gate.set_for_ever, last),
            gate.enter,
        ]

    finding = await starvation(Bodies(make), pool, 1_000)
    if last:
        assert finding is None
    else:
        assert finding is not None
        assert finding.checker == "starvation"
        assert finding.seen == "no step in 500: task2 waits to read gate"


async def test_nobody_starves_in_a_program_that_ends(pool: TaskPool) -> None:
    assert await starvation(DeleteUnderSrcu(2), pool, 1_000) is None
