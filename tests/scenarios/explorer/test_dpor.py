"""The search of traces makes one run for each, however steps wait for each other."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import attrs
import pytest
import trio
from hypothesis import example, given, settings

from rcu.operation import Location, Operation
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Body
from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu
from scenarios.explorer.dpor import EndlessRunError, TraceSearch, UndeclaredError
from scenarios.explorer.happens_before import Access, Event, Step
from scenarios.explorer.program import Finding, Instance, Program
from tests.scenarios.explorer.every_trace import (
    Kept,
    Known,
    Waits,
    by_brute_force,
    every_order,
    program,
    programs,
)
from tests.scenarios.explorer.searching import Bodies, begun, replay


@attrs.frozen
class Result:
    """What a search says, and what is true."""

    said: Known
    true: Known
    runs: int
    redundant: int

    @property
    def is_right(self) -> bool:
        return self.said == self.true and self.runs == len(self.true.traces)


async def search(
    program: Program, make: Callable[[Instance], TraceSearch] = TraceSearch
) -> TraceSearch:
    """Search to the end, a few steps at a time."""
    async with begun(program) as instance:
        done = make(instance)
        done.begin()
        while done.advance(100_000):
            pass
        return done


async def compare(program: Program, make: Callable[[Instance], Kept] = Kept) -> Result:
    """Search, and make every order as well."""
    async with begun(program) as instance:
        true = by_brute_force(instance)
        done = make(instance)
        done.begin()
        while done.advance(10):
            pass
        return Result(done.known(), true, done.executions, done.redundant)


@pytest.mark.parametrize(
    ("readers", "traces"),
    [(1, 9), (2, 164), pytest.param(3, 5_388, marks=pytest.mark.slow)],
)
async def test_each_trace_of_the_reference_protocol_is_run_once(
    readers: int, traces: int
) -> None:
    done = await search(DeleteUnderSrcu(readers))
    assert (done.executions, done.redundant, done.found) == (traces, 0, [])


@pytest.mark.slow
async def test_these_are_the_traces_of_all_its_orders() -> None:
    async with begun(DeleteUnderSrcu(1)) as instance:
        assert sum(1 for _ in every_order(instance)) == 3_508
    result = await compare(DeleteUnderSrcu(1))
    assert result.is_right
    assert (result.runs, result.redundant) == (9, 0)


LATE_WAITER = program("add0 sub0", "zero0 read1", "write11")
"""The waiter may go on before the count is raised, or after it is back."""

CROSSED = program("lock0 lock1 unlock1 unlock0", "lock1 lock0 unlock0 unlock1")
TWO_CONDITIONS = program("add0", "sub1 add1", "equal01 take01")
BOTH_FREE = program("take0 write00", "take1 write10", "take_both01 forbid11")
ONE_WRITER = program("share leave", "share leave", "own add0 leave")
OWN_SNAPSHOT = program("read0 changed0 forbid01", "add0 sub0")
TWO_READERS = program("read0", "take0", "read0")
"""What makes the second one wait may come first, last or between."""

GOES_ON = program("write01", "forbid00", "take0 write00")
"""What the others do after the rule is broken has orders of its own."""

SERVED = program("add0 add1", "nonzero0 read1 write00 nonzero0", daemons=1)


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=50)
@example(LATE_WAITER)
@example(CROSSED)
@example(TWO_CONDITIONS)
@example(BOTH_FREE)
@example(ONE_WRITER)
@example(OWN_SNAPSHOT)
@example(TWO_READERS)
@example(GOES_ON)
@example(SERVED)
@given(programs(8))
def test_traces_and_findings_are_those_of_brute_force(program: Waits) -> None:
    result = trio.run(compare, program)
    assert result.said == result.true
    assert (result.runs, result.redundant) == (len(result.true.traces), 0)


class NeverGoesOnEarlier(Kept):
    """Exchanges no step that has a condition."""

    def _reverse_waits(self, known: int, waiting: list[tuple[int, Event]]) -> None:
        pass


class OnlyLast(Kept):
    """Takes a step with a condition for one that can be made at any time."""

    def _reverse_waits(self, known: int, waiting: list[tuple[int, Event]]) -> None:
        for place, event in waiting:
            if known <= place < len(self._run.events):
                for rival in event.races:
                    self._plant(rival, self._run.besides(rival), event)


class NeverWakes(Kept):
    """What sleeps goes on sleeping."""

    def _asleep(self, sleep: list[Step], access: Access) -> list[Step]:
        return sleep


async def test_a_search_that_exchanges_no_waiting_step_misses_traces() -> None:
    assert (await compare(LATE_WAITER)).is_right
    result = await compare(LATE_WAITER, NeverGoesOnEarlier)
    assert result.said.traces < result.true.traces


async def test_a_search_that_exchanges_waiting_steps_like_others_goes_astray() -> None:
    with pytest.raises(UndeclaredError, match="task1 cannot make the step"):
        await compare(LATE_WAITER, OnlyLast)


async def test_a_sleeper_that_never_wakes_is_noticed() -> None:
    tasks = program("write01 read0", "write00", "read0")
    assert (await compare(tasks)).is_right
    result = await compare(tasks, NeverWakes)
    assert result.said.traces < result.true.traces


async def test_all_that_is_broken_in_a_trace_is_told_with_an_order_that_shows_it() -> (
    None
):
    tasks = program("forbid00 forbid10", "write21 forbid21")
    done = await search(tasks)
    assert done.executions == 1
    assert done.found == [
        (Finding("assertion", "value 0 is 0"), (0,)),
        (Finding("assertion", "value 2 is 1"), (1, 1)),
    ]
    for finding, order in done.found:
        assert await replay(tasks, order) == finding


async def test_a_deadlock_is_found_and_a_daemon_may_wait() -> None:
    done = await search(CROSSED)
    checkers = [finding.checker for finding, _ in done.found]
    assert (done.executions, checkers) == (3, ["deadlock"])
    assert (await search(program("read0", "nonzero0", daemons=1))).found == []
    assert len((await search(program("read0", "nonzero0"))).found) == 1


async def test_a_search_goes_on_where_another_one_was() -> None:
    whole = await search(DeleteUnderSrcu(2))
    state, parts = b"", 0
    while True:
        async with begun(DeleteUnderSrcu(2)) as instance:
            part = TraceSearch(instance)
            if state:
                part.restore(pickle.loads(state))  # noqa: S301 - made here
            else:
                part.begin()
            goes_on = part.advance(500)
            state, parts = pickle.dumps(part.state()), parts + 1
        if not goes_on:
            break
    assert parts == 11
    assert part.state() == whole.state()


class Runs:
    """Counts what a search cannot put back."""

    count = 0


async def test_a_step_that_says_less_than_it_does_is_noticed() -> None:
    def make(scheduler: Scheduler) -> list[Body]:
        at, other = Location("at"), Location("other")

        async def unsteady() -> None:
            Runs.count += 1
            await scheduler.point(at.write if Runs.count < 4 else other.write)

        async def steady() -> None:
            await scheduler.point(at.write)

        return [steady, unsteady]

    Runs.count = 0
    with pytest.raises(UndeclaredError, match=r"task1 cannot .*\(write other is next"):
        await search(Bodies(make))


async def test_a_run_that_never_ends_is_given_up() -> None:
    def make(scheduler: Scheduler) -> list[Body]:
        at = Location("at")

        async def poll() -> None:
            while True:
                await scheduler.point(at.read)

        return [poll]

    with pytest.raises(EndlessRunError, match=r"more than 50 steps, .* task0: read at"):
        await search(Bodies(make), lambda instance: TraceSearch(instance, longest=50))


async def test_a_body_that_fails_before_its_first_point_is_found_at_once() -> None:
    def make(scheduler: Scheduler) -> list[Body]:
        async def fail() -> None:
            raise AssertionError("nothing works")

        return [fail]

    done = await search(Bodies(make))
    assert done.found == [(Finding("assertion", "nothing works"), ())]
    assert done.executions == 1


async def test_locations_of_one_name_count_as_one() -> None:
    def make(scheduler: Scheduler) -> list[Body]:
        def body(op: Operation) -> Body:
            async def write() -> None:
                await scheduler.point(op)

            return write

        return [body(Location(name).write) for name in ("x", "x", "y")]

    assert (await search(Bodies(make))).executions == 2
