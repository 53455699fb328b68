"""Each limit is really met in its scenario: some order shows what users may see."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from memslots.tracepoints import DirtyLogReturned, RegionReturned, SlotReplaced
from rcu.schedule.pool import TaskPool
from rcu.trace import Event
from scenarios.machine import Machine
from scenarios.mutants.registry import limits
from scenarios.planner import plan_for
from scenarios.strategies.random_walk import RandomWalk
from tests.support.running import run_controlled
from vcpus.tracepoints import (
    GuestMemoryAccessed,
    GuestMemoryCopied,
    SetDereferenced,
)

PAGE = 0x7F00_0000_0000

STICKY = 0.95
"""So that a task that is short may have its turn late."""


def the_hole(events: Sequence[Event]) -> bool:
    """A page that is memory before and behind was none in between."""
    accessed = [each for each in events if isinstance(each, GuestMemoryAccessed)]
    return [each.outcome for each in accessed] == ["mmio"]


def two_sets(events: Sequence[Event]) -> bool:
    """One section dereferenced two sets."""
    return len({e.set for e in events if isinstance(e, SetDereferenced)}) == 2


def one_page_twice(events: Sequence[Event]) -> bool:
    """What was written at one guest address was read at another."""
    copied = [each for each in events if isinstance(each, GuestMemoryCopied)]
    return [(each.gpa, each.write, each.hva) for each in copied] == [
        (0x0, True, PAGE),
        (0x1000, False, PAGE),
    ]


def a_slot_at_host_address_0(events: Sequence[Event]) -> bool:
    """It was created, and nobody has been asked about host memory."""
    created = [e.new for e in events if isinstance(e, SlotReplaced) and e.new]
    returned = [each for each in events if isinstance(each, RegionReturned)]
    return len(created) == 2 and [each.result for each in returned] == [0]


def read_at(hva: int, events: Sequence[Event]) -> bool:
    """The reader found this host address."""
    copied = [each for each in events if isinstance(each, GuestMemoryCopied)]
    return [each.hva for each in copied] == [hva]


def marks_that_nobody_gets(events: Sequence[Event]) -> bool:
    """The page was written before both calls, and neither told of it."""
    first = next(
        each
        for each in events
        if isinstance(each, GuestMemoryCopied | DirtyLogReturned)
    )
    returned = [each for each in events if isinstance(each, DirtyLogReturned)]
    return isinstance(first, GuestMemoryCopied) and [
        (each.result, each.words) for each in returned
    ] == [(-errno.EFAULT, ()), (0, ())]


@pytest.mark.parametrize(
    ("limit", "shows"),
    [
        ("L1", the_hole),
        ("L2", two_sets),
        ("L3", one_page_twice),
        ("L4", a_slot_at_host_address_0),
        ("L5", partial(read_at, PAGE)),
        ("L5", partial(read_at, PAGE + 0x1000)),
        ("L6", marks_that_nobody_gets),
    ],
)
async def test_some_order_shows_what_is_not_promised(
    pool: TaskPool, limit: str, shows: Callable[[Sequence[Event]], bool]
) -> None:
    name = next(each.scenario for each in limits() if each.id == limit)
    build = partial(Machine, plan_for(name).scenario)
    for seed in range(300):
        run = await run_controlled(pool, RandomWalk(seed, STICKY), build)
        if shows([record.event for record in run.records]):
            return
    pytest.fail(f"no order of {name} shows it")


async def test_both_sides_of_a_hole_are_memory(pool: TaskPool) -> None:
    build = partial(Machine, plan_for("slot-grows").scenario)
    outcomes = set()
    for seed in range(40):
        run = await run_controlled(pool, RandomWalk(seed, STICKY), build)
        outcomes |= {
            each.event.outcome
            for each in run.records
            if isinstance(each.event, GuestMemoryAccessed)
        }
    assert outcomes == {"ram", "bad", "mmio"}
