"""Two writers in many orders: as if one had called after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import pytest

from memslots.region import Change, Region
from memslots.slot import LOG_DIRTY_PAGES
from memslots.tracepoints import SlotReplaced
from memslots.update import Update
from memslots.vm import Vm
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from rcu.trace import Record
from rcu.tracepoints import LockAcquired, LockReleased
from tests.memslots.world import (
    AllocatingArch,
    Held,
    answer,
    arch_of,
    assert_at_rest,
    content,
    deletion,
    expect_completed,
    region,
    run_writer,
)
from tests.support.exploring import in_random_orders
from tests.support.running import Build, Run, run_trio

LOG = LOG_DIRTY_PAGES

Calls = tuple[Sequence[Region], Sequence[Region]]
Answers = tuple[Change | int | None, ...]
Outcome = tuple[Answers, Answers, tuple[Held, ...]]


@attrs.define
class Writers:
    """What the calls of two tasks were answered."""

    update: Update
    answers: tuple[list[Change | int | None], ...] = attrs.field(
        factory=lambda: ([], [])
    )

    def outcome(self) -> Outcome:
        first, second = map(tuple, self.answers)
        slots = [held for pair in self.update.vm.sets for held in content(pair[0])]
        return first, second, tuple(slots)


def one_slot(scheduler: Scheduler) -> Vm:
    vm = Vm(scheduler, address_space_count=2, arch=AllocatingArch)
    vm.install([region()])
    return vm


def two_writers(calls: Calls) -> Build[Writers]:
    def build(scheduler: Scheduler) -> Writers:
        writers = Writers(Update(one_slot(scheduler)))

        async def write(number: int) -> None:
            for request in calls[number]:
                writers.answers[number].append(await answer(writers.update, request))

        scheduler.task("writer0", lambda: write(0))
        scheduler.task("writer1", lambda: write(1))
        return writers

    return build


def serial_orders(first: int, second: int) -> Iterator[tuple[int, ...]]:
    """All ways to take turns: whose call is next."""
    if not first or not second:
        yield (0,) * first + (1,) * second
        return
    for rest in serial_orders(first - 1, second):
        yield (0, *rest)
    for rest in serial_orders(first, second - 1):
        yield (1, *rest)


async def outcome_in_turn(
    pool: TaskPool, calls: Calls, turns: tuple[int, ...]
) -> Outcome:
    made: list[Writers] = []

    async def write(update: Update) -> None:
        writers = Writers(update)
        made.append(writers)
        waiting = [iter(requests) for requests in calls]
        for number in turns:
            request = next(waiting[number])
            writers.answers[number].append(await answer(update, request))

    await run_writer(pool, write, lambda scheduler: Update(one_slot(scheduler)))
    return made[0].outcome()


def assert_one_call_at_a_time(records: Sequence[Record]) -> None:
    """Sets are edited by the holder of slots_lock only, between taking and giving."""
    holder = ""
    for _, actor, event in records:
        match event:
            case LockAcquired(lock="slots_lock"):
                assert not holder
                holder = actor
            case LockReleased(lock="slots_lock"):
                assert holder == actor
                holder = ""
            case SlotReplaced():
                assert holder == actor


def outcome_of(run: Run[Writers]) -> Outcome:
    expect_completed(run)
    assert_one_call_at_a_time(run.records)
    assert_at_rest(run.made.update.vm)
    arch_of(run.made.update).assert_arrays_belong_to_slots()
    return run.made.outcome()


CALLS = [
    pytest.param(([region(2, 0x20)], [region(3, 0x22)]), id="two want the pages"),
    pytest.param(([region(2, 0x20)], [region(2, 0x30)]), id="two want the id"),
    pytest.param(([deletion()], [deletion()]), id="two delete"),
    pytest.param(([deletion()], [region(gfn=0x20)]), id="delete and move"),
    pytest.param(([region(gfn=0x20)], [region(2, 0x10)]), id="move and create"),
    pytest.param(
        ([region(gfn=0x20)], [region(flags=LOG)]), id="move and switch the log on"
    ),
    pytest.param(
        ([deletion(), region(1, 0x10, 2)], [region(2, 0x12, 2), deletion(2)]),
        id="split",
    ),
    pytest.param(
        (
            [region(gfn=0x20), region(gfn=0x10), deletion()],
            [region(65537), region(65537, flags=LOG), deletion(65537)],
        ),
        id="two address spaces",
    ),
]


async def outcomes_in_turn(pool: TaskPool, calls: Calls) -> set[Outcome]:
    turns = serial_orders(len(calls[0]), len(calls[1]))
    return {await outcome_in_turn(pool, calls, order) for order in turns}


@pytest.mark.slow
@pytest.mark.parametrize("calls", CALLS)
async def test_two_writers_come_out_as_one_after_the_other(
    pool: TaskPool, calls: Calls
) -> None:
    outcomes = await in_random_orders(
        pool, two_writers(calls), outcome_of, range(200), cpus=2
    )
    serial = await outcomes_in_turn(pool, calls)
    assert set(outcomes) <= serial
    assert len(outcomes) > 1 or len(serial) == 1


@pytest.mark.parametrize("calls", CALLS)
async def test_so_they_do_when_trio_decides(pool: TaskPool, calls: Calls) -> None:
    run = await run_trio(two_writers(calls), cpus=2)
    assert outcome_of(run) in await outcomes_in_turn(pool, calls)
