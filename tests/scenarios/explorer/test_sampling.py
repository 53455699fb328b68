"""Each seed makes the order that it makes anywhere, however many came before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial

import pytest

from rcu.operation import Location
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool, open_pool
from rcu.schedule.scheduler import Scheduler
from rcu.schedule.task import Body
from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu
from scenarios.explorer.program import Program
from scenarios.explorer.sampling import SampleSearch, trace_of
from scenarios.strategies.pct import Pct
from scenarios.strategies.pos import Pos
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.sampler import Sampler
from scenarios.strategies.urw import Urw
from tests.scenarios.explorer.broken_deletes import BROKEN, BrokenDelete
from tests.scenarios.explorer.searching import Bodies, replay
from tests.scenarios.explorer.small_programs import SmallProgram
from tests.scenarios.explorer.test_small_programs import CROSSED, LOST_UPDATE, NEVER

SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "random": partial(RandomWalk, 0),
    "sticky": partial(RandomWalk, 0, sticky=0.5),
    "pct": partial(Pct, 0),
    "pos": partial(Pos, 0),
    "urw": partial(Urw, 0),
}

ONE_FLIP = BrokenDelete(BROKEN["ONE_FLIP"], 1)


@pytest.fixture
async def pool() -> AsyncIterator[TaskPool]:
    async with open_pool() as pool:
        yield pool


async def sampled(
    pool: TaskPool,
    program: Program,
    strategy: Sampler,
    seeds: Iterable[int],
    *,
    count_traces: bool = False,
) -> SampleSearch:
    search = SampleSearch(program, pool, strategy, seeds, count_traces=count_traces)
    await search.begin()
    while search.advance(100):
        pass
    return search


async def run_alone(
    pool: TaskPool, program: Program, strategy: Sampler
) -> tuple[int, ...]:
    """The order of a run on a program that was built for it."""
    scheduler, _ = program.build(partial(ControlledScheduler, strategy))
    scheduler.keep_record()
    await pool.run(scheduler)
    return scheduler.order()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "program",
    [
        DeleteUnderSrcu(2),
        ONE_FLIP,
        SmallProgram(LOST_UPDATE),
        SmallProgram(CROSSED),
        SmallProgram(NEVER),
    ],
    ids=["delete", "one flip", "assertion", "deadlock", "lost wakeup"],
)
async def test_order_of_a_seed_is_that_of_a_run_built_for_it(
    pool: TaskPool, program: Program, name: str
) -> None:
    alone = SAMPLERS[name]()
    expected = set()
    for seed in range(40):
        alone.reseed(seed)
        expected.add(bytes(await run_alone(pool, program, alone)))
    search = await sampled(pool, program, SAMPLERS[name](), range(40))
    assert search.orders == expected
    assert search.executions == 40


@pytest.mark.parametrize("broken", BROKEN)
async def test_what_is_found_shows_again_in_its_order(
    pool: TaskPool, broken: str
) -> None:
    program = BrokenDelete(BROKEN[broken], 1)
    search = await sampled(pool, program, Pos(0), range(1_000))
    assert search.found
    assert len(search.found) < search.failures < 500
    for finding, order in search.found:
        assert await replay(program, order) == finding


async def test_nothing_is_left_of_a_run_that_failed(pool: TaskPool) -> None:
    whole = await sampled(pool, ONE_FLIP, Pos(0), range(400))
    parts = [
        await sampled(pool, ONE_FLIP, Pos(0), range(first, first + 10))
        for first in range(0, 400, 10)
    ]
    assert whole.failures == sum(part.failures for part in parts) == 9
    assert whole.steps == sum(part.steps for part in parts)
    assert whole.orders == set().union(*(part.orders for part in parts))


async def test_protocol_with_one_reader_has_nine_traces(pool: TaskPool) -> None:
    search = await sampled(
        pool, DeleteUnderSrcu(1), Pos(0), range(1_000), count_traces=True
    )
    assert search.distinct_traces == 9
    assert 9 < search.distinct < 1_000
    assert not search.found


async def test_traces_are_counted_only_if_asked_for(pool: TaskPool) -> None:
    search = await sampled(pool, DeleteUnderSrcu(1), Pos(0), range(1))
    assert search.distinct_traces is None


def test_exchange_of_independent_neighbours_is_no_other_trace() -> None:
    x, y = Location("x"), Location("y")
    scheduler = ControlledScheduler(RandomWalk(0))
    one, other = (scheduler.task(name, partial(idle, scheduler)) for name in "ab")
    assert trace_of([one, other], [x.write, y.write]) == trace_of(
        [other, one], [y.write, x.write]
    )
    assert trace_of([one, other], [x.read, x.read]) == trace_of(
        [other, one], [x.read, x.read]
    )
    assert trace_of([one, other], [x.read, x.write]) != trace_of(
        [other, one], [x.write, x.read]
    )


async def idle(scheduler: Scheduler) -> None: ...


def endless(scheduler: Scheduler) -> Sequence[Body]:
    op = Location("x").write

    async def body() -> None:
        while True:
            await scheduler.point(op)

    return [body, body]


async def test_run_that_does_not_end_is_stopped(pool: TaskPool) -> None:
    search = SampleSearch(Bodies(endless), pool, RandomWalk(0), range(3))
    search.scheduler.budget = 50
    await search.begin()
    assert not search.advance(1_000)
    assert search.stopped == search.executions == 3
    assert search.steps == 150
    assert not search.found


def wrong(scheduler: Scheduler) -> Sequence[Body]:
    op = Location("x").write

    async def body() -> None:
        await scheduler.point(op)
        raise ZeroDivisionError

    return [body, body]


async def test_error_that_is_no_finding_is_raised(pool: TaskPool) -> None:
    with pytest.raises(ZeroDivisionError):
        await sampled(pool, Bodies(wrong), RandomWalk(0), range(3))


async def test_search_goes_on_where_it_was_stopped(pool: TaskPool) -> None:
    search = SampleSearch(DeleteUnderSrcu(1), pool, Pos(0), range(3))
    await search.begin()
    assert search.advance(1)
    assert search.executions == 1
    assert search.advance(1)
    assert search.advance(1)
    assert not search.advance(1)
    assert search.executions == 3
