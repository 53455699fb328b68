"""Each sampler reaches every trace; one with a known defect does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import trio
from hypothesis import example, given, settings

from rcu.schedule.pool import TaskPool, open_pool
from scenarios.explorer.runs import EveryOrder
from scenarios.strategies.pct import Pct
from scenarios.strategies.pos import Pos
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.sampler import Sampler
from scenarios.strategies.urw import Urw
from tests.scenarios.strategies.ascending import Ascending
from tests.scenarios.strategies.delete_protocol import DeleteProtocol
from tests.scenarios.strategies.small_programs import (
    Order,
    Program,
    Runner,
    Trace,
    programs,
    trace_of,
)

STEPS = 6
"""Of a small program at most; it has 90 orders at most then."""

RUNS = 10_000
"""In so many runs nothing is missed.

No order is less likely than 1/324 under a random walk, and 1/720 under pct with the
depth that it needs: the least likely is missed with e^-14.
"""


def of_each_depth(kind: type[Pct]) -> list[Sampler]:
    """A bug of each depth that a small program can have is within reach of one."""
    return [kind(0, depth) for depth in range(1, STEPS + 1)]


SAMPLERS: dict[str, Callable[[], list[Sampler]]] = {
    "random": lambda: [RandomWalk(0)],
    "sticky": lambda: [RandomWalk(0, sticky=0.5)],
    "pct": lambda: of_each_depth(Pct),
    "pos": lambda: [Pos(0)],
    "urw": lambda: [Urw(0)],
}

TURNS: Program = [[("write", 0)] * 2] * 2
"""Two writers of one location: each of the six orders is a trace."""

LOCKED: Program = [[("acquire", 0), ("write", 0), ("release", 0)]] * 2


async def all_traces(pool: TaskPool, program: Program) -> set[Trace]:
    strategy = EveryOrder()
    runner = Runner(strategy, program)
    traces = set()
    while True:
        await runner.run(pool)
        traces.add(runner.trace)
        if not strategy.advance():
            return traces


async def reached(
    pool: TaskPool, samplers: list[Sampler], program: Program, goal: set[Trace]
) -> set[Trace]:
    """The traces that the samplers reach, in turn, until nothing is missed."""
    lengths = await Runner.measure(pool, program)
    runners = [Runner(sampler, program) for sampler in samplers]
    for sampler in samplers:
        sampler.learn(lengths)
    traces: set[Trace] = set()
    for seed in range(RUNS):
        for sampler, runner in zip(samplers, runners, strict=True):
            sampler.reseed(seed)
            await runner.run(pool)
            traces.add(runner.trace)
        if traces >= goal:
            break
    return traces


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
@settings(derandomize=True, deadline=None, max_examples=25)
@example(program=TURNS)
@example(program=LOCKED)
@given(program=programs(STEPS))
def test_every_trace_is_reached_and_no_other(name: str, program: Program) -> None:
    async def compare() -> None:
        async with open_pool() as pool:
            there = await all_traces(pool, program)
            assert await reached(pool, SAMPLERS[name](), program, there) == there

    trio.run(compare)


async def orders_of_turns(pool: TaskPool, samplers: list[Sampler]) -> set[Order]:
    """The orders of `TURNS` that 1,000 runs of each sampler reach."""
    lengths = await Runner.measure(pool, TURNS)
    orders = set()
    for sampler in samplers:
        sampler.learn(lengths)
        runner = Runner(sampler, TURNS)
        orders |= {await runner.run(pool) for _ in range(1_000)}
    return orders


@pytest.mark.slow
async def test_a_task_demoted_lowest_first_cannot_come_back(pool: TaskPool) -> None:
    """To take turns, the first demoted must run again while the second waits."""
    orders = await orders_of_turns(pool, of_each_depth(Pct))
    assert len(orders) == 6
    broken = await orders_of_turns(pool, of_each_depth(Ascending))
    assert orders - broken == {(0, 1, 0, 1), (1, 0, 1, 0)}


@pytest.mark.slow
async def test_how_soon_each_sampler_has_seen_every_trace(pool: TaskPool) -> None:
    """With one reader, 9 of the 3,508 orders of the delete protocol differ."""
    every = EveryOrder()
    protocol = DeleteProtocol(every, readers=1)
    protocol.scheduler.keep_record()
    traces: Counter[Trace] = Counter()
    while True:
        assert not await protocol.run_on(pool)
        traces[trace_of(protocol.scheduler.record or [])] += 1
        if not every.advance():
            break
    assert traces.total() == 3_508
    assert len(traces) == 9

    runs: dict[str, int] = {}
    for sampler in (RandomWalk(0), Pct(0), Pos(0), Urw(0)):
        sampler.learn(await DeleteProtocol.measure(pool, readers=1))
        protocol = DeleteProtocol(sampler, readers=1)
        protocol.scheduler.keep_record()
        seen: set[Trace] = set()
        while len(seen) < len(traces):
            assert not await protocol.run(pool, runs.setdefault(sampler.name, 0))
            seen.add(trace_of(protocol.scheduler.record or []))
            runs[sampler.name] += 1
        assert seen == set(traces)
    # The rarest trace has a chance of 0.0006, 0.002, 0.02 and 0.0008 a run.
    assert runs == {"random": 1_954, "pct": 312, "pos": 35, "urw": 942}
