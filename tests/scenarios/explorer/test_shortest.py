"""The shortest order that shows what is broken is found, and known to be that.

Two prices of an order are known: its preemptions, and all its changes of task. The
minima that are known of the reference protocol, from a search of a transition system
written apart, count changes. A preemption is a change away from a task that could have
gone on; so an order with few of them may let a task run until it waits or ends, which
takes more steps: 13 with one preemption where 10 with two changes do.
"""

from __future__ import annotations

import pickle

import attrs
import pytest
import trio
from hypothesis import example, given, settings

from scenarios.explorer.program import Finding, Instance, Program
from scenarios.explorer.shortest import BoundedSearch
from tests.scenarios.explorer.broken_deletes import BROKEN, BrokenDelete
from tests.scenarios.explorer.searching import begun, replay
from tests.scenarios.explorer.small_programs import SmallProgram, Tasks, programs
from tests.scenarios.explorer.test_small_programs import CROSSED, LOST_UPDATE, NEVER

slow = pytest.mark.slow

Length = tuple[int, int]
"""Changes or preemptions, and steps."""

CHANGES: dict[str, Length] = {
    "NO_SYNC1": (2, 10),
    "NO_SYNC2": (3, 15),
    "FREE_EARLY": (3, 14),
    "ONE_FLIP": (4, 16),
}

PREEMPTIONS: dict[str, Length] = {
    "NO_SYNC1": (1, 13),
    "NO_SYNC2": (2, 15),
    "FREE_EARLY": (2, 16),
    "ONE_FLIP": (3, 16),
}

READER, WRITER = 0, -1

BLOCKS: dict[str, list[tuple[int, int]]] = {
    "NO_SYNC1": [(READER, 4), (WRITER, 4), (READER, 2)],
    "NO_SYNC2": [(WRITER, 4), (READER, 4), (WRITER, 5), (READER, 2)],
    "FREE_EARLY": [(WRITER, 4), (READER, 3), (WRITER, 5), (READER, 2)],
    "ONE_FLIP": [(READER, 1), (WRITER, 4), (READER, 3), (WRITER, 6), (READER, 2)],
}
"""Who makes how many steps in a row. The last two show what the writer has done."""


async def shortest(program: Program, *, switches: bool) -> BoundedSearch:
    async with begun(program) as instance:
        bounded = BoundedSearch(instance, switches=switches)
        bounded.begin()
        while bounded.advance(10_000):
            pass
        return bounded


def blocks(order: tuple[int, ...], readers: int) -> list[tuple[int, int]]:
    """Turns of an order in which one reader takes part, whichever it is."""
    turns: list[tuple[int, int]] = []
    for index in order:
        who = WRITER if index == readers else READER
        if turns and turns[-1][0] == who:
            turns[-1] = who, turns[-1][1] + 1
        else:
            turns.append((who, 1))
    return turns


@pytest.mark.parametrize("readers", [1, 2, pytest.param(3, marks=slow)])
@pytest.mark.parametrize("broken", BROKEN)
async def test_minima_by_changes_are_those_known(broken: str, readers: int) -> None:
    program = BrokenDelete(BROKEN[broken], readers)
    search = await shortest(program, switches=True)
    assert search.done
    assert search.found is not None
    assert search.found.length == CHANGES[broken]
    assert blocks(search.found.order, readers) == BLOCKS[broken]
    assert await replay(program, search.found.order) == search.found.finding


@pytest.mark.parametrize("readers", [1, 2, pytest.param(3, marks=slow)])
@pytest.mark.parametrize("broken", BROKEN)
async def test_minima_by_preemptions_have_one_less_and_as_many_steps_or_more(
    broken: str, readers: int
) -> None:
    program = BrokenDelete(BROKEN[broken], readers)
    search = await shortest(program, switches=False)
    assert search.done
    assert search.found is not None
    assert search.found.length == PREEMPTIONS[broken]
    assert await replay(program, search.found.order) == search.found.finding


@attrs.define
class Tried:
    """The shortest of all orders that show something."""

    changes: Length | None = None
    preemptions: Length | None = None
    orders: int = 0

    def note(self, changes: int, preemptions: int, steps: int) -> None:
        by_changes, by_preemptions = (changes, steps), (preemptions, steps)
        self.changes = min(self.changes or by_changes, by_changes)
        self.preemptions = min(self.preemptions or by_preemptions, by_preemptions)


def every_order(instance: Instance) -> Tried:
    """Make every order until it shows something, or to its end."""
    tried = Tried()
    todo: list[list[int]] = [[]]
    while todo:
        path: list[int] = todo.pop()
        finding, changes, preemptions = _follow(instance, path)
        ready = [] if finding else instance.scheduler.ready()
        if ready:
            todo += [[*path, task.index] for task in ready]
            continue
        tried.orders += 1
        if finding is None:
            finding = instance.at_end()
        if finding is not None:
            tried.note(changes, preemptions, len(path))
    return tried


def _follow(instance: Instance, path: list[int]) -> tuple[Finding | None, int, int]:
    """What the steps show, and their changes and preemptions."""
    scheduler = instance.scheduler
    instance.begin()
    changes = preemptions = 0
    finding = None
    for place, index in enumerate(path):
        if place and path[place - 1] != index:
            changes += 1
            preemptions += scheduler.tasks[path[place - 1]] in scheduler.ready()
        scheduler.step(scheduler.tasks[index])
        finding = instance.look()
    return finding, changes, preemptions


@slow
@pytest.mark.parametrize("broken", BROKEN)
async def test_no_order_with_one_reader_is_shorter(broken: str) -> None:
    async with begun(BrokenDelete(BROKEN[broken], 1)) as instance:
        tried = every_order(instance)
    assert tried.changes == CHANGES[broken]
    assert tried.preemptions == PREEMPTIONS[broken]


@slow
@settings(deadline=None, derandomize=True, max_examples=50)
@example(LOST_UPDATE)
@example(CROSSED)
@example(NEVER)
@given(programs(7))
def test_no_order_of_a_small_program_is_shorter(tasks: Tasks) -> None:
    async def compare() -> None:
        program = SmallProgram(tasks)
        async with begun(program) as instance:
            tried = every_order(instance)
        for switches in (True, False):
            search = await shortest(program, switches=switches)
            found = None if search.found is None else search.found.length
            assert found == (tried.changes if switches else tried.preemptions)
            assert search.done
            assert search.exhausted is (found is None)

    trio.run(compare)


@pytest.mark.parametrize("switches", [True, False])
async def test_a_search_goes_on_where_another_one_was(*, switches: bool) -> None:
    program = BrokenDelete(BROKEN["NO_SYNC2"], 2)
    whole = await shortest(program, switches=switches)
    state, parts, more = b"", 0, True
    while more:
        async with begun(program) as instance:
            part = BoundedSearch(instance, switches=switches)
            if state:
                part.restore(pickle.loads(state))  # noqa: S301 - made here
            else:
                part.begin()
            more = part.advance(1_000)
            state, parts = pickle.dumps(part.state()), parts + 1
    assert parts > 3
    assert (part.found, part.done) == (whole.found, whole.done)
    assert (part.states, part.executions) == (whole.states, whole.executions)
    assert part.steps == whole.steps
