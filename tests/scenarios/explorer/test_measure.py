"""A seed draws the same order for a run and for a search."""

from __future__ import annotations

import attrs
import pytest

from rcu.schedule.pool import TaskPool, open_pool
from scenarios.explorer.measure import measure
from scenarios.explorer.program import Program
from scenarios.explorer.programs import program_of
from scenarios.explorer.sampling import SampleSearch
from scenarios.planner import plan_for
from scenarios.runner import run_in_trio
from scenarios.strategies.by_name import SAMPLERS, Options
from scenarios.strategies.lengths import Lengths

PLAN = plan_for("delete-under-srcu")


async def searched(program: Program, pool: TaskPool, name: str, seed: int) -> bytes:
    """The order that a search draws from a seed."""
    sampler = SAMPLERS[name](0, Options())
    sampler.learn(await measure(program, pool))
    search = SampleSearch(program, pool, sampler, [seed])
    await search.begin()
    while search.advance(1):
        pass
    (order,) = search.orders
    return order


@pytest.mark.parametrize("strategy", SAMPLERS)
async def test_run_has_the_order_that_a_search_draws(strategy: str) -> None:
    async with open_pool() as pool:
        for seed in (0, 1, 7, 123_456):
            plan = attrs.evolve(PLAN, strategy=strategy, seed=seed)
            made = await run_in_trio(plan, pool)
            assert bytes(made.order) == await searched(
                program_of(PLAN), pool, strategy, seed
            )


async def test_every_measure_is_the_same() -> None:
    async with open_pool() as pool:
        first = await measure(program_of(PLAN), pool)
        again = await measure(program_of(PLAN), pool)
    assert first == again
    assert isinstance(first, Lengths)
    assert first.steps == (7, 7, 13)
    assert 20 <= first.choices <= 26


async def test_learning_makes_a_difference_to_a_run() -> None:
    """Without it pct expects a thousand choices, and demotes nobody here."""
    async with open_pool() as pool:
        orders = set()
        for seed in range(20):
            plan = attrs.evolve(PLAN, strategy="pct", seed=seed)
            orders.add((await run_in_trio(plan, pool)).order)
    assert len(orders) > 15
